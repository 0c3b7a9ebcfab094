//! `scenario victim`: a process of a container, as a test wants it. The other side is `actor`.
//!
//! It joins its cgroup before it touches any memory, says who it is, waits for `go`, and then touches page after
//! page. Before each touch the time goes to a file of the other side, in memory that is not charged to this cgroup:
//! what stands there after the kill is the time of the last touch. It ends when its stdin closes, so also when
//! whoever started it is gone.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// Bytes of a stamp: nanoseconds of `CLOCK_BOOTTIME`, and pages touched by then.
pub const STAMP_BYTES: usize = 16;

/// How to be a victim.
#[derive(clap::Args)]
pub struct Args {
    /// Join the cgroup in this directory
    #[arg(long, value_name = "DIR")]
    cgroup: PathBuf,
    /// Go by this name
    #[arg(long)]
    comm: String,
    /// How much to touch
    #[arg(long, value_name = "MIB")]
    mib: usize,
    /// Ask the OOM killer for more or less attention
    #[arg(long, value_name = "ADJ", allow_hyphen_values = true)]
    oom_score_adj: Option<i16>,
    /// Stay outside and start a process with a pid namespace of its own, as a container has it
    #[arg(long)]
    own_pids: bool,
    /// Be the first process of the container, and let a child do the touching
    #[arg(long)]
    child: bool,
    /// Write the time of each touch to this file
    #[arg(long, value_name = "FILE")]
    stamp: PathBuf,
    /// Touch nothing but write this limit to this file
    #[arg(long, value_name = "FILE=VALUE")]
    write: Option<String>,
}

/// Nanoseconds of `CLOCK_BOOTTIME`, the clock of reports.
pub fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Lives and, most likely, dies.
pub fn run(args: &Args) -> Result<()> {
    if args.own_pids {
        // SAFETY: a new pid namespace changes nothing for this process but the pids of its children to come; file
        // descriptors, memory and threads, of which it has one, stay as they are.
        unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("cannot make a pid namespace")?;
        return parent("--own-pids", "ended");
    }
    // 0 is the writer itself, in whatever pid namespace it is.
    let procs = args.cgroup.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("cannot join {}", args.cgroup.display()))?;
    let comm = if args.child { format!("{}-1st", args.comm) } else { args.comm.clone() };
    fs::write("/proc/self/comm", comm).context("cannot change this process's name")?;
    if args.child {
        say_who("first")?;
        return parent("--child", "child_ended");
    }
    if let Some(adj) = args.oom_score_adj {
        fs::write("/proc/self/oom_score_adj", adj.to_string()).context("cannot set oom_score_adj")?;
    }
    let stamp = File::options().write(true).open(&args.stamp).context("cannot open the file of stamps")?;
    // Zeroed memory of this size comes from the kernel as it is needed: nothing of it is touched yet.
    let page = rustix::param::page_size();
    let mut memory = vec![0_u8; args.mib << 20];
    say_who("victim")?;

    let mut go = String::new();
    io::stdin().lock().read_line(&mut go)?;
    if go.trim_end() != "go" {
        return Ok(());
    }
    if let Some((file, value)) = args.write.as_deref().and_then(|write| write.split_once('=')) {
        fs::write(file, value).with_context(|| format!("cannot write {file}"))?;
    }
    let mut pages = 0_u64;
    for first in (0..memory.len()).step_by(page) {
        let mut record = [0; STAMP_BYTES];
        record[..8].copy_from_slice(&boottime_ns().to_ne_bytes());
        record[8..].copy_from_slice(&pages.to_ne_bytes());
        stamp.write_all_at(&record, 0)?;
        memory[first] = 1;
        black_box(&mut memory);
        pages += 1;
    }
    say(&json!({ "event": "done", "pages": pages }))?;
    until_stdin_closes()
}

/// Starts a process like this one but for the argument, says how it ended, and lives on.
fn parent(without: &str, event: &str) -> Result<()> {
    let args = std::env::args_os().skip(1).filter(|arg| arg != without);
    let mut child = Command::new("/proc/self/exe").args(args).spawn().context("cannot start a child")?;
    let status = child.wait().context("cannot wait for the child")?;
    say(&json!({ "event": event, "signal": status.signal(), "code": status.code() }))?;
    until_stdin_closes()
}

fn until_stdin_closes() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink()).context("cannot read stdin")?;
    Ok(())
}

fn say_who(role: &str) -> Result<()> {
    // /proc is of the host's pid namespace, so this is the host's number of this process.
    let pid = fs::read_link("/proc/self").context("cannot read /proc/self")?;
    let pid: u32 = pid.to_string_lossy().parse().context("/proc/self is no number")?;
    let mut status = String::new();
    File::open("/proc/self/status")?.read_to_string(&mut status)?;
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    say(&json!({
        "event": "ready",
        "role": role,
        "pid": pid,
        "container_pid": std::process::id(),
        "anon_bytes": kib("RssAnon:").unwrap_or(0) * 1024,
    }))
}

fn say(line: &serde_json::Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
