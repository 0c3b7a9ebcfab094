//! `cargo xtask image`: the agent's image for two architectures, with the static program, its licences and its SBOM only. It needs no
//! daemon, and no network but for building the program; the same commit gives the same image.

use crate::arch::Arch;
use crate::release::{self, ARCHITECTURES, PROGRAM, VERSION, git};
use crate::{exec, files, toolchain, tools};
use anyhow::{Context as _, Result, ensure};
use buildah::Facts;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

mod buildah;

/// The name of an image without a registry. deploy/ has it too.
const NAME: &str = "localhost/crashtrace";

/// Build the agent's image for amd64 and arm64, as an OCI archive, and print its path.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the archive here [default: target/image/crashtrace-VERSION.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The image's name in a registry, as registry.example/crashtrace, for target/image/kustomization.yaml and
    /// target/image/values.yaml (Helm), which pin the manifests to this image [default: localhost/crashtrace]
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
    for (name, text) in [
        ("kustomization.yaml", pin(&args.registry, &digest)),
        ("values.yaml", helm_values(&args.registry, &digest)),
    ] {
        let pinned = dir.join(name);
        fs::write(&pinned, text).with_context(|| format!("cannot write {}", pinned.display()))?;
        eprintln!("xtask: {} pins the manifests to this image", pinned.display());
    }
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
    let time = release::time()?;
    let created = release::written(time)?;
    let files = dir.join("files");
    files::remove_dir(&files)?;
    for arch in ARCHITECTURES {
        release::lay_out(&release::files(root, arch, &created)?, &files.join(arch.debian()))?;
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

/// The same as values of the Helm chart.
fn helm_values(registry: &str, digest: &str) -> String {
    format!(
        "# Pins crashtrace {VERSION} to this build: give this file to `helm install --values`.\n\
         image:\n\
         {0:2}repository: {registry}\n\
         {0:2}digest: {digest}\n",
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

#[cfg(test)]
mod tests;
