//! Storms of kills: what a tool spends on each, and which it does not tell of.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::Figures;
use super::kills::{Child, Table};
use super::pods::Pods;
use super::tool::{Spec, Tool};

/// Pods of a storm: as many as die at a time.
const PODS: usize = 8;
/// No tool has more to say after such a pause: the slowest is crashtrace, which holds folded lines for ten seconds at most.
const QUIET: Duration = Duration::from_secs(15);
/// How often the end of a storm is looked for while there are no lines.
const TICK: Duration = Duration::from_millis(50);

/// Kills whose lines crashtrace does not fold: fewer than a node's burst, in pods with few each.
const UNFOLDED: usize = 200;
const UNFOLDED_PODS: usize = 25;

/// Adds the tool's CPU time and bytes for each kill of a small storm, in which each kill has a line of its own.
pub fn cpu_per_event(spec: &Spec<'_>, tool: &mut Tool, figures: &mut Figures) -> Result<()> {
    let pods = Pods::make(&spec.hierarchy, UNFOLDED_PODS)?;
    let (cpu_ns, bytes, lines) = (tool.cpu_ns()?, tool.told.bytes, tool.told.lines);
    let already = tool.told.accounted();
    let storm = Table::make()?.storm(&pods, UNFOLDED)?;
    weather(tool, storm)?;
    let killed = pods.kills(&spec.hierarchy)?;
    ensure!(killed >= UNFOLDED as u64, "{killed} of {UNFOLDED} victims were killed");
    while tool.told.accounted() - already < killed && tool.take(QUIET)? > 0 {}
    let each = |sum: u64| sum / killed;
    figures.insert("cpu_per_event_ns".to_owned(), each(tool.cpu_ns()? - cpu_ns).into());
    figures.insert("bytes_per_event".to_owned(), each(tool.told.bytes - bytes).into());
    figures.insert("lines_of_200_kills".to_owned(), (tool.told.lines - lines).into());
    Ok(())
}

/// A storm that the tool watches.
pub fn storm(spec: &Spec<'_>, kills: usize) -> Result<Figures> {
    let mut tool = Tool::start(spec)?;
    let pods = Pods::make(&spec.hierarchy, PODS)?;
    let cpu_ns = tool.cpu_ns()?;
    let storm = Table::make()?.storm(&pods, kills)?;
    weather(&mut tool, storm)?;
    while tool.take(QUIET)? > 0 {}
    let killed = pods.kills(&spec.hierarchy)?;
    let mut figures = balance(killed, &tool);
    figures.insert("cpu_per_event_ns".to_owned(), ((tool.cpu_ns()? - cpu_ns) / killed.max(1)).into());
    tool.stop()?;
    Ok(figures)
}

/// A storm while the tool is stopped; it goes on afterwards.
pub fn stall(spec: &Spec<'_>, kills: usize) -> Result<Figures> {
    let mut tool = Tool::start(spec)?;
    let pods = Pods::make(&spec.hierarchy, PODS)?;
    tool.signal(Signal::STOP)?;
    for worker in Table::make()?.storm(&pods, kills)? {
        worker.ended()?;
    }
    tool.signal(Signal::CONT)?;
    while tool.take(QUIET)? > 0 {}
    let figures = balance(pods.kills(&spec.hierarchy)?, &tool);
    tool.stop()?;
    Ok(figures)
}

/// A storm in whose middle the tool is killed and started again.
pub fn restart(spec: &Spec<'_>, kills: usize) -> Result<Figures> {
    let mut tool = Tool::start(spec)?;
    let pods = Pods::make(&spec.hierarchy, PODS)?;
    let mut storm = Table::make()?.storm(&pods, kills)?;
    while pods.kills(&spec.hierarchy)? < kills as u64 / 4 {
        tool.take(TICK)?;
    }
    let before = tool.kill()?;
    let mut tool = Tool::start_again(spec, before)?;
    storm.retain(|worker| !worker.has_ended().unwrap_or(true));
    weather(&mut tool, storm)?;
    while tool.take(QUIET)? > 0 {}
    let figures = balance(pods.kills(&spec.hierarchy)?, &tool);
    tool.stop()?;
    Ok(figures)
}

/// Reads the tool's lines until all workers have ended.
pub fn weather(tool: &mut Tool, mut workers: Vec<Child>) -> Result<()> {
    while !workers.is_empty() {
        tool.take(TICK)?;
        let mut running = Vec::new();
        for worker in workers {
            if !worker.has_ended()? {
                running.push(worker);
            }
        }
        workers = running;
    }
    Ok(())
}

/// What the kernel has counted, and what the tool has told.
fn balance(killed: u64, tool: &Tool) -> Figures {
    let mut figures = Figures::new();
    let mut put = |name: &str, count: u64| figures.insert(name.to_owned(), count.into());
    put("kills", killed);
    put("lost_kills", killed.saturating_sub(tool.told.accounted()));
    put("not_named", killed.saturating_sub(tool.told.victims.len() as u64));
    put("told_as_lost", tool.told.lost);
    put("lines", tool.told.lines);
    put("bytes", tool.told.bytes);
    figures
}
