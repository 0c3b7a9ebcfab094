//! The system calls that the agent makes once it watches: a list, with the reason for each.
//!
//! It was measured (`strace -f`, with musl and with glibc), not guessed: agents with every source of names and with metrics, from
//! the moment of their confinement to their exit. A call that is not listed fails with EPERM, so that the caller sees an error and
//! goes on. A new call shows in tests, as an agent that does less than before.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::Whom;

/// Calls for one purpose.
struct Purpose {
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for the reader"))]
    what: &'static str,
    calls: &'static [c_long],
}

/// A call that is allowed if one of the rules holds; a rule holds if all of its conditions do.
struct Restricted {
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for the reader"))]
    what: &'static str,
    call: c_long,
    rules: &'static [&'static [Is]],
}

/// Argument number `argument`, masked by `mask`, is `value`.
struct Is {
    argument: u8,
    mask: u32,
    value: u32,
}

const fn is(argument: u8, value: i32) -> Is {
    Is { argument, mask: u32::MAX, value: value.cast_unsigned() }
}

/// None of these bits is set.
const fn without(argument: u8, bits: i32) -> Is {
    Is { argument, mask: bits.cast_unsigned(), value: 0 }
}

const ANY: &[Purpose] = &[
    Purpose {
        what: "to wait for records, clients, answers and the time",
        calls: &[
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_ctl,
            libc::SYS_futex,
            libc::SYS_clock_gettime,
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
            libc::SYS_restart_syscall,
            libc::SYS_sched_yield,
            // Until the last program that was running when the hooks were switched off has ended.
            libc::SYS_membarrier,
        ],
    },
    Purpose {
        what: "to read the kernel's files, tokens and certificates, and to write reports, messages and the recording, which are open",
        calls: &[
            libc::SYS_read,
            libc::SYS_readv,
            libc::SYS_write,
            libc::SYS_writev,
            libc::SYS_close,
            libc::SYS_lseek,
            libc::SYS_fstat,
            libc::SYS_newfstatat,
            libc::SYS_statx,
            libc::SYS_readlinkat,
            libc::SYS_getdents64,
            libc::SYS_fcntl,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lstat,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_readlink,
        ],
    },
    // Its files are open, and no other is reached by these calls.
    Purpose {
        what: "the journal's files: to write and read lines, to cut files of delivered ones, to have the disk take them",
        calls: &[libc::SYS_pwrite64, libc::SYS_pread64, libc::SYS_ftruncate, libc::SYS_fdatasync],
    },
    Purpose {
        what: "memory",
        calls: &[libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk],
    },
    Purpose {
        what: "threads: files and names are read on some of their own",
        calls: &[
            libc::SYS_set_robust_list,
            libc::SYS_rseq,
            libc::SYS_sigaltstack,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigreturn,
            libc::SYS_gettid,
            libc::SYS_getpid,
            libc::SYS_sched_getaffinity,
            libc::SYS_exit,
            libc::SYS_exit_group,
        ],
    },
    Purpose { what: "keys of TLS, and jitter", calls: &[libc::SYS_getrandom] },
    // It cannot fail, so a refusal would be taken for a user's id.
    Purpose { what: "whose kubeconfig this is", calls: &[libc::SYS_geteuid] },
    Purpose {
        what: "the API server, name servers, the container runtime, and clients of metrics. No listen: it does already",
        calls: &[
            libc::SYS_connect,
            libc::SYS_accept4,
            // Requests to name servers use a socket that is bound first.
            libc::SYS_bind,
            libc::SYS_getsockname,
            libc::SYS_getpeername,
            libc::SYS_getsockopt,
            libc::SYS_setsockopt,
            libc::SYS_sendto,
            libc::SYS_recvfrom,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_sendmmsg,
            libc::SYS_shutdown,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll,
            libc::SYS_ppoll,
        ],
    },
];

/// Flags that could create, change or lock a file when it is opened.
const WRITING: i32 = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | TMPFILE;
/// `O_TMPFILE` without `O_DIRECTORY`, which it includes.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// The commands of `bpf()` on existing objects: `enum bpf_cmd` in `include/uapi/linux/bpf.h`. None creates or loads anything, or
/// opens an object of another process.
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_DELETE_ELEM: i32 = 3;
const MAP_GET_NEXT_KEY: i32 = 4;
const OBJ_GET_INFO_BY_FD: i32 = 15;

/// `PERF_EVENT_IOC_DISABLE` (`_IO('$', 1)`).
const PERF_EVENT_IOC_DISABLE: i32 = 0x2401;

const TYPE: u32 = 0xf;
const fn socket(domain: i32, kind: i32, protocol: i32) -> [Is; 3] {
    [is(0, domain), Is { argument: 1, mask: TYPE, value: kind.cast_unsigned() }, is(2, protocol)]
}

/// Flags of a thread, which shares all with its process and gets no new namespace.
const THREAD: i32 =
    libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_FILES | libc::CLONE_FS;
const OWN: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PTRACE
    | libc::CLONE_UNTRACED
    | libc::CLONE_VFORK
    | libc::CLONE_PARENT;

const SOME: &[Restricted] = &[
    Restricted { what: "files for reading", call: libc::SYS_openat, rules: &[&[without(2, WRITING)]] },
    #[cfg(target_arch = "x86_64")]
    Restricted { what: "the same, by musl", call: libc::SYS_open, rules: &[&[without(1, WRITING)]] },
    Restricted { what: "memory, of no code", call: libc::SYS_mmap, rules: &[&[without(2, libc::PROT_EXEC)]] },
    Restricted {
        what: "stacks of threads, of no code",
        call: libc::SYS_mprotect,
        rules: &[&[without(2, libc::PROT_EXEC)]],
    },
    Restricted {
        what: "threads: no other process, and no namespace. clone3() keeps its flags in memory, where no filter sees them",
        call: libc::SYS_clone,
        rules: &[&[Is { argument: 0, mask: (THREAD | OWN).cast_unsigned(), value: THREAD.cast_unsigned() }]],
    },
    Restricted { what: "names of threads", call: libc::SYS_prctl, rules: &[&[is(0, libc::PR_SET_NAME)]] },
    Restricted {
        what: "sockets of TCP and UDP and Unix sockets: none that sees or makes raw packets, none of the kernel's many others",
        call: libc::SYS_socket,
        rules: &[
            &socket(libc::AF_UNIX, libc::SOCK_STREAM, 0),
            &socket(libc::AF_INET, libc::SOCK_STREAM, 0),
            &socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP),
            &socket(libc::AF_INET, libc::SOCK_DGRAM, 0),
            &socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
            &socket(libc::AF_INET6, libc::SOCK_STREAM, 0),
            &socket(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP),
            &socket(libc::AF_INET6, libc::SOCK_DGRAM, 0),
            &socket(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        ],
    },
    Restricted {
        what: "counts and the switch in maps that are open",
        call: libc::SYS_bpf,
        rules: &[
            &[is(0, MAP_LOOKUP_ELEM)],
            &[is(0, MAP_UPDATE_ELEM)],
            &[is(0, MAP_DELETE_ELEM)],
            &[is(0, MAP_GET_NEXT_KEY)],
            &[is(0, OBJ_GET_INFO_BY_FD)],
        ],
    },
    Restricted {
        what: "to take kprobes off at the end; sockets that do not block; how long an answer of a name server is (glibc)",
        call: libc::SYS_ioctl,
        rules: &[&[is(1, PERF_EVENT_IOC_DISABLE)], &[is(1, FIONBIO)], &[is(1, FIONREAD)]],
    },
];

/// The same numbers on both architectures.
const FIONBIO: i32 = 0x5421;
const FIONREAD: i32 = 0x541b;

/// Newer calls, from which a C library falls back only if the kernel says that it does not have them.
const TOO_NEW: &[c_long] = &[libc::SYS_clone3, libc::SYS_openat2, libc::SYS_faccessat2];

/// Restricts this thread, or all threads.
pub(super) fn restrict(whom: Whom) -> Result<(), String> {
    for filter in filters(std::process::id()).map_err(|error| error.to_string())? {
        let applied = match whom {
            Whom::Process => seccompiler::apply_filter_all_threads(&filter),
            Whom::Thread => seccompiler::apply_filter(&filter),
        };
        applied.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The filters, in the order in which they are installed. The kernel runs all, and the strictest answer counts.
fn filters(process: u32) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
    let rules = TOO_NEW.iter().map(|call| (*call, Vec::new())).collect();
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let too_new = SeccompFilter::new(rules, SeccompAction::Allow, no_such_call, architecture)?;
    let not_allowed = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let listed = SeccompFilter::new(listed(process)?, not_allowed, SeccompAction::Allow, architecture)?;
    Ok([too_new.try_into()?, listed.try_into()?])
}

fn listed(process: u32) -> Result<BTreeMap<c_long, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut all: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    // The first filter has the stricter answer for them.
    for call in ANY.iter().flat_map(|purpose| purpose.calls).chain(TOO_NEW) {
        all.insert(*call, Vec::new());
    }
    for Restricted { call, rules, .. } in SOME {
        let rules = rules.iter().map(|conditions| rule(conditions)).collect::<Result<_, _>>()?;
        all.insert(*call, rules);
    }
    // A panic that cannot unwind ends the process this way. No other process can be the target.
    let own = Is { argument: 0, mask: u32::MAX, value: process };
    all.insert(libc::SYS_tgkill, vec![rule(&[own])?]);
    Ok(all)
}

fn rule(conditions: &[Is]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions.iter().map(|it| {
        let op = SeccompCmpOp::MaskedEq(it.mask.into());
        // The kernel ignores the upper half of a wider register: all of these arguments have 32 bits.
        SeccompCondition::new(it.argument, SeccompCmpArgLen::Dword, op, it.value.into())
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_stands_once_with_its_reason() {
        let some = SOME.iter().map(|it| (it.call, it.what));
        let any = ANY.iter().flat_map(|purpose| purpose.calls.iter().map(|call| (*call, purpose.what)));
        let mut all: Vec<_> = any.chain(some).collect();
        assert!(all.iter().all(|(_, what)| !what.is_empty()));
        let count = all.len();
        all.sort_unstable();
        all.dedup_by_key(|(call, _)| *call);
        assert_eq!(all.len(), count);
        assert!(
            TOO_NEW.iter().all(|call| all.iter().all(|(it, _)| it != call)),
            "they are for the first filter"
        );
    }

    /// The kernel runs the filter for each call (`BPF_MAXINSNS` is its limit).
    #[test]
    fn the_filters_are_short() {
        let filters = filters(1).expect("they can be made");
        assert!(
            filters.iter().all(|filter| !filter.is_empty() && filter.len() < 1000),
            "{:?}",
            filters.map(|it| it.len())
        );
    }

    /// No call that an exploit would start with is in the list.
    #[test]
    fn calls_that_start_trace_mount_or_load_are_not_listed() {
        let listed = listed(1).expect("it can be made");
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_perf_event_open,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_io_uring_setup,
            libc::SYS_listen,
            libc::SYS_kill,
        ] {
            assert!(!listed.contains_key(&call), "{call}");
        }
    }
}
