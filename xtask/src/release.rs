//! The program as it is released: static, for each architecture, with its licences and its SBOM. The image and the archives for krew
//! are put together from these files, and the same commit gives the same files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::arch::Arch;
use crate::packages::{self, Package};
use crate::{build, exec, files};

mod licences;
mod sbom;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The program's file: the entry point of the image.
pub(crate) const PROGRAM: &str = "crashtrace";
pub(crate) const ARCHITECTURES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];
/// Bound of the program's size: it is pulled onto every node, and its pages count against the agent's memory.
/// 0.7 MB of it is `crashtrace why`: pages that no agent touches.
const PROGRAM_MAX_BYTES: u64 = 12_500_000;

/// A file of the release.
pub(crate) struct File<'a> {
    pub(crate) path: &'a str,
    pub(crate) mode: u32,
    pub(crate) contents: Vec<u8>,
}

/// All files for this architecture. `created` is the time in the SBOM.
pub(crate) fn files(root: &Path, arch: Arch, created: &str) -> Result<Vec<File<'static>>> {
    let mut all = vec![File { path: PROGRAM, mode: 0o755, contents: program(root, arch)? }];
    all.extend(texts(&packages::of_agent(arch.target())?, created)?);
    Ok(all)
}

/// The time of all files: `SOURCE_DATE_EPOCH` if set, else that of the commit.
pub(crate) fn time() -> Result<u64> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds,
        Err(_) => git(&["log", "-1", "--format=%ct"])?,
    };
    seconds.parse().with_context(|| {
        format!("`{seconds}` is no number of seconds (SOURCE_DATE_EPOCH, or the time of the commit)")
    })
}

/// This time as the SBOM and the image have it.
pub(crate) fn written(time: u64) -> Result<String> {
    Ok(jiff::Timestamp::from_second(i64::try_from(time)?)?.to_string())
}

pub(crate) fn git(arguments: &[&str]) -> Result<String> {
    let said = exec::output(Command::new("git").args(arguments).current_dir(files::root()))?;
    Ok(said.trim().to_owned())
}

/// The program for this architecture.
fn program(root: &Path, arch: Arch) -> Result<Vec<u8>> {
    let paths = build::build_in(root, &[build::Program::Crashtrace], "release", Some(arch.target()))?;
    let program = paths.first().context("cargo built nothing")?;
    let contents = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    check_program(&contents, root).with_context(|| program.display().to_string())?;
    Ok(contents)
}

/// Licences and SBOM.
fn texts(packages: &[Package], created: &str) -> Result<Vec<File<'static>>> {
    let file = |path, contents: Vec<u8>| File { path, mode: 0o644, contents };
    let mut files = Vec::new();
    for path in ["licenses/LICENSE-APACHE", "licenses/LICENSE-GPL-2.0", "licenses/LICENSE-MIT"] {
        let name = path.trim_start_matches("licenses/");
        let contents = fs::read(files::root().join(name)).with_context(|| format!("cannot read {name}"))?;
        files.push(file(path, contents));
    }
    files.push(file("licenses/THIRD-PARTY", licences::third_party(packages)?.into_bytes()));
    files.push(file("licenses/RUST-LIBRARY.html", licences::rust_library()?));
    files.push(file("sbom.cdx.json", sbom::cyclonedx(packages, created)?.into_bytes()));
    Ok(files)
}

/// Checks the size, and that no path of this machine is in it: another machine would build another image.
fn check_program(program: &[u8], root: &Path) -> Result<()> {
    let size = program.len() as u64;
    ensure!(size <= PROGRAM_MAX_BYTES, "it has {size} bytes, more than {PROGRAM_MAX_BYTES}");
    for path in build::paths_of_this_machine(root)? {
        let path = path.display().to_string();
        let within = program.windows(path.len()).any(|bytes| bytes == path.as_bytes());
        ensure!(!within, "the path {path} is in it: built elsewhere it would be another program");
    }
    Ok(())
}

/// Writes files below a folder, readable for all whatever the umask.
pub(crate) fn lay_out(files: &[File<'_>], dir: &Path) -> Result<()> {
    let failed = || format!("cannot write to {}", dir.display());
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for file in files {
        let path = dir.join(file.path);
        let folder = path.parent().context("a file lies in a folder")?;
        fs::create_dir_all(folder).with_context(failed)?;
        mode(folder, 0o755).with_context(failed)?;
        fs::write(&path, &file.contents).with_context(failed)?;
        mode(&path, file.mode).with_context(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
