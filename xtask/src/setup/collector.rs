//! The collector of logs that the tests take crashtrace's stream through: Debian's rsyslog.
//!
//! Unpacked and not installed. Its package would start a service that reads and writes the machine's own logs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::exec;

/// Debian's packages of it that a small Debian has not: the daemon and three libraries.
const PACKAGES: [&str; 4] = ["rsyslog", "libestr0", "libfastjson4", "liblognorm5"];

/// Unpacks it into `target/tools/rsyslog`, where it is missing.
pub(crate) fn ensure() -> Result<()> {
    let tools = exec::target_dir().join("tools");
    let root = tools.join("rsyslog");
    if answers(&root) {
        return Ok(());
    }
    let _lock = exec::lock(&tools.join("setup.lock"))?;
    if answers(&root) {
        return Ok(()); // Another xtask did it while this one waited.
    }
    eprintln!("xtask: unpacking Debian's {} in {}", PACKAGES.join(" "), root.display());
    let packages = tools.join("rsyslog.packages");
    for folder in [&root, &packages] {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // The package lists may be missing or stale, so a failure is met with fresh ones before it counts.
    if download(&packages).is_err() {
        super::apt_get(&["update"]).and_then(|()| download(&packages)).context("this needs Debian's apt")?;
    }
    for package in fs::read_dir(&packages)? {
        exec::run(Command::new("dpkg-deb").arg("--extract").arg(package?.path()).arg(&root))?;
    }
    fs::remove_dir_all(&packages).with_context(|| format!("cannot remove {}", packages.display()))?;
    if !answers(&root) {
        bail!(
            "rsyslogd in {} does not answer `-v`: `ldd` says which library it lacks, and apt has it",
            root.display()
        );
    }
    Ok(())
}

fn download(into: &Path) -> Result<()> {
    exec::run(Command::new("apt-get").arg("download").args(PACKAGES).current_dir(into))
}

fn answers(root: &Path) -> bool {
    let libraries = fs::read_dir(root.join("usr/lib")).into_iter().flatten().flatten();
    let paths = libraries.map(|folder| folder.path());
    let Ok(paths) = std::env::join_paths(paths) else { return false };
    let mut command = Command::new(root.join("usr/sbin/rsyslogd"));
    exec::output(command.arg("-v").env("LD_LIBRARY_PATH", paths)).is_ok()
}
