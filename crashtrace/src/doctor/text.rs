//! `doctor`'s findings as text for people: the verdict first, then what it rests on.

use std::fmt::{Display, Write as _};

use super::{DoctorReport, Status, fragmentation};
use crate::confine::{Capabilities, Confinement};
use crate::kernel::host::{BtfSource, Capability, HostFacts, Lockdown, MemoryCgroup};
use crate::self_test::{SelfTestReport, Wrong};

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// Columns of the names of facts, and of hooks.
const NAME_WIDTH: usize = 29;

/// Text that ends in a newline. `color` is for a terminal.
#[must_use]
pub fn render_text(report: &DoctorReport, color: bool) -> String {
    let mut out = Out { text: String::new(), color };
    let (tone, word) = match report.verdict.status {
        Status::Ok => (GREEN, "ok"),
        Status::Degraded => (YELLOW, "degraded"),
        Status::Unusable => (RED, "unusable"),
    };
    let word = out.paint(tone, word);
    out.line(format_args!("crashtrace {}: {word}", report.agent));
    out.line(plain(&report.verdict.summary));

    if !report.verdict.remedies.is_empty() {
        out.heading("What to do");
        for remedy in &report.verdict.remedies {
            out.line(format_args!("  - {}", plain(remedy)));
        }
    }
    if !report.blind.is_empty() {
        out.heading("Not seen");
        for blind in &report.blind {
            out.line(format_args!("  - {}", plain(&blind.what)));
            out.line(format_args!("    {}", plain(&blind.why)));
        }
    }
    if !report.tiers.is_empty() {
        out.heading("Hooks, best first");
    }
    for tier in &report.tiers {
        let name = tier.hook.to_string();
        let used = report.uses.as_ref() == Some(&name);
        let mut state = if tier.usable { out.paint(GREEN, "works") } else { out.paint(RED, "does not work") };
        if used {
            state.push_str(", used");
        }
        if let Some(error) = &tier.error {
            let without = if tier.usable { ", without what it can do without" } else { "" };
            let _ = write!(state, "{without}: {}", plain(error));
        }
        out.pair(&name, &state);
    }
    if let Some(failed) = &report.failed_allocations {
        for (index, line) in failed.lines().iter().enumerate() {
            out.pair(if index == 0 { "failed allocations" } else { "" }, &plain(line));
        }
    }
    for (index, line) in report.self_test.iter().flat_map(self_test).enumerate() {
        out.pair(if index == 0 { "self-test" } else { "" }, &plain(&line));
    }
    if !report.names.is_empty() {
        out.heading("Names of pods");
    }
    for trial in &report.names {
        let (name, state) = trial.pair();
        out.pair(name, &plain(&state));
    }
    if let Some(left) = &report.confinement {
        out.heading("Rights that watch keeps once its hooks are in place");
        for (name, value) in rights(left) {
            out.pair(name, &plain(&value));
        }
    }
    out.heading("Free memory now: what can be had at once, without freeing or moving memory first");
    if let Some(found) = &report.fragmentation {
        let page_size_bytes = report.facts.page_size_bytes;
        for (name, words) in fragmentation::facts(found, page_size_bytes) {
            out.pair(&name, &words);
        }
        out.line("");
        out.text.push_str(&fragmentation::drawn(found, page_size_bytes, color));
    }
    for gap in &report.unresolved {
        out.pair(&plain(&gap.field), &format!("unknown: {}", plain(&gap.reason)));
    }
    out.heading("Host");
    for (name, value) in facts(&report.facts) {
        out.pair(name, &value);
    }
    if !report.absent_fields.is_empty() {
        out.heading("Kernel fields that this kernel does not have");
        out.line(format_args!("  {}", plain(&report.absent_fields.join(", "))));
    }
    out.text
}

/// Text under construction.
struct Out {
    text: String,
    color: bool,
}

impl Out {
    fn line(&mut self, text: impl Display) {
        let _ = writeln!(self.text, "{text}");
    }

    fn heading(&mut self, text: &str) {
        let text = self.paint(BOLD, text);
        let _ = writeln!(self.text, "\n{text}");
    }

    fn pair(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.text, "  {name:NAME_WIDTH$}{value}");
    }

    fn paint(&self, tone: &str, text: &str) -> String {
        if self.color { format!("{tone}{text}{RESET}") } else { text.to_owned() }
    }
}

/// What came of the self-test, line by line.
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

/// The facts by names for people, in the words of the kernel where it has some.
fn facts(facts: &HostFacts) -> Vec<(&'static str, String)> {
    let why_not = |field: &str| {
        let unresolved = facts.unresolved.iter().find(|unresolved| unresolved.field == field);
        format!("unknown: {}", unresolved.map_or("not looked for", |unresolved| &unresolved.reason))
    };
    let said = |field: &str, value: Option<String>| plain(&value.unwrap_or_else(|| why_not(field)));
    let shown = |value: Option<i32>| value.map(|value| value.to_string());
    let btf = match &facts.btf.error {
        None => format!("{}, {}", facts.btf.path, said_of(facts.btf_source)),
        Some(error) => format!("{}: {error}", facts.btf.path),
    };
    let capabilities = facts.capabilities.as_ref().map(|held| {
        let state = |one: &Capability| format!("{}{one}", if held.contains(one) { "" } else { "no " });
        Capability::ALL.iter().map(state).collect::<Vec<_>>().join(", ")
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
        ("BTF", plain(&btf)),
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

/// What is left of its rights.
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

/// Without control characters: a host's name, or the name of a mount, may hold what moves a terminal's cursor.
/// Line breaks go too, a verifier's log has many.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
