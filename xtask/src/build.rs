//! `cargo xtask build`: builds programs of the workspace and says where they are.
//!
//! Cargo is asked where it put them (its JSON messages): a path put together from target, profile and name would be
//! wrong as soon as a configuration moves the target directory.

use crate::{exec, setup};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Build the agent, and print where it is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The cargo profile.
    #[arg(long, default_value = "release")]
    profile: String,
    /// The target; the static one unless given.
    #[arg(long, default_value = setup::STATIC_TARGET)]
    target: String,
    /// Also this example of the agent's crate (may be repeated).
    #[arg(long = "example", value_name = "NAME")]
    examples: Vec<String>,
}

/// `cargo xtask build`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut programs = vec![Program::Bin("crashtrace")];
    programs.extend(args.examples.iter().map(|name| Program::Example(name)));
    for path in build(&programs, &args.profile, Some(&args.target))? {
        println!("{}", path.display());
    }
    Ok(())
}

/// A program of the agent's crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program<'a> {
    Bin(&'a str),
    Example(&'a str),
}

/// Builds programs of the agent's crate and returns their paths, in the order asked for. Without a target they are
/// for this machine, and what `cargo build` made before is used.
pub(crate) fn build(programs: &[Program<'_>], profile: &str, target: Option<&str>) -> Result<Vec<PathBuf>> {
    build_in(exec::root(), programs, profile, target)
}

/// The same in another workspace with the same sources.
pub(crate) fn build_in(
    root: &Path,
    programs: &[Program<'_>],
    profile: &str,
    target: Option<&str>,
) -> Result<Vec<PathBuf>> {
    setup::ensure()?;
    if let Some(target) = target {
        setup::ensure_target(target)?;
    }
    let mut cargo = exec::toolchain("cargo");
    cargo.current_dir(root).args([
        "build",
        "--package",
        "crashtrace",
        "--message-format",
        "json-render-diagnostics",
    ]);
    cargo.args(["--profile", profile]);
    if let Some(target) = target {
        cargo.args(["--target", target]).arg("--config").arg(no_paths_of_this_machine(root, target)?);
    }
    for program in programs {
        match program {
            Program::Bin(name) => cargo.args(["--bin", name]),
            Program::Example(name) => cargo.args(["--example", name]),
        };
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

/// The setting by which rustc writes none of this machine's paths into a program for this target: so the same sources give the
/// same bytes in whatever folder they lie. `crashtrace/build.rs` hands it on to the kernel object.
///
/// Cargo's own `trim-paths` is not stable. The variable RUSTFLAGS would displace what `.cargo/config.toml` sets for the
/// target, and so does it displace this: who sets it has other programs anyway.
fn no_paths_of_this_machine(root: &Path, target: &str) -> Result<String> {
    // Where several fit, rustc takes the last.
    let [workspace, cargo_home, toolchain] = paths_of_this_machine(root)?;
    let prefixes = [(workspace, "/crashtrace"), (cargo_home, "/cargo"), (toolchain, "/rust")];
    let flags = prefixes.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    Ok(format!("target.{target}.rustflags={}", serde_json::to_string(&flags)?))
}

/// Where sources are on this machine: the workspace's, those of the registry, those of the toolchain.
pub(crate) fn paths_of_this_machine(root: &Path) -> Result<[PathBuf; 3]> {
    Ok([root.to_owned(), exec::cargo_home()?, setup::sysroot()?])
}

/// A program that cargo reported.
struct Artefact {
    kind: String,
    name: String,
    executable: PathBuf,
}

impl Artefact {
    fn is(&self, program: Program<'_>) -> bool {
        match program {
            Program::Bin(name) => self.kind == "bin" && self.name == name,
            Program::Example(name) => self.kind == "example" && self.name == name,
        }
    }
}

/// One line of cargo's messages: a program, if it is about one.
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
    // Messages of other kinds, and libraries (whose `executable` is null), do not fit and are passed over.
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
        assert!(artefact.is(Program::Bin("crashtrace")));
        // An example of the same name is another program.
        assert!(!artefact.is(Program::Example("crashtrace")));
    }

    #[test]
    fn passes_over_everything_else() {
        let library = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"crashtrace"},"executable":null}"#;
        for line in [library, r#"{"reason":"build-finished","success":true}"#, "not json", ""] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
