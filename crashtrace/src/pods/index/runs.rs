//! The runs of a pod's containers: which ids a container has had, and how often it had been started anew by then. PURE.

use std::sync::Arc;
use std::time::Instant;

use super::{KEPT, MAX_EARLIER_RUNS, Place};
use crate::pods::life::Ended;
use crate::pods::pod::{Container, Pod};

/// A container's id: 64 hex digits, in half the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id([u8; 32]);

impl Id {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let mut id = [0; 32];
        if pairs.len() != id.len() {
            return None;
        }
        let mut all = 0;
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
            all |= high | low;
            *byte = high << 4 | low;
        }
        (all != NO_DIGIT).then_some(Self(id))
    }
}

/// The value of each digit. A look-up is mostly the reading of the id, and a table does it without a branch for each.
static DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0xff;

/// One run of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) id: Id,
    /// Which of the pod's containers.
    container: usize,
    current: bool,
    restart_count: Option<u32>,
}

impl Run {
    pub(super) fn found(self, pod: &Arc<Pod>) -> Place {
        let Self { container, current, restart_count, .. } = self;
        Place { pod: Arc::clone(pod), container, current, restart_count }
    }
}

/// A run that the object does not name any more.
#[derive(Clone, Debug)]
pub(super) struct Earlier {
    pub(super) run: Run,
    /// Since when.
    pub(super) since: Instant,
    /// How it ended, if the object said so.
    pub(super) ended: Option<Box<Ended>>,
}

/// How the run with this id ended, if the object says so: of two statuses of one run the newest run's.
pub(super) fn ended(container: &Container, id: Id) -> Option<&Ended> {
    let of = |text: &Option<Box<str>>| text.as_deref().and_then(Id::parse) == Some(id);
    let newest = container.life.ended.as_deref().filter(|_| of(&container.id));
    newest.or_else(|| container.life.last_ended.as_deref().filter(|_| of(&container.last_id)))
}

/// The runs that an object names: of each container the newest, and the last that ended.
pub(super) fn named(pod: &Pod) -> impl Iterator<Item = Run> {
    let runs = |(container, it): (usize, &Container)| {
        let id = |id: &Option<Box<str>>| id.as_deref().and_then(Id::parse);
        let (newest, last) = (id(&it.id), id(&it.last_id));
        let newest_run =
            newest.map(|id| Run { id, container, current: true, restart_count: it.restart_count });
        // Until the next one has begun, both are the same. From then on the count is the next one's.
        let last = last.filter(|last| newest != Some(*last));
        let count = it.restart_count.and_then(|count| count.checked_sub(1));
        let last_run = last.map(|id| Run { id, container, current: false, restart_count: count });
        [last_run, newest_run].into_iter().flatten()
    };
    pod.containers.iter().enumerate().flat_map(runs)
}

/// The runs that `old` names, and those kept beside it, without the runs that `new` names: the earlier runs of `new`.
pub(super) fn earlier(old: &Pod, kept: &[Earlier], new: &Pod, now: Instant) -> Box<[Earlier]> {
    let position = |at: usize| {
        let name = &old.containers.get(at)?.name;
        let same = |container: &Container| container.name == *name;
        if new.containers.get(at).is_some_and(same) { Some(at) } else { new.containers.iter().position(same) }
    };
    let dropped = named(old).map(|run| {
        let ended = old.containers.get(run.container).and_then(|container| ended(container, run.id));
        Earlier { run, since: now, ended: ended.cloned().map(Box::new) }
    });
    let named: Vec<_> = named(new).collect();
    let mut earlier = Vec::new();
    for Earlier { run, since, ended } in kept.iter().cloned().chain(dropped) {
        let again = named.iter().any(|other| other.id == run.id);
        let (fresh, container) = (now.saturating_duration_since(since) < KEPT, position(run.container));
        if let Some(container) = container.filter(|_| fresh && !again) {
            earlier.push(Earlier { run: Run { container, current: false, ..run }, since, ended });
        }
    }
    newest_of_each(earlier, new.containers.len())
}

/// Later elements are newer: so the last ones of each container stay.
fn newest_of_each(mut earlier: Vec<Earlier>, containers: usize) -> Box<[Earlier]> {
    let mut counts = vec![0_usize; containers];
    earlier.reverse();
    earlier.retain(|it| {
        counts.get_mut(it.run.container).is_some_and(|count| {
            *count += 1;
            *count <= MAX_EARLIER_RUNS
        })
    });
    earlier.reverse();
    earlier.into_boxed_slice()
}
