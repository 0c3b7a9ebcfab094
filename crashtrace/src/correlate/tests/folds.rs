//! OOMs without a victim: the first at once, the rest as one a second.

use super::*;
use crate::event::Stack;

/// An OOM without a victim of the limit of cgroup `id`.
pub(super) fn none(ktime_ns: u64, id: u64, repeats: u64) -> Event {
    let mut cgroups = cgroups(None);
    cgroups.levels[0].cgroup_id = Some(id);
    Event::OomNoVictim(Box::new(OomNoVictim {
        limit_memory: None,
        stamp: stamp(ktime_ns, Hook::Fentry, None),
        why: NoKill::NobodyFound,
        repeats,
        gfp: Some(0),
        order: Some(0),
        memcg: true,
        trigger: Task::default(),
        trigger_cgroups: None,
        limit_cgroups: Some(cgroups),
        stack: None,
    }))
}

/// Time, limit owner, and number of further OOMs.
fn folded(incident: &Incident) -> (u64, u64, u64) {
    let Incident::OomNoKill(none) = incident else { panic!("a kill: {incident:?}") };
    let limit = none.event.limit_cgroups.as_ref().expect("a limit");
    (none.event.stamp.ktime_ns, limit.levels[0].cgroup_id.expect("an id"), none.repeats)
}

fn all_folded(incidents: &[Incident]) -> Vec<(u64, u64, u64)> {
    incidents.iter().map(folded).collect()
}

/// The same, of a limit that was lowered to `limit_bytes`.
fn written(usage_bytes: u64, limit_bytes: u64, repeats: u64) -> Event {
    let Event::OomNoVictim(mut event) = none(10, 5, repeats) else { panic!("none") };
    event.stack = Some(Stack(vec!["mem_cgroup_out_of_memory".into(), "memory_max_write".into()]));
    let level = &mut event.limit_cgroups.as_mut().expect("a limit").levels[0];
    level.usage_bytes = Some(usage_bytes);
    level.limit = Some(crate::event::Limit::Bytes(limit_bytes));
    Event::OomNoVictim(event)
}

#[test]
fn a_lowered_limit_that_was_met_meanwhile_is_no_incident() {
    let mut desk = Desk::default();
    assert_eq!(desk.push(written(8192, 24 << 20, 0)), []);
    assert_eq!(desk.stats.get(Counter::LimitWritesMet), 1);
    assert_eq!(all_folded(&desk.push(written(25 << 20, 24 << 20, 0))), [(10, 5, 0)], "it was not met");
    let mut desk = Desk::default();
    assert_eq!(all_folded(&desk.push(written(8192, 24 << 20, 2))), [(10, 5, 2)], "it stands for others, too");
    assert_eq!(desk.stats.get(Counter::LimitWritesMet), 0);
}

/// The kernel invokes the OOM killer once more while the victim's memory is being freed: there is no victim left, and no memory
/// is short.
#[test]
fn a_lowered_limit_that_a_kill_is_about_to_meet_is_no_incident() {
    let kill = |cgroup: u64, held_bytes| {
        let mut limit = cgroups(None);
        limit.levels[0].cgroup_id = Some(cgroup);
        let Event::OomDecision(mut event) = decision(1, Hook::Fentry, Some(limit.clone())) else {
            unreachable!()
        };
        event.limit_cgroups = Some(limit);
        event.stack = Some(Stack(vec!["mem_cgroup_out_of_memory".into(), "memory_max_write".into()]));
        let rss = crate::event::Rss {
            anon_bytes: held_bytes,
            shmem_bytes: 60 << 20,
            ..crate::event::Rss::default()
        };
        let victim = Task { pid: Some(7), tid: Some(7), rss: Some(rss), ..Task::default() };
        [Event::OomDecision(event), mark_of(2, Some(1), victim), end(3, 1)]
    };
    let after = |cgroup, held_bytes, late_ns| {
        let mut desk = Desk::default();
        desk.all(kill(cgroup, held_bytes));
        let Event::OomNoVictim(mut event) = written(64 << 20, 24 << 20, 0) else { unreachable!() };
        event.stamp.ktime_ns = late_ns;
        (desk.push(Event::OomNoVictim(event)).len(), desk.stats.get(Counter::LimitWritesMet))
    };
    assert_eq!(after(5, 60 << 20, 10), (0, 1));
    assert_eq!(after(5, 30 << 20, 10), (1, 0), "what was killed did not hold that much");
    assert_eq!(after(6, 60 << 20, 10), (1, 0), "it was killed for another limit");
    assert_eq!(after(5, 60 << 20, 4 + limit_write::ON_ITS_WAY_NS), (1, 0), "by now it would have come back");
}

#[test]
fn the_first_goes_out_at_once_and_the_rest_as_one_a_second() {
    let mut desk = Desk::default();
    assert_eq!(all_folded(&desk.push(none(10, 5, 0))), [(10, 5, 0)]);
    assert_eq!(desk.correlator.deadline_ns(), None, "nothing is waiting");
    assert_eq!(desk.push(none(20, 5, 3)), []);
    assert_eq!(desk.push(none(30, 5, 0)), []);
    assert_eq!(desk.push(none(40, 5, 2)), []);
    assert_eq!(desk.correlator.deadline_ns(), Some(10 + FOLD_NS));
    assert_eq!(desk.correlator.tick(9 + FOLD_NS), []);
    // Itself with 3, another, and one with 2.
    assert_eq!(all_folded(&desk.correlator.tick(10 + FOLD_NS)), [(20, 5, 3 + 1 + 3)]);
    assert_eq!(desk.push(none(11 + FOLD_NS, 5, 0)), [], "a second since the last line, not since the first");
    assert_eq!(all_folded(&desk.correlator.tick(10 + 2 * FOLD_NS)), [(11 + FOLD_NS, 5, 0)]);
    assert_eq!(
        all_folded(&desk.push(none(10 + 3 * FOLD_NS, 5, 0))),
        [(10 + 3 * FOLD_NS, 5, 0)],
        "quiet since"
    );
}

#[test]
fn an_event_that_comes_late_sends_the_waiting_one_and_waits_in_its_place() {
    let mut desk = Desk::default();
    desk.all([none(10, 5, 0), none(20, 5, 0)]);
    assert_eq!(all_folded(&desk.push(none(10 + FOLD_NS, 5, 1))), [(20, 5, 0)]);
    assert_eq!(all_folded(&desk.correlator.finish()), [(10 + FOLD_NS, 5, 1)]);
}

#[test]
fn each_limit_folds_by_itself() {
    let mut desk = Desk::default();
    let done = desk.all([none(10, 5, 0), none(11, 6, 0), none(12, 5, 0), none(13, 6, 4)]);
    assert_eq!(all_folded(&done), [(10, 5, 0), (11, 6, 0)]);
    assert_eq!(all_folded(&desk.correlator.tick(SECOND + 20)), [(12, 5, 0), (13, 6, 4)]);
}

#[test]
fn beyond_the_limits_that_are_remembered_a_quiet_one_is_forgotten_first() {
    let mut desk = Desk::default();
    let limits = FOLDS as u64;
    desk.all((0..limits).map(|id| none(id, id, 0)));
    // Every limit but 9 has an event waiting.
    assert_eq!(desk.all((0..limits).filter(|&id| id != 9).map(|id| none(1_000 + id, id, 0))), []);
    assert_eq!(all_folded(&desk.push(none(5_000, limits, 0))), [(5_000, limits, 0)]);
    assert_eq!(desk.correlator.ooms.folds.len(), FOLDS);
    assert!(!desk.correlator.ooms.folds.contains_key(&(NoKill::NobodyFound, Some(9))));
}

#[test]
fn if_all_have_an_event_waiting_one_is_sent_early_and_none_is_lost() {
    let mut desk = Desk::default();
    let limits = FOLDS as u64;
    desk.all((0..limits).flat_map(|id| [none(id, id, 0), none(id, id, 0)]));
    assert_eq!(all_folded(&desk.push(none(5_000, limits, 7))), [(0, 0, 0), (5_000, limits, 7)]);
    assert_eq!(desk.correlator.ooms.folds.len(), FOLDS);
    assert_eq!(desk.correlator.finish().len(), FOLDS - 1);
}
