//! What tells the agent to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that do.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Of a terminal that is closed, or whoever thinks that there is something to be read anew.
    hangup: Signal,
}

impl Signals {
    /// From here on none of them ends the process by itself.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one; gives its name. Cancel-safe.
    pub(super) async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
