//! OOM kills: the decision and its victims, copied before the memory is freed.
//!
//! [`decision`] has the hooks on `oom_kill_process`, [`victim`] that on `oom:mark_victim`, [`memcg`] those on the memory
//! controller. [`oom_control`] finds the decision on the killer's stack if only the tracepoint may be hooked, and [`holders`]
//! walks the cgroups that hold the memory of the node or of the limit owner, and [`memory`] copies what the kernel counts of it.

mod decision;
mod holders;
mod memcg;
pub(crate) mod memory;
mod oom_control;
mod victim;
