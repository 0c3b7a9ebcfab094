//! `cargo xtask bench`: what crashtrace costs, in instructions: beside what a user would run instead (`peers`), and while nothing is
//! wrong, for each page fault, process and signal, and each decision of the OOM killer (`loops`).
//!
//! It runs in guests whose clock counts instructions, a nanosecond each. So the figures do not depend on the load of this machine, and
//! can be compared with each other; they are no times.

mod libraries;
mod loops;
mod of;
mod peers;

use crate::arch::Arch;
use crate::costs::record::{self, Costs, KernelCosts};
use crate::costs::table;
use crate::guest::options::{OnLine, Options};
use crate::guest::{self, kernel, programs};
use crate::tree::Tree;
use anyhow::Result;
use of::Of;

/// The kernels of a complete run: what most nodes run, the current stable, and the newest.
const KERNELS: [&str; 3] = ["6.1", "6.12", "sid"];

/// The kernel's memory of the ten thousand cgroups among which `decisions` kills.
const CGROUPS_MIB: u32 = 512;

/// Count what it costs to watch, beside what a user would run instead.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernels to boot (may be repeated).
    #[arg(long = "kernel", value_name = "LABEL", value_delimiter = ',', default_values = KERNELS)]
    kernels: Vec<String>,
    /// What to count [default: all of it].
    #[arg(long, value_enum, value_delimiter = ',')]
    of: Vec<Of>,
    /// The tools to measure [default: all].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    tools: Vec<String>,
    /// What to measure of each tool [default: all of it].
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<peers::Part>,
    /// How long `soak` lasts.
    #[arg(long, value_name = "N", default_value_t = 60)]
    minutes: u32,
}

/// `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = |of: Of| args.of.is_empty() || args.of.contains(&of);
    let tree = Tree::look()?;
    let mut files = programs::build(Arch::X86_64)?;
    let loops: Vec<_> = loops::BENCHES.iter().filter(|bench| wanted(bench.of)).collect();
    let tools = if wanted(Of::Peers) { peers::named(&args.tools)? } else { Vec::new() };
    files.extend(peers::files(&tools)?);
    let mut script = vec!["set -e".to_owned()];
    script.extend(peers::script(&tools, &args.parts));
    if wanted(Of::Replay) {
        script.push(peers::REPLAY.to_owned());
    }
    if args.of.contains(&Of::Soak) {
        script.push(peers::soak(args.minutes));
    }
    script.extend(loops::script(&loops));
    let mut kernels = Vec::new();
    for label in &args.kernels {
        let options = Options {
            count_instructions: true,
            memory_mib: 512
                + peers::memory_mib(&files)?
                + if wanted(Of::Decisions) { CGROUPS_MIB } else { 0 },
            timeout_secs: 7200 + u64::from(args.minutes) * 60,
            boot_timeout_secs: 300,
            on_line: OnLine::new(|_| {}),
            ..Options::default()
        };
        let output = guest::run(label, &files, &script.join("\n"), &options)?;
        let package = kernel::version_here(label).unwrap_or_default();
        let output = output.succeeded()?;
        let costs = KernelCosts::read(label, &package, output);
        output.lines().filter(|line| line.starts_with(peers::SOAKED)).for_each(|line| println!("{line}"));
        if !costs.tools.is_empty() {
            print!("{}", table::tools(&costs));
        }
        loops::show(&loops, &costs)?;
        kernels.push(costs);
    }
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let incomplete = args.incomplete().or_else(|| tree.not_its_commit());
    record::keep(&Costs { commit: tree.commit, date, kernels }, incomplete.as_deref())
}

impl Args {
    /// Why this is not all that the documents show, if it is not.
    fn incomplete(&self) -> Option<String> {
        let all = self.of.is_empty() && self.tools.is_empty() && self.parts.is_empty();
        let same = self.kernels == KERNELS;
        (!all || !same).then(|| format!("only all of it, on {}, makes a record", KERNELS.join(", ")))
    }
}
