//! `cargo xtask vm --scenario`, `--gate` and `--all`: plays scenarios of `tests/scenario` in guests, and shows what came
//! of them.
//!
//! `plan` says which guests to boot and `gate` what the gate boots, `outcome` holds what comes out of them against what
//! was to be played, `record` puts guests together, `table` draws. Only this file boots, prints and writes.

pub(crate) mod catalogue;
pub(crate) mod deployed;
pub(crate) mod gate;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod record;
mod table;

use super::kernel::{self, Spec};
use super::{Exit, GuestFile, OnLine, Options, prepare, run_in_guest};
use crate::build::{self, Program};
use crate::exec;
use anyhow::{Context as _, Result, bail};
use catalogue::Scenario;
use outcome::Outcome;
use plan::{Boot, Selection, Shape, Shapes, Tier};
use record::{Matrix, Played};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Which scenarios, in which guests, before whom.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
pub(crate) struct Wanted {
    /// Play these scenarios (`all` of them) in place of a command.
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    #[arg(conflicts_with = "shell")]
    scenarios: Vec<String>,
    /// In each guest of these shapes that meets their needs. Unless given, each is played once, in the first of
    /// v2, numa, v1 that does.
    #[arg(long = "shape", value_name = "SHAPE", value_delimiter = ',', conflicts_with = "shell")]
    shapes: Vec<Shape>,
    /// Before agents with these hooks, all at once.
    #[arg(long, value_delimiter = ',', default_values = Tier::ALL.map(Tier::name), conflicts_with = "shell")]
    hooks: Vec<Tier>,
    /// Then also before each of these agents by itself.
    #[arg(long, conflicts_with = "shell")]
    alone: bool,
    /// Also check the agent as deploy/ has it, in a container, in the guests that can have it.
    #[arg(long, conflicts_with_all = ["gate", "shell"])]
    deployed: bool,
    /// Also check how agents start and stop, with each kind of hooks by itself.
    #[arg(long, conflicts_with_all = ["gate", "shell"])]
    starts: bool,
    /// How many guests run at once.
    #[arg(long, default_value_t = 2, value_name = "N", conflicts_with = "shell")]
    jobs: usize,
    /// Play what the gate plays (CONTRIBUTING.md has it).
    #[arg(long, conflicts_with_all = ["scenarios", "shapes", "alone", "all", "kernels", "shell"])]
    gate: bool,
    /// Play everything: unless limited, all scenarios on all kernels in all shapes, together and alone. A whole run of
    /// a clean tree goes into tests/results/matrix.json.
    #[arg(long, conflicts_with = "shell")]
    all: bool,
}

impl Wanted {
    /// Whether scenarios are to be played at all.
    pub(super) fn are_wanted(&self) -> bool {
        self.gate || self.all || self.deployed || self.starts || !self.scenarios.is_empty()
    }

    /// The kernels where none is given.
    pub(super) fn unless_given(&self) -> &'static str {
        if self.all { "all" } else { super::DEFAULT_KERNEL }
    }

    /// The guests that it takes, with these kernels.
    fn boots(&self, kernels: &[&'static str], catalogue: &[Scenario]) -> Result<Vec<Boot>> {
        let checks = deployed::all()?;
        if self.gate {
            return gate::boots(catalogue, &checks);
        }
        let all = Selection::everything(kernels, catalogue);
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

/// Plays, shows what came of it, and fails if anything is not as it must be.
pub(super) fn run(args: &Wanted, kernels: &[&'static str], options: &Options) -> Result<()> {
    let begun = Instant::now();
    let catalogue = catalogue::all()?;
    let boots = args.boots(kernels, &catalogue)?;
    let tree = args.all.then(Tree::look).transpose()?;
    let files = Files::of(&boots)?;
    for label in boots.iter().map(|boot| boot.kernel).collect::<std::collections::BTreeSet<_>>() {
        prepare(label)?;
    }
    let plays: usize = boots.iter().map(Boot::plays).sum();
    eprintln!("xtask: plays: {plays}, guests: {}, at a time: {}", boots.len(), args.jobs);
    let guests = play_all(&boots, &files, options, args.jobs.max(1));
    show(&guests);
    if let Some(tree) = tree {
        let everything =
            Selection::everything(&super::labels(), &catalogue).boots(&catalogue, &deployed::all()?)?;
        keep(&guests, &everything, tree, begun.elapsed())?;
    }
    eprintln!("xtask: it took {} s", begun.elapsed().as_secs());
    let bad = guests.iter().flat_map(Played::bad).count();
    let all: usize = guests.iter().map(|guest| guest.verdicts.len()).sum();
    let troubled = guests.iter().filter(|guest| guest.trouble.is_some()).count();
    if bad + troubled > 0 {
        bail!("{bad} of {all} results are not as they must be; {troubled} guests had trouble of their own");
    }
    Ok(())
}

/// The guests, and the scenarios, and which of them the gate plays.
pub(super) fn list() -> Result<()> {
    println!("\nscenarios, and what they need:");
    let catalogue = catalogue::all()?;
    let width = catalogue.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    for Scenario { name, about, needs } in &catalogue {
        let needs: Vec<_> = needs.iter().map(|need| need.name()).collect();
        println!("{name:<width$}  {:<12}  {about}", needs.join(" "));
    }
    println!("\nchecks of the agent as it is deployed:");
    let checks = deployed::all()?;
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

/// What guests take along.
struct Files {
    /// The programs, by the target they are built for.
    programs: BTreeMap<&'static str, Vec<GuestFile>>,
    /// What it takes to have the agent as it is deployed; nothing where no guest has it.
    deployed: Vec<GuestFile>,
}

impl Files {
    fn of(boots: &[Boot]) -> Result<Self> {
        let deployed = boots.iter().any(|boot| boot.deployed.is_some());
        let deployed = if deployed { deployed::files()? } else { Vec::new() };
        Ok(Self { programs: programs(boots)?, deployed })
    }
}

fn programs(boots: &[Boot]) -> Result<BTreeMap<&'static str, Vec<GuestFile>>> {
    let mut programs = BTreeMap::new();
    for boot in boots {
        let target = Spec::of(boot.kernel)?.arch.target();
        if programs.contains_key(target) {
            continue;
        }
        let wanted = [Program::Bin("crashtrace"), Program::Example("scenario")];
        let paths = build::build(&wanted, "release", Some(target))?;
        let files = paths.into_iter().zip(["/bin/crashtrace", "/bin/scenario"]);
        let files = files.map(|(host, guest)| GuestFile { guest: guest.to_owned(), host, mode: 0o755 });
        programs.insert(target, files.collect());
    }
    Ok(programs)
}

/// Boots them, so many at a time, in the order given.
fn play_all(boots: &[Boot], files: &Files, options: &Options, jobs: usize) -> Vec<Played> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, boot)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            boots.get(number).map(|boot| (number, boot))
        } {
            eprintln!(
                "xtask: {boot}: guest {} of {}; scenarios: {}, turns: {}",
                number + 1,
                boots.len(),
                boot.scenarios.len(),
                boot.turns.len()
            );
            let played = play(boot, files, options);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((number, played));
            report(&done[done.len() - 1].1);
            eprintln!("xtask: {} of {} guests are done", done.len(), boots.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(boots.len()) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, played)| played).collect()
}

/// Boots one guest, and judges what comes out of it.
fn play(boot: &Boot, files: &Files, options: &Options) -> Played {
    /// A scenario takes a second or two; emulated, on a busy machine, and waiting for a line that does not come, more.
    const PLAY_SECS: u64 = 45;
    const AROUND_SECS: u64 = 180;
    let prefix = format!("{:<16}|", boot.to_string());
    let options = Options {
        cgroup_v1: boot.shape == Shape::V1,
        numa_nodes: if boot.shape == Shape::Numa { 2 } else { 1 },
        cpus: if boot.shape == Shape::Numa { options.cpus.max(2) } else { options.cpus },
        timeout_secs: options.timeout_secs.max(AROUND_SECS + PLAY_SECS * boot.plays() as u64),
        name: Some(boot.to_string()),
        on_line: OnLine::new(move |line| {
            if !line.is_empty() && !outcome::is_result(line) {
                eprintln!("{prefix} {line}");
            }
        }),
        ..options.clone()
    };
    let mut played = Played {
        boot: boot.clone(),
        arch: String::new(),
        package: kernel::version_here(&super::dir(), boot.kernel).unwrap_or_default(),
        verdicts: Vec::new(),
        costs: Vec::new(),
        trouble: None,
        logs: None,
    };
    let output = Spec::of(boot.kernel).and_then(|spec| {
        let target = spec.arch.target();
        target.split('-').next().unwrap_or(target).clone_into(&mut played.arch);
        let mut taken = files.programs[target].clone();
        if boot.deployed.is_some() {
            taken.extend(files.deployed.iter().cloned());
        }
        run_in_guest(boot.kernel, &taken, &plan::script(boot), &options)
    });
    match output {
        Ok(output) => {
            played.verdicts = outcome::judge(boot, &output.results);
            played.costs = outcome::costs(&output.results);
            // A status is explained by what was judged, if anything was not as it must be.
            let explained = matches!(output.exit, Exit::Status(_)) && played.bad().next().is_some();
            played.trouble =
                output.succeeded().err().filter(|_| !explained).map(|error| format!("{error:#}"));
            played.logs = (output.exit != Exit::Status(0)).then_some(output.logs);
        }
        Err(error) => {
            played.verdicts = outcome::judge(boot, "");
            played.trouble = Some(format!("{error:#}"));
        }
    }
    played
}

/// Says what was not as it must be in one guest.
fn report(guest: &Played) {
    /// The first of them tell most; an agent's line is some thousand characters.
    const WITH_LINES: usize = 3;
    let boot = &guest.boot;
    let faults = table::faults(&guest.verdicts);
    for (number, fault) in faults.iter().enumerate() {
        println!("{boot}: {}", fault.text);
        for line in fault.lines.iter().filter(|_| number < WITH_LINES) {
            println!("  {line}");
        }
    }
    if let Some(logs) = guest.logs.as_ref().filter(|_| faults.len() > WITH_LINES) {
        println!("{boot}: all lines are in {}", logs.display());
    }
    if let Some(trouble) = &guest.trouble {
        println!("{boot}: {trouble}");
    }
}

/// The tables.
fn show(guests: &[Played]) {
    let kernels = record::merge(guests);
    println!();
    match guests {
        [guest] => print!("{}: {}\n{}", guest.boot, guest.package, table::guest(&guest.verdicts)),
        _ => print!("{}", table::matrix(&kernels)),
    }
    print!("\n{}", table::costs(&kernels));
    let all: Vec<_> = guests.iter().flat_map(|guest| &guest.verdicts).collect();
    let count = |outcome| all.iter().filter(|verdict| verdict.outcome == outcome).count();
    println!(
        "\n{} results: {} as they must be, {} rightly without a line, {} refused by kernels that may, {} wrong, {} lost",
        all.len(),
        count(Outcome::Passed),
        count(Outcome::Blind),
        count(Outcome::Lacking),
        count(Outcome::Failed),
        count(Outcome::Missing)
    );
}

/// What is checked out.
struct Tree {
    commit: String,
    /// What differs from the commit.
    changed: String,
}

impl Tree {
    fn look() -> Result<Self> {
        let git = |args: &[&str]| exec::output(Command::new("git").args(args).current_dir(exec::root()));
        let commit = git(&["rev-parse", "HEAD"])?.trim().to_owned();
        Ok(Self { commit, changed: git(&["status", "--porcelain"])?.trim_end().to_owned() })
    }
}

/// Writes what came of it: as the record, if it is one. `tree` is what was checked out when it began.
fn keep(guests: &[Played], everything: &[Boot], tree: Tree, took: Duration) -> Result<()> {
    let incomplete = if !tree.changed.is_empty() {
        Some(format!("the tree is dirty:\n{}\n", tree.changed))
    } else if !Tree::look().is_ok_and(|now| now.commit == tree.commit && now.changed.is_empty()) {
        Some("the tree was changed meanwhile".to_owned())
    } else {
        record::incomplete(everything, guests)
    };
    let matrix = Matrix {
        commit: tree.commit,
        incomplete,
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        duration_s: took.as_secs(),
        remark: None,
        kernels: record::merge(guests),
    };
    if let Some(why) = &matrix.incomplete {
        let aside = exec::target_dir().join("matrix-incomplete.json");
        write(&matrix, &aside)?;
        eprintln!("xtask: {} stays as it is: {why}; this run is in {}", record::NAME, aside.display());
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
