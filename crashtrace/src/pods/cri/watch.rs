//! Keeps the runtime's list, and lists anew when there is reason to.
//!
//! It lists at the start, when an unknown id is looked up, and every few minutes. While the runtime does not answer,
//! it is tried at growing intervals: it may be down, upgraded, or not there yet.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::cache::{Cache, Listed};
use super::{CriSandbox, Problem, list_all, socket};
use crate::backoff::Pauses;
use crate::supervise::{self, Ended, Supervised};

/// Which sockets are listed, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sockets that may exist. All that exist are used.
    pub sockets: Vec<PathBuf>,
    /// How long a runtime may take for a list.
    pub deadline: Duration,
    /// The shortest pause between two lists; after a list that took long, three times as long as that. Doubled with each list
    /// that fails, up to [`Options::longest_pause`].
    pub pause: Duration,
    /// The longest pause after a list that failed.
    pub longest_pause: Duration,
    /// How often to list without a reason.
    pub every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sockets: socket::USUAL.iter().map(PathBuf::from).collect(),
            deadline: Duration::from_secs(5),
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_mins(1),
            every: Duration::from_mins(5),
        }
    }
}

impl Options {
    /// Uses only this endpoint: a path, or `unix://` and a path.
    #[must_use]
    pub fn at(endpoint: &str) -> Self {
        Self { sockets: vec![socket::path(endpoint)], ..Self::default() }
    }
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriStatus {
    /// Lists that were tried.
    pub tried: u64,
    /// Lists that a runtime gave.
    pub listed: u64,
    /// Why the last list failed, or which part was missing in it. A reason fit for a report's `unresolved`.
    pub problem: Option<String>,
    /// Containers that are known, ended and removed ones too.
    pub containers: usize,
    /// Pods that are known, by their sandboxes; the same.
    pub pods: usize,
    /// When the last list that a runtime gave was begun.
    pub listed_at: Option<Instant>,
}

/// A handle on the known containers and sandboxes. Clones share it; when the last is gone, the lists end.
#[derive(Clone, Debug)]
pub struct Cri {
    shared: Arc<Shared>,
    _task: Arc<Supervised>,
}

#[derive(Debug)]
struct Shared {
    known: Mutex<Cache>,
    /// An unknown id was looked up.
    wanted: Notify,
    status: watch::Sender<CriStatus>,
}

impl Cri {
    /// Starts the lists. Must be called within a tokio runtime, which then runs them; returns at once.
    #[must_use]
    pub fn start(options: Options) -> Self {
        Self::keep(options, run)
    }

    /// Runs `ask`, anew each time that it ends: only a bug of this program ends it. Known items stay known.
    fn keep<F>(options: Options, ask: impl Fn(Arc<Shared>, Options) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            known: Mutex::default(),
            wanted: Notify::new(),
            status: watch::Sender::new(CriStatus::default()),
        });
        let longest = options.longest_pause;
        let pauses = Pauses { first: options.pause, longest, health: longest };
        let start = move |shared| ask(shared, options.clone());
        let ended = |shared: &Shared, ended: &Ended| {
            shared.status.send_modify(|status| status.problem = Some(ended.to_string()));
        };
        let named = "the lists of the container runtime";
        let task = supervise::keep(named, pauses, Arc::clone(&shared), start, ended);
        Self { shared, _task: Arc::new(task) }
    }

    /// The container or sandbox of this id, from memory: never waits. `None` for an id that is not known; another list is then
    /// made soon, if it could have the id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Listed> {
        self.look(id).ok()
    }

    /// The newest sandbox of the pod with this UID (of a static pod, its config hash), from memory: never waits. An unknown
    /// pod is treated as an unknown id is.
    #[must_use]
    pub fn find_pod(&self, uid: &str) -> Option<Arc<CriSandbox>> {
        self.look_for_pod(uid).ok()
    }

    /// As [`Cri::find_pod`].
    ///
    /// # Errors
    /// It is not known: whether a list to come, which this wakes, could have it.
    pub fn look_for_pod(&self, uid: &str) -> Result<Arc<CriSandbox>, bool> {
        let mut known = self.shared.known();
        known.pod(uid).ok_or_else(|| self.wants(&mut known, uid))
    }

    /// As [`Cri::find`], but waits for the lists that could tell, at most until the deadline.
    pub async fn find_within(&self, id: &str, deadline: Duration) -> Option<Listed> {
        let mut status = self.shared.status.subscribe();
        let wait = async {
            loop {
                match self.look(id) {
                    Ok(found) => return Some(found),
                    Err(false) => return None,
                    // The sender cannot go before this handle.
                    Err(true) => status.changed().await.ok()?,
                }
            }
        };
        tokio::time::timeout(deadline, wait).await.ok().flatten()
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> CriStatus {
        self.shared.status.borrow().clone()
    }

    /// As [`Cri::find`].
    ///
    /// # Errors
    /// It is not known: whether a list to come, which this wakes, could have it.
    pub fn look(&self, id: &str) -> Result<Listed, bool> {
        let mut known = self.shared.known();
        known.find(id).ok_or_else(|| self.wants(&mut known, id))
    }

    fn wants(&self, known: &mut Cache, id: &str) -> bool {
        let wants = known.wants(id, Instant::now());
        if wants {
            self.shared.wanted.notify_one();
        }
        wants
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Cache> {
        // Each change of it leaves it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(shared: Arc<Shared>, options: Options) {
    let mut pause = options.pause;
    loop {
        let began = Instant::now();
        let (listing, problem) = list_all(&options.sockets, options.deadline).await;
        let took = began.elapsed();
        let listed = listing.is_some();
        let (containers, pods) = {
            let mut known = shared.known();
            if let Some(listing) = listing {
                known.take(listing, problem.is_none(), began);
            }
            (known.containers(), known.pods())
        };
        tell(shared.status.borrow().problem.as_deref(), problem.as_ref(), containers);
        shared.status.send_modify(|status| {
            status.tried = status.tried.saturating_add(1);
            status.listed = status.listed.saturating_add(u64::from(listed));
            status.problem = problem.map(|problem| problem.to_string());
            status.containers = containers;
            status.pods = pods;
            if listed {
                status.listed_at = Some(began);
            }
        });
        pause = if listed { options.pause } else { (pause * 2).min(options.longest_pause) };
        tokio::time::sleep(if listed { pause.max(took * 3) } else { pause }).await;
        if listed {
            tokio::select! {
                () = shared.wanted.notified() => {}
                () = tokio::time::sleep(options.every.saturating_sub(pause)) => {}
            }
        }
    }
}

/// Logs changes only: a runtime that does not answer is logged once, not each minute.
fn tell(before: Option<&str>, now: Option<&Problem>, containers: usize) {
    let Some(now) = now else {
        if before.is_some() {
            tracing::warn!(containers, "the container runtime answers again");
        } else {
            tracing::debug!(containers, "the container runtime has listed its containers");
        }
        return;
    };
    let problem = now.to_string();
    match now {
        _ if before == Some(&problem) => {}
        // As it is on a host without Kubernetes.
        Problem::NoSocket(_) => tracing::info!(problem, "no container runtime to ask for the names of pods"),
        _ => tracing::warn!(problem, "the container runtime cannot be asked for the names of pods"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::tests::panics_once;

    #[tokio::test]
    async fn a_list_task_that_panics_is_logged_and_started_anew() {
        let moment = Duration::from_millis(1);
        let options = Options { pause: moment, longest_pause: moment, ..Options::default() };
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let ask = panics_once(&gate, |shared: &Shared| {
            shared.status.send_modify(|status| status.problem = None);
        });
        let cri = Cri::keep(options, move |shared, _| ask(shared));
        let mut status = cri.shared.status.subscribe();
        let wait = async |status: &mut watch::Receiver<CriStatus>, problem: Option<&str>| {
            let until = status.wait_for(|status| status.problem.as_deref() == problem);
            tokio::time::timeout(Duration::from_mins(1), until).await.expect("in time").expect("it goes on");
        };
        let said = "a fault of crashtrace stopped the lists of the container runtime, which is started anew: \
            index out of bounds";
        wait(&mut status, Some(said)).await;
        gate.add_permits(1);
        wait(&mut status, None).await;
    }
}
