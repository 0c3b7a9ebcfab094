//! Loading, which takes the verifier's seconds, while signals are handled.

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use super::host::Host;
use super::signals::Signals;
use crate::kernel::load::Attached;
use crate::kernel::plan::Plan;

/// Loads and attaches on a separate thread, which has ended when this returns, unless a signal comes first. Then the result is
/// `None`, and the thread ends with the process, also within the verifier: the kernel stops verifying for a task that is to die.
///
/// # Errors
/// As [`Host::believe_and_load`].
pub(super) async fn load(
    host: Host,
    plan: Plan,
    include_nowarn: bool,
    signals: &mut Signals,
) -> Result<Option<(Host, Attached)>> {
    let (sender, receiver) = oneshot::channel();
    let loader = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        // Before any hook is attached: the values that hooks read must be true.
        let attached = host.believe_and_load(&plan, include_nowarn).map(|attached| (host, attached));
        // There is no receiver where a signal came first.
        drop(sender.send(attached));
    });
    let loader = loader.context("cannot start a thread to load the kernel object in")?;
    tokio::select! {
        attached = receiver => {
            // It has nothing left to do. Its privileges end with it.
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
