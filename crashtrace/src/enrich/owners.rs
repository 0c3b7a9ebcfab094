//! Owners: the owner of each level of each lineage of an incident, resolved once. Later stages only choose among them.

use crate::cgroup::{self, Engine, NodeRoot, Place, Placement, UserUnit};
use crate::event::Lineage;
use crate::names::Names;
use crate::schema::{self, OwnerKind, Qos, Runtime};
use shown::Shown;

mod shown;

/// A cgroup's place in the tree and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Path of the cgroup in the memory controller's hierarchy.
    pub path: Vec<u8>,
    /// The facts in the path.
    pub placement: Placement,
    /// Its owner.
    pub owner: Owner,
}

impl Party {
    /// The part of the path that names the owner: without the names below a delegation.
    #[must_use]
    pub fn owners_path(&self) -> &[u8] {
        self.placement.delegate_end.and_then(|end| self.path.get(..end)).unwrap_or(&self.path)
    }

    /// Whether it is the other's cgroup, or one below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let root = other.path == b"/";
        root || self.path.strip_prefix(&*other.path).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }

    pub(super) fn at(path: Vec<u8>, placement: Placement) -> Self {
        let owner = owner(&placement);
        Self { path, placement, owner }
    }
}

/// The container, pod or host service that a process or a limit belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub kind: OwnerKind,
    /// The pod's UID; for a static pod the hash of its configuration.
    pub pod_uid: Option<String>,
    /// `pod_uid` is a static pod's hash.
    pub static_pod: bool,
    /// The container's id, without the runtime's prefix.
    pub container_id: Option<String>,
    /// The pod's QoS class.
    pub qos_class: Option<Qos>,
    /// The container runtime, if the path has it.
    pub runtime: Option<Runtime>,
    /// The systemd unit of a host process.
    pub unit: Option<String>,
    /// The unit of a user's service manager.
    pub user_unit: Option<UserUnit>,
    /// What software other than Kubernetes calls it.
    pub engine: Option<Engine>,
    /// Its names in Kubernetes, if they are known. Set by [`Self::name`].
    pub names: Option<Box<Names>>,
    /// Names in the rest of the path, below the cgroup that was delegated to this owner. Nothing is concluded from them.
    pub claims: Option<Box<Claims>>,
    shown: Shown,
}

impl Owner {
    /// The same as the report has it.
    #[must_use]
    pub fn in_schema(&self) -> &schema::Owner {
        self.shown.of(self)
    }

    /// Puts other names on it.
    pub fn name(&mut self, names: Option<Box<Names>>) {
        (self.names, self.shown) = (names, Shown::default());
    }
}

/// Facts in cgroups' names that are not trusted, because an unknown party could have chosen the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The claimed kind.
    pub kind: OwnerKind,
    /// The pod's UID, or a static pod's hash.
    pub pod_uid: Option<String>,
    /// The container's id.
    pub container_id: Option<String>,
    /// The pod's QoS class.
    pub qos_class: Option<Qos>,
}

/// Why a cgroup has no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NoOwner {
    #[error("the way up to the root cgroup could not be read to its end, so the path lacks its beginning")]
    NoBeginning,
    #[error("the name of a cgroup on the path could not be read")]
    Nameless,
    #[error("the path is deeper than a record holds, and what is there of it is not a container's")]
    TooDeep,
}

/// The levels of a lineage with their owners.
#[derive(Clone, Copy, Debug)]
pub struct Owned<'a> {
    parties: &'a [Result<Party, NoOwner>],
    places: &'a Places,
}

impl<'a> Owned<'a> {
    /// The owner of the first cgroup of the lineage.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn nearest(self) -> Result<&'a Party, NoOwner> {
        match self.places.deeper {
            Some(deeper) => self.party(deeper),
            None => self.level(0),
        }
    }

    /// The owner of the cgroup at `levels[index]` of the lineage.
    ///
    /// # Errors
    /// It cannot be told, or there is no such level.
    pub fn level(self, index: usize) -> Result<&'a Party, NoOwner> {
        self.places.levels.get(index).map_or(Err(NoOwner::NoBeginning), |place| self.party(*place))
    }

    fn party(self, place: usize) -> Result<&'a Party, NoOwner> {
        self.parties.get(place).map_or(Err(NoOwner::NoBeginning), |party| party.as_ref().map_err(|why| *why))
    }
}

/// Where the owners of a lineage are among all of an incident.
#[derive(Clone, Debug, Default)]
struct Places {
    /// In the order of the lineage.
    levels: Vec<usize>,
    /// Of the cgroup itself, if it is deeper than the lineage.
    deeper: Option<usize>,
}

/// The lineages of an incident.
#[derive(Debug, Default)]
pub struct Lineages<'a> {
    /// Of the process that hit the limit or allocated the page.
    pub trigger: Option<&'a Lineage>,
    /// Of the victims, one for each.
    pub victims: Vec<Option<&'a Lineage>>,
    /// Of the process that the kernel chose, at the decision.
    pub chosen: Option<&'a Lineage>,
    /// Of the limit owner, if the kernel named it.
    pub limit: Option<&'a Lineage>,
    /// Of the process whose end this is.
    pub exited: Option<&'a Lineage>,
    /// Of the sender of its latest fatal signal other than SIGKILL.
    pub asked: Option<&'a Lineage>,
    /// Of the sender of its SIGKILL.
    pub killed: Option<&'a Lineage>,
}

impl<'a> Lineages<'a> {
    fn all(&self) -> impl Iterator<Item = &'a Lineage> {
        let Self { trigger, victims, chosen, limit, exited, asked, killed } = self;
        let others = [*trigger, *chosen, *limit, *exited, *asked, *killed];
        others.into_iter().chain(victims.iter().copied()).flatten()
    }
}

/// The owners of an incident's lineages.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// A cgroup that is on several lineages is here once.
    parties: Vec<Result<Party, NoOwner>>,
    /// A lineage that occurs many times, as in a group kill, is here once.
    distinct: Vec<Places>,
    trigger: Option<usize>,
    victims: Vec<Option<usize>>,
    chosen: Option<usize>,
    limit: Option<usize>,
    exited: Option<usize>,
    asked: Option<usize>,
    killed: Option<usize>,
}

impl Owners {
    /// Resolves each level of each lineage.
    #[must_use]
    pub fn resolve<'a>(lineages: &Lineages<'a>, node_root: NodeRoot) -> Self {
        let mut known: Vec<&Lineage> = Vec::new();
        // Mostly all are on the way to the deepest.
        let deepest = lineages.all().map(|lineage| lineage.levels.len()).max().unwrap_or_default();
        let (mut parties, mut distinct) = (Vec::with_capacity(deepest), Vec::<Places>::new());
        let mut index_of = |lineage: Option<&'a Lineage>| {
            let lineage = lineage?;
            if let Some(index) = known.iter().position(|other| has_same_path(other, lineage)) {
                return Some(index);
            }
            let shared =
                known.iter().zip(&distinct).map(|(other, places)| (shared_levels(other, lineage), places));
            let (shared, places) = shared.max_by_key(|(shared, _)| *shared).unzip();
            let shared =
                places.map_or(&[][..], |of: &Places| &of.levels[of.levels.len() - shared.unwrap_or(0)..]);
            let mut add = |party| {
                parties.push(party);
                parties.len() - 1
            };
            let own = 0..lineage.levels.len() - shared.len();
            let mut levels: Vec<_> = own.map(|index| add(party(lineage, index, 0, node_root))).collect();
            levels.extend(shared);
            let deeper = (lineage.skipped > 0).then(|| add(party(lineage, 0, lineage.skipped, node_root)));
            known.push(lineage);
            distinct.push(Places { levels, deeper });
            Some(known.len() - 1)
        };
        let trigger = index_of(lineages.trigger);
        let victims = lineages.victims.iter().map(|lineage| index_of(*lineage)).collect();
        let (chosen, limit) = (index_of(lineages.chosen), index_of(lineages.limit));
        let (exited, asked, killed) =
            (index_of(lineages.exited), index_of(lineages.asked), index_of(lineages.killed));
        Self { parties, distinct, trigger, victims, chosen, limit, exited, asked, killed }
    }

    #[must_use]
    pub fn trigger(&self) -> Option<Owned<'_>> {
        self.at(self.trigger)
    }

    /// Of the incident's victim at this place in its list.
    #[must_use]
    pub fn victim(&self, place: usize) -> Option<Owned<'_>> {
        self.at(*self.victims.get(place)?)
    }

    /// How many cgroups the lineages have, each counted once.
    #[must_use]
    pub fn cgroups(&self) -> usize {
        self.parties.len()
    }

    /// How many victims there are.
    #[must_use]
    pub fn victims(&self) -> usize {
        self.victims.len()
    }

    #[must_use]
    pub fn chosen(&self) -> Option<Owned<'_>> {
        self.at(self.chosen)
    }

    #[must_use]
    pub fn limit(&self) -> Option<Owned<'_>> {
        self.at(self.limit)
    }

    /// Of the process whose end this is.
    #[must_use]
    pub fn exited(&self) -> Option<Owned<'_>> {
        self.at(self.exited)
    }

    /// Of the sender of its latest fatal signal other than SIGKILL.
    #[must_use]
    pub fn asked(&self) -> Option<Owned<'_>> {
        self.at(self.asked)
    }

    /// Of the sender of its SIGKILL.
    #[must_use]
    pub fn killed(&self) -> Option<Owned<'_>> {
        self.at(self.killed)
    }

    /// The owner of each process and of the limit, if it is known.
    pub fn parties(&self) -> impl Iterator<Item = &Party> + Clone {
        let places = [self.trigger].into_iter().chain(self.victims.iter().copied());
        let places = places.chain([self.limit, self.exited, self.asked, self.killed]);
        places.filter_map(|place| self.at(place)?.nearest().ok())
    }

    /// All levels of all lineages.
    pub(super) fn parties_mut(&mut self) -> impl Iterator<Item = &mut Party> {
        self.parties.iter_mut().filter_map(|party| party.as_mut().ok())
    }

    fn at(&self, index: Option<usize>) -> Option<Owned<'_>> {
        Some(Owned { parties: &self.parties, places: self.distinct.get(index?)? })
    }
}

/// Whether both lead through the same cgroups; their figures may be of different moments.
fn has_same_path(one: &Lineage, other: &Lineage) -> bool {
    one.levels.len() == other.levels.len()
        && one.skipped == other.skipped
        && shared_levels(one, other) == one.levels.len()
}

/// How many levels from the root both have in common, with the same owners.
fn shared_levels(one: &Lineage, other: &Lineage) -> usize {
    if (one.incomplete, one.unified) != (other.incomplete, other.unified) {
        return 0;
    }
    let levels = one.levels.iter().rev().zip(other.levels.iter().rev());
    levels
        .take_while(|(one, other)| {
            (one.cgroup_id, &one.name, one.root) == (other.cgroup_id, &other.name, other.root)
        })
        .count()
}

/// The place of a lineage's nearest cgroup and its owner, or why they are unknown.
///
/// A path without its beginning has no owner: it could begin in a container, with names that the container chose. If the end is
/// missing (levels left out for depth, a name that could not be read), the rest names the owner if it is a container's, because
/// every cgroup below is in that container; a pod, a slice or a plain directory could contain a container or a pod, so there
/// the owner stays unknown.
pub fn owner_of(lineage: &Lineage, node_root: NodeRoot) -> Result<Party, NoOwner> {
    party(lineage, 0, lineage.skipped, node_root)
}

/// The same of the cgroup at `levels[from]`, if `skipped` levels below it are not in the lineage.
fn party(lineage: &Lineage, from: usize, skipped: u16, node_root: NodeRoot) -> Result<Party, NoOwner> {
    let levels = lineage.levels.get(from..).unwrap_or_default();
    if lineage.incomplete || !levels.last().is_some_and(|level| level.root) {
        return Err(NoOwner::NoBeginning);
    }
    let named = levels.iter().rposition(|level| !level.root && level.name.is_none());
    let first = named.map_or(0, |nameless| nameless + 1);
    let path = lineage.path_of(from);
    let beginning = if first > 0 { &lineage.path_of(from + first) } else { &path };
    let root_bytes = node_root.bytes_above(lineage, from, skipped);
    let mut placement = cgroup::parse_below(beginning, root_bytes);
    if first > 0 || skipped > 0 {
        // A node that is a container has its own pods.
        if placement.place != Place::Container || root_bytes >= beginning.len() {
            return Err(if first > 0 { NoOwner::Nameless } else { NoOwner::TooDeep });
        }
        placement.nested = true;
    }
    Ok(Party::at(path, placement))
}

/// The owner of a cgroup. Cgroups nested in a container are the container's.
fn owner(placement: &Placement) -> Owner {
    let kind = kind(placement);
    let container_of =
        |it: &Placement, kind| it.container_id.clone().filter(|_| kind == OwnerKind::Container);
    let claims = placement.claims.as_deref().map(|it| {
        let kind = self::kind(it);
        Box::new(Claims {
            kind,
            pod_uid: it.pod_uid.clone(),
            container_id: container_of(it, kind),
            qos_class: it.qos,
        })
    });
    Owner {
        kind,
        pod_uid: placement.pod_uid.clone(),
        static_pod: placement.static_pod,
        container_id: container_of(placement, kind),
        qos_class: placement.qos,
        runtime: placement.runtime,
        unit: placement.unit.clone(),
        user_unit: placement.user_unit.clone(),
        engine: placement.engine.clone(),
        names: None,
        claims,
        shown: Shown::default(),
    }
}

fn kind(placement: &Placement) -> OwnerKind {
    match placement.place {
        Place::Root => OwnerKind::Host,
        Place::NodeAllocatable => OwnerKind::Kubepods,
        Place::Qos => OwnerKind::Qos,
        Place::Pod => OwnerKind::Pod,
        Place::Container => OwnerKind::Container,
        Place::HostService => OwnerKind::HostService,
        // For example a container's monitor: the pod's, but no container's.
        Place::Other if placement.pod_end.is_some() => OwnerKind::Pod,
        Place::Other => OwnerKind::Cgroup,
    }
}
