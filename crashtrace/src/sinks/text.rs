//! The stream for a reader at a terminal: a short block for each incident, one line for each line of the agent.
//!
//! The most important comes first: what happened, whose limit, which victims, what to do. The JSON line has everything; this text
//! is a selection, and says so where it leaves something out.

use crate::phrase::size;
use crate::schema::{
    AgentStarted, AgentStopping, BtfSource, Certainty, ClockChanged, Field, Incident, Kind, LimitHit, Line,
    Loss, MAX_LINE_BYTES, Origin, Process, Text, Unresolved,
};
use crate::terminal::{Page, Style};

mod account;
mod alloc;
mod exit;
mod memory;
mod oom;
mod owner;

use owner::owner_words;

/// Victims shown; the largest come first.
const VICTIMS: usize = 12;
/// Reasons shown for unresolved fields, and fields with each.
const REASONS: usize = 8;
/// Fields shown with each reason.
const FIELDS: usize = 4;

/// `line` as text, in at most [`MAX_LINE_BYTES`] like a line of JSON; it ends with a newline. For any content, the only control
/// characters that reach the terminal are newlines and, with `color`, the sink's own colours.
#[must_use]
pub fn render(line: &Line, color: bool) -> String {
    let mut page = Page::new(color);
    match line {
        Line::Incident(incident) => incident_block(&mut page, incident),
        Line::AgentStarted(started) => agent_started(&mut page, started),
        Line::Loss(loss) => loss_line(&mut page, loss),
        Line::ClockChanged(changed) => clock_changed(&mut page, changed),
        Line::AgentStopping(stopping) => agent_stopping(&mut page, stopping),
    }
    bounded(page.into_string(), color)
}

/// Cuts the end of a text that is too long, line by line, and says so.
fn bounded(mut text: String, color: bool) -> String {
    const NOTE_BYTES: usize = 64;
    if text.len() <= MAX_LINE_BYTES {
        return text;
    }
    let whole = text.len();
    let end = text.floor_char_boundary(MAX_LINE_BYTES - NOTE_BYTES);
    if let Some(line) = text[..end].rfind('\n') {
        text.truncate(line);
    } else {
        text.truncate(end);
        text.push_str(if color { "\x1b[0m" } else { "" });
    }
    let note = format!("\n  ! {} bytes more: see the JSON line\n\n", whole - text.len());
    text.push_str(&note);
    text
}

fn incident_block(page: &mut Page, incident: &Incident) {
    headline(page, incident);
    page.plain("  ").plain(&incident.verdict.summary).end();
    account::lines(page, incident);

    if incident.limit.is_some() || incident.allocation.is_some() || incident.exit.is_some() {
        page.end();
    }
    owner::kubernetes_line(page, incident);
    if let Some(limit) = &incident.limit {
        limit_lines(page, limit);
    }
    if let Some(memory) = &incident.memory {
        memory::lines(page, memory);
    }
    if let Some(allocation) = &incident.allocation {
        label(page, "alloc", &alloc::words(incident.kind, allocation));
    }
    if let Some(memory) = &incident.memory {
        memory::picture(page, memory, incident.allocation.as_ref());
    }
    if let Some(exit) = &incident.exit {
        exit::lines(page, incident, exit);
    }
    process_table(page, incident);
    oom::folded_lines(page, incident);

    section(page, "Because:", &incident.verdict.evidence);
    section(page, "What to do:", std::slice::from_ref(&incident.verdict.remedy));
    caveats(page, incident);
    page.put(Style::Faint, &small_print(incident)).end();
    page.end();
}

fn headline(page: &mut Page, incident: &Incident) {
    let (kind, cause) = match incident.kind {
        Kind::OomKill | Kind::OomNoKill | Kind::OomWait => oom::headline(incident),
        Kind::AllocFailure | Kind::VmallocFailure | Kind::ChargeFailure | Kind::OtherAllocFailure => {
            alloc::headline(incident)
        }
        Kind::ContainerExit => exit::headline(incident),
    };
    page.plain(&incident.time).plain("  ").put(Style::Alarm, kind);
    page.plain("  ").put(Style::Heading, cause);
    match incident.origin {
        Some(Origin::LimitWrite) => page.plain(", as the limit was lowered"),
        Some(Origin::Sysrq | Origin::Kswapd | Origin::Allocation | Origin::Charge) | None => page,
    };
    if incident.verdict.certainty == Certainty::Inferred {
        page.put(Style::Caution, "  (inferred)");
    }
    if incident.revision > 1 {
        page.put(Style::Caution, &format!("  (revision {}, replaces the earlier)", incident.revision));
    }
    if incident.redelivered {
        page.put(Style::Caution, "  (sent again)");
    }
    if incident.repeats > 0 {
        page.put(Style::Caution, &format!("  (and {} more like it)", incident.repeats));
    }
    page.end();
}

fn label(page: &mut Page, name: &str, text: &str) {
    page.put(Style::Heading, &format!("  {name:<10}")).plain(text).end();
}

fn limit_lines(page: &mut Page, limit: &LimitHit) {
    let of = |usage: Option<u64>, limit: Option<u64>, unlimited: bool| {
        let usage = usage.map_or("unknown".to_owned(), size);
        match limit {
            Some(bytes) => format!("{usage} of {}", size(bytes)),
            None if unlimited => format!("{usage}, no limit"),
            None => format!("{usage} of an unknown limit"),
        }
    };
    let memory = of(limit.usage_bytes, limit.limit_bytes, limit.unlimited);
    let percent = match (limit.usage_bytes, limit.limit_bytes) {
        (Some(usage), Some(bytes @ 1..)) => format!(" ({} %)", u128::from(usage) * 100 / u128::from(bytes)),
        _ => String::new(),
    };
    let mut facts = vec![format!("in use {memory}{percent}")];
    if limit.swap_usage_bytes.is_some() || limit.swap_limit_bytes.is_some() {
        let swap = of(limit.swap_usage_bytes, limit.swap_limit_bytes, limit.swap_unlimited);
        let what = if limit.swap_includes_memory == Some(true) { "memory and swap" } else { "swap" };
        facts.push(format!("{what} {swap}"));
    }
    if let Some(shmem) = limit.shmem_bytes.filter(|shmem| *shmem > 0) {
        facts.push(format!("shared memory and tmpfs {}", size(shmem)));
    }
    if limit.oom_group == Some(true) {
        facts.push("all its processes die together (memory.oom.group)".to_owned());
    }
    label(page, "limit", &facts.join("; "));
    label(page, "", &owner_words(limit.owner.as_ref(), Some(limit.cgroup.as_str())));
    page.put(Style::Faint, &format!("  {:<10}{}", "", limit.cgroup.as_str())).end();
}

fn process_table(page: &mut Page, incident: &Incident) {
    let heading = ["", "PID", "NAME", "RESIDENT", "ANON", "SHMEM", "SWAP", "ADJ", "WHOSE"].map(str::to_owned);
    let mut rows = vec![(Style::Faint, heading)];
    if let Some(trigger) = &incident.trigger {
        let role = if incident.kind == Kind::OomWait { "waits" } else { "trigger" };
        rows.push((Style::Plain, row(role, trigger)));
    }
    rows.extend(incident.victims.iter().take(VICTIMS).map(|victim| (Style::Alarm, row("victim", victim))));
    if rows.len() == 1 {
        return;
    }
    page.end();
    page.table(&rows, [false, true, false, true, true, true, true, true, false]);
    let shown = incident.victims.len().min(VICTIMS) as u64;
    let folded = incident.folded.as_ref().map_or(0, |folded| folded.victims_total);
    let own = incident.victims_total.saturating_sub(folded);
    if own > shown {
        page.plain(&format!("  and {} more, smaller processes killed", own - shown)).end();
    }
}

fn row(role: &str, process: &Process) -> [String; 9] {
    let number = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
    let resident = [process.anon_bytes, process.file_bytes, process.shmem_bytes]
        .into_iter()
        .try_fold(0_u64, |sum, bytes| Some(sum.saturating_add(bytes?)));
    let comm = process.comm.as_ref().map(|comm| comm.as_str().to_owned());
    [
        role.to_owned(),
        number(process.pid.or(process.tid).map(|pid| pid.to_string())),
        number(comm),
        number(resident.map(size)),
        number(process.anon_bytes.map(size)),
        number(process.shmem_bytes.map(size)),
        number(process.swap_bytes.map(size)),
        number(process.oom_score_adj.map(|adj| adj.to_string())),
        owner_words(process.owner.as_ref(), process.cgroup.as_ref().map(Text::as_str)),
    ]
}

fn section(page: &mut Page, heading: &str, items: &[String]) {
    if items.iter().all(String::is_empty) {
        return;
    }
    page.end();
    page.put(Style::Heading, &format!("  {heading}")).end();
    for item in items {
        page.plain("    - ").plain(item).end();
    }
}

/// Limits of the report's reliability.
fn caveats(page: &mut Page, incident: &Incident) {
    let mut items = Vec::new();
    if incident.verdict.certainty == Certainty::Inferred {
        items.push(format!("inferred, not observed: {}", fields(&incident.verdict.inferred)));
    }
    if !incident.complete {
        items.push("incomplete: the end of this kill was not observed".to_owned());
    }
    if incident.truncated {
        items.push("the line was too long and was cut".to_owned());
    }
    items.extend(unresolved(&incident.unresolved));
    if incident.envelope.lost > 0 {
        items.push(format!("{} records were lost in this session so far", incident.envelope.lost));
    }
    page.end();
    for item in items {
        page.put(Style::Caution, &format!("  ! {item}")).end();
    }
}

/// Unresolved fields, grouped by reason.
fn unresolved(gaps: &[Unresolved]) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<Field>)> = Vec::new();
    for gap in gaps {
        match by_reason.iter_mut().find(|(reason, _)| *reason == gap.reason) {
            Some((_, fields)) => fields.push(gap.field),
            None => by_reason.push((&gap.reason, vec![gap.field])),
        }
    }
    let lines = by_reason.iter().take(REASONS).map(|(reason, open)| {
        let shown = fields(open.get(..FIELDS).unwrap_or(open));
        let more = match open.len().saturating_sub(FIELDS) {
            0 => String::new(),
            rest => format!(" and {rest} more"),
        };
        format!("unresolved: {shown}{more} ({reason})")
    });
    let mut lines: Vec<String> = lines.collect();
    if by_reason.len() > REASONS {
        lines.push(format!("unresolved for {} more reasons: see the JSON line", by_reason.len() - REASONS));
    }
    lines
}

fn fields(fields: &[Field]) -> String {
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn small_print(incident: &Incident) -> String {
    format!("  report {}, hooks {}", incident.id, incident.hooks.join(" "))
}

fn agent_started(page: &mut Page, started: &AgentStarted) {
    page.plain(&started.time).plain("  ").put(Style::Heading, "crashtrace ").plain(&started.envelope.agent);
    page.plain(if started.replay { " reads a recording of " } else { " watches " });
    page.plain(started.envelope.node.as_str()).plain(", kernel ").plain(started.kernel.as_str());
    page.plain("; hooks ").plain(&if started.hooks.is_empty() {
        "none".into()
    } else {
        started.hooks.join(" ")
    });
    if let Some(btf) = started.btf.as_ref().filter(|btf| btf.source != BtfSource::Kernel) {
        page.plain("; BTF ").plain(&btf.path);
    }
    page.end();
    for gap in &started.blind {
        page.put(Style::Caution, "  does not see ").plain(&format!("{}: {}", gap.field, gap.reason)).end();
    }
    let Some(pin) = &started.pin else { return };
    if let Some(session) = &pin.from_session {
        page.plain("  goes on after session ").plain(session.as_str()).end();
    }
    if pin.from_in_order == Some(false) {
        page.put(Style::Caution, "  that session was killed")
            .plain(": what it had taken and not told is lost")
            .end();
    }
    for (what, why) in [("  gap: ", &pin.gap), ("  a restart will be a gap: ", &pin.not_pinned)] {
        if let Some(why) = why {
            page.put(Style::Caution, what).plain(why).end();
        }
    }
}

fn loss_line(page: &mut Page, loss: &Loss) {
    page.plain(&loss.time).plain("  ").put(Style::Caution, "LOST");
    page.plain(&format!(
        "  {}; {} records lost in this session so far",
        counters(&loss.counters),
        loss.envelope.lost
    ))
    .end();
}

fn clock_changed(page: &mut Page, changed: &ClockChanged) {
    page.plain(&changed.time).plain("  ").put(Style::Caution, "CLOCK CHANGED");
    page.plain(&format!("  the wall clock was set; the old one had {}", changed.time_before)).end();
}

fn agent_stopping(page: &mut Page, stopping: &AgentStopping) {
    page.plain(&stopping.time)
        .plain("  ")
        .put(Style::Heading, "crashtrace")
        .plain(" stops: ")
        .plain(&stopping.reason);
    let counters = counters(&stopping.counters);
    if !counters.is_empty() {
        page.plain("; ").plain(&counters);
    }
    page.end();
}

/// The counters that are not zero.
fn counters(counters: &std::collections::BTreeMap<String, u64>) -> String {
    let risen = counters.iter().filter(|(_, count)| **count > 0);
    risen.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::PinnedHooks;

    #[test]
    fn a_text_that_is_too_long_loses_its_end_and_says_so() {
        let lines = format!("{:>99}\n", "line").repeat(400);
        let cut = bounded(lines.clone(), false);
        assert!(cut.len() <= MAX_LINE_BYTES && cut.len() > MAX_LINE_BYTES - 200, "{}", cut.len());
        let (kept, note) = cut.split_once("  ! ").expect("a note");
        assert!(
            lines.starts_with(kept)
                && note == format!("{} bytes more: see the JSON line\n\n", lines.len() - kept.len() + 1),
            "{note}"
        );
        assert_eq!(bounded("é\n".to_owned(), true), "é\n");
        let cut = bounded("é".repeat(MAX_LINE_BYTES), true);
        assert!(cut.len() <= MAX_LINE_BYTES && cut.contains("é\x1b[0m\n  ! "), "{}", cut.len());
    }

    #[test]
    fn what_became_of_pinned_hooks_is_said() {
        let text = |pin| {
            let started = AgentStarted {
                envelope: crate::schema::Envelope::default(),
                redelivered: false,
                kind: crate::schema::AgentStartedKind::AgentStarted,
                time: String::new(),
                ktime_ns: 0,
                kernel: "6.1".into(),
                hooks: Vec::new(),
                btf: None,
                names_from: Vec::new(),
                blind: Vec::new(),
                replay: false,
                pin,
            };
            render(&Line::AgentStarted(Box::new(started)), false)
        };
        let nothing = text(None);
        assert_eq!((text(Some(PinnedHooks::default())), nothing.lines().count()), (nothing.clone(), 1));
        let all = text(Some(PinnedHooks {
            from_session: Some("s1".into()),
            from_in_order: Some(false),
            gap: Some("other options".into()),
            not_pinned: Some("kprobes".into()),
        }));
        let said = [
            "  goes on after session s1",
            "  that session was killed: what it had taken and not told is lost",
            "  gap: other options",
            "  a restart will be a gap: kprobes",
        ];
        assert_eq!(all.lines().skip(1).collect::<Vec<_>>(), said);
    }
}
