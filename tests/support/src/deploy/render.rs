//! The objects that kubectl renders of a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::needs::Form;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it lies in the workspace")
}

/// The pod of this form of deploy/.
pub fn pod(form: Form) -> PodSpec {
    let objects = render(&root().join(form.folder()));
    let set = objects.into_iter().find(|object| object["kind"] == "DaemonSet").expect("a DaemonSet");
    let set: DaemonSet = serde_json::from_value(set).expect("a DaemonSet");
    set.spec.expect("a spec").template.spec.expect("a spec")
}

/// The objects that this folder stands for, as `kubectl apply -k` sends them.
pub fn render(dir: &Path) -> Vec<Value> {
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
pub fn render_own(kustomization: &str) -> Result<Vec<Value>, String> {
    render_beside(kustomization, None)
}

/// The same, and `target/image` has this one.
pub fn render_beside(kustomization: &str, image: Option<&str>) -> Result<Vec<Value>, String> {
    let deploy = root().join("deploy");
    let dir = tempfile::tempdir().expect("a folder");
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
pub fn render_with(form: &str, components: &[&str]) -> Result<Vec<Value>, String> {
    let components: Vec<_> = components.iter().map(|it| format!("../deploy/{it}")).collect();
    let kustomization = json!({ "resources": [format!("../{form}")], "components": components });
    render_own(&kustomization.to_string())
}

/// xtask's, if it installed one (where there was none, or it was too old), else the installed one.
fn kubectl() -> PathBuf {
    // This program is in the same target folder.
    let this = std::env::current_exe().expect("a path");
    let tools = this.ancestors().map(|dir| dir.join("tools")).find(|dir| dir.is_dir());
    let installed = tools.and_then(|tools| std::fs::read_dir(tools).ok()).into_iter().flatten().flatten();
    let installed = installed.map(|entry| entry.path().join("kubectl/kubectl")).find(|path| path.is_file());
    installed.unwrap_or_else(|| PathBuf::from("kubectl"))
}
