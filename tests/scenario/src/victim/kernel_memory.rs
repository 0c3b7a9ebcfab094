//! Processes whose memory is the kernel's: buffers of pipes and sockets, dentries and inodes, page tables. Of none of it is a page
//! mapped, so that the process itself stays small.

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::ptr;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{OFlags, fcntl_setfl};

/// A kind of memory that the kernel has for a process.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Kind {
    /// Full pipes: pages, charged to the cgroup
    Pipes,
    /// Data that no process has read from stream sockets: pages and slab, charged to the cgroup
    UnixSockets,
    /// Datagrams that no process has received: slab, charged to no cgroup
    Datagrams,
    /// Page tables of a mapping in which little is read
    PageTables,
}

#[derive(Clone, clap::Args)]
#[group(id = "kernel_memory")]
pub struct Args {
    /// Have the kernel keep memory of this kind
    #[arg(long, value_name = "KIND", requires = "hold_mib")]
    hold: Option<Kind>,
    /// So much of it
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    hold_mib: usize,
    /// Make empty files in this directory, so many
    #[arg(long, value_name = "DIR", requires = "files")]
    files_in: Option<PathBuf>,
    #[arg(long, value_name = "COUNT")]
    files: Option<u64>,
}

/// Has the kernel keep it. The caller keeps the descriptors.
pub fn hold(args: &Args) -> Result<Vec<OwnedFd>> {
    if let Some(dir) = &args.files_in {
        files(dir, args.files.unwrap_or_default())?;
    }
    let bytes = args.hold_mib << 20;
    match args.hold {
        None => Ok(Vec::new()),
        Some(Kind::Pipes) => pipes(bytes),
        Some(Kind::UnixSockets) => unix_sockets(bytes),
        Some(Kind::Datagrams) => datagrams(bytes),
        Some(Kind::PageTables) => page_tables(bytes).map(|()| Vec::new()),
    }
}

/// Written at a time.
const CHUNK: usize = 64 << 10;

/// `pipe_write` in `fs/pipe.c` allocates page after page with `GFP_HIGHUSER | __GFP_ACCOUNT`: never of zone Movable.
fn pipes(bytes: usize) -> Result<Vec<OwnedFd>> {
    const PIPE: usize = 1 << 20;
    let chunk = vec![1_u8; CHUNK];
    let mut kept = Vec::new();
    for _ in 0..bytes.div_ceil(PIPE) {
        let (read, mut write) = io::pipe().context("cannot make a pipe")?;
        fcntl_setfl(&write, OFlags::NONBLOCK).context("cannot set a pipe's flags")?;
        // SAFETY: it concerns this pipe only.
        let size = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE) };
        ensure!(size >= 0, "cannot enlarge a pipe: {}", io::Error::last_os_error());
        fill(&mut write, &chunk, PIPE)?;
        kept.extend([OwnedFd::from(read), write.into()]);
    }
    Ok(kept)
}

/// Sockets of `AF_UNIX` allocate with `GFP_KERNEL_ACCOUNT` (`unix_create1` in `net/unix/af_unix.c`).
fn unix_sockets(bytes: usize) -> Result<Vec<OwnedFd>> {
    const BUFFER: usize = 4 << 20;
    let chunk = vec![1_u8; CHUNK];
    let mut kept = Vec::new();
    for _ in 0..bytes.div_ceil(BUFFER) {
        let (mut write, read) = UnixStream::pair().context("cannot make a pair of sockets")?;
        write.set_nonblocking(true).context("cannot set a socket's flags")?;
        force_buffer(write.as_raw_fd(), libc::SO_SNDBUFFORCE, BUFFER)?;
        fill(&mut write, &chunk, BUFFER)?;
        kept.extend([OwnedFd::from(read), write.into()]);
    }
    Ok(kept)
}

/// Writes so much, or until there is no place for more.
fn fill(to: &mut impl io::Write, chunk: &[u8], bytes: usize) -> Result<()> {
    for _ in 0..bytes.div_ceil(chunk.len()) {
        match to.write(chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("cannot write"),
        }
    }
    Ok(())
}

/// Their data is allocated without `__GFP_ACCOUNT`, and a socket of the root cgroup is charged to none. Takes a
/// `net.ipv4.udp_mem` that allows them.
fn datagrams(bytes: usize) -> Result<Vec<OwnedFd>> {
    const BUFFER: usize = 8 << 20;
    /// In one block, and not in pages of its own (below `SKB_MAX_ALLOC`, `__ip_append_data` in `net/ipv4/ip_output.c`).
    const DATAGRAM: usize = 14_000;
    let datagram = vec![1_u8; DATAGRAM];
    let mut kept = Vec::new();
    let mut queued = 0;
    while queued < bytes {
        let receiver = UdpSocket::bind("127.0.0.1:0").context("cannot make a socket")?;
        force_buffer(receiver.as_raw_fd(), libc::SO_RCVBUFFORCE, BUFFER)?;
        let sender = UdpSocket::bind("127.0.0.1:0").context("cannot make a socket")?;
        force_buffer(sender.as_raw_fd(), libc::SO_SNDBUFFORCE, BUFFER)?;
        let to = receiver.local_addr().context("a socket has an address")?;
        for _ in 0..BUFFER / DATAGRAM / 2 {
            queued += sender.send_to(&datagram, to).context("cannot send a datagram")?;
        }
        kept.push(receiver.into());
    }
    Ok(kept)
}

fn force_buffer(socket: RawFd, option: libc::c_int, bytes: usize) -> Result<()> {
    let bytes = libc::c_int::try_from(bytes).context("a buffer of a few MiB")?;
    let length = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the kernel reads so many bytes from the address of a local variable of that size.
    let result =
        unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, option, (&raw const bytes).cast(), length) };
    ensure!(result == 0, "cannot set a socket's buffer: {}", io::Error::last_os_error());
    Ok(())
}

/// A page table of the lowest level for each 2 MiB (with pages of 4K) of which one page is read: that maps the kernel's page of
/// zeroes, which counts to no process.
fn page_tables(bytes: usize) -> Result<()> {
    let page = rustix::param::page_size();
    let covered = page * (page / size_of::<u64>());
    let tables = bytes / page;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let length = tables * covered;
    // SAFETY: a new mapping, at an address of the kernel's choice, which nothing refers to.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ, flags, -1, 0) };
    ensure!(start != libc::MAP_FAILED, "cannot map memory: {}", io::Error::last_os_error());
    // Where there are none, this is an error.
    // SAFETY: it concerns the mapping above only, which is never unmapped.
    unsafe { libc::madvise(start, length, libc::MADV_NOHUGEPAGE) };
    for first in (0..length).step_by(covered) {
        // SAFETY: within the mapping.
        unsafe { start.cast::<u8>().add(first).read_volatile() };
    }
    Ok(())
}

/// In tmpfs: a dentry and an inode each, charged to the cgroup.
fn files(dir: &Path, count: u64) -> Result<()> {
    for number in 0..count {
        let path = dir.join(format!("session-{number:08}"));
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    Ok(())
}
