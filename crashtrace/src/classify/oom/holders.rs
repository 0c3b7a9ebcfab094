//! The holders of the node's memory, and the victim among them.

use super::Scene;
use crate::enrich::Held;
use crate::event::{self, Constraint, Limit};
use crate::schema::{ContainerRole, NameSource, Qos};

/// How the victim relates to the holders of the node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It belongs to the holder at this place, from 0.
    Holder(usize),
    /// Its pod, or its cgroup outside of pods, held no more than this by its own figures, swap included.
    Bystander { of_pod: bool, held_bytes: u64 },
}

/// How the usage of the victim's container relates to its resource request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requested {
    pub by: Requester,
    pub used_bytes: u64,
}

/// The source of the resource request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// The API server; `None` if the container has no request.
    Kubernetes(Option<u64>),
    /// `oom_score_adj` is 1000, which kubelet gives to `BestEffort`.
    BestEffort,
    /// `oom_score_adj` is the value that kubelet gives to a container with a request between these.
    Score { adj: i16, least_bytes: u64, most_bytes: u64 },
}

impl Scene<'_> {
    /// Memory that all pods used, and the total: by the walk, else by the way from victim or trigger to the root.
    #[must_use]
    pub fn usage_of_pods(&self) -> Option<(u64, Limit)> {
        let walked = self.memory.and_then(|memory| memory.pods.as_ref());
        let walked = walked.and_then(|pods| Some((pods.usage_bytes, pods.limit?)));
        walked.or_else(|| self.kubepods().and_then(|level| Some((level.usage_bytes?, level.limit?))))
    }

    /// The pods' own cgroup in a lineage: it is on the way from each pod to the root.
    fn kubepods(&self) -> Option<&event::Level> {
        [&self.victim, &self.trigger].into_iter().flatten().find_map(|actor| {
            let end = actor.party()?.placement.kubepods_end?;
            actor.cgroups?.level_at(end).filter(|level| level.usage_bytes.is_some())
        })
    }

    /// The total for shares: that of the node's account, else the memory and swap that the decision was about; if that was all of the
    /// node's, because usage is counted over the whole node.
    #[must_use]
    pub fn share_of(&self) -> Option<u64> {
        let control = self.control.filter(|control| control.constraint == Constraint::None)?;
        let total = self.account.map_or(control.total_bytes, |account| account.total_bytes);
        Some(total).filter(|total| *total > 0)
    }

    /// It has more than half of the total, and so more than anything else.
    #[must_use]
    pub fn is_most(&self, held: &Held) -> bool {
        self.share_of().is_some_and(|total| held.usage_bytes > total / 2)
    }

    /// Position of the victim's pod or service among the holders, if all large ones were seen.
    #[must_use]
    pub fn rank(&self) -> Option<Rank> {
        let memory = self.memory.filter(|memory| !memory.incomplete && !memory.holders.is_empty())?;
        let victim = self.victim.as_ref()?;
        let (party, cgroups) = (victim.party()?, victim.cgroups?);
        // A cgroup without a memory controller is charged to a cgroup further up.
        if cgroups.unified {
            return None;
        }
        if let Some(rank) = memory.rank(party) {
            return Some(Rank::Holder(rank));
        }
        let level = match party.placement.pod_end {
            Some(end) => cgroups.level_at(end)?,
            None => cgroups.levels.first()?,
        };
        let held_bytes = held_bytes(level).filter(|held| !level.root && *held < memory.least_bytes)?;
        let of_pod = party.placement.pod_end.is_some();
        (!memory.large.contains(&party.path)).then_some(Rank::Bystander { of_pod, held_bytes })
    }

    /// How the usage of the victim's container related to its resource request, which kubelet encodes in `oom_score_adj`
    /// (`GetContainerOOMScoreAdjust`, `pkg/kubelet/qos/policy.go`): for a Burstable container `1000 - 1000 * request /
    /// capacity`, rounded, and clamped to 3 and 999; 1000 for `BestEffort`. A sidecar may get that of the container beside it,
    /// a request of the pod is spread over its containers, and a process may set its own: so the sentence names kubelet's
    /// meaning of the figure. If the API server's request is known, it is used instead. It may date from before a resize.
    #[must_use]
    pub fn requested(&self) -> Option<Requested> {
        let victim = self.victim.as_ref()?;
        let party = victim.party()?;
        let used_bytes = victim.cgroups?.level_at(party.placement.container_end?)?.usage_bytes?;
        if let Some(names) = party.owner.names.as_deref().filter(|names| names.source == NameSource::Kube) {
            // A container that only the runtime knows has no role. Where the pod's spec is known, kubelet's meaning is not guessed.
            let container = names.container.as_ref()?;
            container.role.filter(|role| *role != ContainerRole::Sandbox)?;
            return Some(Requested { by: Requester::Kubernetes(container.memory.request_bytes), used_bytes });
        }
        let adj = victim.task.oom_score_adj?;
        let by = match party.placement.qos? {
            Qos::BestEffort if adj == 1000 => Requester::BestEffort,
            Qos::Burstable if (4..=998).contains(&adj) => {
                let thousandths = 1000 - u64::from(adj.unsigned_abs());
                let capacity = self.node_memory_bytes?;
                Requester::Score {
                    adj,
                    least_bytes: capacity / 1000 * thousandths,
                    most_bytes: capacity / 1000 * (thousandths + 1),
                }
            }
            _ => return None,
        };
        Some(Requested { by, used_bytes })
    }
}

/// Memory and swap of a cgroup; on cgroup v1 the second figure includes the first.
fn held_bytes(level: &event::Level) -> Option<u64> {
    Some(level.usage_bytes?.saturating_add(level.swap_usage_bytes?))
}
