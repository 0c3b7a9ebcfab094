//! Sources of the names of pods.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::{Environment, optional_path, usage};

/// A variable that Kubernetes sets in each container of a pod.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";
/// Variable with kubeconfigs, separated like the folders of PATH.
const KUBECONFIG: &str = "KUBECONFIG";
const HOME: &str = "HOME";
/// The default kubeconfig.
const IN_HOME: &str = ".kube/config";

/// Arguments about the names of pods.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct PodsArgs {
    /// Take the names of pods from the API server (kube) or the container runtime (cri); auto takes the runtime's, and the API
    /// server's in a pod or with a kubeconfig
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t)]
    pub pods: PodsWanted,
    /// Find the API server by this file [default: as kubectl does: KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Use the container runtime at this socket [default: the usual ones that exist]
    #[arg(long, value_name = "SOCKET")]
    pub cri_socket: Option<PathBuf>,
    /// What to write to the API server.
    #[command(flatten)]
    pub writes: KubeWrites,
}

/// What to write to the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ClapArgs)]
pub struct KubeWrites {
    /// Write what happened to each pod to the API server, as an object `CrashReport` of the pod's name (deploy/reports has the CRD and
    /// the rights) [default: write nothing]
    #[arg(long = "kube-reports")]
    pub reports: bool,
    /// Write Events about pods and, of what happens outside of pods, about the node [default: write none]
    #[arg(long = "kube-events")]
    pub events: bool,
}

impl KubeWrites {
    /// Whether anything is written.
    #[must_use]
    pub fn any(self) -> bool {
        self.reports || self.events
    }
}

/// Which sources to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PodsWanted {
    /// All that are available
    #[default]
    Auto,
    /// The API server
    Kube,
    /// The container runtime
    Cri,
    /// None: pods have UIDs, containers have IDs
    None,
}

/// The sources, complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// The API server, and how it is found.
    pub kube: Option<ApiServer>,
    /// The container runtime: at this socket, or at the usual ones.
    pub cri: Option<Option<PathBuf>>,
    /// What to write to the API server.
    pub writes: KubeWrites,
}

/// How the API server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiServer {
    /// As a pod finds it: by the variables and files that kubelet provides.
    InCluster,
    /// By kubeconfig files, merged.
    Kubeconfig(Vec<PathBuf>),
}

impl Pods {
    /// Fills in what the arguments leave open.
    pub(super) fn resolve(args: PodsArgs, env: &impl Environment) -> Result<Self, clap::Error> {
        let PodsArgs { pods: wanted, kubeconfig, cri_socket, writes } = args;
        let unused = |flag: &str| Err(usage(format!("{flag} is of no use with --pods {}", wanted.name())));
        if kubeconfig.is_some() && matches!(wanted, PodsWanted::Cri | PodsWanted::None) {
            return unused("--kubeconfig");
        }
        if cri_socket.is_some() && matches!(wanted, PodsWanted::Kube | PodsWanted::None) {
            return unused("--cri-socket");
        }
        let kubeconfig = optional_path("--kubeconfig", kubeconfig, env)?;
        if cri_socket.as_ref().is_some_and(|socket| socket.as_os_str().is_empty()) {
            return Err(usage("--cri-socket: the path is empty".to_owned()));
        }
        let in_cluster = || env.var(IN_CLUSTER).filter(|host| !host.is_empty()).map(|_| ApiServer::InCluster);
        let given = kubeconfig.map(|path| ApiServer::Kubeconfig(vec![path]));
        let kube = given.or_else(|| usual(env)).or_else(in_cluster);
        let pods = match wanted {
            PodsWanted::Auto => Self { kube, cri: Some(cri_socket), writes },
            PodsWanted::Kube if kube.is_none() => {
                let message = format!(
                    "--pods kube: this is no pod ({IN_CLUSTER} is not set) and there is no kubeconfig, so say how to find the API server with --kubeconfig FILE"
                );
                return Err(usage(message));
            }
            PodsWanted::Kube => Self { kube, cri: None, writes },
            PodsWanted::Cri => Self { kube: None, cri: Some(cri_socket), writes },
            PodsWanted::None => Self { writes, ..Self::default() },
        };
        // An object needs the UID of its pod, and that the pod is there.
        if writes.any() && pods.kube.is_none() {
            let flag = if writes.reports { "--kube-reports" } else { "--kube-events" };
            return Err(usage(format!(
                "{flag}: the API server is not among the sources of names: say how to find it with --kubeconfig FILE, and give neither --pods cri nor --pods none"
            )));
        }
        Ok(pods)
    }
}

/// The kubeconfigs that kubectl uses.
fn usual(env: &impl Environment) -> Option<ApiServer> {
    let listed = env.var(KUBECONFIG).unwrap_or_default();
    let listed: Vec<_> = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if !listed.is_empty() {
        return Some(ApiServer::Kubeconfig(listed));
    }
    let home = env.var(HOME).filter(|home| !home.is_empty())?;
    let path = PathBuf::from(home).join(IN_HOME);
    env.is_file(&path).then(|| ApiServer::Kubeconfig(vec![path]))
}

impl PodsWanted {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
