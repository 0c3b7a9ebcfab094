//! `scenario container-ends`: processes that end in a cgroup named like a container's, as a runtime starts them, and some that a
//! runtime brings in later. `tests/live` compares the records of an agent with what their parent here got of them.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use crashtrace_test_support::cgroup::{Hierarchy, random_hex, remove};
use serde_json::json;

type Play = fn(&Path) -> Result<Vec<Ended>>;

/// Prints one JSON object for each process: its cgroup, its id, its status as its parent got it, and whether it was the first.
pub fn run() -> Result<()> {
    let hierarchy = Hierarchy::find()?;
    let plays: [(&str, Play); 14] = [
        ("exit", |dir| one(dir, libc::CLONE_NEWPID, || sh(c"exit 3"))),
        ("fault", |dir| one(dir, libc::CLONE_NEWPID, fault)),
        ("forks", |dir| {
            one(dir, libc::CLONE_NEWPID, || sh(c"for i in 1 2 3 4 5 6 7 8; do sh -c 'exit 9'; done; exit 0"))
        }),
        ("killed", killed),
        ("exec", |dir| with_execs(dir, libc::CLONE_NEWPID)),
        ("host_pids", |dir| one(dir, libc::CLONE_NEWNS, || sh(c"exit 4"))),
        ("host_pids_exec", |dir| with_execs(dir, libc::CLONE_NEWNS)),
        ("abort", |dir| one(dir, libc::CLONE_NEWPID, abort)),
        ("broken_pipe", |dir| one(dir, libc::CLONE_NEWPID, write_to_a_broken_pipe)),
        ("cpu_limit", |dir| one(dir, libc::CLONE_NEWPID, || sh(c"ulimit -t 100000; exit 3"))),
        ("window", |dir| signalled(dir, libc::CLONE_NEWPID, &[libc::SIGWINCH], None)),
        ("realtime", |dir| signalled(dir, libc::CLONE_NEWNS, &[SIGRTMIN + 3], None)),
        ("outranked", |dir| {
            let inside = || sh(c"kill -USR1 1; kill -TERM 1; kill -WINCH 1");
            signalled(dir, libc::CLONE_NEWPID | libc::CLONE_NEWNS, &[libc::SIGALRM], Some(inside))
        }),
        ("inside", |dir| {
            let inside = || sh(c"kill -USR1 1; kill -WINCH 1; kill -CHLD 1");
            signalled(dir, libc::CLONE_NEWPID | libc::CLONE_NEWNS, &[], Some(inside))
        }),
    ];
    for (name, play) in plays {
        let dir = hierarchy.mount.join(random_hex()?);
        hierarchy.create(&dir)?;
        let ended = play(&dir);
        remove(&dir)?;
        for Ended { pid, status, first } in ended? {
            println!(
                "{}",
                json!({ "play": name, "cgroup": dir, "pid": pid, "status": status, "first": first })
            );
        }
    }
    Ok(())
}

/// A process, as its parent got it.
struct Ended {
    pid: libc::pid_t,
    status: libc::c_int,
    first: bool,
}

fn one(dir: &Path, flags: libc::c_int, run: fn()) -> Result<Vec<Ended>> {
    Ok(vec![waited(start(dir, flags, None, run)?, true)?])
}

/// SIGTERM, which process 1 of a namespace ignores unless it has a handler, and then SIGKILL.
fn killed(dir: &Path) -> Result<Vec<Ended>> {
    let pid = start(dir, libc::CLONE_NEWPID, None, sleep)?;
    for signal in [libc::SIGTERM, libc::SIGTERM, libc::SIGKILL] {
        kill(pid, signal)?;
    }
    Ok(vec![waited(pid, true)?])
}

/// The kernel's first real-time signal; that of C libraries is above it, but for 32 and 33, which they keep for themselves.
const SIGRTMIN: libc::c_int = 34;

/// These signals from here, then what a process sends that joins the container, then SIGKILL if the first process is still there.
fn signalled(
    dir: &Path,
    flags: libc::c_int,
    signals: &[libc::c_int],
    inside: Option<fn()>,
) -> Result<Vec<Ended>> {
    let pid = start(dir, flags, None, sleep)?;
    signals.iter().try_for_each(|signal| kill(pid, *signal))?;
    let mut ended = Vec::new();
    if let Some(inside) = inside {
        let namespace = File::open(format!("/proc/{pid}/ns/pid")).context("cannot open its pid namespace")?;
        let exec = start(dir, libc::CLONE_NEWNS, Some(&namespace), inside)?;
        ended.push(waited(exec, false)?);
    }
    kill(pid, libc::SIGKILL)?;
    ended.push(waited(pid, true)?);
    Ok(ended)
}

/// Two processes fail that come by `exec` while the first lives.
fn with_execs(dir: &Path, flags: libc::c_int) -> Result<Vec<Ended>> {
    let pid = start(dir, flags, None, sleep)?;
    let mut ended = Vec::new();
    let shared = flags & libc::CLONE_NEWPID == 0;
    for code in [|| sh(c"exit 7"), || sh(c"exit 8")] as [fn(); 2] {
        let namespace = if shared { "/proc/self/ns/pid".to_owned() } else { format!("/proc/{pid}/ns/pid") };
        let namespace = File::open(namespace).context("cannot open its pid namespace")?;
        let exec = start(dir, libc::CLONE_NEWNS, Some(&namespace), code)?;
        ended.push(waited(exec, false)?);
    }
    kill(pid, libc::SIGKILL)?;
    ended.push(waited(pid, true)?);
    Ok(ended)
}

/// Starts a process in this cgroup, in new namespaces of these flags or in a running pid namespace, and returns once it runs its program.
fn start(dir: &Path, flags: libc::c_int, namespace: Option<&File>, run: fn()) -> Result<libc::pid_t> {
    let procs =
        File::options().write(true).open(dir.join("cgroup.procs")).context("cannot open cgroup.procs")?;
    let own = File::open("/proc/self/ns/pid").context("cannot open the own pid namespace")?;
    let (mut runs, open) = io::pipe().context("no pipe")?;
    if let Some(namespace) = namespace {
        // For the children of this process from here on.
        setns(namespace)?;
    }
    // SAFETY: as `fork`, since no stack and no shared memory is asked for. This process has one thread.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(libc::SIGCHLD | flags), 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: plain system calls on what this process owns; it ends here, and runs nothing of its parent's.
        unsafe {
            libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1);
            run();
            libc::_exit(99);
        }
    }
    let failed = io::Error::last_os_error();
    if namespace.is_some() {
        setns(&own)?;
    }
    ensure!(pid > 0, "cannot fork: {failed}");
    drop(open);
    // Ends when the child's side is closed: when it executes a program, or ends.
    runs.read_to_end(&mut Vec::new()).context("cannot wait for the child")?;
    Ok(libc::pid_t::try_from(pid)?)
}

fn setns(namespace: &File) -> Result<()> {
    // SAFETY: a plain system call.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) };
    ensure!(result == 0, "cannot join a pid namespace: {}", io::Error::last_os_error());
    Ok(())
}

/// In a new process: becomes a shell that runs this.
fn sh(script: &CStr) {
    let arguments = [c"sh".as_ptr(), c"-c".as_ptr(), script.as_ptr(), std::ptr::null()];
    // SAFETY: an array of C strings that ends in a null pointer; all of them outlive the call.
    unsafe { libc::execv(c"/bin/sh".as_ptr(), arguments.as_ptr()) };
}

fn fault() {
    // SAFETY: it is not: nothing is mapped there, and the kernel ends this process, which is the point.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(FAULT_AT).write_volatile(1) };
}

/// Not as the child of a shell: that blocks signals while it forks, and a blocked signal is not ignored.
fn sleep() {
    sh(c"exec sleep 1000");
}

fn abort() {
    // SAFETY: it ends this process.
    unsafe { libc::abort() };
}

/// Rust's programs ignore SIGPIPE, as servers do.
fn write_to_a_broken_pipe() {
    if let Ok((reader, mut writer)) = io::pipe() {
        drop(reader);
        assert!(writer.write_all(b"x").is_err(), "nobody reads");
    }
}

/// Below the lowest address that a process may map (`vm.mmap_min_addr`), except with this at 0.
const FAULT_AT: usize = 0x10;

fn kill(pid: libc::pid_t, signal: libc::c_int) -> Result<()> {
    // SAFETY: a plain system call, on a child that has not been waited for.
    ensure!(unsafe { libc::kill(pid, signal) } == 0, "cannot signal: {}", io::Error::last_os_error());
    Ok(())
}

fn waited(pid: libc::pid_t, first: bool) -> Result<Ended> {
    let mut status = 0;
    // SAFETY: the place is a local variable.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    ensure!(waited == pid, "cannot wait: {}", io::Error::last_os_error());
    Ok(Ended { pid, status, first })
}
