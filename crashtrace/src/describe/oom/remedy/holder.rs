//! What a holder of memory lacks: a limit, or a request near its use.

use super::limit::set_property;
use crate::cgroup::Place;
use crate::describe::oom::Oom;
use crate::enrich::Party;
use crate::event::Limit;
use crate::names::MemoryBounds;
use crate::phrase::size;
use crate::schema::{NameSource, Qos};

/// What is known of a holder.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    pub(super) party: &'a Party,
    pub(super) usage_bytes: u64,
    pub(super) limit: Option<Limit>,
}

/// Its lack, and what to do about it: `with no limit and a request of 32 MiB: give its containers …`.
pub(super) fn advice(oom: &Oom<'_>, holder: &Holder<'_>) -> String {
    let unit = holder.party.owner.unit.as_deref();
    match (holder.party.placement.place, unit) {
        (Place::Pod, _) => pod(holder),
        (Place::Container, _) if holder.party.placement.is_in_pod() => pod(holder),
        (Place::Container, _) => match holder.limit {
            Some(Limit::Bytes(limit)) => format!(
                "its limit of {} is more than the node can give it beside the rest: lower it (for example `docker update \
                 --memory`), or find what grows in it",
                size(limit)
            ),
            _ => "give it a memory limit in whatever made it (for example `docker update --memory`), or find what grows in it"
                .to_owned(),
        },
        (Place::HostService, Some(_)) => service(holder),
        _ => {
            let file = oom.limit_file();
            match holder.limit {
                Some(Limit::Bytes(limit)) => {
                    format!("its limit of {} ({file}) is more than the node can give it: lower it, or find what grows in it", size(limit))
                }
                _ => format!("set {file} for it in whatever made it, or find what grows in it"),
            }
        }
    }
}

fn service(holder: &Holder<'_>) -> String {
    let set = set_property(holder.party).unwrap_or_else(|| "MemoryMax= in its unit file".to_owned());
    match holder.limit {
        Some(Limit::Bytes(limit)) => format!(
            "its MemoryMax= of {} is more than the node can give it beside the rest: lower it ({set}), or find what grows in it",
            size(limit)
        ),
        _ => format!(
            "it has no limit; give it one ({set}), so that its growth ends there, or find what grows in it"
        ),
    }
}

/// A pod's bounds, if the API server told.
fn bounds(party: &Party) -> Option<MemoryBounds> {
    let names = party.owner.names.as_deref().filter(|names| names.source == NameSource::Kube)?;
    Some(names.pod_memory)
}

fn pod(holder: &Holder<'_>) -> String {
    let used = holder.usage_bytes;
    let best_effort = holder.party.placement.qos == Some(Qos::BestEffort);
    let request = match bounds(holder.party).map(|bounds| bounds.request_bytes) {
        Some(Some(request)) => Some(format!("a request of {} for {} used", size(request), size(used))),
        Some(None) => Some("no request".to_owned()),
        None if best_effort => Some("no request (BestEffort)".to_owned()),
        None => None,
    };
    let request_bytes = bounds(holder.party).and_then(|bounds| bounds.request_bytes);
    let within = request_bytes.is_some_and(|request| used <= request);
    match (holder.limit, request) {
        (Some(Limit::Bytes(limit)), Some(request)) if !within => format!(
            "it has a limit of {} and {request}, and the scheduler counts only requests: raise its request to what it uses, or \
             lower the limit",
            size(limit)
        ),
        (Some(Limit::Bytes(limit)), _) => format!(
            "it may use that much by its limit of {}: lower the limit, or move it or other pods to another node",
            size(limit)
        ),
        (Some(Limit::Unlimited), Some(request)) => format!(
            "it has no limit and {request}; give its containers a memory limit (resources.limits.memory), so that its growth ends \
             there, and a request near its real use, so that the scheduler counts it"
        ),
        (Some(Limit::Unlimited), None) => {
            "it has no limit; give its containers a memory limit (resources.limits.memory), so that its growth ends there, and a \
             request near its real use, so that the scheduler counts it"
                .to_owned()
        }
        (None, _) => "compare its requests and limits with that, or find what grows in it".to_owned(),
    }
}
