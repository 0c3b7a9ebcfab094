//! Cases about the node's free memory, with the verdicts that the real stages come to: of these the sentences are what
//! there is to review.

use crashtrace::classify::{Verdict, classify};
use crashtrace::correlate::{AllocFailures, Incident};
use crashtrace::enrich::node::{ProcFile, ProcFiles};
use crashtrace::enrich::{Case, Node, enrich};
use crashtrace::event::{
    AllocFailure, Asked, BlockTypes, Constraint, FailureKey, Hook, MigrateType, OomControl, OomDecision,
    Stack, Watermarks, Zone, ZoneTypes, Zones,
};
use crashtrace::fold::{Folded, FoldedVictim};

use crate::cases::{container_oom, context};
use crate::parts::{API, MIB, POD, case, control, decision, in_pod, level_of, lineage, marked, stamp, task};

/// Every one of them.
pub(crate) fn built() -> Vec<(&'static str, (Case, Verdict))> {
    vec![
        ("alloc_fragmentation", judged(failed(fragmentation()))),
        ("alloc_low_memory", judged(failed(low_memory()))),
        ("vmalloc_failure", judged(failed(vmalloc()))),
        ("charge_failure", judged(failed(charge()))),
        ("system_oom_fragmentation", judged(system_oom())),
        ("oom_storm", judged(storm())),
    ]
}

/// What cannot be moved.
const MEMINFO: &[u8] = b"SUnreclaim: 183296 kB\nSReclaimable: 20480 kB\nPageTables: 9216 kB\nKernelStack: 4096 kB\n\
                         Unevictable: 6144 kB\nHugePages_Total: 0\nHugePages_Free: 0\nHugepagesize: 2048 kB\n";

fn node() -> Node {
    #[derive(Debug)]
    struct Meminfo;
    impl ProcFiles for Meminfo {
        fn read(&mut self, _: ProcFile) -> Result<Vec<u8>, String> {
            Ok(MEMINFO.to_vec())
        }
    }
    let unseen = Node::unseen("a test");
    Node { proc: Box::new(Meminfo), gfp: context().gfp, memory_bytes: Some(8192 * MIB), ..unseen }
}

fn judged(incident: Incident) -> (Case, Verdict) {
    let case = enrich(incident, &mut node());
    let verdict = classify(&case);
    (case, verdict)
}

fn failed((repeats, event): (u64, AllocFailure)) -> Incident {
    Incident::AllocFailure(Box::new(AllocFailures { event: Box::new(event), repeats, revision: 1 }))
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

/// Of 8 GiB: the lowest zone is nearly untouched, the others are in pieces.
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
        unmovable: Some(crashtrace::kernel::meminfo::parse(MEMINFO)),
    }
}

/// A control message of 4 MiB, asked for 42 times.
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

/// A module asks for more than there is.
fn vmalloc() -> (u64, AllocFailure) {
    let asked = Asked::Vmalloc { bytes: Some(16 << 30) };
    let format = "vmalloc error: size %lu, failed to allocate pages";
    (0, AllocFailure { format: Some(format.into()), ..failure(asked, 0xdc2) })
}

/// A pipe in a full container, as the tracepoint sees it.
fn charge() -> (u64, AllocFailure) {
    let cgroups = level_of(&in_pod(API), 64 * MIB - 4096, 64 * MIB);
    let asked = failure(Asked::Pages { order: 0 }, 0x40_0cc0);
    let key = FailureKey { format_address: 0, ..asked.key };
    let stamp = stamp(Hook::RawTracepoint);
    let zones = Some(in_pieces());
    (7, AllocFailure { stamp, key, format: None, cgroups: Some(cgroups), zones, ..asked })
}

/// The kills of a second in which one container's workers came back as fast as they were killed.
fn storm() -> Incident {
    let Incident::OomKill(mut kill) = container_oom().0.incident else { panic!("a kill") };
    let began_ns = kill.ktime_ns;
    let dead = |at: u32| FoldedVictim {
        ktime_ns: began_ns + u64::from(at) * 5_300_000,
        pid: Some(4211 + at),
        comm: Some("java".into()),
        cgroup: (at == 3).then(|| b"/kubepods/burstable/pod1f6cbd1e/sidecar".to_vec()),
    };
    kill.folded = Some(Box::new(Folded {
        kills: 186,
        victims_total: 186,
        exiting: 0,
        resident_bytes: 186 * 480 * MIB,
        unread: 0,
        incomplete: 0,
        until_ns: began_ns + 186 * 5_300_000,
        victims: (1..=12).map(dead).collect(),
    }));
    Incident::OomKill(kill)
}

/// A fork, which needs four pages side by side for its stack.
fn system_oom() -> Incident {
    let hog = task(990, "batch", 900);
    let decision = OomDecision {
        control: Some(OomControl { order: Some(2), gfp: 0x4_0dc0, ..control(Constraint::None, 8192 * MIB) }),
        trigger: task(301, "nginx", 90),
        trigger_cgroups: Some(lineage(&in_pod(API))),
        victim: Some(hog.clone()),
        victim_cgroups: Some(lineage(POD)),
        stack: Some(Stack(vec!["oom_kill_process".to_owned(), "out_of_memory".to_owned()])),
        ..decision(Hook::Fentry)
    };
    let mut case = case(Some(decision), vec![marked(hog, POD)]);
    let Incident::OomKill(kill) = &mut case.incident else { panic!("a kill") };
    let dma32 = zone("DMA32", 758_784, 6_264, [0, 0, 4972, 4972], [9100, 4600, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let normal = zone("Normal", 1_272_832, 10_480, [0; 4], [21_000, 8_400, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    kill.zones = Some(Box::new(zones(vec![dma32, normal])));
    case.incident
}
