//! A second look at the node's cgroups, from user space, where the kernel side's walk ended early. PURE but for the look itself.
//!
//! It is no replacement: by then the victim's memory is being freed. But what is still there and large was large at the decision too,
//! mostly. Its line does not wait for it.

use super::holders::{self, Base};
use super::{Case, Held, Memory};
use crate::cgroup::NodeRoot;
use crate::correlate::{Incident, OomKill};
use crate::event::{OomHolders, Stamp};
use crate::node::{CgroupFiles, Look, Looked, Node};
use crate::schema::{Field, MemoryField, Unresolved};

/// Holders that are kept of it.
pub(super) const MOST: usize = 16;

const FIELD: Field = Field::Memory(MemoryField::HoldersLate);
const NOT_YET: &str = "the agent's second look at the cgroups was not over when this line was made";

/// Large holders that the walk had not found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LateHolders {
    /// The largest first.
    pub holders: Vec<Held>,
    /// Cgroups that were looked at.
    pub looked_at: u32,
    /// There may be more.
    pub incomplete: bool,
}

/// A look that is not over.
#[derive(Clone, Debug)]
pub struct SecondLook {
    /// The walk's.
    stamp: Stamp,
    least_bytes: u64,
    root: NodeRoot,
    /// Where that root is, seen from the machine's.
    root_path: Vec<u8>,
}

/// Begins it if the walk over the node's cgroups ended early.
pub(super) fn begin(case: &mut Case, node: &mut Node) {
    let Incident::OomKill(kill) = &case.incident else { return };
    let Some(walk) = kill.holders.as_deref().filter(|walk| walk.unfinished && !walk.of_limit) else { return };
    case.second_look = Some(SecondLook {
        stamp: walk.stamp,
        least_bytes: walk.least_bytes,
        root: node.root,
        root_path: root_path(kill, node.root),
    });
    case.unresolved.push(Unresolved::new(FIELD, NOT_YET));
    look_again(case, node.cgroups.as_mut());
}

/// The path of the node's root, which all of its processes are below.
fn root_path(kill: &OomKill, root: NodeRoot) -> Vec<u8> {
    let of_decision = kill.decision.iter().flat_map(|decision| {
        [&decision.trigger_cgroups, &decision.victim_cgroups].into_iter().filter_map(Option::as_ref)
    });
    let of_victims = kill.victims.iter().filter_map(|victim| victim.cgroups.as_ref());
    let paths = of_decision.chain(of_victims).map(|lineage| {
        let mut path = lineage.path();
        path.truncate(root.bytes_in(lineage));
        path
    });
    paths.max_by_key(Vec::len).unwrap_or_default()
}

/// Takes what has come of the case's second look. Gives whether that has changed the case.
pub fn look_again(case: &mut Case, cgroups: &mut dyn CgroupFiles) -> bool {
    let Some(second) = case.second_look.take() else { return false };
    let look = cgroups.large(second.stamp.ktime_ns, second.least_bytes);
    if look == Look::Pending {
        case.second_look = Some(second);
        return false;
    }
    case.unresolved.retain(|gap| gap.field != FIELD);
    match look {
        Look::Done(looked) => case.holders_late = Some(found(looked, second, case.memory.as_ref())),
        Look::Failed(reason) => case.unresolved.push(Unresolved { field: FIELD, reason }),
        Look::Pending => {}
    }
    true
}

/// The owners that are not known by the walk.
fn found(looked: Looked, second: SecondLook, known: Option<&Memory>) -> LateHolders {
    let SecondLook { stamp, least_bytes, root, root_path } = second;
    let Looked { holders, looked_at, unfinished } = looked;
    let walk = OomHolders {
        stamp,
        least_bytes,
        holders,
        left_out: 0,
        small: 0,
        small_bytes: 0,
        looked_at,
        total: None,
        unfinished,
        time_up: false,
        of_limit: false,
        removed_small: None,
    };
    let mut late = Memory::default();
    holders::place(&mut late, &walk, root, &Base::node(root_path));
    late.holders.retain(|held| known.is_none_or(|known| !known.large.contains(&held.party.path)));
    late.holders.truncate(MOST);
    LateHolders { holders: late.holders, looked_at, incomplete: unfinished || late.incomplete }
}
