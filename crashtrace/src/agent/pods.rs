//! The sources of the names of pods.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::cli::{ApiServer, KubeWrites, Pods};
use crate::doctor::{NameTrial, WriteTrial};
use crate::kube_reports::{self, Object, Reports};
use crate::pods::cri::{self, Cri, Options, Problem};
use crate::pods::directory::{Directory, PodWatch};
use crate::pods::kube::{self, Kube, Source};
use crate::schema::NameSource;

/// How long `doctor` waits for an answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Starts the sources. Nothing here waits, and the node is watched also without their answers.
pub(super) fn directory(wanted: &Pods, node_name: &str) -> (Directory, Option<Kube>) {
    let cri = cri_options(wanted).map(Cri::start);
    let kube = kube_options(wanted, node_name).map(Kube::start);
    let watch = kube.clone().map(|kube| Box::new(kube) as Box<dyn PodWatch>);
    let node = Some(node_name.to_owned());
    (Directory { kube: watch, cri, node, nobody: "names are off (--pods none)" }, kube)
}

/// Starts to write to the API server, where that is wanted.
pub(super) fn reports(wanted: &Pods, node_name: &str, kube: Option<Kube>, session: &str) -> Option<Reports> {
    let KubeWrites { reports, events } = wanted.writes;
    let (kube, options) = (kube.filter(|_| wanted.writes.any())?, kube_options(wanted, node_name)?);
    let options = kube_reports::Options { reports, events, ..kube_reports::Options::new(options, session) };
    let find = move |uid: &str| {
        let pod = kube.find_pod(uid).filter(|_| !kube.disputed(uid))?;
        let [namespace, name, uid] = [&pod.namespace, &pod.name, &pod.uid].map(ToString::to_string);
        Some(kube_reports::Pod { namespace, name, uid })
    };
    Some(Reports::start(options, Arc::new(find)))
}

fn kube_options(wanted: &Pods, node_name: &str) -> Option<kube::Options> {
    Some(kube::Options::new(node_name, source(wanted)?))
}

pub(super) fn source(wanted: &Pods) -> Option<Source> {
    Some(match wanted.kube.as_ref()? {
        ApiServer::InCluster => Source::of_pod(|name| std::env::var(name).ok(), Path::new("/")),
        ApiServer::Kubeconfig(paths) => Source::Kubeconfig { paths: paths.clone(), context: None },
    })
}

fn cri_options(wanted: &Pods) -> Option<Options> {
    wanted.cri.as_ref().map(|socket| match socket {
        Some(socket) => Options::at(&socket.to_string_lossy()),
        None => Options::default(),
    })
}

/// Tries each source once.
///
/// # Errors
/// The runtime for the trials cannot be created.
pub(super) fn trials(wanted: &Pods, node_name: &str) -> Result<Vec<NameTrial>> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(tokio.block_on(async {
        let mut trials = Vec::new();
        if let Some(options) = kube_options(wanted, node_name) {
            trials.push(kube_trial(&options).await);
        }
        if let Some(options) = cri_options(wanted) {
            trials.push(cri_trial(&options, wanted.cri.iter().any(Option::is_some)).await);
        }
        trials
    }))
}

/// Looks whether what is to be written to the API server could be.
///
/// # Errors
/// The runtime for the trials cannot be created.
pub(super) fn write_trials(wanted: &Pods, node_name: &str) -> Result<Vec<WriteTrial>> {
    let KubeWrites { reports, events } = wanted.writes;
    let Some(options) = kube_options(wanted, node_name).filter(|_| wanted.writes.any()) else {
        return Ok(Vec::new());
    };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let kinds = [(reports, Object::Report), (events, Object::Event)];
    let mut trials = Vec::new();
    for (_, object) in kinds.into_iter().filter(|(wanted, _)| *wanted) {
        let amiss = tokio.block_on(kube_reports::check(&options, object, DEADLINE)).err();
        let (says, remedy) = amiss.map(|amiss| (amiss.says, amiss.remedy)).unzip();
        trials.push(WriteTrial { object: object.kind().to_owned(), usable: says.is_none(), says, remedy });
    }
    Ok(trials)
}

async fn kube_trial(options: &kube::Options) -> NameTrial {
    let result = kube::check(options, DEADLINE).await;
    let no_events = result.as_ref().ok().and_then(|checked| checked.no_events.clone());
    let (usable, says, remedy) = match result {
        Ok(checked) if checked.pods == 0 => (
            true,
            format!("{} has no pod on a node {}", checked.server, options.node),
            Some(
                "give the node's name as `kubectl get nodes` has it with --node-name or variable NODE_NAME"
                    .to_owned(),
            ),
        ),
        Ok(checked) => {
            let remedy = no_events.as_ref().map(|(_, remedy)| (*remedy).to_owned());
            (true, format!("{} has {} pods on node {}", checked.server, checked.pods, options.node), remedy)
        }
        Err(problem) => {
            let remedy = format!("{}, or do without the API server (--pods cri)", problem.remedy());
            (false, problem.to_string(), Some(remedy))
        }
    };
    let no_events = no_events.map(|(why, _)| why);
    NameTrial { source: NameSource::Kube, usable, says, remedy, expected: true, no_events }
}

async fn cri_trial(options: &Options, given: bool) -> NameTrial {
    let (listing, problem) = cri::list_all(&options.sockets, DEADLINE).await;
    let remedy = match &problem {
        None => None,
        Some(Problem::NoSocket(_)) if !given => None,
        Some(_) => Some(
            "name the container runtime's socket with --cri-socket, or do without names with --pods none",
        ),
    };
    let knows = listing.as_ref().map(|listing| {
        format!("it has {} pods and {} containers", listing.sandboxes.len(), listing.containers.len())
    });
    NameTrial {
        source: NameSource::Cri,
        usable: listing.is_some(),
        expected: remedy.is_some() || listing.is_some(),
        says: [knows, problem.map(|problem| problem.to_string())]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; "),
        remedy: remedy.map(str::to_owned),
        no_events: None,
    }
}
