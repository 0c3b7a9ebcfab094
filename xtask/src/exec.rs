//! Runs other programs, and says which command failed.

use anyhow::{Context as _, Result, bail};
use std::process::{Command, Stdio};

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

/// Runs to the end and returns its stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    String::from_utf8(bytes(command)?).with_context(|| format!("{} printed no UTF-8", shown(command)))
}

/// Like [`output`], for output that need not be text.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}):\n{}", shown(command), output.status, stderr.trim_end());
    }
    Ok(output.stdout)
}

/// Whether a program is installed and starts.
pub(crate) fn exists(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The command line as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}
