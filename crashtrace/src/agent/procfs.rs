//! Files of `/proc` about the node's memory.

use std::path::PathBuf;

use crate::files;
use crate::node::{ProcFile, ProcFiles};

#[derive(Debug)]
pub(super) struct ProcFs {
    /// The mount point.
    pub(super) mount: PathBuf,
}

impl ProcFiles for ProcFs {
    fn read(&mut self, file: ProcFile) -> Result<Vec<u8>, String> {
        let path = self.mount.join(file.name());
        files::read_of_kernel(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    }
}
