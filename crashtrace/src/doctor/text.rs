//! `doctor`'s findings as text: the verdict first, then its basis.

use strum::VariantArray as _;

use super::{ContainerExits, DoctorReport, FailedAllocations, TierTrial, Usability, fragmentation};
use crate::confine::{Capabilities, Confinement};
use crate::kernel::host::{Capability, HostFacts, Lockdown, MemoryCgroup};
use crate::schema::BtfSource;
use crate::self_test::{SelfTestReport, Wrong};
use crate::terminal::{Page, Style, harmless};

/// Width of the column of names: facts and hooks.
const NAME_WIDTH: usize = 29;

/// Text that ends in a newline. `color` is for a terminal.
#[must_use]
pub fn render_text(report: &DoctorReport, color: bool) -> String {
    let mut page = Page::new(color);
    let (style, word) = match report.verdict.status {
        Usability::Ok => (Style::Good, "ok"),
        Usability::Degraded => (Style::Caution, "degraded"),
        Usability::Unusable => (Style::Alarm, "unusable"),
    };
    page.plain("crashtrace ").plain(&report.agent).plain(": ").put(style, word).end();
    line(&mut page, "", &report.verdict.summary);

    if !report.verdict.remedies.is_empty() {
        heading(&mut page, "What to do");
        for remedy in &report.verdict.remedies {
            line(&mut page, "  - ", remedy);
        }
    }
    if !report.blind.is_empty() {
        heading(&mut page, "Not seen");
        for blind in &report.blind {
            line(&mut page, "  - ", &blind.what);
            line(&mut page, "    ", &blind.why);
        }
    }
    if !report.tiers.is_empty() {
        heading(&mut page, "Hooks, best first");
    }
    for trial in &report.tiers {
        tier(&mut page, trial, report.uses == Some(trial.hook));
    }
    let failed_allocations = report.failed_allocations.iter().flat_map(FailedAllocations::lines);
    pairs(&mut page, "failed allocations", failed_allocations);
    pairs(&mut page, "ends of containers", report.container_exits.iter().flat_map(ContainerExits::lines));
    let in_use = report.tiers.iter().find(|trial| report.uses == Some(trial.hook));
    pairs(&mut page, "restart", in_use.map(restart));
    pairs(&mut page, "self-test", report.self_test.iter().flat_map(self_test));
    if !report.names.is_empty() {
        heading(&mut page, "Names of pods");
    }
    for trial in &report.names {
        let (name, state) = trial.pair();
        pair(&mut page, name, &state);
    }
    if !report.kube_writes.is_empty() {
        heading(&mut page, "Written to the API server");
    }
    for trial in &report.kube_writes {
        let (name, state) = trial.pair();
        pair(&mut page, name, &state);
    }
    if let Some(left) = &report.confinement {
        heading(&mut page, "Rights that watch keeps once its hooks are in place");
        for (name, value) in rights(left) {
            pair(&mut page, name, &value);
        }
    }
    heading(&mut page, "Free memory now: what an allocation gets without reclaim or compaction");
    if let Some(found) = &report.fragmentation {
        let page_size_bytes = report.facts.page_size_bytes;
        for (name, words) in fragmentation::facts(found, page_size_bytes) {
            pair(&mut page, &name, &words);
        }
        page.end();
        fragmentation::draw(&mut page, found, page_size_bytes);
    }
    for gap in &report.unresolved {
        pair(&mut page, &gap.field, &format!("unknown: {}", gap.reason));
    }
    heading(&mut page, "Host");
    for (name, value) in facts(&report.facts) {
        pair(&mut page, name, &value);
    }
    if !report.absent_fields.is_empty() {
        heading(&mut page, "Kernel fields that this kernel does not have");
        line(&mut page, "  ", &report.absent_fields.join(", "));
    }
    page.into_string()
}

fn line(page: &mut Page, indent: &str, text: &str) {
    // The text of the kernel or a server may end with a line break.
    page.plain(indent).plain(text.trim_end()).end();
}

fn heading(page: &mut Page, text: &str) {
    page.end();
    page.put(Style::Heading, text).end();
}

fn name(page: &mut Page, name: &str) {
    page.plain("  ").plain(&format!("{:NAME_WIDTH$}", harmless(name)));
}

fn pair(page: &mut Page, its_name: &str, value: &str) {
    name(page, its_name);
    line(page, "", value);
}

/// Several lines; the first has the name.
fn pairs(page: &mut Page, name: &str, lines: impl IntoIterator<Item = String>) {
    for (index, line) in lines.into_iter().enumerate() {
        pair(page, if index == 0 { name } else { "" }, &line);
    }
}

fn tier(page: &mut Page, trial: &TierTrial, is_used: bool) {
    name(page, &trial.hook.to_string());
    if trial.usable {
        page.put(Style::Good, "works");
    } else {
        page.put(Style::Alarm, "does not work");
    }
    if is_used {
        page.plain(", in use");
    }
    let error = trial.error.as_deref().map(|error| {
        let missing = if trial.usable { "; optional hooks missing" } else { "" };
        format!("{missing}: {error}")
    });
    line(page, "", &error.unwrap_or_default());
}

/// Whether a restart is a gap.
fn restart(trial: &TierTrial) -> String {
    match &trial.not_pinned {
        None => "no gap with --pin".to_owned(),
        Some(why) => format!("a gap, also with --pin: {why}"),
    }
}

/// Results of the self-test, line by line.
fn self_test(report: &SelfTestReport) -> Vec<String> {
    let verified = report.verified_instructions;
    let verified = verified.map(|count| format!(", {count} instructions verified")).unwrap_or_default();
    let right = format!(
        "{} facts about this process were read right ({} ms{verified})",
        report.right.len(),
        report.took_ms
    );
    let wrong = report.wrong.iter();
    let wrong = wrong.map(|Wrong { fact, read, is }| format!("misread: {fact} is {is}, read as {read}"));
    let skipped = report.not_compared.iter();
    let skipped = skipped.map(|skipped| format!("not compared: {}: {}", skipped.field, skipped.reason));
    std::iter::once(right).chain(wrong).chain(skipped).collect()
}

fn said_of(source: BtfSource) -> &'static str {
    match source {
        BtfSource::Kernel => "the kernel's own",
        BtfSource::FileThatAgrees => "a file that agrees with the kernel's own BTF",
        BtfSource::FileThatDiffers => "a file of another kernel",
        BtfSource::FileAlone => "a file; the kernel's own BTF cannot be read",
    }
}

/// The facts as labelled lines, in the kernel's terms where it has some.
fn facts(facts: &HostFacts) -> Vec<(&'static str, String)> {
    let why_not = |field: &str| {
        let unresolved = facts.unresolved.iter().find(|unresolved| unresolved.field == field);
        format!("unknown: {}", unresolved.map_or("not looked for", |unresolved| &unresolved.reason))
    };
    let said = |field: &str, value: Option<String>| value.unwrap_or_else(|| why_not(field));
    let shown = |value: Option<i32>| value.map(|value| value.to_string());
    let btf = match &facts.btf.error {
        None => format!("{}, {}", facts.btf.path, said_of(facts.btf_source)),
        Some(error) => format!("{}: {error}", facts.btf.path),
    };
    let capabilities = facts.capabilities.as_ref().map(|held| {
        let state = |one: &Capability| format!("{}{one}", if held.contains(one) { "" } else { "no " });
        Capability::VARIANTS.iter().map(state).collect::<Vec<_>>().join(", ")
    });
    let memory = &facts.memory;
    let part = if facts.memory_cgroup_whole == Some(false) { ", a part of it" } else { "" };
    let mount = said("memory_cgroup_mount", facts.memory_cgroup_mount.clone()) + part;
    vec![
        ("name", said("hostname", facts.hostname.clone())),
        ("boot", said("boot_id", facts.boot_id.clone())),
        ("kernel", format!("{} ({})", said("release", facts.release.clone()), facts.architecture)),
        ("CPUs", said("cpus", facts.cpus.map(|cpus| cpus.to_string()))),
        (
            "memory",
            said("memory_bytes", facts.memory_bytes.map(|bytes| format!("{} MiB", bytes / (1 << 20)))),
        ),
        ("page size", format!("{} bytes", facts.page_size_bytes)),
        ("BTF", btf),
        (
            "lockdown",
            said(
                "lockdown",
                facts.lockdown.map(|mode| {
                    let word = match mode {
                        Lockdown::NotBuilt => "none (not built in)",
                        Lockdown::None => "none",
                        Lockdown::Integrity => "integrity",
                        Lockdown::Confidentiality => "confidentiality",
                    };
                    word.to_owned()
                }),
            ),
        ),
        ("user id", said("euid", facts.euid.map(|euid| euid.to_string()))),
        ("capabilities", said("capabilities", capabilities)),
        ("init user namespace", said("init_user_namespace", facts.init_user_namespace.map(yes_or_no))),
        (
            "memory controller",
            said(
                "memory_cgroup",
                facts.memory_cgroup.map(|which| match which {
                    MemoryCgroup::V1 => format!("cgroup v1 at {mount}"),
                    MemoryCgroup::V2 => format!("cgroup v2 at {mount}"),
                    MemoryCgroup::Disabled => "switched off".to_owned(),
                }),
            ),
        ),
        ("kernel addresses shown", said("kallsyms_addresses", facts.kallsyms_addresses.map(yes_or_no))),
        ("kptr_restrict", said("kptr_restrict", shown(facts.kptr_restrict))),
        ("panic_on_oom", said("panic_on_oom", shown(facts.panic_on_oom))),
        ("oom_kill_allocating_task", said("oom_kill_allocating_task", shown(facts.oom_kill_allocating_task))),
        ("perf_event_paranoid", said("perf_event_paranoid", shown(facts.perf_event_paranoid))),
        (
            "unprivileged_bpf_disabled",
            said("unprivileged_bpf_disabled", shown(facts.unprivileged_bpf_disabled)),
        ),
        ("min_free_kbytes", said("min_free_kbytes", shown(memory.min_free_kbytes))),
        (
            "compaction_proactiveness",
            said("compaction_proactiveness", shown(memory.compaction_proactiveness)),
        ),
        (
            "compact_unevictable_allowed",
            said("compact_unevictable_allowed", shown(memory.compact_unevictable_allowed)),
        ),
        ("extfrag_threshold", said("extfrag_threshold", shown(memory.extfrag_threshold))),
    ]
}

/// Remaining rights.
fn rights(left: &Confinement) -> Vec<(&'static str, String)> {
    let unknown = || "unknown".to_owned();
    let said = |value: Option<bool>| value.map_or_else(unknown, yes_or_no);
    let set = |of: fn(&Capabilities) -> &Vec<String>| {
        let names = left.capabilities.as_ref().map(of);
        names.map_or_else(unknown, |it| if it.is_empty() { "none".to_owned() } else { it.join(", ") })
    };
    let landlock = left.landlock_abi.map_or_else(|| "no".to_owned(), |abi| format!("yes, version {abi}"));
    let mut all = vec![
        ("capabilities", set(|sets| &sets.effective)),
        ("capabilities, permitted", set(|sets| &sets.permitted)),
        ("capabilities, inheritable", set(|sets| &sets.inheritable)),
        ("capabilities, ambient", set(|sets| &sets.ambient)),
        ("capabilities, bounding", set(|sets| &sets.bounding)),
        ("no_new_privs", said(left.no_new_privs)),
        ("seccomp filter", said(left.seccomp)),
        ("landlock", landlock),
    ];
    all.extend(left.not_applied.iter().map(|why| ("not given up", why.clone())));
    all
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}
