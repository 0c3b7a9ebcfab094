//! The agent's needs of a node and of a cluster, with reasons: the manifests must give this, no more and no less.

/// Something that is needed.
pub struct Need {
    pub what: What,
    /// The reason, as the table in `deploy/README.md` has it.
    pub reason: &'static str,
    /// `None` if both forms have it.
    pub only: Option<Form>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `securityContext.privileged`.
    Privileged,
    /// A capability; the privileged form has them all.
    Capability(&'static str),
    /// A verb on a resource of the core API.
    Verb(&'static str, &'static str),
    /// A folder of the host, and where the container has it, read-only.
    Mount { host: &'static str, at: &'static str },
    /// The same, and the agent writes to it; kubelet creates it.
    Writable { host: &'static str, at: &'static str },
    /// The same, and it must exist.
    WritableThere { host: &'static str, at: &'static str },
    /// A variable.
    Variable(&'static str),
}

/// The two forms of deploy/.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Privileged,
    Capabilities,
}

impl Form {
    pub const ALL: [Self; 2] = [Self::Privileged, Self::Capabilities];

    /// Its folder in the repository.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Privileged => "deploy",
            Self::Capabilities => "deploy/capabilities",
        }
    }
}

const fn both(what: What, reason: &'static str) -> Need {
    Need { what, reason, only: None }
}

const fn only(form: Form, what: What, reason: &'static str) -> Need {
    Need { what, reason, only: Some(form) }
}

const LOAD: &str = "loading and attaching the BPF programs";
const NAMES: &str = "names from the API server";
const EVENTS: &str = "why Kubernetes stopped a container, which for failed probes only Events say";

/// All of it.
pub const NEEDS: [Need; 10] = [
    only(Form::Privileged, What::Privileged, LOAD),
    only(Form::Capabilities, What::Capability("BPF"), LOAD),
    only(Form::Capabilities, What::Capability("PERFMON"), LOAD),
    only(Form::Capabilities, What::Capability("SYSLOG"), "addresses in `/proc/kallsyms`"),
    only(Form::Capabilities, What::Capability("SYS_RESOURCE"), "lowering its own `oom_score_adj`"),
    both(What::Verb("list", "pods"), NAMES),
    both(What::Verb("watch", "pods"), NAMES),
    both(What::Verb("list", "events"), EVENTS),
    both(
        What::Mount { host: "/sys/fs/cgroup", at: "/host/sys/fs/cgroup" },
        "`memory.stat` of the cgroup whose limit was hit",
    ),
    both(What::Variable("NODE_NAME"), "the node's name"),
];

/// A need that neither form has by itself: `deploy/runtime-socket` gives it to either.
pub const SOCKET: Need =
    both(What::Mount { host: "/run/containerd", at: "/run/containerd" }, "names from the runtime");

/// The same, by `deploy/journal`.
pub const JOURNAL: Need = both(
    What::Writable { host: "/var/lib/crashtrace", at: "/var/lib/crashtrace" },
    "the journal of lines that were not delivered",
);

/// The same, by `deploy/pin`.
pub const PINS: Need = both(
    What::WritableThere { host: "/sys/fs/bpf", at: "/host/sys/fs/bpf" },
    "pins of the hooks, if they are to stay on while the agent is away",
);

/// The folders of components that a form is made another with, below deploy/.
pub const CONTAINERD: &str = "runtime-socket/containerd";
pub const JOURNALED: &str = "journal";
pub const PINNED: &str = "pin";
