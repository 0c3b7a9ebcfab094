//! The objects that kubectl renders of a folder, and Helm of the chart.

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
    let output = Command::new(tool("kubectl")).arg("kustomize").arg(dir).output();
    let output = output.expect("there is no kubectl: `cargo xtask setup --tools` installs it");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(objects(output.stdout))
}

fn objects(yaml: Vec<u8>) -> Vec<Value> {
    let text = String::from_utf8(yaml).expect("YAML is text");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The chart, in the repository.
pub const CHART: &str = "deploy/helm/crashtrace";

/// The objects of the chart with these values, as `helm install crashtrace --namespace crashtrace` sends them, or Helm's error.
pub fn chart(values: &Value) -> Result<Vec<Value>, String> {
    helm(&["template", "--namespace", "crashtrace", "crashtrace"], values).map(objects)
}

/// What Helm answers to these arguments before the chart's folder, with these values.
pub fn helm(arguments: &[&str], values: &Value) -> Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("values.json");
    std::fs::write(&file, values.to_string()).expect("a file");
    let mut command = Command::new(tool("helm"));
    command.args(arguments).arg(root().join(CHART)).arg("--values").arg(&file);
    // Nothing of this user's: no plugins, no repositories, no cluster.
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECONFIG"] {
        command.env(name, dir.path().join(name));
    }
    let output = command.output().expect("there is no helm: `cargo xtask setup --tools` installs it");
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
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
fn tool(name: &str) -> PathBuf {
    // This program is in the same target folder.
    let this = std::env::current_exe().expect("a path");
    let tools = this.ancestors().map(|dir| dir.join("tools")).find(|dir| dir.is_dir());
    let installed = tools.and_then(|tools| std::fs::read_dir(tools).ok()).into_iter().flatten().flatten();
    let mut installed = installed.map(|entry| entry.path().join(name).join(name));
    installed.find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
