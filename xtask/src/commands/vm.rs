//! `cargo xtask vm`: runs a command in a guest, or plays scenarios in many.

mod scenarios;

use crate::guest::initramfs::GuestFile;
use crate::guest::options::{OnLine, Options};
use crate::guest::{self, DEFAULT_KERNEL, kernel};
use crate::matrix::plan;
use crate::matrix::shape::{Shape, shapes_of};
use anyhow::{Context as _, Result, bail};
use scenarios::ScenarioArgs;
use std::path::Path;

/// Run a command in a guest with a kernel of your choice, or play scenarios in guests with many.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// List the kernels (and the package of each that was fetched), the scenarios, and the guests of the gate.
    #[arg(long, conflicts_with_all = ["shell", "scenarios", "deployed", "starts", "gate", "all"])]
    list: bool,
    /// The kernels to boot, or `all` (may be repeated) [default: 6.1; with --all all of them].
    #[arg(long = "kernel", value_name = "LABEL", value_delimiter = ',')]
    kernels: Vec<String>,
    /// The command: a script for busybox's shell, run by root, as on a node. Its output goes to stdout.
    #[arg(long, value_name = "CMD", required_unless_present_any = ["list", "scenarios", "deployed", "starts", "gate", "all"])]
    shell: Option<String>,
    /// A file to take along, executable if it is so here (may be repeated).
    #[arg(long = "file", value_name = "HOST:GUEST", value_parser = guest_file)]
    files: Vec<GuestFile>,
    #[command(flatten)]
    scenarios: ScenarioArgs,
    #[command(flatten)]
    machine: Machine,
    /// Print the guest's console to stderr when it has ended.
    #[arg(long)]
    console: bool,
}

#[derive(clap::Args)]
struct Machine {
    /// The guest's memory.
    #[arg(long = "memory", default_value_t = Options::default().memory_mib, value_name = "MIB")]
    memory_mib: u32,
    /// The guest's CPUs.
    #[arg(long, default_value_t = Options::default().cpus)]
    cpus: u32,
    /// NUMA nodes, over which memory and CPUs are split. Scenarios have --shape instead.
    #[arg(long, default_value_t = Options::default().numa_nodes, conflicts_with_all = ["scenarios", "deployed", "starts", "gate", "all"])]
    numa_nodes: u32,
    /// A v1 memory hierarchy at /sys/fs/cgroup/memory instead of the unified one. Scenarios have --shape instead.
    #[arg(long, conflicts_with_all = ["scenarios", "deployed", "starts", "gate", "all"])]
    cgroup_v1: bool,
    /// One more argument on the kernel's command line (may be repeated).
    #[arg(long = "kernel-arg", value_name = "ARG", allow_hyphen_values = true)]
    extra_args: Vec<String>,
    /// How long the command may take, once the guest is up.
    #[arg(long = "timeout", default_value_t = Options::default().timeout_secs, value_name = "SECONDS")]
    timeout_secs: u64,
    /// How long the guest may take to come up; if it takes longer it is booted once more.
    #[arg(long = "boot-timeout", default_value_t = Options::default().boot_timeout_secs, value_name = "SECONDS")]
    boot_timeout_secs: u64,
    /// Let the guest's clock count instructions, a nanosecond each, instead of following this machine's clock: then a time in the
    /// guest does not depend on the load of this machine. One CPU only.
    #[arg(long, conflicts_with_all = ["scenarios", "deployed", "starts", "gate", "all"])]
    count_instructions: bool,
}

impl Machine {
    fn options(&self) -> Options {
        Options {
            memory_mib: self.memory_mib,
            cpus: self.cpus,
            numa_nodes: self.numa_nodes,
            cgroup_v1: self.cgroup_v1,
            extra_args: self.extra_args.clone(),
            timeout_secs: self.timeout_secs,
            boot_timeout_secs: self.boot_timeout_secs,
            count_instructions: self.count_instructions,
            ..Options::default()
        }
    }
}

/// `cargo xtask vm`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let options = args.machine.options();
    if args.scenarios.are_wanted() {
        return scenarios::run(&args.scenarios, &args.kernels, &options);
    }
    let Some(shell) = args.shell.as_deref().filter(|_| !args.list) else {
        return list();
    };
    let [kernel] = plan::kernels(&args.kernels, DEFAULT_KERNEL)?[..] else {
        bail!("a command runs on one kernel: give --kernel once");
    };
    let options = Options { on_line: OnLine::new(|line| println!("{line}")), ..options };
    let output = guest::run(kernel, &args.files, shell, &options)?;
    if args.console {
        eprintln!("{}", output.console.trim_end());
    }
    output.succeeded()?;
    Ok(())
}

fn list() -> Result<()> {
    println!("kernels:");
    for label in kernel::labels() {
        let package = kernel::version_here(label).unwrap_or_else(|| "not fetched yet".to_owned());
        let shapes: Vec<_> = shapes_of(label).map(Shape::name).collect();
        println!("{label:<10}  {:<12}  {package}", shapes.join(" "));
    }
    scenarios::list()
}

/// Parses `HOST:GUEST`.
fn guest_file(text: &str) -> Result<GuestFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let (host, guest) = text.rsplit_once(':').context("not of the form HOST:GUEST")?;
    let data = Path::new(host).metadata().with_context(|| format!("cannot read {host}"))?;
    let mode = if data.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
    anyhow::ensure!(guest.starts_with('/'), "the guest's path {guest} is not absolute");
    Ok(GuestFile { guest: guest.to_owned(), host: host.into(), mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_files_to_take_along() {
        let file = guest_file("/bin/sh:/bin/host-sh").expect("it is there");
        assert_eq!(file, GuestFile { guest: "/bin/host-sh".into(), host: "/bin/sh".into(), mode: 0o755 });
        for wrong in ["/bin/sh", "/bin/sh:relative", "/no/such/file:/x"] {
            guest_file(wrong).expect_err(wrong);
        }
    }
}
