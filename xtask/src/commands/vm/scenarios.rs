//! `cargo xtask vm --scenario`, `--deployed`, `--starts`, `--gate` and `--all`: plays scenarios in guests, and prints and keeps the
//! results.

use crate::files;
use crate::guest::options::Options;
use crate::guest::{self, DEFAULT_KERNEL, kernel};
use crate::matrix::outcome::Outcome;
use crate::matrix::plan::{self, Boot, Selection, Shapes};
use crate::matrix::play::{self, Files};
use crate::matrix::record::{self, Matrix, Played};
use crate::matrix::shape::Shape;
use crate::matrix::{gate, table};
use crate::tree::Tree;
use anyhow::{Context as _, Result, bail};
use crashtrace_judge::catalogue::{Catalogue, Scenario, Tier};
use crashtrace_judge::deployed::Deployed;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
pub(super) struct ScenarioArgs {
    /// Play these scenarios, or `all`, instead of a command.
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    #[arg(conflicts_with = "shell")]
    scenarios: Vec<String>,
    /// Play each in the guests of these shapes that meet its needs [default: once, in the first that does].
    #[arg(long = "shape", value_name = "SHAPE", value_delimiter = ',', conflicts_with = "shell")]
    shapes: Vec<Shape>,
    /// Watch with agents that use these hooks, all at once.
    #[arg(long, value_delimiter = ',', default_values = Tier::ALL.map(Tier::name), conflicts_with = "shell")]
    hooks: Vec<Tier>,
    /// Then also watch with each of these agents alone.
    #[arg(long, conflicts_with = "shell")]
    alone: bool,
    /// Also check the agent in a container, as deploy/ runs it, in guests that have runc.
    #[arg(long, conflicts_with_all = ["gate", "shell"])]
    deployed: bool,
    /// Also check how agents start and stop, with each kind of hooks by itself.
    #[arg(long, conflicts_with_all = ["gate", "shell"])]
    starts: bool,
    /// How many guests run at once.
    #[arg(long, default_value_t = 2, value_name = "N", conflicts_with = "shell")]
    jobs: usize,
    /// Play the gate's part of the matrix (see CONTRIBUTING.md).
    #[arg(long, conflicts_with_all = ["scenarios", "shapes", "alone", "all", "kernels", "shell"])]
    gate: bool,
    /// Play everything: unless limited, all scenarios on all kernels in all shapes, together and alone. A complete run of a clean
    /// tree is written to tests/results/matrix.json.
    #[arg(long, conflicts_with = "shell")]
    all: bool,
}

impl ScenarioArgs {
    pub(super) fn are_wanted(&self) -> bool {
        self.gate || self.all || self.deployed || self.starts || !self.scenarios.is_empty()
    }

    /// The guests to boot, with these kernels as the command line names them.
    fn boots(&self, kernels: &[String], catalogue: &[Scenario]) -> Result<Vec<Boot>> {
        let kernels = plan::kernels(kernels, if self.all { "all" } else { DEFAULT_KERNEL })?;
        let checks = Deployed::read()?;
        if self.gate {
            return gate::boots(catalogue, &checks);
        }
        let all = Selection::everything(&kernels, catalogue);
        let shapes = match (self.shapes.is_empty(), self.all) {
            (false, _) => Shapes::Each(self.shapes.clone()),
            (true, true) => all.shapes,
            (true, false) => Shapes::Once,
        };
        // Without any, only the other checks are wanted.
        let some = !self.scenarios.is_empty() || ((self.deployed || self.starts) && !self.all);
        let named = some && !self.scenarios.iter().any(|name| name == "all");
        let scenarios = if named { self.scenarios.clone() } else { all.scenarios };
        for name in &scenarios {
            let known = catalogue.iter().any(|scenario| scenario.name == *name);
            anyhow::ensure!(known, "there is no scenario {name}: `cargo xtask vm --list` has them");
        }
        let alone = self.all || self.alone;
        let tiers: Vec<_> = Tier::ALL.into_iter().filter(|tier| self.hooks.contains(tier)).collect();
        let deployed = self.all || self.deployed;
        let starts = self.all || self.starts;
        Selection { kernels: all.kernels, shapes, scenarios, named, tiers, alone, deployed, starts }
            .boots(catalogue, &checks)
    }
}

/// Plays, shows and keeps the results, and fails if any failed.
pub(super) fn run(args: &ScenarioArgs, kernels: &[String], options: &Options) -> Result<()> {
    let begun = Instant::now();
    let catalogue = Catalogue::read()?.scenarios;
    let boots = args.boots(kernels, &catalogue)?;
    let tree = args.all.then(Tree::look).transpose()?;
    let files = Files::for_guests(&boots, &catalogue)?;
    for label in boots.iter().map(|boot| boot.kernel).collect::<std::collections::BTreeSet<_>>() {
        guest::prepare(label)?;
    }
    let plays: usize = boots.iter().map(Boot::plays).sum();
    eprintln!("xtask: plays: {plays}, guests: {}, at a time: {}", boots.len(), args.jobs);
    let guests = play::all(&boots, &files, options, args.jobs.max(1));
    show(&guests);
    if let Some(tree) = tree {
        let everything =
            Selection::everything(&kernel::labels(), &catalogue).boots(&catalogue, &Deployed::read()?)?;
        keep(&guests, &everything, tree, begun.elapsed())?;
    }
    eprintln!("xtask: it took {} s", begun.elapsed().as_secs());
    let bad = guests.iter().flat_map(Played::bad).count();
    let all: usize = guests.iter().map(|guest| guest.judgements.len()).sum();
    let troubled = guests.iter().filter(|guest| guest.trouble.is_some()).count();
    if bad + troubled > 0 {
        bail!("{bad} of {all} results failed or were lost; {troubled} guests failed");
    }
    Ok(())
}

/// Prints the scenarios, the checks, and the guests of the gate.
pub(super) fn list() -> Result<()> {
    println!("\nscenarios, and their needs:");
    let catalogue = Catalogue::read()?.scenarios;
    let width = catalogue.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    for Scenario { name, about, needs, .. } in &catalogue {
        let needs: Vec<_> = needs.iter().map(|need| need.name()).collect();
        println!("{name:<width$}  {:<12}  {about}", needs.join(" "));
    }
    println!("\nchecks of the deployed agent:");
    let checks = Deployed::read()?;
    for check in &checks.checks {
        println!("{:<width$}  {}", check.name, check.about);
    }
    println!("\nguests of the gate:");
    for boot in gate::boots(&catalogue, &checks)? {
        let deployed = boot.deployed.iter().map(|turn| format!("; {}", turn.checks.join(" ")));
        println!("{:<16}  {}{}", boot.to_string(), boot.scenarios.join(" "), deployed.collect::<String>());
    }
    Ok(())
}

fn show(guests: &[Played]) {
    let kernels = record::merge(guests);
    println!();
    match guests {
        [guest] => print!("{}: {}\n{}", guest.boot, guest.package, table::guest(&guest.judgements)),
        _ => print!("{}", table::matrix(&kernels)),
    }
    print!("\n{}", table::costs(&kernels));
    let all: Vec<_> = guests.iter().flat_map(|guest| &guest.judgements).collect();
    let count = |outcome| all.iter().filter(|judgement| judgement.outcome == outcome).count();
    println!(
        "\n{} results: {} passed, {} blind as expected, {} with hooks that the kernel may refuse, {} failed, {} lost",
        all.len(),
        count(Outcome::Passed),
        count(Outcome::Blind),
        count(Outcome::Lacking),
        count(Outcome::Failed),
        count(Outcome::Missing)
    );
}

/// Writes the results: to the record if the run was complete, else beside it. `tree` is that of the start.
fn keep(guests: &[Played], everything: &[Boot], tree: Tree, took: Duration) -> Result<()> {
    let incomplete = tree.not_its_commit().or_else(|| record::incomplete(everything, guests));
    let matrix = Matrix {
        commit: tree.commit,
        incomplete,
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        duration_s: took.as_secs(),
        remark: None,
        kernels: record::merge(guests),
    };
    if let Some(why) = &matrix.incomplete {
        let aside = files::target_dir().join("matrix-incomplete.json");
        write(&matrix, &aside)?;
        eprintln!("xtask: {} is not changed: {why}; the results are in {}", record::NAME, aside.display());
    } else {
        write(&matrix, &record::path())?;
        eprintln!(
            "xtask: this run is in {}; `cargo xtask docs` makes the table of tested kernels of it",
            record::NAME
        );
    }
    Ok(())
}

fn write(matrix: &Matrix, path: &Path) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let text = serde_json::to_string_pretty(matrix).context("cannot write the results as JSON")?;
    fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
