use super::*;
use crate::kernel::host::tests::healthy;
use crate::kernel::host::{BtfFile, MemoryCgroup};
use crate::kernel::host::{Capability, Lockdown};
use crate::symbols::tests::every_function;

mod alloc;
mod exits;

const ALL: Functions = Functions {
    oom_kill_process: true,
    mem_cgroup_out_of_memory: true,
    mem_cgroup_oom_synchronize: true,
    warn_alloc: true,
};
const NONE: Functions = Functions {
    oom_kill_process: false,
    mem_cgroup_out_of_memory: false,
    mem_cgroup_oom_synchronize: false,
    warn_alloc: false,
};

fn view() -> KernelView {
    KernelView { btf_functions: ALL, kallsyms_functions: Some(ALL), mark_victim_arg: Some(1) }
}

fn hooks(plan: &Plan) -> Vec<Hook> {
    plan.tiers.iter().map(|tier| tier.hook).collect()
}

/// A tier's hooks as reports name them, with the programs.
fn shown(attaches: &[Attach]) -> Vec<String> {
    attaches.iter().map(|attach| format!("{attach} {}", attach.program)).collect()
}

#[test]
fn a_healthy_host_is_tried_from_fentry_down_to_the_tracepoint() {
    let plan = plan(&healthy(), &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    assert_eq!(hooks(&plan), [Hook::Fentry, Hook::Kprobe, Hook::RawTracepoint]);
    assert_eq!(plan.skipped, []);
    let [fentry, kprobe, tracepoint] = plan.tiers.as_slice() else { panic!("{plan:?}") };
    assert_eq!(
        shown(&fentry.decision),
        ["fentry:oom_kill_process oom_kill_fentry", "fexit:oom_kill_process oom_kill_fexit"]
    );
    assert_eq!(shown(&fentry.memcg), ["fexit:mem_cgroup_out_of_memory memcg_oom_fexit"]);
    assert_eq!(shown(&[fentry.victims]), ["raw_tp:mark_victim mark_victim"]);
    assert_eq!(
        shown(&kprobe.decision),
        ["kprobe:oom_kill_process oom_kill_kprobe", "kretprobe:oom_kill_process oom_kill_kretprobe"]
    );
    assert_eq!(
        shown(&kprobe.memcg),
        [
            "kprobe:mem_cgroup_out_of_memory memcg_oom_kprobe",
            "kretprobe:mem_cgroup_out_of_memory memcg_oom_kretprobe"
        ]
    );
    assert_eq!(kprobe.victims, fentry.victims);
    assert_eq!((tracepoint.decision.as_slice(), tracepoint.memcg.as_slice()), ([].as_slice(), [].as_slice()));
    assert_eq!(shown(&[tracepoint.victims]), ["raw_tp:mark_victim mark_victim_alone"]);
}

#[test]
fn hooks_that_the_user_names_are_the_only_ones_planned() {
    for (wanted, hook) in [
        (HooksWanted::Only(Hook::Fentry), Hook::Fentry),
        (HooksWanted::Only(Hook::Kprobe), Hook::Kprobe),
        (HooksWanted::Only(Hook::RawTracepoint), Hook::RawTracepoint),
    ] {
        assert_eq!(hooks(&plan(&healthy(), &view(), wanted, Beside::ALL).unwrap()), [hook]);
    }
}

/// The BTF of 5.10 on arm64 lists global functions only; kallsyms lists all.
#[test]
fn fentry_is_skipped_where_btf_does_not_list_the_function() {
    let kernel = KernelView { btf_functions: NONE, ..view() };
    let auto = plan(&healthy(), &kernel, HooksWanted::Auto, Beside::ALL).unwrap();
    assert_eq!(hooks(&auto), [Hook::Kprobe, Hook::RawTracepoint]);
    assert_eq!(auto.skipped[0].hook, Hook::Fentry);
    assert!(auto.skipped[0].reason.contains("does not list function oom_kill_process"));
    let refusal = plan(&healthy(), &kernel, HooksWanted::Only(Hook::Fentry), Beside::ALL).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "cannot use fentry hooks: the kernel's BTF does not list function oom_kill_process; \
         let crashtrace choose with --hooks auto"
    );
}

#[test]
fn a_btf_file_serves_kprobes_but_not_fentry() {
    let mut facts = healthy();
    facts.btf = BtfFile { path: "/my.btf".to_owned(), error: None, differs: Vec::new() };
    facts.kernel_btf.error = Some("No such file or directory".to_owned());
    let plan = plan(&facts, &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    assert_eq!(hooks(&plan), [Hook::Kprobe, Hook::RawTracepoint]);
    assert!(plan.skipped[0].reason.contains("own BTF"));
}

#[test]
fn kprobes_are_skipped_only_if_the_symbol_is_known_not_to_be_there() {
    let gone = KernelView { kallsyms_functions: Some(NONE), ..view() };
    assert_eq!(
        hooks(&plan(&healthy(), &gone, HooksWanted::Auto, Beside::ALL).unwrap()),
        [Hook::Fentry, Hook::RawTracepoint]
    );
    assert!(plan(&healthy(), &gone, HooksWanted::Only(Hook::Kprobe), Beside::ALL).is_err());
    let unread = KernelView { kallsyms_functions: None, ..view() };
    let planned = plan(&healthy(), &unread, HooksWanted::Only(Hook::Kprobe), Beside::ALL).unwrap();
    assert_eq!(planned.tiers[0].memcg.len(), 2);
    // Of a function that few kernels have BTF is believed.
    assert!(planned.tiers[0].wait.is_some());
    let without = KernelView { btf_functions: NONE, ..unread };
    let planned = plan(&healthy(), &without, HooksWanted::Only(Hook::Kprobe), Beside::ALL).unwrap();
    assert_eq!(planned.tiers[0].wait, None);
}

/// They are read when the hooks are in place.
#[test]
fn symbols_that_are_not_read_yet_lack_no_function() {
    let plan = plan(&healthy(), &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    let optional = Optional { memcg: true, wait: true, alloc: AllocHook::Probe, exits: ExitHooks::Both };
    let of = |symbols: Option<&Symbols>| blind(&plan.tiers[0], optional, &healthy(), symbols);
    assert_eq!(of(None), of(Some(&every_function())));
    assert_ne!(of(None), of(Some(&Symbols::default())));
}

/// An inlined `mem_cgroup_out_of_memory`, or a kernel without memory cgroups, costs only the optional hooks.
#[test]
fn a_tier_does_without_the_memcg_hooks_where_the_function_is_missing() {
    let only_kill = Functions { mem_cgroup_out_of_memory: false, ..ALL };
    let kernel = KernelView { btf_functions: only_kill, kallsyms_functions: Some(only_kill), ..view() };
    let plan = plan(&healthy(), &kernel, HooksWanted::Auto, Beside::ALL).unwrap();
    assert_eq!(hooks(&plan).len(), 3);
    assert!(plan.tiers.iter().all(|tier| tier.memcg.is_empty()));
}

/// Each of these alone prevents watching, and its refusal names the reason and the remedy.
#[test]
fn a_lack_that_affects_every_tier_is_refused_with_its_remedy() {
    type Change = fn(&mut HostFacts, &mut KernelView);
    let cases: [(Change, &str, &str); 10] = [
        (|facts, _| facts.release = Some("5.7.19".into()), "it is 5.7", "5.10 or later"),
        (|facts, _| facts.init_user_namespace = Some(false), "user namespace", "hostUsers"),
        (|facts, _| facts.lockdown = Some(Lockdown::Confidentiality), "locked down", "lockdown=integrity"),
        (|facts, _| facts.capabilities = Some([].into()), "lacks CAP_BPF and CAP_PERFMON", "as root"),
        (
            |facts, _| facts.capabilities = Some([Capability::Bpf, Capability::Syslog].into()),
            "lacks CAP_PERFMON;",
            "as root",
        ),
        (
            |facts, _| facts.capabilities = Some([Capability::Perfmon].into()),
            "(user id 0) lacks CAP_BPF;",
            "privileged: true",
        ),
        (|facts, _| facts.btf.error = Some("No such file".into()), "/sys/kernel/btf/vmlinux", "--btf FILE"),
        (
            |facts, _| {
                facts.btf =
                    BtfFile { path: "/x.btf".into(), error: Some("denied".into()), differs: Vec::new() };
            },
            "/x.btf",
            "leaving --btf out",
        ),
        (
            |facts, _| facts.btf.differs = vec!["task_struct.comm is 1, and 2".into(), "another".into()],
            "another kernel's: task_struct.comm is 1, and 2 (1 more differ)",
            "leave --btf out",
        ),
        (|_, kernel| kernel.mark_victim_arg = None, "oom:mark_victim", "very kernel"),
    ];
    for (change, why, remedy) in cases {
        let (mut facts, mut kernel) = (healthy(), view());
        change(&mut facts, &mut kernel);
        for wanted in [HooksWanted::Auto, HooksWanted::Only(Hook::RawTracepoint)] {
            let message = plan(&facts, &kernel, wanted, Beside::ALL).expect_err(why).to_string();
            assert!(message.starts_with("cannot watch this kernel: "), "{message}");
            assert!(message.contains(why) && message.contains(remedy), "{why}: {message}");
        }
        assert_eq!(refusals(&facts, &kernel).len(), 1, "{why}");
    }
}

#[test]
fn all_reasons_are_listed_and_missing_btf_is_counted_once() {
    let mut facts = healthy();
    facts.capabilities = Some([].into());
    facts.lockdown = Some(Lockdown::Confidentiality);
    facts.btf.error = Some("gone".to_owned());
    assert_eq!(refusals(&facts, &KernelView::default()).len(), 3);
}

/// "Could not look" is not "no": the trial will show it.
#[test]
fn an_unknown_fact_is_not_held_against_the_host() {
    let mut facts = healthy();
    facts.release = None;
    facts.capabilities = None;
    facts.lockdown = None;
    facts.init_user_namespace = None;
    assert!(plan(&facts, &view(), HooksWanted::Auto, Beside::ALL).is_ok());
    facts.release = Some("custom".to_owned());
    assert!(plan(&facts, &view(), HooksWanted::Auto, Beside::ALL).is_ok());
}

#[test]
fn harmless_restrictions_are_no_reason_to_refuse() {
    let mut facts = healthy();
    facts.capabilities = Some([Capability::SysAdmin].into());
    facts.lockdown = Some(Lockdown::Integrity);
    facts.euid = Some(1000);
    facts.perf_event_paranoid = Some(4);
    facts.release = Some("5.8.0".to_owned());
    assert!(plan(&facts, &view(), HooksWanted::Auto, Beside::ALL).is_ok());
    facts.capabilities = Some([Capability::Bpf, Capability::Perfmon].into());
    assert!(plan(&facts, &view(), HooksWanted::Auto, Beside::ALL).is_ok());
}

/// Blind spots of a tier of the healthy host's plan, after `change`.
fn unseen(hook: Hook, memcg_attached: bool, change: impl FnOnce(&mut HostFacts)) -> Vec<String> {
    let mut facts = healthy();
    change(&mut facts);
    let plan = plan(&facts, &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    let tier = plan.tiers.iter().find(|tier| tier.hook == hook).unwrap();
    blind(
        tier,
        Optional {
            memcg: memcg_attached,
            wait: memcg_attached,
            alloc: AllocHook::Probe,
            exits: ExitHooks::Both,
        },
        &facts,
        Some(&every_function()),
    )
    .into_iter()
    .map(|blind| blind.what)
    .collect()
}

#[test]
fn a_healthy_host_with_all_its_hooks_is_blind_to_nothing() {
    assert_eq!(unseen(Hook::Fentry, true, |_| ()), [""; 0]);
    assert_eq!(unseen(Hook::Kprobe, true, |_| ()), [""; 0]);
}

#[test]
fn the_tracepoint_alone_is_blind_to_facts_of_the_decision() {
    let what = unseen(Hook::RawTracepoint, false, |_| ()).join("\n");
    for expected in ["no process to kill", "group kill"] {
        assert!(what.contains(expected), "{expected}: {what}");
    }
}

#[test]
fn an_oom_without_a_victim_is_unseen_without_the_memcg_hooks_unless_there_are_no_memcgs() {
    assert_eq!(
        unseen(Hook::Fentry, false, |_| ()),
        ["an OOM of a memory cgroup that finds no process to kill"]
    );
    let disabled = |facts: &mut HostFacts| facts.memory_cgroup = Some(MemoryCgroup::Disabled);
    let no_limit = "an OOM at a memory limit of a container, pod or service: no such limit is in force";
    assert_eq!(unseen(Hook::Fentry, false, disabled), [no_limit]);
}

#[test]
fn cgroup_v1_may_hang_a_container_unseen_where_there_is_no_hook_on_that() {
    let on_v1 = |hook, attached| unseen(hook, attached, |facts| facts.memory_cgroup = Some(MemoryCgroup::V1));
    let hangs = |what: &String| what.contains("oom_kill_disable");
    assert!(!on_v1(Hook::Kprobe, true).iter().any(hangs));
    assert!(on_v1(Hook::Kprobe, false).iter().any(hangs));
    assert!(on_v1(Hook::RawTracepoint, false).iter().any(hangs));
}

#[test]
fn a_kernel_that_panics_on_oom_leaves_no_report() {
    let node = unseen(Hook::Fentry, true, |facts| facts.panic_on_oom = Some(1));
    assert_eq!(node, ["an OOM of the whole node"]);
    let every = unseen(Hook::Fentry, true, |facts| facts.panic_on_oom = Some(2));
    assert_eq!(every, ["every OOM, those of containers included"]);
}

/// A stack without names shows neither the absence nor the presence of a function.
#[test]
fn hidden_kernel_addresses_are_said_with_their_remedy() {
    let plan = plan(&healthy(), &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    let hidden = Symbols::without("hidden".to_owned());
    for (tier, count) in plan.tiers.iter().zip([1, 1, 2]) {
        let blind = blind(
            tier,
            Optional { memcg: true, wait: true, alloc: AllocHook::Probe, exits: ExitHooks::Both },
            &healthy(),
            Some(&hidden),
        );
        let hidden: Vec<_> = blind.iter().filter(|blind| blind.why == "hidden").collect();
        assert_eq!(hidden.len(), count, "{tier:?}");
        assert!(hidden.iter().all(|blind| blind.remedy.as_ref().unwrap().contains("CAP_SYSLOG")));
    }
}

#[test]
fn the_remedy_for_hidden_addresses_names_the_missing_condition() {
    let plan = plan(&healthy(), &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    let remedy = |capability: bool, kptr_restrict: i32| {
        let mut facts = HostFacts { kptr_restrict: Some(kptr_restrict), ..healthy() };
        if !capability {
            facts.capabilities.as_mut().unwrap().remove(&Capability::Syslog);
        }
        let all = Optional { memcg: true, wait: true, alloc: AllocHook::Probe, exits: ExitHooks::Both };
        blind(&plan.tiers[0], all, &facts, Some(&Symbols::without("hidden".to_owned())))
            .remove(0)
            .remedy
            .unwrap()
    };
    assert_eq!(remedy(false, 1), "give crashtrace CAP_SYSLOG");
    assert_eq!(remedy(true, 2), "set sysctl kernel.kptr_restrict to 0 or 1");
    for both in [remedy(false, 2), remedy(true, 1)] {
        assert!(both.contains("CAP_SYSLOG") && both.contains("kptr_restrict"), "{both}");
    }
}

/// With `CAP_PERFMON` in place of `CAP_SYS_ADMIN` Debian's kernels refuse kprobes, without a fault of the kernel.
#[test]
fn a_kprobe_that_is_refused_for_a_sysctl_has_that_as_its_remedy() {
    let plan = plan(&healthy(), &view(), HooksWanted::Auto, Beside::ALL).unwrap();
    let remedy = |alloc, paranoid, admin: bool| {
        let mut facts = HostFacts { perf_event_paranoid: Some(paranoid), ..healthy() };
        if !admin {
            facts.capabilities.as_mut().unwrap().remove(&Capability::SysAdmin);
        }
        let optional = Optional { memcg: true, wait: true, alloc, exits: ExitHooks::Both };
        blind(&plan.tiers[0], optional, &facts, Some(&every_function())).remove(0).remedy.unwrap()
    };
    for alloc in [AllocHook::Tracepoint, AllocHook::Refused] {
        assert!(remedy(alloc, 3, false).starts_with("set sysctl kernel.perf_event_paranoid to 2"));
        for (paranoid, admin) in [(3, true), (2, false)] {
            assert!(remedy(alloc, paranoid, admin).starts_with("run a kernel that accepts"));
        }
    }
}

/// A capability or mount that a pod's manifest leaves out is named.
#[test]
fn a_missing_capability_or_mount_is_a_blind_spot() {
    let without = |capability: Capability| {
        unseen(Hook::Fentry, true, |facts| {
            facts.capabilities.as_mut().unwrap().remove(&capability);
        })
    };
    assert_eq!(without(Capability::SysResource), ["an OOM of the node in which crashtrace itself is killed"]);
    assert_eq!(without(Capability::SysAdmin), [""; 0], "the others stand for it");
    let shared = "shared memory of the cgroup whose limit was hit (limit.shmem_bytes)";
    let part = |facts: &mut HostFacts| facts.memory_cgroup_whole = Some(false);
    assert_eq!(unseen(Hook::Fentry, true, part), [shared]);
    let none = |facts: &mut HostFacts| (facts.memory_cgroup_mount, facts.memory_cgroup_whole) = (None, None);
    assert_eq!(unseen(Hook::Fentry, true, none), [shared]);
    for version in [None, Some(MemoryCgroup::Disabled)] {
        let unknown = |facts: &mut HostFacts| {
            none(facts);
            facts.memory_cgroup = version;
        };
        let found = unseen(Hook::Fentry, true, unknown);
        assert!(!found.iter().any(|what| what == shared), "{version:?}");
        assert_eq!(found.len(), usize::from(version.is_some()), "{found:?}");
    }
}

#[test]
fn functions_come_from_kallsyms_only_if_it_could_be_read() {
    assert_eq!(Functions::in_kallsyms(&every_function()), Some(ALL));
    let text = "0000000000000000 t oom_kill_process\n0000000000000000 T _text\n";
    let partly = Functions::in_kallsyms(&Symbols::parse(text.as_bytes()));
    assert_eq!(partly, Some(Functions { oom_kill_process: true, ..NONE }));
    assert_eq!(Functions::in_kallsyms(&Symbols::without("denied".to_owned())), None);
}
