//! Verdicts on the node's memory, on resource requests, and on containers that cannot start.

use super::*;
use crate::cgroup;
use crate::classify::tests::build::{Told, an_incident, told};
use crate::correlate::{Incident, OomKill};
use crate::enrich::{Held, LateHolders, Memory, enrich, owner_of};
use crate::event::{Limit, NoKill};
use crate::names::MemoryBounds;
use crate::names::{Answer, PodNames, Who};
use crate::node::{CgroupFiles, Node};

fn held(path: &str, mib: u64, limit: Option<Limit>) -> Held {
    let placement = cgroup::parse(path.as_bytes());
    let lineage = lineage(path);
    let party = owner_of(&lineage, cgroup::NodeRoot::default()).expect("a whole path");
    assert_eq!(party.placement, placement);
    Held { party, usage_bytes: mib * MIB, swap_bytes: None, limit, removed: false }
}

fn memory(holders: Vec<Held>) -> Memory {
    Memory {
        large: holders.iter().map(|held| held.party.path.clone()).collect(),
        pods: Some(held("/kubepods", 3000, Some(Limit::Bytes(6000 * MIB)))),
        holders,
        least_bytes: 64 * MIB,
        small: 12,
        small_bytes: 100 * MIB,
        looked_at: 20,
        total: Some(41),
        ..Memory::default()
    }
}

/// The verdict on a kill by the node, with these holders, on a node of 8000 MiB.
fn on_node(kill: OomKill, memory: Memory) -> Told {
    let mut case = enrich(an_incident(kill), &mut Node::unseen("a test"));
    case.memory = Some(memory);
    case.node_memory_bytes = Some(8000 * MIB);
    told(&case)
}

#[test]
fn the_largest_holders_are_named_with_their_shares_and_the_rest_is_counted() {
    let holders = vec![
        held("/system.slice/backup.service", 5000, None),
        held(POD, 1700, None),
        held("/user.slice", 90, None),
        held("/x", 80, None),
    ];
    let verdict = on_node(kill(&lineage(&api()), None, &SYSTEM), memory(holders));
    assert!(
        verdict.shows(&["backup.service", "4.9 GiB", "pod 1f6cbd1e", "and 1 more", "20 of 41 cgroups"]),
        "{verdict:?}"
    );
    assert!(
        verdict.shows(&["all pods", "2.9 GiB", "5.9 GiB", "2 GiB of the node's memory are for kubelet"]),
        "{verdict:?}"
    );
    assert!(verdict.shows(&["the victim belongs to pod 1f6cbd1e", "second"]), "{verdict:?}");
    assert!(
        verdict.remedy.contains("Look first at the largest holder, host unit backup.service"),
        "{}",
        verdict.remedy
    );
}

/// A kill by the node in the pod, whose cgroup held this much memory and swap.
fn of_pod(memory_mib: u64, swap_mib: u64) -> OomKill {
    let mut cgroups = lineage(&api());
    let pod = cgroups.level_mut(POD);
    (pod.usage_bytes, pod.swap_usage_bytes) = (Some(memory_mib * MIB), Some(swap_mib * MIB));
    kill(&cgroups, None, &SYSTEM)
}

#[test]
fn a_victim_that_held_little_is_a_bystander_only_where_that_is_known() {
    let holders = || vec![held("/system.slice/backup.service", 5000, None)];
    let says = |kill, memory| on_node(kill, memory).shows(&["a bystander"]);
    assert!(says(of_pod(10, 0), memory(holders())));
    assert!(!says(of_pod(10, 90), memory(holders())), "most of it was in swap");
    assert!(!says(of_pod(90, 0), memory(holders())), "it is large, whatever the walk says");
    assert!(!says(of_pod(10, 0), Memory { incomplete: true, ..memory(holders()) }));
    assert!(!says(of_pod(10, 0), memory(Vec::new())), "nobody held much");
    let mut unified = of_pod(10, 0);
    unified.decision().victim_cgroups.as_mut().expect("cgroups").unified = true;
    assert!(!says(unified, memory(holders())), "its memory is charged elsewhere");
    // In a plain cgroup that is large together with all cgroups below it.
    let inner = || kill(&lineage("/docker"), None, &SYSTEM);
    assert!(says(inner(), memory(holders())));
    let large = Memory { large: [b"/docker".to_vec()].into(), ..memory(holders()) };
    assert!(!says(inner(), large));
    // Why it was chosen is a different question, and not known here.
    assert!(!on_node(of_pod(10, 0), memory(holders())).shows(&["a bystander", "chosen"]));
}

#[test]
fn figures_that_were_not_read_are_not_reported() {
    let holders = || vec![held("/system.slice/db.service", 700, None)];
    let victim = || kill(&lineage("/system.slice/db.service"), None, &SYSTEM);
    let whole = on_node(victim(), memory(holders()));
    assert!(whole.shows(&["the largest holders of memory were host unit db.service"]));
    assert!(whole.shows(&["belongs to the largest holder"]) && whole.remedy.contains("Look first"));
    let partly = on_node(victim(), Memory { incomplete: true, ..memory(holders()) });
    assert!(partly.shows(&[
        "the largest holders that were seen are host unit db.service",
        "large ones may have been missed"
    ]));
    assert!(!partly.shows(&["largest holder,"]) && !partly.remedy.contains("Look first"));
    assert!(!partly.shows(&["5 ms"]), "older recordings do not say why");
    let cut = on_node(victim(), Memory { incomplete: true, time_up: true, ..memory(holders()) });
    assert!(
        cut.shows(&[
            "that took 5 ms, the most that a kill may be held up, so large ones may have been missed"
        ])
    );
    let nothing = on_node(victim(), Memory { looked_at: 0, ..memory(Vec::new()) });
    assert!(!nothing.shows(&["looked at"]));
    let none = on_node(victim(), memory(Vec::new()));
    assert!(none.shows(&["no cgroup that was seen held as much as 64 MiB"]));
}

#[test]
fn a_second_look_is_told_apart_from_the_first() {
    let says = |holders_late| {
        let mut case = enrich(
            an_incident(kill(&lineage("/system.slice/db.service"), None, &SYSTEM)),
            &mut Node::unseen("a test"),
        );
        case.memory = Some(Memory { incomplete: true, time_up: true, ..memory(Vec::new()) });
        case.holders_late = holders_late;
        told(&case)
    };
    let found = |mibs: &[u64], incomplete| {
        let holders = mibs.iter().map(|mib| held(POD, *mib, None)).collect();
        Some(LateHolders { holders, looked_at: 40_000, incomplete })
    };
    assert!(!says(None).shows(&["a second look"]));
    let none = says(found(&[], false));
    assert!(none.shows(&["a second look at 40000 cgroups, just after the kill, found no other large one"]));
    let many = says(found(&[90, 80, 70, 66], true));
    assert!(many.shows(&["found pod 1f6cbd1e", "(90 MiB", "(70 MiB", ", and 1 more; it ended early too"]));
    assert!(!many.shows(&["66 MiB"]) && !many.remedy.contains("Look first"));
}

#[test]
fn a_share_is_of_all_of_the_node_or_none() {
    let holders = || vec![held("/system.slice/db.service", 700, None)];
    let says = |constraint| {
        let kill =
            kill(&lineage("/x"), None, &SYSTEM).with_control(|control| control.constraint = constraint);
        on_node(kill, memory(holders())).shows(&["host unit db.service (700 MiB, 136 % of the total)"])
    };
    assert!(says(Constraint::None), "of 512 MiB");
    assert!(!says(Constraint::Cpuset) && !says(Constraint::Mempolicy));
}

/// `oom_score_adj` shows the resource request of a Burstable container, to a thousandth of the node's memory.
#[test]
fn the_resource_request_is_computed_from_the_oom_score_adj_that_kubelet_sets() {
    let says = |adj: i16, used_mib: u64| {
        let mut cgroups = lineage(&api());
        for level in &mut cgroups.levels {
            level.usage_bytes = Some(used_mib * MIB);
        }
        let mut incident = kill(&cgroups, None, &SYSTEM);
        let task = Task { oom_score_adj: Some(adj), ..task("java", 4211) };
        incident.decision().victim = Some(task.clone());
        incident.victims[0].task = task;
        on_node(incident, memory(Vec::new()))
    };
    // 1000 - 1000 * 800 MiB / 8000 MiB.
    assert!(says(900, 1200).shows(&[
        "oom_score_adj of 900",
        "requests about 800 MiB",
        "1.2 GiB, more than that"
    ]));
    assert!(says(900, 300).shows(&["300 MiB, less than that"]));
    assert!(says(900, 804).shows(&["about as much"]));
    for bound in [3, 999, 1000, 0, -997, -1000] {
        assert!(!says(bound, 300).shows(&["kubelet gives"]), "{bound}");
    }
}

/// The API server's own figure replaces the estimate from `oom_score_adj`.
#[test]
fn the_resource_request_of_kubernetes_is_reported_if_it_is_known() {
    #[derive(Debug)]
    struct Requests(Option<u64>);
    impl PodNames for Requests {
        fn find(&mut self, _: Who<'_>) -> Answer {
            let memory = MemoryBounds { request_bytes: self.0, ..MemoryBounds::default() };
            let names = crate::pods::names::tests::shop(memory);
            Answer { names: Some(names), ..Answer::default() }
        }
    }
    let says = |request_mib: Option<u64>| {
        let mut cgroups = lineage(&api());
        for level in &mut cgroups.levels {
            level.usage_bytes = Some(300 * MIB);
        }
        let pods = Box::new(Requests(request_mib.map(|mib| mib * MIB)));
        let mut node = Node { pods, ..Node::unseen("a test") };
        let incident = Incident::OomKill(Box::new(kill(&cgroups, None, &SYSTEM)));
        told(&enrich(incident, &mut node))
    };
    assert!(says(Some(200)).shows(&["container api requests 200 MiB and used 300 MiB: 100 MiB more"]));
    assert!(says(Some(400)).shows(&["requests 400 MiB and used 300 MiB, which is within its request"]));
    assert!(says(None).shows(&["container api has no memory request of its own and used 300 MiB"]));
    assert!(!says(None).shows(&["kubelet gives"]));
}

#[test]
fn a_task_that_waits_is_no_oom_without_a_victim() {
    let limit = lineage(POD);
    let mut none = no_kill(limit.clone(), Some(limit), &["mem_cgroup_oom_synchronize"]);
    none.event.why = NoKill::SwitchedOff;
    (none.event.gfp, none.event.order) = (None, None);
    let verdict = none.verdict();
    assert_eq!((verdict.cause, verdict.origin), (Cause::CgroupOom, Some(Origin::Charge)));
    assert_eq!(verdict.level, Some(Level::Pod));
    assert!(
        verdict
            .summary
            .ends_with("java (pid 4211) hangs, because the OOM killer of that cgroup is switched off")
    );
    assert!(verdict.shows(&["oom_kill_disable is set"]));
    assert!(verdict.remedy.contains("oom_kill_disable"), "{}", verdict.remedy);
    assert!(!verdict.remedy.contains("-1000"), "{}", verdict.remedy);
}

/// A kill in a pod, of a process with this name, whose limit owner holds this much shared memory.
fn in_pod(comm: &str, shmem_bytes: u64) -> Told {
    #[derive(Debug)]
    struct Shmem(u64);
    impl CgroupFiles for Shmem {
        fn memory_stat(&mut self, _: &[u8], _: Option<u64>) -> Result<Vec<u8>, String> {
            Ok(format!("shmem {}\n", self.0).into_bytes())
        }
    }
    let mut limit = lineage(POD);
    limit.levels[0].usage_bytes = Some(100 * MIB);
    let mut incident = kill(&lineage(&api()), Some(limit), &CHARGE);
    let task = Task { ..task(comm, 4211) };
    incident.decision().victim = Some(task.clone());
    incident.victims[0].task = task;
    let mut node = Node { cgroups: Box::new(Shmem(shmem_bytes)), ..Node::unseen("a test") };
    told(&enrich(an_incident(incident), &mut node))
}

#[test]
fn shared_memory_is_shown_where_it_is_a_part_of_the_usage() {
    assert!(in_pod("java", 60 * MIB).shows(&["60 MiB (60 %)", "tmpfs", "may stay when processes die"]));
    assert!(!in_pod("java", MIB).shows(&["tmpfs"]));
}

#[test]
fn the_runtimes_start_up_is_named_as_such() {
    for comm in ["runc:[2:INIT]", "runc:[1:CHILD]", "youki:[2:INIT]"] {
        let verdict = in_pod(comm, 0);
        assert!(
            verdict.shows(&[comm, "has the name of the container runtime's start-up process"]),
            "{verdict:?}"
        );
        assert!(verdict.remedy.starts_with(&format!(
            "If {comm} (pid 4211) is the runtime's start-up process, the container could not start"
        )));
    }
    let full = in_pod("runc:[2:INIT]", 90 * MIB);
    assert!(full.remedy.contains("If those are memory-backed volumes"), "{}", full.remedy);
    for comm in ["runc", "java", "runc-like", "kubelet"] {
        assert!(!in_pod(comm, 0).shows(&["container runtime's"]), "{comm}");
    }
}

/// `runc exec`, for a probe for example, has the same name, in a running container; and if the node is out of memory, or all of
/// its pods are, no limit of the container is too small.
#[test]
fn only_a_container_that_was_about_to_start_could_not_start() {
    let runc = |container_pid, limit: Option<&str>, functions: &[&str]| {
        let mut incident = kill(&lineage(&api()), limit.map(lineage), functions);
        let task = Task { container_pid, ..task("runc:[2:INIT]", 4211) };
        incident.decision().victim = Some(task.clone());
        incident.victims[0].task = task;
        incident.verdict()
    };
    let cannot_start = |verdict: &Told| verdict.remedy.contains("could not start");
    assert!(cannot_start(&runc(Some(1), Some(POD), &CHARGE)));
    for verdict in [runc(Some(57), Some(POD), &CHARGE), runc(None, Some(POD), &CHARGE)] {
        assert!(verdict.shows(&["about to run a program in a container"]), "{verdict:?}");
        assert!(!verdict.shows(&["had not begun"]) && !cannot_start(&verdict));
    }
    assert!(!cannot_start(&runc(Some(1), Some(KUBEPODS), &CHARGE)));
    // Any process may take that name, but the runtime's is short-lived.
    let old = |age_ns: u64| {
        let mut incident = kill(&lineage(&api()), Some(lineage(POD)), &CHARGE);
        let task = Task { start_boottime_ns: Some(5), ..task("runc:[2:INIT]", 4211) };
        incident.ktime_ns = 5 + age_ns;
        incident.decision().victim = Some(task.clone());
        incident.victims[0].task = task;
        incident.verdict()
    };
    let young = old(1_250_000_000);
    assert!(young.shows(&["was pid 1 of its container and 1.3 s old: if it is that process"]), "{young:?}");
    let old = old(60_000_000_000);
    assert!(!old.shows(&["start-up process"]) && !cannot_start(&old), "{old:?}");
    // A thread's name is not the process's.
    let mut incident = kill(&lineage(&api()), Some(lineage(POD)), &CHARGE);
    incident.victims[0].task.thread_comm = Some("runc:[2:INIT]".into());
    assert!(!cannot_start(&incident.verdict()));
    assert!(!cannot_start(&runc(Some(1), None, &SYSTEM)));
}
