//! A guest's machine, apart from its kernel and command.

use std::fmt;
use std::sync::Arc;

/// See `cargo xtask vm --help`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// Memory and CPUs are split evenly over these nodes.
    pub(crate) numa_nodes: u32,
    pub(crate) cgroup_v1: bool,
    /// For the kernel's command line.
    pub(crate) extra_args: Vec<String>,
    /// For the command, once the guest is up.
    pub(crate) timeout_secs: u64,
    /// A guest that takes longer is booted once more.
    pub(crate) boot_timeout_secs: u64,
    /// The guest's clock counts instructions, a nanosecond each.
    pub(crate) count_instructions: bool,
    /// Its name in messages; the kernel's label unless given.
    pub(crate) name: Option<String>,
    /// Called with each line of the command's output.
    pub(crate) on_line: OnLine,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_mib: 512,
            cpus: 1,
            numa_nodes: 1,
            cgroup_v1: false,
            extra_args: Vec::new(),
            timeout_secs: 120,
            // Some ten times what an idle machine needs: CI shares its CPUs.
            boot_timeout_secs: 90,
            count_instructions: false,
            name: None,
            on_line: OnLine::new(|line| eprintln!("  | {line}")),
        }
    }
}

/// A callback that takes a line.
#[derive(Clone)]
pub(crate) struct OnLine(Arc<dyn Fn(&str) + Send + Sync>);

impl OnLine {
    pub(crate) fn new(call: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    pub(crate) fn call(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for OnLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnLine")
    }
}
