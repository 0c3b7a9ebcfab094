//! Boots one guest under QEMU, follows its two serial ports, and sees to it that it ends.
//!
//! Everything is emulated (no KVM: it is not there, or not usable, in most places where tests run), so a guest is slow
//! but the same everywhere. The first serial port is the kernel's console, the second carries the results; drivers for
//! both are built into the kernels used, and both are files on the host's side.

use super::options::OnLine;
use super::serial::{self, End, Results};
use crate::arch::Arch;
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the serial ports are read.
const TICK: Duration = Duration::from_millis(50);

/// How long a guest may take to power off after its last line, or to print the rest of a panic.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Guest {
    /// Its name in messages.
    pub(crate) name: String,
    pub(crate) arch: Arch,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: Vec<u8>,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// Memory and CPUs are split evenly over these nodes.
    pub(crate) numa_nodes: u32,
    pub(crate) extra_args: Vec<String>,
    pub(crate) count_instructions: bool,
    /// How long it may take until `/init` runs. A guest that takes longer is booted once more.
    pub(crate) boot_timeout: Duration,
    /// How long the command may take after that. It is not run a second time: that would hide the failure.
    pub(crate) timeout: Duration,
    /// Called with each line of the command's output.
    pub(crate) on_line: OnLine,
}

/// How a guest ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command returned this status; 128 + n for a signal.
    Status(i32),
    /// `/init` could not set the guest up.
    SetupFailed(String),
    /// The kernel panicked, with this reason.
    Panicked(String),
    /// `/init` never ran, in both attempts.
    Hung,
    /// The command ran for longer than its time-out.
    TimedOut,
    /// The emulator ended before the command did.
    Vanished(String),
}

/// How a guest ended, and what it printed.
#[derive(Debug)]
pub(crate) struct GuestOutput {
    /// Printed by the kernel.
    pub(crate) console: String,
    /// Printed by the command.
    pub(crate) results: String,
    pub(crate) exit: Exit,
    /// From the start of the emulator to that of the command, if it was started.
    pub(crate) boot: Option<Duration>,
    /// From the start of the emulator to its end.
    pub(crate) duration: Duration,
    /// The folder of console and results, which is kept unless the command returned 0.
    pub(crate) logs: PathBuf,
}

impl GuestOutput {
    /// The command's output, if the command returned 0. The error says what happened and where the logs are.
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

fn last_lines(console: &str) -> String {
    const COUNT: usize = 12;
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(COUNT)..].join("\n")
}

/// Boots a guest and waits for its end. If it hangs before `/init` runs it is booted once more.
pub(crate) fn run(guest: &Guest, runs: &Path) -> Result<GuestOutput> {
    sweep(runs);
    let mut output = attempt(guest, runs)?;
    if output.exit == Exit::Hung {
        eprintln!(
            "xtask: {}: /init does not run after {} s: killed, booting once more (console: {})",
            guest.name,
            guest.boot_timeout.as_secs(),
            output.logs.join(CONSOLE).display()
        );
        output = attempt(guest, runs)?;
    }
    Ok(output)
}

const CONSOLE: &str = "console.log";
const RESULTS: &str = "results.log";

fn attempt(guest: &Guest, runs: &Path) -> Result<GuestOutput> {
    let dir = run_dir(runs)?;
    let initramfs = dir.join("initramfs");
    fs::write(&initramfs, &guest.initramfs)
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    let mut console = Tail::create(&dir.join(CONSOLE))?;
    let mut port = Tail::create(&dir.join(RESULTS))?;
    let messages = dir.join("qemu.log");
    let stderr = File::create(&messages).with_context(|| format!("cannot create {}", messages.display()))?;
    let mut command = command(guest, &initramfs, &dir);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
    let mut emulator = Emulator(child.context("cannot start QEMU through setpriv (package util-linux)")?);
    let start = Instant::now();

    let mut results = Results::default();
    let mut up: Option<Instant> = None;
    let mut farewell = None;
    let exit = loop {
        // Before the ports are read, so that all it wrote before it ended is read below.
        let ended = emulator.0.try_wait().context("cannot wait for QEMU")?;
        console.read()?;
        let fresh = port.read()?;
        results.push(&port.bytes[fresh..]).iter().for_each(|line| guest.on_line.call(line));
        if up.is_none() && results.started() {
            up = Some(Instant::now());
            eprintln!("xtask: {}: up after {:.1} s", guest.name, start.elapsed().as_secs_f32());
        }
        let last_word = match (results.end(), serial::panic(&console.text())) {
            (Some(End::Status(status)), _) => Some(Exit::Status(*status)),
            (Some(End::Failed(why)), _) => Some(Exit::SetupFailed(why.clone())),
            (None, Some(reason)) => Some(Exit::Panicked(reason)),
            (None, None) => None,
        };
        if let Some(exit) = last_word {
            if ended.is_some() || farewell.get_or_insert_with(Instant::now).elapsed() > FAREWELL {
                break exit;
            }
        } else if let Some(status) = ended {
            let said = fs::read_to_string(&messages).unwrap_or_default();
            break Exit::Vanished(format!("{status}; {}", said.trim()));
        } else if up.is_some_and(|up| up.elapsed() > guest.timeout) {
            break Exit::TimedOut;
        } else if up.is_none() && start.elapsed() > guest.boot_timeout {
            break Exit::Hung;
        }
        sleep(TICK);
    };
    drop(emulator);
    console.read()?;
    let duration = start.elapsed();
    if exit == Exit::Status(0) {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    } else {
        fs::remove_file(&initramfs).with_context(|| format!("cannot remove {}", initramfs.display()))?;
    }
    let boot = up.map(|up| up.duration_since(start));
    Ok(GuestOutput { console: console.text(), results: results.text(), exit, boot, duration, logs: dir })
}

fn command(guest: &Guest, initramfs: &Path, dir: &Path) -> Command {
    // The kernel kills QEMU when xtask dies, however it dies: Ctrl-C, a signal, a panic, the OOM killer.
    let mut command = Command::new("setpriv");
    let (program, _) = guest.arch.emulator();
    command.args(["--pdeathsig", "KILL", program]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
    // With a thread for each CPU, QEMU 7.2 now and then runs an int3 on one that another has already put the instruction back
    // for (`text_poke_bp_batch`, when a jump label changes), and the kernel dies of it. Counting instructions takes one anyway.
    command.args(["-accel", "tcg,thread=single"]);
    if guest.count_instructions {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    command.args(guest.arch.machine());
    command.arg("-smp").arg(guest.cpus.to_string()).arg("-m").arg(format!("{}M", guest.memory_mib));
    command.args(numa(guest));
    let [console, results] = [CONSOLE, RESULTS].map(|port| dir.join(port).display().to_string());
    command.args(guest.arch.ports(&console, &results));
    command.arg("-kernel").arg(&guest.kernel).arg("-initrd").arg(initramfs);
    // A panic, or an oops, ends the guest at once: reboot without a delay, and QEMU ends instead of rebooting.
    let mut args = vec![guest.arch.kernel_args().to_owned(), "panic=-1 oops=panic".to_owned()];
    // An emulated CPU on a busy host stands still for seconds; that is no lockup.
    args.push("nowatchdog".to_owned());
    args.extend_from_slice(&guest.extra_args);
    command.arg("-no-reboot").arg("-append").arg(args.join(" "));
    command
}

/// QEMU's arguments for NUMA nodes; none for one node.
fn numa(guest: &Guest) -> Vec<String> {
    let nodes = guest.numa_nodes;
    if nodes < 2 {
        return Vec::new();
    }
    let mut args = Vec::new();
    for node in 0..nodes {
        let size = guest.memory_mib / nodes + if node == 0 { guest.memory_mib % nodes } else { 0 };
        args.extend(["-object".to_owned(), format!("memory-backend-ram,id=mem{node},size={size}M")]);
        let cpus = (0..guest.cpus).filter(|cpu| cpu % nodes == node).map(|cpu| format!(",cpus={cpu}"));
        args.extend([
            "-numa".to_owned(),
            format!("node,nodeid={node},memdev=mem{node}{}", cpus.collect::<String>()),
        ]);
    }
    args
}

/// The emulator, which is killed when this is dropped.
struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file that grows while it is read.
struct Tail {
    file: File,
    bytes: Vec<u8>,
}

impl Tail {
    fn create(path: &Path) -> Result<Self> {
        File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file, bytes: Vec::new() })
    }

    /// Reads what is new, and returns where in `bytes` that begins.
    fn read(&mut self) -> Result<usize> {
        let fresh = self.bytes.len();
        self.file.read_to_end(&mut self.bytes).context("cannot read a serial port of the guest")?;
        Ok(fresh)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A new directory for one boot of this process.
fn run_dir(runs: &Path) -> Result<PathBuf> {
    fs::create_dir_all(runs).with_context(|| format!("cannot create {}", runs.display()))?;
    for number in 1..1000 {
        let dir = runs.join(format!("run-{}-{number}", std::process::id()));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", dir.display())),
        }
    }
    bail!("{} is full of directories of this process: remove it", runs.display())
}

/// Removes what earlier processes left behind an hour ago or more. A developer may still read younger logs.
fn sweep(runs: &Path) {
    const KEEP: Duration = Duration::from_hours(1);
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("run-").and_then(|rest| rest.split('-').next()) else { continue };
        let age =
            entry.metadata().and_then(|data| data.modified()).map(|at| at.elapsed().unwrap_or_default());
        if !Path::new("/proc").join(pid).exists() && age.is_ok_and(|age| age > KEEP) {
            let _ = fs::remove_dir_all(entry.path()); // Left for the next sweep if it cannot be done.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(arch: Arch) -> Guest {
        Guest {
            name: String::new(),
            arch,
            kernel: PathBuf::new(),
            initramfs: Vec::new(),
            memory_mib: 513,
            cpus: 3,
            numa_nodes: 1,
            extra_args: Vec::new(),
            count_instructions: false,
            boot_timeout: Duration::ZERO,
            timeout: Duration::ZERO,
            on_line: OnLine::new(|_| {}),
        }
    }

    fn arguments(guest: &Guest) -> String {
        let command = command(guest, Path::new("initramfs"), Path::new("run"));
        command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_processor_has_its_machine_and_its_ports() {
        let x86 = arguments(&guest(Arch::X86_64));
        assert!(x86.contains("KILL qemu-system-x86_64 ") && x86.contains("-M q35 "), "{x86}");
        assert!(x86.contains("-serial file:run/console.log -serial file:run/results.log "), "{x86}");
        assert!(x86.contains("console=ttyS0 crashtrace.results=ttyS1 "), "{x86}");
        let arm = arguments(&guest(Arch::Aarch64));
        assert!(arm.contains("KILL qemu-system-aarch64 ") && arm.contains("-M virt,"), "{arm}");
        assert!(arm.contains("-serial file:run/console.log -chardev file,id=results,path=run/results.log "));
        assert!(arm.contains("console=ttyAMA0 crashtrace.results=ttyS0 "), "{arm}");
    }

    #[test]
    fn splits_memory_and_cpus_over_the_nodes() {
        let mut guest = guest(Arch::X86_64);
        assert!(numa(&guest).is_empty());
        guest.numa_nodes = 2;
        assert_eq!(
            numa(&guest).join(" "),
            "-object memory-backend-ram,id=mem0,size=257M -numa node,nodeid=0,memdev=mem0,cpus=0,cpus=2 \
             -object memory-backend-ram,id=mem1,size=256M -numa node,nodeid=1,memdev=mem1,cpus=1"
        );
    }

    #[test]
    fn shows_the_end_of_a_console() {
        assert_eq!(last_lines("a\nb"), "a\nb");
        let long = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert!(last_lines(&long).starts_with("8\n"));
    }
}
