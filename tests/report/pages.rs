//! Incidents about the node's free memory.

use crashtrace::event::{
    AllocFailure, Asked, BlockTypes, Constraint, Event, FailureKey, Hook, MigrateType, OomControl,
    OomDecision, Stack, Stamp, Vmalloc, VmallocStep, Watermarks, Zone, ZoneTypes, Zones,
};

use crate::cases::container_oom_events;
use crate::parts::{
    API, KTIME, MEMINFO, MIB, Made, POD, control, decision, end, in_pod, incidents, limited, lineage, made,
    marked, node, stamp, task,
};

/// Every one of them.
pub(crate) fn built() -> Vec<(&'static str, Made)> {
    vec![
        ("alloc_fragmentation", failed(fragmentation())),
        ("alloc_low_memory", failed(low_memory())),
        ("vmalloc_failure", failed(vmalloc())),
        ("charge_failure", failed(charge())),
        ("bpf_map_charge_failure", failed(bpf_map())),
        ("system_oom_fragmentation", system_oom()),
        ("oom_storm", storm()),
    ]
}

/// The first of so many that the kernel side counted together.
fn failed((repeats, event): (u64, AllocFailure)) -> Made {
    let mut failed = made(vec![Event::AllocFailure(Box::new(event))]);
    if let crashtrace::correlate::Incident::AllocFailure(failures) = &mut failed.case.incident {
        failures.repeats = repeats;
    }
    failed
}

/// A zone with these free blocks.
fn zone(name: &str, managed: u64, min: u64, reserves: [u64; 4], free_blocks: [u64; 11]) -> Zone {
    let pages = free_blocks.iter().enumerate().map(|(order, blocks)| blocks << order);
    let types = free_blocks.map(|blocks| BlockTypes { any: blocks > 0, ..BlockTypes::default() });
    Zone {
        numa_node: Some(0),
        name: Some(name.into()),
        free_pages: Some(pages.sum()),
        watermarks: Some(Watermarks { min_pages: min, low_pages: min * 5 / 4, high_pages: min * 3 / 2 }),
        lowmem_reserve_pages: Some(reserves.into()),
        managed_pages: Some(managed),
        free_blocks: Some(free_blocks.into()),
        block_types: Some(types.into()),
        ..Zone::default()
    }
}

/// Of 8 GiB: the lowest zone is nearly untouched, the others are fragmented.
fn in_pieces() -> Zones {
    let dma = zone("DMA", 3840, 32, [0, 2964, 7936, 7936], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3]);
    let dma32 =
        zone("DMA32", 758_784, 6_264, [0, 0, 4972, 4972], [4100, 2600, 900, 120, 3, 0, 0, 0, 0, 0, 0]);
    let normal =
        zone("Normal", 1_272_832, 10_480, [0, 0, 0, 0], [21_000, 8_400, 2_100, 300, 9, 1, 0, 0, 0, 0, 0]);
    let normal = Zone { boost_pages: 1024, highatomic_pages: 512, ..normal };
    zones(vec![dma, dma32, normal])
}

fn zones(list: Vec<Zone>) -> Zones {
    let types = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    Zones { list, left_out: 0, late: false, types }
}

fn failure(asked: Asked, gfp: u32) -> AllocFailure {
    AllocFailure {
        stamp: stamp(Hook::Kprobe),
        key: FailureKey { cgroup_id: 1, format_address: 2, argument: 3, gfp, pad: 0 },
        counted: crashtrace::event::Counted { since_ns: 1, total: 1, sent_ns: 1 },
        asked,
        vmalloc: None,
        format: Some("page allocation failure: order:%u".into()),
        gfp,
        migrate_type: Some(MigrateType::Unmovable),
        nodemask: None,
        mems_allowed: Some(1),
        numa_node: 0,
        task: task(301, "nginx", 90),
        cgroups: Some(lineage(&in_pod(API))),
        stack: Some(Stack(vec!["warn_alloc".to_owned()])),
        zones: Some(in_pieces()),
        unmovable: Some(crashtrace::observe::meminfo::parse(MEMINFO)),
    }
}

/// A control message of 4 MiB, allocated 42 times in vain.
fn fragmentation() -> (u64, AllocFailure) {
    (41, failure(Asked::Pages { order: 10 }, 0x4_0cc0))
}

/// The network's receive path, in an interrupt; the zones had to be read from `/proc`.
fn low_memory() -> (u64, AllocFailure) {
    let mut zones = Zones { late: true, ..in_pieces() };
    let few = [300, 110, 22, 4, 1, 0, 0, 0, 0, 0, 0];
    let (dma32, normal) = (
        zone("DMA32", 758_784, 6_264, [0, 0, 4972, 4972], few),
        zone("Normal", 1_272_832, 10_480, [0; 4], few),
    );
    zones.list.splice(1.., [dma32, normal]);
    for zone in &mut zones.list {
        zone.block_types = None;
    }
    let stack = Stack(vec!["warn_alloc".to_owned(), "handle_softirqs".to_owned()]);
    (0, AllocFailure { stack: Some(stack), zones: Some(zones), ..failure(Asked::Pages { order: 2 }, 0xa20) })
}

/// A module allocates more than the machine has.
fn vmalloc() -> (u64, AllocFailure) {
    let asked = Asked::Vmalloc { bytes: Some(16 << 30) };
    let vmalloc = Some(Vmalloc { step: VmallocStep::Other, got_bytes: None });
    let format = "vmalloc error: size %lu, exceeds total pages";
    (0, AllocFailure { vmalloc, format: Some(format.into()), ..failure(asked, 0xdc2) })
}

/// A pipe in a full container, as the tracepoint sees it.
fn charge() -> (u64, AllocFailure) {
    let cgroups = limited(lineage(&in_pod(API)), 0, 64 * MIB - 4096, 64 * MIB);
    let asked = failure(Asked::Pages { order: 0 }, 0x40_0cc0);
    let key = FailureKey { format_address: 0, ..asked.key };
    let stamp = stamp(Hook::RawTracepoint);
    let zones = Some(in_pieces());
    (7, AllocFailure { stamp, key, format: None, cgroups: Some(cgroups), zones, ..asked })
}

/// A BPF map of 64 MiB in a container that may have 64 MiB. The kernel does not warn of it.
fn bpf_map() -> (u64, AllocFailure) {
    let cgroups = limited(lineage(&in_pod(API)), 0, 64 * MIB - 4096, 64 * MIB);
    let asked = Asked::Vmalloc { bytes: Some(64 * MIB) };
    let vmalloc = Some(Vmalloc { step: VmallocStep::Pages, got_bytes: Some(49 * MIB) });
    let format = Some("vmalloc error: size %lu, failed to allocate pages".into());
    let stack = Some(Stack(vec!["warn_alloc".to_owned(), "__vmalloc_node_range_noprof".to_owned()]));
    (0, AllocFailure { vmalloc, format, cgroups: Some(cgroups), stack, ..failure(asked, 0x40_6dc2) })
}

/// The kills of a second in which one container's workers came back as fast as they were killed: beyond the first 65 they are
/// told together.
fn storm() -> Made {
    const EVERY_NS: u64 = 5_300_000;
    const OWN: u64 = 65;
    let begin_ns = KTIME - OWN * EVERY_NS;
    let kill = |at: u64| {
        let shift = move |stamp: &mut Stamp| {
            stamp.ktime_ns = stamp.ktime_ns - KTIME + begin_ns + at * EVERY_NS;
            stamp.decision_ns = Some(begin_ns + at * EVERY_NS);
        };
        let pid = 4211 + u32::try_from(at).expect("a small number");
        container_oom_events().into_iter().map(move |mut event| {
            match &mut event {
                Event::OomDecision(decision) => {
                    shift(&mut decision.stamp);
                    decision.victim = Some(task(pid, "java", 480));
                    decision.trigger = task(pid, "java", 480);
                }
                Event::OomVictim(victim) => {
                    shift(&mut victim.stamp);
                    victim.task.pid = Some(pid);
                    victim.task.tid = Some(pid);
                }
                Event::OomDecisionEnd(stamp) => shift(stamp),
                _ => {}
            }
            event
        })
    };
    let mut all = incidents((0..OWN + 187).flat_map(kill).collect());
    assert_eq!(all.len() as u64, OWN + 1);
    Made::of(all.pop().expect("the folded one"), &mut node())
}

/// All of 8 GiB in use but for the reserves.
pub(crate) fn used_up() -> Zones {
    let few = [300, 110, 22, 4, 1, 0, 0, 0, 0, 0, 0];
    zones(vec![
        zone("DMA32", 758_784, 6_264, [0, 0, 4972, 4972], few),
        zone("Normal", 1_272_832, 10_480, [0; 4], few),
    ])
}

/// A fork, which needs four contiguous pages for its stack.
fn system_oom() -> Made {
    let hog = task(990, "batch", 900);
    let decision = OomDecision {
        control: Some(OomControl {
            order: Some(2),
            gfp: 0x4_0dc0,
            ..control(Constraint::None, 8192 * MIB, 901)
        }),
        trigger: task(301, "nginx", 90),
        trigger_cgroups: Some(lineage(&in_pod(API))),
        victim: Some(hog.clone()),
        victim_cgroups: Some(lineage(POD)),
        ..decision(Hook::Fentry, &["oom_kill_process", "out_of_memory"])
    };
    let dma32 = zone("DMA32", 758_784, 6_264, [0, 0, 4972, 4972], [9100, 4600, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let normal = zone("Normal", 1_272_832, 10_480, [0; 4], [21_000, 8_400, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let of_decision = Stamp { decision_ns: Some(KTIME), ..stamp(Hook::Fentry) };
    made(vec![
        Event::OomDecision(Box::new(decision)),
        Event::OomZones(of_decision, Box::new(zones(vec![dma32, normal])), None),
        marked(hog, lineage(POD)),
        end(Hook::Fentry),
    ])
}
