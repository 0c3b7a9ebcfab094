//! `scenario decisions`: how long the agent's programs run for an OOM kill, among few cgroups and among many. `cargo xtask bench` runs
//! it beside agents, in a guest whose clock counts instructions. The kernel itself counts (`kernel.bpf_stats_enabled`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use crashtrace_test_support::cgroup::{Hierarchy, random_hex, remove};
use serde_json::{Map, json};

use crate::process_ends::{fork, wait_for_the_end};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// What the result is for
    #[arg(long)]
    label: String,
    /// How many cgroups the node has
    #[arg(long, value_delimiter = ',', default_values_t = [200, 2_000, 10_000])]
    cgroups: Vec<usize>,
    /// How many kills of each kind
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

const LIMIT_BYTES: u64 = 8 << 20;
/// More than a guest has.
const NO_LIMIT_BYTES: u64 = 1 << 40;

/// Prints one JSON object: nanoseconds of the agent's programs for each kill. The first kill of each kind is not in it.
pub fn run(args: &Args) -> Result<()> {
    fs::write("/proc/sys/kernel/bpf_stats_enabled", "1").context("cannot switch on BPF's statistics")?;
    let programs = Programs::of_agent()?;
    let hierarchy = Hierarchy::find()?;
    let pod = hierarchy.mount.join(random_hex()?);
    hierarchy.create(&pod)?;
    let container = pod.join(random_hex()?);
    hierarchy.create(&container)?;
    let mut made: Vec<PathBuf> = Vec::new();
    let mut costs: Map<String, serde_json::Value> = Map::new();
    for &count in &args.cgroups {
        while made.len() < count {
            let dir = hierarchy.mount.join(random_hex()?);
            hierarchy.create(&dir)?;
            made.push(dir);
        }
        hierarchy.cgroup(pod.clone())?.set_limit(LIMIT_BYTES)?;
        let of_limit = programs.measured(args.rounds, || fork(Some(&container), eat)?.ended())?;
        hierarchy.cgroup(pod.clone())?.set_limit(NO_LIMIT_BYTES)?;
        let of_node = programs.measured(args.rounds, || {
            let victim = fork(Some(&container), wait_for_the_end)?;
            victim.killed_first()?;
            fs::write("/proc/sysrq-trigger", "f").context("cannot write to /proc/sysrq-trigger")?;
            victim.ended()
        })?;
        costs.insert(format!("OOM kill at a pod's limit, {count} cgroups"), json!(of_limit));
        costs.insert(format!("OOM kill of the node, {count} cgroups"), json!(of_node));
    }
    made.iter().chain([&container, &pod]).try_for_each(|dir| remove(dir))?;
    println!("{}", json!({ "label": args.label, "ns": costs }));
    Ok(())
}

/// Touches memory until it is killed.
fn eat() {
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&held);
    }
}

/// The agent's programs.
struct Programs {
    /// What the kernel says of each.
    files: Vec<PathBuf>,
}

impl Programs {
    fn of_agent() -> Result<Self> {
        let processes =
            fs::read_dir("/proc").context("cannot list /proc")?.flatten().map(|entry| entry.path());
        let mut agents = processes.filter(|dir| {
            fs::read_to_string(dir.join("comm")).is_ok_and(|comm| comm.trim_end() == "crashtrace")
        });
        let agent = agents.next().context("there is no agent")?;
        let files = fs::read_dir(agent.join("fdinfo")).context("cannot list the agent's files")?.flatten();
        let files: Vec<_> =
            files.map(|entry| entry.path()).filter(|file| run_time_ns(file).is_some()).collect();
        ensure!(!files.is_empty(), "the agent has no BPF program");
        Ok(Self { files })
    }

    fn run_time_ns(&self) -> u64 {
        self.files.iter().filter_map(|file| run_time_ns(file)).sum()
    }

    /// The time that they ran in each round but the first.
    fn measured(&self, rounds: usize, mut round: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for _ in 0..=rounds {
            let before = self.run_time_ns();
            round()?;
            all.push((self.run_time_ns() - before) as f64);
        }
        ensure!(all.iter().all(|ns| *ns > 0.0), "the agent saw no kill");
        Ok(all.split_off(1))
    }
}

fn run_time_ns(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("run_time_ns:"))?.trim().parse().ok()
}
