//! The holders of the memory of the node, or of the limit owner: owners and their shares, from the kernel's walk over the tree of
//! cgroups. PURE.
//!
//! Owners are pods and, outside of pods, the innermost large cgroups: a service, a scope, a plain cgroup. Cgroups inside of a
//! pod belong to the pod, and those above owners (slices, `kubepods`, a class) are only their sum. Inside of a pod whose limit was hit
//! the containers are the owners.

use std::collections::BTreeSet;

use super::Party;
use crate::cgroup::{self, NodeRoot, Place};
use crate::event::{Holder, Level, Limit, Lineage, Name, OomHolders};

/// The holders of the memory of the node, or of the limit owner, at the decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Memory of all pods, if that is large.
    pub pods: Option<Held>,
    /// Owners, the largest by memory and swap first.
    pub holders: Vec<Held>,
    /// Cgroups that are a sum of large ones, with what they have beyond those, if that is large too: of smaller cgroups in them, and of
    /// themselves. They overlap neither with each other nor with `holders`.
    pub rests: Vec<Held>,
    /// Every cgroup that holds at least `least_bytes` and was visited, by its path: the owners, cgroups inside them, and
    /// cgroups that are only a sum of them.
    pub large: BTreeSet<Vec<u8>>,
    /// From this size on an owner is in `holders`.
    pub least_bytes: u64,
    /// Smaller cgroups, among those that were visited.
    pub small: u32,
    /// Memory of the smaller cgroups together.
    pub small_bytes: u64,
    /// Of these, the removed ones; `None` in recordings of older agents.
    pub removed_small: Option<Removed>,
    /// Cgroups that were visited.
    pub looked_at: u32,
    /// Cgroups in the tree.
    pub total: Option<u32>,
    /// Large cgroups may be missing: they were not visited, or had no place.
    pub incomplete: bool,
    /// They may, because the walk's time was up.
    pub time_up: bool,
}

/// Cgroups that have been removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// How many.
    pub count: u64,
    /// Their memory.
    pub bytes: u64,
}

/// A cgroup and its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its owner.
    pub party: Party,
    /// Its memory.
    pub usage_bytes: u64,
    /// Its swap.
    pub swap_bytes: Option<u64>,
    /// Its limit.
    pub limit: Option<Limit>,
    /// It has been removed: files in memory or kernel memory are still charged to it.
    pub removed: bool,
}

impl Held {
    /// Its memory and swap.
    #[must_use]
    pub fn with_swap_bytes(&self) -> u64 {
        self.usage_bytes.saturating_add(self.swap_bytes.unwrap_or(0))
    }
}

impl Memory {
    /// The place, from 0, of the holder that this belongs to. Cgroups in a pod belong to the pod, and those in a service to the
    /// service; those in a slice or a plain cgroup are only a part of it.
    #[must_use]
    pub fn rank(&self, of: &Party) -> Option<usize> {
        self.holders.iter().position(|held| {
            let unit = held.party.owner.unit.as_deref();
            let is_whole =
                |unit: &str| unit.strip_suffix(".service").or(unit.strip_suffix(".scope")).is_some();
            let whole = held.party.placement.place == Place::Pod
                || held.party.placement.place == Place::HostService && unit.is_some_and(is_whole);
            held.party.path == of.path || whole && of.is_within(&held.party)
        })
    }
}

/// Finds the owners. `limit` is the lineage of the limit owner, where the walk began there.
#[must_use]
pub fn memory(walk: &OomHolders, root: NodeRoot, limit: Option<&Lineage>) -> Memory {
    let mut memory = Memory {
        least_bytes: walk.least_bytes,
        small: walk.small,
        small_bytes: walk.small_bytes,
        removed_small: walk.removed_small.map(|(count, bytes)| Removed { count, bytes }),
        looked_at: walk.looked_at,
        total: walk.total,
        incomplete: walk.unfinished || walk.left_out > 0,
        time_up: walk.time_up,
        ..Memory::default()
    };
    let limit = limit.filter(|_| walk.of_limit);
    memory.rests.extend(limit.and_then(|limit| rest_of_limit(limit, walk, root)));
    place(&mut memory, walk, root, &Base::of(limit, root));
    memory
}

/// Puts each large cgroup where it belongs.
pub(super) fn place(memory: &mut Memory, walk: &OomHolders, root: NodeRoot, base: &Base) {
    // Of each one its path, `None` if a name is unknown, whether it is in an owner, and the length of the path to the root of the
    // node's cgroups.
    let mut placed: Vec<(Option<Vec<u8>>, bool, usize)> = Vec::new();
    for (index, Holder { parent, level }) in walk.holders.iter().enumerate() {
        let (path, in_owner, above) = match parent {
            None => (base.path.clone(), false, base.above),
            // Parents come first and are known by now; any other order is no tree.
            Some(parent) => placed.get(*parent).cloned().unwrap_or_default(),
        };
        let path = path.and_then(|path| below(path, level.name.as_ref()));
        let held = path.as_ref().and_then(|path| held(path.clone(), level, above, root.v1));
        memory.large.extend(path.clone());
        let whole = held.as_ref().is_some_and(|held| Some(held.party.placement.place) == base.whole);
        let above = path.as_ref().filter(|_| root.is(level)).map_or(above, Vec::len);
        placed.push((path, in_owner || whole, above));
        if in_owner {
            continue;
        }
        let Some(held) = held else {
            memory.incomplete = true;
            continue;
        };
        let has_large_child = walk.holders.iter().skip(index + 1).any(|other| other.parent == Some(index));
        let place = held.party.placement.place;
        if whole || !has_large_child && !matches!(place, Place::NodeAllocatable | Place::Qos) {
            memory.holders.push(held);
            continue;
        }
        memory.rests.extend(rest(&held, walk, Some(index)));
        // A removed one may still have memory charged to it.
        if place == Place::NodeAllocatable
            && memory.pods.as_ref().is_none_or(|other| other.usage_bytes < held.usage_bytes)
        {
            memory.pods = Some(held);
        }
    }
    memory.holders.sort_by(|one, other| {
        let size = Held::with_swap_bytes;
        size(other).cmp(&size(one)).then_with(|| one.party.path.cmp(&other.party.path))
    });
}

/// Where the walk began.
pub(super) struct Base {
    /// `None` if the path is not known whole.
    path: Option<Vec<u8>>,
    /// The length of the path to the root of the node's cgroups.
    above: usize,
    /// The kind of cgroup that is an owner with all that is in it.
    whole: Option<Place>,
}

impl Base {
    /// The root of the node's cgroups, at this path.
    pub(super) fn node(path: Vec<u8>) -> Self {
        Self { above: path.len(), path: Some(path), whole: Some(Place::Pod) }
    }

    fn of(limit: Option<&Lineage>, root: NodeRoot) -> Self {
        let Some(limit) = limit else {
            return Self { path: Some(Vec::new()), above: 0, whole: Some(Place::Pod) };
        };
        let path = limit.path();
        let above = root.bytes_in(limit);
        let whole = match cgroup::parse_below(&path, above).place {
            Place::Pod => Some(Place::Container),
            Place::Container => None,
            _ => Some(Place::Pod),
        };
        let known = !limit.incomplete && limit.skipped == 0 && named(limit);
        let path = if path == b"/" { Vec::new() } else { path };
        Self { path: known.then_some(path), above, whole }
    }
}

fn named(lineage: &Lineage) -> bool {
    lineage.levels.iter().all(|level| level.root || level.name.is_some())
}

/// What a cgroup has beyond its large children, if that is large.
fn rest(held: &Held, walk: &OomHolders, index: Option<usize>) -> Option<Held> {
    let children = walk.holders.iter().filter(|other| other.parent == index);
    let of_children = children.filter_map(|child| child.level.usage_bytes).fold(0, u64::saturating_add);
    let usage_bytes = held.usage_bytes.saturating_sub(of_children);
    let is_large = usage_bytes >= walk.least_bytes.max(1);
    is_large.then(|| Held { usage_bytes, swap_bytes: None, ..held.clone() })
}

fn rest_of_limit(limit: &Lineage, walk: &OomHolders, root: NodeRoot) -> Option<Held> {
    let level = limit.levels.first().filter(|_| limit.skipped == 0 && !limit.incomplete && named(limit))?;
    rest(&held(limit.path(), level, root.bytes_in(limit), root.v1)?, walk, None)
}

/// The path of a cgroup below another.
fn below(mut path: Vec<u8>, name: Option<&Name>) -> Option<Vec<u8>> {
    path.push(b'/');
    path.extend_from_slice(&name?.0);
    Some(path)
}

/// A cgroup and its memory; `None` if that is unknown.
fn held(path: Vec<u8>, level: &Level, root_bytes: usize, v1: bool) -> Option<Held> {
    let placement = cgroup::parse_below(&path, root_bytes);
    Some(Held {
        party: Party::at(path, placement),
        usage_bytes: level.usage_bytes?,
        swap_bytes: swap_bytes(level, v1),
        limit: level.limit,
        removed: level.removed,
    })
}

/// The swap of a cgroup: v1 counts memory and swap together.
pub(super) fn swap_bytes(level: &Level, v1: bool) -> Option<u64> {
    let swap = level.swap_usage_bytes?;
    if v1 { Some(swap.saturating_sub(level.usage_bytes?)) } else { Some(swap) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Hook, Stamp};
    use crate::schema::OwnerKind;

    const MIB: u64 = 1 << 20;
    const POD: &str = "pod8b9f2a6e-1c3d-4e5f-9a7b-2c4d6e8f0a1b";

    /// A cgroup below number `parent` in the list, from 1; below the root for 0.
    fn at(parent: usize, name: &str, mib: u64) -> Holder {
        let level = Level {
            name: Some(Name::from(name)),
            usage_bytes: Some(mib * MIB),
            limit: Some(Limit::Unlimited),
            ..Level::default()
        };
        Holder { parent: parent.checked_sub(1), level }
    }

    fn walk(holders: Vec<Holder>) -> OomHolders {
        let stamp = Stamp { ktime_ns: 2, cpu: 0, seq: 1, hook: Hook::Fentry, decision_ns: Some(1) };
        OomHolders {
            stamp,
            least_bytes: 4 * MIB,
            holders,
            left_out: 0,
            small: 9,
            small_bytes: 7 * MIB,
            looked_at: 20,
            total: Some(31),
            unfinished: false,
            time_up: false,
            of_limit: false,
            removed_small: None,
        }
    }

    fn memory_of(holders: Vec<Holder>) -> Memory {
        memory(&walk(holders), NodeRoot::default(), None)
    }

    fn names(memory: &Memory) -> Vec<(String, u64)> {
        let name =
            |held: &Held| (String::from_utf8_lossy(&held.party.path).into_owned(), held.usage_bytes / MIB);
        memory.holders.iter().map(name).collect()
    }

    /// Pods and services are named, sums above them and containers below are not, and the largest comes first.
    #[test]
    fn names_owners_and_not_their_sums_or_parts() {
        let memory = memory_of(vec![
            at(0, "system.slice", 90),
            at(0, "kubepods", 300),
            at(0, "user.slice", 40),
            at(1, "containerd.service", 80),
            at(2, "burstable", 290),
            at(5, POD, 280),
            at(6, "0a12f8ad7041c8fdcab8c0ef3e57c178134c729a771a6065b3d1ff8c6374b947", 270),
            at(7, "inner.slice", 260),
        ]);
        assert_eq!(
            names(&memory),
            [
                (format!("/kubepods/burstable/{POD}"), 280),
                ("/system.slice/containerd.service".to_owned(), 80),
                ("/user.slice".to_owned(), 40),
            ]
        );
        assert_eq!(memory.holders[0].party.owner.kind, OwnerKind::Pod);
        assert_eq!(memory.holders[1].party.owner.unit.as_deref(), Some("containerd.service"));
        assert_eq!(memory.pods.as_ref().map(|pods| pods.usage_bytes), Some(300 * MIB));
        assert!(!memory.incomplete);
    }

    /// The node's own pods count, not those of a cluster inside one of its containers.
    #[test]
    fn the_pods_are_those_of_the_node() {
        let inner = [
            at(0, "system.slice", 200),
            at(1, "foo.service", 200),
            at(2, "kubepods", 200),
            at(0, "kubepods", 30),
        ];
        let outer = [
            at(0, "kubepods", 30),
            at(0, "system.slice", 200),
            at(2, "foo.service", 200),
            at(3, "kubepods", 200),
        ];
        let pods = |holders: &[Holder]| memory_of(holders.to_vec()).pods.map(|pods| pods.party.path);
        assert_eq!(pods(&inner).as_deref(), Some(b"/kubepods".as_slice()));
        assert_eq!(pods(&outer).as_deref(), Some(b"/kubepods".as_slice()));
        assert_eq!(pods(&inner[..3]), None, "that of a cluster inside of a service");
        let removed = [at(0, "kubepods", 8), at(0, "kubelet", 90), at(2, "kubepods", 80)];
        assert_eq!(pods(&removed).as_deref(), Some(b"/kubelet/kubepods".as_slice()), "the larger one");
    }

    /// To an agent in a node that is a container, that container's pods are the node's; to any other they are the container's.
    #[test]
    fn a_node_that_is_a_container_has_its_pods() {
        let container = "14f9928c6e625b324b8970ffd509ee2647fe9a6cfb9d9e54c5bab6faa1603c71";
        let mut holders = vec![
            at(0, "docker", 300),
            at(1, container, 200),
            at(1, container, 90),
            at(2, "kubepods", 180),
            at(4, POD, 150),
            at(3, "kubepods", 80),
            at(6, POD, 70),
        ];
        holders[1].level.cgroup_id = Some(77);
        let kinds = |root| {
            let memory = memory(&walk(holders.clone()), root, None);
            let kinds: Vec<_> = memory.holders.iter().map(|held| held.party.owner.kind).collect();
            (kinds, memory.pods.map(|pods| pods.usage_bytes / MIB))
        };
        let inside = NodeRoot { cgroup_id: Some(77), ..NodeRoot::default() };
        assert_eq!(kinds(inside), (vec![OwnerKind::Pod, OwnerKind::Container], Some(180)));
        let outside = NodeRoot::default();
        assert_eq!(kinds(outside), (vec![OwnerKind::Container, OwnerKind::Container], None));
    }

    /// A cgroup below one without a name has no path, and a parent that does not come first is none: reported, not guessed.
    #[test]
    fn holders_that_cannot_be_placed_make_it_incomplete() {
        let mut nameless = at(0, "", 50);
        nameless.level.name = None;
        let found = memory_of(vec![nameless, at(0, "user.slice", 30), at(1, "x.service", 40)]);
        assert_eq!(names(&found), [("/user.slice".to_owned(), 30)]);
        assert!(found.incomplete);
        for parent in [1, 2, usize::MAX] {
            let found = memory_of(vec![at(parent, "x", 20), at(0, "user.slice", 30)]);
            assert!(found.incomplete, "{parent}");
            assert_eq!(names(&found), [("/user.slice".to_owned(), 30)], "{parent}");
        }
        assert!(
            memory(&OomHolders { left_out: 1, ..walk(Vec::new()) }, NodeRoot::default(), None).incomplete
        );
        assert!(
            memory(&OomHolders { unfinished: true, ..walk(Vec::new()) }, NodeRoot::default(), None)
                .incomplete
        );
    }

    /// A container has its pod's place and a process of a service the service's; a process in a slice has none.
    #[test]
    fn ranks_parties_that_belong_to_a_holder() {
        let memory = memory_of(vec![
            at(0, "kubepods", 90),
            at(0, "user.slice", 85),
            at(1, POD, 80),
            at(0, "system.slice", 70),
            at(4, "db.service", 60),
            at(0, "docker", 50),
            at(6, "x", 40),
        ]);
        let rank = |path: &str| {
            let placement = cgroup::parse(path.as_bytes());
            memory.rank(&Party::at(path.as_bytes().to_vec(), placement))
        };
        assert_eq!(rank(&format!("/kubepods/{POD}/x")), Some(1));
        assert_eq!(rank("/user.slice"), Some(0));
        assert_eq!(rank("/user.slice/user-0.slice/session-3.scope"), None);
        assert_eq!(rank("/system.slice/db.service/worker"), Some(2));
        assert_eq!(rank("/user.slice2"), None);
        assert_eq!(rank("/docker"), None, "what is in it by itself is not known");
        assert!(memory.large.contains(b"/docker".as_slice()));
    }
}
