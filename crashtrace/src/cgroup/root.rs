//! The root of a node's cgroups.

use serde::{Deserialize, Serialize};

use crate::event::{Level, Lineage};

/// The root of a node's cgroups. A node may be a container of the machine (kind, k3d, minikube): the root of its hierarchy is
/// then a cgroup of the machine, while the kernel gives paths from the machine's root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRoot {
    /// Inode of that cgroup in the memory controller's hierarchy; `None` for the root of the machine.
    pub cgroup_id: Option<u64>,
    /// The memory controller is on cgroup v1. Cgroups of the unified hierarchy then have different inodes.
    pub v1: bool,
    /// There is no memory controller: it is switched off (`cgroup_disable=memory`) or not built in, so no limit can be in force.
    #[serde(default)]
    pub no_controller: bool,
}

impl NodeRoot {
    /// Whether it is this cgroup.
    #[must_use]
    pub fn is(self, level: &Level) -> bool {
        self.cgroup_id.is_some() && self.cgroup_id == level.cgroup_id && !level.root
    }

    /// The length of the path up to there, in bytes; 0 if the path is not below it.
    #[must_use]
    pub fn bytes_in(self, lineage: &Lineage) -> usize {
        self.bytes_above(lineage, 0, lineage.skipped)
    }

    /// The same for the path of `levels[from]`, below which `skipped` levels are not in the lineage.
    #[must_use]
    pub fn bytes_above(self, lineage: &Lineage, from: usize, skipped: u16) -> usize {
        if self.cgroup_id.is_none() || self.v1 && lineage.unified {
            return 0;
        }
        let at = lineage.levels.iter().skip(from).position(|level| self.is(level));
        at.filter(|at| *at > 0 || skipped > 0).map_or(0, |at| lineage.path_of(from + at).len())
    }
}
