//! The arguments of this process, and the name by which its user runs it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{CommandFactory as _, FromArgMatches as _};

use super::{Args, Config, Environment};

/// The file name by which kubectl finds this program: its user types `kubectl crashtrace`.
const PLUGIN: &str = "kubectl-crashtrace";

/// Makes a configuration of the process's arguments, its own name first.
///
/// # Errors
/// The arguments are wrong, or ask for help or the version. Usage and help have the name that the user typed.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    env: &impl Environment,
) -> Result<Config, clap::Error> {
    let mut arguments = arguments.into_iter().peekable();
    let mut command = Args::command();
    if arguments.peek().is_some_and(|name| is_plugin(name)) {
        command = command.bin_name("kubectl crashtrace");
    }
    let args = command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| Args::from_arg_matches(&matches))
        .and_then(|args| Config::from_args(args, env));
    // clap's own errors have the name already; this is for those of `usage`.
    args.map_err(|error| error.format(&mut command))
}

fn is_plugin(name: &OsStr) -> bool {
    Path::new(name).file_name() == Some(OsStr::new(PLUGIN))
}
