//! The gate's part of the matrix: 15 minutes on two cores. `cargo xtask vm --all` plays the rest.
//!
//! The tests below check that every kernel, scenario, shape and kind of hooks is in it.

use super::plan::{self, Boot, DeployedTurn};
use super::shape::Shape;
use anyhow::Result;
use crashtrace_judge::catalogue::{Scenario, Tier};
use crashtrace_judge::deployed::Deployed;
use crashtrace_judge::starts::Check;
use std::fmt::Write as _;

pub(crate) struct Row {
    pub(crate) kernel: &'static str,
    pub(crate) shape: Shape,
    pub(crate) scenarios: Pick,
    pub(crate) deployed: Checks,
    /// Whether it checks how agents start and stop.
    pub(crate) starts: bool,
    /// Why it is in the gate.
    pub(crate) why: &'static str,
}

/// Scenarios of a row.
pub(crate) enum Pick {
    /// All that a guest of this shape can play.
    All,
    /// Those that no other shape can play, and these.
    OnlyHereAnd(&'static [&'static str]),
    These(&'static [&'static str]),
}

/// Checks of the deployed agent. If there are any, scenarios are played with it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    None,
    All,
    These(&'static [&'static str]),
}

/// Checks that may depend on the kernel: the container's properties, what it leaves behind, its start.
const OF_KERNEL: Checks = Checks::These(&["as_deployed", "leaves_nothing", "with_everything"]);

/// Scenarios that differ most between kernels: a limit, a group kill, the node's memory, free lists; the first process of a
/// container, its faults and its signals.
const CORE: Pick = Pick::These(&[
    "own_limit",
    "shallow_trigger",
    "oom_group",
    "system",
    "fragmentation",
    "low_memory",
    "exit_1",
    "seccomp_kill",
    "term_ignored_then_kill",
    "threads_50",
    "share_process_namespace",
]);

/// In each guest all kinds of hooks watch at once. The longest come first: two guests run at a time.
pub(crate) const GATE: &[Row] = &[
    Row {
        kernel: "6.1",
        shape: Shape::V2,
        scenarios: Pick::All,
        deployed: Checks::All,
        starts: true,
        why: "closest to what most nodes run",
    },
    Row {
        kernel: "sid",
        shape: Shape::V2,
        scenarios: Pick::These(&[
            "own_limit",
            "one_container",
            "bystander",
            "shallow_trigger",
            "oom_group",
            "limit_write",
            "no_victim",
            "no_victim_anew",
            "sysrq",
            "system",
            "fragmentation",
            "low_memory",
            "atomic_failure",
            "fragmentation_oom",
            "charge_failure",
            "bpf_map_charge",
            "exit_1",
            "segv_null",
            "seccomp_kill",
            "cpu_limit_kill",
            "threads_50",
            "host_pid",
            "share_process_namespace",
            "pause_killed",
            "term_ignored_then_kill",
            "cgroup_kill",
            "exec_dies",
            "oom_child_then_exit",
        ]),
        deployed: OF_KERNEL,
        starts: false,
        why: "the newest",
    },
    Row {
        kernel: "5.10",
        shape: Shape::V1,
        scenarios: Pick::OnlyHereAnd(&[
            "own_limit",
            "bystander",
            "shallow_trigger",
            "system",
            "exit_1",
            "seccomp_kill",
            "threads_50",
            "host_pid",
            "share_process_namespace",
            "term_ignored_then_kill",
            "killed_by_service",
            "exec_dies",
            "oom_child_then_exit",
        ]),
        deployed: Checks::These(&["as_deployed", "leaves_nothing", "without_sys_resource"]),
        starts: false,
        why: "cgroup v1, and scenarios of it alone",
    },
    Row {
        kernel: "6.1",
        shape: Shape::Numa,
        scenarios: Pick::OnlyHereAnd(&["own_limit"]),
        deployed: Checks::None,
        starts: false,
        why: "scenarios of two NUMA nodes",
    },
    Row {
        kernel: "6.1",
        shape: Shape::Movable,
        scenarios: Pick::OnlyHereAnd(&[]),
        deployed: Checks::None,
        starts: false,
        why: "memory that the kernel may not use",
    },
    Row {
        kernel: "6.1",
        shape: Shape::NoMemcg,
        scenarios: Pick::OnlyHereAnd(&[]),
        deployed: Checks::None,
        starts: false,
        why: "no memory controller",
    },
    Row {
        kernel: "5.10",
        shape: Shape::V2,
        scenarios: CORE,
        deployed: Checks::None,
        starts: false,
        why: "the oldest",
    },
    Row {
        kernel: "6.12",
        shape: Shape::V2,
        scenarios: CORE,
        deployed: Checks::None,
        starts: false,
        why: "the current stable",
    },
    Row {
        kernel: "6.12-rt",
        shape: Shape::V2,
        scenarios: CORE,
        deployed: Checks::None,
        starts: false,
        why: "fully preemptible, and not a cloud build",
    },
    Row {
        kernel: "arm64-6.12",
        shape: Shape::V2,
        scenarios: CORE,
        deployed: Checks::None,
        starts: false,
        why: "another processor",
    },
    Row {
        kernel: "arm64-6.1",
        shape: Shape::V2,
        scenarios: CORE,
        deployed: Checks::None,
        starts: false,
        why: "arm64 without fentry",
    },
];

pub(crate) fn boots(catalogue: &[Scenario], deployed: &Deployed) -> Result<Vec<Boot>> {
    let mut boots = Vec::new();
    for row in GATE {
        let scenarios = row.scenarios(catalogue)?;
        if !scenarios.is_empty() {
            let turns = plan::turns(&Tier::ALL, false);
            let deployed = row.deployed.turn(deployed)?;
            let (kernel, shape, starts) = (row.kernel, row.shape, row.starts);
            let boot = Boot { kernel, shape, scenarios, turns, verifier: false, deployed, starts };
            plan::push(&mut boots, boot);
        }
    }
    Ok(boots)
}

impl Checks {
    fn turn(self, all: &Deployed) -> Result<Option<DeployedTurn>> {
        let checks = match self {
            Self::None => return Ok(None),
            Self::All => all.names(),
            Self::These(names) => names.iter().map(|&name| name.to_owned()).collect(),
        };
        for name in &checks {
            anyhow::ensure!(all.names().contains(name), "the gate names an unknown check, {name}");
        }
        Ok(Some(DeployedTurn { scenarios: all.scenarios.clone(), checks }))
    }
}

impl Row {
    fn scenarios(&self, catalogue: &[Scenario]) -> Result<Vec<String>> {
        let only_here = |scenario: &Scenario| {
            Shape::ALL.iter().all(|shape| shape.meets(scenario) == (*shape == self.shape))
        };
        let named = match self.scenarios {
            Pick::All => &[],
            Pick::OnlyHereAnd(named) | Pick::These(named) => named,
        };
        for name in named {
            let known = catalogue.iter().any(|scenario| scenario.name == *name);
            anyhow::ensure!(known, "the gate names an unknown scenario, {name}");
        }
        let is_chosen = |scenario: &&Scenario| match self.scenarios {
            _ if named.contains(&scenario.name.as_str()) => true,
            Pick::All => self.shape.meets(scenario),
            Pick::OnlyHereAnd(_) => only_here(scenario),
            Pick::These(_) => false,
        };
        let chosen = catalogue.iter().filter(is_chosen);
        Ok(chosen.map(|scenario| scenario.name.clone()).collect())
    }
}

/// The table in CONTRIBUTING.md.
pub(crate) fn markdown() -> String {
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut text = "| kernel | shape | scenarios | as deployed | why |\n|---|---|---|---|---|\n".to_owned();
    for Row { kernel, shape, scenarios, deployed, starts, why } in GATE {
        let scenarios = match scenarios {
            Pick::All => "all that it can play".to_owned(),
            Pick::OnlyHereAnd([]) => "those that no other shape can play".to_owned(),
            Pick::OnlyHereAnd(names) => {
                format!("{}; those that no other shape can play", list(names))
            }
            Pick::These(names) => list(names),
        };
        let scenarios =
            if *starts { format!("{scenarios}; {}", list(&Check::ALL.map(Check::name))) } else { scenarios };
        let deployed = match deployed {
            Checks::None => "-".to_owned(),
            Checks::All => "all".to_owned(),
            Checks::These(names) => list(names),
        };
        writeln!(text, "| {kernel} | {} | {scenarios} | {deployed} | {why} |", shape.name())
            .unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::deployed;
    use super::*;
    use crate::guest::kernel;
    use crate::matrix::shape::shapes_of;
    use crashtrace_judge::catalogue::Catalogue;
    use std::collections::BTreeSet;

    fn gate() -> (Vec<Scenario>, Vec<Boot>) {
        let catalogue = Catalogue::read().expect("the catalogue").scenarios;
        let boots = boots(&catalogue, &Deployed::read().expect("the checks")).expect("the gate");
        (catalogue, boots)
    }

    #[test]
    fn every_scenario_has_its_turn() {
        let (catalogue, boots) = gate();
        let played: BTreeSet<_> = boots.iter().flat_map(|boot| &boot.scenarios).collect();
        let left_out: Vec<_> =
            catalogue.iter().map(|it| &it.name).filter(|name| !played.contains(name)).collect();
        assert!(left_out.is_empty(), "{left_out:?}");
    }

    #[test]
    fn every_check_of_the_agent_as_it_is_deployed_has_its_turn() {
        let (_, boots) = gate();
        let done: BTreeSet<_> =
            boots.iter().flat_map(|boot| &boot.deployed).flat_map(|turn| &turn.checks).collect();
        assert_eq!(done, Deployed::read().expect("the checks").names().iter().collect());
        for boot in boots.iter().filter(|boot| boot.deployed.is_some()) {
            assert!(deployed::is_possible(boot.kernel, boot.shape), "{boot}");
        }
    }

    #[test]
    fn starts_are_checked_with_all_hooks() {
        let (_, boots) = gate();
        assert!(boots.iter().any(|boot| boot.starts && boot.start_tiers() == Tier::ALL));
    }

    #[test]
    fn every_kernel_has_its_turn() {
        let (_, boots) = gate();
        let booted: BTreeSet<_> = boots.iter().map(|boot| boot.kernel).collect();
        assert_eq!(booted, kernel::labels().into_iter().collect());
    }

    #[test]
    fn every_shape_has_its_turn() {
        let (_, boots) = gate();
        assert_eq!(
            boots.iter().map(|boot| boot.shape).collect::<BTreeSet<_>>(),
            Shape::ALL.iter().copied().collect()
        );
    }

    #[test]
    fn every_kind_of_hooks_watches_every_scenario() {
        let (_, boots) = gate();
        assert!(boots.iter().all(|boot| boot.turns == [Tier::ALL]));
    }

    #[test]
    fn every_guest_exists_and_meets_what_is_played_in_it() {
        let (catalogue, boots) = gate();
        for boot in boots {
            assert!(shapes_of(boot.kernel).any(|shape| shape == boot.shape), "{boot}");
            for scenario in catalogue.iter().filter(|scenario| boot.scenarios.contains(&scenario.name)) {
                assert!(boot.shape.meets(scenario), "{boot}: {}", scenario.name);
            }
        }
    }

    #[test]
    fn contributors_are_told_each_guest() {
        let text = markdown();
        assert_eq!(text.lines().count(), 2 + GATE.len());
        let oldest = "| 5.10 | v2 | `own_limit`, `shallow_trigger`, `oom_group`, `system`, `fragmentation`, `low_memory`, \
            `exit_1`, `seccomp_kill`, `term_ignored_then_kill`, `threads_50`, `share_process_namespace` | - | the oldest |";
        assert!(text.contains(oldest), "{text}");
    }
}
