use crashtrace_ebpf::program;

use super::*;
use crate::kernel::host::Lockdown;
use crate::kernel::host::tests::healthy;
use crate::kernel::plan::{AttachKind, Functions};
use crate::self_test::{self, Wrong};
use crate::symbols::tests::every_function;

pub(super) mod remedies;

pub(super) const PROBE: Attach =
    Attach { program: program::WARN_ALLOC, kind: AttachKind::Kprobe, target: "warn_alloc" };
pub(super) const TRACEPOINT: Attach =
    Attach { program: program::MM_PAGE_ALLOC, kind: AttachKind::RawTracepoint, target: "mm_page_alloc" };
/// The hooks on ends of containers.
pub(super) const EXITS: [Attach; 2] = [
    Attach { program: program::PROCESS_EXIT, kind: AttachKind::RawTracepoint, target: "sched_process_exit" },
    Attach { program: program::SIGNAL_GENERATE, kind: AttachKind::RawTracepoint, target: "signal_generate" },
];

pub(super) fn works(hook: Hook) -> TierTrial {
    TierTrial {
        hook,
        usable: true,
        memcg: hook != Hook::RawTracepoint,
        wait: hook != Hook::RawTracepoint,
        alloc: Some(PROBE),
        alloc_error: None,
        exits: EXITS.to_vec(),
        exits_error: None,
        not_pinned: None,
        error: None,
    }
}

fn fails(hook: Hook, error: &str) -> TierTrial {
    TierTrial {
        hook,
        usable: false,
        memcg: false,
        wait: false,
        alloc: None,
        alloc_error: None,
        exits: Vec::new(),
        exits_error: None,
        not_pinned: None,
        error: Some(error.to_owned()),
    }
}

fn findings(trials: Vec<TierTrial>) -> Findings {
    let all = Functions {
        oom_kill_process: true,
        mem_cgroup_out_of_memory: true,
        mem_cgroup_oom_synchronize: true,
        warn_alloc: true,
    };
    Findings {
        facts: healthy(),
        kernel: KernelView { btf_functions: all, kallsyms_functions: Some(all), mark_victim_arg: Some(1) },
        wanted: HooksWanted::Auto,
        beside: Beside::ALL,
        trials,
        self_test: Some(SelfTestReport {
            right: vec!["process id".to_owned(), "start time".to_owned()],
            not_compared: vec![Unresolved { field: "limits".to_owned(), reason: "not seen here".to_owned() }],
            verified_instructions: Some(14_000),
            took_ms: 12,
            ..SelfTestReport::default()
        }),
        self_test_refusal: None,
        absent_fields: vec!["MEMCG_OOM_KILL_DISABLE".to_owned()],
        symbols: every_function(),
        zones: Err("a test has none".to_owned()),
        confinement: None,
        names: Vec::new(),
        kube_writes: Vec::new(),
    }
}

#[test]
fn a_host_where_everything_works_is_ok_and_has_nothing_to_do() {
    let report = assemble(findings(vec![works(Hook::Fentry)]));
    assert_eq!(report.verdict.status, Usability::Ok);
    assert_eq!(report.verdict.summary, "can watch this node with fentry hooks");
    assert_eq!((report.verdict.remedies.as_slice(), report.blind.as_slice()), ([].as_slice(), [].as_slice()));
    assert_eq!(report.uses, Some(Hook::Fentry));
    assert_eq!(report.exit_code(), exit::OK);
}

/// Whatever its hooks see, no limit of a container is in force there.
#[test]
fn a_node_without_a_memory_controller_is_not_ok_and_is_told_how_to_switch_it_on() {
    let mut findings = findings(vec![works(Hook::Fentry)]);
    findings.facts.memory_cgroup = Some(crate::kernel::host::MemoryCgroup::Disabled);
    let report = assemble(findings);
    assert_eq!((report.verdict.status, report.exit_code()), (Usability::Degraded, exit::DEGRADED));
    assert!(
        report.blind.iter().any(|blind| blind.what.contains("no such limit is in force")),
        "{:?}",
        report.blind
    );
    let [remedy] = report.verdict.remedies.as_slice() else { panic!("{:?}", report.verdict.remedies) };
    assert!(
        remedy.contains("cgroup_disable=memory") && remedy.contains("cgroup_enable=memory cgroup_memory=1")
    );
}

/// fentry needs support that arm64 got late; kprobes see just as much.
#[test]
fn the_second_tier_is_as_good_as_the_first() {
    let report = assemble(findings(vec![fails(Hook::Fentry, "ENOTSUPP"), works(Hook::Kprobe)]));
    assert_eq!((report.verdict.status, report.uses), (Usability::Ok, Some(Hook::Kprobe)));
}

#[test]
fn the_tracepoint_alone_is_degraded_and_says_what_would_help() {
    let trials = vec![fails(Hook::Fentry, "no"), fails(Hook::Kprobe, "no"), works(Hook::RawTracepoint)];
    let report = assemble(findings(trials));
    assert_eq!((report.verdict.status, report.exit_code()), (Usability::Degraded, exit::DEGRADED));
    assert_eq!(report.blind.len(), 2);
    assert_eq!(
        report.verdict.remedies.len(),
        1,
        "the same remedy is given once: {:?}",
        report.verdict.remedies
    );
}

#[test]
fn memcg_hooks_that_failed_degrade_a_usable_tier() {
    let trial =
        TierTrial { memcg: false, wait: false, error: Some("EBUSY".to_owned()), ..works(Hook::Fentry) };
    let report = assemble(findings(vec![trial]));
    assert_eq!(report.verdict.status, Usability::Degraded);
    assert!(report.blind[0].why.contains("does not accept"));
}

/// A kernel without a probe on failed allocations sees some of them, one without any hook none.
#[test]
fn the_hook_on_failed_allocations_decides_which_are_seen() {
    let with = |alloc: Option<Attach>, allocations| {
        let trial = TierTrial { alloc, ..works(Hook::Fentry) };
        let report =
            assemble(Findings { beside: Beside { allocations, exits: true }, ..findings(vec![trial]) });
        (
            report.verdict.status,
            report.blind.into_iter().map(|blind| blind.what).collect::<Vec<_>>().join("; "),
        )
    };
    assert_eq!(with(Some(PROBE), true), (Usability::Ok, String::new()));
    let (status, unseen) = with(Some(TRACEPOINT), true);
    assert!(status == Usability::Degraded && unseen.contains("vmalloc"), "{unseen}");
    let (status, unseen) = with(None, true);
    assert!(status == Usability::Degraded && unseen.contains("fragmentation"), "{unseen}");
    let (status, unseen) = with(None, false);
    assert!(status == Usability::Ok && unseen.contains("fragmentation"), "not seen, but as asked: {unseen}");
}

#[test]
fn panic_on_oom_degrades_whatever_the_hooks() {
    let mut findings = findings(vec![works(Hook::Fentry)]);
    findings.facts.panic_on_oom = Some(1);
    let report = assemble(findings);
    assert_eq!(report.verdict.status, Usability::Degraded);
    assert_eq!(report.verdict.remedies, ["set sysctl vm.panic_on_oom=0"]);
}

#[test]
fn all_reasons_to_refuse_are_given_at_once_with_a_remedy_each() {
    let mut findings = findings(Vec::new());
    findings.facts.capabilities = Some([].into());
    findings.facts.lockdown = Some(Lockdown::Confidentiality);
    let report = assemble(findings);
    assert_eq!((report.verdict.status, report.exit_code()), (Usability::Unusable, exit::UNUSABLE));
    assert!(report.verdict.summary.contains("CAP_BPF") && report.verdict.summary.contains("locked down"));
    assert_eq!(report.verdict.remedies.len(), 2);
}

#[test]
fn hooks_named_by_the_user_that_cannot_work_are_unusable() {
    let mut findings = findings(Vec::new());
    findings.wanted = HooksWanted::Only(Hook::Fentry);
    findings.kernel.btf_functions = Functions::default();
    let report = assemble(findings);
    assert_eq!(report.verdict.status, Usability::Unusable);
    assert_eq!(report.verdict.remedies, ["let crashtrace choose with --hooks auto"]);
}

#[test]
fn a_kernel_that_refuses_every_hook_is_unusable_and_an_old_one_may_lack_locked_memory() {
    let mut refused = findings(vec![fails(Hook::Fentry, "EPERM"), fails(Hook::RawTracepoint, "EPERM")]);
    let report = assemble(refused.clone());
    assert_eq!(report.verdict.status, Usability::Unusable);
    assert!(report.verdict.remedies[0].contains("seccomp"));
    refused.facts.release = Some("5.10.223".to_owned());
    refused.facts.capabilities = Some([Capability::Bpf, Capability::Perfmon].into());
    assert!(assemble(refused).verdict.remedies[0].contains("CAP_SYS_RESOURCE"));
}

#[test]
fn a_skipped_tier_stands_in_its_place_with_its_reason() {
    let mut findings = findings(vec![works(Hook::Kprobe)]);
    findings.kernel.btf_functions = Functions::default();
    let report = assemble(findings);
    let hooks: Vec<_> = report.tiers.iter().map(|tier| tier.hook).collect();
    assert_eq!(hooks, [Hook::Fentry, Hook::Kprobe]);
    assert!(report.tiers[0].error.as_ref().unwrap().contains("does not list"));
}

#[test]
fn json_names_hooks_as_reports_do_and_keeps_unknown_as_null() {
    let mut findings = findings(vec![works(Hook::RawTracepoint)]);
    findings.facts.lockdown = None;
    let value = serde_json::to_value(assemble(findings)).unwrap();
    assert_eq!(value["schema"], SCHEMA);
    assert_eq!(value["tiers"][0]["hook"], "raw_tp");
    assert_eq!(value["verdict"]["status"], "degraded");
    assert!(value["facts"]["lockdown"].is_null());
    assert_eq!(value["facts"]["capabilities"][0], "CAP_BPF");
}

#[test]
fn text_leads_with_the_verdict_and_shows_unknown_facts_with_their_reason() {
    let mut findings = findings(vec![fails(Hook::Fentry, "refused\nby verifier"), works(Hook::Kprobe)]);
    findings.facts.panic_on_oom = Some(1);
    findings.facts.lockdown = None;
    findings.facts.unresolved.push(Unresolved {
        field: "lockdown".to_owned(),
        reason: "/sys/kernel/security/lockdown: not there".to_owned(),
    });
    findings.trials[1].alloc = Some(PROBE);
    findings.zones = Err("/proc/zoneinfo: not there".to_owned());
    let expected = "\
crashtrace VERSION: degraded
can watch this node with kprobe hooks, but does not see everything

What to do
  - set sysctl vm.panic_on_oom=0

Not seen
  - an OOM of the whole node
    vm.panic_on_oom is 1: the kernel panics before a report can leave

Hooks, best first
  fentry                       does not work: refused\\nby verifier
  kprobe                       works, in use
  failed allocations           kprobe:warn_alloc, no cost unless one fails
  ends of containers           raw_tp:sched_process_exit, raw_tp:signal_generate
                               raw_tp:sched_process_exit costs some 500 instructions for each process that ends
                               raw_tp:signal_generate costs some 500 instructions for each signal that could end a process
  restart                      no gap with --pin
  self-test                    2 facts about this process were read right (12 ms, 14000 instructions verified)
                               not compared: limits: not seen here

Free memory now: what an allocation gets without reclaim or compaction
  fragmentation                unknown: /proc/zoneinfo: not there

Host
  name                         node-1
  boot                         6a1c9b1e-0000-4000-8000-3d0c5a7f1e42
  kernel                       6.12.107+deb13-amd64 (x86_64)
  CPUs                         4
  memory                       8192 MiB
  page size                    4096 bytes
  BTF                          /sys/kernel/btf/vmlinux, the kernel's own
  lockdown                     unknown: /sys/kernel/security/lockdown: not there
  user id                      0
  capabilities                 CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_SYSLOG
  init user namespace          yes
  memory controller            cgroup v2 at /sys/fs/cgroup
  kernel addresses shown       yes
  kptr_restrict                0
  panic_on_oom                 1
  oom_kill_allocating_task     0
  perf_event_paranoid          2
  unprivileged_bpf_disabled    2
  min_free_kbytes              11449
  compaction_proactiveness     20
  compact_unevictable_allowed  1
  extfrag_threshold            500

Kernel fields that this kernel does not have
  MEMCG_OOM_KILL_DISABLE
";
    let text = render_text(&assemble(findings), false);
    assert_eq!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"), expected);
}

/// Values that are misread of this process would be misread of others.
#[test]
fn a_failed_self_test_makes_working_hooks_useless() {
    let mut findings = findings(vec![works(Hook::Fentry)]);
    let wrong = Wrong { fact: "process id".to_owned(), read: "0".to_owned(), is: "17".to_owned() };
    let report = SelfTestReport { wrong: vec![wrong], ..SelfTestReport::default() };
    findings.self_test_refusal = self_test::misread(&report, &findings.facts);
    findings.self_test = Some(report);
    let report = assemble(findings);
    assert_eq!(
        (report.verdict.status, report.exit_code(), &report.uses),
        (Usability::Unusable, exit::UNUSABLE, &None)
    );
    assert_eq!(
        report.verdict.summary,
        "cannot watch this kernel: by the BTF in /sys/kernel/btf/vmlinux this process is misread: \
         process id is 17, and was read as 0"
    );
    assert!(report.verdict.remedies[0].contains("crashtrace doctor"), "{:?}", report.verdict.remedies);
    assert!(render_text(&report, false).contains("misread: process id is 17, read as 0"));
}

#[test]
fn text_is_coloured_only_if_wanted_and_never_by_the_host() {
    let mut findings = findings(vec![works(Hook::Fentry)]);
    findings.facts.hostname = Some("evil\x1b[2Jhost".to_owned());
    let report = assemble(findings);
    assert!(!render_text(&report, false).contains('\x1b'));
    let colored = render_text(&report, true);
    assert!(colored.contains("\x1b[32mok\x1b[0m") && !colored.contains("\x1b[2J"));
}

#[test]
fn the_schema_of_the_report_can_be_made() {
    let schema = serde_json::to_value(schemars::schema_for!(DoctorReport)).unwrap();
    assert_eq!(schema["properties"]["verdict"]["$ref"], "#/$defs/Verdict");
}

#[test]
fn whether_a_restart_is_a_gap_is_said_of_the_hooks_in_use() {
    let why = "this kernel cannot pin kprobes";
    let bound = |hook| TierTrial { not_pinned: Some(why.to_owned()), ..works(hook) };
    for (trials, says) in [
        (vec![works(Hook::Fentry), bound(Hook::Kprobe)], "no gap with --pin"),
        (vec![bound(Hook::Fentry)], why),
    ] {
        let text = render_text(&assemble(findings(trials)), false);
        let restart: Vec<_> = text.lines().filter(|line| line.trim_start().starts_with("restart ")).collect();
        assert!(matches!(restart.as_slice(), [line] if line.contains(says)), "{restart:?}");
    }
    let none = render_text(&assemble(findings(vec![fails(Hook::Fentry, "no")])), false);
    assert!(!none.contains("restart"), "{none}");
}
