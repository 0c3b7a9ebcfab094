//! The cost of an agent while nothing is wrong, for each page fault, each process that ends and each signal; and for each OOM kill, how
//! long its programs hold the killer up.
//!
//! A loop runs without an agent, then beside agents with different hooks, then without one again, with the same result as the first
//! time.

use super::of::Of;
use crate::costs::record::{KernelCosts, OfLoop};
use anyhow::{Context as _, Result, ensure};

/// A loop, and the agents beside which it runs.
pub(super) struct Bench {
    pub(super) of: Of,
    /// Without the label.
    command: &'static str,
    /// What is measured: its name, and the agent's arguments if there is an agent. The first and the last are without.
    runs: &'static [(&'static str, Option<&'static str>)],
    /// Any agent changes a guest's idle time a little, so the base is an agent without these hooks.
    base: &'static str,
}

pub(super) const BENCHES: [Bench; 3] = [
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

/// Lines of the guest's command.
pub(super) fn script(benches: &[&Bench]) -> Vec<String> {
    if benches.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![WARM_UP.to_owned()];
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
    lines
}

/// Prints the results.
pub(super) fn show(benches: &[&Bench], costs: &KernelCosts) -> Result<()> {
    // In the order of the command: the same agent may be beside several loops.
    let mut rest = &costs.loops[..];
    for bench in benches {
        let (measured, others) = rest.split_at_checked(bench.runs.len()).context("a run is missing")?;
        show_one(&costs.label, bench, measured)?;
        rest = others;
    }
    Ok(())
}

fn show_one(kernel: &str, bench: &Bench, measured: &[OfLoop]) -> Result<()> {
    let median = |label: &str, thing: &str| {
        let run = measured.iter().find(|run| run.label == label).context("a run is missing")?;
        run.median(thing).context("nothing was measured")
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
