//! Which kills fold, into which incident, and that each is reported exactly once.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::classify::tests::build::{api, kill, lineage};
use crate::event::Level;

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

/// A kill of one process at the limit of a container's cgroup with this id.
fn of_limit(at_ns: u64, limit: u64, pid: u32) -> OomKill {
    let mut cgroups = lineage(&api());
    cgroups.levels[0].cgroup_id = Some(limit);
    let mut it = kill(&cgroups, Some(cgroups.clone()), &["mem_cgroup_out_of_memory"]);
    it.ktime_ns = at_ns;
    it.victims[0].stamp.ktime_ns = at_ns;
    it.victims[0].task.pid = Some(pid);
    it.decision().victim.as_mut().expect("a victim").pid = Some(pid);
    it
}

fn incident(kill: OomKill) -> Incident {
    Incident::OomKill(Box::new(kill))
}

fn told(incident: &Incident) -> &OomKill {
    let Incident::OomKill(kill) = incident else { panic!("no kill: {incident:?}") };
    kill
}

/// When each began, and how many kills it stands for.
fn shapes(incidents: &[Incident]) -> Vec<(u64, u64)> {
    let kills = |kill: &OomKill| 1 + kill.folded.as_ref().map_or(0, |folded| folded.kills);
    incidents.iter().map(told).map(|kill| (kill.ktime_ns, kills(kill))).collect()
}

/// Pushes kills, and advances the time to each of them.
fn play(folds: &mut KillFolds, kills: impl IntoIterator<Item = OomKill>) -> Vec<Incident> {
    let mut done = Vec::new();
    for kill in kills {
        let now_ns = kill.ktime_ns;
        done.extend(folds.tick(now_ns));
        done.extend(folds.push(incident(kill), NodeRoot::default(), now_ns));
    }
    done
}

#[test]
fn a_pod_of_many_workers_and_a_crash_loop_never_fold() {
    let mut folds = KillFolds::default();
    let burst = |from_ns: u64| (0..32).map(move |pid| of_limit(from_ns + u64::from(pid) * MS, 5, pid));
    assert_eq!(play(&mut folds, burst(0)).len(), 32);
    assert_eq!(play(&mut folds, burst(10 * SECOND)).len(), 32);
    let mut folds = KillFolds::default();
    let four_a_second = (0..10_000).map(|at| of_limit(at * 250 * MS, 5, 7));
    assert_eq!(play(&mut folds, four_a_second).len(), 10_000);
    assert_eq!(folds.deadline_ns(), None);
}

/// As one container did it: 187 kills a second, each a line of 3.4 KB.
#[test]
fn a_flood_is_one_line_a_second_and_its_end_is_seen() {
    let mut folds = KillFolds::default();
    let flood = (0..187 * 60).map(|at| of_limit(at * SECOND / 187, 5, u32::try_from(at).expect("it fits")));
    let done = play(&mut folds, flood);
    let (first, rest) = done.split_at(usize::try_from(BURST).expect("it fits"));
    assert!(shapes(first).iter().all(|(_, kills)| *kills == 1));
    assert!((55..=61).contains(&rest.len()), "{} lines", rest.len());
    let last = folds.tick(61 * SECOND);
    assert_eq!(shapes(&done).into_iter().chain(shapes(&last)).map(|(_, kills)| kills).sum::<u64>(), 187 * 60);
    let folded = told(&rest[5]).folded.as_ref().expect("it stands for others");
    assert_eq!((folded.victims_total, folded.unread, folded.incomplete), (folded.kills, 0, 0));
    assert_eq!(folded.resident_bytes, folded.kills * (491 << 20));
    assert_eq!(folded.victims.len() as u64, folded.kills.min(LISTED as u64));
    let pids: Vec<_> = folded.victims.iter().map(|victim| victim.pid.expect("a pid")).collect();
    let own = told(&rest[5]).victims[0].task.pid.expect("a pid");
    assert_eq!(pids, (own + 1..).take(pids.len()).collect::<Vec<_>>(), "in their order, after its own");
    assert!(folded.victims.iter().all(|victim| victim.cgroup.is_none()), "all of the same container");
    // A while later the flood is forgotten.
    assert_eq!(shapes(&play(&mut folds, [of_limit(70 * SECOND, 5, 1)])), [(70 * SECOND, 1)]);
}

/// Folds with a flood at limit 5.
fn flooded() -> KillFolds {
    let mut folds = KillFolds::default();
    play(&mut folds, (0..BURST + 10).map(|at| of_limit(at * MS, 5, 1)));
    assert!(folds.deadline_ns().is_some());
    folds
}

#[test]
fn a_folded_kill_has_the_name_of_its_line_also_after_that() {
    let mut folds = flooded();
    let kill = |number: u64| (number * MS, of_limit(0, 5, 1).cpu);
    for is_over in [false, true] {
        assert_eq!(folds.line_of(kill(3)), kill(3), "it had its own");
        assert_eq!(folds.line_of(kill(BURST)), kill(BURST), "it gave the line its name");
        assert_eq!(folds.line_of(kill(BURST + 5)), kill(BURST));
        assert_eq!(folds.waiting_as(kill(BURST)).is_some(), !is_over);
        assert_eq!(folds.waiting_as(kill(BURST + 5)), None);
        folds.finish();
    }
    play(&mut folds, (0..6000).map(|at| of_limit(SECOND + at * MS, 5, 1)));
    assert_eq!(folds.folded.len(), REMEMBERED);
}

#[test]
fn another_limit_another_pod_and_the_node_have_separate_folds() {
    let mut folds = flooded();
    assert_eq!(shapes(&play(&mut folds, [of_limit(SECOND / 2, 6, 9)])), [(SECOND / 2, 1)]);
    // The same limit owner, for example all pods together, and a process of another pod.
    let mut other = of_limit(SECOND / 2, 5, 9);
    let cgroups = other.victims[0].cgroups.as_mut().expect("cgroups");
    let pod = cgroups
        .levels
        .iter_mut()
        .find(|level| level.name.as_ref().is_some_and(|name| name.0.starts_with(b"pod")));
    pod.expect("a pod").cgroup_id = Some(4711);
    assert_eq!(play(&mut folds, [other]).len(), 1);
    let mut node = of_limit(SECOND / 2, 5, 9);
    node.decision().limit_cgroups = None;
    node.decision().control.as_mut().expect("a request").memcg = false;
    assert_eq!(play(&mut folds, [node]).len(), 1);
    // Without `oom_control` the victim's cgroup counts.
    let mut untold = of_limit(SECOND / 2, 5, 9);
    untold.decision().limit_cgroups = None;
    untold.decision().control = None;
    assert_eq!(play(&mut folds, [untold]).len(), 1);
    assert_eq!(shapes(&folds.finish()), [(BURST * MS, 10)]);
}

#[test]
fn an_incident_that_may_grow_or_replaces_another_is_never_folded() {
    let mut folds = flooded();
    let at = SECOND / 2;
    assert_eq!(play(&mut folds, [OomKill { may_grow: true, ..of_limit(at, 5, 1) }]).len(), 1);
    assert_eq!(play(&mut folds, [OomKill { revision: 2, ..of_limit(at, 5, 1) }]).len(), 1);
}

#[test]
fn a_fold_is_as_complete_as_its_kills_and_lists_other_cgroups() {
    let mut folds = flooded();
    let mut torn = OomKill { complete: false, unlisted: 3, ..of_limit(SECOND / 2, 5, 77) };
    torn.victims[0].task.rss = None;
    torn.decision().victim.as_mut().expect("a victim").rss = None;
    torn.victims[0]
        .cgroups
        .as_mut()
        .expect("cgroups")
        .levels
        .insert(0, Level { name: Some("sub".into()), ..Level::default() });
    assert_eq!(play(&mut folds, [torn]), []);
    let done = folds.finish();
    let folded = told(&done[0]).folded.as_ref().expect("a fold");
    assert_eq!((folded.kills, folded.victims_total, folded.unread, folded.incomplete), (10, 13, 4, 1));
    let last = folded.victims.last().expect("a victim");
    assert_eq!(last.pid, Some(77));
    assert!(last.cgroup.as_ref().is_some_and(|path| path.ends_with(b"/sub")), "{last:?}");
}

#[test]
fn sums_stay_at_the_largest_number() {
    let mut folds = flooded();
    let mut many = OomKill { unlisted: u64::MAX, ..of_limit(SECOND / 2, 5, 77) };
    many.victims[0].task.rss = None;
    many.decision().victim.as_mut().expect("a victim").rss = None;
    assert_eq!(play(&mut folds, [many]), []);
    let done = folds.finish();
    let folded = told(&done[0]).folded.as_ref().expect("a fold");
    assert_eq!((folded.victims_total, folded.unread), (u64::MAX, u64::MAX));
}

/// Each below the rate at which one limit folds.
#[test]
fn many_limits_together_are_bounded_too() {
    let mut folds = KillFolds::default();
    let limits = 100;
    let kills = (0..60 * limits * 3).map(|at| of_limit(at * SECOND / (limits * 3), at % limits, 1));
    let done = play(&mut folds, kills);
    let all = 60 * limits * 3;
    let lines = done.len() as u64;
    // 256 at once, 5 a second, and no line waits more than ten seconds.
    let most = NODE_BURST + 60 * SECOND / NODE_EVERY_NS + 60 * SECOND / LONGEST_NS * limits;
    assert!(lines <= most, "{lines} lines of {all} kills, not {most}");
    let last = folds.finish();
    assert_eq!(shapes(&done).into_iter().chain(shapes(&last)).map(|(_, kills)| kills).sum::<u64>(), all);
}

#[test]
fn group_kills_that_wait_are_bounded() {
    let mut folds = flooded();
    let group = |at_ns: u64, limit: u64| {
        let mut it = of_limit(at_ns, limit, 1);
        it.victims = vec![it.victims[0].clone(); 500];
        it
    };
    for limit in 10..20 {
        for at in 0..BURST {
            play(&mut folds, [of_limit(SECOND / 2 + at, limit, 1)]);
        }
        play(&mut folds, [group(SECOND / 2 + BURST, limit)]);
        assert!(folds.waiting().map(|kill| kill.victims.len()).sum::<usize>() <= VICTIMS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_kill_is_in_exactly_one_incident(
        steps in prop::collection::vec((0..3_000_u64, 0..400_u64, any::<bool>(), any::<bool>()), 0..800),
        pace_ns in prop_oneof![Just(MS), Just(100 * MS), Just(u64::MAX / 2)],
        few: bool,
    ) {
        let (mut folds, mut done, mut now_ns, mut marks) = (KillFolds::default(), Vec::new(), 0_u64, 0);
        for (number, (step, limit, late, tick)) in (1..).zip(steps) {
            now_ns = now_ns.saturating_add(step.saturating_mul(pace_ns) / 3_000);
            let at_ns = if late { now_ns.saturating_sub(SECOND) } else { now_ns };
            if tick {
                done.extend(folds.tick(now_ns));
            }
            let limit = if few { limit % 3 } else { limit };
            done.extend(folds.push(incident(of_limit(at_ns, limit, number)), NodeRoot::default(), at_ns));
            marks += 1;
            prop_assert!(folds.folds.len() <= FOLDS);
        }
        // A tick at the deadline gives an incident, and before it none.
        for _ in 0..2 * FOLDS {
            let Some(deadline_ns) = folds.deadline_ns() else { break };
            if let Some(before) = deadline_ns.checked_sub(1) {
                prop_assert_eq!(folds.tick(before), []);
            }
            let due = folds.tick(deadline_ns);
            prop_assert!(!due.is_empty());
            done.extend(due);
        }
        prop_assert_eq!(folds.deadline_ns(), None);
        prop_assert_eq!(folds.finish(), []);
        let (mut pids, mut counted) = (BTreeSet::new(), 0_u64);
        for kill in done.iter().map(told) {
            let limit = |victims: &Lineage| victims.levels[0].cgroup_id;
            let own = kill.decision.as_ref().expect("a decision").limit_cgroups.as_ref().and_then(limit);
            prop_assert!(own.is_some());
            counted += 1 + kill.folded.as_ref().map_or(0, |folded| folded.kills);
            let listed = kill.folded.iter().flat_map(|folded| &folded.victims).filter_map(|victim| victim.pid);
            for pid in kill.victims.iter().filter_map(|victim| victim.task.pid).chain(listed) {
                prop_assert!(pids.insert(pid), "{} is in two", pid);
            }
        }
        prop_assert_eq!(counted, marks);
    }
}
