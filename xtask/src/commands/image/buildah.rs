//! Makes the image from the Dockerfile with buildah, without daemon and network. The same files give the same digest with the same
//! version of buildah, whose compressor it depends on.

use crate::{exec, files};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image apart from its files.
pub(super) struct Facts<'a> {
    /// Name and tag.
    pub(super) name: &'a str,
    /// Annotations and labels.
    pub(super) annotations: &'a BTreeMap<&'static str, String>,
    /// The time of all files, in seconds since 1970.
    pub(super) time: u64,
}

/// Makes an OCI archive of an image for these architectures, each with a folder in `files` of that name, and returns the digest of its
/// index.
pub(super) fn archive(
    facts: &Facts<'_>,
    files: &Path,
    architectures: &[&str],
    output: &Path,
) -> Result<String> {
    let storage = Storage::new(files.with_extension("storage"))?;
    // One after another: if built at once, their order in the index would be the order of their ends.
    for architecture in architectures {
        let mut build = storage.buildah();
        build.args(["build", "--quiet", "--no-cache", "--file"]).arg(files::root().join("deploy/Dockerfile"));
        // Its own version would be a label.
        build.args(["--identity-label=false", "--timestamp"]).arg(facts.time.to_string());
        build.args(["--platform", &format!("linux/{architecture}"), "--manifest", facts.name]);
        for (name, value) in facts.annotations {
            let pair = format!("{name}={value}");
            build.args(["--label", &pair, "--annotation", &pair]);
        }
        exec::output(build.arg(files))?;
    }
    let digest = storage.0.join("digest");
    // buildah would add to an existing archive.
    if output.exists() {
        fs::remove_file(output).with_context(|| format!("cannot replace {}", output.display()))?;
    }
    let mut push = storage.buildah();
    push.args(["manifest", "push", "--quiet", "--all", "--digestfile"]).arg(&digest).arg(facts.name);
    exec::output(push.arg(format!("oci-archive:{}:{}", output.display(), facts.name)))?;
    let digest = fs::read_to_string(&digest).context("no digest from buildah")?;
    Ok(digest.trim_end().to_owned())
}

/// A private image store, apart from the machine's. It is removed when this is dropped.
struct Storage(PathBuf);

impl Storage {
    fn new(dir: PathBuf) -> Result<Self> {
        files::remove_dir(&dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir))
    }

    /// With vfs, which works on every file system.
    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.0.join("root")).arg("--runroot").arg(self.0.join("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // `new` removes it too.
    }
}
