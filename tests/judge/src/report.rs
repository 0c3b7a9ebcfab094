//! One report: its roles filled from the cast, and the faults of a line that is compared with it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::account;
use super::cast::{Cast, Place, Process};
use super::catalogue::{Actor, Exception, Limit, Memory, Report, Tier, Trigger, Victim};
use super::check::Check;

/// A report with its roles filled.
#[derive(Debug)]
pub struct Expected<'a> {
    pub report: &'a Report,
    limit: Option<(&'a Limit, &'a Place)>,
    trigger: Who<'a>,
    pub victims: Vec<Special<'a>>,
    /// Cgroups that the report on the node's memory names, by role.
    places: BTreeMap<&'a str, &'a Place>,
}

/// A process, and its special properties.
#[derive(Clone, Copy, Debug)]
pub struct Special<'a> {
    pub process: &'a Process,
    special: Option<&'a Actor>,
}

#[derive(Debug)]
enum Who<'a> {
    OneOf(Vec<Special<'a>>),
    Comm(&'a str),
}

impl<'a> Expected<'a> {
    /// Fills the roles. Where several have the same role, `index` says which.
    pub fn fill(report: &'a Report, cast: &'a Cast, index: usize) -> Result<Self> {
        let process = |role: &str, special: Option<&'a Actor>| -> Result<Special<'a>> {
            let all =
                cast.processes.get(role).with_context(|| format!("no process has the role {role:?}"))?;
            let process = nth(all, index).with_context(|| format!("too few play {role:?}"))?;
            Ok(Special { process, special })
        };
        let place = |role: &str| -> Result<&'a Place> {
            let all = cast.places.get(role).with_context(|| format!("no cgroup is {role:?}"))?;
            nth(all, index).with_context(|| format!("too few cgroups are {role:?}"))
        };
        let limit = match &report.limit {
            Some(limit) => Some((limit, place(&limit.cgroup)?)),
            None => None,
        };
        let trigger = match &report.trigger {
            Trigger::Role(role) => Who::OneOf(vec![process(role, None)?]),
            Trigger::Process(actor) => Who::OneOf(vec![process(&actor.role, Some(actor))?]),
            Trigger::OneOf(roles) => {
                Who::OneOf(roles.iter().map(|role| process(role, None)).collect::<Result<_>>()?)
            }
            Trigger::AnyNamed(named) => Who::Comm(&named.comm_prefix),
        };
        let mut victims = Vec::new();
        for victim in &report.victims {
            match victim {
                Victim::Role(role) => victims.push(process(role, None)?),
                Victim::Process(actor) => victims.push(process(&actor.role, Some(actor))?),
                Victim::All(all) => {
                    let all = cast.processes.get(all.all.as_str());
                    let all = all.with_context(|| format!("no process has the role of {victim:?}"))?;
                    victims.extend(all.iter().map(|process| Special { process, special: None }));
                }
            }
        }
        let memory = report.memory.iter();
        let roles = memory.flat_map(|memory| {
            let pods = memory.pods.iter().map(|pods| pods.cgroup.as_str());
            pods.chain(memory.holders.iter().map(|holder| holder.cgroup.as_str()))
        });
        let of_entries = report.account.iter().filter_map(|entry| entry.holder.as_deref());
        let places = roles.chain(of_entries).map(|role| Ok((role, place(role)?))).collect::<Result<_>>()?;
        Ok(Self { report, limit, trigger, victims, places })
    }

    /// Whether `line` is about the same processes.
    pub fn is_of(&self, line: &Value) -> bool {
        let told = line["victims"].as_array().map_or(&[][..], Vec::as_slice);
        match (self.victims.first(), &self.trigger) {
            (Some(it), _) => told.iter().any(|told| told["pid"] == it.process.pid),
            (None, Who::OneOf(them)) => {
                told.is_empty() && them.iter().any(|it| line["trigger"]["pid"] == it.process.pid)
            }
            (None, Who::Comm(_)) => told.is_empty(),
        }
    }

    /// The faults of `line`, one sentence a field.
    pub fn faults(
        &self,
        tier: Tier,
        kernel: (u32, u32),
        exceptions: &[&Exception],
        line: &Value,
    ) -> Vec<String> {
        let mut check = Check::new(line);
        let excused: Vec<_> = excused(exceptions, line).collect();
        let report = self.report;
        check.eq("schema", "crashtrace/v1");
        check.eq("kind", report.kind.as_str());
        // A tier that does not see the end of a group kill may have more to say of it later.
        let most = if tier.sees_decision() || !report.group { 1 } else { u64::MAX };
        check.within("revision", (1, most));
        check.eq("redelivered", false);
        check.eq("lost", 0);
        check.eq("verdict.cause", report.cause.as_str());
        check.eq("verdict.level", json!(report.level));
        check.eq("verdict.shortage", json!(self.shortage(tier, line)));
        if excused.contains(&"origin") {
            check.unresolved("origin");
        } else {
            check.eq("origin", json!(report.origin));
        }
        check.eq("constraint", json!(report.constraint));
        check.eq("complete", tier.sees_decision() || !report.group);
        check.eq("truncated", report.truncated);
        check.within("repeats", (report.repeats, if report.repeats > 0 { u64::MAX } else { 0 }));
        check.eq("hooks", self.hooks(tier));
        // The last tier may find the kernel's `oom_control` on the killer's stack, and then infers nothing either.
        let inferred = !check.list("verdict.inferred").is_empty();
        check.eq("verdict.certainty", if inferred { "inferred" } else { "observed" });
        if tier.sees_decision() {
            let inferred: &[&str] = if report.level_inferred { &["verdict.level"] } else { &[] };
            check.eq("verdict.inferred", json!(inferred));
        }
        if tier.sees_decision() || !check.get("allocation").is_null() {
            let order = Some(report.order).filter(|_| !report.no_order);
            check.eq("allocation.order", json!(order));
        }
        match self.limit {
            Some((limit, place)) => check.limit(limit, place),
            None => check.eq("limit", Value::Null),
        }
        self.trigger(&mut check);
        self.victims(&mut check);
        match &report.memory {
            Some(memory) => self.memory(&mut check, memory),
            // At a memcg's limit it is of the limit owner, and no zone is short of memory.
            None if check.get("memory").is_null() => {}
            None => check.eq("memory.zones", json!([])),
        }
        account::entries(&mut check, report, kernel, |role| self.path(role));
        if excused.is_empty() {
            for words in report.evidence.iter().filter_map(|words| words.of(tier)) {
                check.says("verdict.evidence", words);
            }
            for words in report.summary.iter().filter_map(|words| words.of(tier)) {
                check.says("verdict.summary", words);
            }
            for words in &report.never {
                check.never_says(words);
            }
            for words in report.remedy.iter().filter_map(|words| words.of(tier)) {
                check.says("verdict.remedy", words);
            }
        }
        for field in &report.unresolved {
            check.unresolved(field);
        }
        check.faults
    }

    fn hooks(&self, tier: Tier) -> Value {
        let function = match self.report.kind.as_str() {
            "oom_kill" => "oom_kill_process",
            "oom_wait" => "mem_cgroup_oom_synchronize",
            _ => "mem_cgroup_out_of_memory",
        };
        let mut hooks = Vec::new();
        if tier.sees_decision() {
            hooks.push(format!("{}:{function}", tier.name()));
        }
        if !self.victims.is_empty() {
            hooks.push("raw_tp:mark_victim".to_owned());
        }
        json!(hooks)
    }

    fn trigger(&self, check: &mut Check<'_>) {
        match &self.trigger {
            Who::Comm(prefix) => {
                // Any process will do, but there must be one.
                check.within("trigger.pid", (1, u64::MAX));
                let comm = check.get("trigger.comm").as_str().unwrap_or_default();
                if !comm.starts_with(prefix) {
                    check.fault("trigger.comm", format!("beginning with {prefix}"));
                }
            }
            Who::OneOf(them) => {
                let is_it = |it: &&Special<'_>| check.get("trigger")["pid"] == it.process.pid;
                match them.iter().find(is_it).or(them.first()) {
                    Some(it) => check.process("trigger", it.process, it.special),
                    None => check.fault("trigger", "a process"),
                }
            }
        }
    }

    fn victims(&self, check: &mut Check<'_>) {
        check.eq("victims_total", self.victims.len());
        let told = check.list("victims");
        for it in &self.victims {
            match told.iter().position(|found| found["pid"] == it.process.pid) {
                Some(index) => check.process(&format!("victims.{index}"), it.process, it.special),
                // The line names as many as fit.
                None if self.report.truncated && !told.is_empty() => {}
                None => check.fault("victims", format!("one with pid {}", it.process.pid)),
            }
        }
        let stranger =
            told.iter().filter(|found| !self.victims.iter().any(|it| found["pid"] == it.process.pid));
        if stranger.count() > 0 {
            check.fault("victims", "no others");
        }
        let size = |victim: &Value| {
            let kinds = ["anon_bytes", "file_bytes", "shmem_bytes", "swap_bytes"];
            kinds.iter().filter_map(|kind| victim[kind].as_u64()).sum::<u64>()
        };
        if !told.iter().map(size).is_sorted_by(|one, next| one >= next) {
            check.fault("victims", "the largest first");
        }
        if let [it] = self.victims.as_slice()
            && !it.special.is_some_and(|special| special.may_be_ending)
        {
            check.eq("victims.0.exiting", false);
        }
    }

    fn memory(&self, check: &mut Check<'_>, memory: &Memory) {
        check.eq("memory.late", false);
        let zones = check.list("memory.zones").len() as u64;
        if zones == 0 {
            check.fault("memory.zones", "those of the machine");
        }
        check.eq("memory.zones_total", zones);
        match &memory.pods {
            Some(pods) => {
                check.bytes("memory.pods.cgroup", &self.path(&pods.cgroup));
                check.within_mib("memory.pods.usage_bytes", pods.usage_mib);
                match pods.limit_mib {
                    Some(mib) => check.within_mib("memory.pods.limit_bytes", mib.range()),
                    None => check.eq("memory.pods.limit_bytes", Value::Null),
                }
                check.eq("memory.pods.unlimited", pods.limit_mib.is_none());
            }
            None if memory.may_have_pods => {}
            None => check.eq("memory.pods", Value::Null),
        }
        for (index, holder) in memory.holders.iter().enumerate() {
            let at = format!("memory.holders.{index}");
            check.bytes(&format!("{at}.cgroup"), &self.path(&holder.cgroup));
            check.within_mib(&format!("{at}.usage_bytes"), holder.usage_mib);
            if let Some(place) = self.places.get(holder.cgroup.as_str()) {
                check.owner(&format!("{at}.owner"), &place.owner);
            }
        }
        let holders = check.list("memory.holders");
        // Usage is of all of the node: of a part of its memory it is no share.
        let scope = check.get("allocation.scope_total_bytes").as_u64().filter(|_| self.whole_node());
        for (index, holder) in holders.iter().enumerate() {
            let at = format!("memory.holders.{index}");
            let share = holder["usage_bytes"].as_u64().zip(scope);
            check
                .eq(&format!("{at}.share_permille"), json!(share.map(|(usage, scope)| usage * 1000 / scope)));
            // Those are sums over other holders.
            let kind = holder["owner"]["kind"].as_str().unwrap_or_default();
            if ["", "kubepods", "qos", "host"].contains(&kind) {
                check.fault(&format!("{at}.owner.kind"), "one who holds memory");
            }
            let twice = |other: &Value| {
                let path = |holder: &Value| holder["cgroup"].as_str().unwrap_or_default().to_owned();
                other["owner"]["kind"] == "pod" && path(holder).starts_with(&(path(other) + "/"))
            };
            if holders.iter().any(twice) {
                check.fault(&at, "none that is in another");
            }
        }
        let usages: Vec<_> = holders.iter().map(|holder| holder["usage_bytes"].as_u64()).collect();
        if !usages.is_sorted_by(|one, next| one >= next) {
            check.fault("memory.holders", "the largest first");
        }
        check.within("memory.holders_total", (holders.len() as u64, u64::MAX));
        let least = check.get("memory.least_bytes").as_u64().unwrap_or(u64::MAX);
        if usages.last().is_some_and(|smallest| smallest.is_none_or(|smallest| smallest < least)) {
            check.fault("memory.holders", format!("none with less than {least}"));
        }
        check.eq("memory.incomplete", false);
        check.eq("memory.time_up", false);
        let looked_at = check.get("memory.cgroups_looked_at").as_u64().unwrap_or(u64::MAX);
        let least_looked_at = memory.least_looked_at.max(holders.len() as u64);
        check.within("memory.cgroups_looked_at", (least_looked_at, u64::MAX));
        check.within("memory.cgroups_total", (looked_at, u64::MAX));
        check.within("memory.small_total", (0, looked_at));
        check.within("memory.small_bytes", (0, least.saturating_mul(looked_at)));
    }

    /// The shortage of the node's memory that must be reported, in an OOM of the node whose allocation is known.
    fn shortage(&self, tier: Tier, line: &Value) -> Option<&str> {
        let report = self.report;
        let known = tier.sees_decision() || !line["allocation"].is_null();
        let of_node = report.memory.is_some() && self.whole_node() && !report.no_order && known;
        of_node.then(|| report.shortage.as_deref().unwrap_or("low_memory"))
    }

    fn whole_node(&self) -> bool {
        self.report.constraint.as_deref() == Some("none")
    }

    fn path(&self, role: &str) -> Vec<u8> {
        self.places.get(role).map_or_else(Vec::new, |place| place.path.clone())
    }
}

/// Fields that are null in `line` and may be.
pub(super) fn excused<'a>(exceptions: &[&'a Exception], line: &Value) -> impl Iterator<Item = &'a str> {
    let fields = exceptions.iter().flat_map(|it| &it.may_be_null).map(String::as_str);
    fields.filter(|field| line[*field].is_null())
}

/// The only one, or this one of several.
fn nth<T>(all: &[T], index: usize) -> Option<&T> {
    if let [one] = all { Some(one) } else { all.get(index) }
}
