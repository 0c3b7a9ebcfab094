//! Names and needs of the scenarios, and of the checks of the agent as it is deployed.

use super::super::catalogue::{Catalogue, Need, Tier};
use super::super::deployed::{Check, Deployed};

fn quiet(name: &str, need: &str) -> String {
    format!("[[scenario]]\nname = \"{name}\"\nabout = \"x\"\nneeds = [\"{need}\"]\nquiet = true\n")
}

#[test]
fn the_file_is_valid() {
    let catalogue = Catalogue::read().expect("it is");
    let own_limit = catalogue.scenario("own_limit").expect("the first of them");
    assert!(!own_limit.about.is_empty());
}

#[test]
fn needs_are_read_and_named_as_the_file_has_them() {
    for need in [Need::V1, Need::V2, Need::Guest, Need::Numa, Need::OneNode, Need::Zram] {
        let catalogue = Catalogue::parse(&quiet("a", need.name())).expect("it is as it must be");
        assert_eq!(catalogue.scenarios[0].needs, [need]);
    }
}

#[test]
fn a_scenario_that_could_not_be_played_is_refused() {
    Catalogue::parse(&quiet("a_1", "v1")).expect("as it must be");
    for wrong in
        [quiet("a", "v3"), quiet("a; reboot", "v1"), quiet("", "v1"), quiet("a", "v1") + &quiet("a", "v2")]
    {
        Catalogue::parse(&wrong).expect_err(&wrong);
    }
}

#[test]
fn tiers_are_read_by_their_names() {
    for tier in Tier::ALL {
        assert_eq!(tier.name().parse(), Ok(tier));
    }
    let wrong = "raw".parse::<Tier>().expect_err("no such hooks");
    assert_eq!(wrong, "hooks are fentry, kprobe, tracepoint");
}

#[test]
fn the_checks_of_the_deployed_agent_have_unique_names() {
    let (deployed, catalogue) =
        (Deployed::read().expect("it is as it must be"), Catalogue::read().expect("the scenarios"));
    for name in &deployed.scenarios {
        assert!(catalogue.scenario(name).is_some(), "{name}");
    }
    for Check { name, about, .. } in &deployed.checks {
        // The names become words of a shell's command line, and rows beside those of scenarios.
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!about.is_empty() && catalogue.scenario(name).is_none(), "{name}");
    }
}
