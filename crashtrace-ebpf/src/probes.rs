//! Which hook gives which record.
//!
//! | hook | record | why here |
//! |---|---|---|
//! | entry of `oom_kill_process` | decision | `oom_control` is complete, the victim is alive |
//! | its return | decision's end | all victims of the decision have been marked |
//! | `oom:mark_victim` | victim | once for each killed process, those of a group kill too |
//! | entry of `warn_alloc`, or `kmem:mm_page_alloc` without a page | failed allocation | free lists change within microseconds |
//! | the decision, if no memcg's | zones | whether large blocks were lacking, or memory |
//! | the decision, if no memcg's | holders | who holds the node's memory shows only before the victim gives it back |
//! | return of `mem_cgroup_out_of_memory` | no victim, when it is false | nothing else runs when nobody can be killed |
//! | entry of `mem_cgroup_oom_synchronize` | wait | on cgroup v1 with `oom_kill_disable` a task sleeps in it |
//!
//! `oom_kill_process` and `mem_cgroup_out_of_memory` can be hooked by BPF trampoline or by kprobe. Where neither is
//! allowed, `oom:mark_victim` alone is left, and the decision is read off the killer's stack.

mod alloc;
mod oom;
mod self_test;
mod zones;
