//! Guests: a kernel of Debian's, an initramfs made for the occasion, and an emulator. Nothing but the emulator is installed on this
//! machine. [`run`] boots one and runs a command in it.

pub(crate) mod boot;
mod cpio;
pub(crate) mod initramfs;
pub(crate) mod kernel;
mod modules;
pub(crate) mod options;
pub(crate) mod programs;
pub(crate) mod runc;
mod serial;

use crate::{files, tools};
use anyhow::Result;
use boot::GuestOutput;
use initramfs::GuestFile;
use options::Options;
use std::time::Duration;

/// The kernel that is booted unless another is named.
pub(crate) const DEFAULT_KERNEL: &str = "6.1";

/// Fetches what booting this kernel takes.
pub(crate) fn prepare(label: &str) -> Result<()> {
    let kernel = kernel::fetch(label)?;
    tools::ensure_emulator(kernel.spec.arch)?;
    kernel::busybox(kernel.spec.arch)?;
    Ok(())
}

/// Boots a kernel with these files, runs `command` (a script for busybox's shell; `init.sh` says what it can rely on), and waits for
/// the end. A panic or a time-out of the guest is no error here, since a test may want one: [`GuestOutput::succeeded`] makes it one.
pub(crate) fn run(
    label: &str,
    guest_files: &[GuestFile],
    command: &str,
    options: &Options,
) -> Result<GuestOutput> {
    let kernel = kernel::fetch(label)?;
    let arch = kernel.spec.arch;
    tools::ensure_emulator(arch)?;
    let busybox = kernel::busybox(arch)?;
    let initramfs = initramfs::guest_root(&busybox, kernel.modules(), guest_files, command)?;
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
    let output = boot::run(&guest, &files::vm_dir())?;
    let boot =
        output.boot.map_or_else(|| "never".to_owned(), |boot| format!("after {:.1} s", boot.as_secs_f32()));
    let took = output.duration.as_secs_f32();
    eprintln!("xtask: {name}: up {boot}, ended after {took:.1} s: {:?}", output.exit);
    Ok(output)
}
