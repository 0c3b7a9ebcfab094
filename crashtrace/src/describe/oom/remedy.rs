//! What to do about an OOM.

use super::{Oom, controller, swap, whose};
use crate::classify::LimitFinding;
use crate::classify::oom::{OomCause, PidNamespace};
use crate::phrase::{process, size};
use crate::schema::{Level, Origin};

mod entry;
mod holder;
mod kind;
mod limit;
mod memory;
mod node;
mod reserve;
mod scope;
mod volumes;

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
        (OomCause::Node, _) => node::system(oom, &mut advice),
        (OomCause::Limit, Some(Origin::LimitWrite)) => advice.push(limit::limit_write(oom)),
        (OomCause::Limit, _) => {
            advice.extend(swap::together(oom));
            advice.push(limit::limit(oom));
            advice.extend(whose::other_reading(oom));
            advice.extend(swap::used_up(oom));
        }
    }
    if oom.scene.waits() {
        advice.push(
            "Set oom_kill_disable in the cgroup's memory.oom_control to 0, or raise the limit: until then page faults there \
             hang, which looks like a deadlock, and system calls fail with ENOMEM."
                .to_owned(),
        );
    } else if oom.scene.no_kill.is_some() && oom.origin() != Some(Origin::Sysrq) {
        advice.push(no_kill(oom));
    }
    // If the pods of a class or of the node are too many together, the remedy is not one process's memory.
    let too_many = matches!(oom.level(), Some(Level::Qos | Level::NodeAllocatable));
    if oom.cause() == OomCause::Limit && oom.origin() != Some(Origin::LimitWrite) && !too_many {
        memory::of_limit(oom, &mut advice);
    }
    let its_own = matches!(oom.level(), Some(Level::Container | Level::Pod));
    let may_be_start_up = oom.scene.start_up().is_some_and(|start_up| start_up.is_first);
    if may_be_start_up && oom.cause() == OomCause::Limit && its_own {
        advice.insert(0, start_up(oom));
    }
    if let Some(on) = controller::remedy(oom) {
        advice.insert(0, on);
    }
    advice.extend(survivor(oom));
    advice.extend(all_together(oom));
    advice.join(" ")
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

fn no_kill(oom: &Oom<'_>) -> String {
    if let Some(trigger) = oom.exempt_trigger() {
        let until = match oom.cause() {
            OomCause::Limit => {
                "Until then, or until the limit is raised, allocations in that cgroup fail (ENOMEM, SIGBUS)."
            }
            OomCause::Node | OomCause::Unknown => "Until then the kernel cannot free memory by a kill.",
        };
        return format!(
            "Find what gives {} its oom_score_adj of -1000: OOMScoreAdjust= of its service, or of the service that starts it (the client \
             of an orchestrator such as Nomad, a container engine), whose children inherit it. Set that above -1000, or let what starts \
             the workload reset it. {until}",
            process(trigger.task)
        );
    }
    let advice = match oom.cause() {
        OomCause::Limit => {
            "Until the limit is raised, allocations in that cgroup fail (ENOMEM, SIGBUS). Give at least one of its processes an oom_score_adj \
             above -1000, so that the kernel can free memory."
        }
        OomCause::Node | OomCause::Unknown => "Give at least one large process an oom_score_adj above -1000.",
    };
    advice.to_owned()
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
    let (pid, namespace) = victim.not_pid_1()?;
    let in_pod = victim.party().is_some_and(|party| party.placement.is_in_pod());
    if oom.scene.victims().is_empty() || oom.oom_group().is_some() {
        return None;
    }
    let kubernetes = if in_pod { ", and Kubernetes then neither restarts it nor shows a reason" } else { "" };
    let check = "Check that it still works, and restart it if not.";
    match namespace {
        PidNamespace::Own => Some(format!(
            "The victim was pid {pid} in its container, not pid 1: the container may go on without it{kubernetes}. {check}"
        )),
        // The end of a first process is reported when it ends.
        PidNamespace::Shared => None,
        PidNamespace::Unknown => Some(format!(
            "If the victim (pid {pid} in its pid namespace) was not its container's first process, the container may go on without \
             it{kubernetes}. {check}"
        )),
    }
}
