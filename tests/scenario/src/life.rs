//! `scenario life`: the program of a container, which ends as a scenario wants it.
//!
//! It says its process id as it has it itself, waits for a line on its stdin if it is told to, and then ends. It writes nothing else
//! to stdout than lines of JSON, which are the runtime's too.

mod faults;
mod processes;

use std::io::{self, BufRead as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use serde_json::json;

use crate::victim::say;
use crashtrace_test_support::clock::boottime_ns;

#[derive(clap::Args)]
pub struct Args {
    /// Go by this name
    #[arg(long)]
    comm: String,
    /// Wait for `go` on stdin before the end; another line, or none, ends it with 0
    #[arg(long)]
    waits: bool,
    #[command(subcommand)]
    end: End,
}

/// How it ends.
#[derive(clap::Subcommand)]
enum End {
    /// By `exit`
    Exit {
        code: i32,
        /// At this time of `CLOCK_BOOTTIME`
        #[arg(long, value_name = "NS", default_value_t = 0)]
        at_ns: u64,
    },
    /// It writes to a null pointer
    NullPointer,
    /// It reads a page of a mapped file that is not there any more
    TruncatedFile,
    /// It writes to a mapped file of a tmpfs that is full
    FullTmpfs,
    /// It writes to a huge page that the node does not have
    NoHugePage,
    /// It aborts
    Abort {
        /// With a core in this folder, if the kernel writes cores to files
        #[arg(long, value_name = "DIR")]
        core: Option<PathBuf>,
    },
    /// It makes a system call that its seccomp filter forbids
    ForbiddenCall,
    /// It uses CPU time up to its limit
    CpuTime { soft: u64, hard: u64 },
    /// By `exit`, on SIGTERM
    OnTerm { code: i32 },
    /// It does not
    Stays,
    /// A child of it kills it
    ByChild,
    /// By `exit` in the last of its threads, whose first has ended
    Threads { count: usize, code: i32 },
    /// By `exit` with the code of its child, as a small init does
    Init { code: i32 },
    /// By `exit`, once the first process of a pid namespace that it has made was ended by a fault
    Nested { code: i32 },
    /// By `exit`, once it has sent this signal
    Sends { pid: i32, signal: i32 },
}

pub fn run(args: &Args) -> Result<()> {
    rename(&args.comm)?;
    if matches!(args.end, End::OnTerm { .. }) {
        // Before it says that it is there: as process 1 of a namespace it has to block it to get it.
        processes::block_term()?;
    }
    say(&json!({ "event": "ready", "pid": std::process::id() }))?;
    if args.waits {
        let mut go = String::new();
        io::stdin().lock().read_line(&mut go).context("cannot read stdin")?;
        if go.trim_end() != "go" {
            return Ok(());
        }
    }
    let code = match &args.end {
        End::Exit { code, at_ns } => {
            std::thread::sleep(Duration::from_nanos(at_ns.saturating_sub(boottime_ns())));
            *code
        }
        End::NullPointer => bail!("{:?}", faults::null_pointer()),
        End::TruncatedFile => bail!("{:?}", faults::truncated_file()),
        End::FullTmpfs => bail!("{:?}", faults::full_tmpfs()),
        End::NoHugePage => bail!("{:?}", faults::no_huge_page()),
        End::Abort { core } => bail!("{:?}", faults::abort(core.as_deref())),
        End::ForbiddenCall => bail!("{:?}", faults::forbidden_call()),
        End::CpuTime { soft, hard } => {
            let limit = Rlimit { current: Some(*soft), maximum: Some(*hard) };
            setrlimit(Resource::Cpu, limit).context("cannot limit CPU time")?;
            loop {
                std::hint::spin_loop();
            }
        }
        End::OnTerm { code } => {
            processes::wait_for_term()?;
            *code
        }
        End::Stays => processes::stay(),
        End::ByChild => processes::killed_by_child()?,
        End::Threads { count, code } => return processes::in_the_last_thread(*count, *code),
        End::Init { code } => processes::init(*code)?,
        End::Nested { code } => {
            processes::nested()?;
            *code
        }
        End::Sends { pid, signal } => {
            let pid = Pid::from_raw(*pid).context("no process")?;
            kill_process(pid, Signal::from_named_raw(*signal).context("no signal")?)?;
            0
        }
    };
    std::process::exit(code)
}

/// Gives this process a name, also where there is no /proc.
pub fn rename(comm: &str) -> Result<()> {
    let name = std::ffi::CString::new(comm).context("a name has no NUL in it")?;
    rustix::thread::set_name(&name).context("cannot change this process's name")
}
