//! The options of the journal.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::{Environment, Output, usage};
use crate::journal::Limits;

/// Where lines wait while standard output is not read.
#[derive(Clone, Debug, ClapArgs)]
pub struct JournalArgs {
    /// Keep each line in this directory until stdout has taken it: an unread stdout then stops nothing, and what a session did not
    /// deliver, the next one delivers, marked `redelivered`. The directory is created if its parent exists, and is this agent's
    /// alone. Takes JSON [default: keep no lines]
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// Keep at most so many MiB of lines in the journal; the oldest go first, and are counted
    #[arg(
        long, value_name = "MIB", default_value_t = 64, requires = "journal",
        value_parser = clap::value_parser!(u64).range(Limits::LEAST_BYTES >> 20..=Limits::MOST_BYTES >> 20)
    )]
    pub journal_size: u64,
    /// Drop lines that are undelivered for so many hours, and count them
    #[arg(
        long, value_name = "HOURS", default_value_t = 24, requires = "journal",
        value_parser = clap::value_parser!(u64).range(1..=8760)
    )]
    pub journal_age: u64,
}

/// A journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    pub directory: PathBuf,
    pub limits: Limits,
}

impl Journal {
    /// Checks the options, for an output of this form.
    pub(super) fn resolve(
        args: JournalArgs,
        output: Output,
        env: &impl Environment,
    ) -> Result<Option<Self>, clap::Error> {
        let Some(directory) = args.journal else { return Ok(None) };
        if env.is_file(&directory) {
            return Err(usage(format!("--journal: {} is a file", directory.display())));
        }
        if output != Output::Json {
            return Err(usage("--journal: it keeps lines of JSON: add --output json".to_owned()));
        }
        let age = Duration::from_hours(args.journal_age);
        Ok(Some(Self { directory, limits: Limits { size_bytes: args.journal_size << 20, age } }))
    }
}
