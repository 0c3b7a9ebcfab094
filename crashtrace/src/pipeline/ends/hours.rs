//! How often each container ended in the last hour. PURE.

use std::collections::{BTreeMap, VecDeque};

use crate::correlate::Incident;
use crate::enrich::Case;

const MINUTE_NS: u64 = 60_000_000_000;
const HOUR: u64 = 60;
/// Containers that are remembered; above that the one whose latest end is oldest is forgotten.
const CONTAINERS: usize = 4096;

/// A container of a pod: by its name, or by that of its process while its own is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pod_uid: String,
    by: By,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Name(String),
    Comm(Vec<u8>),
}

/// Ends by container, in counts of whole minutes.
#[derive(Debug, Default)]
pub(super) struct Hours(BTreeMap<Key, VecDeque<(u64, u32)>>);

/// The container whose end this is. A container without a pod gets another id with each start: it has no earlier ends.
pub(super) fn key(case: &Case) -> Option<Key> {
    let Incident::ContainerExit(end) = &case.incident else { return None };
    let party = case.exited()?;
    let pod_uid = party.owner.pod_uid.clone().or_else(|| party.placement.odd_uid.clone())?;
    let name = party.owner.names.as_ref().and_then(|names| names.container.as_ref()?.name.clone());
    let comm = || end.event.task.comm.as_ref().map(|comm| By::Comm(comm.0.clone()));
    Some(Key { pod_uid, by: name.map(By::Name).or_else(comm)? })
}

impl Hours {
    /// Counts an end; gives how many there were in the hour before.
    pub(super) fn add(&mut self, key: Option<Key>, ended_ns: u64) -> u32 {
        let Some(key) = key else { return 0 };
        if self.0.len() >= CONTAINERS && !self.0.contains_key(&key) {
            let latest = |minutes: &VecDeque<(u64, u32)>| minutes.back().map(|(minute, _)| *minute);
            let oldest = self.0.iter().min_by_key(|(_, minutes)| latest(minutes)).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.0.remove(&key));
        }
        let minute = ended_ns / MINUTE_NS;
        let minutes = self.0.entry(key).or_default();
        while minutes.front().is_some_and(|(earlier, _)| earlier.saturating_add(HOUR) <= minute) {
            minutes.pop_front();
        }
        let before = minutes.iter().map(|(_, count)| *count).fold(0, u32::saturating_add);
        match minutes.back_mut() {
            // Also one that is read a moment late.
            Some((latest, count)) if *latest >= minute => *count = count.saturating_add(1),
            _ => minutes.push_back((minute, 1)),
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pod: u32) -> Key {
        Key { pod_uid: pod.to_string(), by: By::Name("api".into()) }
    }

    #[test]
    fn ends_are_those_of_the_hour_before() {
        let mut hours = Hours::default();
        let minute = |at: u64| at * MINUTE_NS;
        assert_eq!([0, 1, 1, 30].map(|at| hours.add(Some(key(1)), minute(at))), [0, 1, 2, 3]);
        assert_eq!(hours.add(Some(key(2)), minute(30)), 0, "another pod");
        assert_eq!(hours.add(Some(key(1)), minute(61)), 1, "those of the first minutes are too old");
        assert_eq!(hours.add(Some(key(1)), minute(60)), 2, "one that is read late");
        assert_eq!(hours.add(Some(key(1)), minute(500)), 0);
        assert_eq!(hours.add(None, minute(500)), 0);
        let by_comm = Some(Key { pod_uid: "1".into(), by: By::Comm(b"api".to_vec()) });
        assert_eq!(hours.add(by_comm, minute(500)), 0, "a process of that name is not that container");
    }

    #[test]
    fn the_memory_is_bounded_whatever_ends() {
        let mut hours = Hours::default();
        for pod in 0..5000 {
            hours.add(Some(key(pod)), u64::from(pod) * MINUTE_NS / 100);
        }
        assert_eq!(hours.0.len(), CONTAINERS);
        assert_eq!(
            (hours.add(Some(key(4999)), 50 * MINUTE_NS), hours.add(Some(key(0)), 50 * MINUTE_NS)),
            (1, 0)
        );
        for at in 0..10_000 {
            hours.add(Some(key(4999)), at * MINUTE_NS / 7);
        }
        assert!(hours.0.values().all(|minutes| minutes.len() <= 60));
    }
}
