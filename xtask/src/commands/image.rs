//! `cargo xtask image`: the agent's image for two architectures, with the static program, its licences and its SBOM only. It needs no
//! daemon, and no network but for building the program; the same commit gives the same image.

use crate::arch::Arch;
use crate::packages::{self, Package};
use crate::{build, exec, files, toolchain, tools};
use anyhow::{Context as _, Result, ensure};
use buildah::Facts;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

mod buildah;
mod licences;
mod sbom;

/// The name of an image without a registry. deploy/ has it too.
const NAME: &str = "localhost/crashtrace";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The program's file, which is the entry point.
const PROGRAM: &str = "crashtrace";
/// Bound of the program's size: it is pulled onto every node, and its pages count against the agent's memory.
const PROGRAM_MAX_BYTES: u64 = 12_000_000;
const ARCHITECTURES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

/// Build the agent's image for amd64 and arm64, as an OCI archive, and print its path.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the archive here [default: target/image/crashtrace-VERSION.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The image's name in a registry, as registry.example/crashtrace, for target/image/kustomization.yaml, which pins the
    /// manifests to this image [default: localhost/crashtrace]
    #[arg(long, value_name = "NAME", default_value = NAME, hide_default_value = true)]
    registry: String,
    /// Build it again from scratch, in another folder, and fail if it is another image
    #[arg(long)]
    again: bool,
    /// Test it: assemble it again and fail if it is another image, run it under a real containerd, and measure the agent's memory
    #[arg(long)]
    test: bool,
}

/// `cargo xtask image`.
pub(crate) fn run(args: &Args) -> Result<()> {
    tools::ensure_buildah()?;
    let dir = files::target_dir().join("image");
    let output = args.output.clone().unwrap_or_else(|| dir.join(format!("{PROGRAM}-{VERSION}.tar")));
    let digest = make(files::root(), &dir, &output)?;
    eprintln!("xtask: {NAME}:{VERSION} is {digest}, for {}", ARCHITECTURES.map(Arch::debian).join(" and "));
    let pinned = dir.join("kustomization.yaml");
    fs::write(&pinned, pin(&args.registry, &digest))
        .with_context(|| format!("cannot write {}", pinned.display()))?;
    eprintln!("xtask: {} pins the manifests to this image", pinned.display());
    if args.again {
        let tree = copy_of_sources(&files::target_dir().join("image-again"))?;
        same(&digest, &tree)?;
        files::remove_dir(&tree)?;
    }
    if args.test {
        same(&digest, files::root())?;
        test(&output, &dir.join("files").join(Arch::of_this_machine()?.debian()).join(PROGRAM))?;
    }
    println!("{}", output.display());
    Ok(())
}

/// Makes the image from this workspace, by way of files in `dir`, and returns its digest.
fn make(root: &Path, dir: &Path, output: &Path) -> Result<String> {
    let time = time()?;
    let created = jiff::Timestamp::from_second(i64::try_from(time)?)?.to_string();
    let files = dir.join("files");
    files::remove_dir(&files)?;
    for arch in ARCHITECTURES {
        let program = program(root, arch)?;
        let mut all = vec![File { path: PROGRAM, mode: 0o755, contents: program }];
        all.extend(texts(&packages::of_agent(arch.target())?, &created)?);
        lay_out(&all, &files.join(arch.debian()))?;
    }
    let name = format!("{NAME}:{VERSION}");
    let facts = Facts { name: &name, annotations: &annotations(&created)?, time };
    buildah::archive(&facts, &files, &ARCHITECTURES.map(Arch::debian), output)
}

/// A kustomize component that replaces the image in deploy/ by this one, by its digest: a tag can be moved to another image.
fn pin(registry: &str, digest: &str) -> String {
    format!(
        "# Pins crashtrace {VERSION} to this build: list this folder in `components` of your own kustomization, or copy its `images`.\n\
         apiVersion: kustomize.config.k8s.io/v1alpha1\n\
         kind: Component\n\
         images:\n\
         {0:2}- name: {NAME}\n\
         {0:4}newName: {registry}\n\
         {0:4}digest: {digest}\n",
        ""
    )
}

/// Makes it again, from this workspace, and compares.
fn same(digest: &str, root: &Path) -> Result<()> {
    let dir = files::target_dir().join("image/again");
    let second = make(root, &dir, &dir.join("archive.tar"))?;
    ensure!(second == digest, "made again from {}, it is another image: {second}", root.display());
    eprintln!("xtask: made again from {}, it is the same image", root.display());
    files::remove_dir(&dir)
}

/// Runs the image under a private containerd, and measures the memory of its program.
fn test(archive: &Path, program: &Path) -> Result<()> {
    tools::ensure_runtime()?;
    for (test, variable, file) in
        [("daemonset", "CRASHTRACE_IMAGE", archive), ("named", "CRASHTRACE_BIN", program)]
    {
        let mut cargo = toolchain::command("cargo");
        cargo.args(["test", "--locked", "--package", "crashtrace", "--test", test, "--", "--ignored"]);
        exec::run(cargo.env(variable, file))?;
    }
    Ok(())
}

/// Copies the sources, tracked or new, to a folder in which nothing was built.
fn copy_of_sources(to: &Path) -> Result<PathBuf> {
    let failed = || format!("cannot copy the sources to {}", to.display());
    files::remove_dir(to)?;
    let listed = git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    for path in listed.split_terminator('\0').map(Path::new) {
        let file = to.join(path);
        fs::create_dir_all(file.parent().context("a file lies in a folder")?).with_context(failed)?;
        fs::copy(files::root().join(path), file).with_context(failed)?;
    }
    // bpf-linker, which `crashtrace/build.rs` looks for there.
    fs::create_dir(to.join("target")).with_context(failed)?;
    symlink(files::target_dir().join("tools"), to.join("target/tools")).with_context(failed)?;
    Ok(to.to_owned())
}

/// Annotations that OCI defines.
fn annotations(created: &str) -> Result<BTreeMap<&'static str, String>> {
    let mut all = BTreeMap::from([
        ("org.opencontainers.image.title", "crashtrace".to_owned()),
        ("org.opencontainers.image.description", "Says why a container died, as it happens".to_owned()),
        ("org.opencontainers.image.version", VERSION.to_owned()),
        ("org.opencontainers.image.licenses", "(MIT OR Apache-2.0) AND (MIT OR GPL-2.0-only)".to_owned()),
        ("org.opencontainers.image.created", created.to_owned()),
    ]);
    // Only a clean tree is what its commit names.
    if git(&["status", "--porcelain"])?.is_empty() {
        all.insert("org.opencontainers.image.revision", git(&["rev-parse", "HEAD"])?);
    }
    Ok(all)
}

/// The time of all files in the image: `SOURCE_DATE_EPOCH` if set, else that of the commit.
fn time() -> Result<u64> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds,
        Err(_) => git(&["log", "-1", "--format=%ct"])?,
    };
    seconds.parse().with_context(|| {
        format!("`{seconds}` is no number of seconds (SOURCE_DATE_EPOCH, or the time of the commit)")
    })
}

fn git(arguments: &[&str]) -> Result<String> {
    let said = exec::output(Command::new("git").args(arguments).current_dir(files::root()))?;
    Ok(said.trim().to_owned())
}

/// A file of the image.
struct File<'a> {
    path: &'a str,
    mode: u32,
    contents: Vec<u8>,
}

/// The program for this architecture.
fn program(root: &Path, arch: Arch) -> Result<Vec<u8>> {
    let paths = build::build_in(root, &[build::Program::Crashtrace], "release", Some(arch.target()))?;
    let program = paths.first().context("cargo built nothing")?;
    let contents = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    check_program(&contents, root).with_context(|| program.display().to_string())?;
    Ok(contents)
}

/// Licences and SBOM.
fn texts(packages: &[Package], created: &str) -> Result<Vec<File<'static>>> {
    let file = |path, contents: Vec<u8>| File { path, mode: 0o644, contents };
    let mut files = Vec::new();
    for path in ["licenses/LICENSE-APACHE", "licenses/LICENSE-GPL-2.0", "licenses/LICENSE-MIT"] {
        let name = path.trim_start_matches("licenses/");
        let contents = fs::read(files::root().join(name)).with_context(|| format!("cannot read {name}"))?;
        files.push(file(path, contents));
    }
    files.push(file("licenses/THIRD-PARTY", licences::third_party(packages)?.into_bytes()));
    files.push(file("licenses/RUST-LIBRARY.html", licences::rust_library()?));
    files.push(file("sbom.cdx.json", sbom::cyclonedx(packages, created)?.into_bytes()));
    Ok(files)
}

/// Checks the size, and that no path of this machine is in it: another machine would build another image.
fn check_program(program: &[u8], root: &Path) -> Result<()> {
    let size = program.len() as u64;
    ensure!(size <= PROGRAM_MAX_BYTES, "it has {size} bytes, more than {PROGRAM_MAX_BYTES}");
    for path in build::paths_of_this_machine(root)? {
        let path = path.display().to_string();
        let within = program.windows(path.len()).any(|bytes| bytes == path.as_bytes());
        ensure!(!within, "the path {path} is in it: built elsewhere it would be another program");
    }
    Ok(())
}

/// Writes files below a folder, readable for all whatever the umask.
fn lay_out(files: &[File<'_>], dir: &Path) -> Result<()> {
    let failed = || format!("cannot write to {}", dir.display());
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for file in files {
        let path = dir.join(file.path);
        let folder = path.parent().context("a file lies in a folder")?;
        fs::create_dir_all(folder).with_context(failed)?;
        mode(folder, 0o755).with_context(failed)?;
        fs::write(&path, &file.contents).with_context(failed)?;
        mode(&path, file.mode).with_context(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
