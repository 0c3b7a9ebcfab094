//! Any order of events leaves an index whose parts agree.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{Index, KEPT, MAX_EARLIER_RUNS};
use super::{container, id, pod};
use crate::pods::pod::Pod;

/// Events. Few pods and few ids, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Apply(Box<Pod>),
    Remove(u8),
    Replace(Vec<Pod>),
    Begin,
    End,
    Wait(u64),
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let containers = (
        0_u8..4,
        proptest::option::of(0_usize..24),
        proptest::option::of(0_usize..24),
        proptest::option::of(0_u32..4),
    )
        .prop_map(|(name, id, last_id, count)| container(&name.to_string(), id, last_id, count));
    let hash = proptest::option::of(0_u8..3);
    (0_u8..8, 0_u8..3, hash, proptest::collection::vec(containers, 0..4)).prop_map(
        |(uid, name, hash, containers)| Pod {
            name: name.to_string().into(),
            config_hash: hash.map(|hash| format!("hash{hash}").into()),
            containers: containers.into(),
            ..pod(&uid.to_string())
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any_pod().prop_map(|pod| Step::Apply(Box::new(pod))),
        3 => (0_u8..8).prop_map(Step::Remove),
        1 => proptest::collection::vec(any_pod(), 0..5).prop_map(Step::Replace),
        1 => Just(Step::Begin),
        1 => Just(Step::End),
        2 => (0_u64..700).prop_map(Step::Wait),
    ]
}

fn check(index: &Index) {
    let mut bytes = 0;
    for (uid, entry) in &index.pods {
        assert_eq!(*uid, entry.pod.uid);
        bytes += entry.bytes();
        assert_eq!(entry.gone.map(|(_, order)| index.gone.get(&order)), entry.gone.map(|_| Some(uid)));
        for at in 0..entry.pod.containers.len() {
            let runs = entry.runs().filter(|run| run.found(&entry.pod).container == at).count();
            assert!(runs <= MAX_EARLIER_RUNS + 2);
        }
    }
    assert_eq!(index.bytes, bytes);
    assert_eq!(index.gone.len(), index.pods.values().filter(|entry| entry.gone.is_some()).count());
    // No id leads to a pod as it was before, or to a forgotten pod.
    for (id, found) in &index.ids {
        let entry = &index.pods[&found.pod.uid];
        assert!(Arc::ptr_eq(&found.pod, &entry.pod));
        assert!(entry.runs().any(|run| run.id == *id));
        assert!(found.container < found.pod.containers.len());
    }
    for (hash, claimants) in &index.hashes {
        assert!(!claimants.is_empty());
        for pod in claimants {
            assert!(Arc::ptr_eq(pod, &index.pods[&pod.uid].pod));
            assert_eq!(pod.config_hash.as_ref(), Some(hash));
        }
        // The hash has a pod only where all claimants have one name.
        let names: std::collections::BTreeSet<_> =
            claimants.iter().map(|pod| (&pod.namespace, &pod.name)).collect();
        assert_eq!(index.find_pod(hash).is_some(), names.len() == 1);
    }
    let claims = index.pods.values().filter(|entry| entry.pod.config_hash.is_some()).count();
    assert_eq!(claims, index.hashes.values().map(Vec::len).sum::<usize>());
}

proptest! {
    #[test]
    fn any_steps_leave_the_parts_in_agreement(steps in proptest::collection::vec(any_step(), 0..60)) {
        let (mut index, mut now) = (Index::default(), Instant::now());
        for step in steps {
            match step {
                Step::Apply(pod) => {
                    prop_assert!(index.apply(Pod::clone(&pod), now));
                    let found = index.find_pod(&pod.uid);
                    prop_assert_eq!(found.as_deref(), Some(&*pod));
                    for it in &pod.containers {
                        prop_assert!(it.id.as_deref().is_none_or(|id| index.find_container(id).is_some()));
                    }
                }
                Step::Remove(uid) => index.remove(&uid.to_string(), now),
                Step::Replace(pods) => {
                    let mut uids: Vec<_> = pods.iter().map(|pod| pod.uid.clone()).collect();
                    uids.sort();
                    uids.dedup();
                    index.replace(pods, now);
                    prop_assert_eq!(index.pods(), uids.len());
                }
                Step::Begin => index.begin_replace(),
                Step::End => index.end_replace(now),
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    index.sweep(now);
                }
            }
            check(&index);
        }
        for entry in index.pods.values().map(|entry| Arc::clone(&entry.pod)).collect::<Vec<_>>() {
            index.remove(&entry.uid, now);
        }
        index.sweep(now + KEPT);
        prop_assert_eq!((index.pods(), index.gone(), index.containers(), index.bytes()), (0, 0, 0, 0));
        prop_assert!(index.hashes.is_empty());
        prop_assert!(index.find_container(&id(1)).is_none());
    }
}
