//! The API server's watch, as [`super::Directory`] asks it.

use std::sync::Arc;

use super::{PodWatch, Reliance};
use crate::pods::index::Found;
use crate::pods::kube::{Kube, State};
use crate::pods::pod::Pod;

impl PodWatch for Kube {
    fn find_container(&self, id: &str) -> Option<Found> {
        Self::find_container(self, id)
    }

    fn find_pod(&self, uid: &str) -> Option<Arc<Pod>> {
        Self::find_pod(self, uid)
    }

    fn reliance(&self) -> Reliance {
        let status = self.status();
        // Trouble that has only begun may be over before anything has changed.
        let degraded = matches!(status.state, State::Degraded { .. });
        Reliance {
            stale_seconds: status.heard_age.filter(|_| degraded).map(|age| age.as_secs()),
            soon: !degraded,
            reason: status.reason().unwrap_or_else(|| "the API server has not told of it".to_owned()),
        }
    }
}
