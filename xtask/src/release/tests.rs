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
