use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// Facts of a host on which everything works: Debian's 6.12 with cgroup v2, as root.
pub(crate) fn healthy() -> HostFacts {
    let btf = BtfFile { path: KERNEL_BTF.to_owned(), error: None, differs: Vec::new() };
    HostFacts {
        release: Some("6.12.107+deb13-amd64".to_owned()),
        architecture: "x86_64".to_owned(),
        page_size_bytes: 4096,
        cpus: Some(4),
        memory_bytes: Some(8 << 30),
        boot_id: Some("6a1c9b1e-0000-4000-8000-3d0c5a7f1e42".to_owned()),
        hostname: Some("node-1".to_owned()),
        btf: btf.clone(),
        btf_source: BtfSource::Kernel,
        kernel_btf: btf,
        lockdown: Some(Lockdown::None),
        capabilities: Some(Capability::VARIANTS.iter().copied().collect()),
        euid: Some(0),
        init_user_namespace: Some(true),
        memory_cgroup: Some(MemoryCgroup::V2),
        memory_cgroup_mount: Some("/sys/fs/cgroup".to_owned()),
        memory_cgroup_whole: Some(true),
        panic_on_oom: Some(0),
        oom_kill_allocating_task: Some(0),
        kptr_restrict: Some(0),
        perf_event_paranoid: Some(2),
        unprivileged_bpf_disabled: Some(2),
        memory: MemorySettings {
            min_free_kbytes: Some(11_449),
            compaction_proactiveness: Some(20),
            compact_unevictable_allowed: Some(1),
            extfrag_threshold: Some(500),
        },
        kallsyms_addresses: Some(true),
        unresolved: Vec::new(),
    }
}

/// A host laid out in a directory.
struct Root(TempDir);

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = Self(TempDir::new().unwrap());
        for (path, text) in files {
            let path = root.0.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn facts(&self) -> HostFacts {
        let types = Types { btf: healthy().btf, ..crate::kernel::types::read(Path::new(KERNEL_BTF), None) };
        gather(self.0.path(), &Types { kernel_btf: types.btf.clone(), ..types })
    }
}

fn reason<'a>(facts: &'a HostFacts, field: &str) -> &'a str {
    let found = facts.unresolved.iter().find(|unresolved| unresolved.field == field);
    &found.unwrap_or_else(|| panic!("no reason for {field} in {:?}", facts.unresolved)).reason
}

const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

/// A whole host of today: each fact comes from its file.
#[test]
fn a_host_with_cgroup_v2_is_read_completely() {
    let root = Root::new(&[
        ("/proc/sys/kernel/osrelease", "6.1.0-42-cloud-amd64\n"),
        ("/sys/devices/system/cpu/online", "0-2,5\n"),
        ("/proc/meminfo", "MemTotal:        2031824 kB\nMemFree:          100 kB\n"),
        ("/proc/sys/kernel/random/boot_id", "b4a1\n"),
        ("/proc/sys/kernel/hostname", "worker\n"),
        ("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
        ("/proc/self/status", "Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t000000c000000000\n"),
        ("/proc/self/uid_map", "         0          0 4294967295\n"),
        ("/proc/self/mountinfo", V2_MOUNT),
        ("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"),
        ("/proc/sys/vm/panic_on_oom", "2\n"),
        ("/proc/sys/vm/oom_kill_allocating_task", "1\n"),
        ("/proc/sys/kernel/kptr_restrict", "1\n"),
        ("/proc/sys/kernel/perf_event_paranoid", "-1\n"),
        ("/proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
        ("/proc/sys/vm/min_free_kbytes", "5703\n"),
        ("/proc/sys/vm/compaction_proactiveness", "0\n"),
        ("/proc/sys/vm/compact_unevictable_allowed", "1\n"),
        ("/proc/sys/vm/extfrag_threshold", "500\n"),
        ("/proc/kallsyms", "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\n"),
    ]);
    let facts = root.facts();
    assert_eq!(facts.unresolved, []);
    let expected = HostFacts {
        release: Some("6.1.0-42-cloud-amd64".to_owned()),
        architecture: std::env::consts::ARCH.to_owned(),
        page_size_bytes: facts.page_size_bytes,
        cpus: Some(4),
        memory_bytes: Some(2_031_824 * 1024),
        boot_id: Some("b4a1".to_owned()),
        hostname: Some("worker".to_owned()),
        lockdown: Some(Lockdown::Integrity),
        capabilities: Some([Capability::Bpf, Capability::Perfmon].into()),
        euid: Some(0),
        panic_on_oom: Some(2),
        oom_kill_allocating_task: Some(1),
        kptr_restrict: Some(1),
        perf_event_paranoid: Some(-1),
        memory: MemorySettings {
            min_free_kbytes: Some(5703),
            compaction_proactiveness: Some(0),
            ..healthy().memory
        },
        ..healthy()
    };
    assert_eq!(facts, expected);
    assert!(facts.page_size_bytes.is_power_of_two());
}

#[test]
fn where_nothing_can_be_read_nothing_is_claimed_and_each_reason_names_its_file() {
    let facts = Root::new(&[]).facts();
    let value = serde_json::to_value(&facts).unwrap();
    for (field, value) in value.as_object().unwrap() {
        match field.as_str() {
            // BTF is read before, and not below the root.
            "architecture" | "page_size_bytes" | "unresolved" | "btf" | "kernel_btf" | "btf_source" => {}
            _ => {
                assert!(value.is_null(), "{field}: {value}");
                assert!(reason(&facts, field).starts_with('/'), "{field}: {}", reason(&facts, field));
            }
        }
    }
}

#[test]
fn a_file_that_does_not_parse_is_unknown_and_quoted_in_the_reason() {
    let facts = Root::new(&[
        ("/proc/sys/vm/panic_on_oom", "maybe\n"),
        ("/sys/devices/system/cpu/online", "3-1\n"),
        ("/proc/self/status", "CapEff:\tzz\n"),
        ("/proc/meminfo", "MemTotal: 18446744073709551615 kB\n"),
        ("/sys/kernel/security/lockdown", "[paranoia]\n"),
        ("/proc/sys/kernel/hostname", "\n"),
    ])
    .facts();
    assert_eq!((facts.panic_on_oom, facts.cpus, facts.memory_bytes), (None, None, None));
    assert_eq!((&facts.capabilities, facts.euid, facts.lockdown), (&None, None, None));
    assert!(reason(&facts, "panic_on_oom").contains("`maybe`"));
    assert!(reason(&facts, "cpus").contains("`3-1`"));
    assert!(reason(&facts, "lockdown").contains("`[paranoia]`"));
    assert_eq!(reason(&facts, "hostname"), "/proc/sys/kernel/hostname is empty");
}

#[test]
fn a_kernel_without_lockdown_is_told_from_a_container_without_securityfs() {
    let built_without = Root::new(&[("/sys/kernel/security/lsm", "capability")]).facts();
    assert_eq!(built_without.lockdown, Some(Lockdown::NotBuilt));
    let not_mounted = Root::new(&[]).facts();
    assert_eq!(not_mounted.lockdown, None);
    assert!(reason(&not_mounted, "lockdown").contains("securityfs"));
}

#[test]
fn every_lockdown_mode_is_known() {
    for (text, mode) in [
        ("[none] integrity confidentiality\n", Lockdown::None),
        ("none [integrity] confidentiality\n", Lockdown::Integrity),
        ("none integrity [confidentiality]\n", Lockdown::Confidentiality),
    ] {
        assert_eq!(Root::new(&[("/sys/kernel/security/lockdown", text)]).facts().lockdown, Some(mode));
    }
}

/// The kernel shows zeroes to processes that may not see its addresses; a few symbols are at 0 for all.
#[test]
fn hidden_kernel_addresses_are_noticed() {
    let hidden = "0000000000000000 T _text\n0000000000000000 t oom_kill_process\n";
    let shown = "0000000000000000 A fixed_percpu_data\n0000000000001000 A cpu_debug_store\n";
    for (text, expected) in [(hidden, Some(false)), (shown, Some(true)), ("", None)] {
        assert_eq!(Root::new(&[("/proc/kallsyms", text)]).facts().kallsyms_addresses, expected);
    }
}

#[test]
fn a_user_namespace_is_told_from_the_init_one() {
    for (map, expected) in [("0 0 4294967295", true), ("0 1000 1\n1 100000 65536", false)] {
        let facts = Root::new(&[("/proc/self/uid_map", map)]).facts();
        assert_eq!(facts.init_user_namespace, Some(expected), "{map}");
    }
}

fn cgroup(files: &[(&str, &str)]) -> (Option<MemoryCgroup>, Option<String>) {
    let facts = Root::new(files).facts();
    (facts.memory_cgroup, facts.memory_cgroup_mount)
}

#[test]
fn on_a_hybrid_host_the_memory_controller_is_where_v1_has_it() {
    let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                  34 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    let found = cgroup(&[
        ("/proc/self/mountinfo", mounts),
        ("/sys/fs/cgroup/unified/cgroup.controllers", ""),
        ("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t14\t1\n"),
    ]);
    assert_eq!(found, (Some(MemoryCgroup::V1), Some("/sys/fs/cgroup/memory".to_owned())));
}

#[test]
fn a_mount_of_a_whole_hierarchy_is_preferred_to_one_of_a_part() {
    let mounts = "50 40 0:32 /kubepods/x /mnt/part\\040one rw - cgroup cgroup rw,memory\n\
                  35 31 0:32 / /host/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  51 40 0:32 /kubepods/y /mnt/other rw - cgroup cgroup rw,memory\n";
    let whole = cgroup(&[("/proc/self/mountinfo", mounts)]);
    assert_eq!(whole, (Some(MemoryCgroup::V1), Some("/host/sys/fs/cgroup/memory".to_owned())));
    let part = cgroup(&[("/proc/self/mountinfo", mounts.lines().next().unwrap())]);
    assert_eq!(part, (Some(MemoryCgroup::V1), Some("/mnt/part one".to_owned())));
}

/// The mounts in a container with a cgroup namespace, where the host's hierarchy is mounted as well.
#[test]
fn a_mount_from_above_the_cgroup_namespace_is_preferred_to_the_containers_own() {
    let hosts = "50 40 0:26 /../../.. /host/sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    let own = "51 40 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    let other = "52 40 0:26 /../pod1 /mnt/other ro - cgroup2 cgroup2 rw\n";
    for mounts in [[hosts, own, other], [other, own, hosts]] {
        let found = cgroup(&[
            ("/proc/self/mountinfo", mounts.concat().as_str()),
            ("/host/sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
        ]);
        assert_eq!(found, (Some(MemoryCgroup::V2), Some("/host/sys/fs/cgroup".to_owned())));
    }
}

/// A container's mount begins at the container's cgroup, which its cgroup namespace calls the root.
#[test]
fn the_root_of_the_hierarchy_is_told_from_a_containers_own() {
    let whole = |files: &[(&str, &str)]| Root::new(files).facts().memory_cgroup_whole;
    let unified = ("/proc/self/mountinfo", V2_MOUNT);
    let controllers = ("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    let events = ("/sys/fs/cgroup/cgroup.events", "populated 1\n");
    assert_eq!(whole(&[unified, controllers]), Some(true));
    assert_eq!(whole(&[unified, controllers, events]), Some(false));
    let v1 = ("/proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    assert_eq!(whole(&[v1, ("/sys/fs/cgroup/memory/cgroup.sane_behavior", "0\n")]), Some(true));
    assert_eq!(whole(&[v1, ("/sys/fs/cgroup/memory/memory.stat", "")]), Some(false));
    assert_eq!(whole(&[("/proc/self/mountinfo", ""), ("/proc/cgroups", "memory\t0\t90\t1\n")]), None);
}

#[test]
fn where_no_mount_shows_the_memory_controller_the_kernels_table_does() {
    let none = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
    for (mounts, table, expected) in [
        (none, "memory\t7\t90\t1\n", (Some(MemoryCgroup::V1), None)),
        (none, "memory\t0\t90\t1\n", (Some(MemoryCgroup::V2), None)),
        (V2_MOUNT, "memory\t0\t90\t1\n", (Some(MemoryCgroup::V2), Some("/sys/fs/cgroup".to_owned()))),
        (V2_MOUNT, "memory\t0\t1\t0\n", (Some(MemoryCgroup::Disabled), None)),
        (V2_MOUNT, "cpu\t0\t1\t1\n", (None, None)),
    ] {
        assert_eq!(
            cgroup(&[("/proc/self/mountinfo", mounts), ("/proc/cgroups", table)]),
            expected,
            "{table}"
        );
    }
}

/// From 6.15 on `/proc/cgroups` leaves out controllers without a v1 side, and the memory controller with them.
#[test]
fn a_root_that_lists_no_memory_controller_shows_that_there_is_none() {
    let mounted = ("/proc/self/mountinfo", V2_MOUNT);
    let table = ("/proc/cgroups", "cpu\t0\t1\t1\n");
    let controllers = ("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n");
    assert_eq!(cgroup(&[mounted, table, controllers]), (Some(MemoryCgroup::Disabled), None));
    // A container's own cgroup may have been given only some of the controllers.
    let events = ("/sys/fs/cgroup/cgroup.events", "populated 1\n");
    assert_eq!(cgroup(&[mounted, table, controllers, events]), (None, None));
}

#[test]
fn releases_of_all_kinds_give_their_version() {
    for (release, version) in [
        ("5.10.0-23-cloud-amd64", Some(KernelVersion(5, 10))),
        ("6.18-rc1", Some(KernelVersion(6, 18))),
        ("4.18.0-553.el8_10.x86_64", Some(KernelVersion(4, 18))),
        ("5.15.167.4-microsoft-standard-WSL2", Some(KernelVersion(5, 15))),
        ("7.3+", Some(KernelVersion(7, 3))),
        ("linux", None),
        ("6.", None),
        ("99999999999.1", None),
    ] {
        assert_eq!(KernelVersion::parse(release), version, "{release}");
    }
    assert!(KernelVersion(5, 8) < KernelVersion(5, 10) && KernelVersion(5, 19) < KernelVersion(6, 0));
}

/// On any Linux that tests run on, the files that need no privilege exist and parse.
#[test]
fn the_machine_that_runs_the_tests_has_the_facts_that_need_no_privilege() {
    let facts = gather(Path::new("/"), &crate::kernel::types::read(Path::new(KERNEL_BTF), None));
    assert!(facts.version().is_some(), "{facts:?}");
    assert!(facts.cpus.is_some_and(|cpus| cpus > 0), "{facts:?}");
    assert!(facts.memory_bytes.is_some_and(|bytes| bytes > 0), "{facts:?}");
    assert!(facts.boot_id.is_some() && facts.hostname.is_some(), "{facts:?}");
    assert!(facts.capabilities.is_some() && facts.euid.is_some(), "{facts:?}");
}
