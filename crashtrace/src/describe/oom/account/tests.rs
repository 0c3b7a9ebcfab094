//! Advice by the account: accounts as they were seen on real nodes, and what must and must not be said of each.

use crate::cgroup::{self, NodeRoot};
use crate::classify::tests::build::{
    CHARGE, KUBEPODS, MIB, POD, SYSTEM, Told, an_incident, api, kill, lineage, task, told,
};
use crate::correlate::{Incident, OomKill};
use crate::enrich::{Account, Case, Detail, Entry, Held, Memory, Party, Swap, enrich, owner_of};
use crate::event::{Limit, Rss, SwapDevice, SwapKind, Task, Watermarks, Zone, ZoneTypes, Zones};
use crate::names::{MemoryBounds, Names};
use crate::node::Node;
use crate::schema::AccountKind::{self, *};

mod limit;

const OTHER_POD: &str = "/kubepods/besteffort/pod7a1c9d20-0d5a-4a4f-8f5c-2b8f0a2f6f22";
const SERVICE: &str = "/system.slice/batch.service";

fn party(path: &str) -> Party {
    let party = owner_of(&lineage(path), NodeRoot::default()).expect("a whole path");
    assert_eq!(party.placement, cgroup::parse(path.as_bytes()));
    party
}

/// Entries in MiB, those of holders with their path.
fn account(total_mib: u64, entries: &[(AccountKind, &str, u64)]) -> Account {
    let sum: u64 = entries.iter().map(|(.., mib)| mib).sum();
    let entry = |&(kind, path, mib): &(AccountKind, &str, u64)| Entry {
        kind,
        bytes: mib * MIB,
        holder: (!path.is_empty()).then(|| party(path)),
        detail: None,
    };
    Account {
        total_bytes: total_mib * MIB,
        entries: entries.iter().map(entry).collect(),
        unaccounted_bytes: (total_mib - sum) * MIB,
        ..Account::default()
    }
}

fn zone(name: &str, managed_mib: u64, free_mib: u64, min_mib: u64) -> Zone {
    let pages = |mib: u64| mib * 256;
    Zone {
        numa_node: Some(0),
        name: Some(name.into()),
        free_pages: Some(pages(free_mib)),
        managed_pages: Some(pages(managed_mib)),
        watermarks: Some(Watermarks {
            min_pages: pages(min_mib),
            low_pages: pages(min_mib + min_mib / 4),
            high_pages: pages(min_mib + min_mib / 2),
        }),
        lowmem_reserve_pages: Some(vec![0; 4]),
        free_blocks: Some(vec![pages(free_mib)]),
        ..Zone::default()
    }
}

fn zones(list: Vec<Zone>) -> Zones {
    let types = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    Zones { list, types, ..Zones::default() }
}

/// What is known of a node of 464 MiB, whose pods may use 300 MiB.
#[derive(Clone)]
struct Scope {
    v1: bool,
    kill: OomKill,
    account: Account,
    holders: Vec<(&'static str, u64, Limit)>,
    pods_mib: u64,
    /// Swap of each holder.
    swap_mib: u64,
    names: Option<(&'static str, Names)>,
}

impl Scope {
    fn new(victim: &str, entries: &[(AccountKind, &str, u64)]) -> Self {
        let mut kill = kill(&lineage(victim), None, &SYSTEM);
        kill.zones = Some(Box::new(zones(vec![zone("Normal", 464, 2, 3)])));
        let of = |kind| entries.iter().filter(move |(it, ..)| *it == kind).map(|(.., mib)| mib).sum();
        Self {
            v1: false,
            kill,
            account: account(464, entries),
            holders: Vec::new(),
            pods_mib: of(Pod),
            swap_mib: 0,
            names: None,
        }
    }

    fn with(mut self, path: &'static str, mib: u64, limit: Limit) -> Self {
        self.holders.push((path, mib, limit));
        self
    }

    fn with_zones(mut self, list: Vec<Zone>) -> Self {
        self.kill.zones = Some(Box::new(zones(list)));
        self
    }

    fn told(self) -> Told {
        let mut case: Case = enrich(an_incident(self.kill), &mut Node::unseen("a test"));
        let held = |path: &str, mib: u64, limit| {
            let mut party = party(path);
            if let Some((of, names)) = &self.names
                && *of == path
            {
                party.owner.name(Some(Box::new(names.clone())));
            }
            Held {
                party,
                usage_bytes: mib * MIB,
                swap_bytes: Some(self.swap_mib * MIB),
                limit: Some(limit),
                removed: false,
            }
        };
        let holders: Vec<_> = self.holders.iter().map(|&(path, mib, limit)| held(path, mib, limit)).collect();
        case.memory = Some(Memory {
            large: holders.iter().map(|held| held.party.path.clone()).collect(),
            pods: Some(held(KUBEPODS, self.pods_mib, Limit::Bytes(300 * MIB))),
            holders,
            least_bytes: 3 * MIB,
            small: 12,
            small_bytes: MIB,
            looked_at: 20,
            total: Some(41),
            ..Memory::default()
        });
        case.account = Some(self.account);
        case.node_memory_bytes = Some(464 * MIB);
        case.memory_cgroup_v1 = self.v1;
        told(&case)
    }
}

/// A process in the root cgroup that is trigger of the OOM.
fn trigger_in_root(kill: OomKill, mib: u64) -> OomKill {
    let rss = Rss { anon_bytes: mib * MIB, file_bytes: 0, shmem_bytes: 0, swap_bytes: 0 };
    let backup = Task { rss: Some(rss), page_table_bytes: Some(0), ..task("backupd", 12) };
    kill.triggered_by(backup, lineage("/"))
}

fn text(told: &Told) -> String {
    format!("{}\n{}\n{}", told.summary, told.evidence.join("\n"), told.remedy)
}

#[track_caller]
fn says(told: &Told, first: &str, all: &[&str], never: &[&str]) {
    let text = text(told);
    let begin = told.remedy.split(". ").next().unwrap_or_default();
    assert!(begin.contains(first), "{first:?} is not said first\n{text}");
    for part in all {
        assert!(text.contains(part), "{part:?} is missing\n{text}");
    }
    for part in never {
        assert!(!text.contains(part), "{part:?} is said\n{text}");
    }
}

const RESERVE: &str = "Raise kubelet's --system-reserved";

#[test]
fn huge_pages_that_nobody_uses_come_first() {
    let entries = [(HugePages, "", 280), (Pod, POD, 121), (Free, "", 2), (SlabUnreclaimable, "", 20)];
    let mut scope = Scope::new(&api(), &entries).with(POD, 121, Limit::Unlimited);
    let unused = Detail::Huge { page_bytes: 2 * MIB, free_bytes: 280 * MIB, reserved_bytes: 0 };
    scope.account.entries[0].detail = Some(unused);
    let told = scope.told();
    says(
        &told,
        "280 MiB (60 %) are in pools of huge pages: 280 MiB of it unused, and",
        &[
            "the node ran out of memory: 280 MiB (60 %) are in pools of huge pages;",
            "vm.nr_hugepages",
            "121 MiB (26 %) are held by pod",
            "belongs to pod 1f6cbd1e…, the largest cgroup",
        ],
        &["Look first", "largest holder", "promised", RESERVE],
    );
    for (free_mib, reserved_mib, words) in [
        (280, 200, "80 MiB of it unused and 200 MiB promised to mappings"),
        (40, 40, "40 MiB of it promised to mappings, the rest in use"),
        (0, 0, "all of it in use"),
    ] {
        let mut scope = Scope::new(&api(), &entries);
        let (free_bytes, reserved_bytes) = (free_mib * MIB, reserved_mib * MIB);
        let pool = Detail::Huge { page_bytes: 2 * MIB, free_bytes, reserved_bytes };
        scope.account.entries[0].detail = Some(pool);
        says(&scope.told(), words, &[], &[]);
    }
}

#[test]
fn slab_of_no_cgroup_is_named_with_its_network_buffers() {
    let entries = [(SlabUnreclaimable, "", 200), (Pod, POD, 195), (Free, "", 2)];
    let scope = || Scope::new(&api(), &entries).with(POD, 195, Limit::Unlimited);
    let told = scope().told();
    says(
        &told,
        "200 MiB (43 %) are unreclaimable slab of no cgroup: `slabtop -s c`",
        &["a leak of the kernel"],
        &["Look first", "largest holder", "udp_mem", RESERVE],
    );
    let mut received = scope();
    received.account.network_bytes = Some(150 * MIB);
    let told = received.told();
    says(&told, "TCP and UDP buffers take 150 MiB", &["net.ipv4.udp_mem"], &["largest holder"]);
}

#[test]
fn the_rest_that_no_counter_has_is_named_as_such() {
    let entries = [(Pod, POD, 150), (Free, "", 2), (SlabUnreclaimable, "", 30)];
    let told = Scope::new(&api(), &entries).with(POD, 150, Limit::Unlimited).told();
    says(
        &told,
        "282 MiB (60 %) are in none of the kernel's own counts",
        &["page_owner", "150 MiB (32 %) are held by pod"],
        &["largest holder", RESERVE],
    );
}

#[test]
fn a_trigger_in_the_root_cgroup_is_named_with_its_size() {
    let entries = [(RootProcesses, "", 360), (Pod, POD, 37), (Free, "", 2), (SlabUnreclaimable, "", 30)];
    let mut scope = Scope::new(&api(), &entries).with(POD, 37, Limit::Unlimited);
    scope.kill = trigger_in_root(scope.kill, 358);
    let told = scope.told();
    says(
        &told,
        "360 MiB (77 %) are of processes in the root cgroup, of which backupd (pid 12) 358 MiB",
        &[
            "MemoryMax=",
            "backupd (pid 12) holds 358 MiB and is in no cgroup below the root; the victim belongs to pod 1f6cbd1e… with 37 MiB",
        ],
        &["the largest holder", "Look first", RESERVE],
    );
}

#[test]
fn memory_that_the_allocation_may_not_use_is_said_to_be_free() {
    let entries = [(FreeIneligible, "", 181), (Pod, POD, 150), (SlabUnreclaimable, "", 100), (Free, "", 2)];
    let told = Scope::new(&api(), &entries)
        .with(POD, 150, Limit::Unlimited)
        .with_zones(vec![zone("Normal", 232, 2, 3), zone("Movable", 232, 181, 0)])
        .told();
    says(
        &told,
        "181 MiB (39 %) were free in zones that the allocation may not use: kernel memory cannot be there",
        &[
            "the zones that the allocation may use ran out of memory, while 181 MiB are free in zone Movable: 150 MiB (32 %) are held by pod",
            "the zones that it may use manage 232 MiB and had 2 MiB free",
            "kernelcore=",
        ],
        &["the node ran out of memory", "Look first", RESERVE],
    );
}

#[test]
fn what_the_kernel_keeps_free_is_no_fault_of_services() {
    let entries = [(Free, "", 244), (Pod, POD, 130), (Service, SERVICE, 30), (SlabUnreclaimable, "", 40)];
    let told = Scope::new(&api(), &entries)
        .with(POD, 130, Limit::Unlimited)
        .with_zones(vec![zone("Normal", 464, 244, 246)])
        .told();
    says(
        &told,
        "244 MiB (52 %) were free: the kernel keeps it, as vm.min_free_kbytes is about 251904; the kernel's default for this node is \
         about 2757",
        &[
            "the node ran out of memory: 130 MiB (28 %) are held by pod 1f6cbd1e…; 244 MiB are free, but are the kernel's reserve;",
            "sysctl",
        ],
        &["takes more than is reserved", RESERVE, "Look first"],
    );
    // As the kernel sets it, with transparent huge pages, it is nothing to speak of.
    let usual = [(Free, "", 20), (Pod, POD, 300), (Service, SERVICE, 60), (SlabUnreclaimable, "", 40)];
    let told = Scope::new(&api(), &usual)
        .with(POD, 300, Limit::Unlimited)
        .with_zones(vec![zone("Normal", 464, 20, 22)])
        .told();
    says(&told, "300 MiB (64 %) are held by pod", &[], &["min_free_kbytes", "kernel's reserve"]);
}

#[test]
fn swap_in_memory_is_named_where_it_is_full() {
    let entries = [(Zsmalloc, "", 400), (Service, SERVICE, 7), (Free, "", 2), (SlabUnreclaimable, "", 20)];
    let mut scope = Scope::new(SERVICE, &entries).with(SERVICE, 7, Limit::Unlimited);
    scope.account.swap = Some(Swap { total_bytes: Some(411 * MIB), free_bytes: Some(0), ..Swap::default() });
    scope.swap_mib = 405;
    let told = |devices: Option<&[SwapKind]>| {
        let mut scope = scope.clone();
        let all =
            |kinds: &[SwapKind]| kinds.iter().map(|&kind| SwapDevice { kind, bytes: 411 * MIB }).collect();
        scope.account.swap =
            Some(Swap { devices: devices.map(all), ..scope.account.swap.unwrap_or_default() });
        scope.told()
    };
    let zram = told(Some(&[SwapKind::Partition, SwapKind::Zram]));
    says(
        &zram,
        "is full",
        &["(`zramctl` shows how much)", "Give zram a smaller disksize"],
        &["max_pool_percent", "if it is"],
    );
    let zswap = told(Some(&[SwapKind::Partition]));
    says(
        &zswap,
        "is full",
        &["zswap's: lower /sys/module/zswap/parameters/max_pool_percent"],
        &["zramctl", "disksize"],
    );
    let told = told(None);
    says(
        &told,
        "400 MiB (86 %) are compressed swap in memory (zram, zswap): swap (411 MiB) is full",
        &[
            "If it is zram, give it a smaller disksize",
            "max_pool_percent",
            "MemorySwapMax=",
            "Most of the swap is that of host unit batch.service: 405 MiB",
        ],
        &["enforce-node-allocatable", "--eviction-hard", RESERVE],
    );
}

#[test]
fn a_pod_without_a_limit_is_what_comes_first() {
    let entries = [(Pod, POD, 280), (Service, SERVICE, 60), (Free, "", 2), (SlabUnreclaimable, "", 40)];
    let scope = || Scope::new(&api(), &entries).with(POD, 280, Limit::Unlimited);
    let told = scope().told();
    says(
        &told,
        "280 MiB (60 %) are held by pod 1f6cbd1e…: it has no limit; give its containers a memory limit",
        &[
            "the victim belongs to the largest holder, pod 1f6cbd1e…",
            "--eviction-hard memory.available well above",
        ],
        &[RESERVE],
    );
    // kubelet's memory.available does not count kernel memory there.
    let told = Scope { v1: true, ..scope() }.told();
    says(&told, "280 MiB", &["--eviction-hard memory.available, so that"], &["memory.available well above"]);
    let bounds = MemoryBounds { request_bytes: Some(32 * MIB), ..MemoryBounds::default() };
    let names = Names { pod_memory: bounds, ..crate::pods::names::tests::shop(bounds) };
    let mut scene = scope();
    scene.names = Some((POD, names));
    says(
        &scene.told(),
        "it has no limit and a request of 32 MiB for 280 MiB used",
        &["near its real use"],
        &[RESERVE],
    );
    let limited = Scope::new(&api(), &entries).with(POD, 280, Limit::Bytes(400 * MIB));
    says(&limited.told(), "by its limit of 400 MiB", &[], &["has no limit;"]);
    let both = [(Pod, POD, 200), (Pod, OTHER_POD, 190), (Free, "", 2)];
    let told = Scope::new(&api(), &both)
        .with(POD, 200, Limit::Unlimited)
        .with(OTHER_POD, 190, Limit::Unlimited)
        .told();
    says(
        &told,
        "200 MiB (43 %)",
        &["190 MiB (40 %) are held by pod 7a1c9d20…: it has no limit and no request (BestEffort)"],
        &[],
    );
}

#[test]
fn a_service_without_a_limit_is_given_one_and_no_reservation() {
    let entries = [(Service, SERVICE, 400), (Pod, POD, 30), (Free, "", 2), (SlabUnreclaimable, "", 20)];
    let told = Scope::new(SERVICE, &entries)
        .with(SERVICE, 400, Limit::Unlimited)
        .with(POD, 30, Limit::Unlimited)
        .told();
    says(
        &told,
        "400 MiB (86 %) are held by host unit batch.service: it has no limit; give it one (`systemctl set-property batch.service \
         MemoryMax=",
        &["bring down the 400 MiB named before rather than raise --system-reserved"],
        &["by about", "bring that down"],
    );
    assert_eq!(told.remedy.matches("are held by host unit batch.service").count(), 1, "{}", told.remedy);
}

#[test]
fn a_reservation_is_raised_by_what_exceeds_it_and_no_further() {
    // 164 MiB are reserved; services, slab and the watermarks come to 196.
    let entries = [
        (Pod, POD, 120),
        (Pod, OTHER_POD, 110),
        (Service, SERVICE, 15),
        (Service, "/system.slice/a.service", 15),
        (Service, "/system.slice/b.service", 15),
        (SlabUnreclaimable, "", 14),
        (SlabReclaimable, "", 13),
        (PageTables, "", 14),
        (KernelStacks, "", 14),
        (Percpu, "", 14),
        (Vmalloc, "", 14),
        (Sockets, "", 14),
        (RootProcesses, "", 14),
        (RootShmem, "", 14),
        (RootFiles, "", 14),
        (Zsmalloc, "", 14),
        (Iommu, "", 14),
        (Free, "", 3),
    ];
    let told = Scope::new(&api(), &entries).with(POD, 120, Limit::Unlimited).told();
    says(
        &told,
        "120 MiB (25 %) are held by pod",
        &[
            "takes 234 MiB, 70 MiB more than the 164 MiB that is reserved for it. Raise kubelet's --system-reserved or \
           --kube-reserved by about 77.2 MiB (the excess and 7.2 MiB, so that the pods reach their limit before the node reaches its \
           watermarks), and run fewer pods here: they used 230 MiB, and could use no more than 222.8 MiB then.",
        ],
        &["takes more than is reserved"],
    );
}

#[test]
fn what_is_within_its_reservation_is_left_alone() {
    let entries = [(Pod, POD, 299), (Service, SERVICE, 100), (Free, "", 3), (SlabUnreclaimable, "", 60)];
    let told = Scope::new(&api(), &entries).with(POD, 299, Limit::Unlimited).told();
    says(&told, "299 MiB", &[], &[RESERVE, "reserved for it"]);
    assert!(told.shows(&["used 299 MiB of 300 MiB node-allocatable"]));
}

#[test]
fn each_kind_of_the_nodes_memory_has_its_words() {
    for (kind, words) in [
        (SmallCgroups, "--max-pods"),
        (RemovedCgroups, "/dev/shm"),
        (RootProcesses, "MemoryMax="),
        (RootShmem, "df -t tmpfs"),
        (RootFiles, "Unevictable"),
        (Anon, "ps -eo"),
        (File, "Dirty"),
        (Shmem, "ipcs -m"),
        (SwapCache, "swap is too slow"),
        (HugePages, "vm.nr_hugepages"),
        (SlabUnreclaimable, "slabtop"),
        (SlabReclaimable, "vfs_cache_pressure"),
        (PageTables, "huge pages for large shared mappings"),
        (KernelStacks, "podPidsLimit"),
        (Percpu, "bpftool map"),
        (Vmalloc, "/proc/vmallocinfo"),
        (Sockets, "ss -m"),
        (Zsmalloc, "zramctl"),
        (Zswap, "max_pool_percent"),
        (Balloon, "hypervisor"),
        (Iommu, "VFIO"),
        (Gpu, "graphics driver"),
        (Unaccepted, "accept_memory="),
        (OtherKernel, "pipe buffers"),
        (Cgroup, "set memory.max"),
        (Container, "docker update --memory"),
    ] {
        let path = match kind {
            Cgroup => "/mine",
            Container => "/docker/a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3",
            _ => "",
        };
        let told = Scope::new(&api(), &[(kind, path, 300)]).told();
        let first = told.remedy.split_once(". So that").map_or(&*told.remedy, |(first, _)| first);
        assert!(first.starts_with("300 MiB (64 %) ") && first.contains(words), "{kind}: {}", told.remedy);
        assert!(told.summary.contains("300 MiB (64 %)"), "{kind}: {}", told.summary);
    }
}
