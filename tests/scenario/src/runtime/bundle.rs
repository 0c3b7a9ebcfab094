//! Bundles for runc: a folder with its configuration of a container. The file system of all of them is one folder with this program.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Pids;
use crate::deployed::mount_controllers;
use crashtrace_test_support::cgroup::{Cgroup, Hierarchy, Version, remove as remove_cgroup};

/// Beside the program: it is linked, not copied.
const ROOT: &str = "/scenario-root";
/// The program in containers.
pub(super) const PROGRAM: &str = "/scenario";
/// Where it is in guests.
const RUNC: &str = "/bin/runc";
/// For a pid namespace in a container, for one.
const CAPABILITIES: [&str; 3] = ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_KILL"];

/// Makes the file system. Returns whether there is a runc at all.
pub(super) fn prepare() -> Result<bool> {
    if !Path::new(RUNC).exists() {
        return Ok(false);
    }
    let proc = Path::new(ROOT).join("proc");
    fs::create_dir_all(&proc).with_context(|| format!("cannot create {}", proc.display()))?;
    let program = Path::new(ROOT).join(PROGRAM.trim_start_matches('/'));
    if !program.exists() {
        let own = std::env::current_exe().context("cannot find this program")?;
        fs::hard_link(own, &program).with_context(|| format!("cannot link {}", program.display()))?;
    }
    if Hierarchy::find()?.version == Version::V1 {
        mount_controllers()?;
    }
    Ok(true)
}

/// Writes the configuration of a container.
pub(super) fn write(dir: &Path, cgroup: &Cgroup, pids: Pids, command: &[String]) -> Result<()> {
    let mut namespaces = vec![json!({ "type": "mount" }), json!({ "type": "ipc" })];
    match pids {
        Pids::New => namespaces.push(json!({ "type": "pid" })),
        Pids::Host => {}
        Pids::Of(pid) => namespaces.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") })),
    }
    let args: Vec<_> = std::iter::once(PROGRAM.to_owned()).chain(command.iter().cloned()).collect();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": args, "env": ["PATH=/"], "cwd": "/",
            "oomScoreAdj": 0,
            "capabilities": { "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES },
        },
        "root": { "path": ROOT, "readonly": true },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": {
            "cgroupsPath": String::from_utf8_lossy(&cgroup.path),
            "namespaces": namespaces,
            "resources": { "devices": [{ "allow": true, "access": "rwm" }] },
        },
    });
    fs::create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    fs::write(dir.join("config.json"), config.to_string()).context("cannot write config.json")
}

/// Removes a container, and its cgroups in hierarchies that the scenario does not know.
pub(super) fn remove(id: &str, cgroup: &Cgroup) -> Result<()> {
    let output =
        Command::new("runc").args(["delete", "--force", id]).output().context("cannot start runc")?;
    ensure!(output.status.success(), "runc delete: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    let path = String::from_utf8_lossy(&cgroup.path).into_owned();
    let tree = path.trim_start_matches('/').split('/').next().context("it has a path")?;
    for controller in ["devices", "cpu"] {
        let hierarchy = Path::new("/sys/fs/cgroup").join(controller);
        if hierarchy.is_dir() {
            remove_cgroup(&hierarchy.join(tree))?;
        }
    }
    Ok(())
}
