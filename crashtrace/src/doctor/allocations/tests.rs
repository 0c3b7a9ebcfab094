use super::*;
use crate::doctor::tests::{EXITS, PROBE, TRACEPOINT};
use crate::event::Hook;

fn trial(alloc: Option<Attach>, alloc_error: Option<&str>) -> TierTrial {
    TierTrial {
        hook: Hook::Kprobe,
        usable: true,
        memcg: true,
        wait: true,
        alloc,
        error: None,
        alloc_error: alloc_error.map(str::to_owned),
        exits: EXITS.to_vec(),
        exits_error: None,
        not_pinned: None,
    }
}

fn lines(trial: &TierTrial, skipped: Option<&str>, wanted: bool) -> String {
    let found = failed_allocations(Some(trial), skipped.map(str::to_owned), wanted);
    found.expect("a tier is in use").lines().join("\n")
}

#[test]
fn the_first_choice_costs_nothing_and_needs_no_reason() {
    let said = lines(&trial(Some(PROBE), None), None, true);
    assert_eq!(said, "kprobe:warn_alloc, no cost unless one fails");
}

#[test]
fn the_second_choice_says_what_it_costs_and_that_the_tier_is_whole() {
    let refused = trial(Some(TRACEPOINT), Some("kprobe:warn_alloc: No such file"));
    let said = lines(&refused, None, true);
    assert!(
        said.contains("the second choice\ncosts some 90 to 135 instructions (see crashtrace/docs/hooks.md)"),
        "{said}"
    );
    assert!(said.contains("first choice not available: kprobe:warn_alloc: No such file"), "{said}");
    let skipped = lines(&trial(Some(TRACEPOINT), None), Some("the kernel has no symbol warn_alloc"), true);
    assert!(skipped.contains("no symbol warn_alloc"), "{skipped}");
    let chosen = lines(&trial(Some(TRACEPOINT), None), None, true);
    assert!(chosen.contains("--hooks raw_tp"), "{chosen}");
}

#[test]
fn none_is_told_from_none_wanted() {
    assert_eq!(lines(&trial(None, Some("both: EPERM")), None, true), "not seen\nboth: EPERM");
    assert!(lines(&trial(None, None), None, false).contains("--no-alloc"));
    assert_eq!(failed_allocations(None, None, true), None);
}
