//! `scenario victim`: a process of a container, as a test wants it. The other side is `actor`.
//!
//! It joins its cgroup before it touches any memory, prints its ids, waits for `go`, and then runs its workload (`workload`):
//! most touch page after page. It ends when its stdin closes, so also when the process that started it is gone.

mod allocations;
mod kernel_memory;
mod node_load;
mod node_memory;
pub mod workload;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::json;

use self::workload::{Done, Stamps};

/// Bytes of a stamp: nanoseconds of `CLOCK_BOOTTIME`, and pages touched by then.
pub const STAMP_BYTES: usize = 16;
/// What a container's first process has behind the name of its child.
pub const FIRST: &[u8] = b"-1st";

#[derive(Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// Join the cgroup in this directory
    #[arg(long, value_name = "DIR")]
    cgroup: PathBuf,
    /// Go by this name
    #[arg(long)]
    comm: OsString,
    /// How much to touch
    #[arg(long, value_name = "MIB")]
    pub mib: usize,
    /// Ask the OOM killer for more or less attention
    #[arg(long, value_name = "ADJ", allow_hyphen_values = true)]
    oom_score_adj: Option<i16>,
    /// Stay outside, start a process like this with a pid namespace of its own, as a container has it, and tell its end
    #[arg(long)]
    outside: bool,
    /// But with this pid namespace
    #[arg(long)]
    host_pids: bool,
    /// Be the first process of the container, and run the workload in a child
    #[arg(long)]
    child: bool,
    /// And, once the child has ended and it is told to, end with this code
    #[arg(long, value_name = "CODE")]
    then_exit: Option<i32>,
    /// Write the time of each touch to this file
    #[arg(long, value_name = "FILE")]
    stamp: PathBuf,
    /// Begin at once and say nothing: what is killed that early says nothing either
    #[arg(long)]
    at_once: bool,
    /// Touch nothing but write this limit to this file
    #[arg(long, value_name = "FILE=VALUE")]
    pub write: Option<String>,
    /// Touch nothing but kill this process
    #[arg(long, value_name = "PID")]
    pub kill: Option<i32>,
    /// Touch nothing but write so much to this file
    #[arg(long, value_name = "FILE")]
    pub fill: Option<PathBuf>,
    /// Touch nothing but read so much of this file
    #[arg(long, value_name = "FILE")]
    pub read: Option<PathBuf>,
    /// Touch with so many threads besides the first
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub threads: usize,
    /// End the first thread, and touch with another one
    #[arg(long)]
    headless: bool,
    /// Fork so many processes that do nothing
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    forks: usize,
    /// Fork so many children, one after the other, each of which touches until it is killed
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub loses: usize,
    /// And tell after each so many of them
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub tells_each: usize,
    /// Run on one CPU only, the same for all such
    #[arg(long)]
    share_cpu: bool,
    /// And only while the CPU is idle otherwise
    #[arg(long)]
    idle: bool,
    /// And before all others, once the workload is done
    #[arg(long, conflicts_with = "idle")]
    urgent: bool,
    /// Take memory of this NUMA node only
    #[arg(long, value_name = "NODE")]
    pub bind: Option<u32>,
    /// Be the load of a busy node for so long
    #[arg(long, value_name = "SECONDS")]
    pub busy: Option<u64>,
    #[command(flatten)]
    pub node_memory: node_memory::Args,
    #[command(flatten)]
    pub allocations: allocations::Args,
    #[command(flatten)]
    pub kernel_memory: kernel_memory::Args,
    /// Touch each page with bytes that do not compress
    #[arg(long)]
    pub random: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.outside {
        if !args.host_pids {
            // SAFETY: a new pid namespace changes nothing for this process but the pids of its children to come; file
            // descriptors, memory and threads, of which it has one, stay as they are.
            unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("cannot make a pid namespace")?;
        }
        return parent("--outside", "ended", args.at_once, None);
    }
    let comm = if args.child {
        [args.comm.as_os_str(), OsStr::from_bytes(FIRST)].join(OsStr::new(""))
    } else {
        args.comm.clone()
    };
    if std::process::id() == 1 {
        // As every container has it.
        // SAFETY: mounts of its own change nothing else for this process, which has one thread.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("cannot make a mount namespace")?;
    }
    fs::write("/proc/self/comm", comm.as_bytes()).context("cannot change this process's name")?;
    if !args.child
        && let Some(adj) = args.oom_score_adj
    {
        fs::write("/proc/self/oom_score_adj", adj.to_string()).context("cannot set oom_score_adj")?;
    }
    join(&args.cgroup)?;
    if args.child {
        say_who("first")?;
        return parent("--child", "child_ended", false, args.then_exit);
    }
    if args.share_cpu {
        workload::share_a_cpu()?;
    }
    workload::fork_idle(args.forks)?;
    let stamps = Stamps::open(&args.stamp)?;
    if args.headless {
        let args = args.clone();
        return workload::without_first_thread(move || live(&args, &stamps));
    }
    live(args, &stamps)
}

/// Joins the cgroup in this directory.
pub fn join(cgroup: &Path) -> Result<()> {
    // 0 is the writer itself, in whatever pid namespace it is.
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("cannot join {}", cgroup.display()))
}

fn live(args: &Args, stamps: &Stamps) -> Result<()> {
    // Zeroed memory of this size comes from the kernel as it is needed: nothing of it is touched yet.
    let mut memory = vec![0_u8; if args.fill.is_none() && args.read.is_none() { args.mib << 20 } else { 0 }];
    if !args.at_once {
        say_who("victim")?;
        let mut go = String::new();
        io::stdin().lock().read_line(&mut go)?;
        if go.trim_end() != "go" {
            return Ok(());
        }
    }
    for lost in 1..=args.loses {
        workload::lose_a_child(&mut memory)?;
        if lost % args.tells_each == 0 {
            say(&json!({ "event": "lost", "children": lost }))?;
        }
    }
    if args.loses > 0 {
        memory.clear();
    }
    let Done { kept: _kept, failed } = workload::run(args, &mut memory, stamps)?;
    if args.idle {
        workload::set_policy(libc::SCHED_IDLE, 0)?;
    }
    if args.urgent {
        workload::set_policy(libc::SCHED_FIFO, 1)?;
    }
    say(&json!({ "event": "done", "failed": failed }))?;
    until_stdin_closes()
}

/// Starts a process like this one but for the argument, says how it ended, and lives on.
fn parent(without: &str, event: &str, tell: bool, then_exit: Option<i32>) -> Result<()> {
    let args = std::env::args_os().skip(1).filter(|arg| arg != without);
    let mut child = Command::new("/proc/self/exe").args(args).spawn().context("cannot start a child")?;
    if tell {
        // The child is dead before it could report its memory; this is the same program, at the same point.
        let anon_bytes = resident_anon_bytes("/proc/self/status")?;
        say(&json!({ "event": "spawned", "pid": child.id(), "anon_bytes": anon_bytes }))?;
    }
    let status = child.wait().context("cannot wait for the child")?;
    let core_dumped = status.core_dumped();
    say(
        &json!({ "event": event, "signal": status.signal(), "code": status.code(), "core_dumped": core_dumped }),
    )?;
    if let Some(code) = then_exit {
        let mut go = String::new();
        if io::stdin().lock().read_line(&mut go)? > 0 {
            std::process::exit(code);
        }
    }
    until_stdin_closes()
}

fn until_stdin_closes() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink()).context("cannot read stdin")?;
    Ok(())
}

fn say_who(role: &str) -> Result<()> {
    // /proc is of the host's pid namespace, so these are the host's numbers: `<pid>/task/<tid>`.
    let thread = fs::read_link("/proc/thread-self").context("cannot read /proc/thread-self")?;
    let thread = thread.to_string_lossy();
    let (pid, tid) = thread.split_once("/task/").context("/proc/thread-self names no thread")?;
    let [pid, tid] = [pid, tid].map(|number| number.parse::<u32>().ok());
    say(&json!({
        "event": "ready",
        "role": role,
        "pid": pid,
        "tid": tid,
        "container_pid": std::process::id(),
        // Not /proc/self, which is the first thread's: that may have ended.
        "anon_bytes": resident_anon_bytes("/proc/thread-self/status")?,
    }))
}

/// By the file `status` of a process.
fn resident_anon_bytes(status: &str) -> Result<u64> {
    let status = fs::read(status).with_context(|| format!("cannot read {status}"))?;
    // The name in it may be any bytes.
    let status = String::from_utf8_lossy(&status);
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next());
    Ok(kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024)
}

pub fn say(line: &serde_json::Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
