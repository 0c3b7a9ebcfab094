//! `cargo xtask bench`: the cost of an agent in instructions: while nothing is wrong, for each page fault, each process that ends and
//! each signal; and for each OOM kill, how long its programs hold the killer up.
//!
//! It runs in a guest whose clock counts instructions: a loop runs without an agent, then beside agents with different hooks, then
//! without one again, with the same result as the first time. So the figures do not depend on the load of this machine, and can be
//! compared with each other; they are no times.

use std::collections::BTreeMap;

use crate::arch::Arch;
use crate::guest::options::{OnLine, Options};
use crate::guest::{self, programs};
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Count what it costs to watch, while nothing is wrong and at an OOM kill.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernels to boot (may be repeated).
    #[arg(long = "kernel", value_name = "LABEL", value_delimiter = ',', default_values = ["6.1", "6.12"])]
    kernels: Vec<String>,
    /// What to count [default: all of it].
    #[arg(long, value_enum, value_delimiter = ',')]
    of: Vec<Of>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// Page faults, by the hooks on failed allocations.
    Faults,
    /// Processes that end and signals, by the hooks on ends of containers.
    Ends,
    /// OOM kills, by the hooks on decisions and victims.
    Decisions,
}

/// A loop, and the agents beside which it runs.
struct Bench {
    of: Of,
    /// Without the label.
    command: &'static str,
    /// What is measured: its name, and the agent's arguments if there is an agent. The first and the last are without.
    runs: &'static [(&'static str, Option<&'static str>)],
    /// Any agent changes a guest's idle time a little, so the base is an agent without these hooks.
    base: &'static str,
}

const BENCHES: [Bench; 3] = [
    Bench {
        of: Of::Faults,
        command: "/bin/scenario faults",
        runs: &[
            ("no agent", None),
            ("kprobe:warn_alloc (first choice)", Some("--hooks kprobe --no-exits")),
            ("raw_tp:mm_page_alloc (second choice)", Some("--hooks tracepoint --no-exits")),
            ("an agent with --no-alloc", Some("--hooks tracepoint --no-alloc --no-exits")),
            ("no agent again", None),
        ],
        base: "an agent with --no-alloc",
    },
    Bench {
        of: Of::Ends,
        command: "/bin/scenario ends",
        runs: &[
            ("no agent", None),
            ("raw_tp:sched_process_exit, signal_generate", Some("--hooks tracepoint --no-alloc")),
            ("an agent with --no-exits", Some("--hooks tracepoint --no-alloc --no-exits")),
            ("no agent again", None),
        ],
        base: "an agent with --no-exits",
    },
    Bench {
        of: Of::Decisions,
        command: "/bin/scenario decisions",
        runs: &[
            ("fentry:oom_kill_process", Some("--hooks fentry --no-alloc --no-exits")),
            ("kprobe:oom_kill_process", Some("--hooks kprobe --no-alloc --no-exits")),
            ("raw_tp:mark_victim alone", Some("--hooks tracepoint --no-alloc --no-exits")),
        ],
        base: "fentry:oom_kill_process",
    },
];

/// What was not used since the guest's start costs more, and is not measured.
const WARM_UP: &str = "/bin/scenario faults --label warm-up --mib 256 --rounds 1 >/dev/null\n\
    /bin/scenario ends --label warm-up --rounds 1 >/dev/null";

/// By how much two runs without an agent may differ.
const NOISE: f64 = 0.02;

/// A line of the scenario program.
#[derive(Deserialize)]
struct Measured {
    label: String,
    /// By what is counted, in each round.
    ns: BTreeMap<String, Vec<f64>>,
}

/// `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let files = programs::build(Arch::X86_64)?;
    let benches: Vec<_> =
        BENCHES.iter().filter(|bench| args.of.is_empty() || args.of.contains(&bench.of)).collect();
    for kernel in &args.kernels {
        let options = Options {
            count_instructions: true,
            timeout_secs: 1200,
            boot_timeout_secs: 300,
            on_line: OnLine::new(|_| {}),
            ..Options::default()
        };
        let output = guest::run(kernel, &files, &script(&benches), &options)?;
        let results = output.succeeded()?;
        let mut lines = results.lines().filter_map(|line| serde_json::from_str::<Measured>(line).ok());
        for bench in &benches {
            let measured: Vec<_> = lines.by_ref().take(bench.runs.len()).collect();
            show(kernel, bench, &measured)?;
        }
    }
    Ok(())
}

/// The guest's command.
fn script(benches: &[&Bench]) -> String {
    let mut lines = vec!["set -e".to_owned(), WARM_UP.to_owned()];
    for Bench { command, runs, .. } in benches {
        for (label, agent) in *runs {
            match agent {
                None => lines.push(format!("{command} --label '{label}'")),
                Some(args) => lines.push(format!(
                    // A line of its output says that its hooks are in place.
                    "mkfifo /tmp/out && (/bin/crashtrace watch --output json {args} >/tmp/out & echo $! >/tmp/pid)\n\
                     exec 3</tmp/out && read -r started <&3\n\
                     cat <&3 >/dev/null & echo $! >/tmp/reader\n\
                     {command} --label '{label}'\n\
                     kill $(cat /tmp/pid) && wait $(cat /tmp/reader) && exec 3<&- && rm /tmp/out"
                )),
            }
        }
    }
    lines.join("\n")
}

fn show(kernel: &str, bench: &Bench, measured: &[Measured]) -> Result<()> {
    let runs = bench.runs.len();
    ensure!(measured.len() == runs, "the guest measured {} of {runs} runs", measured.len());
    let median = |label: &str, thing: &str| -> Result<f64> {
        let run = measured.iter().find(|run| run.label == label).context("a run is missing")?;
        let mut costs = run.ns.get(thing).context("a figure is missing")?.clone();
        costs.sort_by(f64::total_cmp);
        costs.get(costs.len() / 2).copied().context("nothing was measured")
    };
    let things: Vec<_> = measured.iter().take(1).flat_map(|run| run.ns.keys()).collect();
    for thing in things {
        let plain = median(bench.base, thing)?;
        println!("{kernel}: instructions for each {thing}, and the difference to {}", bench.base);
        for (label, _) in bench.runs {
            let cost = median(label, thing)?;
            let (more, percent) = (cost - plain, (cost / plain - 1.0) * 100.0);
            println!("  {label:<44} {cost:>9.1}  {more:>+8.1}  {percent:>+6.2} %");
        }
        let without: Vec<_> = bench.runs.iter().filter(|(_, agent)| agent.is_none()).collect();
        if let [(first, _), (last, _)] = without[..] {
            let (first, last) = (median(first, thing)?, median(last, thing)?);
            ensure!(
                (last / first - 1.0).abs() < NOISE,
                "two runs without an agent differ by {:.1}",
                last - first
            );
        }
    }
    Ok(())
}
