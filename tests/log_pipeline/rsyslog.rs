//! A running rsyslog with the configuration of `deploy/pipelines`, whose folders alone are others.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{cleanup, deploy};

/// How long it may take to do something on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running collector.
#[derive(Debug)]
pub(crate) struct Collector {
    child: Child,
    records: PathBuf,
    log: PathBuf,
}

impl Collector {
    /// Starts one that follows the log files of pods in this folder; its own files are in the other.
    pub(crate) fn start(logs: &Path, own: &Path) -> Result<Self> {
        let own = tempfile::tempdir_in(own)?.keep();
        let records = own.join("records");
        let mut configuration = fs::read_to_string(deploy().join("rsyslog.conf"))?;
        for (path, instead) in
            [("/var/log/pods", logs), ("/var/spool/rsyslog", &own), ("/var/log/crashtrace.json", &records)]
        {
            ensure!(configuration.matches(path).count() == 1, "{path} is not named once");
            configuration = configuration.replace(path, &instead.display().to_string());
        }
        let (file, log) = (own.join("rsyslog.conf"), own.join("log"));
        fs::write(&file, configuration)?;

        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/rsyslog/usr");
        // Named after the processor; its modules are below it.
        let mut folders = fs::read_dir(root.join("lib")).into_iter().flatten().flatten().map(|it| it.path());
        let libraries = folders.find(|folder| folder.join("rsyslog").is_dir());
        let libraries = libraries.context("there is no rsyslog (`cargo xtask setup --tools` unpacks it)")?;
        let mut command = Command::new(root.join("sbin/rsyslogd"));
        command.arg("-n").arg("-M").arg(libraries.join("rsyslog")).arg("-f").arg(&file);
        command.arg("-i").arg(own.join("pid")).env("LD_LIBRARY_PATH", &libraries).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut known = cleanup::lock()?;
        let child = command.spawn().context("rsyslogd")?;
        known.processes.push(child.id());
        Ok(Self { child, records, log })
    }

    /// Waits until it has written so many records.
    pub(crate) fn has(&mut self, count: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It makes the file with the first of them.
            let written = fs::read_to_string(&self.records).unwrap_or_default();
            if written.lines().count() >= count && written.ends_with('\n') {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("not {count} records:\n{written}\n{}", fs::read_to_string(&self.log)?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it as a service manager would, and gives all of its records.
    pub(crate) fn stop(mut self) -> Result<Vec<Value>> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("it has a pid")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        let said = fs::read_to_string(&self.log)?;
        ensure!(status.success() && said.is_empty(), "{status}:\n{said}");
        let records = fs::read_to_string(&self.records)?;
        records.lines().map(|record| serde_json::from_str(record).context(record.to_owned())).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Ok(mut known) = cleanup::lock() {
            known.processes.retain(|pid| *pid != self.child.id());
        }
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}
