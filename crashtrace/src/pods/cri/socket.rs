//! Where runtimes have their socket.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

/// The default of each runtime and distribution that kubelet is run with, below `/run` and its older name.
pub const USUAL: [&str; 9] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/run/cri-dockerd.sock",
    "/var/run/containerd/containerd.sock",
    "/var/run/crio/crio.sock",
    "/var/run/cri-dockerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
];

/// A socket's path as it is given to kubelet (`unix:///run/...`) or plain.
#[must_use]
pub fn path(endpoint: &str) -> PathBuf {
    endpoint.strip_prefix("unix://").unwrap_or(endpoint).into()
}

/// Those of the candidates that are sockets now, in their order and each once, by whatever names.
#[must_use]
pub fn present(candidates: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for candidate in candidates {
        let Ok(real) = fs::canonicalize(candidate) else { continue };
        let socket = fs::metadata(&real).is_ok_and(|data| data.file_type().is_socket());
        if socket && !found.contains(&real) {
            found.push(real);
        }
    }
    found
}
