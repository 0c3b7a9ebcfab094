//! Words that the pod's spec decides, where the API server is a source, and those that hold without it.

use super::*;
use crate::correlate::OomKill;
use crate::names::{Answer, MemoryBounds, MemoryVolume, Names, PodNames, Who};
use crate::pods::names::tests::shop;

/// Every container of every pod has these names.
#[derive(Debug)]
struct All(Names);

impl PodNames for All {
    fn find(&mut self, _: Who<'_>) -> Answer {
        Answer { names: Some(self.0.clone()), ..Answer::default() }
    }
}

/// What is told of a kill if the API server knows the pod so.
fn with_names(kill: OomKill, names: Names, shmem_bytes: Option<u64>) -> Told {
    let mut case =
        enrich(an_incident(kill), &mut Node { pods: Box::new(All(names)), ..Node::unseen("a test") });
    case.limit_shmem_bytes = shmem_bytes;
    told(&case)
}

fn limit(mib: u64) -> MemoryBounds {
    MemoryBounds { limit_bytes: Some(mib * MIB), ..MemoryBounds::default() }
}

fn volume(name: &str, mib: Option<u64>) -> MemoryVolume {
    MemoryVolume { name: name.into(), size_limit_bytes: mib.map(|mib| mib * MIB) }
}

/// `dd` at its container's limit of 64 MiB, with a heap of 1 MiB.
fn dd() -> OomKill {
    let cgroups = lineage(&api()).with(&api(), 64 * MIB, 64 * MIB);
    let mut kill = kill(&cgroups, Some(cgroups.clone()), &CHARGE);
    for victim in &mut kill.victims {
        victim.task.rss =
            victim.task.rss.map(|rss| crate::event::Rss { anon_bytes: MIB, file_bytes: 0, ..rss });
    }
    kill
}

#[test]
fn a_limit_full_of_files_in_memory_names_the_volumes_and_no_heap() {
    let told = |volumes: Option<Vec<MemoryVolume>>| {
        let mut names = shop(limit(64));
        if let Some(container) = &mut names.container {
            container.memory_volumes.clone_from(&volumes);
        }
        names.memory_volumes = volumes;
        with_names(dd(), names, Some(62 * MIB)).remedy
    };
    let one = told(Some(vec![volume("cache", None)]));
    assert!(one.contains("62 MiB of the 64 MiB in use is shared memory and files in memory"), "{one}");
    assert!(one.contains("the container's memory-backed volume cache (no sizeLimit)"), "{one}");
    assert!(one.contains("set a sizeLimit") && !one.contains("-Xmx"), "{one}");
    let many = ["a", "b", "c", "d", "e"].map(|name| volume(name, Some(32)));
    let many = told(Some(many.to_vec()));
    assert!(many.contains("volumes a (sizeLimit 32 MiB), b (sizeLimit 32 MiB), c (sizeLimit 32 MiB), d (sizeLimit 32 MiB) and 1 more"), "{many}");
    assert!(many.contains("keep the sizeLimit"), "{many}");
    assert!(
        told(Some(Vec::new()))
            .contains("The container has no memory-backed emptyDir volume: look at /dev/shm")
    );
    assert!(told(None).contains("Look at /dev/shm and memory-backed emptyDir volumes"));
    // Anonymous memory that fills the limit is still looked at.
    let heap = with_names(kill_of_heap(), shop(limit(512)), Some(MIB)).remedy;
    assert!(heap.contains("-Xmx") && !heap.contains("/dev/shm"), "{heap}");
}

/// `java` at its container's limit, with a heap of 480 MiB.
fn kill_of_heap() -> OomKill {
    let cgroups = lineage(&api()).with(&api(), 512 * MIB, 512 * MIB);
    kill(&cgroups, Some(cgroups.clone()), &CHARGE)
}
