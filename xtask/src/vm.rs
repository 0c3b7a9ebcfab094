//! `cargo xtask vm`: runs a command in a guest with a kernel of one's choice, or plays the scenarios in many.
//!
//! A guest is a kernel of Debian's, an initramfs made for the occasion, and an emulator; nothing is installed in this
//! machine but the emulator. [`run_in_guest`] is what the other commands build on.

mod arch;
mod boot;
mod cpio;
mod debian;
mod initramfs;
mod kernel;
pub(crate) mod matrix;
mod modules;
mod runc;
mod stream;

pub(crate) use arch::Arch;
pub(crate) use boot::{Exit, GuestOutput};
pub(crate) use initramfs::GuestFile;

use crate::{exec, setup};
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The kernel that is booted unless another is asked for.
pub(crate) const DEFAULT_KERNEL: &str = "6.1";

/// Run a command in a guest with a kernel of one's choice, or play scenarios in guests with many.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// List the kernels, and which of them are here, the scenarios, and the guests of the gate.
    #[arg(long, conflicts_with_all = ["shell", "scenarios", "deployed", "starts", "gate", "all"])]
    list: bool,
    /// The kernels to boot, or `all` (may be repeated). Unless given, 6.1; with --all all of them.
    #[arg(long = "kernel", value_name = "LABEL", value_delimiter = ',')]
    kernels: Vec<String>,
    /// What to run: a script for busybox's shell, as root, as on a node. Its output goes to stdout.
    #[arg(long, value_name = "CMD", required_unless_present_any = ["list", "scenarios", "deployed", "starts", "gate", "all"])]
    shell: Option<String>,
    /// A file to take along, executable if it is so here (may be repeated).
    #[arg(long = "file", value_name = "HOST:GUEST", value_parser = guest_file)]
    files: Vec<GuestFile>,
    #[command(flatten)]
    matrix: matrix::Wanted,
    #[command(flatten)]
    options: Options,
    /// Print the guest's console to stderr when it has ended.
    #[arg(long)]
    console: bool,
}

/// What a guest is like, apart from its kernel and what it runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The guest's memory.
    #[arg(long = "memory", default_value_t = Self::default().memory_mib, value_name = "MIB")]
    pub(crate) memory_mib: u32,
    /// The guest's CPUs.
    #[arg(long, default_value_t = Self::default().cpus)]
    pub(crate) cpus: u32,
    /// NUMA nodes, over which memory and CPUs are split. Scenarios have --shape instead.
    #[arg(long, default_value_t = Self::default().numa_nodes, conflicts_with_all = ["scenarios", "deployed", "starts", "gate", "all"])]
    pub(crate) numa_nodes: u32,
    /// A v1 memory hierarchy at /sys/fs/cgroup/memory in place of the unified one. Scenarios have --shape instead.
    #[arg(long, conflicts_with_all = ["scenarios", "deployed", "starts", "gate", "all"])]
    pub(crate) cgroup_v1: bool,
    /// One more argument on the kernel's command line (may be repeated).
    #[arg(long = "kernel-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) extra_args: Vec<String>,
    /// How long the command may take, once the guest is up.
    #[arg(long = "timeout", default_value_t = Self::default().timeout_secs, value_name = "SECONDS")]
    pub(crate) timeout_secs: u64,
    /// How long the guest may take to come up; one that takes longer is booted once more.
    #[arg(long = "boot-timeout", default_value_t = Self::default().boot_timeout_secs, value_name = "SECONDS")]
    pub(crate) boot_timeout_secs: u64,
    /// Let the guest's clock count instructions, a nanosecond each, in place of following this machine's: what takes longer
    /// there then takes more instructions, whatever else this machine does. One CPU only.
    #[arg(long, conflicts_with_all = ["scenarios", "deployed", "starts", "gate", "all"])]
    pub(crate) count_instructions: bool,
    /// How messages call the guest, if not by its kernel.
    #[arg(skip)]
    pub(crate) name: Option<String>,
    /// Called with each line of the command's output as it comes.
    #[arg(skip = Self::default().on_line)]
    pub(crate) on_line: OnLine,
}

/// Called with a line.
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

/// `cargo xtask vm`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.matrix.are_wanted() {
        let kernels = chosen(&args.kernels, args.matrix.unless_given())?;
        return matrix::run(&args.matrix, &kernels, &args.options);
    }
    let Some(shell) = args.shell.as_deref().filter(|_| !args.list) else {
        return list();
    };
    let [kernel] = chosen(&args.kernels, DEFAULT_KERNEL)?[..] else {
        bail!("a command runs on one kernel: give --kernel once");
    };
    let options = Options { on_line: OnLine::new(|line| println!("{line}")), ..args.options.clone() };
    let output = run_in_guest(kernel, &args.files, shell, &options)?;
    if args.console {
        eprintln!("{}", output.console.trim_end());
    }
    output.succeeded()?;
    Ok(())
}

/// Fetches all that booting this kernel takes.
pub(crate) fn prepare(label: &str) -> Result<()> {
    let kernel = kernel::fetch(&dir(), label)?;
    setup::ensure_emulator(kernel.spec.arch)?;
    kernel::busybox(&dir(), kernel.spec.arch)?;
    Ok(())
}

/// Boots a kernel with these files, runs `command` (a script for busybox's shell; what it can rely on is said in
/// `init.sh`), and waits for the end. That a guest panics or times out is no error here but in the output: a test may
/// want just that. [`GuestOutput::succeeded`] makes it one.
pub(crate) fn run_in_guest(
    label: &str,
    files: &[GuestFile],
    command: &str,
    options: &Options,
) -> Result<GuestOutput> {
    let kernel = kernel::fetch(&dir(), label)?;
    let arch = kernel.spec.arch;
    setup::ensure_emulator(arch)?;
    let busybox = kernel::busybox(&dir(), arch)?;
    let initramfs = initramfs::guest_root(&busybox, kernel.modules(), files, command)?;
    let mut extra_args = options.extra_args.clone();
    if options.cgroup_v1 {
        extra_args.push("crashtrace.cgroup=v1".to_owned());
    }
    let guest = boot::Guest {
        name: options.name.clone().unwrap_or_else(|| format!("kernel {}", kernel.spec.label)),
        arch,
        kernel: kernel.vmlinuz(),
        initramfs,
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        numa_nodes: options.numa_nodes,
        extra_args,
        count_instructions: options.count_instructions,
        boot_timeout: Duration::from_secs(options.boot_timeout_secs),
        timeout: Duration::from_secs(options.timeout_secs),
        on_line: options.on_line.clone(),
    };
    let (name, memory, cpus) = (&guest.name, guest.memory_mib, guest.cpus);
    eprintln!("xtask: {name}: booting {}, {memory} MiB, {cpus} CPU", kernel.version);
    let output = boot::run(&guest, &dir())?;
    let boot =
        output.boot.map_or_else(|| "never".to_owned(), |boot| format!("after {:.1} s", boot.as_secs_f32()));
    let took = output.duration.as_secs_f32();
    eprintln!("xtask: {name}: up {boot}, ended after {took:.1} s: {:?}", output.exit);
    Ok(output)
}

impl GuestOutput {
    /// What the command printed. Anything but a command that returned 0 is an error, which says what happened and
    /// where to look.
    pub(crate) fn succeeded(&self) -> Result<&str> {
        let what = match &self.exit {
            Exit::Status(0) => return Ok(&self.results),
            Exit::Status(status) => format!("the command returned {status} in the guest"),
            Exit::SetupFailed(why) => format!("the guest could not be set up: {why}"),
            Exit::Panicked(reason) => format!("the guest's kernel panicked: {reason}"),
            Exit::Hung => "the guest hung while booting, twice".to_owned(),
            Exit::TimedOut => "the command took too long in the guest (--timeout)".to_owned(),
            Exit::Vanished(how) => format!("the emulator ended before the command did: {how}"),
        };
        bail!(
            "{what}\nlogs: {}\nthe console's last lines:\n{}",
            self.logs.display(),
            last_lines(&self.console)
        )
    }
}

fn list() -> Result<()> {
    println!("kernels:");
    for spec in kernel::KERNELS {
        let here = kernel::version_here(&dir(), spec.label).unwrap_or_else(|| "not fetched yet".to_owned());
        let shapes: Vec<_> = matrix::plan::shapes_of(spec.label).map(matrix::plan::Shape::name).collect();
        println!("{:<10}  {:<12}  {here}", spec.label, shapes.join(" "));
    }
    matrix::list()
}

/// The labels of these kernels, oldest first; `all` stands for all of them.
fn chosen(asked: &[String], unless_given: &str) -> Result<Vec<&'static str>> {
    let asked: Vec<_> =
        if asked.is_empty() { vec![unless_given] } else { asked.iter().map(String::as_str).collect() };
    let labels = labels();
    for name in &asked {
        let known = *name == "all" || labels.contains(name);
        anyhow::ensure!(known, "there is no kernel {name}: the labels are {}", labels.join(", "));
    }
    Ok(labels.into_iter().filter(|label| asked.contains(&"all") || asked.contains(label)).collect())
}

/// The labels of all kernels.
pub(crate) fn labels() -> Vec<&'static str> {
    kernel::KERNELS.iter().map(|spec| spec.label).collect()
}

/// Debian's packages of the release of the guests' busybox, for this machine: unpacked together, not installed, where `home` says.
pub(crate) fn unpacked(home: &Path, packages: &[&str]) -> Result<PathBuf> {
    kernel::unpacked(home, &dir(), Arch::of_this_machine()?, packages)
}

/// Where kernels, busybox and runs are.
fn dir() -> PathBuf {
    exec::target_dir().join("vm")
}

fn last_lines(console: &str) -> String {
    const COUNT: usize = 12;
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(COUNT)..].join("\n")
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
    fn reads_what_to_take_along() {
        let file = guest_file("/bin/sh:/bin/host-sh").expect("it is there");
        assert_eq!(file, GuestFile { guest: "/bin/host-sh".into(), host: "/bin/sh".into(), mode: 0o755 });
        for wrong in ["/bin/sh", "/bin/sh:relative", "/no/such/file:/x"] {
            guest_file(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn chooses_kernels() {
        let chosen = |asked: &[&str]| {
            chosen(&asked.iter().map(|&label| label.to_owned()).collect::<Vec<_>>(), DEFAULT_KERNEL)
        };
        assert_eq!(chosen(&[]).expect("the default"), [DEFAULT_KERNEL]);
        assert_eq!(chosen(&["sid", "5.10"]).expect("two"), ["5.10", "sid"]);
        assert_eq!(chosen(&["all"]).expect("all"), labels());
        chosen(&["6.1", "2.4"]).expect_err("there is no 2.4");
    }

    #[test]
    fn shows_the_end_of_a_console() {
        assert_eq!(last_lines("a\nb"), "a\nb");
        let long = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert!(last_lines(&long).starts_with("8\n"));
    }
}
