//! Pods by way of the container runtime: what the CRI socket lists. It needs no API server.
//!
//! ```text
//! socket -> connection -> answer -> listing -> known -> find
//! socket    grpc          message   decode     known    watch
//! ```
//!
//! Source: `ListPodSandbox` and `ListContainers` of CRI v1 (`runtime.v1.RuntimeService`); nothing else is ever called, and
//! neither changes anything. kubelet's labels in it name the pod. containerd, CRI-O and cri-dockerd all serve this.
//!
//! [`list`] asks once. [`Cri`] keeps what was listed, asks again when it has reason to, and answers from memory.

pub mod decode;
pub mod grpc;
pub mod known;
pub mod message;
pub mod socket;
#[cfg(test)]
mod tests;
pub mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use watch::{Cri, Options, Status};

use grpc::Connection;
use message::{ListContainersResponse, ListPodSandboxResponse, ListRequest, SERVICE};

/// A container of a pod, as the runtime has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriContainer {
    /// Its id, as in its cgroup's name.
    pub id: String,
    /// Its name in the pod.
    pub name: Option<String>,
    /// How often it was made anew: kubelet's restart count.
    pub attempt: Option<u32>,
    /// The image as the pod's manifest has it, or where the runtime does not tell, its id (`sha256:...`).
    pub image: Option<String>,
    /// The pod's UID; of a static pod its config hash, as in its cgroup's name.
    pub pod_uid: Option<String>,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod_name: Option<String>,
    /// The id of the sandbox that it is in.
    pub sandbox_id: Option<String>,
    /// When it was made, in nanoseconds since 1970.
    pub created_unix_ns: Option<u64>,
    /// What it was doing when it was last listed.
    pub state: CriState,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CriState {
    /// Made, not started.
    Created,
    /// Started.
    Running,
    /// Ended; the runtime still keeps it.
    Exited,
    /// The runtime does not know, or says something new.
    Unknown,
}

/// A pod's sandbox: in most runtimes a container of its own, with a process `pause`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriSandbox {
    /// Its id, as in its cgroup's name.
    pub id: String,
    /// The pod's UID; of a static pod its config hash, as in its cgroup's name.
    pub pod_uid: Option<String>,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod_name: Option<String>,
    /// How often it was made anew.
    pub attempt: u32,
    /// It runs.
    pub ready: bool,
    /// When it was made, in nanoseconds since 1970.
    pub created_unix_ns: Option<u64>,
}

/// All that a runtime has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its sandboxes.
    pub sandboxes: Vec<CriSandbox>,
    /// Its containers, ended ones too.
    pub containers: Vec<CriContainer>,
}

/// Why a runtime's socket gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no socket.
    #[error("no container runtime has its socket at {}", places(.0))]
    NoSocket(Vec<PathBuf>),
    /// The socket cannot be connected to.
    #[error("cannot connect: {0}")]
    Unreachable(#[source] std::io::Error),
    /// It does not answer.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The runtime says no.
    #[error("refused with gRPC status {code}: {message}")]
    Refused {
        /// gRPC's number: 7 is a lack of permission, 12 a runtime whose CRI is off.
        code: u32,
        /// The runtime's words.
        message: String,
    },
    /// What came is not what CRI says.
    #[error("not an answer of CRI v1: {0}")]
    Nonsense(String),
    /// What is wrong at each of the sockets that were asked in vain.
    #[error("{}", problems_of(.0))]
    At(Vec<(PathBuf, Self)>),
}

/// The first by name, for a reason must be short.
fn places(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no place to look at".to_owned(),
        [one] => one.display().to_string(),
        [first, others @ ..] => format!("{} or {} other usual places", first.display(), others.len()),
    }
}

fn problems_of(all: &[(PathBuf, Problem)]) -> String {
    all.iter().map(|(path, problem)| format!("{}: {problem}", path.display())).collect::<Vec<_>>().join("; ")
}

/// gRPC's number for a service that the server does not have.
const UNIMPLEMENTED: u32 = 12;

/// Asks the runtime behind one socket for all that it has.
///
/// # Errors
/// It cannot be asked, does not answer within `deadline`, or answers something else. Never blocks longer.
pub async fn list(socket: &Path, deadline: Duration) -> Result<Listing, Problem> {
    let ask = async {
        let mut connection = Connection::open(socket).await?;
        let method = |name| format!("/{SERVICE}/{name}");
        // Containers first: the sandbox of each was there before it.
        let containers: ListContainersResponse =
            connection.unary(&method("ListContainers"), &ListRequest {}).await?;
        let sandboxes: ListPodSandboxResponse =
            connection.unary(&method("ListPodSandbox"), &ListRequest {}).await?;
        Ok(decode::listing(sandboxes.items, containers.containers))
    };
    tokio::time::timeout(deadline, ask).await.unwrap_or(Err(Problem::Silent(deadline)))
}

/// Asks each runtime whose socket is there, one after the other, and puts what they have together: beside the one that
/// kubelet uses there may be another, empty one. Takes at most `deadline` for each.
///
/// `None` if nobody gave a list. With a list, a problem says that it is not whole: some other runtime gave none.
pub async fn list_all(candidates: &[PathBuf], deadline: Duration) -> (Option<Listing>, Option<Problem>) {
    let present = socket::present(candidates);
    if present.is_empty() {
        return (None, Some(Problem::NoSocket(candidates.to_vec())));
    }
    let (mut all, mut problems) = (None, Vec::new());
    for socket in present {
        match list(&socket, deadline).await {
            Ok(mut listing) => {
                let all = all.get_or_insert_with(Listing::default);
                all.sandboxes.append(&mut listing.sandboxes);
                all.containers.append(&mut listing.containers);
            }
            Err(problem) => problems.push((socket, problem)),
        }
    }
    if all.is_some() {
        // A runtime whose CRI is off (Docker's containerd beside cri-dockerd) has no pods.
        problems.retain(|(_, problem)| !matches!(problem, Problem::Refused { code: UNIMPLEMENTED, .. }));
    }
    (all, (!problems.is_empty()).then_some(Problem::At(problems)))
}
