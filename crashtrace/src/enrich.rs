//! Cases: an incident with its owners and the facts gathered for it, and what could not be found.
//!
//! An owner follows from the cgroup's path, as it was when the kernel decided. It is named only where the
//! path can be trusted: see [`party`], and [`crate::cgroup`] for what is only claimed.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cgroup::{self, Place, Placement, Qos, Runtime};
use crate::correlate::{Incident, OomKill};
use crate::event::{Hook, Lineage, Task, Unmovable};
use crate::fragmentation::Request;
use crate::gfp::Traits;
use crate::pods::names::Names;
pub use holders::{Held, Memory};
pub use names::{NameBook, name};
pub use node::{Node, NodeRoot};
pub use zones::{look_at_memory, zones_now};

pub(crate) mod gaps;
pub mod holders;
mod names;
pub mod node;
#[cfg(test)]
mod tests;
mod zones;

/// An incident with its owners.
#[derive(Clone, Debug)]
pub struct Case {
    /// What happened.
    pub incident: Incident,
    /// Whose process ran into the limit.
    pub trigger: Option<Party>,
    /// Whose processes were killed: one for each of the incident's victims, in the same order. Empty for an
    /// OOM without a kill.
    pub victims: Vec<Option<Party>>,
    /// Whose limit it was, where the kernel said so.
    pub limit: Option<Party>,
    /// Shared memory and tmpfs charged to that cgroup, read just after the kill.
    pub limit_shmem_bytes: Option<u64>,
    /// Who held the node's memory, in an OOM that is not a memory cgroup's.
    pub memory: Option<Memory>,
    /// The request for pages, and what it says about the memory that it may have. Only where the node's memory is what was
    /// asked for, and any of it would have done but for what the request itself says.
    pub request: Option<Request>,
    /// What the flags of the request say.
    pub traits: Option<Traits>,
    /// What holds memory that cannot be moved, read just after; where there may have been enough in pieces too small.
    pub unmovable: Option<Unmovable>,
    /// Where the node's cgroups begin.
    pub node_root: NodeRoot,
    /// Bytes of a page.
    pub page_size_bytes: u64,
    /// All memory of the node.
    pub node_memory_bytes: Option<u64>,
    /// What could not be found, by field of the report, and why. What the verdict leaves open is in
    /// [`Verdict::unresolved`](crate::classify::Verdict::unresolved).
    pub unresolved: Vec<Gap>,
    /// What is known of the owners' names.
    pub names: NameBook,
    /// Owners without names, and why.
    pub nameless: Vec<Gap>,
}

/// A cgroup's place in the tree and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Path of the cgroup in the memory controller's hierarchy.
    pub path: Vec<u8>,
    /// What the path says.
    pub placement: Placement,
    /// Whose it is.
    pub owner: Owner,
}

impl Party {
    /// The part of the path that says whose it is: what is below a delegation is left out.
    #[must_use]
    pub fn owners_path(&self) -> &[u8] {
        self.placement.delegate_end.and_then(|end| self.path.get(..end)).unwrap_or(&self.path)
    }

    /// Whether it is the other's cgroup, or one below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let root = other.path == b"/";
        root || self.path.strip_prefix(&*other.path).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }

    fn at(path: Vec<u8>, placement: Placement) -> Self {
        let owner = owner(&placement);
        Self { path, placement, owner }
    }
}

/// Something that could not be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Path of the field in the report, `victims[0].owner` and the like; `victims[*].owner` where there are
    /// several victims, with the number of those meant in the reason.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// The container, pod or host service that a process or a limit belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What it is.
    pub kind: OwnerKind,
    /// The pod's UID; for a static pod the hash of its configuration.
    pub pod_uid: Option<String>,
    /// `pod_uid` is a static pod's hash.
    pub static_pod: bool,
    /// The container's id, without the runtime's prefix.
    pub container_id: Option<String>,
    /// The pod's QoS class.
    pub qos_class: Option<Qos>,
    /// The container runtime, where the path says.
    pub runtime: Option<Runtime>,
    /// The systemd unit of a host process.
    pub unit: Option<String>,
    /// How Kubernetes calls it, where that is known.
    pub names: Option<Box<Names>>,
    /// What the rest of the path says below what was delegated to this owner. Nothing is concluded from it.
    pub claims: Option<Box<Claims>>,
}

/// What cgroups' names say that somebody could have chosen who is not known by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What it claims to be.
    pub kind: OwnerKind,
    /// The pod's UID, or a static pod's hash.
    pub pod_uid: Option<String>,
    /// The container's id.
    pub container_id: Option<String>,
    /// The pod's QoS class.
    pub qos_class: Option<Qos>,
}

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A container, in a pod or not.
    Container,
    /// A pod, no container of it in particular.
    Pod,
    /// All pods of a QoS class.
    Qos,
    /// All pods of the node.
    Kubepods,
    /// A service or slice of the host.
    HostService,
    /// Some other cgroup.
    Cgroup,
    /// The host: the root cgroup.
    Host,
}

/// Finds the owners, and lists what the events lack.
///
/// Two things about the victims are set right on the way, because only here mark and decision are side by
/// side:
/// - The mark of an old kernel is a bare thread id; what the decision knows of the same process fills it.
/// - `exiting` of a mark says nothing: `__oom_kill_process` (`mm/oom_kill.c`) sends the signal first and marks
///   then, so each victim looks as if it was ending. A probe on the decision comes early enough to tell; without
///   one, the stack of the mark does.
#[must_use]
pub fn enrich(mut incident: Incident, node: &mut Node) -> Case {
    if let Incident::OomKill(kill) = &mut incident {
        complete_victims(kill);
    }
    let node_root = node.root;
    let find = |lineage: Option<&Lineage>| lineage.and_then(|lineage| party(lineage, node_root).ok());
    let (trigger, victims, limit) = match &incident {
        Incident::OomKill(kill) => {
            let decision = kill.decision.as_deref();
            (
                find(decision.and_then(|decision| decision.trigger_cgroups.as_ref())),
                kill.victims.iter().map(|victim| find(victim.cgroups.as_ref())).collect(),
                find(decision.and_then(|decision| decision.limit_cgroups.as_ref())),
            )
        }
        Incident::OomNoKill(no_kill) => (
            find(no_kill.event.trigger_cgroups.as_ref()),
            Vec::new(),
            find(no_kill.event.limit_cgroups.as_ref()),
        ),
        // The current task has nothing to do with what an interrupt asks for.
        Incident::AllocFailure(failures) => (
            find(failures.event.cgroups.as_ref().filter(|_| !failures.event.in_interrupt())),
            Vec::new(),
            None,
        ),
    };
    let mut unresolved = gaps::of(&incident, node_root);
    let limit_shmem_bytes = shmem(&incident, limit.as_ref(), node).and_then(|found| {
        found.map_err(|reason| unresolved.push(Gap { field: "limit.shmem_bytes".to_owned(), reason })).ok()
    });
    let memory = match &incident {
        Incident::OomKill(kill) => kill.holders.as_deref().map(|walk| holders::memory(walk, node_root)),
        Incident::OomNoKill(_) | Incident::AllocFailure(_) => None,
    };
    let (request, traits) = zones::request(&incident, node);
    let unmovable = zones::unmovable(&incident, request, node).and_then(|found| {
        found.map_err(|reason| unresolved.push(Gap { field: "memory.unmovable".to_owned(), reason })).ok()
    });
    let mut case = Case {
        incident,
        trigger,
        victims,
        limit,
        limit_shmem_bytes,
        memory,
        request,
        traits,
        unmovable,
        node_root,
        page_size_bytes: node.page_size_bytes,
        node_memory_bytes: node.memory_bytes,
        unresolved,
        names: NameBook::default(),
        nameless: Vec::new(),
    };
    name(&mut case, node.pods.as_mut());
    case
}

/// Shared memory of the cgroup whose limit was hit, if the kernel said which that is.
fn shmem(incident: &Incident, limit: Option<&Party>, node: &mut Node) -> Option<Result<u64, String>> {
    let cgroups = match incident {
        Incident::OomKill(kill) => kill.decision.as_ref()?.limit_cgroups.as_ref()?,
        Incident::OomNoKill(no_kill) => no_kill.event.limit_cgroups.as_ref()?,
        Incident::AllocFailure(_) => return None,
    };
    let Some(limit) = limit.filter(|_| cgroups.skipped == 0) else {
        return Some(Err("the path of the cgroup could not be read whole".to_owned()));
    };
    let cgroup_id = cgroups.levels.first()?.cgroup_id;
    // Files are found from where the node's cgroups begin.
    let path = limit.path.get(node.root.bytes_in(cgroups)..).unwrap_or_default();
    Some(node.cgroups.memory_stat(path, cgroup_id).and_then(|stat| node::shmem_bytes(&stat)))
}

/// The place of a lineage's nearest cgroup and its owner, or why they cannot be told.
///
/// A path without its beginning names nobody: it could begin in a container, with names that the container
/// chose. Where the end is missing (levels left out for depth, a name that could not be read), what is left
/// names the owner if it is a container's, for whatever lies below is in that container; a pod, a slice or
/// a plain directory could hold a container or a pod of its own, so there the owner stays unknown.
///
/// # Errors
///
/// The reason, as a phrase.
pub fn party(lineage: &Lineage, node_root: NodeRoot) -> Result<Party, &'static str> {
    if lineage.incomplete || !lineage.levels.last().is_some_and(|level| level.root) {
        return Err(
            "the way up to the root cgroup could not be read to its end, so the path lacks its beginning",
        );
    }
    let named = lineage.levels.iter().rposition(|level| !level.root && level.name.is_none());
    let first = named.map_or(0, |nameless| nameless + 1);
    let (path, root_bytes) = (lineage.path_of(first), node_root.bytes_in(lineage));
    let mut placement = cgroup::parse_below(&path, root_bytes);
    if first > 0 || lineage.skipped > 0 {
        // A node that is a container holds pods of its own.
        if placement.place != Place::Container || root_bytes >= path.len() {
            return Err(if first > 0 {
                "the name of a cgroup on the path could not be read"
            } else {
                "the path is deeper than a record holds, and what is there of it is not a container's"
            });
        }
        placement.nested = true;
    }
    Ok(Party::at(lineage.path(), placement))
}

/// Whose cgroup it is. What is nested in a container is the container's.
fn owner(placement: &Placement) -> Owner {
    let kind = kind(placement);
    let container_of =
        |it: &Placement, kind| it.container_id.clone().filter(|_| kind == OwnerKind::Container);
    let claims = placement.claims.as_deref().map(|it| {
        let kind = self::kind(it);
        Box::new(Claims {
            kind,
            pod_uid: it.pod_uid.clone(),
            container_id: container_of(it, kind),
            qos_class: it.qos,
        })
    });
    Owner {
        kind,
        pod_uid: placement.pod_uid.clone(),
        static_pod: placement.static_pod,
        container_id: container_of(placement, kind),
        qos_class: placement.qos,
        runtime: placement.runtime,
        unit: placement.unit.clone(),
        names: None,
        claims,
    }
}

fn kind(placement: &Placement) -> OwnerKind {
    match placement.place {
        Place::Root => OwnerKind::Host,
        Place::NodeAllocatable => OwnerKind::Kubepods,
        Place::Qos => OwnerKind::Qos,
        Place::Pod => OwnerKind::Pod,
        Place::Container => OwnerKind::Container,
        Place::HostService => OwnerKind::HostService,
        // A container's monitor, say: the pod's, but no container's.
        Place::Other if placement.pod_end.is_some() => OwnerKind::Pod,
        Place::Other => OwnerKind::Cgroup,
    }
}

/// Whether both are the same process. A mark may be of another thread than the decision, and may hold no
/// process id.
pub(crate) fn same_process(mark: &Task, chosen: &Task) -> bool {
    match (mark.pid, chosen.pid) {
        (Some(mark), Some(chosen)) => mark == chosen,
        _ => mark.tid.is_some_and(|tid| chosen.tid == Some(tid) || chosen.pid == Some(tid)),
    }
}

/// Sets the victims right; see [`enrich`].
pub(crate) fn complete_victims(kill: &mut OomKill) {
    let Some(decision) = &mut kill.decision else {
        for victim in &mut kill.victims {
            victim.task.exiting = None;
        }
        return;
    };
    // An `oom_control` that was found on the stack must fit the functions on it, or it is something else.
    if decision.stamp.hook == Hook::RawTracepoint
        && let (Some(control), Some(stack)) = (&decision.control, &decision.stack)
        && (stack.has("mem_cgroup_out_of_memory") && !control.memcg
            || stack.has("moom_callback") && control.order.is_some())
    {
        decision.control = None;
        decision.limit_cgroups = None;
        kill.holders = None;
    }
    // Without a probe on the decision, its record is from the first mark. There the stack tells: a process that is
    // on its way out anyway is marked by `oom_kill_process` itself, any other by `__oom_kill_process`.
    if decision.stamp.hook == Hook::RawTracepoint
        && let Some(chosen) = &mut decision.victim
    {
        let killed = decision.stack.as_ref().is_some_and(|stack| stack.has("__oom_kill_process"));
        chosen.exiting = killed.then_some(false);
        if same_process(&decision.trigger, chosen) {
            decision.trigger.exiting = chosen.exiting;
        }
    }
    for victim in &mut kill.victims {
        victim.task.exiting = None;
        if let Some(chosen) = &decision.victim
            && same_process(&victim.task, chosen)
        {
            fill(&mut victim.task, chosen);
            if victim.cgroups.is_none() {
                victim.cgroups.clone_from(&decision.victim_cgroups);
            }
        }
    }
}

/// Fills what `task` lacks.
fn fill(task: &mut Task, from: &Task) {
    fn or<T: Clone>(value: &mut Option<T>, from: Option<&T>) {
        if value.is_none() {
            *value = from.cloned();
        }
    }
    or(&mut task.pid, from.pid.as_ref());
    or(&mut task.tid, from.tid.as_ref());
    or(&mut task.container_pid, from.container_pid.as_ref());
    or(&mut task.comm, from.comm.as_ref());
    or(&mut task.uid, from.uid.as_ref());
    or(&mut task.oom_score_adj, from.oom_score_adj.as_ref());
    or(&mut task.rss, from.rss.as_ref());
    or(&mut task.page_table_bytes, from.page_table_bytes.as_ref());
    or(&mut task.total_vm_bytes, from.total_vm_bytes.as_ref());
    or(&mut task.start_boottime_ns, from.start_boottime_ns.as_ref());
    or(&mut task.exiting, from.exiting.as_ref());
    // The only one that is of a thread.
    if task.tid == from.tid {
        or(&mut task.thread_comm, from.thread_comm.as_ref());
    }
}
