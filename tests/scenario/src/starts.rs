//! Checks of how an agent starts and stops, with each kind of hooks.

mod btf;
mod pinned;
mod sessions;

use std::path::PathBuf;

use anyhow::Result;
use crashtrace_judge::catalogue::Tier;
use crashtrace_judge::starts::Check;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Args {
    /// The agent's program
    #[arg(long, value_name = "FILE")]
    crashtrace: PathBuf,
    /// The hooks to check, one after the other
    #[arg(long, value_delimiter = ',', default_value = "tracepoint")]
    hooks: Vec<Tier>,
    /// How often the agent starts and stops in `sessions`
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// This is a guest, and may be harmed
    #[arg(long)]
    guest: bool,
    /// The checks: `sessions`, `wrong_btf`, `pinned`
    #[arg(required = true)]
    checks: Vec<Check>,
}

/// The result of a check; `details` are for people.
struct Found {
    failures: Vec<String>,
    details: Value,
}

/// Prints one JSON object for each check and each kind of hooks. Returns whether all passed.
pub fn run(args: &Args) -> bool {
    let mut good = true;
    for check in &args.checks {
        let name = check.name();
        for tier in &args.hooks {
            eprintln!("scenario: {name} with {} hooks", tier.name());
            let found = args
                .check(*check, *tier)
                .unwrap_or_else(|error| Found { failures: vec![format!("{error:#}")], details: Value::Null });
            let pass = found.failures.is_empty();
            let result = json!({ "scenario": name, "hooks": tier.name(), "together": false, "pass": pass,
                "failures": found.failures, "lines": [found.details] });
            println!("{result}");
            good &= pass;
        }
    }
    good
}

impl Args {
    fn check(&self, check: Check, tier: Tier) -> Result<Found> {
        match check {
            Check::Sessions => sessions::check(&self.crashtrace, tier, self.rounds),
            Check::WrongBtf => btf::check(&self.crashtrace, tier, self.guest),
            Check::Pinned => pinned::check(&self.crashtrace, tier, self.guest),
        }
    }
}
