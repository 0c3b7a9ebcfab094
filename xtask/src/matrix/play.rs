//! Boots guests and plays what the plan has for each, several at a time.

use super::deployed;
use super::outcome;
use super::plan::{self, Boot};
use super::record::Played;
use super::shape::Shape;
use super::table;
use crate::arch::Arch;
use crate::guest::boot::Exit;
use crate::guest::initramfs::GuestFile;
use crate::guest::kernel::{self, Spec};
use crate::guest::options::{OnLine, Options};
use crate::guest::{self, programs, runc};
use anyhow::Result;
use crashtrace_judge::catalogue::Scenario;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

pub(crate) struct Files {
    /// The programs, by target.
    programs: BTreeMap<&'static str, Vec<GuestFile>>,
    /// For checks of the deployed agent; empty unless a guest makes them.
    deployed: Vec<GuestFile>,
    /// For scenarios whose containers runc makes; empty unless a guest plays one.
    runc: Vec<GuestFile>,
    /// The names of those scenarios.
    by_runc: Vec<String>,
}

impl Files {
    /// Builds and fetches what these guests need.
    pub(crate) fn for_guests(boots: &[Boot], catalogue: &[Scenario]) -> Result<Self> {
        let deployed = boots.iter().any(|boot| boot.deployed.is_some());
        let deployed = if deployed { deployed::files()? } else { Vec::new() };
        let by_runc = catalogue.iter().filter(|scenario| scenario.runc).map(|scenario| scenario.name.clone());
        let mut files =
            Self { programs: BTreeMap::new(), deployed, runc: Vec::new(), by_runc: by_runc.collect() };
        for boot in boots {
            let arch = Spec::labelled(boot.kernel)?.arch;
            if !files.programs.contains_key(arch.target()) {
                files.programs.insert(arch.target(), programs::build(arch)?);
            }
            if files.runc.is_empty() && arch == runc::ARCH && files.plays_by_runc(boot) {
                files.runc = runc::files()?;
            }
        }
        Ok(files)
    }

    fn plays_by_runc(&self, boot: &Boot) -> bool {
        boot.scenarios.iter().any(|name| self.by_runc.contains(name))
    }

    /// The files of one guest.
    fn of(&self, boot: &Boot, arch: Arch) -> Vec<GuestFile> {
        let mut taken = self.programs[arch.target()].clone();
        if boot.deployed.is_some() {
            // runc among them.
            taken.extend(self.deployed.iter().cloned());
        } else if arch == runc::ARCH && self.plays_by_runc(boot) {
            taken.extend(self.runc.iter().cloned());
        }
        taken
    }
}

/// Boots all guests, `jobs` at a time, and prints the failures of each as it ends.
pub(crate) fn all(boots: &[Boot], files: &Files, options: &Options, jobs: usize) -> Vec<Played> {
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

/// Boots one guest, and judges its output.
fn play(boot: &Boot, files: &Files, options: &Options) -> Played {
    /// A scenario takes a second or two; more where emulated, on a busy machine, or while waiting for a line that does not come.
    const PLAY_SECS: u64 = 45;
    const AROUND_SECS: u64 = 180;
    let prefix = format!("{:<16}|", boot.to_string());
    let mut extra_args = options.extra_args.clone();
    extra_args.extend(boot.shape.kernel_arg().map(str::to_owned));
    let options = Options {
        extra_args,
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
        package: kernel::version_here(boot.kernel).unwrap_or_default(),
        judgements: Vec::new(),
        costs: Vec::new(),
        trouble: None,
        logs: None,
    };
    let output = Spec::labelled(boot.kernel).and_then(|spec| {
        let target = spec.arch.target();
        target.split('-').next().unwrap_or(target).clone_into(&mut played.arch);
        guest::run(boot.kernel, &files.of(boot, spec.arch), &plan::script(boot), &options)
    });
    match output {
        Ok(output) => {
            played.judgements = outcome::judge(boot, &output.results);
            played.costs = outcome::costs(&output.results);
            // A failed result explains the status.
            let explained = matches!(output.exit, Exit::Status(_)) && played.bad().next().is_some();
            played.trouble =
                output.succeeded().err().filter(|_| !explained).map(|error| format!("{error:#}"));
            played.logs = (output.exit != Exit::Status(0)).then_some(output.logs);
        }
        Err(error) => {
            played.judgements = outcome::judge(boot, "");
            played.trouble = Some(format!("{error:#}"));
        }
    }
    played
}

/// Prints the failures of one guest.
fn report(guest: &Played) {
    /// An agent's line is some thousand characters: only the first failures are printed with it.
    const WITH_LINES: usize = 3;
    let boot = &guest.boot;
    let faults = table::faults(&guest.judgements);
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
