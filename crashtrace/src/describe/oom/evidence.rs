//! The facts behind a verdict on an OOM, with their numbers.

use super::{Oom, account, controller, memory, of_owner, swap, weight, whose};
use crate::classify::oom::{Agreement, Basis, OomCause, PidNamespace, Scene};
use crate::describe::{cgroup, reason, usage, zones};
use crate::enrich::Party;
use crate::event::{Constraint, Limit};
use crate::phrase::{self, apart, process, processes, seconds, size};
use crate::schema::{Level, Origin};

/// Suffix of `oom_kill_process`'s message if `out_of_memory` (`mm/oom_kill.c`, 5.10 to 7.3) did not weigh processes.
const ALLOCATING_TASK: &[u8] = b"(oom_kill_allocating_task)";

pub(super) fn of(oom: &Oom<'_>) -> Vec<String> {
    let scene = &oom.scene;
    let mut evidence = vec![basis(oom.facts.basis)];
    evidence.extend(limit(oom));
    evidence.extend(kubernetes(oom));
    // A writer of a limit allocates nothing, and neither does kswapd here: their flags and order are fixed.
    if !matches!(oom.origin(), Some(Origin::LimitWrite | Origin::Kswapd)) {
        evidence.extend(allocation(scene));
    }
    evidence.extend(scope(oom));
    evidence.extend(controller::evidence(oom));
    if oom.cause() == OomCause::Limit {
        evidence.extend(account::evidence(oom));
    }
    if oom.cause() == OomCause::Node {
        evidence.extend(
            scene
                .sight
                .iter()
                .flat_map(|sight| zones::evidence(sight, scene.unmovable, zones::Then::OomKiller)),
        );
        evidence.extend(memory::evidence(oom));
        evidence.extend(own_limit(scene));
        evidence.extend(memory::requested(scene));
    }
    evidence.extend(shmem(oom));
    evidence.extend(victim(scene));
    evidence.extend(start_up(scene));
    evidence.extend(trigger(oom));
    evidence.extend(group(oom));
    evidence.extend(child(scene));
    evidence.extend(no_kill(oom));
    evidence.extend(folded(scene));
    evidence
}

fn basis(basis: Basis) -> String {
    let words = match basis {
        Basis::OnStack(function) => {
            return format!("{function} is on the kernel's stack at the decision");
        }
        Basis::Nothing(why) => {
            let why = reason::no_trace(why);
            return format!("neither oom_control nor the stack of the kernel's decision is known: {why}");
        }
        Basis::Waits => {
            "the kernel put the task to sleep at the limit of a memory cgroup whose OOM killer is switched off \
             (oom_kill_disable)"
        }
        Basis::Memcg => "oom_control.memcg is set: a cgroup limit was hit, not the node's memory",
        Basis::NoOrder => "oom_control.order is -1, which only sysrq passes",
        Basis::NoZones => "oom_control has neither a memcg nor zones, which only kswapd's lacks",
        Basis::Page => "oom_control.memcg is not set: no cgroup limit was hit",
        Basis::OutOfMemoryOnStack => {
            "out_of_memory is on the kernel's stack, and no function that leads to the OOM of a memory cgroup"
        }
        Basis::LimitCgroups => "oom_control names the cgroup whose limit was hit",
        Basis::MemcgMessage => "the kernel logs the kill as \"Memory cgroup out of memory\"",
        Basis::SystemMessage => "the kernel logs the kill as \"Out of memory\", not as a memory cgroup's",
    };
    words.to_owned()
}

/// How full the limit owner was, and how that was found.
fn limit(oom: &Oom<'_>) -> Vec<String> {
    let mut evidence = Vec::new();
    let Some(finding) = oom.limit() else {
        // The figures of a cgroup without a known owner are still those of the limit.
        let unowned = oom.scene.limit.filter(|owned| owned.nearest().is_err());
        let cgroups = unowned.and(oom.scene.limit_cgroups).filter(|cgroups| cgroups.skipped == 0);
        let first = cgroups.and_then(|cgroups| cgroups.levels.first());
        evidence.extend(first.and_then(|level| usage("the cgroup at its limit", level)));
        return evidence;
    };
    evidence.extend(finding.cgroups.levels.first().and_then(|level| usage(&cgroup(&finding.party), level)));
    evidence.extend(swap::evidence(oom));
    evidence.extend(oom.facts.shared_limit.map(|shared| whose::shared(shared, oom.limit())));
    if let Some((best, others)) = oom.facts.near_limit.split_first() {
        evidence.push(format!(
            "inferred: of the victim's cgroups this one was nearest to its limit, with {} left",
            size(best.left_bytes)
        ));
        for other in others {
            evidence.push(format!(
                "{} was near its limit too, with {} left",
                victim_cgroup(&oom.scene, other.index),
                size(other.left_bytes)
            ));
        }
    }
    evidence
}

/// The cgroup at `levels[index]` of the victim's lineage.
fn victim_cgroup(scene: &Scene<'_>, index: usize) -> String {
    let victim = scene.victim.as_ref();
    if let Some(party) = victim.and_then(|victim| victim.owned?.level(index).ok()) {
        return cgroup(party);
    }
    let cgroups = victim.and_then(|victim| victim.cgroups);
    cgroups.map_or_else(
        || "a cgroup".to_owned(),
        |cgroups| format!("cgroup {}", phrase::path_of(cgroups, index)),
    )
}

/// Kubernetes' limit.
fn kubernetes(oom: &Oom<'_>) -> Option<String> {
    let known = oom.facts.kubernetes?;
    let party = &oom.limit()?.party;
    let container = oom.scene.actor_in(party).map(|party| &party.owner);
    let whose = match oom.level()? {
        Level::Container => {
            let named = container.filter(|_| party.owner.container_id.is_none()).unwrap_or(&party.owner);
            phrase::container(named.in_schema())
        }
        _ => phrase::pod(party.owner.in_schema()),
    };
    let heard = match known.stale_seconds {
        Some(seconds) => format!(", as last heard {seconds} s ago"),
        None => String::new(),
    };
    Some(match known.agreement? {
        Agreement::Same { spec_bytes } => {
            format!("Kubernetes has the same limit of {} for {whose}{heard}", size(spec_bytes))
        }
        Agreement::Resizing { spec_bytes, kernel_bytes } => format!(
            "the pod's spec has a limit of {} for {whose}, but {} is in force by the pod's status{heard}: a resize is in \
             progress or cannot be done",
            size(spec_bytes),
            size(kernel_bytes)
        ),
        Agreement::Differs { spec_bytes, kernel_bytes } => format!(
            "Kubernetes has a limit of {} for {whose}{heard}, but {} was in force: it was changed by hand, or by a resize that \
             Kubernetes has not reported",
            size(spec_bytes),
            size(kernel_bytes)
        ),
        Agreement::PodsInSpec { pod_bytes, kernel_bytes } => format!(
            "Kubernetes has a limit of {} for the pod and none for {whose}{heard}, but {} was in force for the container: it was \
             set by hand, or by a change that Kubernetes has not reported",
            size(pod_bytes),
            size(kernel_bytes)
        ),
        Agreement::NoneInSpec { kernel_bytes } => format!(
            "Kubernetes has no limit for {whose}{heard}, but {} was in force: it was set by hand, or by a change that \
             Kubernetes has not reported",
            size(kernel_bytes)
        ),
    })
}

fn allocation(scene: &Scene<'_>) -> Option<String> {
    let order = scene.request?.order?;
    let pages = 1_u64.checked_shl(order)?;
    Some(match pages {
        1 => "the allocation was order-0 (one page)".to_owned(),
        _ => format!("the allocation was order-{order} ({pages} contiguous pages)"),
    })
}

/// How much the scope may hold, and how the victim was weighed.
fn scope(oom: &Oom<'_>) -> Option<String> {
    let control = oom.scene.control?;
    let scope = match (oom.cause(), oom.verdict.constraint) {
        (OomCause::Limit, _) => "limit and usable swap",
        (_, Some(Constraint::Cpuset | Constraint::Mempolicy)) => "memory of the allowed NUMA nodes and swap",
        _ => "node memory and swap",
    };
    let weighed =
        oom.scene.weight().map_or_else(String::new, |weight| format!("; {}", weight::weighed(weight)));
    Some(format!("{scope}: {}{weighed}", size(control.total_bytes)))
}

/// In an OOM of the node: usage and limit of the victim's container.
fn own_limit(scene: &Scene<'_>) -> Option<String> {
    let actor = scene.victim.as_ref()?;
    let level = actor.cgroups?.level_at(actor.party()?.placement.container_end?)?;
    let used = level.usage_bytes?;
    let usage = size(used);
    Some(match level.limit? {
        Limit::Bytes(limit) => format!(
            "the victim's container used {usage} of its limit of {}{}, which is not the one that was hit",
            size(limit),
            apart(used, limit, "it")
        ),
        Limit::Unlimited => format!("the victim's container used {usage} and has no limit"),
    })
}

/// Share of the usage from which on shared memory is mentioned: every process maps a little of it.
const SHMEM_PERCENT: u128 = 10;

/// Shared memory and tmpfs of the limit owner. Files in a file system stay when processes die; anonymous shared memory is freed
/// with the last of them.
fn shmem(oom: &Oom<'_>) -> Option<String> {
    let shmem = oom.scene.limit_shmem_bytes?;
    let percent = u128::from(shmem) * 100 / u128::from(oom.limit()?.usage_bytes()?.max(1));
    (percent >= SHMEM_PERCENT).then(|| {
        format!(
            "{} ({percent} %) of what was in use is shared memory and files in memory (tmpfs, memory-backed emptyDir \
             volumes, /dev/shm), which may stay when processes die",
            size(shmem)
        )
    })
}

fn start_up(scene: &Scene<'_>) -> Option<String> {
    let start_up = scene.start_up()?;
    let victim = scene.victim.as_ref()?;
    let name = process(victim.task);
    let age = start_up.age_ns.map_or_else(String::new, |age| format!(" and {} old", seconds(age)));
    Some(if start_up.is_first {
        format!(
            "{name} has the name of the container runtime's start-up process and was pid 1 of its container{age}: if it is \
             that process, the container's program had not begun"
        )
    } else {
        format!(
            "{name} has the name of the container runtime's process that is about to run a program in a container; it was pid \
             {} there{age}",
            victim.task.container_pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
        )
    })
}

fn victim(scene: &Scene<'_>) -> Vec<String> {
    let mut evidence = Vec::new();
    let Some(victim) = &scene.victim else { return evidence };
    let name = process(victim.task);
    if let Some(rss) = victim.task.rss {
        let tables = victim.task.page_table_bytes;
        let tables =
            tables.map_or_else(String::new, |tables| format!(", and {} of page tables", size(tables)));
        evidence.push(format!(
            "{name} had {} anonymous, {} file and {} shared memory resident, {} in swap{tables}",
            size(rss.anon_bytes),
            size(rss.file_bytes),
            size(rss.shmem_bytes),
            size(rss.swap_bytes),
        ));
    }
    if let Some(adj) = victim.task.oom_score_adj {
        evidence.push(format!("its oom_score_adj was {adj} (-1000: never kill, 1000: kill first)"));
    }
    if victim.task.exiting == Some(true) {
        evidence.push(format!("{name} was already exiting: the kernel only gave it access to the reserves"));
    }
    if scene.message.is_some_and(|message| message.0.ends_with(ALLOCATING_TASK)) {
        evidence.push(
            "sysctl vm.oom_kill_allocating_task is set: the kernel killed the allocating task, whatever its size".to_owned(),
        );
    }
    if scene.kill_in_doubt() {
        evidence.push(format!(
            "{name} was marked as victim without __oom_kill_process on the kernel's stack, as is a process that is already \
             exiting and gets access to the reserves"
        ));
    }
    evidence
}

/// The trigger: not at fault by itself, and often not the victim.
fn trigger(oom: &Oom<'_>) -> Option<String> {
    let scene = &oom.scene;
    let trigger = scene.trigger.as_ref()?;
    let (name, of) = (process(trigger.task), of_owner(trigger));
    if scene.waits() {
        return Some(format!("{name}{of} sleeps at the limit"));
    }
    match oom.origin() {
        Some(Origin::LimitWrite) => return Some(format!("{name}{of} wrote the limit")),
        Some(Origin::Sysrq) => {
            return Some(format!(
                "{name} is the kernel's worker that carries the sysrq out, not the process that requested it"
            ));
        }
        Some(Origin::Kswapd) => {
            return Some(format!("{name} invoked the OOM killer, not an allocating task"));
        }
        None if oom.cause() == OomCause::Limit => {
            return Some(format!("{name}{of} invoked the OOM killer: it allocated, or it lowered the limit"));
        }
        _ => {}
    }
    let Some(victim) = scene.victim.as_ref() else {
        return Some(format!("{name}{of} invoked the OOM killer with its allocation"));
    };
    if same_owner(trigger.party()?, victim.party()?) {
        return None;
    }
    Some(format!(
        "{name}{of} invoked the OOM killer with its allocation, but {}{} was the victim: the kernel chose it by badness \
         ({})",
        process(victim.task),
        of_owner(victim),
        weight::which(scene.weight())
    ))
}

fn same_owner(one: &Party, other: &Party) -> bool {
    let named = |party: &Party| {
        let owner = &party.owner;
        (owner.kind, owner.container_id.clone(), owner.pod_uid.clone(), owner.unit.clone())
    };
    let nameless =
        one.owner.container_id.is_none() && one.owner.pod_uid.is_none() && one.owner.unit.is_none();
    named(one) == named(other) && (!nameless || one.path == other.path)
}

fn group(oom: &Oom<'_>) -> Option<String> {
    let cgroup = victim_cgroup(&oom.scene, oom.oom_group()?);
    let kill = oom.scene.kill?;
    let least = if kill.complete { "" } else { "at least " };
    Some(format!(
        "memory.oom.group is set on {cgroup}, so all of its processes die together: {least}{}",
        processes(kill.killed()),
    ))
}

/// The victim is of a container, and not pid 1.
fn child(scene: &Scene<'_>) -> Option<String> {
    let (pid, namespace) = scene.victim.as_ref()?.not_pid_1()?;
    Some(match namespace {
        PidNamespace::Own => format!("in its container it was pid {pid}, not pid 1"),
        PidNamespace::Shared => format!(
            "in its pid namespace it was pid {pid}, and more than one container is in that (shareProcessNamespace, or kubectl debug \
             --target): its pid does not tell whether it was its container's first process"
        ),
        PidNamespace::Unknown => format!(
            "in its pid namespace it was pid {pid}: a child, unless its pod's containers share that namespace (shareProcessNamespace)"
        ),
    })
}

fn no_kill(oom: &Oom<'_>) -> Vec<String> {
    let Some(none) = oom.scene.no_kill else { return Vec::new() };
    let exempt = oom.exempt_trigger().map(|trigger| {
        format!(
            "no process could be killed: {} itself has an oom_score_adj of -1000 (never kill), which processes inherit from the one \
             that started them, and each other one there is exempt too or has no memory of its own",
            process(trigger.task)
        )
    });
    let reason = match (oom.cause(), oom.level()) {
        _ if oom.scene.waits() => {
            "oom_kill_disable is set in memory.oom_control of the cgroup: a page fault that needs memory there sleeps until \
             some is freed or the limit is raised, and a system call fails (ENOMEM), which crashtrace does not report"
        }
        (OomCause::Node, Some(Level::Node)) => {
            "the OOM killer is switched off, as it is while the node suspends, or no process may be killed"
        }
        _ => {
            "no process could be killed: each one is exempt (oom_score_adj -1000, or pid 1 of the node) or has no memory of \
             its own"
        }
    };
    let mut evidence = vec![exempt.unwrap_or_else(|| reason.to_owned())];
    if none.repeats > 0 {
        evidence.push(format!("the same happened {} more times since the last report of it", none.repeats));
    }
    evidence
}

/// Kills that the report counts beside its own.
fn folded(scene: &Scene<'_>) -> Option<String> {
    let folded = scene.kill?.folded.as_ref()?;
    let held = match folded.unread {
        0 => format!(", whose resident memory adds up to {}", size(folded.resident_bytes)),
        _ => String::new(),
    };
    Some(format!(
        "kills at this limit came too fast for a report each: {} more, of {}{held}, are folded into this one",
        folded.kills,
        processes(folded.victims_total),
    ))
}
