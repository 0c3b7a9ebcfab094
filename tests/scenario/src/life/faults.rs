//! Faults of a container's program. Each returns only if nothing happened, with the reason.

use std::fs::File;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::json;

use crate::victim::say;

const PAGE: usize = 4096;
/// Of the first page, and no null pointer to the compiler.
const NEAR_NULL: usize = 8;
const HUGE_PAGE: usize = 2 << 20;
/// Of `tmpfs`, in the options of mount(2).
const SMALL: &std::ffi::CStr = c"size=65536";
const LARGER: usize = 1 << 20;

fn lives() -> Result<()> {
    Err(anyhow!("it lives"))
}

/// Has faults end this process at once: the standard library looks at them first, for stack overflows.
pub(super) fn by_default() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: it sets the default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn touch(address: NonZeroUsize) {
    by_default();
    let pointer = std::ptr::with_exposed_provenance_mut::<u8>(black_box(address.get()));
    // SAFETY: nothing of the program lies there: the write ends this process, which is what it is for.
    unsafe { pointer.write_volatile(1) };
}

pub(super) fn null_pointer() -> Result<()> {
    touch(NonZeroUsize::new(NEAR_NULL).context("not null")?);
    lives()
}

/// A mapping of so many bytes of a file.
fn mapped(file: &File, length: usize, flags: MapFlags) -> Result<NonZeroUsize> {
    // SAFETY: the kernel chooses where, so that it covers nothing else.
    let at =
        unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags, file, 0) };
    NonZeroUsize::new(at.context("cannot map a file")?.expose_provenance()).context("not null")
}

pub(super) fn truncated_file() -> Result<()> {
    let file = File::from(memfd_create("data", MemfdFlags::CLOEXEC)?);
    ftruncate(&file, 2 * PAGE as u64)?;
    let at = mapped(&file, 2 * PAGE, MapFlags::SHARED)?;
    ftruncate(&file, 0)?;
    touch(at);
    lives()
}

pub(super) fn full_tmpfs() -> Result<()> {
    // SAFETY: a mount namespace of its own changes nothing else for this process, which has one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("cannot make a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("tmpfs", "/tmp", "tmpfs", MountFlags::empty(), SMALL).context("cannot mount a tmpfs")?;
    let file = File::options().read(true).write(true).create_new(true).open("/tmp/data")?;
    file.set_len(LARGER as u64)?;
    let first = mapped(&file, LARGER, MapFlags::SHARED)?;
    for page in 0..LARGER / PAGE {
        touch(first.saturating_add(page * PAGE));
    }
    lives()
}

pub(super) fn no_huge_page() -> Result<()> {
    let file = memfd_create("huge", MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB);
    let file = File::from(file.context("no huge pages")?);
    ftruncate(&file, HUGE_PAGE as u64)?;
    // Without a reservation it is found out only when the page is needed.
    touch(mapped(&file, HUGE_PAGE, MapFlags::SHARED | MapFlags::NORESERVE)?);
    lives()
}

pub(super) fn abort(core: Option<&Path>) -> Result<()> {
    let most = match core {
        Some(dir) => {
            std::env::set_current_dir(dir)?;
            None
        }
        None => Some(0),
    };
    setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).context("cannot limit cores")?;
    // SAFETY: it ends this process.
    unsafe { libc::abort() }
}

/// By a filter that kills the process for `getppid`, which it then calls.
pub(super) fn forbidden_call() -> Result<()> {
    let number = u32::try_from(libc::SYS_getppid)?;
    // (code, jump if true, jump if false, value), as in classic BPF.
    let filter: [(u32, u8, u8, u32); 4] = [
        // `seccomp_data.nr` is its first field.
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        (libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        (libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let mut filter = filter.map(|(code, jt, jf, k)| libc::sock_filter { code: code as u16, jt, jf, k });
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    say(&json!({ "event": "syscall", "number": number }))?;
    // SAFETY: the kernel copies the filter, which outlives the calls, from the address of a local variable.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot filter system calls");
    }
    // SAFETY: it reads a number, or ends this process.
    unsafe { libc::getppid() };
    lives()
}
