//! Makes the image from the Dockerfile, with buildah: without a daemon, without a network, and the same files give the same digest
//! (of one version of buildah, whose compressor it is).

use crate::{exec, files};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an image is, besides its files.
pub(super) struct Facts<'a> {
    /// Its name with its tag, for who imports it.
    pub(super) name: &'a str,
    /// Annotations, which are labels too.
    pub(super) annotations: &'a BTreeMap<&'static str, String>,
    /// The age of all files, in seconds since 1970.
    pub(super) time: u64,
}

/// Makes an OCI archive of an image for these architectures, whose files lie in folders of this one by Debian's names of them, and
/// gives the image's digest: that of its index.
pub(super) fn archive(
    facts: &Facts<'_>,
    files: &Path,
    architectures: &[&str],
    output: &Path,
) -> Result<String> {
    let storage = Storage::new(files.with_extension("storage"))?;
    // One after another: of several at once the index has them in the order in which they happen to end.
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
    // It adds to an archive that is there.
    if output.exists() {
        fs::remove_file(output).with_context(|| format!("cannot replace {}", output.display()))?;
    }
    let mut push = storage.buildah();
    push.args(["manifest", "push", "--quiet", "--all", "--digestfile"]).arg(&digest).arg(facts.name);
    exec::output(push.arg(format!("oci-archive:{}:{}", output.display(), facts.name)))?;
    let digest = fs::read_to_string(&digest).context("buildah told no digest")?;
    Ok(digest.trim_end().to_owned())
}

/// A store of images of its own, which goes when this is dropped: what lies in the machine's has no part in it.
struct Storage(PathBuf);

impl Storage {
    fn new(dir: PathBuf) -> Result<Self> {
        files::remove_dir(&dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir))
    }

    /// The program; vfs works on every file system.
    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.0.join("root")).arg("--runroot").arg(self.0.join("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // The next one begins with that.
    }
}
