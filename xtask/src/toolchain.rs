//! The pinned Rust toolchain, and what the build needs beside it: rust-src, static targets and their C compilers, bpf-linker.
//!
//! Presence is checked in the file system and not asked of rustup, so a machine that is set up needs no network,
//! and each command can call [`ensure`].

use crate::arch::Arch;
use crate::{apt, exec, files};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// The static target of programs for guests and for the image, which have no libc.
pub(crate) const STATIC_TARGET: &str = Arch::X86_64.target();

/// The linker of eBPF objects. Pinned: it must understand the bitcode of the pinned compiler.
const LINKER: (&str, &str) = ("bpf-linker", "0.10.3");

/// A program of the toolchain that `rust-toolchain.toml` pins.
///
/// `cargo +other xtask` hands its own choice to all children in `RUSTUP_TOOLCHAIN`, where it would beat the file.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(files::root()).env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Installs what every build needs.
pub(crate) fn ensure() -> Result<()> {
    // The kernel object is built with `-Z build-std`, from this source.
    if !rustlib()?.join("src/rust/library/core").is_dir() {
        rustup(&["component", "add", "rust-src"])?;
    }
    ensure_target(STATIC_TARGET)?;
    ensure_linker()
}

/// Installs the compilers for this target.
pub(crate) fn ensure_target(target: &str) -> Result<()> {
    if !rustlib()?.join(target).join("lib").is_dir() {
        rustup(&["target", "add", target])?;
    }
    compiler(target).map_or(Ok(()), |(program, packages)| apt::ensure(program, packages))
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
    let sysroot = exec::output(command("rustc").args(["--print", "sysroot"]))
        .context("no Rust compiler: install rustup (https://rustup.rs)")?;
    Ok(PathBuf::from(sysroot.trim_end()))
}

/// Adds something to the pinned toolchain, which rustup itself reads from `rust-toolchain.toml`.
fn rustup(args: &[&str]) -> Result<()> {
    eprintln!("xtask: rustup {}", args.join(" "));
    let hint = "this needs rustup and a network; without rustup, add it to your toolchain by hand";
    exec::run(command("rustup").args(args)).context(hint)
}

fn ensure_linker() -> Result<()> {
    let (name, version) = LINKER;
    let root = files::target_dir().join("tools");
    let program = root.join("bin").join(name);
    let present = || {
        let answer = exec::output(Command::new(&program).arg("--version")).unwrap_or_default();
        answer.split_whitespace().eq([name, version])
    };
    if present() {
        return Ok(());
    }
    let _lock = files::lock(&root.join("setup.lock"))?;
    if present() {
        return Ok(()); // Another xtask did it while this one waited.
    }
    eprintln!("xtask: installing {name} {version} in {} (a minute or two)", root.display());
    let mut install = command("cargo");
    install.args(["install", "--locked", "--force", "--version", version, "--root"]).arg(&root).arg(name);
    exec::run(&mut install).with_context(|| {
        format!("cannot install {name} {version}: cargo needs its registry or a mirror of it")
    })?;
    if !present() {
        bail!("{} is installed but does not answer `--version` with {version}", program.display());
    }
    Ok(())
}
