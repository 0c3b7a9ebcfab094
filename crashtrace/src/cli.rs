//! The command line: clap parses [`Args`], the program acts on [`Config`].
//!
//! [`Config::from_args`] makes one of the other: it fills in defaults that depend on where the program runs (a terminal or not,
//! variables, the host's name) and refuses invalid arguments. It sees the outside only through
//! [`Environment`]. A refusal is a [`clap::Error`]: it prints like any wrong usage, and exits like it.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use crate::filter::Filter;
use crate::kernel::plan::{Beside, HooksWanted};
use crate::names::is_label;
pub use crate::sinks::Form as Output;
use crate::why::Why;

mod args;
mod journal;
mod pods;
mod process;
mod program;
mod why;

pub use args::{
    Args, CommandArgs, DoctorArgs, ExitsArg, FilterArgs, HooksArg, LogLevel, OutputWanted, ReplayArgs,
    UnpinArgs, WatchArgs,
};
pub use journal::{Journal, JournalArgs};
pub use pods::{ApiServer, KubeWrites, Pods, PodsArgs, PodsWanted};
pub use process::Process;
pub use program::parse;
pub use why::{WhyArgs, WhyOutput};

/// Variable that names the node where `--node-name` does not; the DaemonSet sets it from `spec.nodeName`.
const NODE_NAME: &str = "NODE_NAME";
/// Variable that sets the log level where `--log` does not.
const LOG: &str = "CRASHTRACE_LOG";

/// The outside that a configuration may depend on besides the arguments.
pub trait Environment {
    fn var(&self, name: &str) -> Option<OsString>;
    /// Whether standard output is a terminal.
    fn stdout_is_terminal(&self) -> bool;
    /// The host's name, if it is known.
    fn hostname(&self) -> Option<String>;
    /// Whether there is a directory at `path`.
    fn is_directory(&self, path: &Path) -> bool;
    /// Whether there is a file at `path`.
    fn is_file(&self, path: &Path) -> bool;
}

/// The configuration, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Level of the log on stderr.
    pub log: LogLevel,
    pub command: Command,
}

/// The command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Watch(Watch),
    /// Report the incidents of a recording.
    Replay(Replay),
    /// Remove the pins in this directory.
    Unpin(PathBuf),
    /// Tell which hooks work here.
    Doctor(Doctor),
    /// Tell why a pod's containers died.
    Why(Why),
    /// Print the JSON Schema of the reports.
    Schema,
    /// Print a completion script.
    Completions(Shell),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Form of the reports.
    pub output: Output,
    pub hooks: HooksWanted,
    /// Failed allocations to report.
    pub allocations: Allocations,
    /// Whether to see ends of containers.
    pub exits: bool,
    /// The node's name.
    pub node_name: String,
    /// Sources of the names of pods.
    pub pods: Pods,
    /// Which incidents to report.
    pub filter: Filter,
    /// Where to serve metrics and health.
    pub metrics: Option<SocketAddr>,
    /// Where to write a recording.
    pub record: Option<PathBuf>,
    /// Where lines wait while standard output is not read.
    pub journal: Option<Journal>,
    /// Where the hooks are pinned.
    pub pin: Option<PathBuf>,
    /// BTF in place of the kernel's own.
    pub btf: Option<PathBuf>,
    /// Drop all rights that are not needed once the hooks are in place.
    pub confine: bool,
}

impl Watch {
    /// What to see beside OOM kills.
    #[must_use]
    pub fn beside(&self) -> Beside {
        Beside { allocations: self.allocations != Allocations::None, exits: self.exits }
    }
}

/// Which failed allocations to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocations {
    None,
    /// Those whose callers do not expect the failure.
    Unexpected,
    All,
}

/// The recording to replay, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub file: PathBuf,
    /// Form of the reports.
    pub output: Output,
    /// Which incidents to report.
    pub filter: Filter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doctor {
    /// Form of the findings.
    pub output: Output,
    pub hooks: HooksWanted,
    /// Whether to try those on failed allocations and on ends of containers too.
    pub beside: Beside,
    /// The node's name.
    pub node_name: String,
    /// Sources of the names of pods.
    pub pods: Pods,
    /// BTF in place of the kernel's own.
    pub btf: Option<PathBuf>,
}

impl Config {
    /// Fills in what the arguments leave open, and checks them.
    pub fn from_args(args: Args, env: &impl Environment) -> Result<Self, clap::Error> {
        let log = match args.log {
            Some(level) => level,
            None => log_level(env)?,
        };
        let command = match args.command {
            CommandArgs::Watch(args) => Command::Watch(Watch {
                output: form(args.output, env),
                journal: Journal::resolve(args.journal, form(args.output, env), env)?,
                hooks: args.hooks.into(),
                allocations: match (args.no_alloc, args.include_nowarn) {
                    (true, _) => Allocations::None,
                    (false, false) => Allocations::Unexpected,
                    (false, true) => Allocations::All,
                },
                exits: !args.no_exits,
                node_name: node_name(args.node_name, env)?,
                pods: Pods::resolve(args.pods, env)?,
                filter: Filter::check(args.filter)?,
                metrics: args.metrics,
                record: optional_path("--record", args.record, env)?,
                pin: args.pin.map(|path| directory("--pin", path, env)).transpose()?,
                btf: optional_path("--btf", args.btf, env)?,
                confine: !args.no_confine,
            }),
            CommandArgs::Replay(args) => Command::Replay(Replay {
                file: checked_path("FILE", args.file, env)?,
                output: form(args.output, env),
                filter: Filter::check(args.filter)?,
            }),
            CommandArgs::Unpin(args) => Command::Unpin(directory("DIR", args.directory, env)?),
            CommandArgs::Doctor(args) => Command::Doctor(Doctor {
                output: form(args.output, env),
                hooks: args.hooks.into(),
                beside: Beside { allocations: !args.no_alloc, exits: !args.no_exits },
                node_name: node_name(args.node_name, env)?,
                pods: Pods::resolve(args.pods, env)?,
                btf: optional_path("--btf", args.btf, env)?,
            }),
            CommandArgs::Why(args) => Command::Why(why::resolve(args, has_color(env), env)?),
            CommandArgs::Schema => Command::Schema,
            CommandArgs::Completions { shell } => Command::Completions(shell),
        };
        Ok(Self { log, command })
    }
}

/// The form of the output, on this terminal or none.
fn form(wanted: OutputWanted, env: &impl Environment) -> Output {
    match wanted {
        OutputWanted::Json => Output::Json,
        OutputWanted::Auto if !env.stdout_is_terminal() => Output::Json,
        OutputWanted::Auto | OutputWanted::Text => Output::Text { color: has_color(env) },
    }
}

/// Whether text has colours.
fn has_color(env: &impl Environment) -> bool {
    let set = |name| env.var(name).is_some_and(|value| !value.is_empty());
    let dumb = env.var("TERM").is_some_and(|term| term == "dumb");
    env.stdout_is_terminal() && !dumb && !set("NO_COLOR")
}

impl Filter {
    fn check(args: FilterArgs) -> Result<Self, clap::Error> {
        let mut filter = Self { exits: args.exits.into(), ..Self::default() };
        for cause in args.causes {
            if !filter.causes.contains(&cause) {
                filter.causes.push(cause);
            }
        }
        for namespace in args.namespaces {
            // A filter with any other name never matches.
            if !is_label(&namespace) {
                return Err(usage(format!("--namespace: `{namespace}` cannot be the name of a namespace")));
            }
            if !filter.namespaces.contains(&namespace) {
                filter.namespaces.push(namespace);
            }
        }
        Ok(filter)
    }
}

/// The completion script for `shell`.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    // clap_complete panics on a write error, for example on a closed pipe; writes to a vector do not fail.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "crashtrace", &mut script);
    script
}

/// A refusal of arguments that clap accepted. [`parse`] adds how the program is used.
fn usage(message: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, message + "\n")
}

fn log_level(env: &impl Environment) -> Result<LogLevel, clap::Error> {
    let Some(value) = env.var(LOG).filter(|value| !value.is_empty()) else {
        return Ok(LogLevel::default());
    };
    let value = value.to_string_lossy();
    LogLevel::from_str(&value, true)
        .map_err(|_| usage(format!("{LOG}: `{value}` is none of error, warn, info, debug, trace")))
}

/// The flag, else the variable, else the host's name.
fn node_name(flag: Option<String>, env: &impl Environment) -> Result<String, clap::Error> {
    let variable = || env.var(NODE_NAME).map(|name| name.to_string_lossy().into_owned());
    match flag.or_else(variable).or_else(|| env.hostname()) {
        Some(name) if name.trim().is_empty() => {
            Err(usage(format!("the node's name is empty: --node-name, {NODE_NAME}")))
        }
        Some(name) => Ok(name),
        None => Err(usage("the host's name cannot be read: give the node's with --node-name NAME".into())),
    }
}

/// No host name: its meaning would depend on the resolver, and one name may have several addresses. An IPv6 address may lack its
/// brackets, since `$(POD_IP):9464` of a manifest has none; there is always a port, and it is the last number.
fn socket_address(value: &str) -> Result<SocketAddr, String> {
    let bare = || {
        let (address, port) = value.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse::<Ipv6Addr>().ok()?.into(), port.parse().ok()?))
    };
    let address = value.parse().ok().or_else(bare);
    address.ok_or_else(|| "an address with a port is meant, as 0.0.0.0:9464 or [::1]:9464".to_owned())
}

/// A path that is not a directory's. Whether the file exists shows when it is opened.
fn optional_path(
    name: &str,
    path: Option<PathBuf>,
    env: &impl Environment,
) -> Result<Option<PathBuf>, clap::Error> {
    path.map(|path| checked_path(name, path, env)).transpose()
}

/// The path of a directory. Whether it exists shows when it is opened.
fn directory(name: &str, path: PathBuf, env: &impl Environment) -> Result<PathBuf, clap::Error> {
    let wrong = env.is_file(&path).then_some("a file");
    path_unless(name, path, wrong)
}

/// The path of a file, in the same way.
fn checked_path(name: &str, path: PathBuf, env: &impl Environment) -> Result<PathBuf, clap::Error> {
    let wrong = env.is_directory(&path).then_some("a directory");
    path_unless(name, path, wrong)
}

/// This path, unless it is empty, or that of something `wrong`.
fn path_unless(name: &str, path: PathBuf, wrong: Option<&str>) -> Result<PathBuf, clap::Error> {
    match wrong {
        _ if path.as_os_str().is_empty() => Err(usage(format!("{name}: the path is empty"))),
        Some(wrong) => Err(usage(format!("{name}: {} is {wrong}", path.display()))),
        None => Ok(path),
    }
}

#[cfg(test)]
mod tests;
