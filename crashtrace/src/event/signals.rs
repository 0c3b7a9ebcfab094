//! Signals by their numbers, which are the same on x86-64 and arm64 (`include/uapi/asm-generic/signal.h`).

macro_rules! signals {
    ($($name:ident = $number:literal,)+) => {
        $(pub const $name: u8 = $number;)+
        /// Each with its name, by number.
        pub const NAMES: [(u8, &str); [$($number),+].len()] = [$(($name, stringify!($name))),+];
    };
}

signals! {
    SIGHUP = 1,
    SIGINT = 2,
    SIGQUIT = 3,
    SIGILL = 4,
    SIGTRAP = 5,
    SIGABRT = 6,
    SIGBUS = 7,
    SIGFPE = 8,
    SIGKILL = 9,
    SIGUSR1 = 10,
    SIGSEGV = 11,
    SIGUSR2 = 12,
    SIGPIPE = 13,
    SIGALRM = 14,
    SIGTERM = 15,
    SIGSTKFLT = 16,
    SIGCHLD = 17,
    SIGCONT = 18,
    SIGSTOP = 19,
    SIGTSTP = 20,
    SIGTTIN = 21,
    SIGTTOU = 22,
    SIGURG = 23,
    SIGXCPU = 24,
    SIGXFSZ = 25,
    SIGVTALRM = 26,
    SIGPROF = 27,
    SIGWINCH = 28,
    SIGIO = 29,
    SIGPWR = 30,
    SIGSYS = 31,
}

/// glibc's first signal for programs; musl's is 35.
pub const SIGRTMIN: u8 = 34;
/// `_NSIG`: the last real-time signal.
pub const LAST: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_below_the_real_time_signals_has_its_name() {
        assert!(NAMES.iter().map(|(number, _)| *number).eq(1..=31));
        assert_eq!(NAMES[usize::from(SIGKILL) - 1].1, "SIGKILL");
        assert_eq!(NAMES.last(), Some(&(SIGSYS, "SIGSYS")));
    }
}
