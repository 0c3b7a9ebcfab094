//! Builds the kernel object from source into `OUT_DIR`.
//!
//! `aya-build` does nearly this, but it looks for the linker on `PATH` and runs a nightly toolchain, while here the
//! linker lives in the target folder (`cargo xtask setup` puts it there) and the pinned stable toolchain is to do.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use object::build::elf::{Builder, SectionData};

const SETUP: &str = "run `cargo xtask setup` once: it installs what the kernel object is built with";

fn main() -> Result<()> {
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package has no workspace")?;
    let package = workspace.join("crashtrace-ebpf");
    println!("cargo:rerun-if-changed={}", package.display());
    println!("cargo:rerun-if-changed={}", workspace.join("Cargo.lock").display());

    let (linker_dir, linker) = linker(&out_dir)?;
    println!("cargo:rerun-if-changed={}", linker.display());
    println!("cargo:rerun-if-env-changed=PATH");
    ensure_rust_src()?;

    let architecture = variable("CARGO_CFG_TARGET_ARCH")?.to_string_lossy().into_owned();
    let target_dir = out_dir.join("kernel-object");
    let mut path = linker_dir.into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--release", "--package", "crashtrace-ebpf", "--bin", "crashtrace-ebpf"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(&target_dir)
        .env("PATH", path)
        // The agent is built to be small; the kernel object as it was when all those verifiers took it.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_LTO", "thin")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        // Lets the stable compiler build `core` for BPF and take its inline assembly; for this one package only.
        .env("RUSTC_BOOTSTRAP", "1")
        // pt_regs, and so where a kprobe finds its arguments, is the host architecture's.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            [
                &[format!("--cfg=bpf_target_arch=\"{architecture}\""), "-Cdebuginfo=2".to_owned()],
                &["-Clink-arg=--btf".to_owned()][..],
                &remapped_paths(),
            ]
            .concat()
            .join("\x1f"),
        );
    // What cargo sets for build scripts and wrappers (clippy's, say) is not meant for the kernel object.
    for name in
        ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"]
    {
        cargo.env_remove(name);
    }
    let output = cargo.output().context("cannot run cargo for the kernel object")?;
    ensure!(
        output.status.success(),
        "cannot build the kernel object:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let object = target_dir.join("bpfel-unknown-none/release/crashtrace-ebpf");
    let bytes = std::fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    let bytes = without_dwarf(&bytes).with_context(|| format!("cannot take apart {}", object.display()))?;
    let embedded = out_dir.join("crashtrace-ebpf.o");
    std::fs::write(&embedded, bytes).with_context(|| format!("cannot write {}", embedded.display()))
}

/// The object less what BTF was made from: that is five sixths of it, a fifth of the agent, and no kernel reads it. The lines of
/// sources that the verifier shows are in `.BTF.ext`. bpf-linker keeps all of it or none.
fn without_dwarf(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete |= name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // LLVM has the names of sections in the table of those of symbols, and the builder has one table for each.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut bytes = Vec::new();
    builder.write(&mut bytes)?;
    Ok(bytes)
}

/// What the program's own flags replace in paths (`cargo xtask build` sets it): the kernel object carries the paths of
/// its sources, too, for the verifier's messages.
fn remapped_paths() -> Vec<String> {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    flags.split('\x1f').filter(|flag| flag.starts_with("--remap-path-prefix=")).map(str::to_owned).collect()
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).with_context(|| format!("cargo did not set {name}"))
}

/// bpf-linker: where `cargo xtask setup` puts it (`tools/bin` in the target folder, which `OUT_DIR` lies in at a
/// depth that depends on `--target`), else on `PATH`.
fn linker(out_dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let in_target = out_dir.ancestors().map(|dir| dir.join("tools/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).collect::<Vec<_>>();
    for dir in in_target.chain(on_path) {
        let linker = dir.join("bpf-linker");
        if linker.is_file() {
            return Ok((dir, linker));
        }
    }
    bail!("bpf-linker is missing; {SETUP}")
}

/// The sources of `core`: there is no prebuilt one for BPF.
fn ensure_rust_src() -> Result<()> {
    let output = Command::new(variable("RUSTC")?)
        .args(["--print", "sysroot"])
        .output()
        .context("cannot ask rustc for its sysroot")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    ensure!(
        sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file(),
        "the rust-src component is missing from {}; {SETUP}",
        sysroot.display()
    );
    Ok(())
}
