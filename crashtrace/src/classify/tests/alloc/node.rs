//! The zones at an OOM of the node, and nodes that an allocation is bound to.

use super::super::build::{SYSTEM, kill, no_kill};
use super::*;
use crate::classify::tests::build::{Told, an_incident, told};
use crate::correlate::OomKill;

/// An OOM of the node, by an allocation of order `order`.
fn oom(order: i32, zones: Option<Zones>) -> OomKill {
    let order = u32::try_from(order).ok();
    let kill = kill(&lineage("/system.slice/db.service"), None, &SYSTEM);
    let mut kill = kill.with_control(|control| control.order = order);
    kill.zones = zones.map(Box::new);
    kill
}

fn of(kill: OomKill) -> Told {
    told(&enrich(an_incident(kill), &mut a_node()))
}

/// The order of a fork. The kernel kills for it, and the freed memory need not be contiguous.
#[test]
fn a_fragmented_node_is_told_from_one_that_is_full() {
    let pieces = of(oom(3, Some(fragmented())));
    expect(&pieces, Cause::SystemOom, Some(Shortage::Fragmentation), Some(Level::Node));
    assert!(
        pieces.summary.starts_with(
            "the node had no free block for an order-3 (32 KiB) allocation: 35 MiB were free in zones above their reserves, but the largest block there was 4 KiB; "
        ),
        "{}",
        pieces.summary
    );
    assert!(
        pieces.shows(&["fragmentation index of zone Normal of NUMA node 0 for order 3 was 0.875"]),
        "{pieces:#?}"
    );
    assert!(pieces.shows(&["that compaction cannot move"]));
    assert!(
        pieces.remedy.contains("Memory was left, in blocks too small for the allocation"),
        "{}",
        pieces.remedy
    );
    assert!(pieces.remedy.contains("compact_memory"), "{}", pieces.remedy);
    assert_eq!(pieces.unresolved, []);

    for order in [0, 3] {
        let full = of(oom(order, Some(zones(vec![normal(1000)]))));
        expect(&full, Cause::SystemOom, Some(Shortage::LowMemory), Some(Level::Node));
        assert!(full.summary.starts_with("the node ran out of memory"), "{}", full.summary);
        assert!(full.shows(&["in reserve: too little above the reserve for"]), "{full:#?}");
        assert!(
            !full.remedy.contains("compact_memory") && !full.remedy.contains("blocks"),
            "{}",
            full.remedy
        );
        assert_eq!(full.unresolved, []);
    }
}

#[test]
fn zones_without_an_answer_are_reported_as_unresolved() {
    let why = |verdict: &Told| {
        assert_eq!((verdict.cause, verdict.shortage), (Cause::SystemOom, None));
        verdict.gap("verdict.shortage").map(str::to_owned).expect("a reason")
    };
    assert_eq!(why(&of(oom(3, None))), "the zones could not be read");
    let served = of(oom(3, Some(zones(vec![with_blocks(normal(8960), 3, 1)]))));
    assert!(why(&served).starts_with("a large enough block was free when the zones were read"));
    assert!(served.remedy.contains("order-3 (8 contiguous pages)"), "{}", served.remedy);
    let cut = of(oom(3, Some(Zones { left_out: 1, ..fragmented() })));
    assert_eq!(why(&cut), "not all eligible zones could be read");
    let bound = oom(0, Some(short())).with_control(|control| control.constraint = Constraint::Cpuset);
    assert!(why(&of(bound)).starts_with("oom_control does not say which NUMA nodes"));
    assert!(why(&of(oom(0, None).raw())).contains("oom:mark_victim"));
    // By hand: nothing was short.
    let by_hand = of(oom(-1, Some(short())));
    assert_eq!((by_hand.shortage, by_hand.gap("verdict.shortage")), (None, None));
}

#[test]
fn an_oom_of_a_cgroup_has_nothing_to_do_with_the_zones() {
    let limit = lineage(&api()).with(&api(), 64 * MIB, 64 * MIB);
    let verdict = of(kill(&limit, Some(limit.clone()), &super::super::build::CHARGE));
    assert_eq!((verdict.shortage, verdict.gap("verdict.shortage")), (None, None));
    let nobody = no_kill(limit.clone(), Some(limit), &super::super::build::CHARGE).verdict();
    assert_eq!((nobody.shortage, nobody.gap("verdict.shortage")), (None, None));
}

/// Two nodes of which the second would suffice.
fn two_nodes() -> Zones {
    let far = Zone { numa_node: Some(1), ..with_blocks(normal(8960), 9, 9) };
    zones(vec![normal(8960), far])
}

#[test]
fn an_allocation_that_is_bound_to_a_node_has_the_shortage_of_that_node() {
    let with = |change: fn(&mut AllocFailure)| {
        let mut failure = failure(9, KERNEL, Some(two_nodes()));
        change(&mut failure);
        let verdict = verdict(failure);
        (verdict.cause, verdict.constraint)
    };
    let (open, pieces) = (Cause::Unknown, Cause::Fragmentation);
    assert_eq!(with(|_| ()), (open, Some(Constraint::None)));
    assert_eq!(with(|failure| failure.nodemask = Some(1)), (pieces, Some(Constraint::Mempolicy)));
    assert_eq!(with(|failure| failure.nodemask = Some(3)), (open, Some(Constraint::None)));
    // __GFP_HARDWALL binds it to the nodes of its cpuset, __GFP_THISNODE to that of its CPU.
    assert_eq!(with(|failure| failure.gfp |= 1 << 20), (pieces, Some(Constraint::Cpuset)));
    assert_eq!(with(|failure| failure.gfp |= 1 << 21).0, pieces);
    let elsewhere = with(|failure| (failure.gfp, failure.numa_node) = (failure.gfp | 1 << 21, 1));
    assert_eq!(elsewhere.0, open);
    let of_interrupt = with(|failure| {
        failure.gfp |= 1 << 20;
        failure.stack = Some(Stack(vec!["handle_softirqs".to_owned()]));
    });
    assert_eq!(of_interrupt, (open, Some(Constraint::None)), "the cpuset is that of another");
}
