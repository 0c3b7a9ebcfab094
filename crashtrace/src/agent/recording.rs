//! The file that `watch --record` writes.

use std::fs::{File, Permissions};
use std::io::BufWriter;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use crashtrace_ebpf::LAYOUT_VERSION;

use crate::decode::Machine;
use crate::enrich::NodeRoot;
use crate::pipeline::Speaker;
use crate::report::build::Context;
use crate::source::recording::{FORMAT, Preamble, Writer};

/// Begins a recording: a new file, or one of ours that is overwritten, for root alone.
pub(super) fn record_to(
    path: &Path,
    speaker: &Speaker,
    machine: &Machine,
    context: &Context,
    (memory_bytes, node_root): (Option<u64>, NodeRoot),
    started_ns: u64,
) -> Result<Recording> {
    let failed = || format!("cannot write the recording {}", path.display());
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.and_then(|file| {
        // The mode is that of a new file only. What is no file, a pipe for one, stays as it is.
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(file)
    });
    let preamble = Preamble {
        format: FORMAT.to_owned(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        layout: LAYOUT_VERSION,
        node: speaker.node.clone(),
        kernel: speaker.kernel.clone(),
        boot_id: context.boot_id.clone(),
        page_size_bytes: machine.page_size_bytes,
        memory_bytes,
        node_root,
        memory_cgroup_v1: context.memory_cgroup_v1,
        realtime_offset_ns: context.realtime_offset_ns,
        hooks: speaker.hooks.clone(),
        blind: speaker.blind.clone(),
        gfp: context.gfp.clone(),
        symbols: machine.symbols.clone(),
        started_ktime_ns: started_ns,
    };
    let writer = Writer::new(BufWriter::new(file.with_context(failed)?), &preamble).with_context(failed)?;
    Ok(Recording { writer, path: path.display().to_string() })
}

/// A recording that is being written.
pub(super) struct Recording {
    pub(super) writer: Writer<BufWriter<File>>,
    pub(super) path: String,
}

#[cfg(test)]
mod tests;
