//! Pods as kubelet makes them: cgroup first, then the sandbox, then containers with kubelet's labels.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use crashtrace::pods::cri::grpc::{Answer, Connection};
use crashtrace::pods::cri::message::SERVICE;
use prost::Message;

use super::image;
use super::message::{
    CONTAINER, ContainerConfig, ContainerMetadata, ContainerRequest, ContainerStatus,
    ContainerStatusResponse, CreateContainerRequest, CreateContainerResponse, ExecSyncRequest,
    ExecSyncResponse, ImageSpec, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, NODE,
    NamespaceOption, Nothing, PodSandboxConfig, PodSandboxMetadata, RunPodSandboxRequest,
    RunPodSandboxResponse, StopContainerRequest,
};
use super::remains;
use super::runtime::Runtime;
use crate::cgroup::{Hierarchy, kills};

/// How long containerd may take for a call.
const PATIENCE: Duration = Duration::from_mins(1);
/// Where containers' output goes, in the runtime's folder.
pub const LOGS: &str = "pods";
/// Of a Burstable container.
const OOM_SCORE_ADJ: i64 = 900;
/// The node's network: there is no CNI here. Separate PIDs.
pub const NAMESPACES: NamespaceOption = NamespaceOption { network: NODE, pid: CONTAINER };

/// The program of a container, once it is told to go.
#[derive(Clone, Copy, Debug)]
pub enum Script {
    /// Nothing.
    Waits,
    /// PID 1 takes more memory than any limit here.
    HogAsPid1,
    /// A child of PID 1 does, and PID 1 lives on.
    HogAsChild,
    /// It runs this.
    Runs(&'static str),
}

impl Script {
    fn text(self) -> String {
        // One block of that size, touched from its beginning on.
        let hog = "dd if=/dev/zero of=/dev/null bs=512M count=1";
        let then = match self {
            Self::Waits => "exec sleep 1000000".to_owned(),
            Self::HogAsPid1 => format!("exec {hog}"),
            Self::HogAsChild => format!("{hog}; exec sleep 1000000"),
            Self::Runs(script) => script.to_owned(),
        };
        format!("until [ -e /signal/go ]; do sleep 0.05; done; {then}")
    }
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    pub namespace: &'static str,
    pub name: &'static str,
    pub uid: String,
    pub sandbox_id: String,
    config: PodSandboxConfig,
    socket: PathBuf,
    signals: PathBuf,
    hierarchy: Hierarchy,
}

/// A container in it, running.
#[derive(Debug)]
pub struct Container {
    pub id: String,
    pub name: &'static str,
    pub attempt: u32,
    pub limit_bytes: u64,
    signals: PathBuf,
    socket: PathBuf,
    cgroup: PathBuf,
    hierarchy: Hierarchy,
}

impl Pod {
    /// Makes one, with a limit at pod level, and its sandbox.
    pub async fn run(
        runtime: &Runtime,
        namespace: &'static str,
        name: &'static str,
        limit_bytes: u64,
    ) -> Result<Self> {
        Self::run_as(runtime, namespace, name, limit_bytes, false).await
    }

    /// The same, whose containers may be privileged.
    pub async fn run_as(
        runtime: &Runtime,
        namespace: &'static str,
        name: &'static str,
        limit_bytes: u64,
        privileged: bool,
    ) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let uid = format!("{number:08x}-0d3e-4b6a-9c57{}", remains::suffix(&runtime.name()));
        let hierarchy = Hierarchy::find()?;
        let parent = format!("/kubepods/burstable/pod{uid}");
        make_cgroup(runtime, &hierarchy, &parent, limit_bytes)?;
        let labels = [("pod.name", name), ("pod.namespace", namespace), ("pod.uid", &uid)];
        let logs = format!("{LOGS}/{namespace}_{name}_{uid}");
        let security = LinuxSandboxSecurityContext { namespace_options: Some(NAMESPACES), privileged };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: uid.clone(),
                namespace: namespace.to_owned(),
                attempt: 0,
            }),
            log_directory: runtime.folder(&logs)?.display().to_string(),
            labels: labels.into_iter().map(label).collect(),
            linux: Some(LinuxPodSandboxConfig { cgroup_parent: parent, security_context: Some(security) }),
        };
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let answer: RunPodSandboxResponse = call(&runtime.socket, "RunPodSandbox", &request).await?;
        let (socket, signals) = (runtime.socket.clone(), runtime.folder(&format!("signals/{name}"))?);
        Ok(Self {
            namespace,
            name,
            uid,
            sandbox_id: answer.pod_sandbox_id,
            config,
            socket,
            signals,
            hierarchy,
        })
    }

    /// The path of its cgroup.
    pub fn cgroup_path(&self) -> String {
        format!("/kubepods/burstable/pod{}", self.uid)
    }

    /// Makes a container in it and starts it; it waits for its signal.
    pub async fn container(
        &self,
        name: &'static str,
        attempt: u32,
        limit_bytes: u64,
        script: Script,
    ) -> Result<Container> {
        let signals = self.signals.join(format!("{name}-{attempt}"));
        fs::create_dir(&signals)?;
        let mut labels = self.config.labels.clone();
        labels.extend([label(("container.name", name))]);
        let memory_limit_in_bytes = i64::try_from(limit_bytes)?;
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt }),
            image: Some(ImageSpec { image: image::NAME.to_owned(), ..ImageSpec::default() }),
            command: ["/bin/sh", "-c", &script.text()].map(str::to_owned).to_vec(),
            mounts: vec![Mount {
                container_path: "/signal".to_owned(),
                host_path: signals.display().to_string(),
                readonly: true,
                propagation: 0,
            }],
            labels,
            log_path: format!("{name}/{attempt}.log"),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources {
                    memory_limit_in_bytes,
                    oom_score_adj: OOM_SCORE_ADJ,
                }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(NAMESPACES),
                    ..LinuxContainerSecurityContext::default()
                }),
            }),
            ..ContainerConfig::default()
        };
        let id = self.start(config).await?;
        let (socket, hierarchy) = (self.socket.clone(), self.hierarchy.clone());
        let cgroup = self.cgroup_of(&id);
        Ok(Container { id, name, attempt, limit_bytes, signals, socket, cgroup, hierarchy })
    }

    /// Makes a container in it by this configuration, starts it, and gives its id.
    pub async fn start(&self, config: ContainerConfig) -> Result<String> {
        // The runtime makes the file, and kubelet its folder.
        fs::create_dir_all(self.logs().join(&config.log_path).parent().context("a file lies in a folder")?)?;
        let request = CreateContainerRequest {
            pod_sandbox_id: self.sandbox_id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let answer: CreateContainerResponse = call(&self.socket, "CreateContainer", &request).await?;
        let id = answer.container_id;
        let request = ContainerRequest { container_id: id.clone() };
        let Nothing {} = call(&self.socket, "StartContainer", &request).await?;
        Ok(id)
    }

    /// Ends what is left of it, its sandbox last.
    pub async fn stop(&self) -> Result<()> {
        let request = ContainerRequest { container_id: self.sandbox_id.clone() };
        let Nothing {} = call(&self.socket, "StopPodSandbox", &request).await?;
        Ok(())
    }

    /// Where its container's cgroup is.
    pub fn cgroup_of(&self, id: &str) -> PathBuf {
        self.hierarchy.mount.join(&self.cgroup_path()[1..]).join(id)
    }

    /// Where the output of its containers goes.
    pub fn logs(&self) -> &Path {
        Path::new(&self.config.log_directory)
    }
}

impl Container {
    /// The folder that it has as /signal.
    pub fn folder(&self) -> &Path {
        &self.signals
    }

    /// Lets it go on.
    pub fn go(&self) {
        fs::write(self.signals.join("go"), "").expect("the signal can be given");
    }

    /// How many kills the kernel has counted in it. Only while it exists.
    pub fn kills(&self) -> Option<u64> {
        kills(&self.cgroup, self.hierarchy.version).expect("its cgroup is there")
    }

    /// Removes it from the runtime. It must have ended.
    pub async fn remove(&self) -> Result<()> {
        let request = ContainerRequest { container_id: self.id.clone() };
        let Nothing {} = call(&self.socket, "RemoveContainer", &request).await?;
        Ok(())
    }

    /// Runs a command in it, as an exec probe does, and gives its exit code. An error if it takes longer.
    pub async fn exec(&self, command: &[&str], seconds: i64) -> Result<i32> {
        let request = ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: seconds,
        };
        let answer: ExecSyncResponse = call(&self.socket, "ExecSync", &request).await?;
        Ok(answer.exit_code)
    }

    /// Ends it as kubelet does: SIGTERM, and SIGKILL after so many seconds.
    pub async fn stop(&self, grace_seconds: i64) -> Result<()> {
        let request = StopContainerRequest { container_id: self.id.clone(), timeout: grace_seconds };
        let Nothing {} = call(&self.socket, "StopContainer", &request).await?;
        Ok(())
    }

    /// How it ended, in the runtime's words.
    pub async fn status(&self) -> Result<ContainerStatus> {
        let request = ContainerRequest { container_id: self.id.clone() };
        let answer: ContainerStatusResponse = call(&self.socket, "ContainerStatus", &request).await?;
        answer.status.context("a status")
    }
}

/// The pod's cgroup as kubelet makes it; runc makes those of the other controllers, and the containers'.
fn make_cgroup(runtime: &Runtime, hierarchy: &Hierarchy, parent: &str, limit_bytes: u64) -> Result<()> {
    let (mut trees, mut made) = (Vec::new(), Vec::new());
    for mount in remains::hierarchies() {
        trees.push(mount.join(&parent[1..]));
        // Innermost first.
        let above = ["kubepods/burstable", "kubepods"].map(|name| mount.join(name));
        made.extend(above.into_iter().filter(|dir| !dir.exists()));
    }
    runtime.owns(trees, made)?;
    let dir = hierarchy.mount.join(&parent[1..]);
    let qos = dir.parent().context("a pod is in a class")?;
    let missing = [qos.parent().context("a class is in kubepods")?, qos].map(Path::to_owned);
    for dir in missing.iter().filter(|dir| !dir.exists()).chain([&dir]) {
        hierarchy.create(dir)?;
    }
    hierarchy.cgroup(dir)?.set_limit(limit_bytes)
}

fn label((name, value): (&str, &str)) -> (String, String) {
    (format!("io.kubernetes.{name}"), value.to_owned())
}

pub async fn call<Q: Message, A: Message + Default>(socket: &Path, method: &str, question: &Q) -> Result<A> {
    let mut whole = Whole(Vec::new());
    let answer = async {
        let mut connection = Connection::open(socket).await?;
        connection.unary(&format!("/{SERVICE}/{method}"), question, &mut whole).await
    };
    let answer =
        tokio::time::timeout(PATIENCE, answer).await.with_context(|| format!("{method} takes too long"))?;
    answer.with_context(|| method.to_owned())?;
    A::decode(whole.0.as_slice()).with_context(|| method.to_owned())
}

/// An answer that is collected as a whole.
struct Whole(Vec<u8>);

impl Answer for Whole {
    fn begin(&mut self, _length: u64) {}

    fn take(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> std::result::Result<(), String> {
        Ok(())
    }
}
