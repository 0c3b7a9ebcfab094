//! Remedies are a list for the reader, away from the reasons that they are for. So each says what it is about.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use strum::VariantArray as _;

use super::*;
use crate::kernel::host::MemoryCgroup;
use crate::kernel::load::{LoadError, Scarce};
use crate::pods::kube::Problem;
use crate::schema::NameSource;
use crate::self_test::SelfTestError;

/// What an item of the list lacks, if anything: an imperative at its beginning, or a name in place of a pronoun for what only the reason
/// names.
pub(in crate::doctor) fn flaw(remedy: &str) -> Option<&'static str> {
    const PRONOUNS: [&str; 12] =
        ["it", "its", "that", "this", "these", "those", "them", "they", "which", "whose", "such", "there"];
    let words: Vec<_> = remedy.split([' ', ',', ':', ';']).collect();
    let is_pronoun = |at: usize| words.get(at).is_none_or(|word| PRONOUNS.contains(word));
    let bare = ["that file", "that limit", "no such", "these capabilities"];
    if is_pronoun(0) {
        Some("begins with a pronoun")
    } else if is_pronoun(1)
        && !["check that this node", "report this fault of"].iter().any(|it| remedy.starts_with(it))
    {
        Some("has a pronoun for its object")
    } else if bare.iter().any(|words| remedy.contains(words)) {
        Some("points at something that it does not name")
    } else {
        (!remedy.starts_with(|first: char| first.is_ascii_lowercase())).then_some("is no imperative")
    }
}

#[test]
fn a_remedy_without_its_subject_is_noticed() {
    for remedy in
        ["which has no such setting", "boot it with lockdown", "boot anew, which has no such setting"]
    {
        assert!(flaw(remedy).is_some(), "{remedy}");
    }
    assert!(flaw("raise that limit to 4096").is_some() && flaw("Raise the limit").is_some());
    assert_eq!(flaw("set sysctl vm.panic_on_oom=0"), None);
}

/// Hosts that each lack something.
fn hosts() -> Vec<HostFacts> {
    let without = |capabilities: &[Capability]| {
        let mut facts = healthy();
        let all = facts.capabilities.as_mut().expect("they are known");
        all.retain(|capability| !capabilities.contains(capability));
        facts
    };
    let btf = |path: &str, error: Option<&str>, differs: &[&str]| {
        let mut facts = healthy();
        path.clone_into(&mut facts.btf.path);
        facts.btf.error = error.map(str::to_owned);
        facts.btf.differs = differs.iter().map(|it| (*it).to_owned()).collect();
        facts
    };
    let kernel_btf = healthy().btf.path;
    vec![
        healthy(),
        HostFacts { memory_cgroup: Some(MemoryCgroup::V1), release: Some("5.10.1".to_owned()), ..healthy() },
        HostFacts { memory_cgroup: Some(MemoryCgroup::Disabled), ..healthy() },
        HostFacts { memory_cgroup_whole: Some(false), panic_on_oom: Some(2), ..healthy() },
        HostFacts { memory_cgroup_mount: None, kptr_restrict: Some(2), ..healthy() },
        HostFacts { perf_event_paranoid: Some(3), ..without(&[Capability::SysAdmin]) },
        HostFacts { kptr_restrict: Some(2), ..without(&[Capability::Syslog, Capability::SysResource]) },
        HostFacts { release: Some("5.10.1".to_owned()), ..without(&[Capability::SysResource]) },
        without(Capability::VARIANTS),
        HostFacts { lockdown: Some(Lockdown::Confidentiality), ..healthy() },
        HostFacts { init_user_namespace: Some(false), ..healthy() },
        HostFacts { release: Some("5.4.0".to_owned()), ..healthy() },
        btf(&kernel_btf, Some("it is missing"), &[]),
        btf("/tmp/vmlinux", Some("it is missing"), &[]),
        btf("/tmp/vmlinux", None, &["task_struct.pid"]),
    ]
}

/// What the API server may have answered.
fn problems() -> Vec<Problem> {
    let (path, reason, server) = (PathBuf::from("/x"), "missing".to_owned(), "https://10.96.0.1".to_owned());
    let refused = |code| Problem::Refused { code, message: "no".to_owned() };
    vec![
        Problem::Settings("no kubeconfig".to_owned()),
        Problem::Token { path: path.clone(), reason: reason.clone() },
        Problem::Kubeconfig { path, reason: reason.clone() },
        Problem::Unreachable { server: server.clone(), reason: reason.clone() },
        Problem::Untrusted { server, reason },
        Problem::Silent(Duration::from_secs(1)),
        refused(401),
        refused(403),
        refused(500),
        Problem::Fault("a fault".to_owned()),
    ]
}

#[test]
fn each_remedy_stands_alone() {
    let hooks = [Hook::Fentry, Hook::Kprobe, Hook::RawTracepoint];
    let bare = |hook| TierTrial { memcg: false, wait: false, alloc: None, exits: Vec::new(), ..works(hook) };
    let trials: Vec<_> = hooks
        .iter()
        .flat_map(|hook| [works(*hook), bare(*hook), TierTrial { alloc: Some(TRACEPOINT), ..works(*hook) }])
        .chain([fails(Hook::Fentry, "EPERM")])
        .collect();
    let mut all = BTreeSet::new();
    for facts in hosts() {
        for trial in &trials {
            for wanted in [HooksWanted::Auto, HooksWanted::Only(trial.hook)] {
                let symbols = Symbols::without("hidden".to_owned());
                let found =
                    Findings { facts: facts.clone(), wanted, symbols, ..findings(vec![trial.clone()]) };
                all.extend(assemble(found).verdict.remedies);
            }
        }
        let wrong = Wrong { fact: "process id".to_owned(), read: "0".to_owned(), is: "17".to_owned() };
        let misread = SelfTestReport { wrong: vec![wrong], ..SelfTestReport::default() };
        let scarce = [Scarce::OpenFiles { limit: None }, Scarce::OpenFilesOfNode, Scarce::Memory];
        let untried = scarce
            .into_iter()
            .chain([Scarce::LockedMemory { limit_bytes: 65536 }])
            .map(|scarce| SelfTestError::Load(LoadError::Scarce { what: "map RECORDS".to_owned(), scarce }));
        let refusals = untried.map(|error| Some(self_test::untried(&error, &facts)));
        for self_test_refusal in refusals.chain([self_test::misread(&misread, &facts)]) {
            let found = findings(vec![works(Hook::Fentry)]);
            all.extend(assemble(Findings { self_test_refusal, ..found }).verdict.remedies);
        }
    }
    let mut no_tracepoint = findings(Vec::new());
    no_tracepoint.kernel.mark_victim_arg = None;
    all.extend(assemble(no_tracepoint).verdict.remedies);
    for problem in problems() {
        let trial = NameTrial {
            source: NameSource::Kube,
            usable: false,
            says: problem.to_string(),
            remedy: Some(problem.remedy().to_owned()),
            expected: true,
            no_events: None,
        };
        let found = findings(vec![works(Hook::Fentry)]);
        all.extend(assemble(Findings { names: vec![trial], ..found }).verdict.remedies);
    }
    let flawed: Vec<_> = all.iter().filter_map(|remedy| Some((flaw(remedy)?, remedy))).collect();
    assert!(flawed.is_empty(), "{flawed:#?}");
    assert!(all.len() >= 35, "only {}: {all:#?}", all.len());
}
