//! Checks of how an agent starts and stops.

use std::str::FromStr;

use strum::{IntoStaticStr, VariantArray};

#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Check {
    /// Start and stop while the kernel kills: each kill in between is reported, and none outside as a complete one.
    Sessions,
    /// With another kernel's BTF the agent exits with 4, also where the kernel's own BTF cannot be read.
    WrongBtf,
    /// Hooks that are pinned: an agent that is killed, one that ends, and one with other options, while the kernel kills. Each kill that
    /// no agent had taken is told once.
    Pinned,
}

impl Check {
    pub const ALL: [Self; Self::VARIANTS.len()] = *Self::VARIANTS.first_chunk().expect("all of them");

    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// From a command line.
impl FromStr for Check {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let check = Self::ALL.into_iter().find(|check| check.name() == name);
        check.ok_or_else(|| format!("checks are {}", Self::ALL.map(Self::name).join(", ")))
    }
}
