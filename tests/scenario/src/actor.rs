//! A process of a scratch container, from the side of the test: starts `scenario victim` and talks to it.

mod role;
mod roles;

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub use self::role::Role;
use self::role::{HOST_PIDS, Thread};
use crate::victim::{FIRST, STAMP_BYTES};
use crashtrace_judge::cast::{End, Process, SLACK};
use crashtrace_test_support::cgroup::Cgroup;
use crashtrace_test_support::clock::boottime_ns;

/// How long a process may take for one step. It is far more than it needs, for guests are emulated.
pub const STEP: Duration = Duration::from_mins(1);

/// A running process.
#[derive(Debug)]
pub struct Actor {
    /// Its process id; where it eats through a child, the child's.
    pub pid: u32,
    /// The same in its own pid namespace.
    pub container_pid: u32,
    /// The thread that touches.
    tid: Option<u32>,
    role: Role,
    /// Its anonymous memory before it touched anything.
    anon_before: u64,
    /// Between which times it was started, in nanoseconds of `CLOCK_BOOTTIME`.
    started_ns: (u64, u64),
    /// Path of its cgroup.
    cgroup: Vec<u8>,
    /// The container's first process, where that is another one.
    pub first_pid: Option<u32>,
    /// The first process of its container has ended, and its parent knows.
    reaped: bool,
    /// It is the first process of a container, or a child of that.
    is_first: bool,
    /// It lived then, before it was told to go.
    before_end_ns: u64,
    end: Option<End>,
    first_end: Option<End>,
    stamps: File,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Actor {
    /// Starts it, and waits until it is in its cgroup and ready to eat.
    pub fn start(cgroup: &Cgroup, role: &Role) -> Result<Self> {
        let begun_ns = boottime_ns();
        // Those in the host's pid namespace share the mounts of their parent, as no container's process does.
        let is_first = cgroup.pids()?.is_empty() && !role.args.iter().any(|arg| arg == HOST_PIDS);
        let stamps = File::from(memfd_create("stamps", MemfdFlags::CLOEXEC).context("cannot make a memfd")?);
        // Written first from here, so that the page is charged here.
        stamps.write_all_at(&[0; STAMP_BYTES], 0).context("cannot write to a memfd")?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.arg("victim").arg("--cgroup").arg(&cgroup.dir);
        command.arg("--comm").arg(OsStr::from_bytes(&role.comm)).args(&role.args);
        command.args(["--oom-score-adj", &role.oom_score_adj.to_string()]);
        command.arg("--stamp").arg(format!("/proc/{}/fd/{}", std::process::id(), stamps.as_raw_fd()));
        let switches = [("--outside", true), ("--child", role.child), ("--at-once", role.at_once)];
        command.args(switches.iter().filter(|(_, on)| *on).map(|(switch, _)| switch));
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
            tid: None,
            role: role.clone(),
            anon_before: 0,
            started_ns: (begun_ns, u64::MAX),
            cgroup: cgroup.path.clone(),
            first_pid: None,
            reaped: false,
            is_first,
            before_end_ns: begun_ns,
            end: None,
            first_end: None,
            stamps,
            stdin: child.stdin.take(),
            child,
            lines,
        };
        if role.at_once {
            let spawned = actor.event("spawned")?;
            actor.pid = number(&spawned, "pid")?;
            actor.anon_before = number(&spawned, "anon_bytes")?.into();
            actor.started_ns.1 = boottime_ns();
            actor.tid = Some(actor.pid);
            // The first process of a new namespace.
            actor.container_pid = 1;
            return Ok(actor);
        }
        if role.child {
            actor.first_pid = Some(number(&actor.event("ready")?, "pid")?);
        }
        let ready = actor.event("ready")?;
        actor.started_ns.1 = boottime_ns();
        actor.pid = number(&ready, "pid")?;
        actor.tid = (!matches!(role.thread, Thread::Any)).then(|| number(&ready, "tid")).transpose()?;
        actor.container_pid = number(&ready, "container_pid")?;
        actor.anon_before = number(&ready, "anon_bytes")?.into();
        Ok(actor)
    }

    /// Tells it to eat (or to write).
    pub fn go(&mut self) -> Result<()> {
        self.before_end_ns = boottime_ns();
        let stdin = self.stdin.as_mut().context("it was told to end")?;
        stdin.write_all(b"go\n").context("the process is gone before it was told to go")
    }

    /// Waits until it says this; anything else is an error.
    pub fn event(&mut self, name: &str) -> Result<Value> {
        let what = || format!("{self} did not say `{name}`");
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
    /// before. To be called when it eats no more.
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
        self.end = self.end_of(&ended);
        if ended["signal"] != 9 {
            bail!("{self} was not killed: {ended}");
        }
        Ok(())
    }

    /// Waits until it is killed (`true`) or has done all that it was to.
    pub fn killed_or_done(&mut self) -> Result<bool> {
        let line = self.lines.recv_timeout(STEP).with_context(|| format!("{self} said nothing"))?;
        self.reaped = line["event"] == "ended";
        self.end = self.end_of(&line).filter(|_| self.reaped);
        ensure!(line["event"] == "done" || line["signal"] == 9, "{self} was not killed: {line}");
        Ok(self.reaped)
    }

    /// Waits for the end of the container's first process, where that is another one.
    pub fn first_ended(&mut self) -> Result<()> {
        let ended = self.event("ended")?;
        self.reaped = true;
        self.first_end = self.end_of(&ended);
        Ok(())
    }

    /// The end that its parent tells.
    fn end_of(&self, ended: &Value) -> Option<End> {
        let number = |field: &str| ended[field].as_u64().and_then(|number| u8::try_from(number).ok());
        let core_dumped = ended["core_dumped"].as_bool()?;
        let at_ns = (self.before_end_ns, boottime_ns());
        Some(End { code: number("code"), signal: number("signal"), core_dumped, at_ns, syscall: None })
    }

    /// Kills it without waiting for its end. It may have ended already.
    pub fn kill(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Waits until the kernel has put it to sleep where no signal but SIGKILL wakes it.
    pub fn hangs(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
            if status.lines().any(|line| line.starts_with("State:") && line.contains('D')) {
                return Ok(());
            }
            ensure!(begun.elapsed() < STEP, "{self} does not hang");
            // The kernel has no event for a process that falls asleep, so this polls.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its part in a report. To be called when it has touched all that it will.
    pub fn part(&self, owner: &Value) -> Result<Process> {
        let (_, touched) = self.last_touch()?;
        let touched = if self.role.anonymous { touched } else { 0 };
        Ok(Process {
            pid: self.pid,
            tid: self.tid,
            container_pid: self.container_pid,
            comm: self.role.comm.clone(),
            thread_comm: self.role.thread_comm(),
            adj: self.role.oom_score_adj,
            started_ns: self.started_ns,
            anon: (touched.saturating_sub(SLACK), touched + self.anon_before + SLACK),
            path: self.cgroup.clone(),
            owner: owner.clone(),
            is_first: self.is_first && !self.role.child && owner["kind"] == "container",
            end: self.end,
        })
    }

    /// The part of the container's first process, where that is another one.
    pub fn first_part(&self, owner: &Value) -> Result<Process> {
        let pid = self.first_pid.context("it is the first process itself")?;
        let comm: Vec<u8> = [&self.role.comm, FIRST].concat();
        let (is_first, end) = (self.is_first, self.first_end);
        let thread_comm = Some(comm.clone());
        Ok(Process {
            pid,
            tid: Some(pid),
            container_pid: 1,
            comm,
            thread_comm,
            adj: 0,
            is_first,
            end,
            ..self.part(owner)?
        })
    }

    /// The part of a process that it has forked.
    pub fn fork_part(&self, pid: u32, owner: &Value) -> Result<Process> {
        Ok(Process { pid, tid: Some(pid), container_pid: pid, is_first: false, ..self.part(owner)? })
    }

    /// Whether it (the first process of the container, where that is another) is still there.
    pub fn lives(&self) -> bool {
        let pid = self.first_pid.unwrap_or(self.pid);
        // A zombie has no command line.
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    }
}

impl Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", String::from_utf8_lossy(&self.role.comm), self.pid)
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

/// A number of a line.
pub fn number(line: &Value, field: &str) -> Result<u32> {
    let number = line[field].as_u64().and_then(|number| u32::try_from(number).ok());
    number.with_context(|| format!("no number `{field}` in {line}"))
}
