//! Verdicts of incidents as the kernel reports them, in each tier.

use super::Verdict;
use crate::event::{Constraint, Limit, Lineage, Rss, Stack, Task};
use crate::schema::{Cause, Certainty, Level, Origin};

pub(crate) mod alloc;
pub(crate) mod build;
pub(crate) mod exit;
mod limits;
mod memory;
mod properties;

use build::{
    API, BURSTABLE, CHARGE, KUBEPODS, MIB, POD, SYSTEM, WRITE, api, kill, lineage, mark, name, no_kill, side,
    stack, task,
};

/// The container `api` of a pod, at its own limit of 512 MiB.
fn full_container() -> Lineage {
    lineage(&api()).with(&api(), 512 * MIB, 512 * MIB)
}

#[track_caller]
fn expect(verdict: &Verdict, cause: Cause, level: Option<Level>, origin: Option<Origin>) {
    assert_eq!((verdict.cause, verdict.level, verdict.origin), (cause, level, origin), "{verdict:#?}");
}

/// Path of the limit owner, its level, and its name in the summary.
const LEVELS: [(&str, Level, &str); 9] = [
    ("@api", Level::Container, "container 4f2a00000000… of pod 1f6cbd1e… hit its own limit of 512 MiB"),
    (POD, Level::Pod, "pod 1f6cbd1e… hit its limit of 512 MiB"),
    (BURSTABLE, Level::Qos, "the node's Burstable pods together hit the limit of 512 MiB of their QoS class"),
    (KUBEPODS, Level::NodeAllocatable, "the node's pods together hit the node-allocatable limit of 512 MiB"),
    ("@api/job", Level::Cgroup, "/job inside container 4f2a00000000… of pod 1f6cbd1e… hit its limit"),
    ("/system.slice/db.service", Level::HostService, "host unit db.service hit its limit of 512 MiB"),
    ("/system.slice", Level::HostService, "host unit system.slice hit its limit"),
    ("/system.slice/db.service/job", Level::Cgroup, "/job inside host unit db.service hit its limit"),
    ("/mine", Level::Cgroup, "cgroup /mine hit its limit of 512 MiB"),
];

#[test]
fn a_memcg_oom_names_level_and_owner_in_every_tier_and_for_both_origins() {
    for (path, level, words) in LEVELS {
        let path = path.replace("@api", &api());
        // The victim is in the cgroup or below it; pods have a container, and it has no limit.
        let victim = if api().starts_with(&path) { api() } else { path.clone() };
        let victim = lineage(&victim).with(&path, 512 * MIB, 512 * MIB);
        for (names, origin) in [(CHARGE, Origin::Charge), (WRITE, Origin::LimitWrite)] {
            let seen = kill(&victim, Some(victim.from(&path)), &names);
            for (kill, certainty) in [(seen.clone(), Certainty::Observed), (seen.raw(), Certainty::Inferred)]
            {
                let verdict = kill.verdict();
                expect(&verdict, Cause::CgroupOom, Some(level), Some(origin));
                assert_eq!(verdict.certainty, certainty);
                assert_eq!(verdict.constraint, Some(Constraint::Memcg));
                let limit = verdict.limit.as_ref().expect("the limit is found");
                assert_eq!((limit.party.path.as_slice(), limit.charged_at), (path.as_bytes(), level));
                assert!(verdict.shows(&["used 512 MiB of its limit of 512 MiB"]), "{verdict:#?}");
                if origin == Origin::Charge {
                    assert!(verdict.summary.contains(words), "{}", verdict.summary);
                    assert!(verdict.remedy.contains("512 MiB"), "{}", verdict.remedy);
                } else {
                    assert!(verdict.summary.contains("was lowered to 512 MiB"), "{}", verdict.summary);
                    assert!(verdict.remedy.contains("why java (pid 4211) lowered"), "{}", verdict.remedy);
                }
            }
        }
    }
}

#[test]
fn an_oom_of_the_node_is_told_apart_by_origin_and_constraint() {
    use Constraint::{Cpuset, Mempolicy, None as Whole, Other};
    let rows = [
        (Whole, "the node ran out of memory; java (pid 4211) of container", "--system-reserved"),
        (Cpuset, "the NUMA nodes that a cpuset allows ran out of memory; java", "cpuset.mems"),
        (Mempolicy, "the NUMA nodes that a memory policy allows ran out", "--membind"),
        (Other(9), "the node, or some of its zones or NUMA nodes, ran out of memory", "--system-reserved"),
    ];
    for (constraint, summary, remedy) in rows {
        let verdict = kill(&full_container(), None, &SYSTEM)
            .with_control(|control| control.constraint = constraint)
            .verdict();
        expect(&verdict, Cause::SystemOom, Some(Level::Node), Some(Origin::Allocation));
        assert_eq!(verdict.limit, None);
        if let Other(value) = constraint {
            assert_eq!(verdict.constraint, None);
            assert!(verdict.gap("constraint").is_some_and(|reason| reason.contains(&value.to_string())));
        } else {
            assert_eq!(verdict.constraint, Some(constraint));
        }
        assert!(verdict.summary.contains(summary), "{}", verdict.summary);
        assert!(verdict.remedy.contains(remedy), "{}", verdict.remedy);
    }
}

#[test]
fn sysrq_is_requested_by_a_user_and_proves_no_shortage() {
    let names = ["out_of_memory", "moom_callback"];
    let worker = Task { rss: None, ..task("kworker/0:1", 12) };
    let seen = kill(&full_container(), None, &names)
        .with_control(|control| control.order = None)
        .triggered_by(worker, lineage("/"));
    for verdict in [seen.clone().verdict(), seen.raw().verdict()] {
        expect(&verdict, Cause::SystemOom, None, Some(Origin::Sysrq));
        assert!(
            verdict.summary.contains("a kill was requested by sysrq, which says nothing about the node's")
        );
        assert!(verdict.gap("verdict.level").is_some());
        assert!(verdict.remedy.contains("/proc/sysrq-trigger") && !verdict.remedy.contains("reserved"));
        assert!(verdict.shows(&["kworker/0:1 (pid 12)", "not the process that requested it"]));
    }
}

#[test]
fn kswapds_kill_is_known_by_its_stack_or_by_naming_neither_zones_nor_memcg() {
    let names = ["out_of_memory", "balance_pgdat", "kswapd"];
    let by_stack = kill(&full_container(), None, &names);
    let by_request = kill(&full_container(), None, &SYSTEM).with_control(|control| control.zonelist = false);
    for verdict in [by_stack.clone().verdict(), by_stack.raw().verdict(), by_request.verdict()] {
        expect(&verdict, Cause::SystemOom, Some(Level::Node), Some(Origin::Kswapd));
        assert!(verdict.remedy.contains("min_ttl_ms"));
    }
}

#[test]
fn a_page_fault_without_zones_and_flags_is_no_kswapd() {
    let verdict = kill(&full_container(), None, &["out_of_memory", "pagefault_out_of_memory"])
        .with_control(|control| {
            control.zonelist = false;
            control.gfp = 0;
        })
        .verdict();
    expect(&verdict, Cause::SystemOom, Some(Level::Node), Some(Origin::Allocation));
}

#[test]
fn without_a_stack_a_charge_is_not_told_from_a_lowered_limit() {
    for lost in [None, Some(Stack::default()), Some(stack(&["oom_kill_process"]))] {
        let victim = full_container();
        let mut incident = kill(&victim, Some(victim.clone()), &CHARGE);
        incident.decision().stack = lost;
        let verdict = incident.verdict();
        expect(&verdict, Cause::CgroupOom, Some(Level::Container), None);
        assert!(verdict.gap("origin").is_some_and(|reason| reason.contains("look alike")));
        assert_eq!(verdict.certainty, Certainty::Observed);
    }
}

#[test]
fn a_container_at_its_limit_during_an_oom_of_the_node_is_not_its_cause() {
    let victim = full_container().with(KUBEPODS, 6000 * MIB, 7000 * MIB);
    let verdict = kill(&victim, None, &SYSTEM).raw().verdict();
    expect(&verdict, Cause::SystemOom, Some(Level::Node), Some(Origin::Allocation));
    assert_eq!((verdict.certainty, &verdict.limit), (Certainty::Observed, &None));
    assert!(verdict.gap("constraint").is_some_and(|reason| reason.contains("oom:mark_victim")));
    assert!(verdict.shows(&["used 512 MiB of its limit of 512 MiB, which is not the one that was hit"]));
    assert!(verdict.shows(&["all pods together used 5.9 GiB of 6.8 GiB"]), "{verdict:#?}");
    assert!(verdict.summary.contains("the node, or some of its zones or NUMA nodes, ran out of memory"));
    assert!(!verdict.remedy.contains("by about"), "that the whole node was full is not known");
    let verdict = kill(&victim, None, &SYSTEM).verdict();
    assert!(!verdict.remedy.contains("by about"), "nor what holds the rest of it: {}", verdict.remedy);
}

#[test]
fn without_stack_and_oom_control_the_cause_is_unknown_even_with_a_cgroup_near_its_limit() {
    let victim = full_container();
    for lost in [None, Some(Stack::default())] {
        let mut incident = kill(&victim, Some(victim.clone()), &CHARGE).raw();
        incident.decision().stack = lost;
        let verdict = incident.verdict();
        expect(&verdict, Cause::Unknown, None, None);
        for field in ["verdict.cause", "verdict.level", "origin", "constraint", "limit"] {
            assert!(verdict.gap(field).is_some(), "{field}");
        }
        assert!(
            verdict.summary.ends_with("java (pid 4211) of container 4f2a00000000… of pod 1f6cbd1e… killed")
        );
    }
    let lost = crate::correlate::OomKill { decision: None, ..kill(&victim, None, &[]) };
    let verdict = lost.verdict();
    expect(&verdict, Cause::Unknown, None, None);
    assert!(verdict.gap("verdict.cause").is_some_and(|reason| reason.contains("lost")));
}

#[test]
fn the_kernels_message_tells_the_cause_if_oom_control_and_stack_are_missing() {
    let rows = [("Memory cgroup out of memory", Cause::CgroupOom), ("Out of memory", Cause::SystemOom)];
    for (message, cause) in rows {
        let mut incident = kill(&full_container(), None, &[]).raw();
        incident.decision().message = Some(message.into());
        let verdict = incident.verdict();
        assert_eq!((verdict.cause, verdict.origin), (cause, None));
        // "Out of memory" is also sysrq's message.
        assert!(cause == Cause::CgroupOom || verdict.level.is_none());
    }
}

#[test]
fn an_innocent_bystander_is_called_one() {
    let victim = lineage(&api()).with(POD, 96 * MIB, 96 * MIB).with(&api(), 70 * MIB, 96 * MIB);
    let trigger = lineage(&side()).with(POD, 96 * MIB, 96 * MIB).with(&side(), 26 * MIB, 96 * MIB);
    let verdict =
        kill(&victim, Some(victim.from(POD)), &CHARGE).triggered_by(task("worker", 77), trigger).verdict();
    assert!(verdict.shows(&[
        "worker (pid 77) of container 77aa",
        "invoked the OOM killer",
        "java (pid 4211) of container 4f2a",
        "was the victim"
    ]));
    let own = kill(&victim, Some(victim.from(POD)), &CHARGE).verdict();
    assert!(!own.shows(&["was the victim"]) && !own.shows(&["invoked the OOM killer"]));
}

#[test]
fn a_group_kill_tells_the_group_and_how_many_died() {
    let victim = full_container().with_group(&api());
    let mut incident = kill(&victim, Some(victim.clone()), &CHARGE);
    for pid in 1..=2 {
        let cgroups = Some(victim.clone());
        incident.victims.push(mark(Task { container_pid: Some(7), ..task("worker", pid) }, cgroups));
    }
    let verdict = incident.clone().verdict();
    assert!(verdict.shows(&["memory.oom.group", API, "3 processes"]), "{verdict:#?}");
    assert!(verdict.summary.ends_with("java (pid 4211) and 2 more killed"), "{}", verdict.summary);
    assert!(verdict.remedy.contains("singleProcessOOMKill"));
    incident.complete = false;
    let verdict = incident.clone().verdict();
    assert!(verdict.shows(&["at least 3 processes"]) && verdict.summary.contains("at least 2 more"));
    // Set above the limit owner, it does not count.
    let above = full_container().with_group(POD);
    assert!(!kill(&above, Some(above.clone()), &CHARGE).verdict().shows(&["memory.oom.group"]));
    assert!(kill(&above, None, &SYSTEM).verdict().shows(&["memory.oom.group", "pod1f6c", "1 process"]));
}

#[test]
fn only_a_probe_on_the_decision_knows_that_a_victim_was_already_exiting() {
    let victim = full_container();
    let mut incident = kill(&victim, Some(victim.clone()), &CHARGE);
    assert!(incident.clone().verdict().summary.ends_with("java (pid 4211) killed"));
    assert!(incident.clone().raw().verdict().summary.ends_with("java (pid 4211) killed"));
    incident.decision().victim.as_mut().expect("victim").exiting = Some(true);
    let verdict = incident.clone().verdict();
    assert!(verdict.summary.ends_with("was already exiting: the kernel only gave it access to the reserves"));
    assert!(verdict.shows(&["java (pid 4211) was already exiting"]));
    incident.victims.clear();
    assert!(incident.clone().verdict().summary.ends_with("was already exiting, so no process was killed"));
    incident.complete = false;
    incident.decision().victim.as_mut().expect("victim").exiting = None;
    assert!(incident.clone().verdict().summary.ends_with("whether it was killed was not observed"));
    incident.decision().victim = None;
    assert!(incident.verdict().summary.ends_with("the victim is not known"));
}

#[test]
fn a_mark_without_the_function_that_kills_leaves_a_doubt() {
    let victim = full_container();
    let mut incident = kill(&victim, None, &CHARGE).raw();
    assert!(incident.clone().verdict().summary.ends_with("java (pid 4211) killed"));
    incident.decision().stack = Some(stack(&["out_of_memory", "mem_cgroup_out_of_memory"]));
    let verdict = incident.verdict();
    assert!(verdict.summary.ends_with("java (pid 4211) killed, unless it was already exiting"));
    assert!(verdict.shows(&["without __oom_kill_process"]));
}

#[test]
fn a_killed_child_leaves_a_container_that_may_be_broken() {
    let victim = full_container();
    let mut incident = kill(&victim, Some(victim.clone()), &CHARGE);
    incident.victims[0].task.container_pid = Some(7);
    let verdict = incident.clone().verdict();
    assert!(verdict.shows(&["pid 7: a child, unless"]) && verdict.remedy.contains("may go on without it"));
    // With the host's pids nothing can be concluded.
    incident.victims[0].task.container_pid = Some(4211);
    assert!(!incident.verdict().remedy.contains("may go on without it"));
}

#[test]
fn the_kind_of_memory_shapes_the_remedy() {
    let victim = full_container();
    let with = |rss: Rss| {
        let mut incident = kill(&victim, Some(victim.clone()), &CHARGE);
        incident.victims[0].task.rss = Some(rss);
        incident.verdict()
    };
    let shmem = with(Rss { shmem_bytes: 300 * MIB, anon_bytes: 100 * MIB, ..Rss::default() });
    assert!(shmem.remedy.contains("300 MiB of the 400 MiB of java (pid 4211) is shared memory"));
    assert!(shmem.remedy.contains("/dev/shm"));
    let heap = with(Rss { anon_bytes: 500 * MIB, ..Rss::default() });
    assert!(heap.remedy.contains("500 MiB of the 500 MiB") && heap.remedy.contains("-Xmx"));
    assert!(heap.shows(&["500 MiB anonymous", "0 B file", "2 MiB of page tables"]), "{heap:#?}");
    assert!(heap.shows(&["oom_score_adj was 986"]));
    let small = with(Rss { anon_bytes: 5 * MIB, ..Rss::default() });
    assert!(small.remedy.contains("held only 7 MiB of the 512 MiB in use (page tables"));
}

/// `OOMScoreAdjust=-1000` of a service is inherited by all that it starts.
#[test]
fn a_trigger_that_may_not_be_killed_itself_is_named_where_no_process_could_be() {
    let service = "/nomad.slice/share.slice/web.scope";
    let limited = lineage(service).with(service, 20 * MIB, 20 * MIB);
    for limit in [Some(limited.clone()), None] {
        let names: &[_] = if limit.is_some() { &CHARGE[2..] } else { &SYSTEM[1..] };
        let told = |adj: Option<i16>| {
            let mut none = no_kill(limited.clone(), limit.clone(), names);
            none.event.trigger.oom_score_adj = adj;
            none.verdict()
        };
        let exempt = told(Some(-1000));
        assert!(exempt.shows(&["java (pid 4211) itself has an oom_score_adj of -1000"]), "{exempt:#?}");
        assert!(
            exempt.remedy.contains("OOMScoreAdjust=") && exempt.remedy.contains("Nomad"),
            "{}",
            exempt.remedy
        );
        for adj in [Some(-999), None] {
            let other = told(adj);
            assert!(!other.shows(&["itself has"]) && !other.remedy.contains("OOMScoreAdjust="), "{adj:?}");
        }
    }
    // A process outside that lowers the limit is not one of those that could be killed.
    let mut none = no_kill(lineage("/init"), Some(limited), &WRITE[2..]);
    none.event.trigger.oom_score_adj = Some(-1000);
    assert!(!none.verdict().shows(&["itself has"]));
}

#[test]
fn an_oom_without_a_victim_says_that_no_process_could_be_killed_and_how_often() {
    let trigger = full_container();
    let mut incident = no_kill(trigger.clone(), Some(trigger.clone()), &CHARGE[2..]);
    incident.repeats = 41;
    let verdict = incident.verdict();
    expect(&verdict, Cause::CgroupOom, Some(Level::Container), Some(Origin::Charge));
    assert!(verdict.summary.ends_with("hit its own limit of 512 MiB; no process could be killed"));
    assert!(verdict.shows(&["oom_score_adj -1000"]) && verdict.shows(&["41 more times"]));
    assert!(verdict.remedy.contains("oom_score_adj"));

    let written = no_kill(lineage("/init"), Some(trigger.clone()), &WRITE[2..]).verdict();
    expect(&written, Cause::CgroupOom, Some(Level::Container), Some(Origin::LimitWrite));

    let system = no_kill(trigger.clone(), None, &SYSTEM[1..]).verdict();
    expect(&system, Cause::SystemOom, Some(Level::Node), Some(Origin::Allocation));
    let mut sysrq = no_kill(trigger, None, &["out_of_memory", "moom_callback"]);
    sysrq.event.order = None;
    expect(&sysrq.verdict(), Cause::SystemOom, None, Some(Origin::Sysrq));
}

#[test]
fn an_oom_of_the_node_for_a_large_order_is_reported_with_its_order() {
    let verdict =
        kill(&full_container(), None, &SYSTEM).with_control(|control| control.order = Some(3)).verdict();
    assert!(verdict.shows(&["order-3 (8 contiguous pages)"]));
    assert!(verdict.remedy.contains("order-3 (8 contiguous pages)"));
}

#[test]
fn hostile_names_are_escaped_and_long_ones_cut() {
    let path = format!("/{}\u{202e}", "x\\".repeat(120));
    let victim = lineage(&path).with(&path, 512 * MIB, 512 * MIB);
    let mut incident = kill(&victim, Some(victim.clone()), &CHARGE);
    incident.victims[0].task.comm = Some(name(b"a\xff\\b; \"killed\"\n"));
    let verdict = incident.verdict();
    assert!(verdict.summary.contains("a\\xff\\b; \"killed\"\\x0a (pid 4211) killed"), "{}", verdict.summary);
    assert!(verdict.summary.contains("cgroup …") && verdict.summary.len() < 500, "{}", verdict.summary);
}

#[test]
fn usage_is_reported_after_the_limit_was_removed() {
    let mut victim = full_container();
    victim.level_mut(&api()).limit = Some(Limit::Unlimited);
    let verdict = kill(&victim, Some(victim.clone()), &CHARGE).verdict();
    expect(&verdict, Cause::CgroupOom, Some(Level::Container), Some(Origin::Charge));
    assert!(verdict.summary.contains("hit its own limit; ") && verdict.shows(&["no longer had a limit"]));
}
