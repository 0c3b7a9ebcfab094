//! Corrections of victims. Two facts are known only with the mark and its decision together:
//!
//! - The mark of an old kernel is a bare thread id; the decision's facts about the same process complete it.
//! - `exiting` of a mark proves nothing: `__oom_kill_process` (`mm/oom_kill.c`, 5.10 to 7.3) sends the signal first and marks
//!   then, so each victim looks as if it was exiting. A probe on the decision runs early enough to tell; without one, the stack
//!   of the mark tells.

use super::OomKill;
use crate::event::{Hook, OomDecision, OomVictim, Task};

/// Whether both are the same process. A mark may be of another thread than the decision, and may have no process id.
#[must_use]
pub fn same_process(mark: &Task, chosen: &Task) -> bool {
    match (mark.pid, chosen.pid) {
        (Some(mark), Some(chosen)) => mark == chosen,
        _ => mark.tid.is_some_and(|tid| chosen.tid == Some(tid) || chosen.pid == Some(tid)),
    }
}

/// Corrects the victims; see the module.
pub fn complete_victims(kill: &mut OomKill) {
    let Some(decision) = &mut kill.decision else {
        for victim in &mut kill.victims {
            victim.task.exiting = None;
        }
        return;
    };
    // An `oom_control` that was found on the stack must fit the functions on it, or it is a false match.
    if decision.stamp.hook == Hook::RawTracepoint
        && let (Some(control), Some(stack)) = (&decision.control, &decision.stack)
        && (stack.has("mem_cgroup_out_of_memory") && !control.memcg
            || stack.has("moom_callback") && control.order.is_some())
    {
        decision.control = None;
        decision.limit_cgroups = None;
        kill.holders = None;
    }
    // Without a probe on the decision, its record is from the first mark. There the stack tells: `oom_kill_process` itself
    // marks a process that is exiting already, `__oom_kill_process` any other.
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
        complete_victim(victim, decision);
    }
}

/// Corrects one victim of this decision.
pub(in crate::correlate) fn complete_victim(victim: &mut OomVictim, decision: &OomDecision) {
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

/// Fills the missing fields of `task`.
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
    // The only field that is of a thread.
    if task.tid == from.tid {
        or(&mut task.thread_comm, from.thread_comm.as_ref());
    }
}
