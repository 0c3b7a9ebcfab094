//! A tool under measurement: its process, in a cgroup of its own, and its lines with the time at which each was read.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use crashtrace_test_support::cgroup::{Hierarchy, remove};
use crashtrace_test_support::clock::boottime_ns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::lines::{Form, Told};

/// How long a tool may take until it watches.
const START: Duration = Duration::from_mins(5);
/// Where its messages go.
const MESSAGES: &str = "/tmp/bench-tool.log";

/// A tool to be started, and how its output is read.
pub struct Spec<'a> {
    pub command: &'a [OsString],
    pub preload: Option<&'a OsStr>,
    pub ready: &'a str,
    pub ready_in_kernel_log: bool,
    pub form: Form,
    pub hierarchy: Hierarchy,
}

/// A line of it.
pub struct Line {
    /// In nanoseconds of `CLOCK_BOOTTIME`.
    pub read_ns: u64,
    pub text: String,
}

/// A tool that was killed.
pub struct Ended {
    told: Told,
    ready: String,
}

/// A running tool.
pub struct Tool {
    child: Child,
    stdout: ChildStdout,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
    form: Form,
    /// What the line has that says that it watches.
    ready: String,
    pub cgroup: PathBuf,
    pub told: Told,
    /// From right before its process was made until the line was read that says that it watches.
    pub start_ns: u64,
}

impl Tool {
    /// Starts it, and waits until it watches.
    pub fn start(spec: &Spec<'_>) -> Result<Self> {
        // In the log are the marks of sessions before.
        let ready = if spec.ready_in_kernel_log {
            let mark = format!("{} {}", spec.ready, boottime_ns());
            fs::write("/dev/kmsg", &mark).context("cannot write to the kernel log")?;
            mark
        } else {
            spec.ready.to_owned()
        };
        Self::start_after(spec, ready)
    }

    /// Starts the tool of an earlier session again. One that reads the kernel log reads on from that session's mark.
    pub fn start_again(spec: &Spec<'_>, before: Ended) -> Result<Self> {
        let mut tool = Self::start_after(spec, before.ready)?;
        tool.told.absorb(before.told);
        Ok(tool)
    }

    fn start_after(spec: &Spec<'_>, ready: String) -> Result<Self> {
        let cgroup = spec.hierarchy.mount.join("tool.slice");
        remove(&cgroup)?;
        spec.hierarchy.create(&cgroup)?;
        let procs = File::options().write(true).open(cgroup.join("cgroup.procs"));
        let procs = procs.context("cannot open cgroup.procs")?;
        let (program, args) = spec.command.split_first().context("no tool is given")?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(MESSAGES).context("cannot write the tool's messages")?);
        if let Some(library) = spec.preload {
            // As coreutils' stdbuf has it.
            command.env("LD_PRELOAD", library).env("_STDBUF_O", "L");
        }
        // SAFETY: between fork and exec it makes one system call on a descriptor that is open in the child too.
        unsafe {
            command.pre_exec(move || {
                let written = libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1);
                if written == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
            });
        }
        let begun_ns = boottime_ns();
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("it has no stdout")?;
        let (form, told, rest) = (spec.form.clone(), Told::default(), Vec::new());
        let mut tool = Self { child, stdout, rest, form, ready, cgroup, told, start_ns: 0 };
        while tool.start_ns == 0 {
            let lines = tool.read(START)?;
            ensure!(!lines.is_empty(), "{} said nothing for {START:?}", program.display());
            let mut lines = lines.iter().skip_while(|line| !line.text.contains(&tool.ready));
            if let Some(line) = lines.next() {
                tool.start_ns = line.read_ns - begun_ns;
            }
            lines.for_each(|line| drop(tool.told.take(&tool.form, &line.text)));
        }
        Ok(tool)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads what is there, waiting for it; no lines if there are none within this time. Half a line is waited for.
    pub fn read(&mut self, patience: Duration) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        while lines.is_empty() && self.is_readable(patience)? {
            let mut bytes = [0; 16 << 10];
            let count = self.stdout.read(&mut bytes).context("cannot read the tool's lines")?;
            let read_ns = boottime_ns();
            if count == 0 {
                let said = fs::read_to_string(MESSAGES).unwrap_or_default();
                bail!("the tool ended: {said}");
            }
            self.rest.extend_from_slice(&bytes[..count]);
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line[..end]).into_owned();
                lines.push(Line { read_ns, text });
            }
        }
        Ok(lines)
    }

    /// The same, with what the lines tell added up.
    pub fn take(&mut self, patience: Duration) -> Result<usize> {
        let lines = self.read(patience)?;
        for line in &lines {
            self.told.take(&self.form, &line.text);
        }
        Ok(lines.len())
    }

    fn is_readable(&self, patience: Duration) -> Result<bool> {
        let patience =
            Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.stdout, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&patience)).context("cannot wait for the tool's lines")? > 0)
    }

    /// CPU time of all its threads, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64> {
        cpu_ns(self.pid())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("it has a number")?;
        kill_process(pid, signal).context("cannot signal the tool")
    }

    /// Ends it as systemd and Kubernetes do, and gives the time until it is gone, in nanoseconds.
    pub fn stop(mut self) -> Result<u64> {
        let begun_ns = boottime_ns();
        self.signal(Signal::TERM)?;
        self.gone(begun_ns)
    }

    /// Kills it; what it has written is read and counted.
    pub fn kill(mut self) -> Result<Ended> {
        self.signal(Signal::KILL)?;
        let mut written = Vec::new();
        self.stdout.read_to_end(&mut written).context("cannot read the tool's lines")?;
        self.rest.extend_from_slice(&written);
        for line in String::from_utf8_lossy(&self.rest).lines() {
            self.told.take(&self.form, line);
        }
        self.child.wait().context("cannot wait for the tool")?;
        Ok(Ended { told: self.told, ready: self.ready })
    }

    fn gone(&mut self, begun_ns: u64) -> Result<u64> {
        // Its last lines: a full pipe would keep it.
        io::copy(&mut self.stdout, &mut io::sink()).context("cannot read the tool's lines")?;
        self.child.wait().context("cannot wait for the tool")?;
        let took_ns = boottime_ns() - begun_ns;
        remove(&self.cgroup)?;
        Ok(took_ns)
    }
}

/// CPU time of all threads of a process, those that have ended too, in nanoseconds.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    // `CPUCLOCK_SCHED` of a process (`include/linux/posix-timers.h`): what the scheduler has counted, not ticks.
    let clock = (!pid.cast_signed()) << 3 | 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is a local variable.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    ensure!(result == 0, "cannot read its CPU time: {}", io::Error::last_os_error());
    Ok(u64::try_from(time.tv_sec)? * 1_000_000_000 + u64::try_from(time.tv_nsec)?)
}

/// A number in a file of the tool's cgroup.
pub fn number(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.trim().parse().with_context(|| format!("{} has no number", file.display()))
}
