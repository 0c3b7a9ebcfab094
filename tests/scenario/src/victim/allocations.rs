//! Processes that have the kernel allocate memory in ways that may fail, and count the failures.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::param::page_size;
use rustix::system::sysinfo;

use super::workload;

/// A kind of allocation.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Kind {
    /// Physically contiguous pages
    Contiguous,
    /// Atomic pages, until --count allocations failed; then all are freed
    Atomic,
    /// Pages charged to the cgroup, until --count allocations failed; then all are freed
    Charged,
    /// Many pages at once, charged to the cgroup
    ChargedAtOnce,
    /// More virtually contiguous memory than there is
    Virtual,
    /// What limits refuse before the kernel allocates anything
    Refused,
    /// BPF maps, charged to the cgroup, until --count could not be made; then all are freed
    BpfMaps,
}

#[derive(Clone, clap::Args)]
#[group(id = "allocations")]
pub struct Args {
    /// Have the kernel allocate this
    #[arg(long, value_name = "KIND")]
    allocate: Option<Kind>,
    /// The order, of contiguous pages
    #[arg(long, value_name = "ORDER", default_value_t = 0)]
    order: u32,
    /// How often
    #[arg(long, default_value_t = 1)]
    count: u64,
}

/// Allocates, and returns how many allocations failed.
pub fn run(args: &Args) -> Result<Option<u64>> {
    let allocate = |kind| match kind {
        Kind::Contiguous => contiguous(args.order, args.count),
        Kind::Atomic => atomic(args.count),
        Kind::Charged => charged(args.count),
        Kind::ChargedAtOnce => charged_at_once(args.count),
        Kind::Virtual => virtually_contiguous(args.count),
        Kind::Refused => refused(args.count),
        Kind::BpfMaps => bpf_maps(args.count),
    };
    args.allocate.map(allocate).transpose()
}

/// The control data of a message, which the kernel copies into its own memory before it looks at it: it allocates with
/// `GFP_KERNEL` and no more (`____sys_sendmsg` in `net/socket.c`, `sock_kmalloc`), which for more than 2^3 pages fails
/// with a warning where there is no such block, and for less has the OOM killer make one.
fn contiguous(order: u32, count: u64) -> Result<u64> {
    let (socket, _peer) = UnixDatagram::pair().context("cannot make a pair of sockets")?;
    // More than the order below has. Nothing of it is touched here, and where the kernel has no memory not there.
    let control = vec![0_u8; (page_size() << order) - page_size() / 2];
    // SAFETY: a structure of numbers and pointers, for which 0 is none.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_ptr().cast_mut().cast();
    // As musl has it, and glibc.
    message.msg_controllen = control.len() as _;
    let mut failed = 0;
    for _ in 0..count {
        // By number, since musl's own function has a limit.
        // SAFETY: the kernel reads a message whose only part is `control`, of that length; both outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_sendmsg, socket.as_raw_fd(), &raw const message, 0) };
        match last_error(result) {
            Some(libc::ENOBUFS) => failed += 1,
            // The kernel had the memory, and has seen that the control data is empty.
            Some(libc::EINVAL) => {}
            other => bail!("a message of control data gave {other:?}"),
        }
    }
    Ok(failed)
}

/// Signals that stay pending: `__sigqueue_alloc` in `kernel/signal.c` allocates with `GFP_ATOMIC`, since its caller has a
/// lock, and SLUB passes that on as it is when it needs another page.
fn atomic(count: u64) -> Result<u64> {
    let no_limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel reads a structure from the address of a local variable.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &raw const no_limit) };
    ensure!(result == 0, "cannot raise RLIMIT_SIGPENDING: {}", io::Error::last_os_error());
    let signal = libc::SIGRTMIN();
    // SAFETY: it sets bits of a local variable, and this process's action on a signal that only it sends.
    unsafe {
        let mut blocked = std::mem::zeroed();
        libc::sigemptyset(&raw mut blocked);
        libc::sigaddset(&raw mut blocked, signal);
        let result = libc::sigprocmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut());
        ensure!(result == 0, "cannot block a signal: {}", io::Error::last_os_error());
    }
    workload::set_policy(libc::SCHED_FIFO, 1)?;
    let mut failed = 0;
    while failed < count {
        // SAFETY: the value is passed on and means nothing.
        let result = unsafe {
            libc::sigqueue(libc::getpid(), signal, libc::sigval { sival_ptr: std::ptr::null_mut() })
        };
        match last_error(result.into()) {
            None => {}
            Some(libc::EAGAIN) => failed += 1,
            other => bail!("a signal gave {other:?}"),
        }
    }
    // An ignored signal does not stay pending. So all is free again before any other task runs, and has to wait for it.
    // SAFETY: no handler is installed.
    ensure!(unsafe { libc::signal(signal, libc::SIG_IGN) } != libc::SIG_ERR, "cannot ignore a signal");
    Ok(failed)
}

/// The contents of pipes: pages that the kernel allocates and charges to the writer (`pipe_write` in `fs/pipe.c`,
/// `__GFP_ACCOUNT`).
fn charged(count: u64) -> Result<u64> {
    const PIPES: usize = 64;
    const PIPE_BYTES: libc::c_int = 1 << 20;
    let mut pipes = Vec::with_capacity(PIPES);
    // Written to, and so present: at its limit the process must not need a page for itself.
    let text = vec![1_u8; page_size()];
    let mut failed = 0;
    while failed < count {
        ensure!(pipes.len() < PIPES, "{PIPES} pipes are full, and the limit is not reached");
        let (read, write) = io::pipe().context("cannot make a pipe")?;
        fcntl_setfl(&write, OFlags::NONBLOCK).context("cannot set a pipe's flags")?;
        // SAFETY: it concerns this pipe only.
        let size = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
        ensure!(size >= PIPE_BYTES, "cannot enlarge a pipe: {}", io::Error::last_os_error());
        while failed < count && !is_full(write.as_raw_fd(), &text, &mut failed)? {}
        pipes.push((read, write));
    }
    // Closed here, before this process needs any page.
    drop(pipes);
    Ok(failed)
}

/// The ring of buffers of a very large pipe: 2^9 pages on 4K pages (`pipe_resize_ring` in `fs/pipe.c`), for which the kernel
/// kills no process where a limit is reached (`try_charge` in `mm/memcontrol.c`), and of which it does not warn.
fn charged_at_once(count: u64) -> Result<u64> {
    let bytes =
        libc::c_int::try_from(page_size() << 15).context("this machine has too large pages for that")?;
    let (_read, write) = io::pipe().context("cannot make a pipe")?;
    let mut failed = 0;
    for _ in 0..count {
        // SAFETY: it concerns this pipe only.
        let result = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
        match last_error(result.into()) {
            None => {}
            Some(libc::ENOMEM) => failed += 1,
            other => bail!("to enlarge a pipe gave {other:?}"),
        }
    }
    Ok(failed)
}

/// Writes a page to a pipe. Says whether there was no place for it.
fn is_full(pipe: RawFd, text: &[u8], failed: &mut u64) -> Result<bool> {
    // SAFETY: the kernel reads so many bytes of a slice of that length.
    let written = unsafe { libc::write(pipe, text.as_ptr().cast(), text.len()) };
    match last_error(written as libc::c_long) {
        None => {}
        Some(libc::ENOMEM) => *failed += 1,
        Some(libc::EAGAIN) => return Ok(true),
        other => bail!("a write to a pipe gave {other:?}"),
    }
    Ok(false)
}

/// More semaphores than there is memory for: one allocation of `vmalloc`, whose size is not checked before (`sem_alloc`
/// in `ipc/sem.c`). Takes a `kernel.sem` that allows them.
fn virtually_contiguous(count: u64) -> Result<u64> {
    let semaphores = libc::c_int::try_from(sysinfo().totalram / SEMAPHORE_BYTES * 5 / 4)
        .context("this machine has too much memory for that")?;
    for _ in 0..count {
        // By number, since musl's own function has a limit.
        // SAFETY: it touches no memory.
        let result = unsafe { libc::syscall(libc::SYS_semget, libc::IPC_PRIVATE, semaphores, 0o600) };
        let error = last_error(result);
        ensure!(error == Some(libc::ENOMEM), "a request for {semaphores} semaphores gave {error:?}");
    }
    Ok(count)
}

/// BPF maps of [`MAP_BYTES`], each an area of vmalloc for which the kernel kills no process and of which it does not warn
/// (`bpf_map_area_alloc` in `kernel/bpf/syscall.c`).
fn bpf_maps(count: u64) -> Result<u64> {
    const MAPS: usize = 64;
    let mut maps = Vec::with_capacity(MAPS);
    let mut failed = 0;
    while failed < count {
        ensure!(maps.len() < MAPS, "{MAPS} maps are made, and the limit is not reached");
        match bpf_map() {
            Ok(map) => maps.push(map),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => failed += 1,
            Err(error) => return Err(error).context("cannot make a BPF map"),
        }
    }
    Ok(failed)
}

/// Of an array's values; the map itself is 4 KiB or so larger.
const MAP_BYTES: u32 = 16 << 20;

/// A map of type array: one area, as large as its values together.
fn bpf_map() -> io::Result<OwnedFd> {
    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    const VALUE_BYTES: u32 = 4096;
    /// The beginning of `union bpf_attr`; what the kernel knows beyond is 0.
    #[repr(C)]
    struct Attributes {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
    }
    let attributes = Attributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: VALUE_BYTES,
        max_entries: MAP_BYTES / VALUE_BYTES,
        map_flags: 0,
    };
    // SAFETY: the kernel reads so many bytes of a local variable.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const attributes, size_of::<Attributes>())
    };
    match RawFd::try_from(result) {
        // SAFETY: the kernel just made it, for no other owner.
        Ok(map) if map >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(map) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Of `struct sem` (`ipc/sem.c`), which is alone in its cache line.
const SEMAPHORE_BYTES: u64 = 64;

/// `ENOMEM` without a failed allocation: a socket filter above `net.core.optmem_max`, a mapping larger than the kernel would promise,
/// one above `RLIMIT_AS`.
fn refused(count: u64) -> Result<u64> {
    let map = |bytes: usize| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice, which nothing refers to; it is never unmapped.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0) };
        last_error(if start == libc::MAP_FAILED { -1 } else { 0 })
    };
    let all = usize::try_from(sysinfo().totalram).context("more memory than can be mapped")?;
    let mut errors = Vec::new();
    for _ in 0..count {
        errors.extend([filter_of(4000)?, map(8 * all)]);
    }
    let limit = libc::rlimit { rlim_cur: all as libc::rlim_t, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel reads a structure from the address of a local variable.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    ensure!(result == 0, "cannot set RLIMIT_AS: {}", io::Error::last_os_error());
    errors.extend((0..count).map(|_| map(all)));
    ensure!(errors.iter().all(|error| *error == Some(libc::ENOMEM)), "not all were refused: {errors:?}");
    Ok(errors.len() as u64)
}

/// The error of a socket filter of so many instructions (`sock_kmalloc` in `net/core/sock.c`).
fn filter_of(instructions: u16) -> Result<Option<i32>> {
    let (socket, _peer) = UnixDatagram::pair().context("cannot make a pair of sockets")?;
    // "Return 0", again and again.
    let mut code = vec![
        libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
        instructions.into()
    ];
    let program = libc::sock_fprog { len: instructions, filter: code.as_mut_ptr() };
    let length = size_of_val(&program) as libc::socklen_t;
    // SAFETY: the kernel reads the structure and the instructions that it points to, all of which outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    Ok(last_error(result.into()))
}

/// The error of a system call that gave this.
fn last_error(result: libc::c_long) -> Option<i32> {
    (result < 0).then(|| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
