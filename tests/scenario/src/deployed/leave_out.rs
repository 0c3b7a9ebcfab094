//! A manifest without something that the agent needs.

use anyhow::{Context as _, Result, bail, ensure};
use crashtrace_judge::deployed::Without;
use k8s_openapi::api::core::v1::PodSpec;

/// Leaves it out. That the manifest does not have it is an error: then nothing would be shown.
pub fn leave_out(without: &Without, pod: &mut PodSpec) -> Result<()> {
    let [container] = pod.containers.as_mut_slice() else { bail!("it has not one container") };
    let (before, after) = match without {
        Without::Capability(name) => {
            let security = container.security_context.as_mut().context("it has a security context")?;
            let capabilities = security.capabilities.as_mut().context("it has capabilities")?;
            let added = capabilities.add.as_mut().context("it has some")?;
            let before = added.len();
            added.retain(|it| it != name);
            (before, added.len())
        }
        Without::Mount(path) => {
            let mounts = container.volume_mounts.as_mut().context("it has mounts")?;
            let before = mounts.len();
            mounts.retain(|mount| mount.mount_path != *path);
            (before, mounts.len())
        }
    };
    ensure!(after + 1 == before, "the manifest does not have {without:?}");
    Ok(())
}
