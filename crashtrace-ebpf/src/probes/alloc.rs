//! Failed allocations: `void warn_alloc(gfp_t gfp_mask, const nodemask_t *nodemask, const char *fmt, ...)`, `mm/page_alloc.c`,
//! 5.10 to 7.3, or tracepoint `kmem:mm_page_alloc` if no probe can be attached there.
//!
//! `warn_alloc` is called at the end of each allocation that failed, and decides only then whether to log it: a probe at its
//! entry sees all failures that the log's rate limit (one in ten seconds) suppresses. It is variadic, so no trampoline can be
//! attached.
//! A failed `vmalloc` calls it too, with another format: the format is copied, and the user side tells them apart.
//!
//! Every allocation hits the tracepoint, failed or not, so that program only returns early if there is a page; a subprogram
//! handles a failure.
//!
//! # Failures that are routine
//!
//! `__GFP_NOWARN` says that the caller does not want a message. Mostly it has a fallback, and its failures are counted and not
//! recorded ([`is_routine`]). But it is also set where none can follow: BPF maps ask for
//! `GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN | __GFP_ACCOUNT` (`bpf_map_area_alloc`, `kernel/bpf/syscall.c`), since users
//! choose their size, and a container at its limit then gets ENOMEM. So what is recorded all the same is the failure of a whole
//! vmalloc, or of a single page: smaller is nothing. Of both only those that may sleep and were to try on.
//!
//! | who, with `__GFP_NOWARN` | other flags | recorded |
//! |---|---|---|
//! | vmalloc for BPF maps, tables of netfilter, a ring of `io_uring` | may sleep | yes, by `warn_alloc` with vmalloc's format |
//! | vmalloc of a caller with another way (`eb_create`) | NORETRY | no |
//! | pages of a vmalloc (`vm_area_alloc_pages` adds NOWARN) | order 0, HIGHMEM, HARDWALL only if the allocator added it | at the tracepoint; at `warn_alloc` no, since vmalloc's own call follows |
//! | the same in large blocks, before it tries single ones | order above 0, or may not sleep | no |
//! | kvmalloc's first try, before vmalloc | order above 0, NORETRY unless RETRY_MAYFAIL | no |
//! | a slab in a large block, before a small one (`allocate_slab`) | NORETRY, NOMEMALLOC | no |
//! | transparent huge pages, large folios | order above 0, NORETRY | no |
//! | readahead (`readahead_gfp_mask`) | NORETRY | no |
//! | mmu-gather (`tlb_next_batch`), and all else with `GFP_NOWAIT`, which has NOWARN from 6.12 on | may not sleep | no |
//! | swap: nodes of the swap cache (`add_to_swap`); zswap, zram | may not sleep, or NORETRY | no |
//! | a mempool, before it waits for an element (`mempool_alloc`) | NORETRY, NOMEMALLOC | no |
//! | heads of network buffers (`kmalloc_reserve`), before the reserves for swap over the network | NOMEMALLOC | no |
//! | data of network buffers in large blocks (`skb_page_frag_refill`, `alloc_skb_with_frags`) | order above 0, NORETRY, may not sleep | no |
//! | targets of migration, compaction, CMA: the page then stays where it is | MOVABLE | no |
//! | a page of one NUMA node, before others | THISNODE | no |
//! | graphics memory (TTM), single pages | order 0, may sleep | yes |

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_numa_node_id, bpf_get_stack, bpf_ktime_get_boot_ns,
};
use aya_ebpf::macros::{kprobe, raw_tracepoint};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};
use crashtrace_ebpf::{
    AllocFailure, FAILURE_QUIET_NS, FAILURE_STACK_FRAMES, FORMAT_BYTES, FailureCount, FailureKey,
    VmallocArea, counter, failure_flag, fields, hook, kind, missing, section,
};

use crate::emit::{Record, armed, count};
use crate::kernel::{
    copy, copy_member, copy_string, failed, gfp_bits, include_nowarn, is_zero, member, memory_css, read,
    task_facts, unified_css,
};
use crate::lineage;
use crate::maps::{BUDGET, BUDGET_RECORDS, FAILURES, slot};
use crate::probes::zones;

mod vm_struct;

/// The format of a failed page allocation begins with this: the argument after it is an order, of 32 bits.
const PAGE_ALLOC: u64 = u64::from_le_bytes(*b"page all");

/// Formats of a failed vmalloc begin with this, and a byte more ("vmalloc: ", "vmalloc error: ").
const VMALLOC: u64 = u64::from_le_bytes(*b"vmalloc\0");

/// `BPF_NOEXIST`.
const NO_EXIST: u64 = 1;

/// The allocation that failed.
#[derive(Clone, Copy)]
struct Request {
    gfp: u32,
    /// Address of the `nodemask_t`, or 0.
    nodemask: u64,
    /// Address of the format, or 0.
    format: u64,
    argument: u64,
    migrate_type: u32,
    /// 1 if it is for pages, else 0.
    is_order: u64,
    /// 1 if it is a vmalloc, else 0.
    is_vmalloc: u64,
}

#[kprobe]
fn warn_alloc(ctx: ProbeContext) -> u32 {
    if !armed() {
        return 0;
    }
    let (gfp, format) = (ctx.arg::<u64>(0).unwrap_or(0) as u32, ctx.arg::<u64>(2).unwrap_or(0));
    let argument = ctx.arg::<u64>(3).unwrap_or(0);
    let head = read::<u64>(format);
    let is_order = is_zero(head ^ PAGE_ALLOC);
    let request = Request {
        gfp,
        nodemask: ctx.arg::<u64>(1).unwrap_or(0),
        format,
        argument: argument & (is_order.wrapping_neg() >> 32 | is_order.wrapping_sub(1)),
        migrate_type: migrate_type(gfp),
        is_order,
        is_vmalloc: is_zero((head ^ VMALLOC) << 8),
    };
    failure(&ctx, request, hook::KPROBE);
    0
}

/// `(const struct page *page, unsigned int order, gfp_t gfp_flags, int migratetype)`, 5.10 to 7.3.
#[raw_tracepoint(tracepoint = "mm_page_alloc")]
fn mm_page_alloc(ctx: RawTracePointContext) -> i32 {
    // SAFETY: the context of a raw tracepoint is its arguments, 8 bytes each, and this one has four.
    let page = unsafe { ctx.as_ptr().cast::<u64>().read() };
    if page == 0 {
        no_page(ctx);
    }
    0
}

/// Not inlined: see above. By value, which is a register. The switch is read here, which only failed allocations reach.
#[inline(never)]
#[expect(clippy::needless_pass_by_value, reason = "a reference would be to the stack")]
fn no_page(ctx: RawTracePointContext) -> u64 {
    if !armed() {
        return 0;
    }
    // SAFETY: as above.
    let [_, order, gfp, migrate_type] = unsafe { ctx.as_ptr().cast::<[u64; 4]>().read() };
    let request = Request {
        gfp: gfp as u32,
        nodemask: 0,
        format: 0,
        argument: order & 0xffff_ffff,
        migrate_type: migrate_type as u32,
        is_order: 1,
        is_vmalloc: 0,
    };
    failure(&ctx, request, hook::RAW_TRACEPOINT);
    0
}

/// `gfp_migratetype` (`include/linux/gfp.h`): 0 unmovable, 1 movable, 2 reclaimable.
#[inline(always)]
fn migrate_type(gfp: u32) -> u32 {
    let bits = gfp_bits();
    u32::from(gfp & bits.movable != 0) | u32::from(gfp & bits.reclaimable != 0) << 1
}

/// A single page that may be of high memory, as those of a vmalloc; its `vm_struct` tells whether it is one.
///
/// Pages of processes and pipes may be too, and have HARDWALL, which vmalloc does not ask for. But where there are cpusets, as on
/// most nodes, the page allocator adds it (`prepare_alloc_pages`), and the tracepoint shows it if the page was there and its charge
/// was refused.
#[inline(always)]
fn may_be_page_of_vmalloc(request: &Request) -> bool {
    let bits = gfp_bits();
    request.is_order != 0
        && request.argument == 0
        && request.gfp & (bits.highmem | bits.movable) == bits.highmem
}

/// A page of a vmalloc at `warn_alloc`, by its flags: those that the allocator has added are gone when it gives up.
#[inline(always)]
fn is_page_of_vmalloc(request: &Request) -> bool {
    may_be_page_of_vmalloc(request) && request.gfp & gfp_bits().hardwall == 0
}

/// The caller expects the failure, and goes on without: see above.
#[inline(always)]
fn is_routine(request: &Request, hook: u8) -> bool {
    let bits = gfp_bits();
    if request.gfp & bits.nowarn == 0 || include_nowarn() {
        return false;
    }
    if request.gfp & bits.direct_reclaim == 0 || request.gfp & (bits.has_fallback | bits.movable) != 0 {
        return true;
    }
    let single = request.is_order != 0
        && request.argument == 0
        && (hook == hook::RAW_TRACEPOINT || !is_page_of_vmalloc(request));
    !single && request.is_vmalloc == 0
}

#[inline(always)]
fn failure<C: EbpfContext>(ctx: &C, mut request: Request, hook: u8) {
    if is_routine(&request, hook) {
        count(counter::ALLOC_NOWARN);
        return;
    }
    // SAFETY: the helper takes nothing.
    let task = unsafe { bpf_get_current_task() };
    // `tsk_is_oom_victim` (`include/linux/oom.h`). An allocation that may not sleep may be an interrupt's, which belongs to no
    // task.
    let oom_mm: u64 = member(member(task, fields::TASK_SIGNAL), fields::SIGNAL_OOM_MM);
    if oom_mm != 0 && request.gfp & gfp_bits().direct_reclaim != 0 {
        count(counter::ALLOC_OF_VICTIM);
        return;
    }
    count(counter::ALLOC_FAILED);
    let mut area = VmallocArea::default();
    if hook == hook::KPROBE {
        // Address 0, which has no area, unless it is a vmalloc.
        let is_vmalloc = request.is_vmalloc.wrapping_neg();
        area = vm_struct::facts(vm_struct::at_call(ctx.as_ptr(), request.argument, is_vmalloc));
        request.argument &= is_zero(area.size_bytes).wrapping_neg();
        request.argument |= area.size_bytes;
    }
    let memory = memory_css(task);
    let css = memory | (unified_css(task) & is_zero(memory).wrapping_neg());
    let cgroup: u64 = member(css, fields::CSS_CGROUP);
    let key = FailureKey {
        cgroup_id: member(member(cgroup, fields::CGROUP_KN), fields::KN_ID),
        format_address: request.format,
        argument: request.argument,
        gfp: request.gfp,
        pad: 0,
    };
    let Some(counted) = speak_up(&key) else { return };
    if hook == hook::RAW_TRACEPOINT && may_be_page_of_vmalloc(&request) {
        area = vm_struct::facts(vm_struct::on_stack(ctx.as_ptr() as u64));
    }
    write(ctx, task, request, key, counted, hook, &area);
}

/// Counts a failure; gives the counts if a record is due.
#[inline(always)]
fn speak_up(key: &FailureKey) -> Option<FailureCount> {
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let entry = match FAILURES.get_ptr_mut(key) {
        Some(entry) => entry,
        None => {
            // Another CPU may insert first, and then its entry counts.
            let _ = FAILURES.insert(key, FailureCount { sent_ns: 0, total: 0, since_ns: now }, NO_EXIST);
            FAILURES.get_ptr_mut(key)?
        }
    };
    // SAFETY: the entry is in the map, and its members are aligned. Two CPUs may both write a record; the count of each
    // includes the other's, and the user side takes differences.
    unsafe {
        // The oldest atomic instruction, which 5.10 has; Rust has none for this target.
        asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) &raw mut (*entry).total, in(reg) 1_u64);
        let sent_ns = (&raw const (*entry).sent_ns).read_volatile();
        if sent_ns != 0 && now.wrapping_sub(sent_ns) < FAILURE_QUIET_NS {
            return None;
        }
        if !within_budget(now) {
            return None;
        }
        (&raw mut (*entry).sent_ns).write_volatile(now);
        Some(FailureCount {
            sent_ns: now,
            total: (&raw const (*entry).total).read_volatile(),
            since_ns: (&raw const (*entry).since_ns).read_volatile(),
        })
    }
}

/// Whether one more record may be written in this second.
#[inline(always)]
fn within_budget(now: u64) -> bool {
    let Some(budget) = BUDGET.get_ptr_mut(0) else { return false };
    // SAFETY: the entry is in the map. A race between CPUs costs a record more or less.
    unsafe {
        if now.wrapping_sub((*budget).since_ns) >= FAILURE_QUIET_NS {
            (*budget).since_ns = now;
            (*budget).sent = 0;
        }
        (*budget).sent += 1;
        (*budget).sent <= BUDGET_RECORDS
    }
}

#[inline(always)]
fn write<C: EbpfContext>(
    ctx: &C,
    task: u64,
    request: Request,
    key: FailureKey,
    counted: FailureCount,
    hook: u8,
    area: &VmallocArea,
) {
    const STACK_BYTES: u32 = (FAILURE_STACK_FRAMES * 8) as u32;
    let Some(record) = Record::begin::<AllocFailure>(slot::ALLOC, kind::ALLOC_FAILURE, hook) else { return };
    // SAFETY: the body lies within the record's scratch; helpers take nothing, or what lies in the body.
    unsafe {
        let body: *mut AllocFailure = record.body();
        (*body).key = key;
        (*body).since_ns = counted.since_ns;
        (*body).total = counted.total;
        (*body).sent_ns = counted.sent_ns;
        // Address 0, which cannot be read, if there is none; and no allocation has an empty mask.
        copy(&raw mut (*body).nodemask, request.nodemask);
        let no_nodemask = is_zero(request.nodemask);
        let no_mems = copy_member(&raw mut (*body).mems_allowed, task, fields::TASK_MEMS_ALLOWED);
        (*body).flags = ((no_nodemask ^ 1) * u64::from(failure_flag::NODEMASK)
            | (no_mems ^ 1) * u64::from(failure_flag::MEMS_ALLOWED)) as u32;
        (*body).migrate_type = request.migrate_type;
        (*body).numa_node = bpf_get_numa_node_id() as u32;
        (*body).pad = 0;
        let copied = copy_string::<FORMAT_BYTES>((&raw mut (*body).format).cast(), request.format);
        let no_stack = failed(bpf_get_stack(ctx.as_ptr(), (&raw mut (*body).stack).cast(), STACK_BYTES, 0));
        record.lacks(is_zero(copied) * u64::from(missing::FORMAT) | no_stack * u64::from(missing::STACK));
        task_facts(record.slot(), Record::place(offset_of!(AllocFailure, trigger)), task);
    }
    vm_struct::append(&record, area);
    zones::append(&record, 0);
    lineage::of_task(&record, section::TRIGGER, task);
    record.send();
}
