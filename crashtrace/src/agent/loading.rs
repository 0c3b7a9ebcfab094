//! Loading, which takes the verifier's seconds, while signals are heard.

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use super::host::Host;
use super::signals::Signals;
use crate::kernel::load::Attached;
use crate::kernel::plan::Plan;

/// Loads and attaches, on a thread of its own that is over when this returns, unless a signal comes first. Then there is nothing,
/// and the thread ends with the process, within the verifier too: the kernel gives up verifying for one that is to die.
///
/// # Errors
/// As [`Host::believe`] and [`Host::load`].
pub(super) async fn load(
    host: Host,
    plan: Plan,
    include_nowarn: bool,
    signals: &mut Signals,
) -> Result<Option<(Host, Attached)>> {
    let (sender, receiver) = oneshot::channel();
    let loader = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        // Before any hook is attached: what it would read must be true.
        let attached = host.believe().and_then(|()| host.load(&plan, include_nowarn));
        let attached = attached.map(|attached| (host, attached));
        // Nobody takes it where a signal came first.
        drop(sender.send(attached));
    });
    let loader = loader.context("cannot start a thread to load the kernel object in")?;
    tokio::select! {
        attached = receiver => {
            // It has nothing left to do. With it go the privileges that it had.
            if loader.join().is_err() {
                anyhow::bail!("the thread that loads the kernel object has panicked");
            }
            attached.context("the thread that loads the kernel object is gone")?.map(Some)
        }
        signal = signals.end() => {
            tracing::info!(
                signal,
                "stopped by a signal before the hooks were in place: nothing was watched"
            );
            Ok(None)
        }
    }
}
