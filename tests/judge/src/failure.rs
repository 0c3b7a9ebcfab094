//! Failed allocations: the faults in one agent's lines about failures of one kind.
//!
//! Beside the checks by `scenarios.toml`, each line must be consistent: indices, room and suitable blocks are
//! computed here again from the figures of each zone, by the kernel's formulas (`mm/vmstat.c`), and the cause must follow
//! from them. And all lines together must count as many failures as the scenario caused.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::cast::{Cast, Process};
use super::catalogue::{Failure, Scenario, Surroundings, Tier};
use super::check::Check;
use super::gfp;

/// Bytes of a page in guests.
const PAGE: u64 = 4096;

/// How much of the free memory may lie in lists of CPUs' own, or come free while figure after figure is read.
const SLACK: u64 = 1 << 20;

/// By how many thousandths a zone's index may differ from the one in debugfs just before.
const NEAR: f64 = 0.02;

/// Whether a line is about a failed allocation.
pub fn is_one(line: &Value) -> bool {
    line["kind"].as_str().is_some_and(|kind| kind.ends_with("_failure"))
}

/// How many failures these lines stand for: of an incident the last revision counts.
pub fn count(lines: &[&Value]) -> u64 {
    let mut latest: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in lines.iter().filter(|line| is_one(line)) {
        let of = |field: &str| line[field].as_u64().unwrap_or(0);
        let (revision, repeats) = (of("revision"), of("repeats"));
        let entry = latest.entry(line["id"].as_str().unwrap_or_default()).or_default();
        *entry = (*entry).max((revision, repeats));
    }
    latest.values().map(|(_, repeats)| repeats + 1).sum()
}

/// How many there must be.
pub fn expected(scenario: &Scenario, tier: Tier) -> u64 {
    scenario.failures(tier).map(|failure| failure.count).sum()
}

/// The faults in one agent's lines.
pub fn faults(
    scenario: &Scenario,
    cast: &Cast,
    tier: Tier,
    surroundings: &Surroundings,
    lines: &[&Value],
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut left: Vec<&Value> = lines.iter().copied().filter(|line| is_one(line)).collect();
    for failure in scenario.failures(tier) {
        let (own, others): (Vec<_>, Vec<_>) = left.iter().partition(|line| is_of(failure, line));
        left = others;
        let told = count(&own);
        if told != failure.count {
            faults.push(format!("{} failures of {}, and the lines tell {told}", failure.count, failure.kind));
        }
        // The first at once, then one a second.
        let revisions = own.iter().filter(|line| line["revision"] != 1).count();
        if failure.count == 1 && (own.len() > 1 || revisions > 0) {
            faults.push(format!("{} lines about one failure", own.len()));
        }
        for line in own {
            match line_faults(failure, cast, tier, surroundings, line) {
                Ok(found) => faults.extend(found),
                Err(error) => {
                    faults.push(format!("scenarios.toml and the scenario do not fit: {error:#}"));
                }
            }
        }
    }
    left.retain(|line| scenario.by_chance.as_deref().is_none_or(|kind| line["kind"] != kind));
    if !left.is_empty() {
        faults.push(format!("{} reports of failures that should not be there", left.len()));
    }
    faults
}

fn is_of(failure: &Failure, line: &Value) -> bool {
    line["kind"] == failure.kind.as_str() && line["allocation"]["order"] == json!(failure.order)
}

fn line_faults(
    failure: &Failure,
    cast: &Cast,
    tier: Tier,
    surroundings: &Surroundings,
    line: &Value,
) -> Result<Vec<String>> {
    let mut check = Check::new(line);
    check.eq("schema", "crashtrace/v1");
    check.eq("redelivered", false);
    check.eq("lost", 0);
    check.eq("verdict.cause", failure.cause.as_str());
    check.eq("verdict.shortage", json!(failure.shortage));
    check.eq("verdict.level", json!(failure.level));
    check.eq("origin", failure.origin.as_str());
    check.eq("constraint", failure.constraint.as_str());
    check.eq("complete", true);
    check.eq("truncated", false);
    check.eq("victims_total", 0);
    check.eq("victims", json!([]));
    let hook = if tier.sees_decision() { "kprobe:warn_alloc" } else { "raw_tp:mm_page_alloc" };
    check.eq("hooks", json!([hook]));
    check.eq("allocation.order", json!(failure.order));
    if let Some(order) = failure.order {
        check.eq("allocation.bytes", PAGE << order);
    } else {
        let least = failure.mib.map(|mib| mib << 20);
        check.within("allocation.bytes", least.map_or((1, u64::MAX), |least| (least, least + 2 * PAGE)));
    }
    let gfp = gfp::flags(check.list("allocation.gfp").iter().filter_map(Value::as_str));
    let must = gfp::flags(failure.gfp.iter().map(String::as_str));
    let may = gfp::flags(failure.gfp_may.iter().map(String::as_str));
    if !gfp.is_superset(&must) || !gfp.is_subset(&(&must | &may)) {
        check.fault("allocation.gfp", format!("{:?}, and perhaps {:?}", failure.gfp, failure.gfp_may));
    }
    check.eq("allocation.migrate_type", json!(failure.migrate_type));
    check.eq("allocation.numa_nodes", json!([]));
    let trigger = process(cast, &failure.trigger)?;
    check.process("trigger", trigger, None);
    match &failure.limit {
        Some(limit) => {
            let places = cast.places.get(limit.cgroup.as_str());
            let place = places.and_then(|places| places.first());
            check.limit(limit, place.with_context(|| format!("no cgroup is {:?}", limit.cgroup))?);
        }
        None => check.eq("limit", Value::Null),
    }
    let late = !surroundings.nodes_listed;
    let inferred = if failure.charge { json!(["verdict.cause", "limit"]) } else { json!(["verdict.cause"]) };
    let is_inferred = failure.charge || late && failure.shortage.is_some();
    check.eq("verdict.inferred", if is_inferred { inferred } else { json!([]) });
    check.eq("verdict.certainty", if is_inferred { "inferred" } else { "observed" });
    check.eq("memory.late", late);
    zones(&mut check, failure, cast);
    for words in failure.evidence.iter().filter_map(|words| words.of(tier)) {
        check.says("verdict.evidence", words);
    }
    for words in failure.remedy.iter().filter_map(|words| words.of(tier)) {
        check.says("verdict.remedy", words);
    }
    for words in &failure.never {
        check.never_says(words);
    }
    for field in &failure.unresolved {
        check.unresolved(field);
    }
    Ok(check.faults)
}

fn process<'a>(cast: &'a Cast, role: &str) -> Result<&'a Process> {
    let all = cast.processes.get(role).with_context(|| format!("no process has the role {role:?}"))?;
    all.first().with_context(|| format!("no process has the role {role:?}"))
}

/// A zone's figures.
struct Zone {
    free: u64,
    blocks: Vec<u64>,
}

impl Zone {
    fn read(zone: &Value) -> Option<Self> {
        let blocks = zone["free_blocks"].as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
        Some(Self { free: zone["free_bytes"].as_u64()?, blocks })
    }

    fn pages(&self) -> u64 {
        self.blocks.iter().enumerate().map(|(order, blocks)| blocks << order).sum()
    }

    /// The number of free blocks of `order`, larger ones split.
    fn suitable(&self, order: usize) -> u64 {
        self.blocks.iter().enumerate().skip(order).map(|(at, blocks)| blocks << (at - order)).sum()
    }

    /// In thousandths.
    fn fragmentation_index(&self, order: usize) -> i64 {
        let blocks: u64 = self.blocks.iter().sum();
        if blocks == 0 || order >= self.blocks.len() {
            0
        } else if self.suitable(order) > 0 {
            -1000
        } else {
            1000 - ((1000 + self.pages() * 1000 / (1 << order)) / blocks).cast_signed()
        }
    }

    /// The same.
    fn unusable_index(&self, order: usize) -> i64 {
        match self.pages() {
            0 => 1000,
            pages => ((pages - (self.suitable(order) << order)) * 1000 / pages).cast_signed(),
        }
    }
}

fn zones(check: &mut Check<'_>, failure: &Failure, cast: &Cast) {
    let zones = check.list("memory.zones");
    check.within("memory.zones_total", (zones.len() as u64, zones.len() as u64));
    // Of a failed vmalloc the zones are held against a single page.
    let order = failure.order.unwrap_or(0);
    let mut verdicts = Vec::new();
    let mut largest: Option<(u64, usize)> = None;
    for (index, zone) in zones.iter().enumerate() {
        let at = format!("memory.zones.{index}");
        let Some(figures) = Zone::read(zone) else {
            check.fault(&format!("{at}.free_blocks"), "numbers");
            continue;
        };
        if figures.free.abs_diff(figures.pages() * PAGE) > SLACK {
            check.fault(&format!("{at}.free_bytes"), format!("about {} pages", figures.pages()));
        }
        let number = |field: &str| zone[field].as_u64();
        let marks = [number("min_bytes"), number("low_bytes"), number("high_bytes"), number("managed_bytes")];
        if marks.contains(&None) || !marks.is_sorted() {
            check.fault(&at, "watermarks below each other and below what is managed");
        }
        let thousandths = |field: &str| zone[field].as_f64().map(|index| (index * 1000.0).round() as i64);
        if thousandths("fragmentation_index") != Some(figures.fragmentation_index(order as usize)) {
            let computed = figures.fragmentation_index(order as usize);
            check.fault(&format!("{at}.fragmentation_index"), format!("{computed} thousandths"));
        }
        if thousandths("unusable_index") != Some(figures.unusable_index(order as usize)) {
            let computed = figures.unusable_index(order as usize);
            check.fault(&format!("{at}.unusable_index"), format!("{computed} thousandths"));
        }
        let kept =
            number("min_bytes").zip(number("lowmem_reserve_bytes")).map(|(min, reserve)| min + reserve);
        let room = number("usable_bytes").zip(kept).map(|(usable, kept)| usable >= kept + (PAGE << order));
        check.eq(&format!("{at}.room"), json!(room));
        let there = figures.suitable(order as usize) > 0;
        // A free block may be of a type that this allocation may not use.
        if zone["suitable_block"].as_bool().is_none_or(|said| said && !there) {
            check.fault(&format!("{at}.suitable_block"), there);
        }
        if zone["eligible"] == true {
            verdicts.push((zone["room"] == true, zone["suitable_block"] == true));
            let managed = number("managed_bytes").unwrap_or(0);
            if largest.is_none_or(|(most, _)| managed > most) {
                largest = Some((managed, index));
            }
            // Figures that were read late have changed: a process may have been killed for it.
            if !(order == 0 && check.get("memory.late") == true) {
                near_debugfs(check, &at, zone, failure, cast);
            }
        }
    }
    let can_serve = verdicts.iter().any(|(room, block)| *room && *block);
    let has_room = verdicts.iter().any(|(room, _)| *room);
    let fits = match failure.shortage.as_deref() {
        Some("fragmentation") => has_room && !can_serve,
        Some(_) => !has_room,
        // The node's memory was not short.
        None => can_serve,
    };
    // The reserves are free again by the time that they can be read: then the cause is inferred.
    let over = order == 0 && check.get("memory.late") == true;
    if !(fits || over) || verdicts.is_empty() {
        check.fault("memory.zones", "figures that the verdict follows from");
    }
    let Some((_, index)) = largest else { return };
    for (field, range) in [("fragmentation_index", failure.index), ("unusable_index", failure.unusable)] {
        let Some((least, most)) = range else { continue };
        let at = format!("memory.zones.{index}.{field}");
        if !check.get(&at).as_f64().is_some_and(|value| (least..=most).contains(&value)) {
            check.fault(&at, format!("{least} to {most}"));
        }
    }
}

/// Compares a zone's indices with the kernel's own in debugfs, read just before the allocation.
fn near_debugfs(check: &mut Check<'_>, at: &str, zone: &Value, failure: &Failure, cast: &Cast) {
    let Some(order) = failure.order else { return };
    let name = zone["zone"].as_str().unwrap_or_default();
    for (field, table) in [("fragmentation_index", &cast.extfrag), ("unusable_index", &cast.unusable)] {
        if table.is_empty() {
            continue;
        }
        let Some(shown) = table.get(name).and_then(|row| row.get(order as usize)) else {
            check.fault(&format!("{at}.zone"), "one that debugfs shows");
            continue;
        };
        if !zone[field].as_f64().is_some_and(|value| (value - shown).abs() <= NEAR) {
            check.fault(&format!("{at}.{field}"), format!("about {shown}, which debugfs shows"));
        }
    }
}
