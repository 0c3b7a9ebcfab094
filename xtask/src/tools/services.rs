//! Services that the tests run, of Debian's packages: unpacked in `target/tools` and not installed, for their packages would start
//! them, and they would listen or read and write the machine's own logs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::{debian, exec, files};

struct Service {
    name: &'static str,
    /// With the libraries that a minimal Debian lacks.
    packages: &'static [&'static str],
    /// Each program, and the argument with which it shows that it starts.
    programs: &'static [(&'static str, &'static str)],
}

/// The log collector of the tests.
const RSYSLOG: Service = Service {
    name: "rsyslog",
    packages: &["rsyslog", "libestr0", "libfastjson4", "liblognorm5"],
    programs: &[("usr/sbin/rsyslogd", "-v")],
};

/// Scrapes an agent in the tests, and checks alerts.
const PROMETHEUS: Service = Service {
    name: "prometheus",
    packages: &["prometheus"],
    programs: &[("usr/bin/prometheus", "--version"), ("usr/bin/promtool", "--version")],
};

pub(crate) fn ensure_all() -> Result<()> {
    [RSYSLOG, PROMETHEUS].iter().try_for_each(Service::ensure)
}

impl Service {
    /// Unpacks it into `target/tools/<name>`, where it is missing.
    fn ensure(&self) -> Result<()> {
        let place = debian::unpacked(
            &files::target_dir().join("tools").join(self.name),
            Arch::of_this_machine()?,
            self.packages,
        )?;
        self.starts_in(&place).with_context(|| {
            format!(
                "{} does not start: `ldd` says which library is missing, and apt has it; remove {} to fetch it anew",
                self.name,
                place.display()
            )
        })
    }

    fn starts_in(&self, place: &Path) -> Result<()> {
        let folders = fs::read_dir(place.join("usr/lib")).into_iter().flatten().flatten();
        let libraries = std::env::join_paths(folders.map(|folder| folder.path()))?;
        for (program, argument) in self.programs {
            let mut command = Command::new(place.join(program));
            exec::output(command.arg(argument).env("LD_LIBRARY_PATH", &libraries))?;
        }
        Ok(())
    }
}
