//! What the agent does once its programs are attached. PURE: the process is an argument.

use std::path::PathBuf;

/// Rights that it needs for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Folders below which it reads files.
    pub reads: Vec<PathBuf>,
    /// Folders below which it connects to Unix sockets.
    pub sockets: Vec<PathBuf>,
    /// Where it connects to.
    pub network: Network,
    /// It reads files of other users, which needs root's capability.
    pub files_of_others: bool,
    pub programs: bool,
}

/// Where it connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nowhere. Incoming connections do not count.
    None,
    /// These ports of TCP, and a name server.
    Ports(Vec<u16>),
    /// Anywhere: with a kubeconfig the port is not known here.
    Any,
}

/// Files that every agent reads: memory figures, and the number of possible CPUs. Access to another process's files in /proc
/// depends on that process's rights, and its memory is out of reach (landlock, `ptrace_access_check`).
const KERNEL_FILES: [&str; 2] = ["/proc", "/sys"];
/// Files needed to reach the API server from within a pod: the name server's address, and the token with its CA, which kubelet
/// replaces.
const IN_CLUSTER: [&str; 2] = ["/etc", "/var/run/secrets"];

impl Needs {
    /// For an agent without a source of names.
    #[must_use]
    pub fn kernel_only(cgroups: Option<PathBuf>) -> Self {
        let reads = KERNEL_FILES.map(PathBuf::from).into_iter().chain(cgroups).collect();
        Self { reads, sockets: Vec::new(), network: Network::None, files_of_others: false, programs: false }
    }

    /// It also reads from the API server as a pod does, at this port if it is known.
    #[must_use]
    pub fn in_cluster(mut self, port: Option<u16>) -> Self {
        self.reads.extend(IN_CLUSTER.map(PathBuf::from));
        self.network = port.map_or(Network::Any, |port| Network::Ports(vec![port]));
        self
    }

    /// It also reads from the API server by a kubeconfig: files, certificates and tokens may be anywhere.
    #[must_use]
    pub fn kubeconfig(mut self, of_another_user: bool, programs: bool) -> Self {
        self.reads.push("/".into());
        self.network = Network::Any;
        self.files_of_others = of_another_user;
        self.programs = programs;
        self
    }

    /// It also reads from the container runtime at one of these sockets, which may come and go.
    #[must_use]
    pub fn runtime<'a>(mut self, sockets: impl IntoIterator<Item = &'a std::path::Path>) -> Self {
        self.sockets.extend(sockets.into_iter().filter_map(|socket| socket.parent()).map(PathBuf::from));
        self
    }
}
