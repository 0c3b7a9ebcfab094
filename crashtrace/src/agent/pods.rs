//! Who is asked for the names of pods.

use crate::cli::Pods;
use crate::pods::cri::{Cri, Options};
use crate::pods::directory::Directory;

/// Begins to ask. Nothing here waits, and whoever does not answer is no reason not to watch.
pub(super) fn directory(wanted: &Pods) -> Directory {
    let cri = wanted.cri.as_ref().map(|socket| match socket {
        Some(socket) => Options::at(&socket.to_string_lossy()),
        None => Options::default(),
    });
    Directory { kube: None, cri: cri.map(Cri::start), nobody: "names are not asked for (--pods none)" }
}
