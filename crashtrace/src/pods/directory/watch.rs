//! The API server's watch as a source of [`super::Directory`].

use std::sync::Arc;

use super::{PodWatch, Reliance};
use crate::names::{Events, NamesState, NamesStatus};
use crate::pods::index::IndexedContainer;
use crate::pods::kube::{Kube, State, WatchStatus};
use crate::pods::pod::Pod;
use crate::schema::NameSource;

impl PodWatch for Kube {
    fn find_container(&self, id: &str) -> Option<IndexedContainer> {
        Self::find_container(self, id)
    }

    fn find_pod(&self, uid: &str) -> Option<Arc<Pod>> {
        Self::find_pod(self, uid)
    }

    fn disputed(&self, hash: &str) -> bool {
        Self::disputed(self, hash)
    }

    fn events(&self, namespace: &str, uid: &str, container_id: Option<&str>) -> Events {
        Self::events(self, namespace, uid, container_id)
    }

    fn reliance(&self) -> Reliance {
        let status = self.status();
        // Trouble that has only begun may be over before anything has changed.
        let degraded = matches!(status.state, State::Degraded { .. });
        Reliance {
            stale_seconds: status.heard_age.filter(|_| degraded).map(|age| age.as_secs()),
            soon: !degraded,
            later: degraded,
            reason: status.reason().unwrap_or_else(|| "the API server has not told of it".to_owned()),
        }
    }
    fn status(&self) -> NamesStatus {
        of_kube(&Self::status(self))
    }
}

/// How it goes with the API server. PURE.
pub(super) fn of_kube(status: &WatchStatus) -> NamesStatus {
    NamesStatus {
        source: NameSource::Kube,
        state: if status.state == State::Synced { NamesState::Synced } else { NamesState::Degraded },
        problem: status.reason().or_else(|| status.events_problem.clone()),
        pods: Some(status.pods as u64),
        containers: Some(status.containers as u64),
        refused_pods: Some(status.refused_pods),
        age_seconds: status.heard_age.map(|age| age.as_secs()),
    }
}
