//! The workload of a victim, once it is told to begin.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{Args, STAMP_BYTES, allocations, kernel_memory, node_load, node_memory};
use crashtrace_test_support::clock::boottime_ns;

/// `MPOL_BIND` (`include/uapi/linux/mempolicy.h`).
const MPOL_BIND: libc::c_long = 2;

/// The time of the last touch, in memory of the other side that is not charged to this process's cgroup.
/// After the kill it has the time right before it.
pub struct Stamps {
    file: File,
    /// Locked while the stamp is written: of several threads the last to count must also write last.
    pages: Mutex<u64>,
    /// Read while the first thread exists: it is found in a file of /proc that is empty when that has ended.
    page_bytes: usize,
}

impl Stamps {
    /// Opens the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().write(true).open(path).context("cannot open the file of stamps")?;
        Ok(Self { file, pages: Mutex::new(0), page_bytes: rustix::param::page_size() })
    }

    /// To be called before a page is touched.
    fn next(&self) -> Result<()> {
        let Ok(mut pages) = self.pages.lock() else { bail!("a thread panicked while it wrote a stamp") };
        let mut record = [0; STAMP_BYTES];
        record[..8].copy_from_slice(&boottime_ns().to_ne_bytes());
        record[8..].copy_from_slice(&pages.to_ne_bytes());
        *pages += 1;
        self.file.write_all_at(&record, 0).context("cannot write a stamp")
    }
}

/// The result of a workload.
pub struct Done {
    /// To be kept: with a block device's last close its page cache goes, and with a packet socket its ring.
    pub kept: Vec<OwnedFd>,
    /// How many allocations failed, where it was to make some.
    pub failed: Option<u64>,
}

pub fn run(args: &Args, memory: &mut [u8], stamps: &Stamps) -> Result<Done> {
    if let Some(node) = args.bind {
        bind_to_node(node)?;
    }
    if let Some((file, value)) = args.write.as_deref().and_then(|write| write.split_once('=')) {
        fs::write(file, value).with_context(|| format!("cannot write {file}"))?;
    }
    if let Some(pid) = args.kill {
        kill_process(Pid::from_raw(pid).context("no process")?, Signal::KILL).context("cannot kill")?;
    }
    if let Some(file) = &args.fill {
        fill(file, args.mib << 20, stamps)?;
    }
    let mut kept = node_memory::take(&args.node_memory)?;
    kept.extend(kernel_memory::hold(&args.kernel_memory)?);
    if let Some(file) = &args.read {
        kept.push(read(file, args.mib << 20)?.into());
    }
    if let Some(seconds) = args.busy {
        node_load::for_seconds(seconds)?;
    }
    let done = Done { kept, failed: allocations::run(&args.allocations)? };
    let Some(share) = memory.len().checked_div(args.threads + 1).filter(|share| *share > 0) else {
        return Ok(done);
    };
    let mut shares = memory.chunks_mut(share);
    let own = shares.next().unwrap_or_default();
    let touch = if args.random { touch_all } else { touch };
    std::thread::scope(|scope| {
        for share in shares {
            let worker = std::thread::Builder::new().name("worker".to_owned());
            worker.spawn_scoped(scope, || touch(share, stamps))?;
        }
        touch(own, stamps)
    })?;
    Ok(done)
}

fn touch(memory: &mut [u8], stamps: &Stamps) -> Result<()> {
    for first in (0..memory.len()).step_by(stamps.page_bytes) {
        stamps.next()?;
        memory[first] = 1;
        black_box(&mut *memory);
    }
    Ok(())
}

/// Fills pages with numbers of `xorshift`, which no compressor makes smaller.
fn touch_all(memory: &mut [u8], stamps: &Stamps) -> Result<()> {
    let mut number = 88_172_645_463_325_252_u64;
    for page in memory.chunks_mut(stamps.page_bytes) {
        stamps.next()?;
        for word in page.chunks_exact_mut(8) {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            word.copy_from_slice(&number.to_ne_bytes());
        }
    }
    black_box(memory);
    Ok(())
}

fn fill(path: &Path, bytes: usize, stamps: &Stamps) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let page = vec![1; stamps.page_bytes];
    for _ in 0..bytes / page.len() {
        stamps.next()?;
        file.write_all(&page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path, bytes: usize) -> Result<File> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut buffer = vec![0; 1 << 16];
    let mut left = (&file).take(bytes as u64);
    while left.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))? > 0 {}
    Ok(file)
}

/// Has this process run only while the CPU is idle otherwise (`SCHED_IDLE`: when it is killed it takes its time to end), or
/// before all others (`SCHED_FIFO`: when it is killed, its memory is free before another process allocates).
pub fn set_policy(policy: libc::c_int, priority: libc::c_int) -> Result<()> {
    // SAFETY: the kernel reads one `struct sched_param`, which is an int, from the address of a local variable. By
    // number, since musl's own function only says that it is not implemented.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    ensure!(result == 0, "cannot set the scheduling policy: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Has this process run on the first of the CPUs that it may use.
pub fn share_a_cpu() -> Result<()> {
    let may = sched_getaffinity(None).context("cannot read the CPUs that may be used")?;
    let first = (0..CpuSet::MAX_CPU).find(|cpu| may.is_set(*cpu)).context("no CPU may be used")?;
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).context("cannot bind to a CPU")
}

/// Has this thread's memory come from one NUMA node.
fn bind_to_node(node: u32) -> Result<()> {
    let nodes: libc::c_ulong = 1 << node;
    let bits = libc::c_ulong::from(libc::c_ulong::BITS);
    // SAFETY: set_mempolicy reads one word from the address that is passed, which is that of a local variable.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_BIND, &raw const nodes, bits) };
    ensure!(result == 0, "cannot bind to NUMA node {node}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Forks processes that wait until they are killed.
pub fn fork_idle(count: usize) -> Result<()> {
    for _ in 0..count {
        // SAFETY: this process has one thread, so nothing in the copy is in a state that another thread has left it in;
        // the copy calls nothing but close and pause, on no memory at all.
        let pid = unsafe { libc::fork() };
        ensure!(pid >= 0, "cannot fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // A reader that waits for the end of these must not wait for the copies.
            for fd in 0..3 {
                // SAFETY: nothing in the copy uses them any more.
                unsafe { libc::close(fd) };
            }
            loop {
                // SAFETY: it only waits for a signal.
                unsafe { libc::pause() };
            }
        }
    }
    Ok(())
}

/// Forks a process that touches all of this memory, which must be its end: the kernel is told to choose it before others.
pub fn lose_a_child(memory: &mut [u8]) -> Result<()> {
    // SAFETY: this process has one thread, so nothing in the copy is in a state that another thread has left it in.
    let pid = unsafe { libc::fork() };
    ensure!(pid >= 0, "cannot fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        if fs::write("/proc/self/oom_score_adj", "1000").is_ok() {
            for byte in memory.iter_mut().step_by(4096) {
                *black_box(byte) = 1;
            }
        }
        // SAFETY: it ends the copy, and nothing else.
        unsafe { libc::_exit(1) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    ensure!(waited == pid, "cannot wait for a child: {}", std::io::Error::last_os_error());
    ensure!(
        libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL,
        "a child ended with {status:#x}"
    );
    Ok(())
}

/// Goes on in another thread, named `tail`, once the first one has ended.
pub fn without_first_thread(body: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let wait = move || {
        // The kernel has no event for a thread that becomes a zombie, so this polls.
        while !first_thread_has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let result = body();
        if let Err(error) = &result {
            eprintln!("{error:#}");
        }
        std::process::exit(i32::from(result.is_err()));
    };
    std::thread::Builder::new().name("tail".to_owned()).spawn(wait).context("cannot start a thread")?;
    // SAFETY: it ends this thread alone. The thread's values are never freed, and the other one has borrowed nothing.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}

fn first_thread_has_ended() -> bool {
    let status = fs::read("/proc/self/status").unwrap_or_default();
    String::from_utf8_lossy(&status).lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}
