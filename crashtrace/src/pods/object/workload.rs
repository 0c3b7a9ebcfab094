//! The workload of a pod: by the controller among its owners ([`Workload::of_controller`]). PURE.

use super::{Meta, name};
use crate::names::Workload;

/// See the module.
pub(super) fn of(metadata: &Meta) -> Option<Workload> {
    let owner = metadata.owner_references.iter().find(|owner| owner.controller == Some(true))?;
    let (kind, own_name) = (name(owner.kind.as_ref())?, name(owner.name.as_ref())?);
    let (api_version, hash) = (owner.api_version.as_deref(), metadata.labels.pod_template_hash.as_deref());
    Some(Workload::of_controller(api_version.unwrap_or_default(), &kind, &own_name, hash))
}
