//! Programs that the tests run, of Debian's packages: unpacked in `target/tools` and not installed. Their packages would start
//! services, which read and write the machine's own logs, or listen.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{exec, vm};

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
        let place = vm::unpacked(&exec::target_dir().join("tools").join(self.name), self.packages)?;
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
        for (program, asked) in self.programs {
            let mut command = Command::new(place.join(program));
            exec::output(command.arg(asked).env("LD_LIBRARY_PATH", &libraries))?;
        }
        Ok(())
    }
}
