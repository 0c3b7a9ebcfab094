//! What to do about a limit of many: all pods of the node, or those of a class. One of them may be the reason alone.

use super::holder::{self, Holder};
use crate::describe::oom::Oom;
use crate::describe::owner;
use crate::enrich::{Held, Memory};
use crate::phrase::{percent, size};

/// From this share of the limit on, one pod is the reason.
const ONE_PERCENT: u64 = 50;
/// The same if it has no limit of its own.
const UNLIMITED_PERCENT: u64 = 25;

/// The advice at the limit of all pods (`node`) or of a class.
pub(super) fn pods(oom: &Oom<'_>, above: &str, node: bool) -> String {
    let together = if node {
        format!(
            "All pods of this node together may use {above}, which is its memory less kubelet's --kube-reserved and \
             --system-reserved."
        )
    } else {
        format!(
            "The pods of this QoS class together may use {above}: kubelet sets a limit for a class where memory is reserved for \
             higher ones (--qos-reserved)."
        )
    };
    let used = oom.limit().and_then(crate::classify::LimitFinding::usage_bytes);
    let holders = oom.scene.limit_holders.filter(|memory| !memory.incomplete);
    let spread = "Raise the requests of the largest to real use, so that the scheduler puts fewer here, give pods without a limit \
                  one, or give the node more memory.";
    match holders.zip(used).and_then(|(memory, used)| Some((memory, memory.holders.first()?, used))) {
        Some((_, first, used)) if is_the_reason(first, used) => {
            let Held { party, usage_bytes, limit, .. } = first;
            let advice = holder::advice(oom, &Holder { party, usage_bytes: *usage_bytes, limit: *limit });
            format!(
                "{} holds {} of it ({} %): {advice}. {together}",
                owner(party),
                size(*usage_bytes),
                percent(*usage_bytes, used)
            )
        }
        Some((memory, ..)) => format!("{together} The largest are {}. {spread}", largest(memory)),
        None => format!("{together} Look which of them holds most. {spread}"),
    }
}

fn is_the_reason(held: &Held, used: u64) -> bool {
    let share = percent(held.usage_bytes, used);
    let unlimited = held.limit == Some(crate::event::Limit::Unlimited);
    share >= if unlimited { UNLIMITED_PERCENT } else { ONE_PERCENT }
}

fn largest(memory: &Memory) -> String {
    let named = memory.holders.iter().take(3);
    named
        .map(|held| format!("{} ({})", owner(&held.party), size(held.usage_bytes)))
        .collect::<Vec<_>>()
        .join(", ")
}
