//! How long after a victim's last touch of a page the line about it can be read.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Figures;
use super::kills::Table;
use super::pods::Pods;
use super::tool::{Spec, Tool};

/// Each in a pod of its own.
const KILLS: usize = 24;
/// The first are not in the figures: not all that is needed was used before.
const WARM_UP: usize = 4;
/// For the line about a kill.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills one at a time; adds the time between last touch and line, and the tool's CPU time for each.
pub fn measure(spec: &Spec<'_>, tool: &mut Tool, figures: &mut Figures) -> Result<()> {
    let pods = Pods::make(&spec.hierarchy, KILLS)?;
    let table = Table::make()?;
    let (mut after_ns, mut cpu_ns) = (Vec::new(), tool.cpu_ns()?);
    for (number, container) in pods.containers.iter().enumerate() {
        if number == WARM_UP {
            cpu_ns = tool.cpu_ns()?;
            after_ns.clear();
        }
        let victim = table.victim(container)?;
        let read_ns = line_about(spec, tool, victim.pid())?;
        after_ns.push(read_ns.saturating_sub(table.last_touch_ns()));
        victim.ended()?;
        // So that no victim waits for what the tool does after the line.
        while tool.take(Duration::from_millis(20))? > 0 {}
    }
    let cpu_ns = (tool.cpu_ns()? - cpu_ns) / (KILLS - WARM_UP) as u64;
    after_ns.sort_unstable();
    figures.insert("line_after_touch_ns".to_owned(), after_ns[after_ns.len() / 2].into());
    figures.insert("line_after_touch_max_ns".to_owned(), after_ns[after_ns.len() - 1].into());
    figures.insert("cpu_per_single_event_ns".to_owned(), cpu_ns.into());
    Ok(())
}

/// When the line about this victim was read.
fn line_about(spec: &Spec<'_>, tool: &mut Tool, pid: u32) -> Result<u64> {
    loop {
        let lines = tool.read(PATIENCE)?;
        ensure!(!lines.is_empty(), "no line about a victim within {PATIENCE:?}");
        for line in lines {
            if tool.told.take(&spec.form, &line.text).contains(&pid) {
                return Ok(line.read_ns);
            }
        }
    }
}
