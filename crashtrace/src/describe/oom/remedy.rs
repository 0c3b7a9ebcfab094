//! What to do about an OOM.

use super::{Oom, memory};
use crate::cgroup::Place;
use crate::classify::LimitFinding;
use crate::classify::oom::{Agreement, OomCause};
use crate::describe::alloc::remedy::fragmentation;
use crate::event::{Constraint, Limit};
use crate::fragmentation::block_pages;
use crate::phrase::{path, process, size};
use crate::schema::{Level, Origin};

/// The remedy: the main advice first, then the advice that follows from the numbers.
pub(super) fn of(oom: &Oom<'_>) -> String {
    let mut advice = Vec::new();
    match (oom.cause(), oom.origin()) {
        (OomCause::Unknown, _) => advice.push(
            "Look for \"oom-kill:\" in the node's kernel log at this time: its constraint= and oom_memcg= name what ran out. \
             A LOST line of the agent before this report says that records were lost; else `crashtrace doctor` says which \
             hooks are missing."
                .to_owned(),
        ),
        (OomCause::Node, Some(Origin::Sysrq)) => advice.push(
            "Find out what requested it: a write of \"f\" to /proc/sysrq-trigger (root, or a privileged pod), or Alt+SysRq+F \
             on a console. The sysctl kernel.sysrq shuts off only the console."
                .to_owned(),
        ),
        (OomCause::Node, Some(Origin::Kswapd)) => advice.push(
            "Move load off the node, or lower /sys/kernel/mm/lru_gen/min_ttl_ms: while it is above 0, the kernel kills as soon \
             as it would have to evict memory used within that time."
                .to_owned(),
        ),
        (OomCause::Node, _) => system(oom, &mut advice),
        (OomCause::Limit, Some(Origin::LimitWrite)) => advice.push(limit_write(oom)),
        (OomCause::Limit, _) => advice.push(limit(oom)),
    }
    if oom.scene.waits() {
        advice.push(
            "Set oom_kill_disable in the cgroup's memory.oom_control to 0, or raise the limit: until then page faults there \
             hang, which looks like a deadlock, and system calls fail with ENOMEM."
                .to_owned(),
        );
    } else if oom.scene.no_kill.is_some() && oom.origin() != Some(Origin::Sysrq) {
        advice.push(no_kill(oom).to_owned());
    }
    // If the pods of a class or of the node are too many together, the remedy is not one process's memory.
    let too_many = matches!(oom.level(), Some(Level::Qos | Level::NodeAllocatable));
    if oom.cause() == OomCause::Limit && oom.origin() != Some(Origin::LimitWrite) && !too_many {
        advice.extend(kinds_of_memory(oom));
        advice.extend(held_elsewhere(oom));
    }
    let its_own = matches!(oom.level(), Some(Level::Container | Level::Pod));
    let may_be_start_up = oom.scene.start_up().is_some_and(|start_up| start_up.is_first);
    if may_be_start_up && oom.cause() == OomCause::Limit && its_own {
        advice.insert(0, start_up(oom));
    }
    advice.extend(survivor(oom));
    advice.extend(all_together(oom));
    advice.join(" ")
}

fn limit(oom: &Oom<'_>) -> String {
    let above = oom.limit().and_then(LimitFinding::bytes);
    let above = above.map_or_else(|| "its present value".to_owned(), size);
    if let (Some(Level::Container), Some(Agreement::Differs { spec_bytes, kernel_bytes })) =
        (oom.level(), oom.facts.kubernetes.and_then(|known| known.agreement))
    {
        return format!(
            "Find out what set memory.max to {} while resources.limits.memory{} is {} (a resize, a tool, a write by hand), and \
             undo it; or find what grows in the container.",
            size(kernel_bytes),
            manifest(oom, true),
            size(spec_bytes)
        );
    }
    match oom.level() {
        Some(Level::Container) if !in_a_pod(oom) => format!(
            "Raise the container's memory limit above {above} in whatever made it (for example `docker update --memory`), or \
             find what grows in it: no pod's cgroup is above it, so changing pods does not help."
        ),
        Some(Level::Container) => format!(
            "Raise the container's resources.limits.memory{} above {above} if it needs that much, or find what grows in it.",
            manifest(oom, true)
        ),
        Some(Level::Pod) => format!(
            "Raise the pod's limit{} above {above}: spec.resources.limits.memory where the pod has that, else the containers' \
             limits, whose sum it is (sidecars included). Memory-backed emptyDir volumes count too, and outlive their \
             containers: give them a sizeLimit.",
            manifest(oom, false)
        ),
        Some(Level::Qos) => format!(
            "Spread the pods of this QoS class over more nodes, or raise the limit of the class above {above}: kubelet sets one \
             where memory is reserved for higher classes (--qos-reserved)."
        ),
        Some(Level::NodeAllocatable) => format!(
            "All pods of this node together may use {above}, and they do: their requests are lower than what they use, so the \
             scheduler puts too many here. Raise the requests to real use, limit pods that have no limit, or give the node \
             more memory. Where the node has memory to spare, lower kubelet's --kube-reserved or --system-reserved."
        ),
        Some(Level::HostService) => host_service(oom, &above),
        Some(Level::Cgroup) => {
            let whose = oom.limit_owner().unwrap_or_else(|| "the cgroup inside the container".to_owned());
            match delegate(oom) {
                Some(unit) => format!(
                    "Raise memory.max above {above} for {whose}, or find what grows in it. {unit} manages that cgroup (a \
                     user's systemd, a container engine): set it there. The limit is not a pod's: changing pods does not help."
                ),
                None => format!(
                    "Raise memory.max above {above} for {whose}, in whatever set it: neither kubelet nor systemd manages that \
                     cgroup. If a process inside a container made it, look there."
                ),
            }
        }
        Some(Level::Node) | None => {
            "Compare memory.current with memory.max (on cgroup v1 memory.usage_in_bytes with memory.limit_in_bytes) in the \
             victim's cgroup and each one above it, and raise the limit that is reached."
                .to_owned()
        }
    }
}

/// The unit of the host that the limit owner lies in, and that may have set the limit.
fn delegate(oom: &Oom<'_>) -> Option<String> {
    let party = &oom.limit()?.party;
    let unit = party.owner.unit.as_deref().filter(|unit| unit.strip_suffix(".slice").is_none())?;
    (party.placement.place == Place::HostService && party.placement.nested).then(|| path(unit.as_bytes()))
}

/// The limit owner is in a pod.
fn in_a_pod(oom: &Oom<'_>) -> bool {
    let limit = oom.limit().map(|limit| &limit.party);
    let both = [limit, limit.and_then(|limit| oom.scene.actor_in(limit))];
    both.into_iter().flatten().any(|party| party.placement.is_in_pod())
}

/// The manifest to change, if it is known: ` (container api in Deployment shop/api)`.
fn manifest(oom: &Oom<'_>, container: bool) -> String {
    let limit = oom.limit().map(|limit| &limit.party);
    let actor = limit.and_then(|limit| oom.scene.actor_in(limit));
    // If the limit is the pod's and only one container's, the process is in that container.
    let parties = if container { [actor, limit] } else { [limit, None] };
    let mut all = parties.into_iter().flatten().filter_map(|party| party.owner.names.as_deref());
    let Some(names) = all.find(|names| names.container.is_some() || !container) else { return String::new() };
    let name = |name: &str| path(name.as_bytes());
    let namespace = names.namespace.as_deref().map_or_else(String::new, |it| format!("{}/", name(it)));
    let what = match (&names.workload, &names.pod) {
        (Some(workload), _) if &*workload.kind != "Node" => {
            format!("{} {namespace}{}", name(&workload.kind), name(&workload.name))
        }
        (_, Some(pod)) => format!("pod {namespace}{}", name(pod)),
        (_, None) => return String::new(),
    };
    match names.container.as_ref().and_then(|it| it.name.as_deref()).filter(|_| container) {
        Some(container) => format!(" (container {} in {what})", name(container)),
        None => format!(" ({what})"),
    }
}

fn host_service(oom: &Oom<'_>, above: &str) -> String {
    let unit = oom.limit().and_then(|limit| limit.party.owner.unit.as_deref());
    let unit = unit.map_or_else(|| "the unit".to_owned(), |unit| path(unit.as_bytes()));
    format!(
        "Raise MemoryMax= of {unit} above {above} (`systemctl set-property {unit} MemoryMax=...`), or find what grows in it. \
         The limit is not a pod's: changing pods does not help."
    )
}

fn limit_write(oom: &Oom<'_>) -> String {
    let trigger = oom.scene.trigger.as_ref();
    let writer = trigger.map_or_else(|| "a process".to_owned(), |trigger| process(trigger.task));
    let used = oom.limit().and_then(LimitFinding::usage_bytes);
    let room = used.map_or_else(String::new, |used| format!(" ({} at that moment)", size(used)));
    format!(
        "Find out why {writer} lowered the limit: an in-place resize of the pod, a changed unit, or a tool that writes \
         memory.max (a runtime or systemd writes it on behalf of another). Set the limit above what is in use{room}, or \
         restart the workload with the smaller limit."
    )
}

/// Where to look first: the largest holder, if it has a name.
fn largest(oom: &Oom<'_>) -> Option<String> {
    let memory = oom.scene.memory.filter(|memory| !memory.incomplete)?;
    let held = memory.holders.first()?;
    Some(format!("Look first at the largest holder: {}.", memory::holder(held, oom.scene.share_of())))
}

fn system(oom: &Oom<'_>, advice: &mut Vec<String>) {
    match oom.verdict.constraint {
        Some(Constraint::Cpuset) => {
            advice.push(
                "The node as a whole may have memory left. Allow the workload more NUMA nodes (cpuset.mems; in Kubernetes the \
                 Memory Manager and Topology Manager policies set it), or move other users of those NUMA nodes away: \
                 `numactl --hardware` and `numastat -m` show what each has free."
                    .to_owned(),
            );
            return;
        }
        Some(Constraint::Mempolicy) => {
            advice.push(
                "The node as a whole may have memory left. The allocating process has bound itself to some NUMA nodes \
                 (numactl --membind, mbind): let it prefer them instead (numactl --preferred), or bind it to more. \
                 `numastat -m` shows what each has free."
                    .to_owned(),
            );
            return;
        }
        _ => {}
    }
    let order = oom.scene.request.and_then(|request| request.order).unwrap_or_default();
    if oom.is_fragmentation() {
        advice.push(
            "Memory was left, in blocks too small for the allocation: a kill frees memory, but not contiguous blocks."
                .to_owned(),
        );
        advice.extend(fragmentation(oom.scene.unmovable));
        return;
    }
    if order > 0 && oom.verdict.shortage.is_none() {
        advice.push(format!(
            "The allocation was order-{order} ({} contiguous pages): if memory was free, it was fragmented (/proc/buddyinfo \
             shows the free blocks).",
            block_pages(order).unwrap_or(u64::MAX)
        ));
    }
    advice.extend(largest(oom));
    advice.push(match oom.scene.usage_of_pods() {
        // The rest follows only if the whole node is full.
        Some((usage, Limit::Bytes(limit)))
            if usage <= limit && order == 0 && oom.verdict.constraint == Some(Constraint::None) =>
        {
            format!(
                "The pods kept within node-allocatable ({} of {}), so what runs outside of pods (kubelet, the runtime, system \
                 services, the kernel) takes more than is reserved for it: raise kubelet's --system-reserved or \
                 --kube-reserved by about {}, or find what grows there (`systemd-cgtop -m`).",
                size(usage),
                size(limit),
                size(limit - usage),
            )
        }
        Some((_, Limit::Bytes(_))) | None => {
            "Reserve memory for what runs outside of pods (kubelet's --kube-reserved and --system-reserved), and look at what \
             it uses (`systemd-cgtop -m`)."
                .to_owned()
        }
        Some((usage, Limit::Unlimited)) => format!(
            "The pods used {} together and have no common limit: set kubelet's --enforce-node-allocatable=pods with \
             --kube-reserved and --system-reserved.",
            size(usage)
        ),
    });
    advice.push(
        "Raise --eviction-hard memory.available so that kubelet evicts pods in time, and set requests to real use so that the \
         scheduler does not overfill the node."
            .to_owned(),
    );
}

/// The container's program never ran, if the victim is the runtime's process: then that program is not the cause.
fn start_up(oom: &Oom<'_>) -> String {
    let victim = oom.scene.victim.as_ref();
    let victim = victim.map_or_else(|| "the victim".to_owned(), |victim| process(victim.task));
    let condition = format!(
        "If {victim} is the runtime's start-up process, the container could not start because memory was short:"
    );
    match (oom.scene.limit_shmem_bytes, oom.limit().and_then(LimitFinding::usage_bytes)) {
        (Some(shmem), Some(usage)) if shmem >= usage / 2 => format!(
            "{condition} {} of the {} in use are shared memory or files in memory. If those are memory-backed volumes of its \
             pod, they outlive its containers: empty them, or delete the pod, and give them a sizeLimit below the memory \
             limit.",
            size(shmem),
            size(usage)
        ),
        _ => format!(
            "{condition} the runtime itself needs some 8 to 30 MiB for a moment to set it up. Set the limit above that, or see \
             what else of the pod holds memory."
        ),
    }
}

fn no_kill(oom: &Oom<'_>) -> &'static str {
    match oom.cause() {
        OomCause::Limit => {
            "Until the limit is raised, allocations in that cgroup fail (ENOMEM, SIGBUS). Give at least one of its processes an oom_score_adj \
             above -1000, so that the kernel can free memory."
        }
        OomCause::Node | OomCause::Unknown => "Give at least one large process an oom_score_adj above -1000.",
    }
}

/// The kind of memory that the victim held, if it suggests a remedy.
fn kinds_of_memory(oom: &Oom<'_>) -> Vec<String> {
    let mut advice = Vec::new();
    let Some(victim) = &oom.scene.victim else { return advice };
    let Some(rss) = victim.task.rss else { return advice };
    let (name, resident) = (process(victim.task), rss.resident_bytes());
    let share = |part: u64| part > 0 && part >= resident / 4;
    let all = size(resident);
    if share(rss.shmem_bytes) {
        advice.push(format!(
            "{} of the {all} of {name} is shared memory: look at /dev/shm and memory-backed emptyDir volumes (medium: Memory), \
             whose files count against the limit until they are deleted.",
            size(rss.shmem_bytes)
        ));
    } else if share(rss.anon_bytes) {
        advice.push(format!(
            "{} of the {all} of {name} is anonymous memory (heap and stacks): compare the limits that its runtime has (-Xmx, \
             GOMEMLIMIT, --max-old-space-size) with the cgroup's.",
            size(rss.anon_bytes)
        ));
    }
    let tables = victim.task.page_table_bytes.unwrap_or_default();
    if share(tables) {
        advice.push(format!(
            "Its page tables take {}: it maps far more address space than it holds; huge pages or fewer processes sharing \
             large mappings help.",
            size(tables)
        ));
    }
    advice
}

/// The killed processes held only a part of the usage.
fn held_elsewhere(oom: &Oom<'_>) -> Option<String> {
    let usage = oom.limit()?.usage_bytes()?;
    let mut held = 0_u64;
    for victim in oom.scene.victims() {
        held = held.saturating_add(victim.task.rss?.resident_bytes());
    }
    (!oom.scene.victims().is_empty() && held < usage / 2).then(|| {
        format!(
            "The killed processes held only {} of the {} in use: the rest is in other processes, files in memory (tmpfs, \
             memory-backed emptyDir), page cache or kernel memory; memory.stat of the cgroup tells.",
            size(held),
            size(usage)
        )
    })
}

/// A container that was killed as a whole for one of its processes.
fn all_together(oom: &Oom<'_>) -> Option<String> {
    oom.oom_group()?;
    let placement = &oom.scene.victim.as_ref()?.party()?.placement;
    let container = placement.container_end.is_some() && placement.is_in_pod();
    (container && oom.scene.victims().len() > 1).then(|| {
        "If its other processes should survive the death of one, set singleProcessOOMKill in kubelet's configuration \
         (Kubernetes 1.32 and later), which leaves memory.oom.group off."
            .to_owned()
    })
}

/// A container that lost a child goes on without it.
fn survivor(oom: &Oom<'_>) -> Option<String> {
    let victim = oom.scene.victim.as_ref()?;
    let container_pid = victim.is_child()?;
    let in_pod = victim.party().is_some_and(|party| party.placement.is_in_pod());
    if oom.scene.victims().is_empty() || oom.oom_group().is_some() {
        return None;
    }
    let kubernetes = if in_pod { ", and Kubernetes then neither restarts it nor shows a reason" } else { "" };
    Some(format!(
        "The victim was pid {container_pid} in its container, not pid 1: the container may go on without it{kubernetes}. Check \
         that it still works, and restart it if not."
    ))
}
