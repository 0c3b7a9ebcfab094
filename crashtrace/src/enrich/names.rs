//! Names of the owners of a case, from the source of pods' names ([`PodNames`]). PURE but for its lookups.
//!
//! The pods and containers of processes, limit and holders are looked up; the answers go on each level of each lineage. A later
//! lookup costs the same, and shows names that have become known since.

use std::collections::BTreeMap;

use super::gaps::counted;
use super::{Case, Owned, Party};
use crate::names::{Answer, Names, PodNames, Who};
use crate::schema::{
    ExitField, Field, LimitField, MemoryField, NameSource, OwnerKind, ProcessField, Qos, Unresolved,
};

/// Lookups of one case at most: a group kill may have thousands of victims, but they are in one pod.
const MOST_ASKED: usize = 256;

/// The answers about the owners of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameBook {
    /// Boxed: a map begins with room for eleven.
    answers: BTreeMap<Key, Box<Answer>>,
}

/// The pod in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pod_uid: String,
    container_id: Option<String>,
    qos: Option<Qos>,
}

impl NameBook {
    /// Puts the names on a place that was looked up, or that is in a pod that was.
    fn name(&self, party: &mut Party) {
        let Some(key) = key(party) else { return };
        let names = match self.answers.get(&key) {
            Some(answer) => answer.names.clone(),
            // Any container of the pod has its name.
            None if key.container_id.is_none() => self.of_pod(&key),
            None => None,
        };
        party.owner.name(names.map(Box::new));
    }

    fn of_pod(&self, pod: &Key) -> Option<Names> {
        let of_it = |key: &Key| key.pod_uid == pod.pod_uid && key.qos == pod.qos;
        let mut answers = self.answers.iter().filter(|(key, _)| of_it(key));
        answers.find_map(|(_, answer)| answer.names.clone()).map(Names::without_container)
    }

    /// More may be known in a moment.
    #[must_use]
    pub fn may_grow(&self) -> bool {
        self.answers.values().any(|answer| answer.soon)
    }

    /// More may be known within minutes.
    #[must_use]
    pub fn may_grow_later(&self) -> bool {
        self.answers.values().any(|answer| answer.soon || answer.later)
    }

    fn ask(&mut self, party: &Party, pods: &mut dyn PodNames) {
        let Some(key) = key(party) else { return };
        if self.answers.contains_key(&key) || self.answers.len() >= MOST_ASKED {
            return;
        }
        let Key { pod_uid, container_id, qos } = &key;
        let who = Who { pod_uid, container_id: container_id.as_deref(), qos: *qos };
        let answer = pods.find(who);
        self.answers.insert(key, Box::new(answer));
    }

    fn missing(&self, party: &Party) -> Option<&str> {
        match self.answers.get(&key(party)?) {
            Some(answer) => answer.missing.as_deref(),
            None => Some("the report is about more pods than are asked about"),
        }
    }
}

/// The key to look up for a place: in a pod, its pod and container. A container without a pod is Docker's or Podman's own, for
/// which there is no source.
fn key(party: &Party) -> Option<Key> {
    let (owner, placement) = (&party.owner, &party.placement);
    let pod_uid = owner.pod_uid.clone().or_else(|| placement.odd_uid.clone())?;
    matches!(owner.kind, OwnerKind::Container | OwnerKind::Pod).then(|| Key {
        pod_uid,
        container_id: owner.container_id.clone(),
        qos: placement.qos,
    })
}

/// Looks up all owners of the case, again if that was done before, and puts their names on them. Gives whether that has changed
/// the case.
pub fn name(case: &mut Case, pods: &mut dyn PodNames) -> bool {
    let mut book = NameBook::default();
    for party in case.owners.parties().chain(holders(case)) {
        book.ask(party, pods);
    }
    let changed = book
        .answers
        .iter()
        .any(|(key, answer)| case.names.answers.get(key).is_none_or(|before| before.names != answer.names));
    let walks = case.memory.iter_mut().chain(&mut case.limit_holders);
    let late = case.holders_late.iter_mut().flat_map(|late| &mut late.holders);
    let holders = walks.flat_map(|memory| &mut memory.holders).chain(late).map(|held| &mut held.party);
    let accounts = case.account.iter_mut().chain(&mut case.victim_account);
    let accounted = accounts.flat_map(super::Account::parties_mut);
    for party in case.owners.parties_mut().chain(holders).chain(accounted) {
        book.name(party);
    }
    case.nameless = nameless(case, &book);
    case.names = book;
    changed
}

/// Looks up the Events of the pod whose container has ended.
pub fn ask_events(case: &mut Case, pods: &mut dyn PodNames) {
    let Some(Key { pod_uid, container_id, qos }) = case.exited().and_then(key) else { return };
    let who = Who { pod_uid: &pod_uid, container_id: container_id.as_deref(), qos };
    case.exit.get_or_insert_default().events = Some(pods.events(who));
}

fn holders(case: &Case) -> impl Iterator<Item = &Party> {
    let walks = case.memory.iter().chain(&case.limit_holders);
    let late = case.holders_late.iter().flat_map(|late| &late.holders);
    walks.flat_map(|memory| &memory.holders).chain(late).map(|held| &held.party)
}

/// The status of a container that has ended, if Kubernetes knows the container and does not have it.
fn unreported(case: &Case) -> Option<Unresolved> {
    let names = case.exited()?.owner.names.as_deref()?;
    let lacks = names.container.as_ref()?.life.ended.is_none();
    let reason = match names.source {
        NameSource::Kube => "the pod's status does not have this end (yet)",
        NameSource::Cri => "the API server is not a source",
    };
    lacks.then(|| Unresolved::new(Field::Exit(ExitField::Status), reason))
}

/// Owners without a name or a part of it, with the reasons.
fn nameless(case: &Case, book: &NameBook) -> Vec<Unresolved> {
    let of = |owned: Option<Owned<'_>>| owned.and_then(|owned| book.missing(owned.nearest().ok()?));
    let mut gaps = Vec::new();
    if let Some(reason) = of(case.owners.trigger()) {
        gaps.push(Unresolved::new(Field::Trigger(ProcessField::OwnerPod), reason));
    }
    let victims: Vec<_> = (0..case.owners.victims()).map(|place| of(case.owners.victim(place))).collect();
    if let [one] = victims.as_slice() {
        gaps.extend(one.map(|reason| Unresolved::new(Field::Victim(0, ProcessField::OwnerPod), reason)));
    } else {
        let mut by_reason: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in victims.iter().flatten() {
            *by_reason.entry(reason).or_default() += 1;
        }
        for (reason, count) in by_reason {
            let field = Field::EachVictim(ProcessField::OwnerPod);
            gaps.push(Unresolved::new(field, counted(count, victims.len(), reason)));
        }
    }
    if let Some(reason) = of(case.owners.exited()) {
        gaps.push(Unresolved::new(Field::Exited(ProcessField::OwnerPod), reason));
    }
    gaps.extend(unreported(case));
    if let Some(reason) = of(case.owners.asked()).or_else(|| of(case.owners.killed())) {
        gaps.push(Unresolved::new(Field::Exit(ExitField::SenderOwnerPod), reason));
    }
    if let Some(reason) = of(case.owners.limit()) {
        gaps.push(Unresolved::new(Field::Limit(LimitField::OwnerPod), reason));
    }
    if let Some(reason) = holders(case).find_map(|party| book.missing(party)) {
        gaps.push(Unresolved::new(Field::Memory(MemoryField::HoldersOwnerPod), reason));
    }
    gaps
}
