//! The program that plays the scenarios (`tests/scenario`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::skipped;

/// Its sources, but for the agent's own crate.
const SOURCES: [&str; 3] = ["scenario", "judge", "support"];

/// It, or `None` if tests that take root and kill are to be left out.
pub fn program() -> Option<Command> {
    if skipped() {
        return None;
    }
    // `cargo test` puts a test into target/<profile>/deps, and with `--workspace` this program beside that folder.
    let this = std::env::current_exe().expect("this program has a path");
    let profile = this.ancestors().nth(2).expect("it lies in target/<profile>/deps");
    let program = profile.join("scenario");
    let built = modified(&program);
    let stale = sources().into_iter().find(|source| built < modified(source));
    assert!(
        built.is_some() && stale.is_none(),
        "{} is missing or older than {stale:?}: `cargo test` with `--test` does not build it, \
         `cargo build -p crashtrace-scenario` does",
        program.display()
    );
    Some(Command::new(program))
}

fn sources() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found: Vec<_> = SOURCES.iter().map(|source| tests.join(source)).collect();
    let mut next = 0;
    while let Some(dir) = found.get(next) {
        let inside: Vec<_> =
            fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        found.extend(inside);
        next += 1;
    }
    found.retain(|path| path.is_file());
    assert!(!found.is_empty(), "the scenarios have sources");
    found
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}
