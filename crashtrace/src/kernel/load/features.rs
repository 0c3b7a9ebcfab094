//! Whether aya found out what this kernel's BPF can do.
//!
//! aya tries that with small programs, once in a process (`aya::features`, 0.14). A signal that stops or continues the process makes
//! the verifier give one of them up ([`super::error::interrupted`]), and aya takes this for a feature that the kernel lacks: without
//! global data it can relocate no program, and says so as if the object were broken. A stop cannot be blocked, and aya never tries
//! again, so only another process can: the same program, started anew in its place.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use aya_obj::Features;

/// Number of processes in whose place this one was started, for this reason.
const TRIES: &str = "CRASHTRACE_PROBED";
const MOST_TRIES: u32 = 8;

/// Has aya look at the kernel's features, and starts this program anew in place of this process if that was interrupted. So this
/// comes before anything else, and does not return in that case, unless it is in vain.
pub fn look_at_features() {
    let before = env::var(TRIES).ok().and_then(|tries| tries.parse().ok()).unwrap_or(0);
    if !lacks_what_all_have(aya::features()) || before >= MOST_TRIES {
        return;
    }
    let error = anew(before + 1);
    tracing::warn!(%error, "a signal interrupted the look at what this kernel's BPF can do, and crashtrace cannot start itself again");
}

/// Whether something is missing that all kernels have which crashtrace supports, though programs and BTF can be loaded. Also true where
/// a right to load is missing.
fn lacks_what_all_have(found: &Features) -> bool {
    // Types are only parsed, whatever the signal.
    found.btf().is_some() && !(found.bpf_name() && found.bpf_probe_read_kernel() && found.bpf_global_data())
}

fn anew(tries: u32) -> io::Error {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    match env::current_exe() {
        // Not by /proc/self/exe: that would be the name of the process.
        Ok(program) => Command::new(program).arg0(name).args(arguments).env(TRIES, tries.to_string()).exec(),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::BtfFeatures;

    use super::*;

    fn features([name, read, global]: [bool; 3], btf: bool) -> Features {
        Features::new(name, read, false, global, false, true, true, btf.then(BtfFeatures::default))
    }

    #[test]
    fn a_feature_of_all_kernels_that_is_not_found_was_not_looked_for() {
        assert!(!lacks_what_all_have(&features([true; 3], true)));
        for missing in 0..3 {
            let found = std::array::from_fn(|index| index != missing);
            assert!(lacks_what_all_have(&features(found, true)), "{missing}");
        }
        // Nothing may be loaded at all: another process would find the same.
        assert!(!lacks_what_all_have(&features([false; 3], false)));
    }
}
