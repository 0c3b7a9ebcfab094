//! A containerd for one test: configuration, folders, socket and images in one folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use crashtrace::pods::cri;
use rustix::process::{Pid, Signal, kill_process};

use super::image;
use super::remains::Remains;
use crate::cleanup;

/// How long it may take to begin or to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// The folder of shims' sockets, which is built into containerd.
const SHIM_SOCKETS: [&str; 2] = ["/run/containerd/s", "/run/containerd"];

/// Longer lines of a container's output are split in its log file. This is containerd's default.
pub const LOG_LINE_BYTES: usize = 16 * 1024;

/// A running containerd.
#[derive(Debug)]
pub struct Runtime {
    /// Its folder.
    pub dir: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    log_line_bytes: usize,
    child: Child,
}

impl Runtime {
    /// Starts one and gives it the image that all containers are made from.
    pub async fn start() -> Result<Self> {
        Self::start_with(LOG_LINE_BYTES).await
    }

    /// The same with lines that are split at this length.
    pub async fn start_with(log_line_bytes: usize) -> Result<Self> {
        let it = Self::spawn(log_line_bytes)?;
        it.answers().await?;
        image::import(&it)?;
        Ok(it)
    }

    fn spawn(log_line_bytes: usize) -> Result<Self> {
        let mut known = cleanup::lock()?;
        // The pods' UIDs have the number too.
        let dir = std::env::temp_dir().join(format!("ct-containerd-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let folders = SHIM_SOCKETS.iter().map(PathBuf::from).filter(|folder| !folder.exists()).collect();
        let mut remains = Remains { dir: dir.clone(), containerd: None, cgroups: Vec::new(), folders };
        match containerd(&dir, log_line_bytes) {
            Ok(child) => {
                remains.containerd = Some(child.id());
                known.runtimes.push(remains);
                Ok(Self { socket: socket(&dir), dir, log_line_bytes, child })
            }
            Err(error) => {
                remains.remove();
                Err(error)
            }
        }
    }

    async fn answers(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match cri::list(&self.socket, PATIENCE).await {
                Ok(_) => return Ok(()),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Err(problem) => {
                    let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                    bail!("containerd gives no list: {problem}\n{log}");
                }
            }
        }
    }

    /// The name of its folder.
    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A separate folder for something beside containerd.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Has these trees of cgroups removed in the end.
    pub fn owns(&self, trees: Vec<PathBuf>, made: Vec<PathBuf>) -> Result<()> {
        self.remember(|it| {
            it.cgroups.extend(trees);
            it.folders.extend(made);
        })
    }

    /// Sends containerd a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("it has a pid")?;
        kill_process(pid, signal).context("it is there")
    }

    /// Stops containerd: it neither answers nor ends until [`Signal::CONT`]. Its threads stop one after another, and a thread that
    /// still runs may answer, so this waits for the last.
    pub fn hold(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + PATIENCE;
        while !all_stopped(self.child.id())? {
            if Instant::now() > deadline {
                bail!("containerd does not stop on SIGSTOP");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops containerd as a service manager would; shims and containers live on, as they do then.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("containerd does not end on SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // From here on another process may have this pid.
        self.remember(|it| it.containerd = None)
    }

    /// Starts it again after its end.
    pub async fn start_again(&mut self) -> Result<()> {
        self.child = containerd(&self.dir, self.log_line_bytes)?;
        let pid = self.child.id();
        self.remember(|it| it.containerd = Some(pid))?;
        self.answers().await
    }

    fn remember(&self, what: impl FnOnce(&mut Remains)) -> Result<()> {
        let mut known = cleanup::lock()?;
        what(known.runtimes.iter_mut().find(|it| it.dir == self.dir).context("it is on the list")?);
        Ok(())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(it) = forget(&self.dir) {
            it.remove();
        }
        let _ = self.child.wait(); // It was waited for.
    }
}

/// Takes a runtime off the list.
fn forget(dir: &Path) -> Option<Remains> {
    let mut known = cleanup::lock().ok()?;
    let at = known.runtimes.iter().position(|it| it.dir == dir)?;
    Some(known.runtimes.remove(at))
}

/// Whether each thread of a process is stopped by a signal.
fn all_stopped(pid: u32) -> Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has just ended is no answer: the next look has it no more.
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        if !status.lines().any(|line| line.starts_with("State:\tT")) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn containerd(dir: &Path, log_line_bytes: usize) -> Result<Child> {
    let config = dir.join("config.toml");
    fs::write(&config, configuration(dir, log_line_bytes))?;
    let mut command = Command::new("containerd");
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::create(dir.join("log"))?);
    command.spawn().context("cannot start containerd (`cargo xtask setup --runtime` installs it)")
}

/// As its usual one: in a folder that can be handed into a container.
fn socket(dir: &Path) -> PathBuf {
    dir.join("run/containerd.sock")
}

/// containerd's configuration. Version 2 is that of 1.6, and newer ones read it.
fn configuration(dir: &Path, log_line_bytes: usize) -> String {
    let socket = socket(dir).display().to_string();
    let dir = dir.display();
    let sandbox = image::NAME;
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox}"
max_container_log_line_size = {log_line_bytes}
# Root of a container may not lower it below its own.
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{dir}/cni"
conf_dir = "{dir}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
# A file system of its own for each container, by copying: works on any file system.
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{dir}/runc"
SystemdCgroup = false
"#
    )
}
