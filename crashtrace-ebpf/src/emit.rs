//! Putting a record together and sending it.
//!
//! A record is built in a per-CPU [`Scratch`] and copied into the ring at once. A record that cannot be sent is counted.

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_boot_ns, bpf_ringbuf_output,
};
use crashtrace_ebpf::{GROUP_WORDS, Header, LAYOUT_VERSION, STACK_FRAMES, counter, kind};

use crate::kernel::{copy, failed, is_zero, opaque};
use crate::maps::{COUNTERS, OFFSET_LIMIT, RECORDS, SCRATCH, SEQUENCE, SWITCH, Scratch, slot};

/// A record under construction.
pub(crate) struct Record {
    scratch: *mut Scratch,
    slot: u64,
    kind: u16,
}

/// The scratch of `slot`, for a global function (see [`crate::kernel`]): it cannot be handed a pointer.
#[inline(always)]
pub(crate) fn scratch_of(slot: u64) -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(slot as u32)
}

/// Bounds `offset`, so that the verifier knows that it lies in a record.
///
/// In assembly, because the optimiser removes a mask that it can prove to be useless, and with it the proof.
#[inline(always)]
pub(crate) fn bounded(offset: u64) -> u64 {
    const { assert!(OFFSET_LIMIT == 0x4000) };
    let mut offset = offset;
    // SAFETY: one arithmetic instruction on its own operand.
    unsafe { asm!("{0} &= 0x3fff", inout(reg) offset) };
    offset
}

/// The current thread's id.
#[inline(always)]
pub(crate) fn current_tid() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { aya_ebpf::helpers::generated::bpf_get_current_pid_tgid() & 0xffff_ffff }
}

/// Whether the user side has switched the programs on. A map's value, so that the value at load time is not taken for the
/// current one.
#[inline(always)]
pub(crate) fn armed() -> bool {
    // SAFETY: the entry is in the map; the user side writes it whole.
    SWITCH.get_ptr(0).is_some_and(|on| unsafe { on.read_volatile() } != 0)
}

/// Adds 1 to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(index: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the pointer is into this CPU's slot of the map. A program that preempts this one between load and
        // store may cost one count.
        unsafe { *value += 1 };
    }
}

impl Record {
    /// Begins a record of `kind` in `slot`, with a body of `B`.
    #[inline(always)]
    pub(crate) fn begin<B>(slot: u32, kind: u16, hook: u8) -> Option<Self> {
        let stream = slot::stream(slot);
        let sequence = SEQUENCE.get_ptr_mut(u32::from(stream))?;
        // SAFETY: this CPU's slot, as in `count`.
        let seq = unsafe {
            let seq = *sequence;
            *sequence = seq + 1;
            seq
        };
        let scratch = SCRATCH.get_ptr_mut(slot)?;
        // SAFETY: this CPU's slot; `SCRATCH` says why no other program writes to it, and `busy` guards the exceptions.
        unsafe {
            if (*scratch).busy != 0 {
                count(counter::SCRATCH_BUSY);
                return None;
            }
            (*scratch).busy = 1;
        }
        // SAFETY: this CPU's slot, marked as in use.
        let record = unsafe { Self::at::<B>(scratch, slot, seq, kind, hook) };
        // SAFETY: the header lies within the scratch.
        unsafe { (&raw mut (*record.header()).stream).write_volatile(stream) };
        Some(record)
    }

    /// Begins a record that is never sent, and so has no number.
    #[inline(always)]
    pub(crate) fn unsent<B>(slot: u32, kind: u16, hook: u8) -> Option<Self> {
        let scratch = SCRATCH.get_ptr_mut(slot)?;
        // SAFETY: this CPU's slot; the caller runs before any other program does.
        Some(unsafe { Self::at::<B>(scratch, slot, 0, kind, hook) })
    }

    /// Begins a record in `scratch`, that of `slot`, as number `seq`.
    ///
    /// # Safety
    /// `scratch` must be a value of the map, which no other program writes to.
    #[inline(always)]
    unsafe fn at<B>(scratch: *mut Scratch, slot: u32, seq: u64, kind: u16, hook: u8) -> Self {
        let record = Self { scratch, slot: u64::from(slot), kind };
        // SAFETY: helpers without arguments; the header lies within the scratch, for which the caller vouches.
        unsafe {
            (&raw mut (*scratch).length).write_volatile((size_of::<Header>() + size_of::<B>()) as u64);
            let header = record.header();
            (*header).layout = LAYOUT_VERSION;
            (*header).kind = kind;
            (*header).length = 0;
            (*header).seq = seq;
            (*header).ktime_ns = bpf_ktime_get_boot_ns();
            (*header).decision_ns = 0;
            (*header).missing = 0;
            (*header).cpu = bpf_get_smp_processor_id();
            // And the stream, and padding: in one word, since an array of bytes would be a call of memset.
            (&raw mut (*scratch).whole).write_volatile(0);
            const { assert!(size_of::<Header>() - offset_of!(Header, hook) == 8) };
            (&raw mut (*header).hook).cast::<u64>().write_volatile(u64::from(hook));
        }
        record
    }

    /// Its header.
    #[inline(always)]
    pub(crate) fn header(&self) -> *mut Header {
        self.scratch.cast()
    }

    /// Its body, behind the header.
    #[inline(always)]
    pub(crate) fn body<B>(&self) -> *mut B {
        // SAFETY: header and body lie within the scratch, whose size is far larger.
        unsafe { self.scratch.cast::<u8>().add(size_of::<Header>()).cast() }
    }

    /// Index of the scratch that it is built in.
    #[inline(always)]
    pub(crate) fn slot(&self) -> u64 {
        self.slot
    }

    /// Where the member of its body at `offset` is, counted from the beginning of the record.
    #[inline(always)]
    pub(crate) const fn place(offset: usize) -> u64 {
        (size_of::<Header>() + offset) as u64
    }

    /// The scratch that it is built in.
    #[inline(always)]
    pub(crate) fn scratch(&self) -> *mut Scratch {
        self.scratch
    }

    /// Sets bits of `missing` in the header; none if nothing is missing.
    #[inline(always)]
    pub(crate) fn lacks(&self, bits: u64) {
        // SAFETY: the header lies within the scratch.
        unsafe {
            let missing = &raw mut (*self.header()).missing;
            missing.write_volatile(missing.read_volatile() | bits as u32);
        }
    }

    /// Writes the complete record's length to its header, and gives it.
    #[inline(always)]
    pub(crate) fn close(&self) -> u64 {
        // SAFETY: the header lies within the scratch.
        unsafe {
            let length = bounded((&raw const (*self.scratch).length).read_volatile());
            (*self.header()).length = length as u32;
            length
        }
    }

    /// Sends it. Gives whether there was room.
    #[inline(always)]
    pub(crate) fn send(self) -> bool {
        pack_record(self.slot);
        self.send_as_it_is()
    }

    /// The same for one without a body.
    #[inline(always)]
    pub(crate) fn send_as_it_is(self) -> bool {
        let length = self.close();
        // SAFETY: the length is masked to below the size of the buffer.
        unsafe {
            let failed =
                bpf_ringbuf_output((&raw const RECORDS).cast_mut().cast(), self.scratch.cast(), length, 0);
            (*self.scratch).busy = 0;
            if failed != 0 {
                count(counter::RING_FULL);
                match self.kind {
                    kind::OOM_VICTIM => count(counter::RING_FULL_VICTIMS),
                    kind::ALLOC_FAILURE => count(counter::RING_FULL_FAILURES),
                    kind::CONTAINER_EXIT => count(counter::RING_FULL_EXITS),
                    _ => {}
                }
            }
            failed == 0
        }
    }
}

/// Words that are looked at in one call.
const WORDS_AT_ONCE: u64 = 8;

/// Leaves words that are zero out of the record of `slot`: see [`Header::unpacked`]. In a pod's OOM kill they are a quarter: swap that
/// is not used, statistics that this kernel does not have, frames behind the stack's end.
///
/// In place: what is written never overtakes what is read, since the bitmaps are kept apart until the end.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pack_record(slot: u64) -> u64 {
    const { assert!(OFFSET_LIMIT / 8 / GROUP_WORDS == 32) };
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: this CPU's slot, in use by this program.
    unsafe {
        let unpacked = (&raw const (*scratch).length).read_volatile();
        (&raw mut (*scratch).packed).write_volatile(size_of::<Header>() as u64);
        let mut groups = 0;
        for group in 0..(OFFSET_LIMIT / 8 / GROUP_WORDS) as u64 {
            let first = size_of::<Header>() as u64 + group * 8 * GROUP_WORDS as u64;
            if first >= unpacked {
                break;
            }
            pack_group(slot, group, first);
            groups += 1;
        }
        (*scratch.cast::<Header>()).unpacked = unpacked as u32;
        let packed = (&raw const (*scratch).packed).read_volatile();
        let bitmaps: *mut [u64; 32] = at(scratch, packed).cast();
        copy(bitmaps, (&raw const (*scratch).bitmaps).expose_provenance() as u64);
        (&raw mut (*scratch).length).write_volatile(packed + 8 * groups);
    }
    0
}

/// Packs the group of words that begins at `first`, and stores its bitmap.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pack_group(slot: u64, group: u64, first: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    let mut bitmap = 0;
    for part in 0..GROUP_WORDS as u64 / WORDS_AT_ONCE {
        bitmap |= pack_words(slot, first + part * 8 * WORDS_AT_ONCE) << (part * WORDS_AT_ONCE);
    }
    // SAFETY: this CPU's slot, in use by this program; the index is masked.
    unsafe {
        (&raw mut (*scratch).bitmaps).cast::<u64>().add((group & 31) as usize).write_volatile(bitmap);
    }
    0
}

/// Packs the words from `first` on. Gives their bits.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pack_words(slot: u64, first: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    let mut bits = 0;
    // SAFETY: this CPU's slot, in use by this program; offsets are masked to lie in it. A word that is zero is written, too, and then
    // overwritten by the next: without a branch, for the verifier.
    unsafe {
        let length = (&raw const (*scratch).length).read_volatile();
        for word in 0..WORDS_AT_ONCE {
            let from = first + 8 * word;
            let value = at(scratch, from).cast::<u64>().read_volatile();
            let inside = opaque(from.wrapping_sub(length) >> 63);
            let kept = inside & (is_zero(value) ^ 1);
            let packed = (&raw const (*scratch).packed).read_volatile();
            at(scratch, packed).cast::<u64>().write_volatile(value);
            (&raw mut (*scratch).packed).write_volatile(packed + 8 * kept);
            bits |= kept << word;
        }
    }
    bits
}

/// Appends `caller` to the frames of the stack at `out`, if there is room.
///
/// # Safety
/// `out` must have `STACK_FRAMES` places.
#[inline(always)]
pub(crate) unsafe fn extend_stack(out: *mut [u64; STACK_FRAMES], caller: u64) {
    // SAFETY: the caller vouches for `out`.
    unsafe {
        let last = out.cast::<u64>().add(STACK_FRAMES - 1);
        let there = last.read_volatile();
        last.write_volatile(there | (caller & is_zero(there).wrapping_neg()));
    }
}

/// Where the byte of the record in `scratch` with this offset is.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(always)]
pub(crate) unsafe fn at(scratch: *mut Scratch, offset: u64) -> *mut u8 {
    // SAFETY: the caller vouches for `scratch`; the offset is masked to lie in it.
    unsafe { scratch.cast::<u8>().add(bounded(offset) as usize) }
}

/// Where the next byte of the record in `scratch` goes.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(always)]
pub(crate) unsafe fn end(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: the caller vouches for `scratch`; the offset is masked to lie in it.
    unsafe { at(scratch, (&raw const (*scratch).length).read_volatile()) }
}

/// Makes the record in `scratch` longer.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(always)]
pub(crate) unsafe fn grow(scratch: *mut Scratch, bytes: u64) {
    // SAFETY: the caller vouches for `scratch`.
    unsafe {
        let length = &raw mut (*scratch).length;
        length.write_volatile(length.read_volatile() + bytes);
    }
}

/// Copies the return addresses of the kernel's stack to `out`, zeroes if there are none. Gives 1 if it failed, else 0.
///
/// # Safety
/// `out` must have `STACK_FRAMES` places.
#[inline(always)]
pub(crate) unsafe fn stack<C: EbpfContext>(ctx: &C, out: *mut [u64; STACK_FRAMES]) -> u64 {
    const BYTES: u32 = (STACK_FRAMES * 8) as u32;
    // SAFETY: the caller vouches for `out`; the helper fills the rest with zeroes.
    failed(unsafe { bpf_get_stack(ctx.as_ptr(), out.cast(), BYTES, 0) })
}
