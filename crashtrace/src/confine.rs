//! The rights that the agent keeps once its programs are attached, and how it gives up the rest.
//!
//! An attacker who takes over the agent then, by a record, an answer of the API server or a request for metrics, can read what it
//! reads and write to open descriptors. The attacker cannot start a program, look into another process, mount, write files, load
//! BPF programs or open raw sockets: three independent layers prevent it.
//!
//! | layer | takes away | where |
//! |---|---|---|
//! | capabilities, `no_new_privs`, not dumpable | what root may do | every kernel |
//! | seccomp | every system call that `calls` does not list | every kernel that Kubernetes runs on |
//! | landlock | every file, Unix socket and port that [`Needs`] does not list; processes outside | from 5.13 on, where it is switched on |
//!
//! The allowed rights are a value ([`Needs`]) and a table (`calls`); only [`apply`] touches the process. It is called once, after
//! all that needs rights and before a lasting thread is started: capabilities and landlock belong to a thread, and the threads that
//! it starts inherit them. Nothing here is fatal. [`Confinement::not_applied`] lists failures; the rest is read back from the
//! kernel.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

mod calls;
mod files;
mod needs;
mod state;

pub use needs::{Needs, Network};
pub use state::{Capabilities, Confinement};

/// Scope of the confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// This process: this thread, those that it starts, and, as far as the kernel allows, existing ones.
    Process,
    /// This thread, as a trial.
    Thread,
}

/// Gives up all rights that `needs` does not list, for good. `reads_maps` tries whether BPF maps can be read.
#[must_use]
pub fn apply(whom: Whom, needs: &Needs, reads_maps: impl Fn() -> bool) -> Confinement {
    let mut not_applied = Vec::new();
    let mut tried = |what: &str, result: Result<(), String>| {
        if let Err(error) = result {
            not_applied.push(format!("{what}: {error}"));
        }
    };
    if whom == Whom::Process {
        // Core dumps do not contain what it read, and no process of its user reads its memory.
        tried("not dumpable", set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(said));
    }
    tried("no_new_privs", set_no_new_privs(true).map_err(said));
    let mut landlock_abi = None;
    if needs.programs {
        tried("seccomp and landlock", Err(PROGRAMS.to_owned()));
    } else {
        tried("landlock", files::restrict(whom, needs).map(|abi| landlock_abi = Some(abi)));
    }
    // Before seccomp, which does not allow the call for it.
    tried("capabilities", drop_capabilities(needs, reads_maps).map_err(said));
    if !needs.programs {
        tried("seccomp", calls::restrict(whom));
    }
    Confinement::read(landlock_abi, not_applied)
}

const PROGRAMS: &str = "the kubeconfig names a program to run for credentials, which inherits them, and whose calls are not known";

/// Drops all capabilities that are not needed, from each set. Which kernels need `CAP_BPF` to read a map is tried: before 5.19 each
/// `bpf()` call needs it where `unprivileged_bpf_disabled` is not 0 (`__sys_bpf`).
fn drop_capabilities(needs: &Needs, reads_maps: impl Fn() -> bool) -> Result<(), Errno> {
    let held = capabilities(None)?;
    let mut kept = CapabilitySet::empty();
    if needs.files_of_others {
        kept |= CapabilitySet::DAC_READ_SEARCH & held.permitted;
    }
    // The ambient set does not exist before 4.3, and nothing here runs on such kernels.
    clear_ambient_capability_set()?;
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match remove_capability_from_bounding_set(one) {
            // Beyond the kernel's last capability.
            Err(Errno::INVAL) => break,
            // Needs CAP_SETPCAP. With no_new_privs the bounding set grants nothing to any process, so a failure is no loss.
            Err(Errno::PERM) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    let mut sets = held;
    sets.inheritable = CapabilitySet::empty();
    sets.effective = kept & held.effective;
    set_capabilities(None, sets)?;
    if !reads_maps() {
        kept |= to_read_maps(held.permitted);
    }
    sets.permitted = kept & held.permitted;
    sets.effective = sets.permitted;
    set_capabilities(None, sets)
}

/// The capability with which a process reads maps where that needs one. A runtime older than `CAP_BPF` (Linux 5.8) does not grant
/// it, not even to a privileged container; there `CAP_SYS_ADMIN`, from which it was split, counts as well (`bpf_capable`).
fn to_read_maps(permitted: CapabilitySet) -> CapabilitySet {
    let first =
        [CapabilitySet::BPF, CapabilitySet::SYS_ADMIN].into_iter().find(|one| permitted.contains(*one));
    first.unwrap_or(CapabilitySet::empty())
}

fn said(error: Errno) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_right_that_reads_maps_is_kept() {
        let (bpf, admin) = (CapabilitySet::BPF, CapabilitySet::SYS_ADMIN);
        assert_eq!(to_read_maps(bpf | admin | CapabilitySet::SYSLOG), bpf);
        assert_eq!(to_read_maps(admin | CapabilitySet::SYSLOG), admin);
        assert_eq!(to_read_maps(CapabilitySet::SYSLOG), CapabilitySet::empty());
    }

    /// In separate threads, because no right can be regained.
    #[test]
    fn the_right_to_read_maps_is_found_by_trying() {
        for reads in [true, false] {
            let left = std::thread::spawn(move || apply(Whom::Thread, &Needs::kernel_only(None), || reads));
            let held = left.join().expect("it does not panic").capabilities.expect("the kernel tells");
            let expected = if reads { Vec::new() } else { vec!["BPF".to_owned()] };
            assert_eq!((held.effective.as_slice(), held.permitted), (expected.as_slice(), expected.clone()));
        }
    }
}
