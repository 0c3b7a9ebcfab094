//! The facts that a verdict rests on, with their numbers, as sentences.

use super::limit::cgroup_at;
use super::memory;
use super::scene::{Actor, Scene};
use super::summary::actor_owner;
use super::words::{bytes, process, processes, signed};
use super::{Cause, Level, Origin, Verdict};
use crate::cgroup::Place;
use crate::enrich::Party;
use crate::event::{self, Constraint, Limit};

/// How `oom_kill_process`'s message ends if `out_of_memory` (`mm/oom_kill.c`, 5.10 to 7.3) did not weigh anybody.
const ALLOCATING_TASK: &[u8] = b"(oom_kill_allocating_task)";

/// What the incident shows beside the cause and the limit.
pub(super) fn of(scene: &Scene<'_>, verdict: &Verdict) -> Vec<String> {
    let mut evidence = Vec::new();
    // Who writes a limit asks for no page, and neither does kswapd here: what they pass is fixed.
    if !matches!(verdict.origin, Some(Origin::LimitWrite | Origin::Kswapd)) {
        evidence.extend(request(scene));
    }
    evidence.extend(scope(scene, verdict));
    if verdict.cause == Cause::SystemOom {
        evidence.extend(scene.sight.iter().flat_map(|sight| sight.evidence(scene.unmovable)));
        evidence.extend(memory::of(scene, verdict));
        evidence.extend(own_limit(scene));
        evidence.extend(memory::request(scene));
    }
    evidence.extend(shmem(scene, verdict));
    evidence.extend(victim(scene));
    evidence.extend(start_up(scene));
    evidence.extend(trigger(scene, verdict));
    evidence.extend(group(scene, verdict));
    evidence.extend(child(scene));
    evidence.extend(nobody(scene, verdict));
    evidence.extend(folded(scene));
    evidence
}

/// What the report stands for beside its own kill.
fn folded(scene: &Scene<'_>) -> Option<String> {
    let folded = scene.kill?.folded.as_ref()?;
    let held = match folded.unread {
        0 => format!(", which had {} resident together", bytes(folded.resident_bytes)),
        _ => String::new(),
    };
    Some(format!(
        "kills of the same limit came faster than one line each is written for: this one stands for {} more, of {}{held}",
        folded.kills,
        processes(folded.victims_total),
    ))
}

fn request(scene: &Scene<'_>) -> Option<String> {
    let order = scene.request?.order?;
    let pages = 1_u64.checked_shl(order)?;
    Some(match pages {
        1 => "the request was for one page (order 0)".to_owned(),
        _ => format!("the request was for {pages} pages in one piece (order {order})"),
    })
}

/// How much the scope may hold, and how the victim was weighed.
fn scope(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    let control = scene.control?;
    let total = bytes(control.total_bytes);
    let scope = match (verdict.cause, verdict.constraint) {
        (Cause::CgroupOom, _) => "the limit with the swap that may be used",
        (_, Some(Constraint::Cpuset | Constraint::Mempolicy)) => "the NUMA nodes allowed, with swap",
        _ => "the node's memory with swap",
    };
    // Nobody was weighed where whoever asks is killed (vm.oom_kill_allocating_task).
    let weighed = match control.points_bytes {
        0 => String::new(),
        points => format!(
            "; the kernel weighed the victim at {} (its memory, shifted by its oom_score_adj)",
            signed(points)
        ),
    };
    Some(format!("{scope} comes to {total}{weighed}"))
}

/// Where the pods' own cgroup stands: it is on the way from each pod to the root.
pub(crate) fn kubepods<'a>(scene: &Scene<'a>) -> Option<&'a event::Level> {
    [&scene.victim, &scene.trigger].into_iter().flatten().find_map(|actor| {
        let end = actor.party.as_ref()?.placement.kubepods_end?;
        actor.cgroups?.level_at(end).filter(|level| level.usage_bytes.is_some())
    })
}

/// In an OOM of the node: how the victim's container stood to its own limit.
fn own_limit(scene: &Scene<'_>) -> Option<String> {
    let actor = scene.victim.as_ref()?;
    let end = actor.party.as_ref()?.placement.container_end?;
    let level = actor.cgroups?.level_at(end)?;
    let usage = bytes(level.usage_bytes?);
    Some(match level.limit? {
        Limit::Bytes(limit) => {
            format!(
                "the victim's container used {usage} of its limit of {}, which is not what was hit",
                bytes(limit)
            )
        }
        Limit::Unlimited => format!("the victim's container used {usage} and has no limit"),
    })
}

/// Shared memory and tmpfs of the limit's cgroup. What has a name in a file system stays when processes die; anonymous
/// shared memory goes with the last of them.
fn shmem(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    let shmem = scene.limit_shmem_bytes?;
    let usage = verdict.limit.as_ref()?.cgroups.levels.first()?.usage_bytes?;
    let percent = u128::from(shmem) * 100 / u128::from(usage.max(1));
    // A process maps a little of it without being told to.
    (percent >= SHMEM_PERCENT).then(|| {
        format!(
            "{} ({percent} %) of what was in use is shared memory and files in memory (tmpfs, memory-backed emptyDir \
             volumes, /dev/shm), which may stay when processes die",
            bytes(shmem)
        )
    })
}

/// Share of the usage from which on shared memory is worth a word.
const SHMEM_PERCENT: u128 = 10;

/// How long the runtime's process may have been there: it lives for milliseconds, and between the making of a container and its
/// start for seconds on a slow node.
const START_UP_NS: u64 = 60_000_000_000;

/// The victim has the name that the runtime's process goes by in a container until it runs the program that it is to
/// run: that of a container that starts, or of an `exec` (a probe, `kubectl exec`) in one that runs. Any process may call itself
/// so, and nothing in the record proves that it is no other: so what is said of it is said of the name. One that has run
/// for long is no such process.
pub(crate) fn has_runtimes_name(scene: &Scene<'_>) -> bool {
    let Some(victim) = scene.victim.as_ref() else { return false };
    let name = victim.task.comm.as_ref().or(victim.task.thread_comm.as_ref());
    name.is_some_and(|name| is_runtime_init(&name.0))
        && age_ns(scene, victim).is_none_or(|age| age < START_UP_NS)
}

/// It was the first process of a container as well.
pub(crate) fn may_be_start_up(scene: &Scene<'_>) -> bool {
    has_runtimes_name(scene)
        && scene.victim.as_ref().is_some_and(|victim| victim.task.container_pid == Some(1))
}

/// How long a process had been there.
fn age_ns(scene: &Scene<'_>, actor: &Actor<'_>) -> Option<u64> {
    scene.kill?.ktime_ns.checked_sub(actor.task.start_boottime_ns?)
}

/// `runc:[2:INIT]` and its earlier stages (libcontainer, so youki's too, which puts its own name first).
fn is_runtime_init(comm: &[u8]) -> bool {
    [&b"runc:["[..], b"youki:["].iter().any(|prefix| comm.starts_with(prefix)) || comm == b"runc-dmz"
}

fn start_up(scene: &Scene<'_>) -> Option<String> {
    let victim = scene.victim.as_ref().filter(|_| has_runtimes_name(scene))?;
    let name = process(victim.task);
    let age = age_ns(scene, victim).map_or_else(String::new, |age| {
        format!(" and {}.{} s old", age / 1_000_000_000, age / 100_000_000 % 10)
    });
    Some(if may_be_start_up(scene) {
        format!(
            "{name} has the name of the container runtime's start-up process, was pid 1 of its container{age}: if it is what \
             it is called, the container's program had not begun"
        )
    } else {
        format!(
            "{name} has the name of the container runtime's process that is about to run a program in a container; it was pid {} \
             there{age}",
            victim.task.container_pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
        )
    })
}

fn victim(scene: &Scene<'_>) -> Vec<String> {
    let mut evidence = Vec::new();
    let Some(victim) = &scene.victim else { return evidence };
    let name = process(victim.task);
    if let Some(rss) = victim.task.rss {
        let tables = victim
            .task
            .page_table_bytes
            .map_or_else(String::new, |tables| format!(", and {} of page tables", bytes(tables)));
        evidence.push(format!(
            "{name} had {} anonymous, {} of files and {} shared in memory, {} in swap{tables}",
            bytes(rss.anon_bytes),
            bytes(rss.file_bytes),
            bytes(rss.shmem_bytes),
            bytes(rss.swap_bytes),
        ));
    }
    if let Some(adj) = victim.task.oom_score_adj {
        evidence.push(format!("its oom_score_adj was {adj} (-1000 is never, 1000 is first)"));
    }
    if victim.task.exiting == Some(true) {
        evidence.push(format!("{name} was ending already: the kernel only gave it access to the reserves"));
    }
    if scene.message.is_some_and(|message| message.0.ends_with(ALLOCATING_TASK)) {
        evidence.push(
            "sysctl vm.oom_kill_allocating_task is set: the kernel killed whoever asked, whatever its size"
                .to_owned(),
        );
    }
    if scene.kill_in_doubt() {
        evidence.push(format!(
            "{name} was marked as victim without __oom_kill_process on the kernel's stack, as is a process that is \
             ending already and gets access to the reserves"
        ));
    }
    evidence
}

/// Who ran into it: not by itself at fault, and often not who was killed.
fn trigger(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    let trigger = scene.trigger.as_ref()?;
    let name = process(trigger.task);
    let of = actor_owner(trigger).map_or_else(String::new, |owner| format!(" of {owner}"));
    match verdict.origin {
        Some(Origin::LimitWrite) => return Some(format!("{name}{of} wrote the limit")),
        Some(Origin::Sysrq) => {
            return Some(format!(
                "{name} is the kernel's worker that carries the request out, not who made it"
            ));
        }
        Some(Origin::Kswapd) => return Some(format!("{name} found it, on nobody's behalf")),
        None if verdict.cause == Cause::CgroupOom => {
            return Some(format!("{name}{of} asked for memory, or lowered the limit"));
        }
        _ => {}
    }
    let Some(victim) = scene.victim.as_ref() else {
        return Some(format!("{name}{of} asked for the memory"));
    };
    let (asked, killed) = (trigger.party.as_ref()?, victim.party.as_ref()?);
    if same_owner(asked, killed) {
        return None;
    }
    Some(format!(
        "{name}{of} asked for the memory, but {}{} was the victim: it did not run into the shortage itself, \
         it was chosen for its size and its oom_score_adj",
        process(victim.task),
        actor_owner(victim).map_or_else(String::new, |owner| format!(" of {owner}")),
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

/// The cgroup that was killed as a whole, by its place among the victim's: the outermost with `memory.oom.group` between the victim's own
/// and the one whose limit it is (`mem_cgroup_get_oom_group`), the root left out.
pub(crate) fn oom_group(scene: &Scene<'_>, verdict: &Verdict) -> Option<usize> {
    let cgroups = scene.victim.as_ref()?.cgroups?;
    let domain = match (verdict.cause, &verdict.limit) {
        (Cause::SystemOom, _) => cgroups.levels.len(),
        (_, Some(limit)) => {
            let outside = limit.cgroups.levels.len().checked_sub(1)?;
            cgroups.levels.len().checked_sub(outside)?
        }
        // The domain is not known, but the victim's own cgroup is in it.
        (_, None) => usize::from(cgroups.skipped == 0),
    };
    let inside = cgroups.levels.get(..domain)?;
    inside.iter().rposition(|level| level.oom_group == Some(true) && !level.root)
}

fn group(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    let cgroup = cgroup_at(scene, scene.victim.as_ref()?.cgroups?, oom_group(scene, verdict)?);
    let kill = scene.kill?;
    let least = if kill.complete { "" } else { "at least " };
    Some(format!(
        "memory.oom.group is set on {cgroup}, so all of its processes die together: {least}{}",
        processes(kill.killed()),
    ))
}

/// The victim is of a container, and not its first process.
pub(crate) fn is_child(actor: &Actor<'_>) -> Option<u32> {
    let container_pid = actor.task.container_pid?;
    let in_container = actor.party.as_ref()?.placement.place == Place::Container;
    // The same number inside and outside is no number of a container: the pod uses the host's pids.
    (in_container && container_pid != 1 && actor.task.pid != Some(container_pid)).then_some(container_pid)
}

fn child(scene: &Scene<'_>) -> Option<String> {
    let container_pid = is_child(scene.victim.as_ref()?)?;
    Some(format!("in its container it was pid {container_pid}, not pid 1"))
}

fn nobody(scene: &Scene<'_>, verdict: &Verdict) -> Vec<String> {
    let Some(none) = scene.no_kill else { return Vec::new() };
    let reason = match (verdict.cause, verdict.level) {
        _ if scene.waits() => {
            "memory.oom_control of the cgroup has oom_kill_disable set: a page fault that needs memory there sleeps until \
             some is freed or the limit is raised, and a system call fails (ENOMEM), of which there is no report"
        }
        (Cause::SystemOom, Some(Level::Node)) => {
            "the OOM killer is switched off, as it is while the node suspends, or no process may be killed"
        }
        _ => {
            "nobody could be killed: each process in question is exempt (oom_score_adj -1000, or pid 1 of \
             the host), has no memory of its own, or there is none"
        }
    };
    let mut evidence = vec![reason.to_owned()];
    if none.repeats > 0 {
        evidence.push(format!("the same happened {} more times since the last report of it", none.repeats));
    }
    evidence
}
