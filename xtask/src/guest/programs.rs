//! The programs under test, for guests.

use super::initramfs::GuestFile;
use crate::arch::Arch;
use crate::build::{self, Program};
use anyhow::Result;

/// Builds the agent and the scenarios, static, for guests with this processor.
pub(crate) fn build(arch: Arch) -> Result<Vec<GuestFile>> {
    let wanted = [Program::Crashtrace, Program::Scenario];
    let paths = build::build(&wanted, "release", Some(arch.target()))?;
    let files = paths.into_iter().zip(["/bin/crashtrace", "/bin/scenario"]);
    Ok(files.map(|(host, guest)| GuestFile { guest: guest.to_owned(), host, mode: 0o755 }).collect())
}
