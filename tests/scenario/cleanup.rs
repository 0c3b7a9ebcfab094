//! What must not outlive this process, however it ends: scratch cgroups with all that is in them, and agents.
//!
//! Each has an owner that removes it on drop. A signal ends the process without drops, so what there is stands in
//! a list as well, and a thread that waits for signals works it off.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::cgroup;

/// What there is to remove.
#[derive(Debug)]
pub struct Known {
    /// Roots of trees of cgroups.
    pub cgroups: Vec<PathBuf>,
    /// Agents that have not been reaped.
    pub agents: Vec<u32>,
    over: bool,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { cgroups: Vec::new(), agents: Vec::new(), over: false });

/// The list. It must be held while something is made that belongs into it; after a signal nothing may be made.
pub fn lock() -> Result<MutexGuard<'static, Known>> {
    let Ok(known) = KNOWN.lock() else { bail!("a thread panicked while it held the list of what to remove") };
    if known.over {
        bail!("interrupted");
    }
    Ok(known)
}

/// Ends the process with all that belongs to it on SIGINT, SIGTERM and SIGHUP.
pub fn on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let enter = runtime.enter();
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    drop(enter);
    let wait = async move {
        tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
            _ = hangup.recv() => 129,
        }
    };
    let end = move || {
        let code = runtime.block_on(wait);
        remove_all();
        std::process::exit(code);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(end).context("cannot start a thread")?;
    Ok(())
}

fn remove_all() {
    // Also if a thread panicked: the list itself is whole at every moment.
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    known.over = true;
    for pid in known.agents.drain(..).filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // It may have had the same signal from the terminal and be gone.
        let _ = kill_process(pid, Signal::TERM);
    }
    for root in known.cgroups.drain(..) {
        if let Err(error) = cgroup::remove(&root) {
            eprintln!("scenario: {error:#}");
        }
    }
}
