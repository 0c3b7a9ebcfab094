//! The only reader of kernel structures.
//!
//! Addresses are plain numbers here, and every read goes through `bpf_probe_read_kernel`, which fails on an unmapped address
//! and does no harm: a stale, null or wrong pointer costs a value, never more.
//!
//! Nothing here branches on whether a read worked. The verifier follows every branch both ways, and there are
//! hundreds of reads in a program: 6.1 gives up at 8192 branches left open. A failed read leaves zeroes (the helper
//! sees to that), a pointer that is zero makes the next read fail, and failures are added up as bits.
//!
//! # Global functions
//!
//! Functions that are `extern "C"` and `no_mangle` are global to the verifier (`BTF_FUNC_GLOBAL`, since 5.6): it goes through each
//! once in a program, whatever its arguments are. Through another function it goes again at each call, in each round of a loop.
//! So what is in a loop, or called twice, is a global function: the verifier's work is the sum of the parts' sizes then, and not
//! their product. The price: a call has no inlining, and its arguments are numbers, since 5.10 takes no pointer to memory (5.12
//! does). Numbers are what kernel addresses are here; and the record under construction is found again by its slot
//! ([`scratch_of`]). Each result is a number that the verifier knows nothing of.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use crashtrace_ebpf::fields::{self, NOWHERE};
use crashtrace_ebpf::{GfpBits, Task, address, task_missing};

use crate::emit::{at, scratch_of};

/// Values of the ABI's field table on this kernel. The loader sets them before verification, so each offset is a constant to
/// the verifier.
#[unsafe(no_mangle)]
static FIELDS: [u64; fields::COUNT] = [NOWHERE; fields::COUNT];

/// How `oom:mark_victim` passes its victim, a value of `mark_victim_arg`.
#[unsafe(no_mangle)]
static MARK_VICTIM_ARG: u32 = 0;

/// Where the kernel's data of the ABI's `address` is; 0 where that is not known, or not yet. The user side writes it when it has read
/// the kernel's symbols, which is after the programs run: so it is no constant, and the only global that is not.
#[unsafe(no_mangle)]
static mut ADDRESSES: [u64; address::COUNT] = [0; address::COUNT];

/// 1 if the memory controller is on cgroup v1: swap and memory are counted together there.
#[unsafe(no_mangle)]
static CGROUP_V1: u32 = 0;

/// Flags that the programs act on.
#[unsafe(no_mangle)]
static GFP_BITS: GfpBits = GfpBits {
    nowarn: 0,
    direct_reclaim: 0,
    movable: 0,
    reclaimable: 0,
    has_fallback: 0,
    highmem: 0,
    hardwall: 0,
};

/// Whether to write records of failures that their callers expect.
#[unsafe(no_mangle)]
static INCLUDE_NOWARN: u32 = 0;

/// Id of the cgroup at which the node's cgroups begin; 0 if that is the machine's root.
#[unsafe(no_mangle)]
static NODE_ROOT: u64 = 0;

/// See [`NODE_ROOT`].
#[inline(always)]
pub(crate) fn node_root() -> u64 {
    // SAFETY: initialised and never written while programs run, as below.
    unsafe { ptr::read_volatile(&raw const NODE_ROOT) }
}

/// Where the kernel's data with this index in the ABI's `address` is, 0 where that is not known.
#[inline(always)]
pub(crate) fn data(index: usize) -> u64 {
    // SAFETY: `index` is one of the ABI's constants. The user side writes whole words, and any value does no harm.
    unsafe { ptr::read_volatile((&raw const ADDRESSES).cast::<u64>().add(index)) }
}

/// See [`CGROUP_V1`].
#[inline(always)]
pub(crate) fn cgroup_v1() -> bool {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const CGROUP_V1) != 0 }
}

/// See [`GFP_BITS`].
#[inline(always)]
pub(crate) fn gfp_bits() -> GfpBits {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const GFP_BITS) }
}

/// See [`INCLUDE_NOWARN`].
#[inline(always)]
pub(crate) fn include_nowarn() -> bool {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const INCLUDE_NOWARN) != 0 }
}

/// See [`MARK_VICTIM_ARG`].
#[inline(always)]
pub(crate) fn mark_victim_arg() -> u32 {
    // SAFETY: the static is initialised and never written while programs run; a volatile read, so that the compiler does not
    // insert the value of build time.
    unsafe { ptr::read_volatile(&raw const MARK_VICTIM_ARG) }
}

/// The table's value for `field`, an index of [`fields`]: where it is in its structure, [`NOWHERE`] on a kernel without it. Nothing asks
/// which of both it is, but where there is another way: behind each question there would be code that the verifier finds to be dead
/// and the kernel then takes out, piece by piece, moving all that follows.
#[inline(always)]
pub(crate) fn offset(field: usize) -> u64 {
    // SAFETY: as above; `field` is one of the table's constants.
    unsafe { ptr::read_volatile((&raw const FIELDS).cast::<u64>().add(field)) }
}

/// The same, `None` on a kernel without it.
#[inline(always)]
pub(crate) fn field(field: usize) -> Option<u64> {
    Some(offset(field)).filter(|&value| value != NOWHERE)
}

/// The same number, but the optimiser cannot know: it would turn arithmetic on signs back into branches.
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    let mut value = value;
    // An instruction that does nothing, since none at all would leave two line infos at one place, which the
    // verifier refuses.
    // SAFETY: arithmetic on its own operand.
    unsafe { asm!("{0} += 0", inout(reg) value) };
    value
}

/// 1 if a helper's result is an error, else 0.
#[inline(always)]
pub(crate) fn failed(result: i64) -> u64 {
    opaque((result as u64) >> 63)
}

/// 1 if `value` is 0, else 0.
#[inline(always)]
pub(crate) fn is_zero(value: u64) -> u64 {
    // Both are hidden: the optimiser knows this for a comparison, and a comparison becomes a branch, behind which the
    // verifier knows the value and goes both ways with it.
    let negated = opaque(value.wrapping_neg());
    opaque((value | negated) >> 63) ^ 1
}

/// Reads a plain value to `to`, zeroes if that fails. Gives 1 if it failed, else 0.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
pub(crate) unsafe fn copy<T: Copy>(to: *mut T, from: u64) -> u64 {
    // SAFETY: the helper writes `size_of::<T>()` bytes, which the caller vouches for, and checks the source itself.
    failed(unsafe {
        bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, ptr::with_exposed_provenance(from as usize))
    })
}

/// The same for a member of the structure at `base`.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
pub(crate) unsafe fn copy_member<T: Copy>(to: *mut T, base: u64, member: usize) -> u64 {
    // SAFETY: the caller vouches for `to`.
    unsafe { copy(to, base.wrapping_add(offset(member))) }
}

/// A plain value at a kernel address, zero if it cannot be read.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the value has its own size, and is filled either way. T is a plain integer wherever this is called.
    unsafe {
        copy(value.as_mut_ptr(), address);
        value.assume_init()
    }
}

/// A member of the structure at `base`, zero if it cannot be read.
#[inline(always)]
pub(crate) fn member<T: Copy>(base: u64, member: usize) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`.
    unsafe {
        copy_member(value.as_mut_ptr(), base, member);
        value.assume_init()
    }
}

/// Copies a kernel string with its NUL; gives the bytes written, 0 if it cannot be read.
///
/// # Safety
/// `to` must have `SIZE` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_string<const SIZE: usize>(to: *mut u8, from: u64) -> u64 {
    // SAFETY: the caller vouches for `to`; the helper checks `from`.
    let written = unsafe {
        bpf_probe_read_kernel_str(to.cast(), SIZE as u32, ptr::with_exposed_provenance(from as usize))
    };
    (written as u64) & failed(written).wrapping_sub(1)
}

/// `css_set.subsys[memory_cgrp_id]` of a task: its `cgroup_subsys_state` of the memory controller, 0 if it has none.
#[inline(always)]
pub(crate) fn memory_css(task: u64) -> u64 {
    let css_set: u64 = member(task, fields::TASK_CGROUPS);
    read(
        css_set.wrapping_add(offset(fields::CSS_SET_SUBSYS)).wrapping_add(8 * offset(fields::MEMORY_CGRP_ID)),
    )
}

/// The task's place on the unified hierarchy: `cgroup.self` of its cgroup there.
#[inline(always)]
pub(crate) fn unified_css(task: u64) -> u64 {
    let cgroup: u64 = member(member(task, fields::TASK_CGROUPS), fields::CSS_SET_DFL_CGRP);
    cgroup.wrapping_add(offset(fields::CGROUP_SELF))
}

/// Where the id of `task` in its own pid namespace is.
#[inline(always)]
fn ns_id(task: u64) -> u64 {
    of_own_namespace(task, fields::PID_NUMBERS_NR)
}

/// The pid namespace that `task` was made in, 0 if it has none any more.
#[inline(always)]
pub(crate) fn pid_namespace(task: u64) -> u64 {
    read(of_own_namespace(task, fields::PID_NUMBERS_NS))
}

/// Whether it is process 1 of its pid namespace.
#[inline(always)]
pub(crate) fn is_init(leader: u64) -> bool {
    read::<u32>(ns_id(leader)) == 1
}

/// Where `member` of the innermost of `pid.numbers` of `task` is.
#[inline(always)]
fn of_own_namespace(task: u64, member_at: usize) -> u64 {
    let pid: u64 = member(task, fields::TASK_THREAD_PID);
    let level: u32 = member(pid, fields::PID_LEVEL);
    pid.wrapping_add(offset(member_at)).wrapping_add(u64::from(level) * offset(fields::UPID_SIZE))
}

/// Indices of the resident-size counters (`enum` in `include/linux/mm_types_task.h`, the same from 5.10 to 7.3).
mod rss {
    pub(super) const FILE: u64 = 0;
    pub(super) const ANON: u64 = 1;
    pub(super) const SWAP: u64 = 2;
    pub(super) const SHMEM: u64 = 3;
}

/// Where a resident-size counter of `mm` is.
#[inline(always)]
fn rss_counter(mm: u64, counter: u64) -> u64 {
    mm.wrapping_add(offset(fields::MM_RSS)).wrapping_add(counter * offset(fields::MM_RSS_STRIDE))
}

/// Copies the facts about `task` into the record of `slot`, at `place`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn task_facts(slot: u64, place: u64, task: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the place is masked to lie within the scratch, with room behind it.
    let out: *mut Task = unsafe { at(scratch, place).cast() };
    let mut missing = 0_u64;
    /// Fills a member from a field of a structure, or from an address.
    macro_rules! fill {
        ($bit:ident: $member:ident = $base:expr, $field:ident) => {
            // SAFETY: `out` lies in the scratch.
            let failed = unsafe { copy_member(&raw mut (*out).$member, $base, fields::$field) };
            missing |= failed * u64::from(task_missing::$bit);
        };
        ($bit:ident: $member:ident at $address:expr) => {
            // SAFETY: as above. Address 0 cannot be read.
            let failed = unsafe { copy(&raw mut (*out).$member, $address) };
            missing |= failed * u64::from(task_missing::$bit);
        };
    }
    fill!(IDS: tid = task, TASK_PID);
    fill!(IDS: tgid = task, TASK_TGID);
    fill!(TASK_FLAGS: task_flags = task, TASK_FLAGS);
    fill!(THREAD_COMM: thread_comm = task, TASK_COMM);
    fill!(UID: uid = member(task, fields::TASK_CRED), CRED_UID);

    let leader: u64 = member(task, fields::TASK_GROUP_LEADER);
    fill!(COMM: comm = leader, TASK_COMM);
    fill!(START: start_boottime_ns = leader, TASK_START_BOOTTIME);
    fill!(NS_IDS: ns_tid at ns_id(task));
    fill!(NS_IDS: ns_tgid at ns_id(leader));

    let signal: u64 = member(task, fields::TASK_SIGNAL);
    fill!(OOM_SCORE_ADJ: oom_score_adj = signal, SIGNAL_OOM_SCORE_ADJ);
    fill!(SIGNAL_FLAGS: signal_flags = signal, SIGNAL_FLAGS);
    fill!(THREADS: threads = signal, SIGNAL_NR_THREADS);

    // A thread that has ended has lost its mm while the process lives on, and a process that has been marked as
    // victim keeps it in `oom_mm` until it is gone.
    let mut mm: u64 = member(task, fields::TASK_MM);
    if mm == 0 {
        mm = member(leader, fields::TASK_MM);
    }
    if mm == 0 {
        mm = member(signal, fields::SIGNAL_OOM_MM);
    }
    fill!(RSS: file_pages at rss_counter(mm, rss::FILE));
    fill!(RSS: anon_pages at rss_counter(mm, rss::ANON));
    fill!(RSS: swap_pages at rss_counter(mm, rss::SWAP));
    fill!(RSS: shmem_pages at rss_counter(mm, rss::SHMEM));
    fill!(PAGE_TABLES: page_table_bytes = mm, MM_PGTABLES_BYTES);
    fill!(TOTAL_VM: total_vm_pages = mm, MM_TOTAL_VM);
    // SAFETY: as above.
    unsafe {
        (*out).dumps_core = (is_zero(member(signal, fields::SIGNAL_CORE_STATE)) ^ 1) as u16;
        (*out).missing = missing as u32;
    }
    0
}
