//! What clap parses, as it stands on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use strum::VariantArray as _;

use super::journal::JournalArgs;
use super::pods::PodsArgs;
use super::why::WhyArgs;
use crate::event::Hook;
use crate::filter::Exits;
use crate::kernel::pins;
use crate::kernel::plan::HooksWanted;
use crate::schema::Cause;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; also when stopped by SIGINT, SIGTERM or SIGHUP, or when the reader of stdout left
  1  failed; the message says at what
  2  wrong usage; why: nothing is wrong
  3  doctor: works, but something cannot be seen
  4  doctor, watch: this node cannot be watched (kernel, rights or limits)";

/// Say why a container died, as it happens: system OOM, cgroup OOM, memory fragmentation.
#[derive(Clone, Debug, Parser)]
#[command(name = "crashtrace", version, after_help = EXIT_CODES, subcommand_required = true)]
pub struct Args {
    /// Log to stderr from this level on [env: CRASHTRACE_LOG] [default: warn]
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log: Option<LogLevel>,
    /// What to do.
    #[command(subcommand)]
    pub command: CommandArgs,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum CommandArgs {
    /// Watch this node and report each incident on stdout, until stopped
    Watch(WatchArgs),
    /// Report from a recording, as `watch` would have
    Replay(ReplayArgs),
    /// Remove what `watch --pin` keeps in the kernel, and say what that was
    Unpin(UnpinArgs),
    /// Try what can be seen on this node, and say what cannot and what to do about it
    Doctor(DoctorArgs),
    /// Say why a pod's containers died, from anywhere with a kubeconfig, or from lines that `watch` has written
    Why(WhyArgs),
    /// Print the JSON Schema of the reports
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// Write the script for this shell
        shell: Shell,
    },
}

/// Arguments of `watch`.
#[derive(Clone, Debug, ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct WatchArgs {
    /// Write reports in this format
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    pub output: OutputWanted,
    /// Use only this kind of hooks; auto takes the best that the kernel accepts
    #[arg(long, value_name = "HOOKS", value_enum, default_value_t)]
    pub hooks: HooksArg,
    /// Do not report failed allocations [default: report them]
    #[arg(long)]
    pub no_alloc: bool,
    /// Also report failed allocations that the caller expects (`__GFP_NOWARN`) [default: only count them]
    #[arg(long, conflicts_with = "no_alloc")]
    pub include_nowarn: bool,
    /// Do not see ends of containers [default: see them]
    #[arg(long)]
    pub no_exits: bool,
    /// Name the node in reports [env: NODE_NAME] [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Sources of the names of pods.
    #[command(flatten)]
    pub pods: PodsArgs,
    /// Choose among the incidents.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Serve metrics for Prometheus (/metrics) and the agent's health (/healthz, /readyz) at this address, as `0.0.0.0:9464` or
    /// `[::1]:9464` [default: listen on nothing]
    #[arg(long, value_name = "ADDR", value_parser = super::socket_address)]
    pub metrics: Option<SocketAddr>,
    /// Also write the kernel's records to this file, for `replay`; overwrites an older recording and no other file
    /// [default: do not]
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The journal.
    #[command(flatten)]
    pub journal: JournalArgs,
    /// Keep the hooks on when the agent ends, by pins in this directory of a BPF file system: the next agent with the same options
    /// goes on with them and reports what happened in between. `unpin` removes them
    /// [without DIR: /sys/fs/bpf/crashtrace] [default: the hooks end with the agent]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = pins::DIRECTORY)]
    pub pin: Option<PathBuf>,
    /// Take the offsets of kernel fields from this file [default: the kernel's own BTF]
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Keep all rights, for debuggers and profilers [default: drop what is not needed once the hooks are in place]
    #[arg(long)]
    pub no_confine: bool,
}

/// Arguments of `replay`.
#[derive(Clone, Debug, ClapArgs)]
pub struct ReplayArgs {
    /// Read the recording that `watch --record` wrote to this file; `-` reads standard input
    pub file: PathBuf,
    /// Write reports in this format
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    pub output: OutputWanted,
    /// Choose among the incidents.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Arguments of `unpin`.
#[derive(Clone, Debug, ClapArgs)]
pub struct UnpinArgs {
    /// The directory that `watch --pin` was given
    #[arg(value_name = "DIR", default_value = pins::DIRECTORY)]
    pub directory: PathBuf,
}

/// Arguments of `doctor`.
#[derive(Clone, Debug, ClapArgs)]
pub struct DoctorArgs {
    /// Write the findings in this format
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    pub output: OutputWanted,
    /// Take the offsets of kernel fields from this file [default: the kernel's own BTF]
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Try only this kind of hooks; auto tries all
    #[arg(long, value_name = "HOOKS", value_enum, default_value_t)]
    pub hooks: HooksArg,
    /// Do not try the hooks on failed allocations [default: try them]
    #[arg(long)]
    pub no_alloc: bool,
    /// Do not try the hooks on ends of containers [default: try them]
    #[arg(long)]
    pub no_exits: bool,
    /// Name the node as the API server does [env: NODE_NAME] [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Sources of the names of pods.
    #[command(flatten)]
    pub pods: PodsArgs,
}

/// Which incidents to report.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct FilterArgs {
    /// Report only incidents of this cause; may be repeated, or a list with commas [default: all]
    #[arg(long = "cause", value_name = "CAUSE", value_enum, value_delimiter = ',')]
    pub causes: Vec<Cause>,
    /// Report only incidents with a pod of this namespace, or with a pod of unknown namespace; may be repeated, or a list with
    /// commas [default: all]
    #[arg(long = "namespace", value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Report these ends of containers; the others are only counted
    #[arg(long, value_name = "ENDS", value_enum, default_value_t)]
    pub exits: ExitsArg,
}

/// Ends of containers to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExitsArg {
    /// Failures: a code other than 0, a signal, a failed probe, and code 0 where the container is always started again; nothing that
    /// Kubernetes stopped on purpose
    #[default]
    Failed,
    /// All of them
    All,
    /// None of them
    None,
}

impl From<ExitsArg> for Exits {
    fn from(exits: ExitsArg) -> Self {
        match exits {
            ExitsArg::Failed => Self::Failed,
            ExitsArg::All => Self::All,
            ExitsArg::None => Self::None,
        }
    }
}

impl ValueEnum for Cause {
    fn value_variants<'a>() -> &'a [Self] {
        Self::VARIANTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::SystemOom => "The node ran out of memory, or some of its NUMA nodes did",
            Self::CgroupOom => "The limit of a memory cgroup was hit",
            Self::Fragmentation => "An allocation failed because free memory was fragmented",
            Self::LowMemory => "An allocation failed because memory was short",
            Self::ContainerExit => {
                "The process of a container ended by itself: exit code, own signal or fault"
            }
            Self::Killed => "Another process killed a container",
            Self::HealthCheck => "A probe failed, and Kubernetes ended the container",
            Self::Stopped => "Kubernetes ended a container on purpose",
            Self::Unknown => "Could not be told",
        };
        Some(PossibleValue::new(<&'static str>::from(self)).help(help))
    }
}

/// Hooks to use, by the names that reports and `doctor` have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HooksArg {
    /// The best tier that the kernel accepts
    #[default]
    Auto,
    /// BPF trampolines, or nothing
    Fentry,
    /// kprobes, or nothing
    Kprobe,
    /// The raw tracepoint alone, or nothing
    #[value(name = "raw_tp", alias = "tracepoint")]
    RawTracepoint,
}

impl From<HooksArg> for HooksWanted {
    fn from(hooks: HooksArg) -> Self {
        match hooks {
            HooksArg::Auto => Self::Auto,
            HooksArg::Fentry => Self::Only(Hook::Fentry),
            HooksArg::Kprobe => Self::Only(Hook::Kprobe),
            HooksArg::RawTracepoint => Self::Only(Hook::RawTracepoint),
        }
    }
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputWanted {
    /// Text on a terminal, JSON elsewhere
    #[default]
    Auto,
    /// JSON, one object a line
    Json,
    /// Text for people
    Text,
}

/// How much to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// What made it fail
    Error,
    /// What is lost or does not work as it should
    #[default]
    Warn,
    /// What it does at start and stop
    Info,
    /// What it does for each incident
    Debug,
    /// Each record
    Trace,
}
