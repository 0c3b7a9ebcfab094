//! The accounts of an OOM, with what has to be read afterwards.

use super::*;
use crate::event::{
    Holder, Limit, Lru, MemcgMemory, MemcgStats, NodeMemory, NodeStats, OomHolders, SwapKind, Zones,
};
use crate::node::{CgroupFiles, Node, ProcFile, ProcFiles};
use crate::schema::AccountKind;

const STAT: &[u8] = b"anon 4096\nfile 25165824\nshmem 20971520\nkernel 8388608\nslab_reclaimable 0\nslab_unreclaimable 4194304\n\
                      kernel_stack 0\npagetables 1048576\nsec_pagetables 0\nsock 0\npercpu 0\nvmalloc 0\nswapcached 0\n";
const MEMINFO: &[u8] =
    b"Percpu: 1024 kB\nVmallocUsed: 0 kB\nSwapTotal: 4096 kB\nHugePages_Total: 4\nHugePages_Free: 4\n\
                         HugePages_Rsvd: 0\nHugepagesize: 2048 kB\n";

/// A node whose files are as after the kill.
#[derive(Clone, Copy, Debug)]
struct After;

impl CgroupFiles for After {
    fn memory_stat(&mut self, path: &[u8], _: Option<u64>) -> Result<Vec<u8>, String> {
        if path == POD.as_bytes() { Ok(STAT.to_vec()) } else { Err("it is gone".to_owned()) }
    }
}

impl ProcFiles for After {
    fn read(&mut self, file: ProcFile) -> Result<Vec<u8>, String> {
        match file {
            ProcFile::Meminfo => Ok(MEMINFO.to_vec()),
            ProcFile::Swaps => {
                Ok(b"Filename Type Size Used Priority\n/dev/zram0 partition 4096 0 100\n".to_vec())
            }
            _ => Err("a test has none".to_owned()),
        }
    }
}

/// Statistics that a recent kernel tells apart, all of nothing.
pub(super) fn told() -> MemcgStats {
    MemcgStats {
        anon_bytes: Some(0),
        file_bytes: Some(0),
        shmem_bytes: Some(0),
        slab_reclaimable_bytes: Some(0),
        slab_unreclaimable_bytes: Some(0),
        kernel_stack_bytes: Some(0),
        page_table_bytes: Some(0),
        sock_bytes: Some(0),
        percpu_bytes: Some(0),
        vmalloc_bytes: Some(0),
        kernel_bytes: Some(0),
        ..MemcgStats::default()
    }
}

fn after() -> Node {
    Node { cgroups: Box::new(After), proc: Box::new(After), ..Node::unseen("a test") }
}

fn anon_list(mib: u64) -> Lru {
    Lru { active_anon_bytes: mib * MIB, ..Lru::default() }
}

/// The pod's limit, hit by its container.
fn of_pod(limit: &MemcgMemory, victim: Option<&MemcgMemory>) -> OomKill {
    let mut kill = a_kill();
    let decision = kill.decision();
    decision.limit_cgroups = Some(lineage(&api()).with(POD, 64 * MIB, 64 * MIB).from(POD));
    decision.limit_memory = Some(Box::new(*limit));
    decision.victim_memory = victim.map(|memory| Box::new(*memory));
    kill
}

fn bytes(case: &Case, kind: AccountKind) -> u64 {
    case.account.as_ref().expect("an account").bytes_of(kind) / MIB
}

/// By the time of the look the victim's memory is gone: the lists, read at the decision, have it.
#[test]
fn statistics_out_of_reach_are_read_afterwards_and_the_lists_are_not() {
    let pod = MemcgMemory { lru: Some(anon_list(1)), ..MemcgMemory::default() };
    let container =
        MemcgMemory { lru: Some(anon_list(50)), usage_bytes: Some(60 * MIB), ..MemcgMemory::default() };
    let case = enrich(an_incident(of_pod(&pod, Some(&container))), &mut after());
    let account = case.account.as_ref().expect("an account");
    assert!(account.late);
    assert_eq!(account.total_bytes, 64 * MIB);
    // 20 MiB of what is on the lists for anonymous memory are files in memory.
    assert_eq!((bytes(&case, AccountKind::Anon), bytes(&case, AccountKind::Shmem)), (31, 20));
    assert_eq!((bytes(&case, AccountKind::File), bytes(&case, AccountKind::SlabUnreclaimable)), (4, 4));
    assert_eq!(bytes(&case, AccountKind::OtherKernel), 3);
    assert_eq!(account.held_by_killed_bytes, Some(493 * MIB), "page tables too");
    // The container's file is gone, and its lists are not.
    let victim = case.victim_account.as_ref().expect("of the container");
    assert_eq!((victim.late, victim.bytes_of(AccountKind::Anon)), (false, 50 * MIB));
    assert_eq!(reason(&case, "memory.victim_account.entries"), Some("it is gone"));
}

#[test]
fn a_record_without_statistics_says_so() {
    let mut kill = a_kill();
    kill.decision().limit_memory = None;
    let case = case(kill);
    assert_eq!(case.account, None);
    assert_eq!(reason(&case, "memory.account"), Some("the record has no statistics of the cgroup's memory"));
}

#[test]
fn kinds_that_are_not_told_apart_are_named_once() {
    let stats = MemcgStats { anon_bytes: Some(MIB), file_bytes: Some(0), ..MemcgStats::default() };
    let case = enrich(
        an_incident(of_pod(&MemcgMemory { stats, ..MemcgMemory::default() }, None)),
        &mut Node::unseen("a test"),
    );
    let reason = reason(&case, "memory.account.entries").expect("a reason");
    assert!(
        reason.starts_with("in unaccounted_bytes, as far as there is any: shared memory and tmpfs, "),
        "{reason}"
    );
    assert!(!case.account.expect("an account").late);
}

/// A node whose huge pages and per-CPU memory are out of the kernel side's reach.
#[test]
fn a_nodes_figures_that_stay_are_read_afterwards() {
    let mut kill = kill(&lineage(&api()), None, &["oom_kill_process", "out_of_memory"]);
    kill.zones = Some(Box::new(Zones::default()));
    let memory = NodeMemory {
        stats: NodeStats { swap_free_bytes: Some(MIB), ..NodeStats::default() },
        managed_bytes: 100 * MIB,
        present_bytes: 110 * MIB,
        root: Some(MemcgMemory {
            stats: MemcgStats { percpu_bytes: Some(0), ..MemcgStats::default() },
            ..MemcgMemory::default()
        }),
        ..NodeMemory::default()
    };
    kill.node_memory = Some(Box::new(memory));
    let case = enrich(an_incident(kill.clone()), &mut after());
    let account = case.account.as_ref().expect("an account");
    assert!(account.late);
    assert_eq!((bytes(&case, AccountKind::HugePages), bytes(&case, AccountKind::Percpu)), (8, 1));
    let swap = account.swap.as_ref().expect("swap");
    assert_eq!((swap.total_bytes, swap.used_bytes), (Some(4 * MIB), Some(3 * MIB)));
    let kinds: Vec<_> = swap.devices.iter().flatten().map(|device| device.kind).collect();
    assert_eq!(kinds, [SwapKind::Zram]);
    let unseen = enrich(an_incident(kill), &mut Node::unseen("a recording has no files"));
    let account = unseen.account.as_ref().expect("an account");
    assert!(!account.late && account.swap.as_ref().is_some_and(|swap| swap.devices.is_none()));
    let reason = reason(&unseen, "memory.account.entries").expect("a reason");
    assert!(reason.contains("huge pages"), "{reason}");
}

/// In a pod that has reached its limit the containers are the holders; what they leave is the pod's own.
#[test]
fn the_holders_of_a_limit_are_named_below_its_path() {
    let mut kill = of_pod(&MemcgMemory::default(), None);
    let holder = |parent, name: &str, mib: u64| Holder {
        parent,
        level: Level {
            name: Some(name.into()),
            usage_bytes: Some(mib * MIB),
            limit: Some(Limit::Unlimited),
            swap_usage_bytes: Some(2 * MIB),
            ..Level::default()
        },
    };
    let other = "0a12f8ad7041c8fdcab8c0ef3e57c178134c729a771a6065b3d1ff8c6374b947";
    kill.holders = Some(Box::new(OomHolders {
        stamp: kill.decision().stamp,
        least_bytes: MIB / 2,
        holders: vec![holder(None, API, 40), holder(None, other, 20), holder(Some(0), "inner", 39)],
        left_out: 0,
        small: 0,
        small_bytes: 0,
        looked_at: 3,
        total: Some(40),
        unfinished: false,
        time_up: false,
        of_limit: true,
        removed_small: None,
    }));
    let case = enrich(an_incident(kill), &mut after());
    assert_eq!(case.memory, None, "they are not the node's");
    let found = case.limit_holders.expect("of the limit");
    let paths: Vec<_> = found
        .holders
        .iter()
        .map(|held| (String::from_utf8_lossy(&held.party.path).into_owned(), held.with_swap_bytes() / MIB))
        .collect();
    assert_eq!(paths, [(api(), 42), (format!("{POD}/{other}"), 22)]);
    assert_eq!(found.holders[0].party.owner.container_id.as_deref(), Some(API));
    let rests: Vec<_> =
        found.rests.iter().map(|rest| (rest.party.path.clone(), rest.usage_bytes / MIB)).collect();
    assert_eq!(rests, [(POD.as_bytes().to_vec(), 4)]);
}
