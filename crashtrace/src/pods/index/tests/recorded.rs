//! A real server's watch, played into the index.

use std::collections::HashMap;
use std::time::Instant;

use super::super::{Index, IndexedContainer};
use super::SECOND;
use crate::pods::object::pod;
use crate::pods::object::tests::recorded::{Event, WATCH, WATCH_END, events, list};
use crate::pods::pod::{ContainerKind, Pod};

/// Plays events, one a second, and looks at the index after each.
fn play(index: &mut Index, lines: &str, from: Instant, mut look: impl FnMut(&Index, &Pod, bool)) -> Instant {
    let mut now = from;
    for event in events(lines) {
        now += SECOND;
        let (object, deleted) = match &event {
            Event::Added(object) | Event::Modified(object) => (object, false),
            Event::Deleted(object) => (object, true),
            Event::Bookmark(_) => continue,
        };
        let pod = pod(object).expect("a pod");
        assert!(index.apply(pod.clone(), now));
        if deleted {
            index.remove(&pod.uid, now);
        }
        look(index, &pod, deleted);
    }
    now
}

fn short(id: &str) -> &str {
    &id[..6]
}

fn container(found: &IndexedContainer) -> (&str, ContainerKind) {
    let container = &found.pod.containers[found.container];
    (&container.name, container.kind)
}

/// Every id that any object ever named is found from then on, with the count that its run had.
#[test]
fn each_run_keeps_its_name_and_its_count() {
    let (mut index, mut runs) = (Index::default(), HashMap::<String, (Box<str>, Box<str>, u32)>::new());
    let mut look = |index: &Index, pod: &Pod, _: bool| {
        for container in &pod.containers {
            if let (Some(id), Some(count)) = (&container.id, container.restart_count) {
                let run = (pod.name.clone(), container.name.clone(), count);
                let before = runs.insert(id.to_string(), run.clone());
                assert!(before.is_none_or(|before| before == run), "{} {id}", pod.name);
            }
        }
        for (id, (pod, name, count)) in &runs {
            let found = index.find_container(id).expect("it is known");
            let container = &found.pod.containers[found.container];
            assert_eq!((&found.pod.name, &container.name), (pod, name));
            assert_eq!(found.restart_count, Some(*count), "{pod} {id}");
            assert_eq!(found.current, container.id.as_deref() == Some(id), "{pod} {id}");
        }
    };
    let end = play(&mut index, WATCH, Instant::now(), &mut look);
    play(&mut index, WATCH_END, end, &mut look);
    let of = |pod: &str| runs.values().filter(|run| *run.0 == *pod).count();
    assert_eq!(
        (of("oom-pid1"), of("oom-tmpfs"), of("killed-from-host"), of("web-7d9c5b8f6d-x2v4k")),
        (7, 7, 3, 1)
    );
}

#[test]
fn which_runs_are_known_while_a_container_crashes() {
    let (mut index, mut steps) = (Index::default(), Vec::new());
    let ids = ["6c6853", "bbb811", "3683a6"];
    let mut whole = HashMap::new();
    play(&mut index, WATCH, Instant::now(), |index, pod, _| {
        if &*pod.name != "oom-pid1" {
            return;
        }
        let named = pod.containers.iter().filter_map(|container| container.id.as_deref());
        whole.extend(named.map(|id| (short(id).to_owned(), id.to_owned())));
        let known = ids.map(|id| {
            let found = whole.get(id).and_then(|id| index.find_container(id));
            found.map_or("-".to_owned(), |found| {
                let count = found.restart_count.map_or(-1, i64::from);
                format!("{count}{}", if found.current { "" } else { " before" })
            })
        });
        if steps.last() != Some(&known) {
            steps.push(known);
        }
    });
    let expected = [
        ["-", "-", "-"],
        ["0", "-", "-"],
        ["0 before", "1", "-"],
        ["0 before", "1 before", "2"],
        ["0 before", "1 before", "2 before"],
    ];
    assert_eq!(steps, expected.map(|step| step.map(str::to_owned)));
}

#[test]
fn sidecars_and_ephemeral_containers_are_found() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.replace(list(), now);
    assert_eq!((index.pods(), index.gone(), index.refused()), (16, 0, 0));
    let find = |id: &str| index.find_container(id).expect("it is known");
    let kinds = [
        (
            "8a7065c3683553536444ac31c524d37d0f4d9ba51f6245f399e82d7e0a3cee95",
            "mesh",
            "sidecar",
            ContainerKind::Sidecar,
        ),
        (
            "a181f06773d892c399bf59acc19484911399bb451830875f8f0ee3f9e3479e57",
            "mesh",
            "setup",
            ContainerKind::Init,
        ),
        (
            "28896c8c758f71c8b5cf742f64ff77db8e7012d048c66c7eec5f96fa2fe9710b",
            "mesh",
            "app",
            ContainerKind::App,
        ),
        (
            "5a8f4d4088ce845730c8aa8b04958258a8dccb233404d714a12cf73324707ea8",
            "debugged",
            "debugger-q8x",
            ContainerKind::Ephemeral,
        ),
    ];
    for (id, pod, name, kind) in kinds {
        let found = find(id);
        assert_eq!((&*found.pod.name, container(&found)), (pod, (name, kind)));
    }
    // The pause container of `nightly`, which no status names.
    let sandbox = "3b3ffc3a4d063cca35da964a4620ee7b159ee721036ca8ca5a45c3f62ef1af7b";
    assert_eq!(index.find_container(sandbox), None);
}

/// The mirror pod is deleted and made anew, with another UID; the container runs on all the while.
#[test]
fn a_static_pod_is_found_by_its_hash_through_the_change_of_its_mirror() {
    let (mut index, mut uids) = (Index::default(), Vec::new());
    let hash = "349ec37f55eed21f6a216e957a510f10";
    let id = "d659e834076a8e42f3153d97bc083488ad8c4aab5d712eab5a9edd03595ccaf5";
    index.replace(list(), Instant::now());
    play(&mut index, WATCH_END, Instant::now(), |index, _, _| {
        let by_hash = index.find_pod(hash).expect("it is known").uid.clone();
        let by_id = index.find_container(id).expect("it is known").pod.uid.clone();
        let step = (short(&by_hash).to_owned(), short(&by_id).to_owned());
        if uids.last() != Some(&step) {
            uids.push(step);
        }
    });
    let step = |hash: &str, id: &str| (hash.to_owned(), id.to_owned());
    // The new mirror has no status at first.
    assert_eq!(uids, [step("689bf4", "689bf4"), step("4d20cc", "689bf4"), step("4d20cc", "4d20cc")]);
    let old = "689bf48b-bbc3-41a6-9c9d-3803edd8723e";
    assert_eq!(index.find_pod(old).map(|pod| pod.life.deleting), Some(true));
}

#[test]
fn a_deployment_and_a_resize_are_seen_through_an_id() {
    let (mut index, mut limits) = (Index::default(), Vec::new());
    index.replace(list(), Instant::now());
    let web = list().into_iter().find(|pod| pod.name.starts_with("web-")).expect("it is listed");
    let id = web.containers[0].id.clone().expect("it has begun");
    play(&mut index, WATCH_END, Instant::now(), |index, _, _| {
        let found = index.find_container(&id).expect("it is known");
        let memory = found.pod.containers[found.container].memory;
        let step = (
            memory.limit_bytes.map(|bytes| bytes >> 20),
            memory.limit_in_force_bytes.map(|bytes| bytes >> 20),
        );
        if limits.last() != Some(&step) {
            limits.push(step);
        }
        let workload = found.pod.workload.clone().expect("it has one");
        assert_eq!((&*workload.kind, &*workload.name), ("Deployment", "web"));
        assert_eq!((found.current, found.restart_count), (true, Some(0)));
    });
    assert_eq!(limits, [(Some(80), Some(64)), (Some(80), Some(80))]);
}

#[test]
fn deleted_pods_stay_known() {
    let (mut index, mut deleted) = (Index::default(), Vec::new());
    play(&mut index, WATCH_END, Instant::now(), |index, pod, gone| {
        if gone {
            deleted.push(pod.clone());
        }
        assert!(index.find_pod(&pod.uid).is_some());
    });
    assert_eq!((deleted.len(), index.pods(), index.gone()), (6, 0, 6));
    for pod in deleted {
        assert_eq!(index.find_pod(&pod.uid).as_deref(), Some(&pod));
    }
}
