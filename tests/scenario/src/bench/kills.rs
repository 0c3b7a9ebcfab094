//! Processes that touch page after page in a container until the kernel kills them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use super::pods::Pods;
use crashtrace_test_support::clock::boottime_ns;

/// More than a container's limit.
const TOUCHED_BYTES: usize = 4 << 20;

/// How many storms have running at a time.
const AT_A_TIME: usize = 8;

/// A child of this process.
pub struct Child(libc::pid_t);

impl Child {
    pub fn pid(&self) -> u32 {
        self.0.unsigned_abs()
    }

    /// Waits for its end.
    pub fn ended(self) -> Result<()> {
        let mut status = 0;
        // SAFETY: the place is a local variable.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        ensure!(waited == self.0, "cannot wait: {}", io::Error::last_os_error());
        Ok(())
    }

    /// Whether it has ended; if so it is waited for.
    pub fn has_ended(&self) -> Result<bool> {
        let mut status = 0;
        // SAFETY: the place is a local variable.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) };
        ensure!(waited >= 0, "cannot wait: {}", io::Error::last_os_error());
        Ok(waited == self.0)
    }
}

/// Memory for victims, and the time of the last touch of one.
pub struct Table {
    memory: *mut u8,
    /// Shared with the children.
    stamp: *const AtomicU64,
}

impl Table {
    /// Mapped once, touched by the children only: each has the pages to itself.
    pub fn make() -> Result<Self> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: new mappings at addresses of the kernel's choice, of which nothing else knows; they stay for good.
        unsafe {
            let memory = mmap_anonymous(std::ptr::null_mut(), TOUCHED_BYTES, prot, MapFlags::PRIVATE)
                .context("cannot map memory")?;
            // A huge page is larger than the limit.
            madvise(memory, TOUCHED_BYTES, Advice::LinuxNoHugepage).context("cannot forbid huge pages")?;
            let stamp = mmap_anonymous(
                std::ptr::null_mut(),
                rustix::param::page_size(),
                prot,
                MapFlags::SHARED | MapFlags::POPULATE,
            )
            .context("cannot map a shared page")?;
            Ok(Self { memory: memory.cast(), stamp: stamp.cast() })
        }
    }

    /// When a page was last about to be touched, in nanoseconds of `CLOCK_BOOTTIME`.
    pub fn last_touch_ns(&self) -> u64 {
        // SAFETY: the page is mapped for good, aligned, and only ever used as this atomic.
        unsafe { &*self.stamp }.load(Ordering::Acquire)
    }

    /// Starts one victim in a container.
    pub fn victim(&self, container: &File) -> Result<Child> {
        fork(|| self.eat(container))
    }

    /// Starts a storm: so many victims, [`AT_A_TIME`] at a time, over the containers in turn.
    pub fn storm(&self, pods: &Pods, kills: usize) -> Result<Vec<Child>> {
        let worker = |first: usize| {
            for number in (first..kills).step_by(AT_A_TIME) {
                let container = &pods.containers[number % pods.containers.len()];
                if self.victim(container).and_then(Child::ended).is_err() {
                    return;
                }
            }
        };
        (0..AT_A_TIME).map(|first| fork(|| worker(first))).collect()
    }

    /// Joins the container and touches until it is killed.
    fn eat(&self, container: &File) {
        // SAFETY: a plain system call; 0 is the writer itself.
        unsafe { libc::write(container.as_raw_fd(), c"0".as_ptr().cast(), 1) };
        for at in (0..TOUCHED_BYTES).step_by(rustix::param::page_size()) {
            // SAFETY: both mappings stay for good, and `at` is within the first.
            unsafe {
                (*self.stamp).store(boottime_ns(), Ordering::Release);
                self.memory.add(at).write_volatile(1);
            }
        }
    }
}

/// Runs this in a child, which ends after it. This process has one thread, so the copy can do all that this process can.
fn fork(run: impl FnOnce()) -> Result<Child> {
    // SAFETY: this process has one thread, so nothing in the copy is in a state that another thread has left it in.
    let pid = unsafe { libc::fork() };
    ensure!(pid >= 0, "cannot fork: {}", io::Error::last_os_error());
    if pid == 0 {
        run();
        // SAFETY: it ends the child alone, with nothing that it has in common with its parent written twice.
        unsafe { libc::_exit(0) };
    }
    Ok(Child(pid))
}
