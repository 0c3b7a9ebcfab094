//! Signals, threads and children of a container's program.

use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::json;

use super::{faults, rename};
use crate::victim::{say, workload};

/// A set of signals.
fn set(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` writes the whole set, and `sigaddset` changes it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

fn mask(how: libc::c_int, signals: &[libc::c_int]) -> Result<()> {
    let set = set(signals);
    // SAFETY: the set outlives the call, and no old one is asked for.
    let result = unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
    ensure!(result == 0, "cannot change the blocked signals");
    Ok(())
}

/// Waits for one of these, which must be blocked.
fn next(signals: &[libc::c_int]) -> Result<libc::c_int> {
    let (set, mut signal) = (set(signals), 0);
    // SAFETY: both outlive the call.
    let result = unsafe { libc::sigwait(&raw const set, &raw mut signal) };
    ensure!(result == 0, "cannot wait for a signal");
    Ok(signal)
}

pub(super) fn block_term() -> Result<()> {
    mask(libc::SIG_BLOCK, &[libc::SIGTERM])
}

pub(super) fn wait_for_term() -> Result<()> {
    next(&[libc::SIGTERM]).map(|_| ())
}

pub(super) fn stay() -> ! {
    loop {
        // SAFETY: it only waits for a signal.
        unsafe { libc::pause() };
    }
}

/// `None` in the child.
fn fork() -> Result<Option<Pid>> {
    // SAFETY: this process has one thread, so nothing in the copy is in a state that another thread has left it in.
    let pid = unsafe { libc::fork() };
    ensure!(pid >= 0, "cannot fork: {}", std::io::Error::last_os_error());
    Ok(Pid::from_raw(pid))
}

/// Ends this process alone, with none of what it has in common with its parent written twice.
fn end(code: libc::c_int) -> ! {
    // SAFETY: it ends this process.
    unsafe { libc::_exit(code) }
}

/// Waits for a child, and gives `wait`'s number.
fn wait(pid: Pid) -> Result<libc::c_int> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let waited = unsafe { libc::waitpid(pid.as_raw_nonzero().get(), &raw mut status, 0) };
    ensure!(waited == pid.as_raw_nonzero().get(), "cannot wait: {}", std::io::Error::last_os_error());
    Ok(status)
}

pub(super) fn killed_by_child() -> Result<i32> {
    let own = Pid::from_raw(std::process::id().cast_signed()).context("it has a number")?;
    let (mut told, mut tells) = std::io::pipe()?;
    let Some(child) = fork()? else {
        let named = rename("worker").and_then(|()| Ok(told.read_exact(&mut [0])?));
        let killed = named.and_then(|()| Ok(kill_process(own, Signal::KILL)?));
        end(i32::from(killed.is_err()))
    };
    say(&json!({ "event": "child", "pid": child.as_raw_nonzero().get() }))?;
    tells.write_all(b"g")?;
    stay()
}

/// Half of the threads have ended by then too, and half live.
pub(super) fn in_the_last_thread(count: usize, code: i32) -> Result<()> {
    workload::without_first_thread(move || {
        let (ending, mut living) = (0..count.saturating_sub(2) / 2, Vec::new());
        for _ in ending {
            living.push(std::thread::Builder::new().spawn(|| stay())?);
            std::thread::Builder::new().spawn(|| ())?.join().ok().context("a thread panicked")?;
        }
        std::process::exit(code)
    })
}

/// As tini and dumb-init do: it hands signals on to its child, reaps all others, and ends as the child does.
pub(super) fn init(code: i32) -> Result<i32> {
    let signals = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
    mask(libc::SIG_BLOCK, &signals)?;
    let Some(child) = fork()? else {
        let named = rename("app").and_then(|()| mask(libc::SIG_UNBLOCK, &signals));
        end(if named.is_ok() { code } else { libc::EXIT_FAILURE })
    };
    loop {
        let signal = next(&signals)?;
        if signal != libc::SIGCHLD {
            kill_process(child, Signal::from_named_raw(signal).context("it has a name")?)?;
            continue;
        }
        let status = wait(child)?;
        return Ok(if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        });
    }
}

pub(super) fn nested() -> Result<()> {
    // SAFETY: it changes nothing for this process but the pids of its children to come.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("cannot make a pid namespace")?;
    let Some(child) = fork()? else {
        let failed = rename("inner").and_then(|()| faults::null_pointer());
        end(i32::from(failed.is_err()))
    };
    let status = wait(child)?;
    ensure!(
        libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV,
        "it ended with {status:#x}"
    );
    Ok(())
}
