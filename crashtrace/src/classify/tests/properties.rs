//! Properties of any incident, sensible or not.

use crate::classify::tests::build::told;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::build::{CHARGE, WRITE, mark, no_kill, stack, stamp};
use crate::correlate::{AllocFailures, Incident, OomKill};
use crate::enrich::enrich;
use crate::event::{
    AllocFailure, Asked, Constraint, Hook, Level, Limit, Lineage, Name, OomControl, OomDecision, Rss, Task,
    Zone, Zones,
};
use crate::schema::{Cause, Certainty, Origin};

fn a_name() -> impl Strategy<Value = Name> {
    let known = [
        "kubepods",
        "burstable",
        "pod1f6cbd1e-0d5a-4a4f-8f5c-2b8f0a2f6f11",
        super::build::API,
        "a.service",
        "",
    ];
    prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(Name::from),
        vec(any::<u8>(), 0..300).prop_map(Name),
    ]
}

fn a_number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..(1_u64 << 30), Just(1 << 26), Just(u64::MAX)]
}

fn a_level() -> BoxedStrategy<Level> {
    let limit = || of(prop_oneof![Just(Limit::Unlimited), a_number().prop_map(Limit::Bytes)]);
    (of(a_name()), any::<bool>(), of(a_number()), limit(), limit(), of(any::<bool>()), of(0..5_u64))
        .prop_map(|(name, root, usage_bytes, limit, swap_limit, oom_group, cgroup_id)| Level {
            cgroup_id,
            name,
            root,
            usage_bytes,
            limit,
            swap_usage_bytes: usage_bytes,
            swap_limit,
            oom_group,
            oom_kill_disable: root,
            removed: false,
        })
        .boxed()
}

fn a_lineage() -> BoxedStrategy<Lineage> {
    (vec(a_level(), 0..6), any::<bool>(), 0..2_u16, proptest::bool::weighted(0.1), any::<bool>())
        .prop_map(|(mut levels, rooted, skipped, incomplete, unified)| {
            if rooted {
                for level in &mut levels {
                    level.root = false;
                }
                levels.push(Level { root: true, ..Level::default() });
            }
            Lineage { levels, skipped, incomplete, unified }
        })
        .boxed()
}

fn a_task() -> BoxedStrategy<Task> {
    let rss = (a_number(), a_number(), a_number(), a_number()).prop_map(
        |(anon_bytes, file_bytes, shmem_bytes, swap_bytes)| Rss {
            anon_bytes,
            file_bytes,
            shmem_bytes,
            swap_bytes,
        },
    );
    (of(0..3_u32), of(0..3_u32), of(a_name()), of(rss), of(a_number()), of(any::<bool>()))
        .prop_map(|(pid, tid, comm, rss, page_table_bytes, exiting)| Task {
            pid,
            tid,
            container_pid: tid,
            comm,
            rss,
            page_table_bytes,
            exiting,
            ..Task::default()
        })
        .boxed()
}

fn a_control() -> impl Strategy<Value = OomControl> {
    let constraint = prop_oneof![
        Just(Constraint::None),
        Just(Constraint::Cpuset),
        Just(Constraint::Mempolicy),
        Just(Constraint::Memcg),
        any::<u32>().prop_map(Constraint::Other),
    ];
    (any::<u64>(), any::<i64>(), any::<u32>(), of(any::<u32>()), constraint, any::<bool>(), any::<bool>())
        .prop_map(|(total_bytes, points_bytes, gfp, order, constraint, memcg, zonelist)| OomControl {
            total_bytes,
            points_bytes,
            gfp,
            order,
            constraint,
            memcg,
            zonelist,
        })
}

fn a_stack() -> impl Strategy<Value = crate::event::Stack> {
    let names = [
        "moom_callback",
        "handle_softirqs",
        "kswapd",
        "balance_pgdat",
        "out_of_memory",
        CHARGE[2],
        CHARGE[3],
        WRITE[3],
        "main",
    ];
    proptest::sample::subsequence(names.to_vec(), 0..3).prop_map(|names| stack(&names))
}

fn a_decision() -> BoxedStrategy<OomDecision> {
    let cgroups = || (of(a_lineage()), of(a_lineage()), of(a_lineage()));
    (of(a_control()), of(a_name()), a_task(), of(a_task()), cgroups(), of(a_stack()))
        .prop_map(|(control, message, trigger, victim, cgroups, stack)| OomDecision {
            limit_memory: None,
            victim_memory: None,
            stamp: stamp(Hook::Kprobe),
            control,
            message,
            trigger,
            trigger_cgroups: cgroups.0,
            victim,
            victim_cgroups: cgroups.1,
            limit_cgroups: cgroups.2,
            stack,
        })
        .boxed()
}

fn some_zones() -> BoxedStrategy<Zones> {
    let zone = (a_number(), a_number(), of(a_name()), of(0..70_u32), any::<bool>(), 0..11_usize).prop_map(
        |(free, blocks, name, numa_node, named, order)| {
            let zone = super::alloc::with_blocks(super::alloc::normal(0), order, 1);
            let name = if named { zone.name.clone() } else { name };
            let mut zone = Zone { name, numa_node, free_pages: Some(free), ..zone };
            zone.free_blocks.as_mut().expect("blocks")[order] = blocks;
            zone
        },
    );
    (vec(zone, 0..5), 0..2_u32, any::<bool>())
        .prop_map(|(list, left_out, late)| Zones { left_out, late, ..super::alloc::zones(list) })
        .boxed()
}

fn a_failure() -> BoxedStrategy<Incident> {
    let asked = prop_oneof![
        (0..70_u32).prop_map(|order| Asked::Pages { order }),
        of(a_number()).prop_map(|bytes| Asked::Vmalloc { bytes }),
        Just(Asked::Other),
    ];
    let hook = prop_oneof![Just(Hook::Kprobe), Just(Hook::RawTracepoint)];
    let whose = (a_task(), of(a_lineage()), of(a_stack()), of(any::<u64>()), of(any::<u64>()), 0..70_u32);
    (asked, hook, any::<u32>(), of(a_name()), of(some_zones()), whose)
        .prop_map(|(asked, hook, gfp, format, zones, whose)| {
            let (task, cgroups, stack, nodemask, mems_allowed, numa_node) = whose;
            let event = AllocFailure {
                stamp: stamp(hook),
                asked,
                format,
                nodemask,
                mems_allowed,
                numa_node,
                task,
                cgroups,
                stack,
                ..super::alloc::failure(0, gfp, zones)
            };
            Incident::AllocFailure(Box::new(AllocFailures {
                event: Box::new(event),
                repeats: 3,
                revision: 1,
            }))
        })
        .boxed()
}

fn an_incident() -> BoxedStrategy<Incident> {
    let kill = (of(a_decision()), vec((a_task(), of(a_lineage())), 0..4), any::<bool>(), of(some_zones()))
        .prop_map(|(decision, victims, complete, zones)| {
            Incident::OomKill(Box::new(OomKill {
                node_memory: None,
                ktime_ns: 1,
                cpu: 0,
                decision: decision.map(Box::new),
                victims: victims.into_iter().map(|(task, cgroups)| mark(task, cgroups)).collect(),
                holders: None,
                zones: zones.map(Box::new),
                revision: 1,
                complete,
                may_grow: false,
                unlisted: 0,
                folded: None,
            }))
        });
    let nobody = (a_lineage(), of(a_lineage()), a_task(), of(any::<u32>()), of(a_stack())).prop_map(
        |(cgroups, limit, trigger, order, stack)| {
            let mut none = no_kill(cgroups, limit, &[]);
            (none.event.trigger, none.event.order, none.event.stack) = (trigger, order, stack);
            Incident::OomNoKill(Box::new(none))
        },
    );
    prop_oneof![3 => kill, 1 => nobody, 2 => a_failure()].boxed()
}

proptest! {
    #[test]
    fn any_incident_has_a_verdict_that_says_how_it_is_known(incident in an_incident()) {
        let mut node = crate::node::Node::unseen("a test");
        node.gfp = crate::gfp::GfpNames::fallback();
        let of_failure = matches!(incident, Incident::AllocFailure(_));
        let case = enrich(incident, &mut node);
        let verdict = told(&case);
        prop_assert_eq!(verdict.certainty == Certainty::Observed, verdict.inferred.is_empty());
        prop_assert!(!verdict.summary.is_empty() && !verdict.remedy.is_empty() && !verdict.evidence.is_empty());
        // Every null field has its reason.
        let gap = |field: &str| verdict.gap(field).is_some();
        prop_assert_eq!(verdict.level.is_none(), gap("verdict.level"));
        prop_assert_eq!(verdict.origin.is_none(), gap("origin"));
        prop_assert_eq!(verdict.constraint.is_none(), gap("constraint"));
        prop_assert_eq!(verdict.cause == Cause::Unknown, gap("verdict.cause"));
        // Not for a cgroup's limit, nor without a shortage.
        prop_assert!(verdict.shortage.is_none() || !gap("verdict.shortage"));
        if verdict.cause == Cause::SystemOom && verdict.origin != Some(Origin::Sysrq) {
            prop_assert!(verdict.shortage.is_some() || gap("verdict.shortage"));
        }
        prop_assert!(of_failure || !matches!(verdict.cause, Cause::Fragmentation | Cause::LowMemory));
        prop_assert_eq!(of_failure && verdict.shortage.is_some(), matches!(verdict.cause, Cause::Fragmentation | Cause::LowMemory));
        if verdict.cause == Cause::CgroupOom {
            prop_assert_eq!(verdict.limit.is_none(), gap("limit"));
        }
        // Sentences stay short enough for a line of 12 KiB.
        let sentences: usize = verdict.evidence.iter().map(String::len).sum();
        prop_assert!(sentences + verdict.summary.len() + verdict.remedy.len() < 9000, "{:?}", verdict);
    }
}
