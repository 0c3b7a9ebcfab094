use std::process::Command;

use super::*;

#[test]
fn the_manifests_name_this_image() {
    let text =
        fs::read_to_string(files::root().join("deploy/base/kustomization.yaml")).expect("it can be read");
    assert!(text.contains(&format!("newName: {NAME}\n    newTag: {VERSION}\n")), "{text}");
}

/// Renders deploy/ with the component that is written when the image is built.
#[test]
fn the_manifests_can_be_pinned_to_the_very_image() {
    let digest = format!("sha256:{}", "5a".repeat(32));
    let kubectl = tools::ensure_kubectl().expect("it is there");
    let dir = tempfile::tempdir_in(files::target_dir()).expect("a folder");
    let write = |folder: &str, text: &str| {
        fs::create_dir(dir.path().join(folder)).expect("a folder");
        fs::write(dir.path().join(folder).join("kustomization.yaml"), text).expect("a file");
    };
    symlink(files::root().join("deploy"), dir.path().join("deploy")).expect("a link");
    write("image", &pin("registry.example/crashtrace", &digest));
    for form in ["deploy", "deploy/capabilities"] {
        let mine = form.replace('/', "-") + "-mine";
        write(&mine, &format!("resources: [../{form}]\ncomponents: [../image]\n"));
        let text = exec::output(Command::new(&kubectl).arg("kustomize").arg(dir.path().join(mine)));
        let text = text.expect("kubectl takes it");
        let images: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert_eq!(images, [format!("registry.example/crashtrace@{digest}")], "{form}");
    }
}

/// The same for the Helm chart.
#[test]
fn the_chart_can_be_pinned_to_the_very_image() {
    let digest = format!("sha256:{}", "5a".repeat(32));
    let helm = tools::ensure_helm().expect("it is there");
    let dir = tempfile::tempdir_in(files::target_dir()).expect("a folder");
    let values = dir.path().join("values.yaml");
    fs::write(&values, helm_values("registry.example/crashtrace", &digest)).expect("a file");
    let chart = files::root().join("deploy/helm/crashtrace");
    let text = exec::output(Command::new(&helm).arg("template").arg(chart).arg("--values").arg(&values));
    let text = text.expect("Helm takes it");
    let images: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
    assert_eq!(images, [format!("\"registry.example/crashtrace@{digest}\"")]);
}

#[test]
fn the_copy_has_the_sources_and_nothing_that_was_built() {
    let dir = tempfile::tempdir().expect("a folder");
    let copy = copy_of_sources(&dir.path().join("copy")).expect("they can be copied");
    for path in ["Cargo.lock", ".cargo/config.toml", "crashtrace/src/main.rs"] {
        let read = |root: &Path| fs::read(root.join(path)).expect("it is there");
        assert_eq!(read(&copy), read(files::root()), "{path}");
    }
    let built = fs::read_dir(copy.join("target")).expect("it is there");
    let built: Vec<_> = built.map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(built, ["tools"]);
}
