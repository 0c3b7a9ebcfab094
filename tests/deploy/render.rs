//! What kubectl makes of a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The objects that this folder stands for, as `kubectl apply -k` sends them.
pub(crate) fn render(dir: &Path) -> Vec<Value> {
    let output = Command::new(kubectl()).arg("kustomize").arg(dir).output();
    let output = output.expect("there is no kubectl: `cargo xtask setup --tools` installs it");
    assert!(output.status.success(), "{}: {}", dir.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("YAML is text");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The one that xtask installed, if it did (where there was none, or one that is too old), else what is found.
fn kubectl() -> PathBuf {
    // This program is in the same target folder.
    let this = std::env::current_exe().expect("a path");
    let tools = this.ancestors().map(|dir| dir.join("tools")).find(|dir| dir.is_dir());
    let installed = tools.and_then(|tools| std::fs::read_dir(tools).ok()).into_iter().flatten().flatten();
    let installed = installed.map(|entry| entry.path().join("kubectl/kubectl")).find(|path| path.is_file());
    installed.unwrap_or_else(|| PathBuf::from("kubectl"))
}
