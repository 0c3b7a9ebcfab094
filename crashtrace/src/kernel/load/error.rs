//! Why no hook is in place: the kernel's errors, told apart by their cause.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use thiserror::Error;

use crate::event::Hook;
use crate::kernel::host::NO_MEMLOCK_SINCE;
use crate::kernel::plan::Attach;

/// Open files that a limit should allow: each map, program and link is one, and each tier that is tried has its own.
const OPEN_FILES: u64 = 256;

/// A hook that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The tier that was tried.
    pub tier: Hook,
    pub hook: Attach,
    /// The kernel's error.
    pub error: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hook, self.error)
    }
}

/// Joined by semicolons.
fn all(refused: &[Refused]) -> String {
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why no hook is in place.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object or its maps.
    #[error("cannot load the kernel object")]
    Object(#[source] Box<EbpfError>),
    /// A map that is missing, or cannot be used.
    #[error("cannot use map {name} of the kernel object")]
    Map {
        name: &'static str,
        /// Its error, unless it is missing.
        #[source]
        error: Option<MapError>,
    },
    /// The kernel refuses every tier.
    #[error("the kernel accepts none of the hooks: {}", all(.0))]
    Refused(Vec<Refused>),
    /// A limit of this process or of the node: no other tier would succeed.
    #[error("cannot load {what}: {scarce}")]
    Scarce {
        /// The object to load or attach.
        what: String,
        scarce: Scarce,
    },
    /// Signals, or a freezer, interrupted it again and again.
    #[error(
        "cannot load {what}: signals have interrupted the kernel's verifier for {} seconds (do they stop and continue crashtrace?)",
        .patience.as_secs()
    )]
    Interrupted {
        /// The object to load or attach.
        what: String,
        /// For how long it was tried.
        patience: Duration,
    },
}

/// A scarce resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{}; {}", self.why(), self.remedy())]
pub enum Scarce {
    /// Open files of the process.
    OpenFiles {
        limit: Option<u64>,
    },
    /// Open files of the node.
    OpenFilesOfNode,
    /// Locked memory, against which maps and programs count before 5.11.
    LockedMemory {
        limit_bytes: u64,
    },
    Memory,
}

impl LoadError {
    /// Why, and what to do, where the reason is neither the kernel object nor the kernel.
    #[must_use]
    pub fn hindrance(&self) -> Option<(String, String)> {
        match self {
            Self::Scarce { what, scarce } => {
                Some((format!("cannot load {what}: {}", scarce.why()), scarce.remedy()))
            }
            Self::Interrupted { .. } => Some((
                self.to_string(),
                "let nothing stop, continue or freeze crashtrace while it starts".to_owned(),
            )),
            Self::Object(_) | Self::Map { .. } | Self::Refused(_) => None,
        }
    }
}

impl Scarce {
    fn why(self) -> String {
        match self {
            Self::OpenFiles { limit } => {
                let limit = limit.map(|limit| format!(" than {limit} (RLIMIT_NOFILE)")).unwrap_or_default();
                format!("this process may not open more files{limit}")
            }
            Self::OpenFilesOfNode => "the node may not open more files".to_owned(),
            Self::LockedMemory { limit_bytes } => format!(
                "before {NO_MEMLOCK_SINCE} that counts against the limit of locked memory (RLIMIT_MEMLOCK), which is \
                 {limit_bytes} bytes"
            ),
            Self::Memory => "there is no memory for it".to_owned(),
        }
    }

    fn remedy(self) -> String {
        match self {
            Self::OpenFiles { .. } => {
                format!("raise the limit of open files to {OPEN_FILES} (RLIMIT_NOFILE; LimitNOFILE= of systemd, ulimit -n)")
            }
            Self::OpenFilesOfNode => "raise sysctl fs.file-max".to_owned(),
            Self::LockedMemory { .. } => {
                "give crashtrace CAP_SYS_RESOURCE, or lift the limit of locked memory (LimitMEMLOCK=infinity of systemd, ulimit -l \
                 unlimited)"
                    .to_owned()
            }
            Self::Memory => "raise the memory limit of crashtrace's own cgroup (the container's \
                             resources.limits.memory, MemoryMax= of systemd), which may be 96 MiB, or free memory on \
                             the node"
                .to_owned(),
        }
    }

    /// The resource that is scarce according to `error`. `locked_bytes` is the limit of locked memory, where it applies.
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
    anyhow::Chain::new(error).find_map(|error| error.downcast_ref()).and_then(Errno::from_io_error)
}

/// Whether a signal interrupted it: the verifier then stops (`bpf_check`, `kernel/bpf/verifier.c`, 5.10 to 7.3), without a verdict
/// on the program.
pub(super) fn interrupted(error: &(dyn Error + 'static)) -> bool {
    matches!(errno(error), Some(Errno::AGAIN | Errno::INTR))
}

/// An error of a program in one line, with the end of the verifier's log.
pub(crate) fn explain(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => refusal(io_error, &verifier_log.to_string()),
        _ => chain(error),
    }
}

fn refusal(error: &io::Error, log: &str) -> String {
    const LOG_LINES: usize = 12;
    let lines: Vec<_> = log.lines().collect();
    match &lines[lines.len().saturating_sub(LOG_LINES)..] {
        [] => format!("the kernel refused the program: {error}"),
        end => format!("the verifier refused the program: {error}: {}", end.join(" | ")),
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    anyhow::Chain::new(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
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
        // Where locked memory is not counted, the error is about privileges.
        assert_eq!(Scarce::of(&refused(Errno::PERM), None), None);
        assert_eq!(Scarce::of(&refused(Errno::INVAL), Some(65536)), None);
    }

    /// aya's own text of such an error has the whole log, of up to 16 MiB.
    #[test]
    fn of_the_verifiers_log_the_end_is_told() {
        let log = (1..=1000).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let told = refusal(&Errno::INVAL.into(), &log);
        assert!(told.starts_with("the verifier refused the program: Invalid argument"), "{told}");
        assert!(told.contains(": line 989 | ") && told.ends_with(" | line 1000"), "{told}");
        let told = refusal(&Errno::PERM.into(), "");
        assert!(told.starts_with("the kernel refused the program: Operation not permitted"), "{told}");
        assert_eq!(explain(&refused(Errno::PERM)), chain(&refused(Errno::PERM)));
    }

    #[test]
    fn a_signal_is_found_below_other_errors() {
        let map = MapError::CreateError { name: "RECORDS".into(), io_error: Errno::INTR.into() };
        assert!(interrupted(&EbpfError::MapError(map)));
        assert!(interrupted(&refused(Errno::AGAIN)));
        assert!(!interrupted(&refused(Errno::NOSPC)) && !interrupted(&ProgramError::NotLoaded));
    }
}
