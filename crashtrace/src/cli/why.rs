//! The arguments of `why`.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};

use super::{Environment, checked_path, directory, usage};
use crate::names::is_label;
use crate::why::{Cluster, Form, Origin, Target, Why};

/// Arguments of `why`.
#[derive(Clone, Debug, ClapArgs)]
pub struct WhyArgs {
    /// The pod, as `[NAMESPACE/]POD`; or a workload, as `deploy/NAME`, `sts/NAME`, `ds/NAME` or `job/NAME`: then the one of its pods
    /// that crashed most recently [with --from and --journal default: the pod with the latest incident]
    #[arg(value_name = "POD", required_unless_present_any = ["from", "journal"])]
    pub target: Option<String>,
    /// Look in this namespace [default: the context's]
    #[arg(short = 'n', long, value_name = "NS", requires = "target")]
    pub namespace: Option<String>,
    /// Diagnose only this container [default: all]
    #[arg(short = 'c', long, value_name = "CONTAINER")]
    pub container: Option<String>,
    /// Use this context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CTX")]
    pub context: Option<String>,
    /// Use this kubeconfig [default: `KUBECONFIG`, `~/.kube/config`, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Show so many last lines of the log of each container whose run ended
    #[arg(
        long, value_name = "N", default_value_t = 20, conflicts_with = "no_logs",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub previous_logs: u32,
    /// Read no logs [default: read them]
    #[arg(long)]
    pub no_logs: bool,
    /// Ask no cluster: read lines of `watch --output json` from this file; `-` reads standard input [default: ask the cluster]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["journal", "context", "kubeconfig", "no_logs"])]
    pub from: Option<PathBuf>,
    /// Ask no cluster: read the lines that are in this directory of `watch --journal`; an agent that uses it is not disturbed
    /// [default: ask the cluster]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["context", "kubeconfig", "no_logs"])]
    pub journal: Option<PathBuf>,
    /// Write the diagnosis in this format
    #[arg(short = 'o', long, value_name = "FORM", value_enum, default_value_t)]
    pub output: WhyOutput,
}

/// Form of a diagnosis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WhyOutput {
    /// Text for people
    #[default]
    Text,
    /// JSON, one object in one line: `crashtrace/why/v1`
    Json,
}

pub(super) fn resolve(args: WhyArgs, color: bool, env: &impl Environment) -> Result<Why, clap::Error> {
    let namespace = args.namespace;
    if let Some(namespace) = namespace.as_ref().filter(|namespace| !is_label(namespace)) {
        return Err(usage(format!("--namespace: `{namespace}` cannot be the name of a namespace")));
    }
    let target =
        args.target.map(|target| target.parse::<Target>().map_err(|why| usage(format!("POD: {why}"))));
    let mut target = target.transpose()?;
    if let Some(target) = &mut target {
        if let (Some(of_target), Some(given)) = (&target.namespace, &namespace)
            && of_target != given
        {
            return Err(usage(format!("POD is in namespace {of_target}, and --namespace says {given}")));
        }
        target.namespace = target.namespace.take().or_else(|| namespace.clone());
    }
    let from = match (args.from, args.journal) {
        (Some(file), _) if file == Path::new("-") => Origin::Stream(file),
        (Some(file), _) => Origin::Stream(checked_path("--from", file, env)?),
        (None, Some(path)) => Origin::Journal(directory("--journal", path, env)?),
        (None, None) => Origin::Cluster(Cluster {
            kubeconfig: args.kubeconfig.map(|file| checked_path("--kubeconfig", file, env)).transpose()?,
            context: args.context,
            namespace,
            log_lines: (!args.no_logs).then_some(args.previous_logs),
        }),
    };
    let form = match args.output {
        WhyOutput::Json => Form::Json,
        WhyOutput::Text => Form::Text { color },
    };
    Ok(Why { from, target, container: args.container, form })
}
