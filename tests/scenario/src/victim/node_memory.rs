//! Processes that take the node's memory: almost all of it, or so that the free memory is fragmented.

use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr;

use anyhow::{Context as _, Result, ensure};
use rustix::param::page_size;
use rustix::system::sysinfo;

/// How much is taken at a time: the free memory may be less than the wanted amount by less than this.
const STEP: usize = 256 << 10;

#[derive(Clone, clap::Args)]
#[group(id = "node_memory")]
pub struct Args {
    /// Take the node's memory until so much of it is free, and keep it
    #[arg(long, value_name = "MIB")]
    leave: Option<u64>,
    /// Then free half of it in blocks of this order, and leave no larger free block
    #[arg(long, value_name = "ORDER", requires = "leave")]
    fragment: Option<u32>,
}

/// Takes it. The caller keeps the descriptors.
pub fn take(args: &Args) -> Result<Vec<OwnedFd>> {
    let Some(leave) = args.leave else { return Ok(Vec::new()) };
    let hoard = Hoard::take(leave << 20)?;
    if let Some(order) = args.fragment {
        hoard.free_half(order)?;
    }
    hoard.lock()?;
    args.fragment.map_or_else(|| Ok(Vec::new()), take_larger)
}

/// Memory of this process's own, until it ends.
struct Hoard {
    start: *mut libc::c_void,
    bytes: usize,
}

impl Hoard {
    fn take(leave: u64) -> Result<Self> {
        let all = usize::try_from(sysinfo().totalram).context("more memory than can be mapped")?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, at an address of the kernel's choice, which nothing refers to.
        let start = unsafe { libc::mmap(ptr::null_mut(), all, access, flags, -1, 0) };
        succeeded("map memory", if start == libc::MAP_FAILED { -1 } else { 0 })?;
        // Where there are none, this is an error.
        // SAFETY: it concerns the mapping above only, which is never unmapped.
        unsafe { libc::madvise(start, all, libc::MADV_NOHUGEPAGE) };
        let mut bytes = 0;
        while sysinfo().freeram > leave && bytes + STEP <= all {
            for first in (bytes..bytes + STEP).step_by(page_size()) {
                // SAFETY: within the mapping.
                unsafe { start.cast::<u8>().add(first).write_volatile(1) };
            }
            bytes += STEP;
        }
        Ok(Self { start, bytes })
    }

    /// Frees every second block. Pages that were allocated one after the other are mostly contiguous.
    fn free_half(&self, order: u32) -> Result<()> {
        let block = page_size() << order;
        for first in (0..self.bytes).step_by(2 * block) {
            // SAFETY: within the mapping, of which nothing is ever read.
            let result = unsafe { libc::madvise(self.start.byte_add(first), block, libc::MADV_DONTNEED) };
            succeeded("free memory", result)?;
        }
        Ok(())
    }

    /// Locked memory is not reclaimed, nor, where `vm.compact_unevictable_allowed` is 0, moved by compaction.
    fn lock(&self) -> Result<()> {
        // Only pages that are present: the rest of the mapping stays empty.
        // SAFETY: it changes nothing in memory.
        succeeded("lock memory", unsafe { libc::mlock2(self.start, self.bytes, libc::MLOCK_ONFAULT) })
    }
}

fn succeeded(what: &str, result: libc::c_int) -> Result<()> {
    ensure!(result >= 0, "cannot {what}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Takes the larger free blocks: those that were free before, those that merge with them, and those that compaction makes by moving
/// movable pages (files of the root file system, memory of other processes) into the small blocks.
fn take_larger(order: u32) -> Result<Vec<OwnedFd>> {
    /// There are three at most.
    const ROUNDS: usize = 8;
    /// Some the kernel hands out to no allocation: their zone's reserve has them.
    const UNOBTAINABLE: u32 = 2;
    /// Those on per-CPU lists, which no file counts. They come first.
    const KEPT: u32 = 32;
    let mut kept = Vec::new();
    for _ in 0..ROUNDS {
        // Dentries and inodes.
        fs::write("/proc/sys/vm/drop_caches", "2").context("cannot have caches dropped")?;
        fs::write("/proc/sys/vm/compact_memory", "1").context("cannot have memory compacted")?;
        let count = free_blocks(order + 1)?;
        kept.push(ring(order + 1, count + KEPT)?);
        // The kernel may have released atomic reserves (`HighAtomic`) when it found nothing else.
        if count == 0 && free_blocks(order + 1)? == 0 {
            return Ok(kept);
        }
    }
    let left = free_blocks(order + 1)?;
    ensure!(
        left <= UNOBTAINABLE,
        "after {ROUNDS} rounds there are still {left} free blocks of order {}",
        order + 1
    );
    Ok(kept)
}

/// Free blocks of this order that an unmovable allocation could use: without the reserves (`HighAtomic`, `Isolate`), and without
/// those for movable pages alone (`CMA`).
fn free_blocks(order: u32) -> Result<u32> {
    const USABLE: [&str; 3] = ["Unmovable", "Movable", "Reclaimable"];
    let text = fs::read_to_string("/proc/pagetypeinfo").context("cannot read /proc/pagetypeinfo")?;
    // `Node    0, zone    DMA32, type    Unmovable      1    293 ...`, one number for each order.
    let of_line = |line: &str| -> Option<u32> {
        let mut words = line.split_once(", type ")?.1.split_whitespace();
        words.next().filter(|kind| USABLE.contains(kind))?;
        let counts = words.enumerate().skip(order as usize);
        Some(counts.map(|(of, count)| count.parse::<u32>().unwrap_or(0) << (of - order as usize)).sum())
    };
    Ok(text.lines().filter_map(of_line).sum())
}

/// Takes so many blocks of this order, until it is closed: a ring for packets, which never come. Where the
/// kernel finds none it takes single pages.
fn ring(order: u32, count: u32) -> Result<OwnedFd> {
    // Of no protocol, so that no packet is for it.
    // SAFETY: it makes a descriptor, and touches no memory.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    succeeded("make a packet socket", socket)?;
    // SAFETY: it was just made, and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let bytes = u32::try_from(page_size() << order).context("that order is too large")?;
    let wanted = libc::tpacket_req {
        tp_block_size: bytes,
        tp_block_nr: count,
        tp_frame_size: bytes,
        tp_frame_nr: count,
    };
    let (level, option) = (libc::SOL_PACKET, libc::PACKET_RX_RING);
    let length = size_of_val(&wanted) as libc::socklen_t;
    // SAFETY: the kernel reads so many bytes from the address of a local variable of that size.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const wanted).cast(), length) };
    succeeded("make a ring for packets", result)?;
    Ok(socket)
}
