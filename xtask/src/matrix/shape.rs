//! Shapes of guests: cgroup version, NUMA nodes, and what a kernel's command line gives or takes.

use crate::arch::Arch;
use crate::guest::kernel::Spec;
use crashtrace_judge::catalogue::{Need, Scenario};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// The preferred shapes for a scenario first.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    VariantArray,
    IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Shape {
    /// One node, cgroup v2.
    V2,
    /// Two NUMA nodes of a CPU each, cgroup v2.
    Numa,
    /// One node, cgroup v1.
    V1,
    /// As `v2`, with more than half of its memory in zone Movable.
    Movable,
    /// As `v2`, without the memory controller.
    NoMemcg,
}

impl Shape {
    pub(crate) const ALL: &[Self] = Self::VARIANTS;

    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// What it has on the kernel's command line.
    pub(crate) fn kernel_arg(self) -> Option<&'static str> {
        match self {
            Self::V2 | Self::Numa => None,
            // Before 5.18 memory and swap together are counted and limited only then.
            Self::V1 => Some("swapaccount=1"),
            Self::Movable => Some("movablecore=280M"),
            Self::NoMemcg => Some("cgroup_disable=memory"),
        }
    }

    /// Whether a guest of this shape meets the needs of a scenario. Every guest may be harmed, and has zram. The last two shapes are
    /// for what needs them alone.
    pub(crate) fn meets(self, scenario: &Scenario) -> bool {
        let special = match self {
            Self::Movable => Some(Need::Movable),
            Self::NoMemcg => Some(Need::NoMemoryController),
            Self::V2 | Self::Numa | Self::V1 => None,
        };
        let needs = &scenario.needs;
        special.is_none_or(|need| needs.contains(&need))
            && needs.iter().all(|need| match need {
                Need::V1 => self == Self::V1,
                Need::V2 => self != Self::V1,
                Need::Numa => self == Self::Numa,
                Need::OneNode => self != Self::Numa,
                Need::Movable => self == Self::Movable,
                Need::NoMemoryController => self == Self::NoMemcg,
                Need::Guest | Need::Zram | Need::ChargedMaps => true,
            })
    }
}

/// The kernels that count BPF maps against the limit of locked memory instead of a memory cgroup.
const WITHOUT_CHARGED_MAPS: &[&str] = &["5.10"];

/// Whether a kernel meets the needs of a scenario.
pub(crate) fn kernel_meets(kernel: &str, scenario: &Scenario) -> bool {
    !scenario.needs.contains(&Need::ChargedMaps) || !WITHOUT_CHARGED_MAPS.contains(&kernel)
}

/// The kernels with the memory controller of cgroup v1. Debian builds later ones without it.
const WITH_V1: &[&str] = &["5.10", "6.1"];

/// The kernels with guests for a few scenarios alone: what most nodes run, the current stable, and the newest.
const SPECIAL: &[&str] = &["6.1", "6.12", "sid"];

/// The shapes of guests with this kernel.
pub(crate) fn shapes_of(kernel: &str) -> impl Iterator<Item = Shape> {
    // Registers, layouts and hooks differ there, and one shape shows that.
    let is_arm = Spec::labelled(kernel).is_ok_and(|spec| spec.arch == Arch::Aarch64);
    Shape::ALL.iter().copied().filter(move |shape| match shape {
        Shape::V2 => true,
        Shape::Numa => !is_arm,
        Shape::V1 => WITH_V1.contains(&kernel),
        Shape::Movable | Shape::NoMemcg => SPECIAL.contains(&kernel),
    })
}
