//! What the agent goes on to do when its programs are attached. PURE: the process is an argument.

use std::path::PathBuf;

/// What it needs for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Folders below which it reads files.
    pub reads: Vec<PathBuf>,
    /// Folders below which it connects to Unix sockets.
    pub sockets: Vec<PathBuf>,
    /// Where it connects to.
    pub network: Network,
    /// It reads files of other users, which takes root's right to.
    pub files_of_others: bool,
    /// It runs programs.
    pub programs: bool,
}

/// Where it connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nowhere. Whoever connects to it is another matter.
    None,
    /// These ports of TCP, and a name server.
    Ports(Vec<u16>),
    /// Anywhere: by a kubeconfig the port is not known here.
    Any,
}

/// What every agent reads: figures of memory, and how many CPUs there can be. What a file of /proc tells of another process it
/// tells by that process's own rights, and the memory of one is out of reach (landlock, `ptrace_access_check`).
const KERNEL_FILES: [&str; 2] = ["/proc", "/sys"];
/// What the API server is reached by from within a pod: the name server, and the token with its authority, which kubelet
/// replaces.
const IN_CLUSTER: [&str; 2] = ["/etc", "/var/run/secrets"];

impl Needs {
    /// Of an agent that asks nobody for names.
    #[must_use]
    pub fn kernel_only(cgroups: Option<PathBuf>) -> Self {
        let reads = KERNEL_FILES.map(PathBuf::from).into_iter().chain(cgroups).collect();
        Self { reads, sockets: Vec::new(), network: Network::None, files_of_others: false, programs: false }
    }

    /// It also asks the API server as a pod does, at this port if it is known.
    #[must_use]
    pub fn in_cluster(mut self, port: Option<u16>) -> Self {
        self.reads.extend(IN_CLUSTER.map(PathBuf::from));
        self.network = port.map_or(Network::Any, |port| Network::Ports(vec![port]));
        self
    }

    /// It also asks the API server by a kubeconfig: files, certificates and tokens may lie anywhere.
    #[must_use]
    pub fn kubeconfig(mut self, of_another_user: bool, programs: bool) -> Self {
        self.reads.push("/".into());
        self.network = Network::Any;
        self.files_of_others = of_another_user;
        self.programs = programs;
        self
    }

    /// It also asks the container runtime at one of these sockets, which may come and go.
    #[must_use]
    pub fn runtime<'a>(mut self, sockets: impl IntoIterator<Item = &'a std::path::Path>) -> Self {
        self.sockets.extend(sockets.into_iter().filter_map(|socket| socket.parent()).map(PathBuf::from));
        self
    }
}
