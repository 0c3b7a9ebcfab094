//! Hands the loop's state to the server of metrics and health, where there is one.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::net::TcpListener;

use super::clock::boottime_ns;
use crate::gfp::GfpNames;
use crate::kernel::load::Attached;
use crate::kube_reports::Reports;
use crate::metrics::server::{self, BindError};
use crate::metrics::{Hooks, Metrics, Shared, WrittenLines};
use crate::pipeline::{Pipeline, Session};
use crate::sinks::{Backlog, LineSink};
use crate::supervise::Supervised;

/// Binds the address, if one is given.
///
/// # Errors
/// It cannot be bound.
pub(super) async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, BindError> {
    let Some(address) = address else { return Ok(None) };
    let listener = server::bind(address).await?;
    // With port 0 the kernel has chosen one.
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "serving metrics and health");
    Ok(Some(listener))
}

/// A handle on the served metrics; does nothing where none are served.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    shared: Option<Shared>,
    _server: Option<Arc<Supervised>>,
}

impl Served {
    /// Starts to answer, if there is a socket.
    pub(super) fn start(
        listener: Option<TcpListener>,
        attached: &Attached,
        session: &Session,
        gfp: &GfpNames,
    ) -> Self {
        let Some(listener) = listener else { return Self::default() };
        let allocations = attached.alloc.map(|attach| attach.kind.to_string());
        let hooks = Hooks {
            tier: attached.tier.hook.to_string(),
            allocations: allocations.unwrap_or_else(|| "none".to_owned()),
            in_place: session.hooks.clone(),
            blind_spots: session.blind.len(),
        };
        let shared = Shared::new(Metrics::new(hooks, attached.ring_bytes, gfp.clone()));
        let server = server::start(listener, shared.clone(), boottime_ns);
        Self { shared: Some(shared), _server: Some(Arc::new(server)) }
    }

    /// Whether clients can connect.
    pub(super) fn is_asked(&self) -> bool {
        self.shared.is_some()
    }

    /// Sinks that count written lines.
    pub(super) fn line_sinks(&self) -> Vec<Box<dyn LineSink>> {
        let lines =
            self.shared.iter().map(|shared| WrittenLines { metrics: shared.clone(), now_ns: boottime_ns });
        lines.map(|lines| Box::new(lines) as Box<dyn LineSink>).collect()
    }

    /// The loop went round, and emptied the ring unless its output is not read.
    pub(super) fn round(&self, pipeline: &Pipeline, reports: Option<&Reports>, drained: bool, now_ns: u64) {
        if let Some(shared) = &self.shared {
            let mut metrics = shared.lock();
            metrics.stats.clone_from(pipeline.stats());
            metrics.ends.clone_from(pipeline.ends());
            metrics.names = pipeline.names();
            metrics.kube_writes = reports.map(Reports::counts).into_iter().flatten().collect();
            metrics.round_ns = Some(now_ns);
            if drained {
                metrics.drained_ns = Some(now_ns);
            }
        }
    }

    /// Lines that wait to be written.
    pub(super) fn backlog(&self) -> Arc<Backlog> {
        self.shared.as_ref().map(|shared| shared.lock().backlog.clone()).unwrap_or_default()
    }
}
