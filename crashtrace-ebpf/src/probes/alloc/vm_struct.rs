//! The `vm_struct` of a failed vmalloc, for the size that was asked.
//!
//! When a page failed, `__vmalloc_area_node` (`mm/vmalloc.c`, 5.10 to 7.3) calls `warn_alloc` with the bytes that it had **got**,
//! or with those that it had been **asked** for (seen in 7.2); the message is the same. Both are in its `struct vm_struct`. It is
//! still needed after that call, to free it: so its address is in a callee-saved register, or in the stack frame of
//! `__vmalloc_node_range`, next to the place where the call's frame begins. From the tracepoint, a page's failure further down, all
//! of it is on the stack.
//!
//! As in `oom::oom_control`, nothing is assumed about frames: each word is tried as the address of a `vm_struct`, whose members
//! must fit together. Completed ones do not fit (`VM_UNINITIALIZED` is cleared at the end), nor do those that vmalloc has made for
//! its own array of pages (the outer one has no `pages` yet). If two fit, none is taken: the size is never guessed.

use aya_ebpf::EbpfContext;
use aya_ebpf::programs::ProbeContext;
use crashtrace_ebpf::{Section, VMALLOC_BYTES, VmallocArea, fields, section};

use crate::emit::{Record, end, grow};
use crate::kernel::{is_zero, member, opaque, read};

/// Words of the caller's frame that are tried: 512 bytes. The frame of `__vmalloc_node_range` takes some 200.
const FRAME_WORDS: u64 = 64;

/// Words from the tracepoint's arguments on: 1 KiB, for the frames of the tracepoint and of the page allocator before it.
const STACK_WORDS: u64 = 128;

/// Flags of an area that vmalloc is about to fill (`include/linux/vmalloc.h`): `VM_ALLOC` and `VM_UNINITIALIZED`.
const IN_PROGRESS: u64 = 0x22;

/// Words that are tried in one call.
const WORDS_AT_ONCE: u64 = 8;

/// In the state of a search, which is the address of the first that fits, or 0: another one fits too. No `vm_struct` lies at an odd
/// address.
const OTHERS: u64 = 1;

/// Bytes that the area must have got or been asked for, and the bits of that number that count.
#[derive(Clone, Copy)]
struct Told {
    bytes: u64,
    mask: u64,
}

/// Tries an address; `state` is that of the search. Gives the new state. Without a branch, for the verifier: see `kernel`.
#[inline(always)]
fn consider(address: u64, told: Told, state: u64) -> u64 {
    let fits = opaque(plausible_area(address, told.bytes, told.mask));
    let first = is_zero(state);
    let same = is_zero(state & !OTHERS ^ address);
    let others = fits & (first ^ 1) & (same ^ 1);
    state | others | (address & (fits & first).wrapping_neg())
}

/// The same for the words from `from` on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn consider_words(from: u64, told_bytes: u64, mask: u64, state: u64) -> u64 {
    let mut state = state;
    for word in 0..WORDS_AT_ONCE {
        state = consider(read(from + 8 * word), Told { bytes: told_bytes, mask }, state);
    }
    state
}

#[inline(always)]
fn consider_stack(from: u64, words: u64, told: Told, state: u64) -> u64 {
    let mut state = state;
    for part in 0..words / WORDS_AT_ONCE {
        state = consider_words(from + 8 * WORDS_AT_ONCE * part, told.bytes, told.mask, state);
    }
    state
}

/// What was found, if nothing else was.
#[inline(always)]
fn result(state: u64) -> u64 {
    state & is_zero(state & OTHERS).wrapping_neg()
}

/// Address of the `vm_struct` of the vmalloc that calls the probed function and tells so many bytes, or 0. `is_vmalloc` is 0 if
/// none does.
#[inline(never)]
pub(super) fn at_call(ctx: *mut core::ffi::c_void, told_bytes: u64, is_vmalloc: u64) -> u64 {
    if is_vmalloc == 0 {
        return 0;
    }
    let ctx = ProbeContext::new(ctx);
    let told = Told { bytes: told_bytes, mask: u64::MAX };
    let mut state = 0;
    // SAFETY: the context of a kprobe is the registers.
    let (kept, stack) = unsafe { callee_saved(&*ctx.as_ptr().cast()) };
    for register in kept {
        state = consider(register, told, state);
    }
    result(consider_stack(stack, FRAME_WORDS, told, state))
}

/// The same for a page that failed, from an address on the current stack.
#[inline(always)]
pub(super) fn on_stack(context: u64) -> u64 {
    // What a helper has read is a plain number to the verifier: the context is a typed pointer before.
    let context: u64 = read((&raw const context).expose_provenance() as u64);
    result(consider_stack(context, STACK_WORDS, Told { bytes: 0, mask: 0 }, 0))
}

/// Registers that a function leaves as they are, and the stack pointer.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn callee_saved(regs: &aya_ebpf::bindings::pt_regs) -> ([u64; 6], u64) {
    ([regs.rbx, regs.rbp, regs.r12, regs.r13, regs.r14, regs.r15], regs.rsp)
}

/// The same.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn callee_saved(regs: &aya_ebpf::bindings::pt_regs) -> ([u64; 10], u64) {
    let [.., r19, r20, r21, r22, r23, r24, r25, r26, r27, r28, _, _] = regs.regs;
    ([r19, r20, r21, r22, r23, r24, r25, r26, r27, r28], regs.sp)
}

/// 1 if there is a `vm_struct` at `address` that vmalloc is filling, and those bits of `told_bytes` are of what it has got or been
/// asked for; else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn plausible_area(address: u64, told_bytes: u64, mask: u64) -> u64 {
    /// No page is smaller.
    const PAGE: u64 = 4096;
    let area: u64 = member(address, fields::VM_ADDR);
    let pages: u64 = member(address, fields::VM_PAGES);
    let size: u64 = member(address, fields::VM_SIZE);
    let flags: u64 = member(address, fields::VM_FLAGS);
    let device: u64 = member(address, fields::VM_PHYS_ADDR);
    let count = u64::from(member::<u32>(address, fields::VM_NR_PAGES));
    // Pages have 4, 16 or 64 KiB.
    let got = is_zero((count << 12 ^ told_bytes) & mask)
        | is_zero((count << 14 ^ told_bytes) & mask)
        | is_zero((count << 16 ^ told_bytes) & mask);
    // Its size is what was asked for, and a guard page unless the caller wants none.
    let guard = size.wrapping_sub(told_bytes);
    let asked =
        is_zero(guard) | is_zero(guard ^ 1 << 12) | is_zero(guard ^ 1 << 14) | is_zero(guard ^ 1 << 16);
    // At the tracepoint of 5.10 it counts as if all was there; that is still less than its size with the guard page.
    let larger = opaque(opaque(count << 12).wrapping_sub(size)) >> 63;
    (area >> 63)
        & (pages >> 63)
        & is_zero(area & (PAGE - 1))
        & is_zero(size & (PAGE - 1))
        & is_zero(size >> 47)
        & is_zero(device)
        & is_zero(flags & IN_PROGRESS ^ IN_PROGRESS)
        & (got | asked)
        & larger
}

/// Copies the members of the `vm_struct` at `address`: zeroes if that is 0, which cannot be read. Its size is 0 then, and of no
/// real one.
#[inline(always)]
pub(super) fn facts(address: u64) -> VmallocArea {
    VmallocArea {
        size_bytes: member(address, fields::VM_SIZE),
        requested_bytes: member(address, fields::VM_REQUESTED_SIZE),
        flags: member(address, fields::VM_FLAGS),
        pages: u64::from(member::<u32>(address, fields::VM_NR_PAGES)),
    }
}

/// Appends the section of `area`, if there is one.
#[inline(always)]
pub(super) fn append(record: &Record, area: &VmallocArea) {
    let scratch = record.scratch();
    // SAFETY: `Record::begin` took the scratch from its map. Without an area what is written lies behind the record.
    unsafe {
        let section: *mut Section = end(scratch).cast();
        *section = Section {
            kind: section::VMALLOC,
            levels: 0,
            flags: 0,
            skipped: 0,
            length: VMALLOC_BYTES as u32,
            joins: 0,
            joined_at: 0,
        };
        *section.add(1).cast() = *area;
        grow(scratch, VMALLOC_BYTES as u64 & is_zero(area.size_bytes).wrapping_sub(1));
    }
}
