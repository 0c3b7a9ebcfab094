//! One real OOM kill in a scratch pod, and crashtrace's report of it, as text and as JSON.
//!
//! Each demo has its own names, so two at once do no harm to each other, and all is removed whatever happens.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::actor::{Actor, Role};
use crate::scratch::Scratch;
use crashtrace_test_support::agent::{Agent, Line, Output};
use crashtrace_test_support::cgroup::Hierarchy;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 64 * MIB;

/// How to show it.
#[derive(clap::Args)]
pub struct Args {
    /// The agent's program
    #[arg(long, value_name = "FILE")]
    crashtrace: PathBuf,
    /// The hooks to use, as `crashtrace watch --hooks` has them
    #[arg(long, default_value = "auto")]
    hooks: String,
}

/// Shows it.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the demo loads BPF programs and makes cgroups, which takes root: run it with sudo"
    );
    let hierarchy = Hierarchy::find()?;
    eprintln!("demo: starting crashtrace watch, twice: for JSON and for text");
    let mut agent = Agent::spawn(&args.crashtrace, &args.hooks, Output::Json)?;
    let mut text = Agent::spawn(&args.crashtrace, &args.hooks, Output::Text)?;
    if let Err(error) = agent.wait_started() {
        drop((agent, text));
        return Err(error.context(doctor(&args.crashtrace)));
    }
    text.wait_started()?;
    let hooks = agent.started["hooks"].as_array().into_iter().flatten();
    let hooks: Vec<_> = hooks.filter_map(|hook| hook.as_str()).collect();
    eprintln!("demo: it watches, through {}", hooks.join(", "));

    let scratch = Scratch::new(&hierarchy, "demo")?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    container.cgroup.set_limit(LIMIT)?;
    let path = String::from_utf8_lossy(&container.cgroup.path).into_owned();
    eprintln!("demo: made cgroup {path} with a limit of {} MiB", LIMIT / MIB);
    let mut eater = Actor::start(&container.cgroup, &Role::eats("memory-hog", 4 * LIMIT / MIB).adj(986))?;
    eprintln!("demo: {eater} in it touches page after page ...");
    eater.go()?;
    eater.killed()?;
    let (touch_ns, touched) = eater.last_touch()?;
    eprintln!("demo: ... and was killed after {:.1} MiB", touched as f64 / MIB as f64);

    let is_it = |line: &&Line| line.value["victims"][0]["pid"] == eater.pid;
    agent.read_until(Instant::now() + Duration::from_secs(10), |lines| {
        lines.iter().any(|line| is_it(&line))
    })?;
    let line = agent.lines.iter().find(is_it).cloned();
    agent.stop()?;
    let line = line.context("crashtrace said nothing of it")?;
    // It has its records by now, and takes them along.
    text.stop()?;
    let texts: Vec<_> = text.lines.iter().filter_map(|line| line.value.as_str()).collect();
    let block =
        block_with(&texts, &scratch.prefixes().concat()).context("crashtrace wrote no text about it")?;
    drop(eater);
    drop(scratch);

    let json = serde_json::to_string_pretty(&line.value)?;
    let took_ms = line.read_ns.saturating_sub(touch_ns) as f64 / 1e6;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{block}\n\nThe same as JSON, of which `crashtrace watch` writes one line:\n\n{json}\n")?;
    writeln!(
        out,
        "From the victim's last page touch to that line, read by another process: {took_ms:.2} ms"
    )?;
    Ok(())
}

/// The paragraph of a report that has this in it: it begins at a line that is not indented.
fn block_with(lines: &[&str], part: &str) -> Option<String> {
    let at = lines.iter().position(|line| line.contains(part))?;
    let begins = |line: &&str| !line.is_empty() && !line.starts_with(' ');
    let first = lines[..=at].iter().rposition(begins)?;
    let end = lines[at..].iter().position(begins).map_or(lines.len(), |length| at + length);
    Some(lines[first..end].join("\n").trim_end().to_owned())
}

/// The reasons why crashtrace does not work here, with remedies.
fn doctor(crashtrace: &Path) -> String {
    match Command::new(crashtrace).args(["doctor", "--output", "text"]).stdin(Stdio::null()).output() {
        Ok(output) => format!(
            "crashtrace cannot watch this machine; crashtrace doctor says:\n{}",
            String::from_utf8_lossy(&output.stdout).trim_end()
        ),
        Err(error) => format!("crashtrace cannot watch this machine, and its doctor does not start: {error}"),
    }
}
