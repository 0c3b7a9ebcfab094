//! Shapes of guests: cgroup version and NUMA nodes.

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
}

impl Shape {
    pub(crate) const ALL: &[Self] = Self::VARIANTS;

    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// Whether a guest of this shape meets the needs of a scenario. Every guest may be harmed, and has zram.
    pub(crate) fn meets(self, scenario: &Scenario) -> bool {
        scenario.needs.iter().all(|need| match need {
            Need::V1 => self == Self::V1,
            Need::V2 => self != Self::V1,
            Need::Numa => self == Self::Numa,
            Need::OneNode => self != Self::Numa,
            Need::Guest | Need::Zram => true,
        })
    }
}

/// The kernels with the memory controller of cgroup v1. Debian builds later ones without it.
const WITH_V1: &[&str] = &["5.10", "6.1"];

/// The shapes of guests with this kernel.
pub(crate) fn shapes_of(kernel: &str) -> impl Iterator<Item = Shape> {
    // Registers, layouts and hooks differ there, and one shape shows that.
    let is_arm = Spec::labelled(kernel).is_ok_and(|spec| spec.arch == Arch::Aarch64);
    Shape::ALL.iter().copied().filter(move |shape| match shape {
        Shape::V2 => true,
        Shape::Numa => !is_arm,
        Shape::V1 => WITH_V1.contains(&kernel),
    })
}
