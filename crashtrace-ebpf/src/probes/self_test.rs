//! A test of the field table, on the process that is about to rely on it.
//!
//! The user side has the kernel run this once at its start (`BPF_PROG_TEST_RUN`, for raw tracepoints since 5.10), in its own
//! context, and compares. It is attached to no hook, so it runs for no other process.

use core::mem::offset_of;

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task,
    bpf_get_current_uid_gid,
};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use crashtrace_ebpf::map::SELF_TEST_BYTES;
use crashtrace_ebpf::{COMM_BYTES, SelfTest, hook, kind, section};

use crate::emit::Record;
use crate::kernel::{copy, task_facts};
use crate::lineage;
use crate::maps::{SELF_TEST, slot};

#[raw_tracepoint]
fn self_test(_ctx: RawTracePointContext) -> i32 {
    let Some(result) = SELF_TEST.get_ptr_mut(0) else { return 0 };
    let Some(record) = Record::unsent::<SelfTest>(slot::DECISION, kind::SELF_TEST, hook::RAW_TRACEPOINT)
    else {
        return 0;
    };
    let body: *mut SelfTest = record.body();
    // SAFETY: the body lies within the record's scratch; the helpers take nothing, or a place and its size.
    let task = unsafe {
        (*body).pid_tgid = bpf_get_current_pid_tgid();
        (*body).uid_gid = bpf_get_current_uid_gid();
        (*body).cgroup_id = bpf_get_current_cgroup_id();
        bpf_get_current_comm((&raw mut (*body).comm).cast(), COMM_BYTES as u32);
        let task = bpf_get_current_task();
        task_facts(record.slot(), Record::place(offset_of!(SelfTest, task)), task);
        task
    };
    lineage::of_task(&record, section::VICTIM, task);
    record.close();
    // SAFETY: the map is this program's alone, and one thread runs it.
    unsafe { copy(result.cast::<[u8; SELF_TEST_BYTES]>(), record.scratch().expose_provenance() as u64) };
    0
}
