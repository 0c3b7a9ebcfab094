//! `cargo xtask krew`: the program as a plugin of kubectl, for krew: an archive for each architecture, and the manifest with their
//! checksums. The same commit gives the same archives.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::arch::Arch;
use crate::release::{self, ARCHITECTURES, PROGRAM, VERSION};
use crate::{exec, files};

/// Build the archives and the manifest with which krew installs `kubectl crashtrace`, and print the manifest's path.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the archives will be: each is at this address, a slash, and its file name
    #[arg(long, value_name = "ADDRESS")]
    uri: String,
    /// The plugin's page [default: none]
    #[arg(long, value_name = "ADDRESS")]
    homepage: Option<String>,
}

/// An archive, as the manifest tells of it.
struct Archive {
    arch: Arch,
    /// Its file name.
    name: String,
    sha256: String,
}

/// `cargo xtask krew`.
pub(crate) fn run(args: &Args) -> Result<()> {
    for address in [Some(&args.uri), args.homepage.as_ref()].into_iter().flatten() {
        ensure!(is_address(address), "`{address}` is no address: https://, and no spaces");
    }
    let dir = files::target_dir().join("krew");
    files::remove_dir(&dir)?;
    let time = release::time()?;
    let created = release::written(time)?;
    let mut archives = Vec::new();
    for arch in ARCHITECTURES {
        let files = release::files(files::root(), arch, &created)?;
        archives.push(pack(&files, arch, time, &dir)?);
    }
    let path = dir.join(format!("{PROGRAM}.yaml"));
    let text = manifest(&args.uri, args.homepage.as_deref(), &archives);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("xtask: put these archives at {}:", args.uri);
    for archive in &archives {
        eprintln!("xtask:   {}", dir.join(&archive.name).display());
    }
    println!("{}", path.display());
    Ok(())
}

/// Safe in the manifest without quotes.
fn is_address(text: &str) -> bool {
    text.starts_with("https://")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/%@+=".contains(&byte))
}

/// Packs the files for an architecture into an archive in `dir`, which is the same whenever and by whomever it is packed.
fn pack(files: &[release::File<'_>], arch: Arch, time: u64, dir: &Path) -> Result<Archive> {
    let laid_out = dir.join("files").join(arch.debian());
    release::lay_out(files, &laid_out)?;
    let name = format!("{PROGRAM}-{VERSION}-linux-{}.tar.gz", arch.debian());
    let tar: PathBuf = dir.join(name.trim_end_matches(".gz"));
    let mut command = Command::new("tar");
    command.args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    command.arg(format!("--mtime=@{time}")).arg("--file").arg(&tar).arg("--directory").arg(&laid_out);
    let mut names: Vec<_> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    names.dedup();
    exec::run(command.args(names))?;
    // Without its name and time.
    let mut command = Command::new("gzip");
    exec::run(command.args(["--best", "--no-name", "--force"]).arg(&tar))?;
    let mut command = Command::new("sha256sum");
    let said = exec::output(command.arg("--binary").arg(dir.join(&name)))?;
    let sha256 = said.split(' ').next().unwrap_or_default().to_owned();
    Ok(Archive { arch, name, sha256 })
}

/// krew's manifest: `krew.googlecontainertools.github.com/v1alpha2`.
fn manifest(uri: &str, homepage: Option<&str>, archives: &[Archive]) -> String {
    let homepage = homepage.map_or_else(String::new, |it| format!("  homepage: {it}\n"));
    let mut text = format!(
        "apiVersion: krew.googlecontainertools.github.com/v1alpha2\n\
         kind: Plugin\n\
         metadata:\n  \
           name: {PROGRAM}\n\
         spec:\n  \
           version: v{VERSION}\n\
         {homepage}  \
           shortDescription: Says why a container died\n  \
           description: |\n    \
             Reads what the kernel said about the end of a container, an OOM kill or a failed allocation:\n    \
             `kubectl crashtrace replay FILE` makes reports from a recording of `watch --record`, on any machine;\n    \
             `kubectl crashtrace watch` and `doctor` are about the machine on which they run.\n  \
           caveats: |\n    \
             `watch` and `doctor` need root. To watch the nodes of a cluster, install the DaemonSet: its manifests come\n    \
             with the sources.\n  \
           platforms:\n"
    );
    let uri = uri.trim_end_matches('/');
    for Archive { arch, name, sha256 } in archives {
        write!(
            text,
            "    - selector:\n        \
                   matchLabels:\n          \
                     os: linux\n          \
                     arch: {}\n      \
                 uri: {uri}/{name}\n      \
                 sha256: {sha256}\n      \
                 files:\n        \
                   - from: {PROGRAM}\n          \
                     to: .\n        \
                   - from: licenses/*\n          \
                     to: licenses\n        \
                   - from: sbom.cdx.json\n          \
                     to: .\n      \
                 bin: {PROGRAM}\n",
            arch.debian()
        )
        .expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests;
