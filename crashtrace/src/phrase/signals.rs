//! Signals and their codes in words. The codes are the same on x86-64 and arm64 (`include/uapi/asm-generic/siginfo.h`).

use crate::event::signals::{
    LAST, NAMES, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPIPE, SIGRTMIN, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU,
    SIGXFSZ,
};
use crate::event::{Raised, SI_KERNEL};

/// Codes of a signal, from 1 on.
const ILL: [&str; 9] = [
    "ILL_ILLOPC",
    "ILL_ILLOPN",
    "ILL_ILLADR",
    "ILL_ILLTRP",
    "ILL_PRVOPC",
    "ILL_PRVREG",
    "ILL_COPROC",
    "ILL_BADSTK",
    "ILL_BADIADDR",
];
const FPE: [&str; 8] = [
    "FPE_INTDIV",
    "FPE_INTOVF",
    "FPE_FLTDIV",
    "FPE_FLTOVF",
    "FPE_FLTUND",
    "FPE_FLTRES",
    "FPE_FLTINV",
    "FPE_FLTSUB",
];
const SEGV: [&str; 10] = [
    "SEGV_MAPERR",
    "SEGV_ACCERR",
    "SEGV_BNDERR",
    "SEGV_PKUERR",
    "SEGV_ACCADI",
    "SEGV_ADIDERR",
    "SEGV_ADIPERR",
    "SEGV_MTEAERR",
    "SEGV_MTESERR",
    "SEGV_CPERR",
];
const BUS: [&str; 5] = ["BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"];
const TRAP: [&str; 6] = ["TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK", "TRAP_PERF"];
const SYS: [&str; 2] = ["SYS_SECCOMP", "SYS_USER_DISPATCH"];

/// No program may map below `vm.mmap_min_addr`, 64 KiB as all distributions set it: such an address is a null pointer, or a
/// member of what one points to.
const NULL_BYTES: u64 = 64 << 10;

/// `SIGKILL`; `SIGRTMIN+3`; `signal 99` for a number that has no name.
#[must_use]
pub fn signal(number: u8) -> String {
    let named = NAMES.iter().find(|(known, _)| *known == number);
    match (named, number) {
        (Some((_, name)), _) => (*name).to_owned(),
        (None, SIGRTMIN) => "SIGRTMIN".to_owned(),
        (None, SIGRTMIN..=LAST) => format!("SIGRTMIN+{}", number - SIGRTMIN),
        (None, _) => format!("signal {number}"),
    }
}

/// `SEGV_MAPERR`
#[must_use]
pub fn signal_code(number: u8, code: i32) -> Option<&'static str> {
    let of_signal: &[&str] = match number {
        SIGILL => &ILL,
        SIGFPE => &FPE,
        SIGSEGV => &SEGV,
        SIGBUS => &BUS,
        SIGTRAP => &TRAP,
        SIGSYS => &SYS,
        _ => &[],
    };
    match (number, code) {
        (_, SI_KERNEL) => Some("SI_KERNEL"),
        (_, 0) => Some("SI_USER"),
        (_, -1) => Some("SI_QUEUE"),
        (_, -2) => Some("SI_TIMER"),
        (_, -6) => Some("SI_TKILL"),
        (SIGFPE, 14) => Some("FPE_FLTUNK"),
        (SIGFPE, 15) => Some("FPE_CONDTRAP"),
        _ => of_signal.get(usize::try_from(code).ok()?.checked_sub(1)?).copied(),
    }
}

/// What a signal means that the process raised, or the kernel for what it did.
#[must_use]
pub fn raised(raised: &Raised) -> String {
    let at = raised.address.map_or_else(|| "an address".to_owned(), |at| format!("address {at:#x}"));
    let meaning = match (raised.number, signal_code(raised.number, raised.code)) {
        (SIGSEGV, Some("SEGV_MAPERR")) if raised.address.is_some_and(|at| at < NULL_BYTES) => {
            return format!("null pointer: access to {at}");
        }
        (SIGSEGV, Some("SEGV_MAPERR")) => return format!("access to {at}, where nothing is mapped"),
        (SIGSEGV, Some("SEGV_ACCERR")) => {
            return format!(
                "access to {at} that its mapping does not allow, such as a write to read-only memory"
            );
        }
        (SIGSEGV, Some("SI_KERNEL")) => {
            "an access that the processor refuses, such as to an address that none can have; it does not say which"
        }
        (SIGSEGV, Some("SEGV_PKUERR" | "SEGV_ACCADI" | "SEGV_MTEAERR" | "SEGV_MTESERR")) => {
            return format!("access to {at} that a protection key or memory tag does not allow");
        }
        (SIGSEGV, Some("SEGV_CPERR")) => "a return address was overwritten (shadow stack)",
        (SIGBUS, Some("BUS_ADRERR")) => {
            return format!(
                "no page behind {at}: a mapped file was truncated, a tmpfs is full, or no huge page was free (the kernel has one \
                 code for all three)"
            );
        }
        (SIGBUS, Some("BUS_ADRALN")) => return format!("unaligned access to {at}"),
        (SIGBUS, Some("BUS_MCEERR_AR" | "BUS_MCEERR_AO")) => {
            return format!("the memory at {at} is broken: an error of the hardware");
        }
        (SIGSEGV | SIGBUS, _) => return format!("invalid access to {at}"),
        (SIGFPE, Some("FPE_INTDIV")) => "integer division by zero",
        (SIGFPE, _) => "an arithmetic error",
        (SIGILL, _) => {
            "an illegal instruction: the program is for another processor, or the compiler put a trap there"
        }
        (SIGTRAP, _) => "a trap or breakpoint: compilers put one where a program must not go on",
        (SIGSYS, Some("SYS_SECCOMP")) => return refused(raised),
        (SIGSYS, _) => "a system call that is not allowed",
        (SIGXCPU, _) => "the soft limit of CPU time (RLIMIT_CPU) was reached",
        (SIGXFSZ, _) => "a file would have become larger than its limit (RLIMIT_FSIZE)",
        (SIGABRT, _) => "abort(): a failed assertion, an uncaught exception, or a corrupt heap",
        (SIGPIPE, _) => "it wrote to a pipe or socket that no process reads any more",
        _ => "the process sent it to itself",
    };
    meaning.to_owned()
}

fn refused(raised: &Raised) -> String {
    let Some((number, arch)) = raised.syscall else { return "seccomp refused a system call".to_owned() };
    format!("seccomp refused system call {number} ({})", audit_arch(arch))
}

/// The architecture of a system call's number (`AUDIT_ARCH_*`, `include/uapi/linux/audit.h`), as `ausyscall` names it.
#[must_use]
pub fn audit_arch(arch: u32) -> String {
    match arch {
        0xc000_003e => "x86_64".to_owned(),
        0x4000_0003 => "i386".to_owned(),
        0xc000_00b7 => "aarch64".to_owned(),
        0x4000_0028 => "arm".to_owned(),
        other => format!("architecture {other:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;

    fn a(number: u8, code: i32, address: u64) -> String {
        let outcome = Outcome::Delivered;
        let syscall = (number == SIGSYS).then_some((41, 0xc000_003e));
        raised(&Raised { ktime_ns: 1, number, code, outcome, count: 1, address: Some(address), syscall })
    }

    #[test]
    fn signals_and_codes_have_the_kernels_names() {
        for (number, name) in [
            (1, "SIGHUP"),
            (6, "SIGABRT"),
            (9, "SIGKILL"),
            (11, "SIGSEGV"),
            (15, "SIGTERM"),
            (24, "SIGXCPU"),
            (31, "SIGSYS"),
            (32, "signal 32"),
            (34, "SIGRTMIN"),
            (37, "SIGRTMIN+3"),
            (64, "SIGRTMIN+30"),
            (0, "signal 0"),
            (99, "signal 99"),
        ] {
            assert_eq!(signal(number), name);
        }
        for (number, code, name) in [
            (SIGSEGV, 1, Some("SEGV_MAPERR")),
            (SIGSEGV, 2, Some("SEGV_ACCERR")),
            (SIGSEGV, 10, Some("SEGV_CPERR")),
            (SIGSEGV, 11, None),
            (SIGBUS, 2, Some("BUS_ADRERR")),
            (SIGBUS, 5, Some("BUS_MCEERR_AO")),
            (SIGFPE, 1, Some("FPE_INTDIV")),
            (SIGFPE, 8, Some("FPE_FLTSUB")),
            (SIGFPE, 15, Some("FPE_CONDTRAP")),
            (SIGILL, 9, Some("ILL_BADIADDR")),
            (SIGTRAP, 6, Some("TRAP_PERF")),
            (SIGSYS, 1, Some("SYS_SECCOMP")),
            (SIGABRT, -6, Some("SI_TKILL")),
            (SIGXCPU, 128, Some("SI_KERNEL")),
            (SIGABRT, 1, None),
            (SIGSEGV, i32::MIN, None),
            (SIGSEGV, i32::MAX, None),
        ] {
            assert_eq!(signal_code(number, code), name, "{number} {code}");
        }
    }

    #[test]
    fn a_fault_is_told_by_its_code_and_address() {
        for (number, code, address, words) in [
            (SIGSEGV, 1, 0, "null pointer: access to address 0x0"),
            (SIGSEGV, 1, 0xffff, "null pointer"),
            (SIGSEGV, 1, 0x10000, "where nothing is mapped"),
            (SIGSEGV, 2, 0x10, "does not allow"),
            // Without an address: it is no null pointer.
            (SIGSEGV, SI_KERNEL, 0, "it does not say which"),
            (SIGBUS, 2, 0x7f00, "a mapped file was truncated, a tmpfs is full, or no huge page was free"),
            (SIGBUS, 1, 1, "unaligned"),
            (SIGBUS, 4, 1, "error of the hardware"),
            (SIGFPE, 1, 1, "integer division by zero"),
            (SIGILL, 2, 1, "illegal instruction"),
            (SIGTRAP, 1, 1, "trap or breakpoint"),
            (SIGSYS, 1, 1, "seccomp refused system call 41 (x86_64)"),
            (SIGXCPU, SI_KERNEL, 0, "soft limit of CPU time"),
            (SIGXFSZ, 0, 0, "RLIMIT_FSIZE"),
            (SIGABRT, -6, 0, "abort()"),
            (SIGPIPE, 0, 0, "no process reads"),
            (10, 0, 0, "sent it to itself"),
        ] {
            assert!(a(number, code, address).contains(words), "{}", a(number, code, address));
        }
    }
}
