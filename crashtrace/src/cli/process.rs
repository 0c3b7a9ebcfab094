//! The running process as a configuration's environment.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::Path;

use super::Environment;

/// Variables, terminal, host name and files of this process.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Environment for Process {
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn stdout_is_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    fn hostname(&self) -> Option<String> {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Some(name).filter(|name| !name.is_empty())
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }
    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }
}
