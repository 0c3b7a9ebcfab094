//! Causes that the status and the Events tell. PURE.

use strum::{IntoStaticStr, VariantArray};

/// What the status and the Events say. `container_exit`, `health_check`, `stopped` and `unknown` are the stream's words too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// The process ended with a code of its own.
    ContainerExit,
    /// It did what it had to do.
    Completed,
    /// It ended with code 0, and the pod always starts it again.
    CompletedAgain,
    /// The status has the reason `OOMKilled`.
    OomKilled,
    /// The runtime's own process was OOM-killed before the program began.
    StartOom,
    /// The program could not be started.
    StartFailed,
    /// A probe failed, and kubelet ended it.
    HealthCheck,
    /// The hook `postStart` failed, and kubelet ended it.
    PostStartHook,
    /// Kubernetes ended it on purpose.
    Stopped,
    /// kubelet evicted the pod.
    Evicted,
    /// `activeDeadlineSeconds` is over.
    DeadlineExceeded,
    /// kubelet did not take the pod.
    Rejected,
    /// The image cannot be had.
    ImagePull,
    /// A `ConfigMap`, a `Secret`, or a key in one is absent.
    ConfigMissing,
    /// The container cannot be created as its spec has it.
    ConfigRefused,
    /// A volume cannot be attached or mounted.
    Volume,
    /// The pod's sandbox cannot be made.
    Sandbox,
    /// An init container fails, so the others do not start.
    InitFailed,
    /// No node takes the pod.
    Unschedulable,
    /// It runs and is not ready. No crash.
    NotReady,
    /// It cannot be told.
    Unknown,
}

impl Cause {
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}
