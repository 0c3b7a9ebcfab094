//! Limit owners: pods of one container and of several, inference, and paths that cannot be trusted.

use super::build::{API, CHARGE, KUBEPODS, MIB, POD, WRITE, api, kill, lineage, no_kill, side, task};
use super::expect;
use crate::event::Lineage;
use crate::schema::{Cause, Certainty, Level, Origin};

/// A pod and its container `api`, each with usage and limit.
fn pod(pod: (u64, u64), container: (u64, u64)) -> Lineage {
    lineage(&api()).with(POD, pod.0, pod.1).with(&api(), container.0, container.1)
}

#[test]
fn a_pod_of_one_container_is_charged_but_the_limit_is_the_containers() {
    // As on the node: the sandbox's 220 KiB are the pod's.
    let victim = pod((64 * MIB, 64 * MIB), (64 * MIB - 220 * 1024, 64 * MIB));
    let seen = kill(&victim, Some(victim.from(POD)), &CHARGE);
    for verdict in [seen.clone().verdict(), seen.raw().verdict()] {
        expect(&verdict, Cause::CgroupOom, Some(Level::Container), Some(Origin::Charge));
        let limit = verdict.limit.as_ref().expect("limit");
        assert_eq!((limit.charged_at, limit.party.path.as_slice()), (Level::Pod, POD.as_bytes()));
        assert_eq!(
            verdict.summary,
            "container 4f2a00000000… of pod 1f6cbd1e… hit its limit of 64 MiB, which is its pod's too; java (pid 4211) killed"
        );
        assert!(verdict.shows(&["same limit of 64 MiB", "63.8 MiB of the pod's 64 MiB"]), "{verdict:#?}");
        assert!(verdict.remedy.contains("Raise the container's resources.limits.memory above 64 MiB"));
        assert_eq!(verdict.certainty, Certainty::Inferred);
    }
    let trigger = victim.clone();
    let nobody = no_kill(trigger, Some(victim.from(POD)), &CHARGE).verdict();
    assert_eq!(nobody.level, Some(Level::Container));
}

#[test]
fn whose_an_equal_limit_is_does_not_depend_on_what_the_container_holds() {
    // spec.resources: each container without a limit is given the pod's number. Or a memory-backed volume has filled the pod.
    for held in [1, 70, 84, 85, 96] {
        let victim = pod((96 * MIB, 96 * MIB), (held * MIB, 96 * MIB));
        let verdict = kill(&victim, Some(victim.from(POD)), &CHARGE).verdict();
        expect(&verdict, Cause::CgroupOom, Some(Level::Container), Some(Origin::Charge));
        assert_eq!(
            (verdict.certainty, verdict.inferred()),
            (Certainty::Inferred, vec!["verdict.level".to_owned()])
        );
        assert!(
            verdict.shows(&["inferred: it is taken for the container's", "only the pod's spec tells"]),
            "{verdict:#?}"
        );
        assert!(verdict.remedy.contains("If the pod's spec has the limit (spec.resources.limits.memory)"));
        assert_eq!(
            verdict.shows(&["are in other containers or charged to the pod itself"]),
            held < 84,
            "{held}"
        );
    }
}

#[test]
fn a_limit_that_two_containers_and_their_pod_have_is_the_pods() {
    let victim = pod((96 * MIB, 96 * MIB), (70 * MIB, 96 * MIB));
    let other = |mib| lineage(&side()).with(POD, 96 * MIB, 96 * MIB).with(&side(), 20 * MIB, mib * MIB);
    let seen = kill(&victim, Some(victim.from(POD)), &CHARGE);
    let verdict = seen.clone().triggered_by(task("worker", 77), other(96)).verdict();
    expect(&verdict, Cause::CgroupOom, Some(Level::Pod), Some(Origin::Charge));
    // As inferred as where both are in one container: the certainty does not change from kill to kill.
    assert_eq!(
        (verdict.certainty, verdict.inferred()),
        (Certainty::Inferred, vec!["verdict.level".to_owned()])
    );
    assert!(verdict.shows(&[
        "inferred: another container of the pod has it too, so it is taken for the pod's (spec.resources)",
        "only the pod's spec tells"
    ]));
    assert!(verdict.remedy.contains("If by the pod's spec the container has a limit of 96 MiB of its own"));
    assert!(
        verdict.remedy.contains("Raise the pod's own limit, spec.resources.limits.memory, above 96 MiB"),
        "{}",
        verdict.remedy
    );
    // A container with a limit of its own beside it says nothing.
    let verdict = seen.triggered_by(task("worker", 77), other(32)).verdict();
    assert_eq!((verdict.level, verdict.certainty), (Some(Level::Container), Certainty::Inferred));
}

#[test]
fn a_container_that_the_kernel_named_may_have_its_pods_limit() {
    let victim = pod((64 * MIB, 64 * MIB), (64 * MIB, 64 * MIB));
    let verdict = kill(&victim, Some(victim.clone()), &CHARGE).verdict();
    expect(&verdict, Cause::CgroupOom, Some(Level::Container), Some(Origin::Charge));
    assert_eq!(verdict.inferred(), ["verdict.level"]);
}

#[test]
fn with_two_limited_containers_the_container_is_charged() {
    let victim = pod((80 * MIB, 264 * MIB), (64 * MIB, 64 * MIB));
    let seen = kill(&victim, Some(victim.clone()), &CHARGE);
    for verdict in [seen.clone().verdict(), seen.raw().verdict()] {
        expect(&verdict, Cause::CgroupOom, Some(Level::Container), Some(Origin::Charge));
        assert_eq!(verdict.limit.as_ref().expect("limit").charged_at, Level::Container);
    }
}

#[test]
fn a_pods_limit_with_unlimited_containers_is_the_pods() {
    let victim = lineage(&api()).with(POD, 96 * MIB, 96 * MIB);
    let seen = kill(&victim, Some(victim.from(POD)), &CHARGE);
    for verdict in [seen.clone().verdict(), seen.raw().verdict()] {
        expect(&verdict, Cause::CgroupOom, Some(Level::Pod), Some(Origin::Charge));
    }
}

#[test]
fn another_pods_container_does_not_make_a_pods_limit_a_containers() {
    let other = POD.replace("1f6c", "2222");
    let elsewhere = format!("{other}/{API}");
    let victim = lineage(&elsewhere).with(&other, 64 * MIB, 64 * MIB).with(&elsewhere, 64 * MIB, 64 * MIB);
    let limit = lineage(POD).with(POD, 64 * MIB, 64 * MIB);
    assert_eq!(kill(&victim, Some(limit), &CHARGE).verdict().level, Some(Level::Pod));
}

#[test]
fn an_inferred_limit_is_reported_with_the_other_cgroups_near_their_limits() {
    let victim = pod((200 * MIB - MIB, 200 * MIB), (100 * MIB, 100 * MIB));
    let verdict = kill(&victim, Some(victim.clone()), &CHARGE).raw().verdict();
    assert_eq!(
        (verdict.certainty, verdict.inferred()),
        (Certainty::Inferred, ["limit", "verdict.level"].map(str::to_owned).to_vec())
    );
    assert_eq!(verdict.level, Some(Level::Container));
    assert!(verdict.shows(&["inferred", "0 B left"]) && verdict.shows(&["near its limit too", "1 MiB left"]));
}

#[test]
fn of_two_equally_full_cgroups_the_inner_one_is_inferred() {
    let victim = pod((200 * MIB, 200 * MIB), (100 * MIB, 100 * MIB));
    assert_eq!(kill(&victim, None, &CHARGE).raw().verdict().level, Some(Level::Container));
}

#[test]
fn a_limit_above_the_trigger_too_is_preferred_for_a_charge_but_not_for_a_lowered_limit() {
    // The victim's container is full by chance; the sibling hit the pod's limit.
    let victim = pod((200 * MIB - 4096, 200 * MIB), (100 * MIB, 100 * MIB));
    let trigger = lineage(&side()).with(POD, 200 * MIB - 4096, 200 * MIB);
    for (names, level) in [(CHARGE, Level::Pod), (WRITE, Level::Container)] {
        let incident = kill(&victim, None, &names).raw().triggered_by(task("worker", 77), trigger.clone());
        assert_eq!(incident.verdict().level, Some(level));
    }
}

#[test]
fn where_no_cgroup_is_near_its_limit_the_limit_stays_open_and_the_cause_stands() {
    let victim = pod((50 * MIB, 200 * MIB), (40 * MIB, 100 * MIB));
    let verdict = kill(&victim, None, &CHARGE).raw().verdict();
    expect(&verdict, Cause::CgroupOom, None, Some(Origin::Charge));
    assert_eq!((verdict.certainty, &verdict.limit), (Certainty::Observed, &None));
    assert!(verdict.gap("limit").is_some_and(|reason| reason.contains("near its limit")));
    assert!(verdict.gap("verdict.level").is_some());
    assert!(verdict.summary.contains("a memory cgroup of unknown owner hit its limit"));
}

#[test]
fn how_full_is_full_depends_on_the_size_of_the_limit() {
    let gib = 1024 * MIB;
    // Limit, bytes left of a full cgroup, bytes left of one that is not full.
    for (limit, left, too_much) in [
        (MIB, MIB / 8, MIB / 8 + 1),
        (64 * MIB, 2 * MIB, 2 * MIB + 1),
        (gib, 16 * MIB, 16 * MIB + 1),
        (64 * gib, 32 * MIB, 32 * MIB + 1),
    ] {
        for (left, level) in [(left, Some(Level::NodeAllocatable)), (too_much, None)] {
            let victim = lineage(&api()).with(KUBEPODS, limit - left, limit);
            assert_eq!(kill(&victim, None, &CHARGE).raw().verdict().level, level, "{limit} {left}");
        }
    }
}

#[test]
fn without_the_victims_cgroups_nothing_is_inferred() {
    let victim = pod((64 * MIB, 64 * MIB), (64 * MIB, 64 * MIB));
    let mut incident = kill(&victim, None, &CHARGE).raw();
    incident.victims[0].cgroups = None;
    incident.decision().victim_cgroups = None;
    let verdict = incident.verdict();
    expect(&verdict, Cause::CgroupOom, None, Some(Origin::Charge));
    assert!(verdict.gap("limit").is_some_and(|reason| reason.contains("could not be read")));
}

#[test]
fn a_path_without_its_beginning_names_no_limit_but_its_numbers_stand() {
    let victim = pod((64 * MIB, 64 * MIB), (64 * MIB, 64 * MIB));
    let mut limit = victim.clone();
    limit.levels.pop();
    limit.incomplete = true;
    let verdict = kill(&victim, Some(limit), &CHARGE).verdict();
    expect(&verdict, Cause::CgroupOom, None, Some(Origin::Charge));
    assert!(verdict.gap("limit").is_some_and(|reason| reason.contains("beginning")));
    assert!(verdict.shows(&["used 64 MiB of its limit of 64 MiB"]));
}

#[test]
fn a_limit_deeper_than_the_record_is_inside_the_container_and_its_numbers_are_not_shown() {
    let victim = pod((64 * MIB, 64 * MIB), (64 * MIB, 64 * MIB));
    let limit = Lineage { skipped: 3, ..victim.clone() };
    let verdict = kill(&victim, Some(limit), &CHARGE).verdict();
    expect(&verdict, Cause::CgroupOom, Some(Level::Cgroup), Some(Origin::Charge));
    assert_eq!(verdict.limit, None);
    assert!(verdict.gap("limit").is_some_and(|reason| reason.contains("deeper")));
    assert!(!verdict.shows(&["of its limit of"]));
}

#[test]
fn unread_figures_of_the_limit_are_listed() {
    let mut victim = pod((1, 1), (64 * MIB, 64 * MIB));
    let level = victim.level_mut(&api());
    (level.usage_bytes, level.limit, level.oom_group, level.swap_limit) = (None, None, None, None);
    let verdict = kill(&victim, Some(victim.clone()), &CHARGE).verdict();
    assert_eq!(verdict.level, Some(Level::Container));
    for field in ["limit.usage_bytes", "limit.limit_bytes", "limit.oom_group", "limit.swap_limit_bytes"] {
        assert!(verdict.gap(field).is_some(), "{field}");
    }
    assert_eq!(verdict.gap("limit.swap_usage_bytes"), None);
}
