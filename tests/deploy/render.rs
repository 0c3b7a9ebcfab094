//! What kubectl makes of a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// The objects that this folder stands for, as `kubectl apply -k` sends them.
pub(crate) fn render(dir: &Path) -> Vec<Value> {
    kustomize(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
}

fn kustomize(dir: &Path) -> Result<Vec<Value>, String> {
    let output = Command::new(kubectl()).arg("kustomize").arg(dir).output();
    let output = output.expect("there is no kubectl: `cargo xtask setup --tools` installs it");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("YAML is text");
    Ok(serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// The objects of an overlay beside deploy/ with this kustomization.yaml.
pub(crate) fn render_own(kustomization: &str) -> Result<Vec<Value>, String> {
    render_beside(kustomization, None)
}

/// The same, and `target/image` has this one.
pub(crate) fn render_beside(kustomization: &str, image: Option<&str>) -> Result<Vec<Value>, String> {
    let deploy =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace").join("deploy");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mine = dir.path().join("mine");
    std::os::unix::fs::symlink(deploy, dir.path().join("deploy")).expect("a link");
    std::fs::create_dir(&mine).expect("a folder");
    if let Some(image) = image {
        let folder = dir.path().join("target/image");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("kustomization.yaml"), image).expect("a file");
    }
    std::fs::write(mine.join("kustomization.yaml"), kustomization).expect("a file");
    kustomize(&mine)
}

/// Those of a form of deploy/ with components, all by their folders.
pub(crate) fn render_with(form: &str, components: &[&str]) -> Result<Vec<Value>, String> {
    let components: Vec<_> = components.iter().map(|it| format!("../deploy/{it}")).collect();
    let kustomization = json!({ "resources": [format!("../{form}")], "components": components });
    render_own(&kustomization.to_string())
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
