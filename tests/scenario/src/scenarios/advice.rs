//! The node runs out of memory, the advice of the report is followed, and memory grows the same way again: now it must end at the
//! limit of its owner, not at the node's.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::elsewhere::until_available;
use super::node::{self, largest, memory_kib};
use super::{MIB, Stage, fed, feed_as};
use crate::actor::{Actor, Role};
use crate::scratch::{Scratch, unit};
use crashtrace_judge::cast::Cast;
use crashtrace_test_support::cgroup::Cgroup;

/// Waits for the report of the node's OOM, and for the memory of its victim.
fn report(stage: &Stage<'_>, scratch: &Scratch, available_kib: u64) -> Result<Value> {
    (stage.wait)(&scratch.prefixes(), 1)?;
    until_available(available_kib * 9 / 10)?;
    (stage.reports)(&scratch.prefixes()).into_iter().next().context("no report has come")
}

/// What the largest holder held at the decision.
fn held_bytes(report: &Value) -> Result<u64> {
    report["memory"]["holders"][0]["usage_bytes"].as_u64().with_context(|| format!("no holder in {report}"))
}

/// A limit that the owner needs less than it had, so that the rest is free for others.
fn limit_below(cgroup: &Cgroup, report: &Value) -> Result<()> {
    cgroup.set_limit(held_bytes(report)? / 4 * 3 / MIB * MIB)
}

pub(super) fn limit_for_pod(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node::node(stage)?;
    let pod = scratch.pod()?;
    let (first, again) = (pod.container()?, pod.container()?);
    let available = memory_kib("MemAvailable")?;
    let before = feed_as(&first.cgroup, &largest()?)?;
    limit_below(&again.cgroup, &report(stage, &scratch, available)?)?;
    let after = feed_as(&again.cgroup, &largest()?)?;
    let cast = node::cast(&scratch, &pod)?
        .process("largest", before.part(&first.place.owner)?)
        .process("again", after.part(&again.place.owner)?);
    Ok(cast.place("container", again.place))
}

pub(super) fn limit_for_unit(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node::node(stage)?;
    let pod = scratch.pod()?;
    // Not the name of another scenario's unit, whose reports would be about this one.
    let service = scratch.host("greedy.service")?;
    let available = memory_kib("MemAvailable")?;
    let role = largest()?.of_host();
    let place = unit(&service);
    let before = feed_as(&service, &role)?;
    limit_below(&service, &report(stage, &scratch, available)?)?;
    let after = feed_as(&service, &role)?;
    let cast = node::cast(&scratch, &pod)?
        .process("largest", before.part(&place.owner)?)
        .process("again", after.part(&place.owner)?);
    Ok(cast.place("service", place))
}

pub(super) fn larger_reservation(stage: &Stage<'_>) -> Result<Cast> {
    /// What each of two services holds beside the pods: less than what they exceed the reservation by together.
    const SERVICE_MIB: u64 = 48;
    let scratch = node::node(stage)?;
    let (kubepods, place) = scratch.kubepods()?;
    // What is in use beside the pods now is reserved, and that of the service is not.
    let available = memory_kib("MemAvailable")?;
    let allocatable = available * 1024 / MIB * MIB;
    kubepods.set_limit(allocatable)?;
    let mut holders = Vec::new();
    for name in ["one.service", "other.service"] {
        let service = scratch.host(name)?;
        holders.push(fed(&service, &Role::eats("holder", SERVICE_MIB).of_host())?);
    }
    let pod = scratch.pod()?;
    let (first, again) = (pod.container()?, pod.container()?);
    let before = feed_as(&first.cgroup, &largest()?)?;
    let report = report(stage, &scratch, available - 2 * SERVICE_MIB * 1024)?;
    kubepods.set_limit(allocatable - raise_by(&report)?)?;
    let after = feed_as(&again.cgroup, &largest()?)?;
    ensure!(holders.iter().all(Actor::lives), "a service's process died too");
    let cast = node::cast(&scratch, &pod)?
        .process("largest", before.part(&first.place.owner)?)
        .process("again", after.part(&again.place.owner)?);
    Ok(cast.place("allocatable", place))
}

/// By how much the remedy says to raise the reservation: `raise --system-reserved by about 103.5 MiB`.
fn raise_by(report: &Value) -> Result<u64> {
    let remedy = &report["verdict"]["remedy"];
    let sentences = remedy.as_array().map_or(std::slice::from_ref(remedy), Vec::as_slice);
    let said = sentences.iter().filter_map(Value::as_str).find_map(|sentence| {
        let (_, rest) = sentence.split_once("--system-reserved")?;
        let mut words = rest.split_once(" by ")?.1.split_whitespace().skip_while(|word| *word == "about");
        let number = words.next()?;
        let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
        let (whole, tenths): (u64, u64) = (whole.parse().ok()?, tenths.parse().ok()?);
        let shift = match words.next()?.trim_end_matches(|mark: char| !mark.is_ascii_alphabetic()) {
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        // Not less than it says, and a multiple of a page.
        Some(((whole * 10 + tenths + 1) << shift) / 10 / 4096 * 4096)
    });
    said.with_context(|| format!("the remedy does not say by how much to raise --system-reserved: {remedy}"))
}
