//! The image that sandbox and containers are made from: this machine's busybox, as an OCI archive.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::runtime::Runtime;

/// Its name.
pub const NAME: &str = "localhost/crashtrace-test:1";
/// Debian's packages have it here, the static one and the other.
const BUSYBOX: &str = "/bin/busybox";
/// The commands in it.
const APPLETS: [&str; 3] = ["sh", "sleep", "dd"];

/// Builds it and hands it to containerd.
pub fn import(runtime: &Runtime) -> Result<()> {
    let files = runtime.folder("image/files")?;
    let programs = runtime.folder("image/files/bin")?;
    let archive = runtime.folder("image/archive")?;
    let blobs = runtime.folder("image/archive/blobs/sha256")?;
    fs::copy(BUSYBOX, programs.join("busybox"))
        .context("there is no /bin/busybox (`cargo xtask setup --runtime` installs it)")?;
    for applet in APPLETS {
        symlink("busybox", programs.join(applet))?;
    }
    for library in libraries(Path::new(BUSYBOX)) {
        let within = files.join(library.trim_start_matches('/'));
        fs::create_dir_all(within.parent().context("it has a parent")?)?;
        fs::copy(library, within)?;
    }
    let layer = runtime.dir.join("image/layer.tar");
    tar(&files, &layer)?;
    let layer = blob(&blobs, &fs::read(&layer)?, "application/vnd.oci.image.layer.v1.tar")?;
    let processor = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = json!({
        "architecture": processor,
        "os": "linux",
        "config": { "Entrypoint": ["/bin/sleep", "1000000"] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(&blobs, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json")?;
    let of = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": of, "config": config, "layers": [layer] });
    let mut manifest = blob(&blobs, manifest.to_string().as_bytes(), of)?;
    manifest["annotations"] = json!({ "io.containerd.image.name": NAME });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(archive.join("index.json"), index.to_string())?;
    fs::write(archive.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    let image = runtime.dir.join("image.tar");
    tar(&archive, &image)?;
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(&runtime.socket).args(["--namespace", "k8s.io", "images", "import"]);
    run(ctr.args(["--snapshotter", "native"]).arg(&image))?;
    Ok(())
}

/// The libraries of a program, by their paths; a static one has none.
pub fn libraries(program: &Path) -> Vec<String> {
    // It fails for a static program.
    let said = run(Command::new("ldd").arg(program)).unwrap_or_default();
    said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

/// Writes a blob, and gives its descriptor.
fn blob(blobs: &Path, bytes: &[u8], of: &str) -> Result<Value> {
    let file = blobs.join("new");
    fs::write(&file, bytes)?;
    let said = run(Command::new("sha256sum").arg(&file))?;
    let digest = said.split_whitespace().next().context("sha256sum says nothing")?;
    fs::rename(&file, blobs.join(digest))?;
    Ok(json!({ "mediaType": of, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
}

fn tar(dir: &Path, into: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "-C"]).arg(dir).arg("-cf").arg(into).arg(".");
    run(&mut tar).map(drop)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
