//! The end of a container's first process.

use schemars::JsonSchema;
use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use super::{Process, Text};

/// How a container's first process ended, and who ended it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Exit {
    /// The process. It has freed its memory by then, so its sizes are null.
    pub process: Process,
    /// As `kubectl` and the runtime show it: the code of `exit`, or 128 and the signal's number. Null if it could not be read.
    pub exit_code: Option<i32>,
    /// The signal that it ended by; null if it called `exit`.
    pub signal: Option<u8>,
    /// Its name, for example `SIGKILL`.
    pub signal_name: Option<String>,
    /// The kernel wrote a core.
    pub core_dumped: bool,
    /// When it started, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub started: Option<String>,
    /// How long it ran, in nanoseconds.
    pub ran_ns: Option<u64>,
    /// It ended before it executed the container's program: the container did not start.
    pub before_exec: bool,
    /// Who or what ended it.
    pub ended_by: Option<EndedBy>,
    /// The fatal signals that it got, in the order of their times: the latest other than SIGKILL that another process sent
    /// (usually the runtime's SIGTERM), and SIGKILL.
    pub signals: Vec<SentSignal>,
    /// The fault or the signal of its own that it ended by.
    pub fault: Option<Fault>,
    /// The OOM kill that ended it.
    pub oom: Option<OomRef>,
    /// OOM kills of other processes of the container while this one ran, latest first, at most four. They did not end it, as far as
    /// is known.
    pub oom_kills_before: Vec<OomRef>,
    /// How many there were.
    pub oom_kills_before_total: u64,
    /// The probe that failed, if a failed probe ended it.
    pub probe: Option<FailedProbe>,
    /// Why Kubernetes ended it on purpose.
    pub stop: Option<Stop>,
    /// What the container's status in Kubernetes says of this end; null if it is not known (yet).
    pub status: Option<StatusSays>,
    /// Where the status, the Events and the kernel contradict each other, as sentences.
    pub contradictions: Vec<String>,
    /// Ends of the same container of the same pod in the hour before, this one not included.
    pub ends_last_hour: u32,
}

/// Who or what ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// It ended itself: by `exit`, or by a signal that it raised.
    Itself,
    /// A fault of its own: an invalid access, instruction, system call or a limit of its own.
    Fault,
    /// The kernel's OOM killer.
    OomKiller,
    /// The container runtime, or its monitor.
    Runtime,
    /// kubelet.
    Kubelet,
    /// systemd.
    Systemd,
    /// Another process of the same container.
    SameContainer,
    /// A process of another container of the same pod.
    SamePod,
    /// A process of another pod or of a container of no pod.
    OtherContainer,
    /// A daemon of the node that kills when memory is short (systemd-oomd, earlyoom).
    OomDaemon,
    /// Another process of the host.
    Host,
    /// The kernel ended its pid namespace, because process 1 in it ended.
    PidNamespace,
    /// The kernel, at its limit of CPU time (`RLIMIT_CPU`).
    CpuLimit,
    /// The kernel, for another reason.
    Kernel,
}

/// A signal that a process got.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SentSignal {
    pub number: u8,
    /// For example `SIGTERM`.
    pub name: String,
    /// When it was sent, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    pub ktime_ns: u64,
    /// The kernel did not deliver it: the process ignores it, or is process 1 of its namespace and has no handler.
    pub ignored: bool,
    /// How many of this number the same process has sent.
    pub count: u32,
    /// Who it is from; null if that cannot be told.
    pub from: Option<EndedBy>,
    /// The process that sent it; null for a signal of the kernel.
    pub sender: Option<Process>,
    /// Name of the sender's parent.
    pub sender_parent_comm: Option<Text>,
}

/// A fault, or a signal that a process raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fault {
    /// Number of the signal.
    pub number: u8,
    /// For example `SIGSEGV`.
    pub name: String,
    /// The kernel's code by its name, for example `SEGV_MAPERR`; null if this version does not know it.
    pub code_name: Option<String>,
    /// The same as a number (`si_code`).
    pub code: i32,
    /// The address, in hexadecimal; null if the signal has none.
    pub address: Option<String>,
    /// Number of the system call that seccomp refused (SIGSYS).
    pub syscall: Option<i32>,
    /// What it means, as a phrase.
    pub meaning: String,
}

/// An OOM kill in the same stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OomRef {
    /// `id` of the incident.
    pub id: String,
    /// When it was decided, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// The process that was killed.
    pub pid: Option<u32>,
    pub comm: Option<Text>,
}

/// A probe that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailedProbe {
    pub kind: ProbeKind,
    /// What it does; null if it is not known.
    pub action: Option<ProbeAction>,
    /// What it reported last, shortened.
    pub message: Option<String>,
    pub initial_delay_seconds: Option<u32>,
    pub period_seconds: Option<u32>,
    pub timeout_seconds: Option<u32>,
    pub failure_threshold: Option<u32>,
}

/// Which probe.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ProbeKind {
    /// The liveness probe.
    Liveness,
    /// The startup probe.
    Startup,
    /// A liveness or a startup probe.
    Unknown,
}

/// What a probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeAction {
    /// It runs a command in the container.
    Exec,
    /// It sends an HTTP GET.
    HttpGet,
    /// It opens a TCP connection.
    TcpSocket,
    /// It makes a gRPC health check.
    Grpc,
}

/// Why Kubernetes ended a container on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The pod was deleted: by a user, a rollout, a scale-down.
    Deleted,
    /// The pod was evicted through the API: a drain of the node, for one.
    Drained,
    /// kubelet evicted the pod because a resource of the node was short, or because it used more than it may.
    Evicted,
    /// The pod made room for one of a higher priority.
    Preempted,
    /// `activeDeadlineSeconds` was over.
    DeadlineExceeded,
    /// The node shuts down.
    NodeShutdown,
    /// The pod's other containers have ended, and this is a sidecar.
    PodDone,
    /// The container's hook `postStart` failed.
    PostStartHook,
    /// The pod's sandbox changed, and all of its containers start anew.
    SandboxChanged,
    /// A resize in place, or another change of the spec, restarts it.
    SpecChanged,
    /// For a reason that is in the pod's status (`verdict.evidence`).
    Other,
}

/// What a container's status says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StatusSays {
    /// For example `OOMKilled`, `Error`, `Completed`.
    pub reason: Option<String>,
    pub exit_code: Option<i32>,
}
