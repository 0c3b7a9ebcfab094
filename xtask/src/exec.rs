//! Running other programs: from which directory, with which toolchain, and what to say when they fail.

use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace.
pub(crate) fn root() -> &'static Path {
    // Known when this file is compiled: `cargo xtask` compiles it in the tree that it works on.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Where everything that xtask makes or fetches goes. Not `CARGO_TARGET_DIR`: `crashtrace/build.rs` looks for
/// the linker here too, and both must mean the same place.
pub(crate) fn target_dir() -> PathBuf {
    root().join("target")
}

/// Where Cargo keeps what it fetches, and cargo-deny the database of advisories.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    // As Cargo has it, an empty variable is none.
    if let Some(home) = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let home = std::env::home_dir().context("there is neither CARGO_HOME nor a home directory")?;
    Ok(home.join(".cargo"))
}

/// A program of the toolchain that `rust-toolchain.toml` pins.
///
/// `cargo +other xtask` hands its own choice to all children in `RUSTUP_TOOLCHAIN`, where it would beat the file.
pub(crate) fn toolchain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Runs to the end, with the user's stdout moved to stderr: stdout is for results.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status}); its own messages are above", shown(command));
    }
    Ok(())
}

/// Runs to the end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    String::from_utf8(bytes(command)?).with_context(|| format!("{} printed no UTF-8", shown(command)))
}

/// The same for what need not be text.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}):\n{}", shown(command), output.status, stderr.trim_end());
    }
    Ok(output.stdout)
}

/// Whether a program is there and starts.
pub(crate) fn exists(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Waits until no other xtask holds this lock, and holds it until the file is dropped (or the process dies).
pub(crate) fn lock(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("xtask: waiting for another xtask, which holds {}", path.display());
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// The command line as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}
