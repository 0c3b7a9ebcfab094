//! How long a tool takes until it watches, and how often it wakes up when nothing happens.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Figures;
use super::tool::{Spec, Tool};

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(20);
/// What it may still do after its start.
const SETTLES: Duration = Duration::from_secs(2);

/// Starts it, and adds what that took.
pub fn measure(spec: &Spec<'_>, figures: &mut Figures) -> Result<Tool> {
    let mut tool = Tool::start(spec)?;
    figures.insert("start_ns".to_owned(), tool.start_ns.into());
    figures.insert("start_cpu_ns".to_owned(), tool.cpu_ns()?.into());
    while tool.take(SETTLES)? > 0 {}
    figures.insert("settled_cpu_ns".to_owned(), tool.cpu_ns()?.into());
    Ok(tool)
}

/// Adds how often its threads were put on a CPU while nothing happened.
pub fn wakeups(tool: &mut Tool, figures: &mut Figures) -> Result<()> {
    let (before, cpu_before) = (switches(tool.pid())?, tool.cpu_ns()?);
    while tool.take(IDLE)? > 0 {}
    let woken = switches(tool.pid())?.saturating_sub(before);
    figures.insert("idle_20_s_wakeups".to_owned(), woken.into());
    figures.insert("idle_20_s_cpu_ns".to_owned(), (tool.cpu_ns()? - cpu_before).into());
    Ok(())
}

/// Context switches of all its threads.
fn switches(pid: u32) -> Result<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("cannot list the tool's threads")?;
    let mut sum = 0;
    for task in tasks.flatten() {
        let status = task.path().join("status");
        let status =
            fs::read_to_string(&status).with_context(|| format!("cannot read {}", status.display()))?;
        // Each wait is one; being displaced by another process is none of the tool's doing.
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += count.and_then(|count| count.trim().parse::<u64>().ok()).context("no count of switches")?;
    }
    Ok(sum)
}
