//! A process of a scratch container, from the side of the test: starts `scenario victim` and talks to it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cgroup::Cgroup;
use crate::victim::{STAMP_BYTES, boottime_ns};

/// How long a process may take for one step. It is far more than it needs, for guests are emulated.
const STEP: Duration = Duration::from_mins(1);

/// What kind of process it is to be.
#[derive(Clone, Debug)]
pub struct Role {
    comm: String,
    mib: u64,
    child: bool,
    oom_score_adj: i16,
    own_pids: bool,
    write: Option<String>,
}

impl Role {
    /// One that touches this much memory when told to.
    pub fn eats(comm: &str, mib: u64) -> Self {
        Self { comm: comm.to_owned(), mib, child: false, oom_score_adj: 0, own_pids: true, write: None }
    }

    /// The first process of its container, whose child does the touching.
    pub fn through_a_child(self) -> Self {
        Self { child: true, ..self }
    }

    /// With this `oom_score_adj`.
    pub fn adj(self, oom_score_adj: i16) -> Self {
        Self { oom_score_adj, ..self }
    }

    /// Writes a limit, and is in the host's pid namespace, as a runtime is.
    pub fn writes(comm: &str, cgroup: &Cgroup, bytes: u64) -> Self {
        let write = Some(format!("{}={bytes}", cgroup.limit_file().display()));
        Self { own_pids: false, write, ..Self::eats(comm, 0) }
    }
}

/// A running process.
#[derive(Debug)]
pub struct Actor {
    /// Its process id; where it eats through a child, the child's.
    pub pid: u32,
    /// The same in its own pid namespace.
    pub container_pid: u32,
    /// What it goes by.
    pub comm: String,
    /// Its `oom_score_adj`.
    pub oom_score_adj: i16,
    /// What it had before it touched anything.
    pub anon_before: u64,
    /// Between which times it was started, in nanoseconds of `CLOCK_BOOTTIME`.
    pub started_ns: (u64, u64),
    /// Path of its cgroup.
    pub cgroup: String,
    /// The container's first process, where that is another one.
    pub first_pid: Option<u32>,
    /// The first process of its container has ended, and its parent knows.
    reaped: bool,
    stamps: File,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Actor {
    /// Starts it, and waits until it is in its cgroup and ready to eat.
    pub fn start(cgroup: &Cgroup, role: &Role) -> Result<Self> {
        let begun_ns = boottime_ns();
        let stamps = File::from(memfd_create("stamps", MemfdFlags::CLOEXEC).context("cannot make a memfd")?);
        // Written first from here, so that the page is charged here.
        stamps.write_all_at(&[0; STAMP_BYTES], 0).context("cannot write to a memfd")?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.arg("victim").arg("--cgroup").arg(&cgroup.dir).args(["--comm", &role.comm]);
        command.args(["--mib", &role.mib.to_string()]);
        command.args(["--oom-score-adj", &role.oom_score_adj.to_string()]);
        command.arg("--stamp").arg(format!("/proc/{}/fd/{}", std::process::id(), stamps.as_raw_fd()));
        if role.own_pids {
            command.arg("--own-pids");
        }
        if role.child {
            command.arg("--child");
        }
        if let Some(write) = &role.write {
            command.args(["--write", write]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a process of the container")?;
        let stdout = child.stdout.take().context("it has no stdout")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.filter_map(|line| serde_json::from_str(&line).ok()).all(|line| sender.send(line).is_ok())
        });
        let mut actor = Self {
            pid: 0,
            container_pid: 0,
            comm: role.comm.clone(),
            oom_score_adj: role.oom_score_adj,
            anon_before: 0,
            started_ns: (begun_ns, u64::MAX),
            cgroup: cgroup.path.clone(),
            first_pid: None,
            reaped: false,
            stamps,
            stdin: child.stdin.take(),
            child,
            lines,
        };
        if role.child {
            actor.first_pid = Some(number(&actor.event("ready")?, "pid")?);
        }
        let ready = actor.event("ready")?;
        actor.started_ns.1 = boottime_ns();
        actor.pid = number(&ready, "pid")?;
        actor.container_pid = number(&ready, "container_pid")?;
        actor.anon_before = number(&ready, "anon_bytes")?.into();
        Ok(actor)
    }

    /// Tells it to eat (or to write).
    pub fn go(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("it was told to end")?;
        stdin.write_all(b"go\n").context("the process is gone before it was told to go")
    }

    /// Waits until it says this; anything else is an error.
    pub fn event(&mut self, name: &str) -> Result<Value> {
        let what = || format!("{} (pid {}) did not say `{name}`", self.comm, self.pid);
        let line = self.lines.recv_timeout(STEP).with_context(what)?;
        if line["event"] != name {
            bail!("{} but {line}", what());
        }
        Ok(line)
    }

    /// Has it eat all it was to, and waits until it has.
    pub fn eat(&mut self) -> Result<()> {
        self.go()?;
        self.event("done").map(|_| ())
    }

    /// When it touched its last page, in nanoseconds of `CLOCK_BOOTTIME`, and how many bytes of pages it had touched
    /// before. To be asked when it eats no more.
    pub fn last_touch(&self) -> Result<(u64, u64)> {
        let mut record = [0; STAMP_BYTES];
        self.stamps.read_exact_at(&mut record, 0).context("cannot read a memfd")?;
        let (time, pages) = record.split_at(8);
        let [time, pages] = [time, pages].map(|half| u64::from_ne_bytes(half.try_into().unwrap_or_default()));
        Ok((time, pages * rustix::param::page_size() as u64))
    }

    /// Waits until it has ended, which it must by SIGKILL.
    pub fn killed(&mut self) -> Result<()> {
        let ended = self.event(if self.first_pid.is_some() { "child_ended" } else { "ended" })?;
        self.reaped = self.first_pid.is_none();
        if ended["signal"] != 9 {
            bail!("{} (pid {}) was not killed: {ended}", self.comm, self.pid);
        }
        Ok(())
    }

    /// Whether it (the first process of the container, where that is another) is still there.
    pub fn lives(&self) -> bool {
        let pid = self.first_pid.unwrap_or(self.pid);
        // A zombie has no command line.
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may be busy and not hear that it is to end. Once it has been reaped its number may be another's.
        let reaped = self.reaped || self.lines.try_iter().any(|line| line["event"] == "ended");
        let first = Some(self.first_pid.unwrap_or(self.pid)).filter(|pid| *pid > 0 && !reaped);
        if let Some(pid) = first.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.stdin = None;
        while self.lines.recv_timeout(STEP).is_ok() {}
        // These fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(line: &Value, field: &str) -> Result<u32> {
    let number = line[field].as_u64().and_then(|number| u32::try_from(number).ok());
    number.with_context(|| format!("no number `{field}` in {line}"))
}
