//! `cargo xtask bench`: the cost of an agent per page fault, in instructions.
//!
//! It runs in a guest whose clock counts instructions: a loop that faults pages in and frees them runs without an agent, then beside
//! agents with different hooks, then without one again, with the same result as the first time. So the figures do not depend on the
//! load of this machine, and can be compared with each other; they are no times.

use crate::arch::Arch;
use crate::guest::options::{OnLine, Options};
use crate::guest::{self, programs};
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Count what watching for failed allocations costs per page fault.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernels to boot (may be repeated).
    #[arg(long = "kernel", value_name = "LABEL", value_delimiter = ',', default_values = ["6.1", "6.12"])]
    kernels: Vec<String>,
}

/// Faults in memory that was not used since the guest's start: this costs more and is not measured.
const WARM_UP: &str = "/bin/scenario faults --label warm-up --mib 256 --rounds 1 >/dev/null";

/// An agent that does not watch allocations.
const NO_HOOK: &str = "an agent with --no-alloc";

/// What is measured: its name, and the agent's arguments if there is an agent.
const RUNS: [(&str, Option<&str>); 5] = [
    ("no agent", None),
    ("kprobe:warn_alloc (first choice)", Some("--hooks kprobe")),
    ("raw_tp:mm_page_alloc (second choice)", Some("--hooks tracepoint")),
    (NO_HOOK, Some("--hooks tracepoint --no-alloc")),
    ("no agent again", None),
];

/// By how much two runs without an agent may differ.
const NOISE: f64 = 0.01;

/// A line of `scenario faults`.
#[derive(Deserialize)]
struct Measured {
    label: String,
    ns_per_page: Vec<f64>,
}

/// `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let files = programs::build(Arch::X86_64)?;
    for kernel in &args.kernels {
        let options = Options {
            count_instructions: true,
            timeout_secs: 600,
            boot_timeout_secs: 300,
            on_line: OnLine::new(|_| {}),
            ..Options::default()
        };
        let output = guest::run(kernel, &files, &script(), &options)?;
        show(kernel, output.succeeded()?)?;
    }
    Ok(())
}

/// The guest's command.
fn script() -> String {
    let mut lines = vec!["set -e".to_owned(), WARM_UP.to_owned()];
    for (label, agent) in RUNS {
        match agent {
            None => lines.push(format!("/bin/scenario faults --label '{label}'")),
            Some(args) => lines.push(format!(
                // A line of its output says that its hooks are in place.
                "mkfifo /tmp/out && (/bin/crashtrace watch --output json {args} >/tmp/out & echo $! >/tmp/pid)\n\
                 exec 3</tmp/out && read -r started <&3\n\
                 /bin/scenario faults --label '{label}'\n\
                 kill $(cat /tmp/pid) && cat <&3 >/dev/null && exec 3<&- && rm /tmp/out"
            )),
        }
    }
    lines.join("\n")
}

fn show(kernel: &str, results: &str) -> Result<()> {
    let lines = results.lines().filter_map(|line| serde_json::from_str::<Measured>(line).ok());
    let median = |mut costs: Vec<f64>| {
        costs.sort_by(f64::total_cmp);
        costs.get(costs.len() / 2).copied()
    };
    let measured: Vec<_> = lines.filter_map(|line| Some((line.label, median(line.ns_per_page)?))).collect();
    ensure!(measured.len() == RUNS.len(), "the guest measured {} of {} runs", measured.len(), RUNS.len());
    let base = measured.first().context("nothing was measured")?.1;
    // Any agent changes a guest's idle time a little, so the base is an agent without these hooks.
    let plain = measured.iter().find(|(label, _)| label == NO_HOOK).context("nothing was measured")?.1;
    println!("{kernel}: instructions per page that is faulted in and freed, and the difference to {NO_HOOK}");
    for (label, cost) in &measured {
        println!(
            "  {label:<40} {cost:>8.1}  {:>+7.1}  {:>+6.2} %",
            cost - plain,
            (cost / plain - 1.0) * 100.0
        );
    }
    let again = measured.last().context("nothing was measured")?.1;
    ensure!((again / base - 1.0).abs() < NOISE, "two runs without an agent differ by {:.1}", again - base);
    Ok(())
}
