//! `scenario shim`: the parent of containers, as containerd-shim is: it runs the runtime's commands, and waits for the containers'
//! processes, which become its children when the runtime's command has ended (`PR_SET_CHILD_SUBREAPER`).
//!
//! It takes one command a line on stdin, and ends when that closes.

use std::fs;
use std::io::BufRead as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{OFlags, fcntl_setfl};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::life::rename;
use crate::victim::{join, say};

/// Its name.
pub const COMM: &str = "containerd-shim";

#[derive(clap::Args)]
pub struct Args {
    /// Join the cgroup in this directory
    #[arg(long, value_name = "DIR")]
    cgroup: PathBuf,
}

/// A command.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Run a program to its end. Its stdin is a FIFO, if one is given.
    Run { program: Vec<String>, stdin: Option<PathBuf> },
    /// Wait for the end of a container's process.
    Wait { pid: i32 },
}

pub fn run(args: &Args) -> Result<()> {
    rename(COMM)?;
    join(&args.cgroup)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become a subreaper")?;
    say(&json!({ "event": "shim", "pid": std::process::id() }))?;
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?).context("no command")? {
            Order::Run { program, stdin } => {
                let (name, args) = program.split_first().context("no program")?;
                let stdin = match stdin {
                    None => Stdio::null(),
                    Some(path) => {
                        // Without this flag it would wait for a writer.
                        let flags = OFlags::NONBLOCK.bits().cast_signed();
                        let file = fs::File::options().read(true).custom_flags(flags).open(&path);
                        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
                        fcntl_setfl(&file, OFlags::empty())?;
                        file.into()
                    }
                };
                let child = Command::new(name).args(args).stdin(stdin).spawn();
                let mut child = child.with_context(|| format!("cannot start {name}"))?;
                let pid = child.id();
                let status = child.wait()?;
                say(&json!({ "event": "ran", "pid": pid, "code": status.code() }))?;
            }
            Order::Wait { pid } => {
                let mut status = 0;
                // SAFETY: `status` outlives the call.
                let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
                ensure!(waited == pid, "cannot wait for {pid}: {}", std::io::Error::last_os_error());
                say(&json!({ "event": "ended", "pid": pid, "status": status }))?;
            }
        }
    }
    Ok(())
}
