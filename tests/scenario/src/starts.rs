//! Checks of how an agent starts and stops, with each kind of hooks.

mod btf;
mod sessions;

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Value, json};

use crashtrace_judge::book::Tier;

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
    /// The checks
    #[arg(required = true)]
    checks: Vec<Check>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Check {
    /// Start and stop while the kernel kills: each kill in between is reported, and none outside as a complete one
    Sessions,
    /// With another kernel's BTF the agent exits with 4, also where the kernel's own BTF cannot be read
    WrongBtf,
}

/// What a check found; `details` are for people.
struct Found {
    failures: Vec<String>,
    details: Value,
}

/// Prints one JSON object for each check and each kind of hooks. Returns whether all passed.
pub fn run(args: &Args) -> bool {
    let mut good = true;
    for check in &args.checks {
        let name = check.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
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
        }
    }
}
