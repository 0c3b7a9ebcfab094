//! Why nothing is in place: what the kernel says, told apart by whose doing it is.

use std::error::Error;
use std::io;
use std::time::Duration;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use thiserror::Error;

use super::super::host::NO_MEMLOCK_SINCE;
use crate::event::Hook;

/// Open files that a limit should leave room for: each map, program and link is one, and each tier that is tried has its own.
const OPEN_FILES: u64 = 256;

/// A hook that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its tier.
    pub hook: Hook,
    /// Its name, `fentry:oom_kill_process` and the like.
    pub name: String,
    /// What the kernel said.
    pub error: String,
}

/// Why nothing is in place.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object or its maps.
    #[error("cannot load the kernel object")]
    Object(#[source] Box<EbpfError>),
    /// A map that is not what it must be.
    #[error("cannot use map {name} of the kernel object")]
    Map {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        #[source]
        error: Option<MapError>,
    },
    /// All tiers.
    #[error("the kernel accepts none of the hooks: {}", .0.iter().map(|r| format!("{}: {}", r.name, r.error)).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refused>),
    /// A limit of this process or of the node: no other tier would fare better.
    #[error("cannot load {what}: {scarce}")]
    Scarce {
        /// What was to be loaded or attached.
        what: String,
        /// What there is too little of.
        scarce: Scarce,
    },
    /// Signals, or a freezer, came in between again and again.
    #[error(
        "cannot load {what}: signals have interrupted the kernel's verifier for {} seconds (do they stop and continue crashtrace?)",
        .patience.as_secs()
    )]
    Interrupted {
        /// What was to be loaded or attached.
        what: String,
        /// For how long it was tried.
        patience: Duration,
    },
}

/// What there can be too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Scarce {
    /// Open files of the process.
    #[error(
        "this process may not open more files{}; raise that limit to {OPEN_FILES} (LimitNOFILE= of systemd, ulimit -n)",
        .limit.map(|limit| format!(" than {limit} (RLIMIT_NOFILE)")).unwrap_or_default()
    )]
    OpenFiles {
        /// The limit.
        limit: Option<u64>,
    },
    /// Open files of the node.
    #[error("the node may not open more files; raise fs.file-max")]
    OpenFilesOfNode,
    /// Locked memory, against which maps and programs count before 5.11.
    #[error(
        "before {NO_MEMLOCK_SINCE} that counts against the limit of locked memory (RLIMIT_MEMLOCK), which is {limit_bytes} bytes; \
         give crashtrace CAP_SYS_RESOURCE, or lift the limit (LimitMEMLOCK=infinity of systemd, ulimit -l unlimited)"
    )]
    LockedMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// Memory.
    #[error(
        "there is no memory for it; raise the memory limit of crashtrace's own cgroup (the container's resources.limits.memory, \
         MemoryMax= of systemd), which may be 96 MiB, or free memory on the node"
    )]
    Memory,
}

impl Scarce {
    /// What `error` says is scarce. `locked_bytes` is the limit of locked memory, where this counts against it.
    pub(super) fn of(error: &(dyn Error + 'static), locked_bytes: Option<u64>) -> Option<Self> {
        match errno(error)? {
            Errno::MFILE => Some(Self::OpenFiles { limit: getrlimit(Resource::Nofile).current }),
            Errno::NFILE => Some(Self::OpenFilesOfNode),
            Errno::NOMEM => Some(Self::Memory),
            Errno::PERM => locked_bytes.map(|limit_bytes| Self::LockedMemory { limit_bytes }),
            _ => None,
        }
    }
}

/// The kernel's error at the bottom of `error`.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Errno::from_io_error(io);
        }
        next = error.source();
    }
    None
}

/// Whether a signal came in between: the verifier gives up for one (`bpf_check`, `kernel/bpf/verifier.c`, 5.10 to 7.3), and has
/// then said nothing about the program.
pub(super) fn interrupted(error: &(dyn Error + 'static)) -> bool {
    matches!(errno(error), Some(Errno::AGAIN | Errno::INTR))
}

/// A load error with what the verifier says of it.
pub(super) fn explain(error: &ProgramError) -> String {
    const LOG_LINES: usize = 12;
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let tail: Vec<_> = log.lines().rev().take(LOG_LINES).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        if tail.is_empty() {
            return format!("the kernel refused the program: {io_error}");
        }
        return format!("the verifier refused the program: {io_error}: {}", tail.join(" | "));
    }
    chain(error)
}

/// An error with its causes, in one line.
pub(in crate::source) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: Errno) -> ProgramError {
        ProgramError::SyscallError(aya::sys::SyscallError { call: "bpf", io_error: errno.into() })
    }

    #[test]
    fn limits_are_named_with_what_to_do() {
        for (errno, locked_bytes, parts) in [
            (Errno::MFILE, None, ["RLIMIT_NOFILE", "LimitNOFILE="]),
            (Errno::NFILE, None, ["the node", "fs.file-max"]),
            (Errno::NOMEM, None, ["resources.limits.memory", "MemoryMax="]),
            (Errno::PERM, Some(65536), ["which is 65536 bytes", "CAP_SYS_RESOURCE"]),
        ] {
            let scarce = Scarce::of(&refused(errno), locked_bytes).expect("a limit");
            let error = LoadError::Scarce { what: "map RECORDS".into(), scarce }.to_string();
            assert!(error.starts_with("cannot load map RECORDS: "), "{error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        // Where locked memory is not counted, this is a matter of privileges.
        assert_eq!(Scarce::of(&refused(Errno::PERM), None), None);
        assert_eq!(Scarce::of(&refused(Errno::INVAL), Some(65536)), None);
    }

    #[test]
    fn a_signal_is_found_under_what_is_said_about_it() {
        let map = MapError::CreateError { name: "RECORDS".into(), io_error: Errno::INTR.into() };
        assert!(interrupted(&EbpfError::MapError(map)));
        assert!(interrupted(&refused(Errno::AGAIN)));
        assert!(!interrupted(&refused(Errno::NOSPC)) && !interrupted(&ProgramError::NotLoaded));
    }
}
