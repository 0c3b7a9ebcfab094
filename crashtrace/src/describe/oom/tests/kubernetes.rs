//! Words that the pod's spec decides, where the API server is a source, and those that hold without it.

use super::*;
use crate::correlate::OomKill;
use crate::names::{Answer, MemoryBounds, MemoryVolume, Names, PodNames, Who};
use crate::pods::names::tests::shop;
use crate::schema::{Certainty, ContainerRole, Level};

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

/// A pod and its container `api`, which have the same limit of 64 MiB, and of which the container holds nearly all.
fn equal(charged_at: &str) -> OomKill {
    let cgroups = lineage(&api()).with(POD, 64 * MIB, 64 * MIB).with(&api(), 63 * MIB, 64 * MIB);
    let limit = cgroups.from(charged_at);
    kill(&cgroups, Some(limit), &CHARGE)
}

/// The pod with a limit of its own or without, and its container with one or without.
fn spec(pod: bool, container: bool) -> Names {
    let memory = |has: bool| if has { limit(64) } else { MemoryBounds::default() };
    let mut names = Names { pod_limit_is_own: Some(pod), ..shop(memory(pod || container)) };
    if let Some(of) = &mut names.container {
        of.memory = memory(container);
    }
    names
}

#[test]
fn the_pods_spec_decides_whose_an_equal_limit_is() {
    for charged_at in [POD.to_owned(), api()] {
        let told = with_names(equal(&charged_at), spec(true, false), None);
        assert_eq!((told.level, told.certainty), (Some(Level::Pod), Certainty::Observed), "{charged_at}");
        assert!(told.summary.starts_with("pod shop/api-7f9c hit its limit of 64 MiB; "), "{}", told.summary);
        assert!(told.shows(&["by the pod's spec it is the pod's (spec.resources)"]), "{told:#?}");
        assert!(told.shows(&["Kubernetes has the same limit of 64 MiB for pod shop/api-7f9c"]), "{told:#?}");
        let wrong =
            ["set by hand", "Kubernetes has no limit", "its own limit", "container's resources.limits"];
        assert!(wrong.iter().all(|wrong| !texts(&told).contains(wrong)), "{}", texts(&told));
        let remedy =
            "Raise the pod's own limit (Deployment shop/api), spec.resources.limits.memory, above 64 MiB";
        assert!(told.remedy.contains(remedy), "{}", told.remedy);
        let told = with_names(equal(&charged_at), spec(false, true), None);
        assert_eq!(
            (told.level, told.certainty),
            (Some(Level::Container), Certainty::Observed),
            "{charged_at}"
        );
        assert!(told.shows(&["by the pod's spec it is the container's"]), "{told:#?}");
        assert!(told.remedy.starts_with(
            "Raise the container's resources.limits.memory (container api in Deployment shop/api)"
        ));
        assert!(!told.remedy.contains("spec.resources"), "{}", told.remedy);
        let told = with_names(equal(&charged_at), spec(true, true), None);
        let level = if charged_at == POD { Level::Pod } else { Level::Container };
        assert_eq!((told.level, told.certainty), (Some(level), Certainty::Observed), "{charged_at}");
        let told = with_names(equal(&charged_at), spec(false, false), None);
        assert_eq!((told.level, told.certainty), (Some(level), Certainty::Inferred), "{charged_at}");
        assert!(told.shows(&["by the pod's spec neither has a limit"]), "{told:#?}");
        let wrong = ["only the pod's spec tells", "If the pod's spec has"];
        assert!(wrong.iter().all(|wrong| !texts(&told).contains(wrong)), "{}", texts(&told));
        // A container that the spec does not have (yet): the runtime may know its name.
        let mut names = spec(true, false);
        if let Some(container) = &mut names.container {
            container.role = None;
        }
        assert_eq!(with_names(equal(&charged_at), names, None).level, Some(Level::Pod), "{charged_at}");
    }
}

#[test]
fn a_limit_of_the_pod_alone_is_no_limit_that_kubernetes_does_not_have() {
    // The container's number is from before the pod's was changed.
    let cgroups = lineage(&api()).with(POD, 96 * MIB, 96 * MIB).with(&api(), 48 * MIB, 48 * MIB);
    let told = with_names(kill(&cgroups, Some(cgroups.clone()), &CHARGE), spec(true, false), None);
    assert_eq!(told.level, Some(Level::Container));
    assert!(
        told.shows(&[
            "Kubernetes has a limit of 64 MiB for the pod and none for container api",
            "48 MiB was in force"
        ]),
        "{told:#?}"
    );
    assert!(!told.shows(&["Kubernetes has no limit"]));
}

#[test]
fn that_a_victim_is_not_pid_1_is_said_to_matter_only_in_a_pid_namespace_of_the_containers_own() {
    let told = |names: Option<Names>| {
        let mut kill = dd();
        for victim in &mut kill.victims {
            victim.task.container_pid = Some(7);
        }
        match names {
            Some(names) => with_names(kill, names, None),
            None => told(&enrich(an_incident(kill), &mut Node::unseen("a test"))),
        }
    };
    let shares = |shares: bool| Names { shares_pids: Some(shares), ..shop(limit(64)) };
    let own = told(Some(shares(false)));
    assert!(own.shows(&["in its container it was pid 7, not pid 1"]), "{own:#?}");
    assert!(own.remedy.contains(
        "was pid 7 in its container, not pid 1: the container may go on without it, and Kubernetes"
    ));
    let mut debugger = shares(false);
    if let Some(container) = &mut debugger.container {
        container.role = Some(ContainerRole::Ephemeral);
    }
    for names in [shares(true), debugger] {
        let oom = told(Some(names));
        assert!(!texts(&oom).contains("not pid 1") && !texts(&oom).contains("restart"), "{}", texts(&oom));
        assert!(oom.shows(&["does not tell whether it was its container's first process"]), "{oom:#?}");
    }
    let unknown = told(None);
    assert!(!texts(&unknown).contains("not pid 1"), "{}", texts(&unknown));
    assert!(
        unknown
            .remedy
            .contains("If the victim (pid 7 in its pid namespace) was not its container's first process")
    );
    assert!(unknown.shows(&["a child, unless its pod's containers share that namespace"]), "{unknown:#?}");
}
