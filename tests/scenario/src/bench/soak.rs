//! `scenario soak`: storms of kills and of containers that end, for as long as is asked, in pods that come and go: the tool tells of
//! each kill, and its memory and its descriptors stay as they are.

use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use crashtrace_test_support::cgroup::{Hierarchy, random_hex, remove};
use rustix::process::Signal;
use serde_json::json;

use super::kills::{Child, Table};
use super::lines::{Form, Told};
use super::loss::weather;
use super::pods::Pods;
use super::tool::{Spec, Tool};
use super::{memory, tool};
use crate::process_ends;

/// For how long, and with which tool.
#[derive(clap::Args)]
pub struct Args {
    /// For how long
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// The agent
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Pods and kills of the storms in turn: lines of their own, folded lines, and more than the burst of a node's lines.
const STORMS: [(usize, usize); 4] = [(25, 50), (8, 200), (100, 400), (8, 1000)];
/// Containers whose first process ends, in each round.
const ENDS: usize = 5;
/// Of these storms the tool sees one while it is stopped, and reads it afterwards.
const STALLED: usize = 5;
/// No line comes later than this: the slowest are folded lines, which are held for ten seconds at most.
const QUIET: Duration = Duration::from_secs(15);
/// Tables grow once more than their number needs, when they first meet a storm; and musl gives pages back in no order of theirs.
const SLACK_BYTES: u64 = 512 << 10;

/// The tool between two storms.
struct Look {
    anon_bytes: u64,
    open_files: usize,
    charged_bytes: u64,
}

impl Look {
    fn at(tool: &Tool) -> Result<Self> {
        let open = fs::read_dir(format!("/proc/{}/fd", tool.pid())).context("cannot list its files")?;
        Ok(Self {
            anon_bytes: memory::anon_bytes(tool.pid())?,
            open_files: open.count(),
            charged_bytes: tool::number(&tool.cgroup.join("memory.current"))?,
        })
    }
}

/// Prints one JSON object. False if a kill was not told, or memory or descriptors have become more.
pub fn run(args: &Args) -> Result<bool> {
    let spec = Spec {
        command: &args.command,
        preload: None,
        ready: "agent_started",
        ready_in_kernel_log: false,
        form: Form::Report,
        hierarchy: Hierarchy::find()?,
    };
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    let mut tool = Tool::start(&spec)?;
    let table = Table::make()?;
    let (mut looks, mut killed, mut told) = (Vec::new(), 0, 0);
    let mut ended = 0;
    // Each storm once at least in each third.
    while Instant::now() < until || looks.len() < 3 * STORMS.len() {
        let round = looks.len();
        let (pods, kills) = STORMS[round % STORMS.len()];
        let pods = Pods::make(&spec.hierarchy, pods)?;
        let stalled = round % STALLED == STALLED - 1;
        if stalled {
            tool.signal(Signal::STOP)?;
        }
        let storm = table.storm(&pods, kills)?;
        for _ in 0..ENDS {
            first_process_ends(&spec.hierarchy)?;
            ended += 1;
        }
        if stalled {
            storm.into_iter().try_for_each(Child::ended)?;
            tool.signal(Signal::CONT)?;
        } else {
            weather(&mut tool, storm)?;
        }
        while tool.take(QUIET)? > 0 {}
        let Told { lost, .. } = tool.told;
        ensure!(lost == 0, "it says that it lost {lost} records, in round {round}");
        killed += pods.kills(&spec.hierarchy)?;
        // By reports: after so many kills pids come round again.
        told += std::mem::take(&mut tool.told).accounted();
        looks.push(Look::at(&tool)?);
    }
    tool.stop()?;
    // In the first third tables grow to the size that the storms need.
    let (early, late) = looks[looks.len() / 3..].split_at(looks.len() / 3);
    let most = |looks: &[Look], of: fn(&Look) -> u64| looks.iter().map(of).max().unwrap_or_default();
    let flat = |of: fn(&Look) -> u64, slack: u64| most(late, of) <= most(early, of) + slack;
    let good = told == killed
        && flat(|look| look.anon_bytes, SLACK_BYTES)
        && flat(|look| look.charged_bytes, 2 * SLACK_BYTES)
        && flat(|look| look.open_files as u64, 0);
    let each = |of: fn(&Look) -> u64| looks.iter().map(of).collect::<Vec<_>>();
    println!(
        "{}",
        json!({
            "pass": good,
            "minutes": args.minutes,
            "rounds": looks.len(),
            "kills": killed,
            "told": told,
            "ended": ended,
            "anon_bytes": each(|look| look.anon_bytes),
            "charged_bytes": each(|look| look.charged_bytes),
            "open_files": each(|look| look.open_files as u64),
        })
    );
    Ok(good)
}

/// The first process of a container ends, and its cgroup goes.
fn first_process_ends(hierarchy: &Hierarchy) -> Result<()> {
    let dir = hierarchy.mount.join(random_hex()?);
    hierarchy.create(&dir)?;
    process_ends::fork(Some(&dir), || ())?.ended()?;
    remove(&dir)
}
