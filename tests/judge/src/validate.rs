//! Rules for a `scenarios.toml` beyond its form: a slip there would make a test that cannot fail.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use super::catalogue::{Catalogue, Exit, Failure, Limit, Need, Report, Scenario, Trigger, Victim};

const KINDS: [&str; 3] = ["oom_kill", "oom_no_kill", "oom_wait"];
const FAILURES: [&str; 4] = ["alloc_failure", "vmalloc_failure", "charge_failure", "other_alloc_failure"];
const CAUSES: [&str; 2] = ["cgroup_oom", "system_oom"];
const EXIT_CAUSES: [&str; 7] =
    ["container_exit", "killed", "health_check", "stopped", "unknown", "cgroup_oom", "system_oom"];
/// As the schema has them.
const ENDED_BY: [&str; 14] = [
    "itself",
    "fault",
    "oom_killer",
    "runtime",
    "kubelet",
    "systemd",
    "same_container",
    "same_pod",
    "other_container",
    "oom_daemon",
    "host",
    "pid_namespace",
    "cpu_limit",
    "kernel",
];
const CERTAINTIES: [&str; 2] = ["observed", "inferred"];
const FAILURE_CAUSES: [&str; 4] = ["fragmentation", "low_memory", "cgroup_oom", "unknown"];
const SHORTAGES: [&str; 3] = ["fragmentation", "low_memory", "atomic_reserves"];
const MIGRATE_TYPES: [&str; 3] = ["unmovable", "movable", "reclaimable"];
const LEVELS: [&str; 7] = ["container", "pod", "qos", "node_allocatable", "host_service", "cgroup", "node"];
const ORIGINS: [&str; 5] = ["allocation", "charge", "limit_write", "sysrq", "kswapd"];
const CONSTRAINTS: [&str; 4] = ["none", "memcg", "cpuset", "mempolicy"];
/// Fields that the judge lets an exception excuse.
const EXCUSABLE: [&str; 1] = ["origin"];

/// Checks all of it.
pub(super) fn catalogue(catalogue: &Catalogue) -> Result<()> {
    for it in &catalogue.exceptions {
        ensure!(!it.about.is_empty(), "nothing is said about an exception");
        ensure!(!it.tiers.is_empty() && !it.may_be_null.is_empty(), "an exception of nothing: {}", it.about);
        for field in &it.may_be_null {
            known("may_be_null", Some(field), &EXCUSABLE)?;
        }
    }
    let mut names = BTreeSet::new();
    for it in &catalogue.scenarios {
        scenario(it).with_context(|| format!("scenario {:?}", it.name))?;
        ensure!(names.insert(&it.name), "scenario {:?} stands there twice", it.name);
    }
    Ok(())
}

fn scenario(scenario: &Scenario) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    ensure!(!scenario.name.is_empty() && scenario.name.bytes().all(plain), "the name is not of [a-z0-9_]");
    ensure!(!scenario.about.is_empty(), "nothing is said about it");
    let told = [scenario.reports.len(), scenario.failures.len(), scenario.exits.len()].iter().sum::<usize>()
        + usize::from(scenario.storm.is_some());
    ensure!(scenario.storm.is_none() || scenario.reports.is_empty(), "a storm is all that is reported");
    ensure!(scenario.quiet == (told == 0), "it has a report, or is quiet");
    ensure!(scenario.clock_steps_s.iter().all(|step| *step != 0), "a step of the clock is zero");
    ensure!(
        scenario.clock_steps_s.is_empty() || scenario.needs.contains(&Need::Guest),
        "it sets the clock: it needs a guest"
    );
    for (index, it) in scenario.failures.iter().enumerate() {
        failure(it).with_context(|| format!("failure {}", index + 1))?;
    }
    for (index, it) in scenario.exits.iter().enumerate() {
        exit(it).with_context(|| format!("exit {}", index + 1))?;
    }
    ensure!(scenario.blind.values().all(|what| !what.is_empty()), "a tier is blind to nothing");
    for (index, it) in scenario.reports.iter().enumerate() {
        report(it).with_context(|| format!("report {}", index + 1))?;
    }
    let unordered = scenario.reports.iter().filter(|report| report.each || report.optional).count();
    ensure!(
        unordered == 0 || unordered == scenario.reports.len(),
        "reports in any order (`each`, `optional`) do not go with those in order"
    );
    Ok(())
}

fn failure(failure: &Failure) -> Result<()> {
    ensure!(!failure.tiers.is_empty(), "no tier sees it");
    known("kind", Some(&failure.kind), &FAILURES)?;
    known("cause", Some(&failure.cause), &FAILURE_CAUSES)?;
    known("shortage", failure.shortage.as_ref(), &SHORTAGES)?;
    known("level", failure.level.as_ref(), &LEVELS)?;
    known("origin", Some(&failure.origin), &ORIGINS)?;
    known("constraint", Some(&failure.constraint), &CONSTRAINTS)?;
    known("migrate_type", failure.migrate_type.as_ref(), &MIGRATE_TYPES)?;
    ensure!(failure.count > 0, "no failure at all");
    ensure!(!failure.trigger.is_empty(), "it has no trigger");
    ensure!(!failure.gfp.is_empty(), "an allocation without flags");
    ensure!(
        failure.order.is_some() == failure.migrate_type.is_some(),
        "pages are of a type, and nothing else is"
    );
    let short = failure.cause == "fragmentation" || failure.cause == "low_memory";
    ensure!(short == failure.shortage.is_some(), "what is lacking does not fit the cause");
    ensure!(failure.charge == failure.limit.is_some(), "a charge has a limit, and nothing else has");
    for (least, most) in [failure.index, failure.unusable].into_iter().flatten() {
        ensure!(least <= most, "{least} to {most} holds nothing");
    }
    failure.limit.as_ref().map_or(Ok(()), limit)
}

fn exit(exit: &Exit) -> Result<()> {
    ensure!(!exit.tiers.is_empty(), "no tier sees it");
    known("cause", Some(&exit.cause), &EXIT_CAUSES)?;
    known("level", exit.level.as_ref(), &LEVELS)?;
    known("ended_by", exit.ended_by.as_ref(), &ENDED_BY)?;
    known("certainty", Some(&exit.certainty), &CERTAINTIES)?;
    ensure!(exit.code.is_some() != exit.signal.is_some(), "it ended by `exit` or by a signal");
    ensure!(exit.signal.is_some() || !exit.core_dumped, "a core without a signal");
    ensure!(exit.fault.is_none() || exit.signal.is_some(), "a fault that it did not end by");
    ensure!(exit.oom == CAUSES.contains(&exit.cause.as_str()), "an OOM's cause is of an OOM's victim");
    ensure!(exit.oom == exit.level.is_some(), "only an OOM has a level");
    let senders = exit.signals.iter().filter_map(|signal| signal.sender.as_ref());
    let roles = senders.chain([&exit.role]).chain(&exit.oom_kills_before);
    ensure!(roles.into_iter().all(|role| !role.is_empty()), "a role without a name");
    for signal in &exit.signals {
        known("from", Some(&signal.from), &ENDED_BY)?;
        ensure!((1..=64).contains(&signal.number) && signal.count > 0, "no signal");
    }
    let words = exit.evidence.iter().chain(&exit.remedy);
    ensure!(words.filter(|words| words.of(exit.tiers[0]) == Some("")).count() == 0, "words that are none");
    Ok(())
}

fn report(report: &Report) -> Result<()> {
    ensure!(!report.tiers.is_empty(), "no tier gives it");
    known("kind", Some(&report.kind), &KINDS)?;
    known("cause", Some(&report.cause), &CAUSES)?;
    known("level", report.level.as_ref(), &LEVELS)?;
    known("origin", report.origin.as_ref(), &ORIGINS)?;
    known("constraint", report.constraint.as_ref(), &CONSTRAINTS)?;
    let of_node = report.cause == "system_oom";
    ensure!(
        of_node == report.limit.is_none(),
        "an OOM of a cgroup has a limit, and one of the node has none"
    );
    ensure!(
        of_node == report.memory.is_some(),
        "an OOM of the node says who held the memory, and no other does"
    );
    known("shortage", report.shortage.as_ref(), &SHORTAGES)?;
    ensure!(of_node || report.shortage.is_none(), "only an OOM of the node lacks the node's memory");
    let kills = report.kind == "oom_kill";
    // An optional report may be of a process that was exiting already, and then no process is killed.
    ensure!(kills || report.victims.is_empty(), "only a kill has victims");
    ensure!(!kills || report.optional || !report.victims.is_empty(), "a kill has victims");
    ensure!(kills || !report.group, "a group without a kill");
    ensure!(report.group || !report.truncated, "only a group is too large for a line");
    ensure!(!report.no_order || report.order == 0, "an order and none");
    let roles = report.victims.iter().map(|victim| match victim {
        Victim::Role(role) => role,
        Victim::Process(actor) => &actor.role,
        Victim::All(all) => &all.all,
    });
    let trigger: &[String] = match &report.trigger {
        Trigger::Role(role) => std::slice::from_ref(role),
        Trigger::Process(actor) => std::slice::from_ref(&actor.role),
        Trigger::OneOf(roles) => roles,
        Trigger::AnyNamed(_) => &[],
    };
    ensure!(!matches!(&report.trigger, Trigger::OneOf(roles) if roles.is_empty()), "a trigger of no role");
    ensure!(roles.chain(trigger).all(|role| !role.is_empty()), "a role without a name");
    for entry in &report.account {
        ensure!(entry.mib > entry.within, "an entry that may be none: {}", entry.kind);
    }
    let words = report.summary.iter().chain(&report.evidence).chain(&report.remedy);
    let empty = words.filter(|words| report.tiers.iter().any(|tier| words.of(*tier) == Some(""))).count();
    ensure!(empty == 0, "words that are none");
    if let Some(it) = &report.limit {
        limit(it)?;
    }
    if let Some(memory) = &report.memory {
        let pods = memory.pods.iter().map(|pods| pods.usage_mib);
        for range in pods.chain(memory.holders.iter().map(|holder| holder.usage_mib)) {
            ordered("usage_mib", Some(range))?;
        }
    }
    Ok(())
}

fn limit(limit: &Limit) -> Result<()> {
    known("limit.charged_at", Some(&limit.charged_at), &LEVELS)?;
    ensure!(limit.mib.range().0 > 0, "a limit of nothing");
    ordered("limit.mib", Some(limit.mib.range()))?;
    ordered("limit.usage_mib", limit.usage_mib)?;
    ordered("limit.shmem_mib", limit.shmem_mib)?;
    ordered("limit.swap_usage_mib", limit.swap_usage_mib)
}

fn known(field: &str, value: Option<&String>, words: &[&str]) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    ensure!(words.contains(&value.as_str()), "{field} {value:?} is none of {words:?}");
    Ok(())
}

fn ordered(field: &str, range: Option<(u64, u64)>) -> Result<()> {
    let Some((least, most)) = range else { return Ok(()) };
    ensure!(least <= most, "{field}: {least} to {most} holds nothing");
    Ok(())
}
