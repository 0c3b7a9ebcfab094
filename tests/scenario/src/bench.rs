//! `scenario bench`: what a tool that tells of OOM kills costs, how soon its lines come, and what it loses. `cargo xtask bench` runs it
//! for crashtrace and for what a user would run instead, in a guest whose clock counts instructions.
//!
//! Each measurement starts the tool anew and prints one JSON object. This process has one thread and reads the tool's pipe between
//! kills: in a guest of one CPU a second thread would be a third contender for it.

mod kills;
mod latency;
mod lines;
mod loss;
mod memory;
mod pods;
pub mod replay;
pub mod soak;
mod start;
mod tool;

use std::ffi::OsString;

use anyhow::Result;
use crashtrace_test_support::cgroup::Hierarchy;
use serde_json::{Map, Value, json};

use self::lines::Form;
use self::tool::Spec;

/// What to measure, and of which tool.
#[derive(clap::Args)]
pub struct Args {
    /// What the results are for
    #[arg(long)]
    label: String,
    /// What a line has that says that the tool watches
    #[arg(long, value_name = "TEXT")]
    ready: String,
    /// Write that text to the kernel log before the tool starts: it tells the log from the beginning, and nothing of itself
    #[arg(long)]
    ready_in_kernel_log: bool,
    /// What a line has in front of its victim's number; without it lines are JSON of `crashtrace/v1`
    #[arg(long, value_name = "TEXT")]
    victim_after: Option<String>,
    /// A library that makes the tool write each line at once
    #[arg(long, value_name = "FILE")]
    preload: Option<OsString>,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    of: Vec<Of>,
    /// The tool
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// Start, memory and idle wakeups, line after last touch, CPU per event, stop.
    Basics,
    /// 500 kills, 8 at a time.
    Loss500,
    /// 5,000 kills, 8 at a time.
    Loss5000,
    /// 2,000 kills while the tool is stopped.
    Stall,
    /// 1,000 kills, in the middle of which the tool is killed and started again.
    Restart,
}

/// Figures of one measurement, by name; units are in the names.
type Figures = Map<String, Value>;

/// Prints one JSON object for each measurement.
pub fn run(args: &Args) -> Result<()> {
    let spec = Spec {
        command: &args.command,
        preload: args.preload.as_deref(),
        ready: &args.ready,
        ready_in_kernel_log: args.ready_in_kernel_log,
        form: args.victim_after.clone().map_or(Form::Report, Form::After),
        hierarchy: Hierarchy::find()?,
    };
    for of in &args.of {
        let (name, figures) = match of {
            Of::Basics => ("basics", basics(&spec)?),
            Of::Loss500 => ("loss_500", loss::storm(&spec, 500)?),
            Of::Loss5000 => ("loss_5000", loss::storm(&spec, 5000)?),
            Of::Stall => ("stall_2000", loss::stall(&spec, 2000)?),
            Of::Restart => ("restart_1000", loss::restart(&spec, 1000)?),
        };
        println!("{}", json!({ "label": args.label, "of": name, "figures": figures }));
    }
    Ok(())
}

/// Of one session: what a session without trouble costs.
fn basics(spec: &Spec<'_>) -> Result<Figures> {
    // Once before, not measured: what the tool needs was not used since the guest's start.
    tool::Tool::start(spec)?.stop()?;
    let mut figures = Figures::new();
    let mut tool = start::measure(spec, &mut figures)?;
    memory::measure(&mut tool, "idle", &mut figures)?;
    start::wakeups(&mut tool, &mut figures)?;
    latency::measure(spec, &mut tool, &mut figures)?;
    loss::cpu_per_event(spec, &mut tool, &mut figures)?;
    memory::measure(&mut tool, "used", &mut figures)?;
    figures.insert("stop_ns".to_owned(), tool.stop()?.into());
    Ok(figures)
}
