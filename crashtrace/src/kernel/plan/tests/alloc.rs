//! Hooks on failed allocations: which are tried, and the blind spots of each.

use super::*;
use crate::kernel::plan::AttachKind;

fn alloc(wanted: HooksWanted, functions: Option<Functions>) -> (Vec<String>, Option<String>) {
    let kernel = KernelView { kallsyms_functions: functions, ..view() };
    let plan = plan(&healthy(), &kernel, wanted, Beside::ALL).unwrap();
    (shown(&plan.alloc), plan.alloc_skipped)
}

const PROBE: &str = "kprobe:warn_alloc warn_alloc";
const TRACEPOINT: &str = "raw_tp:mm_page_alloc mm_page_alloc";

/// The tracepoint has a cost for each page, so it is tried last, and never where the user wants another kind.
#[test]
fn the_probe_is_tried_before_the_tracepoint() {
    for (wanted, hooks) in [
        (HooksWanted::Auto, &[PROBE, TRACEPOINT][..]),
        (HooksWanted::Only(Hook::Fentry), &[PROBE]),
        (HooksWanted::Only(Hook::Kprobe), &[PROBE]),
        (HooksWanted::Only(Hook::RawTracepoint), &[TRACEPOINT]),
    ] {
        for functions in [Some(ALL), None] {
            let (found, skipped) = alloc(wanted, functions);
            assert_eq!(found, hooks, "{wanted:?}");
            assert_eq!(skipped, None);
        }
    }
}

#[test]
fn a_function_that_is_known_not_to_be_there_is_not_tried() {
    let gone = Some(Functions { warn_alloc: false, ..ALL });
    let reason = Some("the kernel has no symbol warn_alloc".to_owned());
    assert_eq!(alloc(HooksWanted::Auto, gone), (vec![TRACEPOINT.to_owned()], reason.clone()));
    assert_eq!(alloc(HooksWanted::Only(Hook::Fentry), gone), (Vec::new(), reason));
    assert_eq!(alloc(HooksWanted::Only(Hook::RawTracepoint), gone), (vec![TRACEPOINT.to_owned()], None));
}

#[test]
fn no_hook_is_tried_where_the_user_wants_none() {
    let plan =
        plan(&healthy(), &view(), HooksWanted::Auto, Beside { allocations: false, ..Beside::ALL }).unwrap();
    assert_eq!((plan.alloc, plan.alloc_skipped), (Vec::new(), None));
    assert_eq!(plan.tiers.len(), 3, "the rest is as it was");
}

#[test]
fn the_result_follows_from_the_hook_that_is_in_place() {
    let hook = |kind| Attach { program: "p", kind, target: "t" };
    for (attached, wanted, expected) in [
        (Some(hook(AttachKind::Kprobe)), true, AllocHook::Probe),
        (Some(hook(AttachKind::RawTracepoint)), true, AllocHook::Tracepoint),
        (None, true, AllocHook::Refused),
        (None, false, AllocHook::NotWanted),
    ] {
        assert_eq!(AllocHook::of(attached.as_ref(), wanted), expected);
    }
}

/// Up to 5.15 cgroup v1 may limit kernel memory alone, where a fork then fails.
#[test]
fn limits_of_kernel_memory_are_a_blind_spot_where_there_are_any() {
    let plan = plan(&healthy(), &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    let all = Optional { memcg: true, wait: true, alloc: AllocHook::Probe, exits: ExitHooks::Both };
    let of = |cgroup, release: &str| {
        let facts = HostFacts { memory_cgroup: Some(cgroup), release: Some(release.to_owned()), ..healthy() };
        let blind = blind(&plan.tiers[0], all, &facts, Some(&every_function()));
        blind.iter().any(|blind| blind.what.contains("memory.kmem.limit_in_bytes"))
    };
    assert!(of(MemoryCgroup::V1, "5.10.0-23-cloud-amd64") && of(MemoryCgroup::V1, "5.15.1"));
    assert!(!of(MemoryCgroup::V1, "5.16.0") && !of(MemoryCgroup::V1, "6.1.0"));
    assert!(!of(MemoryCgroup::V2, "5.10.0"));
}

#[test]
fn the_blind_spots_of_each_hook_are_listed() {
    let plan = plan(&healthy(), &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    let unseen = |alloc| {
        let attached = Optional { memcg: true, wait: true, alloc, exits: ExitHooks::Both };
        blind(&plan.tiers[0], attached, &healthy(), Some(&every_function()))
    };
    assert_eq!(unseen(AllocHook::Probe), []);
    for (alloc, what, why, remedy) in [
        (AllocHook::Tracepoint, "a failed vmalloc", "kmem:mm_page_alloc", true),
        (AllocHook::Refused, "fragmentation of the node's memory", "accepts no hook", true),
        (AllocHook::NotWanted, "fragmentation of the node's memory", "--no-alloc", false),
    ] {
        let [blind] = unseen(alloc).try_into().expect("one thing");
        assert!(blind.what.contains(what) && blind.why.contains(why), "{blind:?}");
        assert_eq!(blind.remedy.is_some(), remedy);
    }
}
