//! `scenario runtime`: makes processes of containers as runc does, where there is no runc: a process that ends at once has made the
//! namespaces, and its child joins the cgroup before it executes the container's program.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::life::rename;

/// Its name.
pub const COMM: &str = "runc";

#[derive(clap::Subcommand)]
pub enum Do {
    /// Start a process of a container
    Start {
        /// Have it join the cgroup in this directory
        #[arg(long, value_name = "DIR")]
        cgroup: PathBuf,
        /// Its pid namespace: `new`, `host`, or the file of one
        #[arg(long)]
        pids: PathBuf,
        /// The file of its mount namespace; a new one unless given
        #[arg(long)]
        mounts: Option<PathBuf>,
        /// Write its process id to this file
        #[arg(long, value_name = "FILE")]
        pid_file: PathBuf,
        /// Arguments of this program
        #[arg(last = true)]
        life: Vec<String>,
    },
    /// Send a signal
    Kill { pid: i32, signal: i32 },
}

pub fn run(what: &Do) -> Result<()> {
    rename(COMM)?;
    match what {
        Do::Start { cgroup, pids, mounts, pid_file, life } => {
            start(cgroup, pids, mounts.as_deref(), pid_file, life)
        }
        Do::Kill { pid, signal } => {
            let pid = Pid::from_raw(*pid).context("no process")?;
            Ok(kill_process(pid, Signal::from_named_raw(*signal).context("no signal")?)?)
        }
    }
}

fn start(cgroup: &Path, pids: &Path, mounts: Option<&Path>, pid_file: &Path, life: &[String]) -> Result<()> {
    // In a guest the harness has another one.
    fs::write("/proc/self/oom_score_adj", "0").context("cannot set oom_score_adj")?;
    let procs = cgroup.join("cgroup.procs");
    let mut procs = File::options().write(true).open(&procs).with_context(|| procs.display().to_string())?;
    match pids.to_str() {
        Some("host") => {}
        Some("new") => {
            // SAFETY: it changes nothing for this process but the pids of its children to come.
            unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("cannot make a pid namespace")?;
        }
        _ => enter(pids, LinkNameSpaceType::ProcessID)?,
    }
    match mounts {
        Some(mounts) => enter(mounts, LinkNameSpaceType::Mount)?,
        None => {
            // SAFETY: mounts of its own change nothing else for this process, which has one thread.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("cannot make a mount namespace")?;
        }
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(life);
    // SAFETY: the copy makes one system call, on a file that is open, and with bytes of the program.
    unsafe { command.pre_exec(move || procs.write_all(b"0")) };
    let child = command.spawn().context("cannot start a process of a container")?;
    fs::write(pid_file, child.id().to_string()).context("cannot write the process id")
}

fn enter(namespace: &Path, kind: LinkNameSpaceType) -> Result<()> {
    let file = File::open(namespace).with_context(|| format!("cannot open {}", namespace.display()))?;
    move_into_link_name_space(file.as_fd(), Some(kind)).with_context(|| format!("cannot join {kind:?}"))
}
