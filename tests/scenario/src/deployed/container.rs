//! A container of the agent that runc makes of a manifest, on a node that is a guest.
//!
//! This does kubelet's and containerd's part: folders of the pod, the cgroups above the container, the sandbox's
//! namespaces. The rest is containerd's configuration for runc of such a pod (`tests/support/src/deploy/oci.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PodSpec;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crashtrace_test_support::agent::{self, Agent};
use crashtrace_test_support::cgroup::{Hierarchy, Version, random_hex, remove};
use crashtrace_test_support::cleanup;
use crashtrace_test_support::deploy::needs::Form;
use crashtrace_test_support::deploy::oci::Recorded;

/// Where containers' folders are.
const FOLDER: &str = "/run/crashtrace-deployed";
/// Where runc keeps the state of running containers; it leaves the folder itself.
const RUNC: &str = "/run/runc";
/// The root of their file systems, beside the program: it is linked, not copied.
const ROOT: &str = "/crashtrace-root";
/// The tree of cgroups that they are in. Not the node's own `kubepods`, which scenarios make.
const CGROUPS: &str = "crashtrace-deployed";

/// The default of `RLIMIT_MEMLOCK` (`MLOCK_LIMIT`, 5.10).
const LOCKED_BYTES: u64 = 64 << 10;

/// The parts that containers are made of.
#[derive(Debug)]
pub struct Deployment {
    /// The manifests.
    manifests: PathBuf,
    pub hierarchy: Hierarchy,
}

impl Deployment {
    /// `manifests` has each form of deploy/, as kubectl renders it.
    pub fn new(manifests: &Path, crashtrace: &Path, hierarchy: &Hierarchy) -> Result<Self> {
        for dir in [ROOT, FOLDER, RUNC] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {dir}"))?;
        }
        let program = Path::new(ROOT).join("crashtrace");
        if !program.exists() {
            fs::hard_link(crashtrace, &program).with_context(|| format!("cannot link {ROOT}/crashtrace"))?;
        }
        if hierarchy.version == Version::V1 {
            mount_controllers()?;
        }
        Ok(Self { manifests: manifests.to_owned(), hierarchy: hierarchy.clone() })
    }

    /// The pod that a form of deploy/ has on each node.
    pub fn pod(&self, form: Form) -> Result<PodSpec> {
        let name = match form {
            Form::Privileged => "privileged.yaml",
            Form::Capabilities => "capabilities.yaml",
        };
        let path = self.manifests.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text).context(name)?;
        objects.retain(|object| object["kind"] == "DaemonSet");
        let set: DaemonSet = serde_json::from_value(objects.pop().context("there is no DaemonSet")?)?;
        set.spec.and_then(|spec| spec.template.spec).context("it has no pod")
    }

    /// A container of this pod, which does not run yet.
    pub fn container(&self, form: Form, pod: &PodSpec) -> Result<Container> {
        let id = random_hex()?;
        let dir = Path::new(FOLDER).join(&id[..12]);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut config = Recorded::of(form)?.config_of(pod)?;
        config["root"]["path"] = ROOT.into();
        config["linux"]["cgroupsPath"] =
            format!("/{CGROUPS}/kubepods/burstable/pod{}/{id}", &id[..32]).into();
        self.namespaces(&mut config["linux"]["namespaces"])?;
        // The kernel's own, which a runtime hands on. This process has raised its own by then: aya does so to look at maps.
        config["process"]["rlimits"] =
            json!([{ "type": "RLIMIT_MEMLOCK", "soft": LOCKED_BYTES, "hard": LOCKED_BYTES }]);
        let ours: Vec<_> = volumes(pod).map(|(_, at)| at).collect();
        files(&dir, &mut config["mounts"], &ours)?;
        for (host, _) in volumes(pod) {
            // `Directory`: kubelet makes none.
            ensure!(Path::new(host).is_dir(), "the node has no folder {host}");
        }
        fs::write(dir.join("config.json"), config.to_string()).context("cannot write config.json")?;
        Ok(Container { id, dir, config })
    }

    fn namespaces(&self, list: &mut Value) -> Result<()> {
        let list = list.as_array_mut().context("it has namespaces")?;
        // containerd gives a cgroup namespace on v2 only.
        list.retain(|it| it["type"] != "cgroup" || self.hierarchy.version == Version::V2);
        for namespace in list.iter_mut().filter_map(Value::as_object_mut) {
            // A new one in place of that of the pod's sandbox.
            namespace.shift_remove("path");
        }
        Ok(())
    }
}

/// The folders of the host that a pod has, and where.
pub fn volumes(pod: &PodSpec) -> impl Iterator<Item = (&str, &str)> {
    let mounts = pod.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.filter_map(|mount| {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
        Some((volume.host_path.as_ref()?.path.as_str(), mount.mount_path.as_str()))
    })
}

/// The files that kubelet and containerd make for each container: all mounts that are no volume of the manifest.
fn files(dir: &Path, mounts: &mut Value, volumes: &[&str]) -> Result<()> {
    for mount in mounts.as_array_mut().context("it has mounts")?.iter_mut().filter(|it| it["type"] == "bind")
    {
        let at = mount["destination"].as_str().context("it has a place")?.to_owned();
        if volumes.contains(&at.as_str()) {
            continue;
        }
        let file = dir.join(at.trim_start_matches('/').replace('/', "-"));
        if at == "/dev/shm" {
            fs::create_dir(&file)?;
        } else if at.ends_with("/serviceaccount") {
            fs::create_dir(&file)?;
            // An API server that is not there: nothing waits for it.
            let authority = rcgen::generate_simple_self_signed(["kubernetes".to_owned()])?;
            fs::write(file.join("ca.crt"), authority.cert.pem())?;
            fs::write(file.join("token"), "none")?;
        } else {
            fs::write(&file, "")?;
        }
        mount["source"] = json!(file);
    }
    Ok(())
}

/// Mounts two more controllers (v1), as each node has them. runc does not go without the first.
pub fn mount_controllers() -> Result<()> {
    ["devices", "cpu"].into_iter().try_for_each(mount_controller)
}

fn mount_controller(name: &str) -> Result<()> {
    let place = format!("/sys/fs/cgroup/{name}");
    if Path::new(&place).exists() {
        return Ok(());
    }
    fs::create_dir(&place).with_context(|| format!("cannot create {place}"))?;
    let output = Command::new("mount").args(["-t", "cgroup", "-o", name, "cgroup", &place]).output()?;
    ensure!(output.status.success(), "cannot mount {place}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A container. It is removed with all its parts when it is dropped.
#[derive(Debug)]
pub struct Container {
    id: String,
    dir: PathBuf,
    /// The configuration for runc.
    pub config: Value,
}

impl Container {
    /// Runs runc, which makes the container, hands signals on to it, waits for its end, and removes it.
    fn run(&self) -> Command {
        let mut command = Command::new("runc");
        // The guest's root is the kernel's first one, which pivot_root(2) cannot leave. A root that is mounted over it and
        // entered by chroot(2) looks the same.
        command.args(["run", "--no-pivot", "--bundle"]).arg(&self.dir).arg(&self.id);
        command
    }

    /// Runs its command to the end.
    pub fn output(&self) -> Result<Output> {
        self.run().stdin(Stdio::null()).output().context("cannot start runc")
    }

    /// Has it watch.
    pub fn spawn(&self, name: &str) -> Result<Agent> {
        Agent::spawn_command(self.run(), name, agent::Output::Json)
    }

    /// The process id of its first process.
    pub fn pid(&self) -> Result<u32> {
        let output = Command::new("runc").args(["state", &self.id]).output().context("cannot start runc")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let state: Value =
            serde_json::from_slice(&output.stdout).with_context(|| format!("runc state: {said}"))?;
        let pid = state["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        pid.with_context(|| format!("it has no process: {state}"))
    }

    /// Kills it, as kubelet does when its time to end is over.
    pub fn kill(&self) -> Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("it has a process")?;
        kill_process(pid, Signal::KILL).context("cannot kill it")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("scenario: cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// Removes the cgroups that kubelet would have made, and would remove.
pub fn remove_cgroups(hierarchy: &Hierarchy) -> Result<()> {
    let _known = cleanup::lock()?;
    let mut trees = vec![hierarchy.mount.join(CGROUPS)];
    if hierarchy.version == Version::V1 {
        trees.extend(["devices", "cpu"].map(|name| Path::new("/sys/fs/cgroup").join(name).join(CGROUPS)));
    }
    for tree in trees {
        remove(&tree)?;
    }
    Ok(())
}
