//! Remedies: what to do about it, in sentences that can be acted on.

pub(crate) mod alloc;

use crate::cgroup::Place;
use crate::classify::evidence::{is_child, may_be_start_up, oom_group};
use crate::classify::memory::{holder, share_of, usage_of_pods};
use crate::classify::scene::Scene;
use crate::classify::summary::{limit_bytes, limit_owner};
use crate::classify::words::{bytes, path, process};
use crate::classify::{Cause, Level, Origin, Shortage, Verdict};
use crate::event::{Constraint, Limit};

/// The remedy: the main thing first, then what the numbers add to it.
pub(crate) fn of(scene: &Scene<'_>, verdict: &Verdict) -> String {
    let mut advice = Vec::new();
    match (verdict.cause, verdict.origin) {
        // Neither cause comes of an OOM decision.
        (Cause::Fragmentation | Cause::LowMemory | Cause::Unknown, _) => advice.push(
            "Look for \"oom-kill:\" in the node's kernel log at this time: its constraint= and oom_memcg= \
             name what ran out. `crashtrace doctor` says what keeps the agent from seeing it."
                .to_owned(),
        ),
        (Cause::SystemOom, Some(Origin::Sysrq)) => advice.push(
            "Find out who asked for it: a write of \"f\" to /proc/sysrq-trigger (root, or a privileged pod), \
             or Alt+SysRq+F on a console. The sysctl kernel.sysrq shuts off only the console."
                .to_owned(),
        ),
        (Cause::SystemOom, Some(Origin::Kswapd)) => advice.push(
            "Take load off the node, or lower /sys/kernel/mm/lru_gen/min_ttl_ms: while it is above 0, the \
             kernel kills as soon as it would have to evict memory used within that time."
                .to_owned(),
        ),
        (Cause::SystemOom, _) => system(scene, verdict, &mut advice),
        (Cause::CgroupOom, Some(Origin::LimitWrite)) => advice.push(limit_write(scene, verdict)),
        (Cause::CgroupOom, _) => cgroup(scene, verdict, &mut advice),
    }
    if scene.waits() {
        advice.push(
            "Set oom_kill_disable in the cgroup's memory.oom_control to 0, or raise the limit: until then page faults there \
             hang, which looks like a deadlock, and system calls fail with ENOMEM."
                .to_owned(),
        );
    } else if scene.no_kill.is_some() && verdict.origin != Some(Origin::Sysrq) {
        advice.push(nobody(verdict).to_owned());
    }
    // Where the pods of a class or of the node are too many together, one process's memory is not the point.
    let too_many = matches!(verdict.level, Some(Level::Qos | Level::NodeAllocatable));
    if verdict.cause == Cause::CgroupOom && verdict.origin != Some(Origin::LimitWrite) && !too_many {
        advice.extend(kinds_of_memory(scene));
        advice.extend(held_elsewhere(scene, verdict));
    }
    let its_own = matches!(verdict.level, Some(Level::Container | Level::Pod));
    if may_be_start_up(scene) && verdict.cause == Cause::CgroupOom && its_own {
        advice.insert(0, start_up(scene, verdict));
    }
    advice.extend(survivor(scene, verdict));
    advice.extend(all_together(scene, verdict));
    advice.join(" ")
}

fn cgroup(scene: &Scene<'_>, verdict: &Verdict, advice: &mut Vec<String>) {
    let limit = verdict.limit.as_ref().and_then(limit_bytes);
    let above = limit.map_or_else(|| "its present value".to_owned(), bytes);
    advice.push(match verdict.level {
        Some(Level::Container) if !in_a_pod(scene, verdict) => format!(
            "Raise the container's memory limit above {above} in whatever made it (`docker update --memory`, for one), or find \
             what grows in it: no pod's cgroup is above it, so changing pods does not help."
        ),
        Some(Level::Container) => format!(
            "Raise the container's resources.limits.memory{} above {above} if it needs that much, or find what \
             grows in it.",
            manifest(scene, verdict, true)
        ),
        Some(Level::Pod) => format!(
            "Raise the pod's limit{} above {above}: spec.resources.limits.memory where the pod has that, else \
             the containers' limits, whose sum it is (sidecars included). Memory-backed emptyDir volumes \
             count too, and outlive their containers: give them a sizeLimit.",
            manifest(scene, verdict, false)
        ),
        Some(Level::Qos) => format!(
            "Spread the pods of this class over more nodes, or raise the limit of the class above {above}: \
             kubelet sets one where memory is reserved for higher classes (--qos-reserved)."
        ),
        Some(Level::NodeAllocatable) => format!(
            "The pods of this node together may use {above}, and they do: their requests are lower than what \
             they use, so the scheduler puts too many here. Raise the requests to real use, limit pods that \
             have no limit, or give the node more memory. Where the node has memory to spare, lower \
             kubelet's --kube-reserved or --system-reserved."
        ),
        Some(Level::HostService) => host_service(verdict, &above),
        Some(Level::Cgroup) => {
            let whose =
                limit_owner(scene, verdict).unwrap_or_else(|| "the cgroup inside the container".to_owned());
            if let Some(unit) = delegate_of(verdict) {
                format!(
                    "Raise memory.max above {above} for {whose}, where it is set: by what runs in {unit} (a user's systemd, \
                     a container engine), or find what grows in it. This is no pod's limit: changing pods does not help."
                )
            } else {
                format!(
                    "Raise memory.max above {above} for {whose}, in whatever set it: neither kubelet nor systemd \
                     manages that cgroup. If a process inside a container made it, look there."
                )
            }
        }
        Some(Level::Node) | None => {
            "Compare memory.current with memory.max (on cgroup v1 memory.usage_in_bytes with \
             memory.limit_in_bytes) in the victim's cgroup and each one above it, and raise the limit that \
             is reached."
                .to_owned()
        }
    });
}

/// The unit of the host that the limit's cgroup lies in, and that may have set it.
fn delegate_of(verdict: &Verdict) -> Option<String> {
    let party = verdict.limit.as_ref().map(|limit| &limit.party)?;
    let unit = party.owner.unit.as_deref().filter(|unit| unit.strip_suffix(".slice").is_none())?;
    (party.placement.place == Place::HostService && party.placement.nested).then(|| path(unit.as_bytes()))
}

/// The limit's cgroup is in a pod.
fn in_a_pod(scene: &Scene<'_>, verdict: &Verdict) -> bool {
    let limit = verdict.limit.as_ref().map(|limit| &limit.party);
    let all = [limit, limit.and_then(|limit| scene.asker_in(limit))];
    all.into_iter().flatten().any(|party| party.placement.is_in_pod())
}

/// Where that is to be changed, if it is known: ` (container api in Deployment shop/api)`.
fn manifest(scene: &Scene<'_>, verdict: &Verdict, container: bool) -> String {
    let limit = verdict.limit.as_ref().map(|limit| &limit.party);
    let asker = limit.and_then(|limit| scene.asker_in(limit));
    // Of a limit that is the pod's and only one container's, the process is in that container.
    let parties = if container { [asker, limit] } else { [limit, None] };
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

fn host_service(verdict: &Verdict, above: &str) -> String {
    let unit = verdict.limit.as_ref().and_then(|limit| limit.party.owner.unit.as_deref());
    let unit = unit.map_or_else(|| "the unit".to_owned(), |unit| path(unit.as_bytes()));
    format!(
        "Raise MemoryMax= of {unit} above {above} (`systemctl set-property {unit} MemoryMax=...`), or find \
         what grows in it. This is no pod's limit: changing pods does not help."
    )
}

fn limit_write(scene: &Scene<'_>, verdict: &Verdict) -> String {
    let writer =
        scene.trigger.as_ref().map_or_else(|| "somebody".to_owned(), |trigger| process(trigger.task));
    let level = verdict.limit.as_ref().and_then(|limit| limit.cgroups.levels.first());
    let used = level.and_then(|level| level.usage_bytes);
    let room = used.map_or_else(String::new, |used| format!(" ({} at that moment)", bytes(used)));
    format!(
        "Find out why {writer} lowered the limit: an in-place resize of the pod, a changed unit, or a tool \
         that writes memory.max (a runtime or systemd writes it for somebody else). Set the limit above what \
         is in use{room}, or restart the workload with the smaller limit."
    )
}

/// Where to look first: the largest holder, if it is one that can be named.
fn largest(scene: &Scene<'_>) -> Option<String> {
    let memory = scene.memory.filter(|memory| !memory.incomplete)?;
    let held = memory.holders.first()?;
    Some(format!("Look first at what held most: {}.", holder(held, share_of(scene))))
}

fn system(scene: &Scene<'_>, verdict: &Verdict, advice: &mut Vec<String>) {
    match verdict.constraint {
        Some(Constraint::Cpuset) => {
            advice.push(
                "The node as a whole may have memory left. Allow the workload more NUMA nodes (cpuset.mems; \
                 in Kubernetes the Memory Manager and Topology Manager policies set it), or move other users \
                 of those NUMA nodes away: `numactl --hardware` and `numastat -m` show what each has free."
                    .to_owned(),
            );
            return;
        }
        Some(Constraint::Mempolicy) => {
            advice.push(
                "The node as a whole may have memory left. The process that asked has bound itself to some \
                 NUMA nodes (numactl --membind, mbind): let it prefer them instead (numactl --preferred), or \
                 bind it to more. `numastat -m` shows what each has free."
                    .to_owned(),
            );
            return;
        }
        _ => {}
    }
    let order = scene.request.and_then(|request| request.order).unwrap_or_default();
    if verdict.shortage == Some(Shortage::Fragmentation) {
        advice.push("Memory was left, in pieces too small for the request: to kill frees some, but does not keep it in one \
             piece.".to_owned());
        advice.extend(alloc::fragmentation(scene.unmovable));
        return;
    }
    if order > 0 && verdict.shortage.is_none() {
        advice.push(format!(
            "The request was for {} pages in one piece: if memory was free, it was in pieces too small \
             (/proc/buddyinfo shows them).",
            1_u64.checked_shl(order).unwrap_or(u64::MAX)
        ));
    }
    advice.push(match usage_of_pods(scene) {
        // Only where the whole node is full does the rest follow.
        Some((usage, Limit::Bytes(limit)))
            if usage <= limit && order == 0 && verdict.constraint == Some(Constraint::None) =>
        {
            format!(
                "The pods kept within what the node allows them ({} of {}), so what runs outside of pods \
             (kubelet, the runtime, system services, the kernel) takes more than is reserved for it: raise \
             kubelet's --system-reserved or --kube-reserved by about {}, or find what grows there \
             (`systemd-cgtop -m`).",
                bytes(usage),
                bytes(limit),
                bytes(limit - usage),
            )
        }
        Some((_, Limit::Bytes(_))) | None => "Reserve memory for what runs outside of pods (kubelet's \
             --kube-reserved and --system-reserved), and look at what it uses (`systemd-cgtop -m`)."
            .to_owned(),
        Some((usage, Limit::Unlimited)) => format!(
            "The pods used {} and nothing limits them together: set kubelet's \
             --enforce-node-allocatable=pods with --kube-reserved and --system-reserved.",
            bytes(usage)
        ),
    });
    advice.extend(largest(scene));
    advice.push(
        "Raise --eviction-hard memory.available so that kubelet evicts pods in time, and set requests to \
         real use so that the scheduler does not overfill the node."
            .to_owned(),
    );
}

/// The container's program never ran, if the victim is what it is called: then that program is not to blame.
fn start_up(scene: &Scene<'_>, verdict: &Verdict) -> String {
    let victim = scene.victim.as_ref().map_or_else(|| "the victim".to_owned(), |victim| process(victim.task));
    let usage = verdict.limit.as_ref().and_then(|limit| limit.cgroups.levels.first()?.usage_bytes);
    match (scene.limit_shmem_bytes, usage) {
        (Some(shmem), Some(usage)) if shmem >= usage / 2 => format!(
            "If {victim} is the runtime's start-up process, the container could not start for want of memory: {} of the {} in use are shared memory or files in memory. \
             If those are memory-backed volumes of its pod, they outlive its containers: empty them, or delete the pod, \
             and give them a sizeLimit below the memory limit.",
            bytes(shmem),
            bytes(usage)
        ),
        _ => format!(
            "If {victim} is the runtime's start-up process, the container could not start for want of memory: the runtime itself \
             needs some 8 to 30 MiB for a moment to set it up. Set the limit above that, or see what else of the pod holds memory."
        ),
    }
}

fn nobody(verdict: &Verdict) -> &'static str {
    match verdict.cause {
        Cause::CgroupOom => {
            "Until then requests in that cgroup fail (ENOMEM, SIGBUS). Give at least one of its processes an \
             oom_score_adj above -1000, so that the kernel can free memory."
        }
        _ => "Give at least one large process an oom_score_adj above -1000.",
    }
}

/// What kind of memory the victim held, where that hints at a remedy.
fn kinds_of_memory(scene: &Scene<'_>) -> Vec<String> {
    let mut advice = Vec::new();
    let Some(victim) = &scene.victim else { return advice };
    let Some(rss) = victim.task.rss else { return advice };
    let (name, resident) = (process(victim.task), rss.resident_bytes());
    let share = |part: u64| part > 0 && part >= resident / 4;
    let all = bytes(resident);
    if share(rss.shmem_bytes) {
        advice.push(format!(
            "{} of the {all} of {name} is shared memory: look at /dev/shm and memory-backed emptyDir volumes \
             (medium: Memory), whose files count against the limit until they are deleted.",
            bytes(rss.shmem_bytes)
        ));
    } else if share(rss.anon_bytes) {
        advice.push(format!(
            "{} of the {all} of {name} is anonymous memory (heap and stacks): compare the limits of its own \
             that its runtime has (-Xmx, GOMEMLIMIT, --max-old-space-size) with the cgroup's.",
            bytes(rss.anon_bytes)
        ));
    }
    let tables = victim.task.page_table_bytes.unwrap_or_default();
    if share(tables) {
        advice.push(format!(
            "Its page tables take {}: it maps far more address space than it holds; huge pages or fewer \
             processes sharing large mappings help.",
            bytes(tables)
        ));
    }
    advice
}

/// The killed processes held only a part of what was in use.
fn held_elsewhere(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    let usage = verdict.limit.as_ref()?.cgroups.levels.first()?.usage_bytes?;
    let mut held = 0_u64;
    for victim in scene.victims() {
        held = held.saturating_add(victim.task.rss?.resident_bytes());
    }
    (!scene.victims().is_empty() && held < usage / 2).then(|| {
        format!(
            "The killed processes held only {} of the {} in use: the rest is in other processes, files in \
             memory (tmpfs, memory-backed emptyDir), page cache or kernel memory; memory.stat of the cgroup \
             tells.",
            bytes(held),
            bytes(usage)
        )
    })
}

/// A container that was killed as a whole for one of its processes.
fn all_together(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    oom_group(scene, verdict)?;
    let placement = &scene.victim.as_ref()?.party.as_ref()?.placement;
    let container = placement.container_end.is_some() && placement.is_in_pod();
    (container && scene.victims().len() > 1).then(|| {
        "If its other processes should survive the death of one, set singleProcessOOMKill in kubelet's \
         configuration (Kubernetes 1.32 and later), which leaves memory.oom.group off."
            .to_owned()
    })
}

/// A container that lost a child goes on without it.
fn survivor(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    let victim = scene.victim.as_ref()?;
    let container_pid = is_child(victim)?;
    let in_pod = victim.party.as_ref().is_some_and(|party| party.placement.is_in_pod());
    if scene.victims().is_empty() || oom_group(scene, verdict).is_some() {
        return None;
    }
    let kubernetes = if in_pod { ", and Kubernetes then neither restarts it nor shows a reason" } else { "" };
    Some(format!(
        "The victim was pid {container_pid} in its container, not pid 1: the container may go on without it{kubernetes}. Check \
         that it still works, and restart it if not."
    ))
}
