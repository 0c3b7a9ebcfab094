//! The comparison, fact by fact: each wrong value is detected; a changing or invisible one is no mismatch.

use std::path::PathBuf;
use std::time::Duration;

use aya::sys::SyscallError;
use rustix::io::Errno;

use super::*;
use crate::decode::SelfTest;
use crate::event::{Level, Limit, Lineage, Name, Rss, Task};
use crate::kernel::host::MemoryCgroup;
use crate::kernel::host::tests::healthy;
use crate::kernel::layout::{KernelBtf, Layout};
use crate::kernel::load::Scarce;
use crate::schema::BtfSource;

const MIB: u64 = 1 << 20;
const INIT: u64 = 0xEFFF_FFFB;
/// The pod's own path on the host.
const PATH: &str = "/kubepods/pod1/c1";

fn layout() -> Layout {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/btf/x86_64-6.12.btf");
    Layout::resolve(&KernelBtf::open(&path).expect("a fixture"))
}

fn level(name: &str, id: u64, limit: Limit) -> Level {
    Level {
        cgroup_id: Some(id),
        name: Some(Name::from(name)),
        root: name.is_empty(),
        usage_bytes: Some(30 * MIB),
        limit: Some(limit),
        swap_usage_bytes: Some(0),
        swap_limit: Some(Limit::Unlimited),
        oom_group: Some(false),
        oom_kill_disable: false,
        removed: false,
    }
}

fn seen() -> SelfTest {
    let levels = vec![
        level("c1", 77, Limit::Bytes(96 * MIB)),
        level("pod1", 70, Limit::Unlimited),
        level("kubepods", 60, Limit::Unlimited),
        level("", 1, Limit::Unlimited),
    ];
    SelfTest {
        ktime_ns: 9_000_000_000,
        task: Task {
            pid: Some(4711),
            tid: Some(4720),
            container_pid: Some(1),
            comm: Some(Name::from("crashtrace")),
            thread_comm: Some(Name::from("self-test")),
            uid: Some(0),
            oom_score_adj: Some(-999),
            rss: Some(Rss { anon_bytes: 8 * MIB, file_bytes: 4 * MIB, shmem_bytes: 0, swap_bytes: 0 }),
            page_table_bytes: Some(128 << 10),
            total_vm_bytes: Some(60 * MIB),
            start_boottime_ns: Some(8_012_345_678),
            exiting: Some(false),
        },
        container_tid: Some(9),
        task_flags: Some(0x40_0040),
        threads: Some(2),
        cgroups: Some(Lineage { levels, skipped: 0, incomplete: false, unified: false }),
        pid: 4711,
        tid: 4720,
        uid: 0,
        cgroup_id: 77,
        thread_comm: Name::from("self-test"),
    }
}

fn files(cgroup: &str) -> ProcSelf {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    // The name contains text that looks like fields.
    let stat = |flags: u64| {
        format!("1 (a) 1 (x) S 0 1 1 0 -1 {flags} 1 0 0 0 0 0 0 0 20 0 2 0 801 62914560 3000 0\n")
    };
    ProcSelf {
        comm: text("crashtrace\n"),
        stat: text(&stat(0x40_0100)),
        status: text(
            "Name:\tcrashtrace\nVmSize:\t   61440 kB\nVmRSS:\t   12288 kB\nVmPTE:\t     128 kB\nVmSwap:\t       0 kB\nThreads:\t2\n",
        ),
        oom_score_adj: text("-999\n"),
        cgroup: text(cgroup),
        thread_stat: text(&stat(0x40_0140)),
    }
}

fn own() -> ThisProcess {
    let files = files(&format!("0::{PATH}\n"));
    ThisProcess {
        pid: 1,
        tid: 9,
        before_ns: 8_999_900_000,
        after_ns: 9_000_100_000,
        tick_ns: 10_000_000,
        before: files.clone(),
        after: files,
        cgroup_namespace: Some(INIT),
        cgroup: Ok(CgroupDir {
            inode: 77,
            limit: Some(b"100663296\n".to_vec()),
            swap_limit: Some(b"max\n".to_vec()),
            usage: Some(b"31457280\n".to_vec()),
        }),
    }
}

fn compared(seen: &SelfTest, own: &ThisProcess) -> SelfTestReport {
    compare(seen, own, &Scene { facts: &healthy(), layout: &layout() })
}

fn wrong(report: &SelfTestReport) -> Vec<&str> {
    report.wrong.iter().map(|wrong| wrong.fact.as_str()).collect()
}

#[test]
fn all_facts_are_compared_and_right() {
    let report = compared(&seen(), &own());
    assert_eq!((report.wrong.as_slice(), report.not_compared.as_slice()), ([].as_slice(), [].as_slice()));
    assert_eq!(report.right.len(), 21, "{:?}", report.right);
}

/// For any bytes at a wrong offset, each fact is detected alone, and none of the others is blamed.
#[test]
fn each_fact_that_is_misread_is_named() {
    type Change = fn(&mut SelfTest);
    let cases: [(&str, Change); 19] = [
        ("process id", |seen| seen.task.pid = Some(0)),
        ("thread id", |seen| seen.task.tid = Some(4711)),
        ("process id in its pid namespace", |seen| seen.task.container_pid = Some(4711)),
        ("thread id in its pid namespace", |seen| seen.container_tid = Some(0)),
        ("user id", |seen| seen.task.uid = Some(3)),
        ("name of the process", |seen| seen.task.comm = Some(Name::from(""))),
        ("name of the thread", |seen| seen.task.thread_comm = Some(Name::from("crashtrace"))),
        ("oom_score_adj", |seen| seen.task.oom_score_adj = Some(0)),
        ("start time", |seen| seen.task.start_boottime_ns = Some(7_000_000_000)),
        ("task flags", |seen| seen.task_flags = Some(0)),
        ("whether it is ending", |seen| seen.task.exiting = Some(true)),
        ("number of threads", |seen| seen.threads = Some(0xffff_8881)),
        ("address space", |seen| seen.task.total_vm_bytes = Some(0)),
        ("page tables", |seen| seen.task.page_table_bytes = Some(0xffff_8881_0000_0000)),
        ("resident memory", |seen| {
            seen.task.rss = Some(Rss { anon_bytes: u64::MAX, file_bytes: 1, shmem_bytes: 1, swap_bytes: 0 });
        }),
        ("swap", |seen| {
            let rss = seen.task.rss.unwrap();
            seen.task.rss = Some(Rss { swap_bytes: 1 << 40, ..rss });
        }),
        ("path of the cgroup", |seen| {
            seen.cgroups.as_mut().unwrap().levels[1].name = Some(Name::from("pod2"));
        }),
        ("memory limit", |seen| seen.cgroups.as_mut().unwrap().levels[0].limit = Some(Limit::Bytes(0))),
        ("swap limit", |seen| seen.cgroups.as_mut().unwrap().levels[0].swap_limit = Some(Limit::Bytes(4096))),
    ];
    for (fact, change) in cases {
        let mut seen = seen();
        change(&mut seen);
        let report = compared(&seen, &own());
        assert_eq!(wrong(&report), [fact], "{report:?}");
        let refusal = misread(&report, &healthy()).expect(fact).to_string();
        assert!(refusal.contains(&format!("this process is misread: {fact} is ")), "{refusal}");
    }
    let mut seen = seen();
    seen.cgroups.as_mut().unwrap().levels[0].usage_bytes = Some(1 << 50);
    assert_eq!(wrong(&compared(&seen, &own())), ["memory in use"]);
    seen.cgroups = None;
    assert_eq!(wrong(&compared(&seen, &own())), ["path of the cgroup"], "it is in one, by /proc");
    seen = self::seen();
    // The id of another cgroup, which is no ancestor either.
    seen.cgroups.as_mut().unwrap().levels[0].cgroup_id = Some(0xdead);
    assert_eq!(wrong(&compared(&seen, &own())), ["path of the cgroup"]);
}

/// Both sides are right, each in its own namespaces.
#[test]
fn in_namespaces_comparable_facts_are_compared() {
    // A time namespace whose boot was 100 s earlier: `/proc` and the clock both show it.
    let mut inside = own();
    inside.before_ns += 100_000_000_000;
    inside.after_ns += 100_000_000_000;
    let stat = String::from_utf8(inside.after.stat.clone().unwrap()).unwrap().replace(" 801 ", " 10801 ");
    inside.after.stat = Some(stat.into_bytes());
    assert_eq!(wrong(&compared(&seen(), &inside)), [] as [&str; 0]);
    inside.before_ns -= 100_000_000_000;
    inside.after_ns -= 100_000_000_000;
    assert_eq!(wrong(&compared(&seen(), &inside)), ["start time"]);

    // A cgroup namespace: paths begin somewhere below.
    for (path, expected) in [
        ("/", None),
        ("/c1", None),
        ("/pod1/c1", None),
        ("/pod2/c1", Some("path of the cgroup")),
        ("/../x", None),
    ] {
        let mut inside = own();
        inside.cgroup_namespace = Some(4_026_532_000);
        inside.before.cgroup = Some(format!("0::{path}\n").into_bytes());
        inside.after.cgroup = inside.before.cgroup.clone();
        let report = compared(&seen(), &inside);
        assert_eq!(wrong(&report), expected.into_iter().collect::<Vec<_>>(), "{path}");
        assert!(report.right.iter().any(|right| right == "id of the cgroup"), "helpers know it everywhere");
    }

    // The directory of another cgroup, as where the host's hierarchy is mounted and the path is the namespace's.
    let mut inside = own();
    inside.cgroup.as_mut().unwrap().inode = 1;
    let report = compared(&seen(), &inside);
    assert_eq!(wrong(&report), [] as [&str; 0]);
    assert!(report.not_compared.iter().any(|skipped| skipped.field == "limits"), "{report:?}");
}

#[test]
fn an_invisible_fact_is_named_and_is_no_mismatch() {
    let mut blind = own();
    (blind.before, blind.after) = (ProcSelf::default(), ProcSelf::default());
    blind.cgroup = Err("not mounted".to_owned());
    let report = compared(&seen(), &blind);
    assert_eq!(wrong(&report), [] as [&str; 0]);
    let ids = ["process id", "thread id", "process id in its pid namespace", "name of the thread"];
    assert!(ids.iter().all(|fact| report.right.iter().any(|right| right == fact)), "{report:?}");
    assert!(report.not_compared.iter().any(|skipped| skipped.field == "start time"));

    let mut seen = seen();
    seen.task = Task { pid: None, tid: None, comm: None, start_boottime_ns: None, ..seen.task };
    let report = compared(&seen, &own());
    assert_eq!(wrong(&report), [] as [&str; 0]);
    // The kernel's own BTF may lack a field that a later kernel has renamed; a file without other evidence may not.
    let mut facts = healthy();
    assert_eq!(misread(&report, &facts), None);
    facts.btf_source = BtfSource::FileAlone;
    facts.kernel_btf.error = Some("No such file".to_owned());
    let refusal = misread(&report, &facts).expect("it cannot be tried").to_string();
    assert!(refusal.contains("does not tell where process id is"), "{refusal}");
    assert!(refusal.contains("name the BTF file of this very kernel, 6.12.107+deb13-amd64"), "{refusal}");
}

/// v1's hierarchy has other paths and ids, and on v2 the memory controller may end above the process.
#[test]
fn the_memory_controller_may_be_elsewhere() {
    let mut v1 = own();
    let table = format!("12:cpu,cpuacct:/x\n4:memory:{PATH}\n0::/init.scope\n");
    v1.before.cgroup = Some(table.into_bytes());
    v1.after.cgroup = v1.before.cgroup.clone();
    let mut on_v1 = seen();
    on_v1.cgroup_id = 5;
    let facts = HostFacts { memory_cgroup: Some(MemoryCgroup::V1), ..healthy() };
    let compared_on =
        |seen: &SelfTest, own: &ThisProcess| compare(seen, own, &Scene { facts: &facts, layout: &layout() });
    let report = compared_on(&on_v1, &v1);
    assert_eq!(wrong(&report), [] as [&str; 0]);
    assert!(
        report.right.iter().any(|right| right == "id of the cgroup") && report.right.len() == 21,
        "{report:?}"
    );
    on_v1.cgroups.as_mut().unwrap().levels[0].cgroup_id = Some(99);
    assert_eq!(wrong(&compared_on(&on_v1, &v1)), ["id of the cgroup"], "its directory says otherwise");

    let mut below = own();
    below.before.cgroup = Some(format!("0::{PATH}/workers/w1\n").into_bytes());
    below.after.cgroup = below.before.cgroup.clone();
    let mut ancestor = seen();
    ancestor.cgroup_id = 90;
    assert_eq!(wrong(&compared(&ancestor, &below)), [] as [&str; 0]);
    below.cgroup_namespace = None;
    let report = compared(&ancestor, &below);
    assert!(report.not_compared.iter().any(|skipped| skipped.field == "path of the cgroup"), "{report:?}");

    // Without any controller: the unified hierarchy's names.
    let mut unified = seen();
    unified.cgroups.as_mut().unwrap().unified = true;
    assert_eq!(wrong(&compared(&unified, &own())), [] as [&str; 0]);
    unified.cgroup_id = 78;
    assert_eq!(wrong(&compared(&unified, &own())), ["id of the cgroup"]);
}

/// An obstacle to the load has its own remedy: allowing `bpf()` would not help.
#[test]
fn where_it_cannot_be_tried_the_reason_says_what_to_do() {
    let what = "the self-test".to_owned();
    let scarce = Scarce::OpenFiles { limit: Some(12) };
    let cases = [
        (LoadError::Scarce { what: what.clone(), scarce }, "than 12 (RLIMIT_NOFILE)", "LimitNOFILE="),
        (
            LoadError::Scarce { what: what.clone(), scarce: Scarce::Memory },
            "no memory",
            "resources.limits.memory",
        ),
        (LoadError::Interrupted { what, patience: Duration::from_mins(1) }, "60 seconds", "freeze"),
    ];
    for (error, why, remedy) in cases {
        let refusal = untried(&SelfTestError::Load(error), &healthy());
        assert!(refusal.why.contains(why) && refusal.remedy.contains(remedy), "{refusal}");
        assert!(!refusal.to_string().contains("seccomp"), "{refusal}");
    }
    let error = ProgramError::SyscallError(SyscallError { call: "bpf", io_error: Errno::PERM.into() });
    let refusal = untried(&refused("load it")(error), &healthy());
    assert!(refusal.why.contains("cannot load it: ") && refusal.why.contains("not permitted"), "{refusal}");
    assert!(refusal.remedy.contains("allow bpf()"), "{refusal}");
}

#[test]
fn the_buffer_holds_a_record_only_if_one_was_written() {
    let mut bytes = vec![0; 4096];
    assert_eq!(length(&bytes), None);
    bytes[4..8].copy_from_slice(&5000_u32.to_le_bytes());
    assert_eq!(length(&bytes), None, "longer than the buffer");
    bytes[4..8].copy_from_slice(&600_u32.to_le_bytes());
    assert_eq!(length(&bytes), Some(600));
}
