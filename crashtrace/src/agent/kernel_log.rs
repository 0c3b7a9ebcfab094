//! The kernel side's debug messages, into this side's log.

use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use crate::kernel::load::Attached;

/// Reads the messages, if the log level includes them.
pub(super) struct KernelLog(Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>);

impl KernelLog {
    /// Starts to read. The watch works without debug messages, so nothing here fails it.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; the logger owns its descriptor until it is dropped"
    )]
    pub(super) fn start(attached: &mut Attached) -> Self {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Self(None);
        }
        // Programs that write messages are not taken over, so it is there.
        let Some(ebpf) = attached.ebpf_mut() else { return Self(None) };
        let logger = EbpfLogger::init(ebpf).map_err(|error| error.to_string());
        match logger.and_then(|logger| AsyncFd::new(logger).map_err(|error| error.to_string())) {
            Ok(logger) => Self(Some(logger)),
            Err(error) => {
                tracing::warn!(error, "cannot read the kernel side's debug messages");
                Self(None)
            }
        }
    }

    /// Waits for messages and logs them; waits forever if there is no log to read. Cancel-safe.
    pub(super) async fn flush(&mut self) {
        let Some(logger) = &mut self.0 else { return std::future::pending().await };
        match logger.readable_mut().await {
            Ok(mut guard) => {
                guard.clear_ready();
                guard.get_inner_mut().flush();
            }
            Err(error) => {
                tracing::warn!(%error, "no more debug messages of the kernel side");
                self.0 = None;
            }
        }
    }
}
