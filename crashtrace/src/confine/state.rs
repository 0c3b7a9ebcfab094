//! The remaining rights of a thread, read from the kernel.

use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::Serialize;

/// Remaining rights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Confinement {
    /// By names, `CAP_` left out; null where the kernel does not tell.
    pub capabilities: Option<Capabilities>,
    /// No program that it starts can have more rights than itself.
    pub no_new_privs: Option<bool>,
    /// Only listed system calls.
    pub seccomp: Option<bool>,
    /// The version (ABI) of landlock that restricts it; null if none does.
    pub landlock_abi: Option<i32>,
    /// Failed steps, and why.
    pub not_applied: Vec<String>,
}

/// The sets of capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Capabilities {
    pub effective: Vec<String>,
    /// Capabilities that it could put into effect.
    pub permitted: Vec<String>,
    /// Capabilities that a program it starts could inherit.
    pub inheritable: Vec<String>,
    /// Capabilities that a program it starts would have.
    pub ambient: Vec<String>,
    /// Capabilities that a program it starts could gain, were it not for `no_new_privs`.
    pub bounding: Vec<String>,
}

impl Confinement {
    /// The rights of this thread.
    pub(super) fn read(landlock_abi: Option<i32>, mut not_applied: Vec<String>) -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_else(|error| {
            not_applied
                .push(format!("/proc/thread-self/status, which says what is left, cannot be read: {error}"));
            String::new()
        });
        Self { landlock_abi, not_applied, ..Self::parse(&status) }
    }

    /// Parses a `status` file of /proc.
    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        let set = |name| u64::from_str_radix(field(name)?, 16).ok().map(names);
        let capabilities = || {
            Some(Capabilities {
                effective: set("CapEff")?,
                permitted: set("CapPrm")?,
                inheritable: set("CapInh")?,
                ambient: set("CapAmb")?,
                bounding: set("CapBnd")?,
            })
        };
        Self {
            capabilities: capabilities(),
            no_new_privs: field("NoNewPrivs").map(|value| value == "1"),
            // A filter.
            seccomp: field("Seccomp").map(|value| value == "2"),
            landlock_abi: None,
            not_applied: Vec::new(),
        }
    }
}

fn names(mask: u64) -> Vec<String> {
    let mut known = CapabilitySet::from_bits_retain(mask).iter_names();
    let mut names: Vec<_> = known.by_ref().map(|(name, _)| name.to_owned()).collect();
    // Capabilities of newer kernels.
    let unknown = known.remaining().bits();
    names.extend((unknown != 0).then(|| format!("{unknown:#x}")));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_rights_are_read_from_the_status() {
        let status = "Name:\tcrashtrace\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\nCapInh:\t0000000000000000\n\
            CapPrm:\t0000008000000000\nCapEff:\t0000008000000000\nCapBnd:\t800000c401000000\nCapAmb:\t0000000000000000\n";
        let state = Confinement::parse(status);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let capabilities = state.capabilities.expect("it tells");
        assert_eq!((state.no_new_privs, state.seccomp), (Some(true), Some(true)));
        assert_eq!(capabilities.effective, names(&["BPF"]));
        let bounding = ["SYS_RESOURCE", "SYSLOG", "PERFMON", "BPF", "0x8000000000000000"];
        assert_eq!(capabilities.bounding, names(&bounding));
        assert!(capabilities.ambient.is_empty() && capabilities.inheritable.is_empty());
    }

    #[test]
    fn missing_lines_of_the_status_are_unknown() {
        let state = Confinement::parse("Name:\tcrashtrace\nCapEff:\tnonsense\nSeccomp:\t0\n");
        assert_eq!((state.capabilities, state.no_new_privs, state.seccomp), (None, None, Some(false)));
        assert_eq!(Confinement::parse(""), Confinement::default());
    }
}
