//! The scenarios and their needs: `tests/scenario/scenarios.toml`, which the program that plays them reads too. The expected reports
//! are skipped here.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeSet;

const SOURCE: &str = include_str!("../../../tests/scenario/scenarios.toml");

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What happens in it, in one line.
    pub(crate) about: String,
    pub(crate) needs: BTreeSet<Need>,
}

/// Needs of a scenario.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Need {
    V1,
    V2,
    /// A machine that may be harmed.
    Guest,
    Numa,
    /// One NUMA node.
    OneNode,
    /// The zram module, for swap.
    Zram,
}

impl Need {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Guest => "guest",
            Self::Numa => "numa",
            Self::OneNode => "one_node",
            Self::Zram => "zram",
        }
    }
}

/// All scenarios, in the order of the file.
pub(crate) fn all() -> Result<Vec<Scenario>> {
    parse(SOURCE).context("cannot parse tests/scenario/scenarios.toml")
}

fn parse(text: &str) -> Result<Vec<Scenario>> {
    #[derive(Deserialize)]
    struct File {
        scenario: Vec<Scenario>,
    }
    let scenarios = toml::from_str::<File>(text)?.scenario;
    let mut seen = BTreeSet::new();
    for Scenario { name, .. } in &scenarios {
        // Names are words of a shell's command line.
        let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        anyhow::ensure!(
            plain && !name.is_empty(),
            "the name {name:?} has other characters than a-z, 0-9 and _"
        );
        anyhow::ensure!(seen.insert(name), "there are two scenarios {name}");
    }
    Ok(scenarios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_valid() {
        let all = all().expect("it is");
        let own_limit = all.iter().find(|scenario| scenario.name == "own_limit").expect("the first of them");
        assert!(!own_limit.about.is_empty());
    }

    #[test]
    fn reads_needs_and_passes_over_what_is_expected() {
        let text = r#"
            [[scenario]]
            name = "a"
            about = "b"
            needs = ["numa", "v2"]
            [scenario.expect.fentry]
            cause = "cgroup_oom""#;
        let all = parse(text).expect("it is valid");
        assert_eq!(all[0].needs, BTreeSet::from([Need::V2, Need::Numa]));
        assert_eq!(Need::Numa.name(), "numa");
    }

    #[test]
    fn refuses_what_could_not_be_played() {
        let scenario = |name: &str, need: &str| {
            format!("[[scenario]]\nname = \"{name}\"\nabout = \"\"\nneeds = [\"{need}\"]\n")
        };
        parse(&scenario("a_1", "v1")).expect("it is valid");
        for wrong in [
            scenario("a", "v3"),
            scenario("a; reboot", "v1"),
            scenario("", "v1"),
            scenario("a", "v1") + &scenario("a", "v2"),
        ] {
            parse(&wrong).expect_err(&wrong);
        }
    }
}
