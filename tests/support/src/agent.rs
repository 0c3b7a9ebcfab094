//! A running `crashtrace watch`: its lines with the time at which each was read, and how it ended.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cleanup;
use crate::clock::{boottime_ns, wall_ahead_ns};

/// How long it may take to begin: an emulated kernel's verifier is slow.
const START: Duration = Duration::from_mins(3);
/// How long it may take to end.
const STOP: Duration = Duration::from_mins(1);

/// The form of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Json,
    Text,
}

/// A line of the stream.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read, in nanoseconds of `CLOCK_BOOTTIME`.
    pub read_ns: u64,
    /// By how much the wall clock was then ahead of that clock, in nanoseconds.
    pub wall_ahead_ns: i64,
    /// Its length, with its newline.
    pub bytes: usize,
    /// It; of a text one a string.
    pub value: Value,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    /// The hooks that it was told to use, or another name for it in messages.
    pub hooks: String,
    /// Its first line.
    pub started: Value,
    /// How long it took to begin.
    pub start: Duration,
    /// All lines since.
    pub lines: Vec<Line>,
    output: Output,
    spawned_ns: u64,
    child: Child,
    incoming: Receiver<Result<Line>>,
    stderr: Option<JoinHandle<String>>,
    log: String,
}

impl Agent {
    /// Starts one without waiting for it: several of them can begin at the same time.
    pub fn spawn(crashtrace: &Path, hooks: &str, output: Output) -> Result<Self> {
        Self::spawn_with(crashtrace, hooks, output, &[])
    }

    /// The same with more arguments.
    pub fn spawn_with(crashtrace: &Path, hooks: &str, output: Output, more: &[&OsStr]) -> Result<Self> {
        let mut command = Command::new(crashtrace);
        let form = if output == Output::Json { "json" } else { "text" };
        command.args(["watch", "--output", form, "--hooks", hooks]).args(more);
        Self::spawn_command(command, hooks, output)
    }

    /// Starts one by a command whose output is that of `watch`. Messages call it `name`.
    pub fn spawn_command(mut command: Command, name: &str, output: Output) -> Result<Self> {
        let spawned_ns = boottime_ns();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut known = cleanup::lock()?;
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        known.processes.push(child.id());
        drop(known);
        let stdout = child.stdout.take().context("it has no stdout")?;
        let mut stderr = child.stderr.take().context("it has no stderr")?;
        let (sender, incoming) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let (read_ns, wall_ahead_ns) = (boottime_ns(), wall_ahead_ns());
                let line = line.map_err(anyhow::Error::from).and_then(|line| {
                    let bytes = line.len() + 1;
                    let value = match output {
                        Output::Json => {
                            serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?
                        }
                        Output::Text => Value::String(line),
                    };
                    Ok(Line { read_ns, wall_ahead_ns, bytes, value })
                });
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text); // The text read until then is enough for a message.
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self {
            hooks: name.to_owned(),
            output,
            started: Value::Null,
            start: Duration::ZERO,
            spawned_ns,
            lines: Vec::new(),
            child,
            incoming,
            stderr: Some(stderr),
            log: String::new(),
        })
    }

    /// Waits until it watches.
    pub fn wait_started(&mut self) -> Result<()> {
        let line = match self.incoming.recv_timeout(START) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Timeout) => bail!("the agent ({}) said nothing for {START:?}", self.hooks),
            Err(RecvTimeoutError::Disconnected) => {
                let (status, complaints) = self.ended()?;
                bail!("the agent ({}) ended at once, {status}: {complaints}", self.hooks);
            }
        };
        if self.output == Output::Json && line.value["kind"] != "agent_started" {
            bail!("the agent ({}) began with {}", self.hooks, line.value);
        }
        self.start = Duration::from_nanos(line.read_ns.saturating_sub(self.spawned_ns));
        self.started = line.value;
        Ok(())
    }

    /// Reads on until `enough` of its lines or the deadline; in either case `lines` has those that came.
    pub fn read_until(&mut self, deadline: Instant, enough: impl Fn(&[Line]) -> bool) -> Result<()> {
        while !enough(&self.lines) {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.take(line?),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    let (status, complaints) = self.ended()?;
                    bail!("the agent ({}) ended by itself, {status}: {complaints}", self.hooks);
                }
            }
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes a line, in place of the earlier revision of it if there is one.
    fn take(&mut self, line: Line) {
        let revises = |other: &&mut Line| {
            line.value["revision"].as_u64() > Some(1) && other.value["id"] == line.value["id"]
        };
        match self.lines.iter_mut().find(revises) {
            Some(earlier) => {
                earlier.value = line.value;
                earlier.wall_ahead_ns = line.wall_ahead_ns;
            }
            None => self.lines.push(line),
        }
    }

    /// Stops it as a service manager would, and takes the rest of its lines; an error if it did not end well.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM);
        self.forget();
        let deadline = Instant::now() + STOP;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.take(line?),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("the agent ({}) does not end on SIGTERM", self.hooks),
            }
        }
        let (status, complaints) = self.ended()?;
        let last = self.lines.last().map_or(&Value::Null, |line| &line.value);
        let said = last["kind"] == "agent_stopping" && last["reason"] == "signal";
        if !status.success() || (self.output == Output::Json && !said) {
            bail!("the agent ({}) ended with {status} and {last}: {complaints}", self.hooks);
        }
        Ok(())
    }

    /// Its exit status, and its stderr.
    fn ended(&mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait().context("cannot wait for the agent")?;
        if let Some(text) = self.stderr.take().and_then(|thread| thread.join().ok()) {
            text.trim_end().clone_into(&mut self.log);
        }
        Ok((status, self.log.clone()))
    }

    /// Its stderr. Empty until it has ended.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Waits until it has ended without a line, and gives its exit code.
    pub fn ended_at_once(&mut self) -> Result<Option<i32>> {
        match self.incoming.recv_timeout(START) {
            Ok(line) => bail!("the agent ({}) began with {}", self.hooks, line?.value),
            Err(RecvTimeoutError::Timeout) => bail!("the agent ({}) does not end", self.hooks),
            Err(RecvTimeoutError::Disconnected) => Ok(self.ended()?.0.code()),
        }
    }

    /// Waits until it has ended, after it was killed.
    pub fn killed(&mut self) -> Result<()> {
        self.forget();
        let deadline = Instant::now() + STOP;
        while self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        ensure!(Instant::now() < deadline, "the agent ({}) does not end on SIGKILL", self.hooks);
        // As a shell and runc have it, 128 and the signal's number.
        let (status, complaints) = self.ended()?;
        ensure!(status.code() == Some(137), "the agent ({}) ended with {status}: {complaints}", self.hooks);
        Ok(())
    }

    /// Kills it with no time for anything, and takes the lines that it has written.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL);
        self.forget();
        let deadline = Instant::now() + STOP;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Ok(line)) => self.take(line),
                // A line that it was writing is cut off.
                Ok(Err(_)) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("the agent ({}) does not end on SIGKILL", self.hooks),
            }
        }
        let (status, complaints) = self.ended()?;
        ensure!(status.signal() == Some(9), "the agent ({}) ended with {status}: {complaints}", self.hooks);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended, and then waiting for it says how.
            let _ = kill_process(pid, signal);
        }
    }

    /// From here on no signal handler need see to its end.
    fn forget(&self) {
        if let Ok(mut known) = cleanup::lock() {
            known.processes.retain(|pid| *pid != self.child.id());
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.forget();
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
