//! Kinds of hooks, and which of them a kernel may refuse.

use serde::{Deserialize, Serialize};

/// As `crashtrace watch --hooks` takes them, the preferred first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    Fentry,
    Kprobe,
    Tracepoint,
}

impl Tier {
    pub(crate) const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// The hooks that a kernel is known to refuse. If it accepts them, they must work.
pub(crate) fn may_lack(kernel: &str) -> &'static [Tier] {
    match kernel {
        // Fentry needs ftrace's direct calls, which arm64 has from 6.4 on.
        "arm64-6.1" => &[Tier::Fentry],
        _ => &[],
    }
}

/// The hooks that an agent chooses by itself on this kernel.
pub(crate) fn by_hand(kernel: &str) -> Tier {
    let may_lack = may_lack(kernel);
    Tier::ALL.into_iter().find(|tier| !may_lack.contains(tier)).unwrap_or(Tier::Tracepoint)
}
