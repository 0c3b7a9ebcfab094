//! Removes the objects that must not outlive a test program, however it ends: processes, cgroups with all processes in them,
//! containerds with their containers.
//!
//! Each has an owner that removes it on drop. A signal ends the process without drops, so all of them are also in
//! a list, and a thread that waits for signals works it off.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::cgroup;
use crate::containerd::remains::Remains;

/// The objects to remove.
#[derive(Debug)]
pub struct Known {
    /// Agents and other children that have not been reaped.
    pub processes: Vec<u32>,
    /// Roots of trees of cgroups.
    pub cgroups: Vec<PathBuf>,
    pub runtimes: Vec<Remains>,
    over: bool,
}

static KNOWN: Mutex<Known> =
    Mutex::new(Known { processes: Vec::new(), cgroups: Vec::new(), runtimes: Vec::new(), over: false });

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
    static BEGUN: Once = Once::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let enter = runtime.enter();
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    drop(enter);
    let end = move || {
        let code = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                _ = hangup.recv() => 129,
            }
        });
        remove_all();
        std::process::exit(code);
    };
    BEGUN.call_once(|| drop(std::thread::spawn(end)));
    Ok(())
}

fn remove_all() {
    // Also if a thread panicked: the list itself is whole at every moment.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.over = true;
    for pid in known.processes.drain(..).filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // It may have had the same signal from the terminal and be gone.
        let _ = kill_process(pid, Signal::TERM);
    }
    for runtime in known.runtimes.drain(..) {
        runtime.remove();
    }
    for root in known.cgroups.drain(..) {
        if let Err(error) = cgroup::remove(&root) {
            eprintln!("{error:#}");
        }
    }
}
