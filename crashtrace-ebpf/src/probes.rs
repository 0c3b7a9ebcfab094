//! Which hook gives which record.
//!
//! | hook | record | why here |
//! |---|---|---|
//! | entry of `oom_kill_process` | decision | `oom_control` is complete, the victim is alive |
//! | its return | decision's end | all victims of the decision have been marked |
//! | `oom:mark_victim` | victim; at the first the memory of the limit owner | once for each killed process, those of a group kill too; the kernel has summed its statistics by then |
//! | entry of `warn_alloc`, or `kmem:mm_page_alloc` without a page | failed allocation | free lists change within microseconds |
//! | the decision, if no memcg's | zones, and the node's memory | whether large blocks were lacking, or memory, and where that was |
//! | the decision | holders | the holders of the memory of the node or limit owner show only before the victim frees it |
//! | return of `mem_cgroup_out_of_memory` | no victim, when it is false | no other hook runs when there is no victim |
//! | `sched:sched_process_exit` of the first process of a container | its end | the status is final, its cgroups and parent are there |
//! | `signal:signal_generate` to such a process | none: kept for its end | the sender is the current task |
//! | entry of `mem_cgroup_oom_synchronize` | wait | on cgroup v1 with `oom_kill_disable` a task sleeps in it |
//!
//! `oom_kill_process` and `mem_cgroup_out_of_memory` can be hooked by BPF trampoline or by kprobe. If neither is allowed, only
//! `oom:mark_victim` remains, and the decision is read from the killer's stack.

mod alloc;
mod exit;
mod oom;
mod self_test;
mod zones;
