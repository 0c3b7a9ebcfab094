//! Which guests to boot, and what to play in each. Pure.

use super::deployed;
use super::shape::{Shape, kernel_meets, shapes_of};
use super::tier::{by_hand, may_lack};
use crate::guest::kernel;
use anyhow::{Result, bail};
use crashtrace_judge::catalogue::{Scenario, Tier};
use crashtrace_judge::deployed::Deployed;
use crashtrace_judge::starts::Check;
use std::fmt;

/// The labels of these kernels, oldest first; `all` stands for all of them.
pub(crate) fn kernels(named: &[String], default: &str) -> Result<Vec<&'static str>> {
    let named: Vec<_> =
        if named.is_empty() { vec![default] } else { named.iter().map(String::as_str).collect() };
    let labels = kernel::labels();
    for name in &named {
        let known = *name == "all" || labels.contains(name);
        anyhow::ensure!(known, "there is no kernel {name}: the labels are {}", labels.join(", "));
    }
    Ok(labels.into_iter().filter(|label| named.contains(&"all") || named.contains(label)).collect())
}

/// One guest, and its plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) kernel: &'static str,
    pub(crate) shape: Shape,
    pub(crate) scenarios: Vec<String>,
    /// All scenarios are played once for each turn, with agents that use these hooks.
    pub(crate) turns: Vec<Vec<Tier>>,
    /// Whether the verifier's cost of each program is recorded.
    pub(crate) verifier: bool,
    /// The turn after these checks the deployed agent.
    pub(crate) deployed: Option<DeployedTurn>,
    /// The last turn checks how agents start and stop ([`Check`]).
    pub(crate) starts: bool,
}

/// A turn with the agent in a container, as deploy/ runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeployedTurn {
    /// Played with this agent and, beside it, one that runs on the host.
    pub(crate) scenarios: Vec<String>,
    /// Names in `deployed.toml`.
    pub(crate) checks: Vec<String>,
}

impl fmt::Display for Boot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kernel, self.shape.name())
    }
}

impl Boot {
    /// The number of plays and checks.
    pub(crate) fn plays(&self) -> usize {
        let deployed = self.deployed.iter().map(|turn| turn.scenarios.len() + turn.checks.len());
        let starts = if self.starts { Check::ALL.len() * self.start_tiers().len() } else { 0 };
        self.scenarios.len() * self.turns.len() + deployed.sum::<usize>() + starts
    }

    /// The hooks with which starts are checked: those that this kernel must have.
    pub(crate) fn start_tiers(&self) -> Vec<Tier> {
        Tier::ALL.into_iter().filter(|tier| !may_lack(self.kernel).contains(tier)).collect()
    }

    /// The number of the turn that checks starts.
    pub(crate) fn starts_turn(&self) -> usize {
        self.turns.len() + usize::from(self.deployed.is_some())
    }
}

/// The shapes in which a scenario is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shapes {
    /// The first that meets its needs.
    Once,
    /// Each of these that does.
    Each(Vec<Shape>),
}

/// The plays that the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub(crate) struct Selection {
    pub(crate) kernels: Vec<&'static str>,
    pub(crate) shapes: Shapes,
    /// Names, in the catalogue's order.
    pub(crate) scenarios: Vec<String>,
    /// The user gave the names, so each must be played.
    pub(crate) named: bool,
    pub(crate) tiers: Vec<Tier>,
    /// Each kind of hooks also has a turn alone.
    pub(crate) alone: bool,
    /// The deployed agent is also checked, where a guest can run it.
    pub(crate) deployed: bool,
    /// One guest of each kernel also checks how agents start and stop.
    pub(crate) starts: bool,
}

impl Selection {
    pub(crate) fn everything(kernels: &[&'static str], catalogue: &[Scenario]) -> Self {
        Self {
            kernels: kernels.to_vec(),
            shapes: Shapes::Each(Shape::ALL.to_vec()),
            scenarios: catalogue.iter().map(|scenario| scenario.name.clone()).collect(),
            named: false,
            tiers: Tier::ALL.to_vec(),
            alone: true,
            deployed: true,
            starts: true,
        }
    }

    /// The guests to boot.
    pub(crate) fn boots(&self, catalogue: &[Scenario], deployed: &Deployed) -> Result<Vec<Boot>> {
        let mut boots: Vec<Boot> = Vec::new();
        for &kernel in &self.kernels {
            let shapes: Vec<_> = shapes_of(kernel).collect();
            for shape in &shapes {
                let chosen = |scenario: &&Scenario| {
                    self.scenarios.contains(&scenario.name)
                        && shape.meets(scenario)
                        && kernel_meets(kernel, scenario)
                        && match &self.shapes {
                            Shapes::Once => shapes.iter().find(|shape| shape.meets(scenario)) == Some(shape),
                            Shapes::Each(asked) => asked.contains(shape),
                        }
                };
                let scenarios: Vec<_> =
                    catalogue.iter().filter(chosen).map(|chosen| chosen.name.clone()).collect();
                let wanted = match &self.shapes {
                    Shapes::Once => shapes.first() == Some(shape),
                    Shapes::Each(asked) => asked.contains(shape),
                };
                let deployed =
                    (self.deployed && wanted && deployed::is_possible(kernel, *shape)).then(|| {
                        DeployedTurn { scenarios: deployed.scenarios.clone(), checks: deployed.names() }
                    });
                let starts = self.starts && wanted && !boots.iter().any(|boot| boot.kernel == kernel);
                if !scenarios.is_empty() || deployed.is_some() || starts {
                    let turns =
                        if scenarios.is_empty() { Vec::new() } else { turns(&self.tiers, self.alone) };
                    push(
                        &mut boots,
                        Boot { kernel, shape: *shape, scenarios, turns, verifier: false, deployed, starts },
                    );
                }
            }
        }
        // A run without plays would look like success.
        let left_out =
            self.scenarios.iter().find(|name| !boots.iter().any(|boot| boot.scenarios.contains(name)));
        if let Some(name) = left_out.filter(|_| self.named || boots.is_empty()) {
            bail!("no selected guest meets the needs of {name}: see `cargo xtask vm --list`");
        }
        if boots.is_empty() {
            bail!("no selected guest can run the deployed agent");
        }
        Ok(boots)
    }
}

/// Adds a guest. The first of each kernel records the verifier's cost, which does not depend on the shape.
pub(crate) fn push(boots: &mut Vec<Boot>, boot: Boot) {
    let verifier = !boots.iter().any(|other| other.kernel == boot.kernel);
    boots.push(Boot { verifier, ..boot });
}

/// All kinds of hooks at once, which see the same kills and must agree; then each alone, if `alone`.
pub(crate) fn turns(tiers: &[Tier], alone: bool) -> Vec<Vec<Tier>> {
    let mut turns = vec![tiers.to_vec()];
    if alone && tiers.len() > 1 {
        turns.extend(tiers.iter().map(|tier| vec![*tier]));
    }
    turns
}

/// Before the number of a turn, where it begins in the guest's output.
pub(crate) const TURN: &str = "crashtrace-turn: ";

fn list<'a>(tiers: impl Iterator<Item = &'a Tier>) -> String {
    tiers.map(|tier| tier.name()).collect::<Vec<_>>().join(",")
}

/// The guest's command. Each turn is played even if the one before failed.
pub(crate) fn script(boot: &Boot) -> String {
    let names = boot.scenarios.join(" ");
    let mut lines = vec!["status=0".to_owned()];
    if boot.verifier {
        lines.push("/bin/scenario verifier || status=1".to_owned());
    }
    for (number, tiers) in boot.turns.iter().enumerate() {
        let hooks = list(tiers.iter());
        let lackable = list(tiers.iter().filter(|tier| may_lack(boot.kernel).contains(tier)));
        let may_lack = if lackable.is_empty() { String::new() } else { format!("--may-lack {lackable} ") };
        lines.push(format!("echo '{TURN}{number}'"));
        lines.push(format!(
            "/bin/scenario run --guest --crashtrace /bin/crashtrace --hooks {hooks} {may_lack}{names} || status=1"
        ));
    }
    if let Some(DeployedTurn { scenarios, checks }) = &boot.deployed {
        lines.push(format!("echo '{TURN}{}'", boot.turns.len()));
        lines.extend(deployed::script(scenarios, checks, by_hand(boot.kernel).name()));
    }
    if boot.starts {
        lines.push(format!("echo '{TURN}{}'", boot.starts_turn()));
        lines.push(format!(
            "/bin/scenario starts --guest --crashtrace /bin/crashtrace --rounds 2 --hooks {} {} || status=1",
            list(boot.start_tiers().iter()),
            Check::ALL.map(Check::name).join(" ")
        ));
    }
    lines.push("exit $status".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests;
