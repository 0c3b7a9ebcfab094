//! Pods from the container runtime, by the lists of its CRI socket. It needs no API server.
//!
//! ```text
//! socket -> connection -> fields -> listing -> known -> find
//! socket    grpc          wire      decode     known    watch
//! ```
//!
//! Source: `ListPodSandbox` and `ListContainers` of CRI v1 (`runtime.v1.RuntimeService`); nothing else is ever called, and
//! neither changes anything. kubelet's labels in it name the pod. containerd, CRI-O and cri-dockerd all serve this.
//!
//! The size of a runtime's answer is up to tenants (kubelet hands it all labels of a pod), so an answer is read as it
//! comes, only the fields that name a pod are kept, and of those no more than [`decode`] says.
//!
//! [`list`] lists once. [`Cri`] keeps the list, lists anew when it has reason to, and answers from memory.

pub mod cache;
pub mod decode;
pub mod grpc;
pub mod message;
pub mod socket;
#[cfg(test)]
mod tests;
pub mod watch;
pub mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use watch::{Cri, CriStatus, Options};

use decode::{Items, Of};
use grpc::{Answer, Connection};
use message::{ContainerFilter, ListContainersRequest, ListPodSandboxRequest, PodSandboxFilter, SERVICE};
use wire::Reader;

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
    /// Its state in the last list.
    pub state: CriState,
}

/// A container's state.
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

/// All that a runtime has, as far as there is room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its sandboxes.
    pub sandboxes: Vec<CriSandbox>,
    /// Its containers, ended ones too.
    pub containers: Vec<CriContainer>,
    /// Sandboxes and containers that there was no room for.
    pub refused: u64,
    /// Bytes kept of all of them.
    bytes: usize,
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
    /// The answer does not follow CRI.
    #[error("not an answer of CRI v1: {0}")]
    Nonsense(String),
    /// It has more than is taken.
    #[error(
        "{0} of its sandboxes and containers are left out: more than {most} of each are not taken, nor more than {mib} MiB of names",
        most = decode::MOST,
        mib = decode::MOST_BYTES >> 20
    )]
    TooMany(u64),
    /// The problem at each socket; none gave a list.
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

/// gRPC's number for an answer that is longer than the server sends.
const RESOURCE_EXHAUSTED: u32 = 8;
/// gRPC's number for a service that the server does not have.
const UNIMPLEMENTED: u32 = 12;

/// Lists all containers and sandboxes of the runtime behind one socket.
///
/// # Errors
/// The runtime cannot be reached, does not answer within `deadline`, answers something else, or has too much. Never blocks longer.
pub async fn list(socket: &Path, deadline: Duration) -> Result<Listing, Problem> {
    let mut listing = Listing::default();
    list_into(&mut listing, socket, deadline).await?;
    Ok(listing)
}

/// The same, into a list that may have items already. Items that were read before a problem stay.
async fn list_into(listing: &mut Listing, socket: &Path, deadline: Duration) -> Result<(), Problem> {
    let before = listing.refused;
    let asked = tokio::time::timeout(deadline, ask(listing, socket)).await;
    listing.join();
    asked.unwrap_or(Err(Problem::Silent(deadline)))?;
    match listing.refused - before {
        0 => Ok(()),
        refused => Err(Problem::TooMany(refused)),
    }
}

async fn ask(listing: &mut Listing, socket: &Path) -> Result<(), Problem> {
    let mut connection = Connection::open(socket).await?;
    let (had_containers, had_sandboxes) = (listing.containers.len(), listing.sandboxes.len());
    // Containers first: the sandbox of each was there before it.
    let containers = list_containers(&mut connection, listing, None).await;
    if let Err(problem) = containers.as_ref()
        && !problem.is_refusal()
    {
        return containers;
    }
    let sandboxes = list_sandboxes(&mut connection, listing, None).await;
    // A runtime refuses a list that is longer than it sends, for one large pod. Then each of the other list's pods is listed alone.
    if containers.as_ref().is_err_and(Problem::is_for_length) && sandboxes.is_ok() {
        let ids = listing.sandboxes[had_sandboxes..].iter().map(|it| it.id.clone()).collect::<Vec<_>>();
        for id in ids {
            pass_over_refusal(list_containers(&mut connection, listing, Some(id)).await)?;
        }
    }
    if sandboxes.as_ref().is_err_and(Problem::is_for_length) && containers.is_ok() {
        let ids = listing.containers[had_containers..].iter().filter_map(|it| it.sandbox_id.clone());
        for id in ids.collect::<BTreeSet<_>>() {
            pass_over_refusal(list_sandboxes(&mut connection, listing, Some(id)).await)?;
        }
    }
    containers.and(sandboxes)
}

/// The containers, or those in one sandbox.
async fn list_containers(
    connection: &mut Connection,
    into: &mut Listing,
    sandbox: Option<String>,
) -> Result<(), Problem> {
    let question =
        ListContainersRequest { filter: sandbox.map(|pod_sandbox_id| ContainerFilter { pod_sandbox_id }) };
    let path = format!("/{SERVICE}/ListContainers");
    connection.unary(&path, &question, &mut Reading::new(Of::Containers, into)).await
}

/// The sandboxes, or one.
async fn list_sandboxes(
    connection: &mut Connection,
    into: &mut Listing,
    id: Option<String>,
) -> Result<(), Problem> {
    let question = ListPodSandboxRequest { filter: id.map(|id| PodSandboxFilter { id }) };
    let path = format!("/{SERVICE}/ListPodSandbox");
    connection.unary(&path, &question, &mut Reading::new(Of::Sandboxes, into)).await
}

fn pass_over_refusal(asked: Result<(), Problem>) -> Result<(), Problem> {
    asked.or_else(|problem| if problem.is_refusal() { Ok(()) } else { Err(problem) })
}

impl Problem {
    /// The runtime says no, and may say yes to something else.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// The runtime says no because the answer would be too long.
    fn is_for_length(&self) -> bool {
        matches!(self, Self::Refused { code: RESOURCE_EXHAUSTED, .. })
    }
}

/// A list that is being read.
struct Reading<'a> {
    reader: Reader,
    items: Items<'a>,
}

impl<'a> Reading<'a> {
    fn new(of: Of, into: &'a mut Listing) -> Self {
        Self { reader: Reader::new(0), items: Items::new(of, into) }
    }
}

impl Answer for Reading<'_> {
    fn begin(&mut self, length: u64) {
        self.reader = Reader::new(length);
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let read = self.reader.feed(bytes, &mut self.items);
        read.map_err(|malformed| format!("not this message: {malformed}"))
    }

    fn end(&mut self) -> Result<(), String> {
        if self.reader.is_done() {
            Ok(())
        } else {
            Err("not this message: it ends within a field".to_owned())
        }
    }
}

/// Lists from each runtime whose socket exists, one after the other, and merges the lists: beside the runtime that
/// kubelet uses there may be another, empty one. Takes at most `deadline` for each.
///
/// `None` if no runtime gave a list. With a list, a problem says that it is not whole: some other runtime gave none, or one
/// gave a part.
pub async fn list_all(candidates: &[PathBuf], deadline: Duration) -> (Option<Listing>, Option<Problem>) {
    let present = socket::present(candidates);
    if present.is_empty() {
        return (None, Some(Problem::NoSocket(candidates.to_vec())));
    }
    let (mut listing, mut any, mut problems) = (Listing::default(), false, Vec::new());
    for socket in present {
        match list_into(&mut listing, &socket, deadline).await {
            Ok(()) => any = true,
            Err(problem) => problems.push((socket, problem)),
        }
    }
    any |= !listing.sandboxes.is_empty() || !listing.containers.is_empty();
    if any {
        // A runtime whose CRI is off (Docker's containerd beside cri-dockerd) has no pods.
        problems.retain(|(_, problem)| !matches!(problem, Problem::Refused { code: UNIMPLEMENTED, .. }));
    }
    (any.then_some(listing), (!problems.is_empty()).then_some(Problem::At(problems)))
}
