//! The command that shows the log of a container that has ended.

use super::Told;
use crate::event::WaitStatus;
use crate::names::RestartPolicy;
use crate::phrase::CONTAINER_ID_CHARS;

/// Longest name in Kubernetes (RFC 1123).
const NAME_CHARS: usize = 253;

/// ``Its log: `kubectl logs -n shop api-7f9c -c api --previous`.``
pub(super) fn sentence(told: &Told<'_>) -> Option<String> {
    Some(format!("Its log: `{}`.", command(told)?))
}

/// By names; by the container's id if it is not known which run's log the names give, if a name is not known, or if one is
/// something else to a shell.
fn command(told: &Told<'_>) -> Option<String> {
    let owner = &told.case.exited()?.owner;
    let by_names = || {
        let names = owner.names.as_deref()?;
        let namespace = harmless(names.namespace.as_deref()?)?;
        let pod = harmless(names.pod.as_deref()?)?;
        let container = harmless(names.container.as_ref()?.name.as_deref()?)?;
        let previous = if is_started_anew(told)? { " --previous" } else { "" };
        Some(format!("kubectl logs -n {namespace} {pod} -c {container}{previous}"))
    };
    let by_id = || {
        let id = owner.container_id.as_deref()?.get(..CONTAINER_ID_CHARS)?;
        let tool = if owner.pod_uid.is_some() { "crictl" } else { "docker" };
        id.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| format!("{tool} logs {id}"))
    };
    by_names().or_else(by_id)
}

/// The log of the container's name is then that of the next run.
fn is_started_anew(told: &Told<'_>) -> Option<bool> {
    let names = told.names()?;
    if names.life.deleting || names.life.reason.is_some() {
        return Some(false);
    }
    Some(match names.restart_policy()? {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => told.event.status != Some(WaitStatus::Exited { code: 0 }),
        RestartPolicy::Never => false,
    })
}

/// A name as Kubernetes has them, which is no option and nothing that a shell acts on.
fn harmless(name: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    (begins && name.len() <= NAME_CHARS && name.bytes().all(is_plain)).then_some(name)
}
