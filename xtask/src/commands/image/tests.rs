use super::*;

#[test]
fn a_program_that_is_too_large_or_knows_this_machine_is_refused() {
    check_program(b"\x7fELF", files::root()).expect("it is small");
    let large = vec![0; usize::try_from(PROGRAM_MAX_BYTES).expect("it fits") + 1];
    let error = check_program(&large, files::root()).expect_err("it is too large").to_string();
    assert!(error.contains(&format!("it has {} bytes", large.len())), "{error}");
    for path in build::paths_of_this_machine(files::root()).expect("they are known") {
        let program = format!("\x7fELF...{}/src/lib.rs...", path.display());
        let error =
            check_program(program.as_bytes(), files::root()).expect_err("it knows a path").to_string();
        assert!(error.contains("built elsewhere"), "{error}");
    }
}

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

#[test]
fn laid_out_files_are_readable_for_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("amd64");
    let file = |path, mode| File { path, mode, contents: b"it".to_vec() };
    lay_out(&[file("crashtrace", 0o755), file("licenses/MIT", 0o644)], &dir).expect("it can be written");
    assert_eq!(fs::read(dir.join("licenses/MIT")).expect("it is there"), b"it");
    for (path, expected) in [("", 0o755), ("crashtrace", 0o755), ("licenses", 0o755), ("licenses/MIT", 0o644)]
    {
        let mode = fs::metadata(dir.join(path)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, expected, "{path}");
    }
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
