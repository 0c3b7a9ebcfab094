//! Hooks on ends of containers, and the blind spots without them.

use super::*;

#[test]
fn ends_of_containers_are_hooked_beside_every_tier_unless_unwanted() {
    let hooks = [
        "raw_tp:sched_process_exit process_exit",
        "raw_tp:sched_process_exit process_exit_beside",
        "raw_tp:signal_generate signal_generate",
    ];
    for wanted in [HooksWanted::Auto, HooksWanted::Only(Hook::Fentry), HooksWanted::Only(Hook::RawTracepoint)]
    {
        assert_eq!(shown(&plan(&healthy(), &view(), wanted, Beside::ALL).unwrap().exits), hooks);
        let without = plan(&healthy(), &view(), wanted, Beside { exits: false, ..Beside::ALL }).unwrap();
        assert_eq!((without.exits.len(), without.alloc.is_empty()), (0, false));
    }
}

#[test]
fn the_result_follows_from_the_hooks_on_ends_that_are_in_place() {
    for (attached, wanted, expected) in [
        (&EXITS[..], true, ExitHooks::Both),
        (&EXITS[..1], true, ExitHooks::WithoutSignals),
        (&[], true, ExitHooks::Refused),
        (&[], false, ExitHooks::NotWanted),
    ] {
        assert_eq!(ExitHooks::of(attached, wanted), expected);
    }
}

#[test]
fn the_blind_spots_of_the_hooks_on_ends_are_listed() {
    let plan = plan(&healthy(), &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    let unseen = |exits| {
        let attached = Optional { memcg: true, wait: true, alloc: AllocHook::Probe, exits };
        blind(&plan.tiers[0], attached, &healthy(), Some(&every_function()))
    };
    assert_eq!(unseen(ExitHooks::Both), []);
    for (exits, what, why, chosen) in [
        (ExitHooks::WithoutSignals, "who sent the signal", "signal:signal_generate", false),
        (ExitHooks::Refused, "the end of a container", "sched:sched_process_exit", false),
        (ExitHooks::NotWanted, "the end of a container", "--no-exits", true),
    ] {
        let [blind] = unseen(exits).try_into().expect("one thing");
        assert!(blind.what.contains(what) && blind.why.contains(why), "{blind:?}");
        assert_eq!(blind.chosen, chosen);
    }
}
