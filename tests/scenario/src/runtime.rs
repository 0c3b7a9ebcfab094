//! A container runtime: containers whose first process is a child of a shim, in the cgroups that kubelet would name.
//!
//! runc makes them where the scenario wants that and the guest has it, else this program in its place (`stand_in`). The shim is this
//! program too (`shim`), so what `wait` says of each process is known.

pub mod shim;
pub mod stand_in;

mod bundle;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FileType, Mode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use self::shim::Order;
use crate::actor::{STEP, number};
use crate::scenarios::Stage;
use crate::scratch::{Container, Scratch};
use crashtrace_judge::cast::{End, Place, Process};
use crashtrace_test_support::cgroup::Cgroup;
use crashtrace_test_support::clock::boottime_ns;

/// The pid namespace of a container.
#[derive(Clone, Copy, Debug)]
pub enum Pids {
    New,
    Host,
    /// That of this process.
    Of(u32),
}

/// A container's program, and its end.
#[derive(Clone, Debug)]
pub struct Life {
    comm: &'static str,
    pids: Pids,
    args: Vec<String>,
}

impl Life {
    /// `words` are a command of `scenario life`.
    pub fn new(words: &[&str]) -> Self {
        Self { comm: "app", pids: Pids::New, args: words.iter().map(|&word| word.to_owned()).collect() }
    }

    pub fn named(self, comm: &'static str) -> Self {
        Self { comm, ..self }
    }

    pub fn in_pids(self, pids: Pids) -> Self {
        Self { pids, ..self }
    }

    /// The arguments of this program for it.
    fn command(&self, waits: bool) -> Vec<String> {
        let waits = waits.then_some("--waits");
        let first = ["life", "--comm", self.comm].into_iter().chain(waits).map(str::to_owned);
        first.chain(self.args.iter().cloned()).collect()
    }
}

/// The runtime of a scenario.
pub struct Runtime {
    /// Programs of containers are runc's.
    runc: bool,
    dir: TempDir,
    /// Of the service whose processes the shim and the runtime's commands are.
    service: Place,
    shim: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// What was said by another process than the one that was waited for.
    heard: Vec<Value>,
    /// Ids of runc's containers, and their cgroups.
    containers: Vec<(String, Cgroup)>,
    /// Processes that were not waited for.
    alive: Vec<u32>,
}

/// A process of a container.
#[derive(Debug)]
pub struct Running {
    pub pid: u32,
    container_pid: u32,
    comm: &'static str,
    is_first: bool,
    started_ns: (u64, u64),
    container: Container,
    /// runc's name for the container.
    id: String,
    go: Option<File>,
    /// It was not yet at its end then.
    before_end_ns: u64,
    syscall: Option<i32>,
    end: Option<End>,
}

impl Runtime {
    pub fn start(stage: &Stage<'_>, scratch: &Scratch) -> Result<Self> {
        let service = scratch.host("containerd.service")?;
        let mut shim = Command::new("/proc/self/exe")
            .arg("shim")
            .arg("--cgroup")
            .arg(&service.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a shim")?;
        let stdout = shim.stdout.take().context("it has no stdout")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.filter_map(|line| serde_json::from_str(&line).ok()).all(|line| sender.send(line).is_ok())
        });
        let runc = stage.runc && bundle::prepare()?;
        let mut runtime = Self {
            runc,
            dir: tempfile::tempdir().context("cannot make a folder")?,
            service: scratch.service_place(&service),
            stdin: shim.stdin.take(),
            shim,
            lines,
            heard: Vec::new(),
            containers: Vec::new(),
            alive: Vec::new(),
        };
        runtime.event("shim")?;
        Ok(runtime)
    }

    /// Starts a container's first process, which then waits to be told to go.
    pub fn create(&mut self, container: &Container, life: &Life) -> Result<Running> {
        let id = container.id().to_owned();
        let fifo = self.dir.path().join(format!("{id}.stdin"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RWXU, 0)
            .context("cannot make a FIFO")?;
        // Opened for reading too, so that it need not wait for a reader.
        let go = File::options().read(true).write(true).open(&fifo).context("cannot open a FIFO")?;
        let pid_file = self.dir.path().join(format!("{id}.pid"));
        let program = if self.runc {
            let bundle = self.dir.path().join(&id);
            bundle::write(&bundle, &container.cgroup, life.pids, &life.command(true))?;
            self.containers.push((id.clone(), container.cgroup.clone()));
            words(
                &["runc", "run", "--no-pivot", "--detach", "--bundle"],
                &[&bundle],
                &["--pid-file"],
                &[&pid_file],
                &[&id],
            )
        } else {
            stand_in(container, life, None, &pid_file)
        };
        let running = self.run(program, Some(fifo), &pid_file, container, id, life)?;
        Ok(Running { go: Some(go), is_first: true, ..running })
    }

    /// Starts another process in a container, as `kubectl exec` and a probe do. It waits for nothing.
    pub fn exec(&mut self, of: &Running, life: &Life) -> Result<Running> {
        let (container, id) = (of.container.clone(), of.id.clone());
        let pid_file = self.dir.path().join("exec.pid");
        let program = if self.runc {
            let command: Vec<_> =
                [bundle::PROGRAM.to_owned()].into_iter().chain(life.command(false)).collect();
            let mut words =
                words(&["runc", "exec", "--detach", "--pid-file"], &[&pid_file], &[&id], &[], &[]);
            words.extend(command);
            words
        } else {
            stand_in(&container, &life.clone().in_pids(Pids::Of(of.pid)), Some(of.pid), &pid_file)
        };
        self.run(program, None, &pid_file, &container, id, life)
    }

    fn run(
        &mut self,
        program: Vec<String>,
        stdin: Option<PathBuf>,
        pid_file: &Path,
        container: &Container,
        id: String,
        life: &Life,
    ) -> Result<Running> {
        let begun_ns = boottime_ns();
        let what = program.join(" ");
        self.order(&Order::Run { program, stdin })?;
        let ran = self.event("ran")?;
        ensure!(ran["code"] == 0, "{what}: {ran}");
        let pid = fs::read_to_string(pid_file).with_context(|| what.clone())?;
        let pid: u32 = pid.trim().parse().context("the runtime wrote no process id")?;
        self.alive.push(pid);
        let ready = self.event("ready").context(what)?;
        let ready_ns = boottime_ns();
        Ok(Running {
            pid,
            container_pid: number(&ready, "pid")?,
            comm: life.comm,
            is_first: false,
            started_ns: (begun_ns, ready_ns),
            container: container.clone(),
            id,
            go: None,
            // It may have gone on before it was heard.
            before_end_ns: begun_ns,
            syscall: None,
            end: None,
        })
    }

    /// Has the runtime send a signal, and gives the process that sent it.
    pub fn signal(&mut self, to: &Running, signal: Signal) -> Result<Process> {
        let signal = signal.as_raw().to_string();
        let program = if self.runc {
            words(&["runc", "kill"], &[], &[&to.id, &signal], &[], &[])
        } else {
            let program = ["/proc/self/exe", "runtime", "kill", &to.pid.to_string(), &signal];
            program.map(str::to_owned).to_vec()
        };
        let begun_ns = boottime_ns();
        self.order(&Order::Run { program, stdin: None })?;
        let ran = self.event("ran")?;
        ensure!(ran["code"] == 0, "the runtime could not send a signal: {ran}");
        let pid = number(&ran, "pid")?;
        Ok(Process {
            pid,
            // runc has several threads.
            tid: (!self.runc).then_some(pid),
            container_pid: pid,
            comm: stand_in::COMM.into(),
            thread_comm: None,
            adj: 0,
            started_ns: (begun_ns, boottime_ns()),
            anon: (0, u64::MAX),
            path: self.service.path.clone(),
            owner: self.service.owner.clone(),
            is_first: false,
            end: None,
        })
    }

    /// Waits for the end of a process.
    pub fn wait(&mut self, running: &mut Running) -> Result<()> {
        let pid = i32::try_from(running.pid)?;
        self.order(&Order::Wait { pid })?;
        let ended = self.event("ended")?;
        self.alive.retain(|alive| *alive != running.pid);
        let status =
            ended["status"].as_i64().and_then(|status| i32::try_from(status).ok()).context("no status")?;
        let exited = libc::WIFEXITED(status);
        let code = exited.then(|| u8::try_from(libc::WEXITSTATUS(status))).transpose()?;
        let signal = (!exited).then(|| u8::try_from(libc::WTERMSIG(status))).transpose()?;
        running.syscall = self
            .heard
            .iter()
            .find(|line| line["event"] == "syscall")
            .and_then(|line| line["number"].as_i64().and_then(|number| i32::try_from(number).ok()));
        running.end = Some(End {
            code,
            signal,
            core_dumped: libc::WCOREDUMP(status),
            at_ns: (running.before_end_ns, boottime_ns()),
            syscall: running.syscall,
        });
        Ok(())
    }

    fn order(&mut self, order: &Order) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the shim was told to end")?;
        writeln!(stdin, "{}", serde_json::to_string(order)?).context("the shim has ended")
    }

    /// Waits until one of the processes says this.
    pub fn event(&mut self, name: &str) -> Result<Value> {
        if let Some(index) = self.heard.iter().position(|line| line["event"] == name) {
            return Ok(self.heard.remove(index));
        }
        loop {
            let line = self.lines.recv_timeout(STEP);
            let line = line.with_context(|| format!("no process said `{name}`, but {:?}", self.heard))?;
            if line["event"] == name {
                return Ok(line);
            }
            self.heard.push(line);
        }
    }
}

/// A command line.
fn words(first: &[&str], then: &[&Path], second: &[&str], last: &[&Path], end: &[&str]) -> Vec<String> {
    let path = |path: &&Path| path.to_string_lossy().into_owned();
    let text = |text: &&str| (*text).to_owned();
    let all = first.iter().map(text).chain(then.iter().map(path)).chain(second.iter().map(text));
    all.chain(last.iter().map(path)).chain(end.iter().map(text)).collect()
}

/// The command that starts a container's first process, or another one beside this.
fn stand_in(container: &Container, life: &Life, beside: Option<u32>, pid_file: &Path) -> Vec<String> {
    let pids = match life.pids {
        Pids::New => "new".to_owned(),
        Pids::Host => "host".to_owned(),
        Pids::Of(pid) => format!("/proc/{pid}/ns/pid"),
    };
    let mut words = words(
        &["/proc/self/exe", "runtime", "start", "--cgroup"],
        &[&container.cgroup.dir],
        &["--pids", &pids, "--pid-file"],
        &[pid_file],
        &[],
    );
    words.extend(beside.into_iter().flat_map(|pid| ["--mounts".to_owned(), format!("/proc/{pid}/ns/mnt")]));
    words.push("--".to_owned());
    words.extend(life.command(beside.is_none()));
    words
}

impl Running {
    /// Tells it to go to its end.
    pub fn go(&mut self) -> Result<()> {
        self.before_end_ns = boottime_ns();
        let go = self.go.as_mut().context("it waits for nothing")?;
        go.write_all(b"go\n").context("cannot tell it to go")
    }

    /// From here on it may be at its end.
    pub fn may_end(&mut self) {
        self.before_end_ns = boottime_ns();
    }

    /// Its part in a report.
    pub fn part(&self) -> Process {
        Process {
            pid: self.pid,
            tid: None,
            container_pid: self.container_pid,
            comm: self.comm.into(),
            thread_comm: None,
            adj: 0,
            started_ns: self.started_ns,
            anon: (0, u64::MAX),
            path: self.container.cgroup.path.clone(),
            owner: self.container.place.owner.clone(),
            is_first: self.is_first,
            end: self.end,
        }
    }

    /// Kills it from here.
    pub fn kill(&mut self) -> Result<()> {
        self.may_end();
        kill(self.pid).context("cannot kill it")
    }
}

fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("it has a process")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // All of them first: the first process of a pid namespace is not over before the others in it are waited for.
        for pid in &self.alive {
            let _ = kill(*pid);
        }
        for pid in std::mem::take(&mut self.alive).into_iter().rev() {
            let ended = i32::try_from(pid).map_err(Into::into).and_then(|pid| {
                self.order(&Order::Wait { pid })?;
                self.event("ended")
            });
            if let Err(error) = ended {
                eprintln!("scenario: {error:#}");
            }
        }
        for (id, cgroup) in &self.containers {
            if let Err(error) = bundle::remove(id, cgroup) {
                eprintln!("scenario: {error:#}");
            }
        }
        self.stdin = None;
        // These fail only if it has ended already.
        let _ = self.shim.kill();
        let _ = self.shim.wait();
    }
}
