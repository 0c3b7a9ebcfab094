//! Failed charges, which the tracepoint sees, and a probe only those of a vmalloc.

use super::*;

/// An allocation of the kernel on behalf of a process, charged to its cgroup.
fn charged(cgroups: Lineage, zones: Option<Zones>) -> AllocFailure {
    AllocFailure { cgroups: Some(cgroups), ..on_tracepoint(failure(0, KERNEL | ACCOUNT, zones)) }
}

fn full() -> Lineage {
    lineage(&api()).with(&api(), 64 * MIB - 4096, 64 * MIB)
}

/// Room, and blocks of every size.
fn plenty() -> Zones {
    zones(vec![with_blocks(normal(100_000), 10, 50)])
}

#[test]
fn a_charge_that_failed_at_a_full_cgroup_is_told_by_it() {
    let late = Zones { late: true, ..zones(vec![normal(1000)]) };
    for zones in [Some(plenty()), Some(late), None] {
        let verdict = verdict(charged(full(), zones));
        expect(&verdict, Cause::CgroupOom, None, Some(Level::Container));
        assert_eq!((verdict.origin, verdict.constraint), (Some(Origin::Charge), Some(Constraint::Memcg)));
        assert_eq!(
            (verdict.certainty, verdict.inferred()),
            (Certainty::Inferred, ["verdict.cause", "limit"].map(str::to_owned).to_vec())
        );
        assert_eq!(
            verdict.summary,
            format!(
                "order-0 (4 KiB) {BY_NGINX}its charge to container 4f2a00000000… of pod 1f6cbd1e… was refused at \
                 the limit, and no process was killed"
            )
        );
        assert!(verdict.shows(&["__GFP_ACCOUNT", "kmem:mm_page_alloc"]));
        assert!(!verdict.shows(&["had room again"]), "memory was not short");
        assert!(verdict.shows(&["used 64 MiB of its limit of 64 MiB"]), "{verdict:#?}");
        assert!(
            verdict.remedy.starts_with("Raise the memory limit of container 4f2a00000000…"),
            "{}",
            verdict.remedy
        );
        assert!(verdict.remedy.contains("ENOMEM"));
    }
}

#[test]
fn the_innermost_full_cgroup_is_the_limit_owner() {
    let both = full().with(POD, 128 * MIB, 128 * MIB);
    assert_eq!(verdict(charged(both, None)).level, Some(Level::Container));
    let outer = lineage(&api()).with(&api(), 8 * MIB, 64 * MIB).with(POD, 128 * MIB, 128 * MIB);
    let verdict = verdict(charged(outer, None));
    expect(&verdict, Cause::CgroupOom, None, Some(Level::Pod));
    assert!(
        verdict.summary.contains("its charge to pod 1f6cbd1e… was refused at the limit"),
        "{}",
        verdict.summary
    );
}

/// Page cache fills most cgroups to their limits; a page that could not be allocated was not charged.
#[test]
fn a_full_cgroup_is_no_reason_if_the_zones_had_no_free_page() {
    let of = |order, zones| {
        let asked = on_tracepoint(failure(order, KERNEL | ACCOUNT, Some(zones)));
        verdict(AllocFailure { cgroups: Some(full()), ..asked })
    };
    expect(&of(9, fragmented()), Cause::Fragmentation, Some(Shortage::Fragmentation), Some(Level::Node));
    let empty = zones(vec![normal(1000)]);
    expect(&of(0, empty), Cause::LowMemory, Some(Shortage::LowMemory), Some(Level::Node));
}

/// The page was allocated and freed again: only the charge can have failed.
#[test]
fn where_the_zones_could_have_served_it_was_the_charge() {
    let roomy = lineage(&api()).with(&api(), 8 * MIB, 64 * MIB);
    let verdict = verdict(charged(roomy, Some(plenty())));
    expect(&verdict, Cause::CgroupOom, None, None);
    assert!(
        verdict.gap("limit").is_some_and(|why| why.starts_with("none of the cgroups of the process is at"))
    );
    assert_eq!(verdict.gap("verdict.level"), verdict.gap("limit"));
    assert!(verdict.summary.ends_with("its charge to the cgroup was refused, and no process was killed"));
    assert!(verdict.remedy.contains("memory.events"), "{}", verdict.remedy);
}

/// A BPF map of 64 MiB in a container that may have 64 MiB.
fn map(at: fn(AllocFailure) -> AllocFailure, got_bytes: Option<u64>) -> AllocFailure {
    let failure = failure(0, KERNEL | ACCOUNT | NOWARN | RETRY_MAYFAIL, Some(plenty()));
    AllocFailure {
        asked: Asked::Vmalloc { bytes: Some(64 * MIB) },
        vmalloc: Some(Vmalloc { step: VmallocStep::Pages, got_bytes }),
        cgroups: Some(full()),
        ..at(failure)
    }
}

#[test]
fn a_vmalloc_whose_pages_could_not_be_charged_is_told_alike_by_both_hooks() {
    let by_probe = verdict(map(std::convert::identity, Some(60 * MIB)));
    let at_tracepoint = verdict(map(on_tracepoint, None));
    for verdict in [&by_probe, &at_tracepoint] {
        expect(verdict, Cause::CgroupOom, None, Some(Level::Container));
        assert_eq!((verdict.origin, verdict.constraint), (Some(Origin::Charge), Some(Constraint::Memcg)));
        assert_eq!(
            verdict.summary,
            "vmalloc of 64 MiB by nginx (pid 301) of container 4f2a00000000… of pod 1f6cbd1e… failed: its charge to container \
             4f2a00000000… of pod 1f6cbd1e… was refused at the limit, and no process was killed"
        );
        assert!(verdict.shows(&["the kernel log does not show this failure"]), "{verdict:#?}");
        assert!(!verdict.remedy.contains("An expected failure"), "nothing can be tried instead");
        assert!(verdict.remedy.contains("BPF maps"), "{}", verdict.remedy);
    }
    assert!(by_probe.shows(&["60 MiB of its 64 MiB had been allocated when a page failed"]), "{by_probe:#?}");
    assert!(by_probe.remedy.contains("68 MiB would hold this allocation beside"), "{}", by_probe.remedy);
}

/// Only pages are charged: not the place in the address space.
#[test]
fn a_vmalloc_that_failed_before_its_pages_is_no_failed_charge() {
    let before = AllocFailure {
        vmalloc: Some(Vmalloc { step: VmallocStep::AddressSpace, got_bytes: None }),
        ..map(std::convert::identity, None)
    };
    expect(&verdict(before), Cause::Unknown, None, None);
}

#[test]
fn a_failure_without_a_charge_or_seen_by_the_probe_is_no_failed_charge() {
    let pages =
        on_tracepoint(AllocFailure { cgroups: Some(full()), ..failure(9, KERNEL, Some(fragmented())) });
    expect(&verdict(pages), Cause::Fragmentation, Some(Shortage::Fragmentation), Some(Level::Node));
    let by_probe = AllocFailure { cgroups: Some(full()), ..failure(9, KERNEL | ACCOUNT, Some(fragmented())) };
    expect(&verdict(by_probe), Cause::Fragmentation, Some(Shortage::Fragmentation), Some(Level::Node));
    let empty = || Some(zones(vec![normal(1000)]));
    let room = lineage(&api()).with(&api(), 8 * MIB, 64 * MIB);
    expect(
        &verdict(charged(room.clone(), empty())),
        Cause::LowMemory,
        Some(Shortage::LowMemory),
        Some(Level::Node),
    );
    expect(&verdict(charged(room, None)), Cause::Unknown, None, None);
    let of_interrupt =
        AllocFailure { stack: Some(Stack(vec!["handle_softirqs".to_owned()])), ..charged(full(), empty()) };
    expect(&verdict(of_interrupt), Cause::LowMemory, Some(Shortage::LowMemory), Some(Level::Node));
}
