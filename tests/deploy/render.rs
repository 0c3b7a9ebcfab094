//! What `kubectl kustomize` makes of a folder: the part of kustomize that deploy/ uses, so that it can be tested where there is
//! no kubectl. Debian's own kubectl is years behind, and no other package of it can be had everywhere. Whatever a kustomization
//! has that is not known here is an error, and where kubectl is there, both are held against each other.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// Kinds without a namespace, of those that are in use.
const CLUSTER_SCOPED: [&str; 3] = ["Namespace", "ClusterRole", "ClusterRoleBinding"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    namespace: Option<String>,
    resources: Vec<PathBuf>,
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    patches: Vec<Patch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: String,
    new_tag: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    path: PathBuf,
    target: Target,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    kind: String,
}

/// A step of a JSON patch (RFC 6902).
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "op")]
enum Step {
    Test { path: String, value: Value },
    Replace { path: String, value: Value },
    Remove { path: String },
}

/// The objects that this folder stands for.
pub(crate) fn render(dir: &Path) -> Vec<Value> {
    let this: Kustomization =
        serde_saphyr::from_str(&text(&dir.join("kustomization.yaml"))).expect("a kustomization");
    let mut objects = Vec::new();
    for path in this.resources.iter().map(|resource| dir.join(resource)) {
        objects.extend(if path.is_dir() { render(&path) } else { documents(&text(&path)) });
    }
    for object in &mut objects {
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        if let Some(namespace) = this.namespace.as_ref().filter(|_| !CLUSTER_SCOPED.contains(&kind.as_str()))
        {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        let containers = object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(image) = this.images.iter().find(|image| container["image"] == image.name.as_str()) {
                container["image"] = format!("{}:{}", image.new_name, image.new_tag).into();
            }
        }
        for patch in this.patches.iter().filter(|patch| patch.target.kind == kind) {
            let steps: Vec<Step> = serde_saphyr::from_str(&text(&dir.join(&patch.path))).expect("a patch");
            steps.into_iter().for_each(|step| apply(object, step));
        }
    }
    objects
}

/// The objects in a text of YAML.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn apply(object: &mut Value, step: Step) {
    match step {
        Step::Test { path, value } => assert_eq!(object.pointer(&path), Some(&value), "{path}"),
        Step::Replace { path, value } => {
            *object.pointer_mut(&path).unwrap_or_else(|| panic!("no {path}")) = value
        }
        Step::Remove { path } => {
            let (list, index) = path.rsplit_once('/').expect("a path");
            let list =
                object.pointer_mut(list).and_then(Value::as_array_mut).unwrap_or_else(|| panic!("no {list}"));
            list.remove(index.parse().expect("the index of an element"));
        }
    }
}
