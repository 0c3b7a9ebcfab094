//! `scenario ends`: the cost of processes that end and of signals, of each kind that the hooks on ends of containers tell apart.
//! `cargo xtask bench` runs it with agents and without, in a guest whose clock counts instructions.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use crashtrace_test_support::cgroup::{Hierarchy, random_hex, remove};
use serde_json::{Map, json};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// What the result is for
    #[arg(long)]
    label: String,
    /// How many processes and signals in each round; a hundredth as many containers
    #[arg(long, default_value_t = 2000)]
    count: usize,
    /// How often
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Its default action is none.
const MASKED: libc::c_int = libc::SIGURG;
/// The processes here ignore it.
const FATAL: libc::c_int = libc::SIGUSR1;

/// Prints one JSON object: nanoseconds for each process or signal, in each round. The first round warms up and is not in it.
pub fn run(args: &Args) -> Result<()> {
    // For the children, who inherit it.
    // SAFETY: a plain system call.
    unsafe { libc::signal(FATAL, libc::SIG_IGN) };
    let hierarchy = Hierarchy::find()?;
    let containers = (args.count / 100).max(1);
    let mut costs: Map<String, serde_json::Value> = Map::new();
    let mut measure = |name: &str, count: usize, round: &mut dyn FnMut(usize) -> Result<()>| -> Result<()> {
        let mut all = Vec::new();
        for _ in 0..=args.rounds {
            let begun = Instant::now();
            round(count)?;
            all.push(begun.elapsed().as_nanos() as f64 / count as f64);
        }
        costs.insert(name.to_owned(), json!(all.get(1..)));
        Ok(())
    };
    measure("fork and exit of an ordinary process", args.count, &mut |count| {
        (0..count).try_for_each(|_| fork(None, || ())?.ended())
    })?;
    // Made outside of what is measured: to make a cgroup costs far more than any hook.
    let mut made = Vec::new();
    for _ in 0..containers * (args.rounds + 1) {
        let dir = hierarchy.mount.join(random_hex()?);
        hierarchy.create(&dir)?;
        made.push(dir);
    }
    let mut unused = made.iter();
    measure("fork and exit of a container's first process", containers, &mut |count| {
        unused.by_ref().take(count).try_for_each(|dir| fork(Some(dir), || ())?.ended())
    })?;
    made.iter().try_for_each(|dir| remove(dir))?;
    let container = hierarchy.mount.join(random_hex()?);
    hierarchy.create(&container)?;
    let ordinary = fork(None, wait_for_the_end)?;
    let first = fork(Some(&container), wait_for_the_end)?;
    // It joins by itself, but on one CPU only once this process waits.
    std::fs::write(container.join("cgroup.procs"), first.0.to_string()).context("it cannot join")?;
    for (name, target, signal) in [
        ("signal that does not end a process, SIGURG", &ordinary, MASKED),
        ("signal that can end a process, SIGUSR1", &ordinary, FATAL),
        ("such a signal to a container's first process", &first, FATAL),
    ] {
        measure(name, args.count, &mut |count| (0..count).try_for_each(|_| target.signal(signal)))?;
    }
    for process in [ordinary, first] {
        process.signal(libc::SIGKILL)?;
        process.ended()?;
    }
    remove(&container)?;
    println!("{}", json!({ "label": args.label, "ns": costs }));
    Ok(())
}

/// A child.
pub struct Process(libc::pid_t);

/// Starts a process: in this one's cgroups, or as the first of a pid namespace in that cgroup.
pub fn fork(container: Option<&PathBuf>, run: fn()) -> Result<Process> {
    let procs = container.map(|dir| File::options().write(true).open(dir.join("cgroup.procs")));
    let procs = procs.transpose().context("cannot open cgroup.procs")?;
    let flags = libc::SIGCHLD | if container.is_some() { libc::CLONE_NEWPID } else { 0 };
    // SAFETY: as `fork`, since no stack and no shared memory is asked for. This process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    ensure!(pid >= 0, "cannot fork: {}", io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: plain system calls on what this process owns; it ends here, and runs nothing of its parent's.
        unsafe {
            if let Some(procs) = &procs {
                libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1);
            }
            run();
            libc::_exit(0);
        }
    }
    Ok(Process(libc::pid_t::try_from(pid)?))
}

pub fn wait_for_the_end() {
    loop {
        // SAFETY: a plain system call.
        unsafe { libc::pause() };
    }
}

impl Process {
    fn signal(&self, signal: libc::c_int) -> Result<()> {
        // SAFETY: a plain system call, on a child that has not been waited for.
        ensure!(unsafe { libc::kill(self.0, signal) } == 0, "cannot signal: {}", io::Error::last_os_error());
        Ok(())
    }

    /// Lets the OOM killer take it before all others.
    pub fn killed_first(&self) -> Result<()> {
        let file = format!("/proc/{}/oom_score_adj", self.0);
        std::fs::write(&file, "1000").with_context(|| format!("cannot write to {file}"))
    }

    pub fn ended(&self) -> Result<()> {
        let mut status = 0;
        // SAFETY: the place is a local variable.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        ensure!(waited == self.0, "cannot wait: {}", io::Error::last_os_error());
        Ok(())
    }
}
