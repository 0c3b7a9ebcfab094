//! Who is asked for the names of pods.

use std::time::Duration;

use anyhow::Result;

use crate::cli::Pods;
use crate::doctor::NameTrial;
use crate::pods::cri::{self, Cri, Options, Problem};
use crate::pods::directory::Directory;
use crate::pods::names::NameSource;

/// How long `doctor` waits for an answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Begins to ask. Nothing here waits, and whoever does not answer is no reason not to watch.
pub(super) fn directory(wanted: &Pods) -> Directory {
    let cri = cri_options(wanted).map(Cri::start);
    Directory { kube: None, cri, nobody: "names are not asked for (--pods none)" }
}

fn cri_options(wanted: &Pods) -> Option<Options> {
    wanted.cri.as_ref().map(|socket| match socket {
        Some(socket) => Options::at(&socket.to_string_lossy()),
        None => Options::default(),
    })
}

/// Asks each once.
///
/// # Errors
/// There is no asking: the process cannot have what it takes.
pub(super) fn trials(wanted: &Pods) -> Result<Vec<NameTrial>> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(tokio.block_on(async {
        let mut trials = Vec::new();
        if let Some(options) = cri_options(wanted) {
            trials.push(cri_trial(&options, wanted.cri.iter().any(Option::is_some)).await);
        }
        trials
    }))
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
    }
}
