//! Programs that the tests run, of Debian's packages: unpacked in `target/tools` and not installed. Their packages would start
//! services, which read and write the machine's own logs, or listen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::exec;

/// Programs that come with these packages.
struct Beside {
    name: &'static str,
    /// With the libraries that a small Debian has not.
    packages: &'static [&'static str],
    /// Each, and what it is asked to see whether it starts.
    programs: &'static [(&'static str, &'static str)],
}

/// The collector of logs that the tests take the stream through.
const COLLECTOR: Beside = Beside {
    name: "rsyslog",
    packages: &["rsyslog", "libestr0", "libfastjson4", "liblognorm5"],
    programs: &[("usr/sbin/rsyslogd", "-v")],
};

/// What scrapes an agent in the tests, and checks alerts.
const PROMETHEUS: Beside = Beside {
    name: "prometheus",
    packages: &["prometheus"],
    programs: &[("usr/bin/prometheus", "--version"), ("usr/bin/promtool", "--version")],
};

/// All of them.
pub(crate) fn ensure_all() -> Result<()> {
    [COLLECTOR, PROMETHEUS].iter().try_for_each(Beside::ensure)
}

impl Beside {
    /// Unpacks it into `target/tools/<name>`, where it is missing.
    fn ensure(&self) -> Result<()> {
        let tools = exec::target_dir().join("tools");
        let place = tools.join(self.name);
        if self.starts_in(&place) {
            return Ok(());
        }
        let _lock = exec::lock(&tools.join("setup.lock"))?;
        if self.starts_in(&place) {
            return Ok(()); // Another xtask did it while this one waited.
        }
        eprintln!("xtask: unpacking Debian's {} in {}", self.packages.join(" "), place.display());
        let [fresh, packages] = ["new", "packages"].map(|what| tools.join(format!("{}.{what}", self.name)));
        for folder in [&fresh, &packages] {
            remove(folder)?;
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        // The package lists may be missing or stale, so a failure is met with fresh ones before it counts.
        if self.download(&packages).is_err() {
            let fresh_lists = super::apt_get(&["update"]).and_then(|()| self.download(&packages));
            fresh_lists.context("this needs Debian's apt")?;
        }
        for package in fs::read_dir(&packages)? {
            exec::run(Command::new("dpkg-deb").arg("--extract").arg(package?.path()).arg(&fresh))?;
        }
        remove(&packages)?;
        remove(&place)?;
        fs::rename(&fresh, &place).with_context(|| format!("cannot make {}", place.display()))?;
        ensure!(
            self.starts_in(&place),
            "{} is unpacked in {} but does not start: `ldd` says which library it lacks, and apt has it",
            self.name,
            place.display()
        );
        Ok(())
    }

    fn download(&self, into: &Path) -> Result<()> {
        let mut apt = Command::new("apt-get");
        // apt's own user may not be allowed into the work tree.
        apt.args(["-qq", "-oAPT::Sandbox::User=root", "download"]).args(self.packages);
        exec::run(apt.current_dir(into))
    }

    fn starts_in(&self, place: &Path) -> bool {
        let folders = fs::read_dir(place.join("usr/lib")).into_iter().flatten().flatten();
        let libraries: Vec<PathBuf> = folders.map(|folder| folder.path()).collect();
        let Ok(libraries) = std::env::join_paths(libraries) else { return false };
        self.programs.iter().all(|(program, asked)| {
            let mut command = Command::new(place.join(program));
            exec::output(command.arg(asked).env("LD_LIBRARY_PATH", &libraries)).is_ok()
        })
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
