//! Builds programs of the workspace.
//!
//! Their paths are taken from cargo's JSON messages: a path put together from target, profile and name would be wrong where a
//! configuration moves the target directory.

use crate::{files, toolchain};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A program of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The agent.
    Crashtrace,
    /// What plays the scenarios (`tests/scenario`).
    Scenario,
}

impl Program {
    fn package(self) -> &'static str {
        match self {
            Self::Crashtrace => "crashtrace",
            Self::Scenario => "crashtrace-scenario",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Crashtrace => "crashtrace",
            Self::Scenario => "scenario",
        }
    }
}

/// Builds programs and returns their paths in the same order. Without a target they are for this machine, and share what `cargo build`
/// has built.
pub(crate) fn build(programs: &[Program], profile: &str, target: Option<&str>) -> Result<Vec<PathBuf>> {
    build_in(files::root(), programs, profile, target)
}

/// Builds in another copy of the workspace.
pub(crate) fn build_in(
    root: &Path,
    programs: &[Program],
    profile: &str,
    target: Option<&str>,
) -> Result<Vec<PathBuf>> {
    toolchain::ensure()?;
    if let Some(target) = target {
        toolchain::ensure_target(target)?;
    }
    let mut cargo = toolchain::command("cargo");
    cargo.current_dir(root).args(["build", "--message-format", "json-render-diagnostics"]);
    cargo.args(["--profile", profile]);
    if let Some(target) = target {
        cargo.args(["--target", target]).arg("--config").arg(no_paths_of_this_machine(root, target)?);
    }
    for program in programs {
        cargo.args(["--package", program.package(), "--bin", program.name()]);
    }
    let target = target.unwrap_or("this machine");
    eprintln!("xtask: building {programs:?} for {target}, profile {profile}");
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start `cargo build`")?;
    let mut artefacts = Vec::new();
    let stdout = child.stdout.take().context("`cargo build` has no stdout")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read the messages of `cargo build`")?;
        artefacts.extend(parse(&line));
    }
    let status = child.wait().context("cannot wait for `cargo build`")?;
    anyhow::ensure!(status.success(), "`cargo build` for {target} failed ({status}); its messages are above");
    programs
        .iter()
        .map(|program| {
            let found = artefacts.iter().find(|artefact| artefact.is(*program));
            found
                .map(|artefact| artefact.executable.clone())
                .with_context(|| format!("cargo built no {program:?}"))
        })
        .collect()
}

/// The setting that keeps this machine's paths out of programs for this target, so that the same sources give the same bytes in any
/// folder. `crashtrace/build.rs` passes it on to the kernel object.
///
/// Cargo's own `trim-paths` is not stable. The variable RUSTFLAGS overrides this, as it overrides what `.cargo/config.toml` sets for
/// the target.
fn no_paths_of_this_machine(root: &Path, target: &str) -> Result<String> {
    // Of several that match, rustc takes the last.
    let [workspace, cargo_home, toolchain] = paths_of_this_machine(root)?;
    let prefixes = [(workspace, "/crashtrace"), (cargo_home, "/cargo"), (toolchain, "/rust")];
    let flags = prefixes.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    Ok(format!("target.{target}.rustflags={}", serde_json::to_string(&flags)?))
}

/// Folders of sources on this machine: the workspace, cargo's registry, the toolchain.
pub(crate) fn paths_of_this_machine(root: &Path) -> Result<[PathBuf; 3]> {
    Ok([root.to_owned(), files::cargo_home()?, toolchain::sysroot()?])
}

/// A program in cargo's messages.
struct Artefact {
    kind: String,
    name: String,
    executable: PathBuf,
}

impl Artefact {
    fn is(&self, program: Program) -> bool {
        self.kind == "bin" && self.name == program.name()
    }
}

/// The program that a line of cargo's messages is about, if any.
fn parse(line: &str) -> Option<Artefact> {
    #[derive(Deserialize)]
    struct Message {
        target: Target,
        executable: PathBuf,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    // Messages of other kinds, and libraries (whose `executable` is null), do not parse and are skipped.
    let message: Message = serde_json::from_str(line).ok()?;
    let kind = message.target.kind.into_iter().next()?;
    Some(Artefact { kind, name: message.target.name, executable: message.executable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_programs_out_of_cargos_messages() {
        let bin = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/crashtrace#0.1.0","target":
            {"kind":["bin"],"crate_types":["bin"],"name":"crashtrace","src_path":"/w/src/main.rs"},
            "executable":"/w/target/debug/crashtrace","fresh":true}"#;
        let artefact = parse(bin).expect("a program");
        assert_eq!(artefact.executable, PathBuf::from("/w/target/debug/crashtrace"));
        assert!(artefact.is(Program::Crashtrace));
        assert!(!artefact.is(Program::Scenario));
        // An example of the same name is another program.
        let example = parse(&bin.replace("[\"bin\"]", "[\"example\"]")).expect("a program");
        assert!(!example.is(Program::Crashtrace));
    }

    #[test]
    fn passes_over_everything_else() {
        let library = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"crashtrace"},"executable":null}"#;
        for line in [library, r#"{"reason":"build-finished","success":true}"#, "not json", ""] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
