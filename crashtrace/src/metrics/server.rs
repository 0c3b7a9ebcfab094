//! The socket: HTTP/1 without TLS, one request a connection, on the agent's only thread.
//!
//! No client may cost the ring anything. So there are [`CONNECTIONS`] at a time, each for [`DEADLINE`] at most, and
//! hyper's own bounds on a head (8 KiB, 64 headers); a body is never read. A connection beyond that closes the oldest: if the
//! newest were refused, a few silent clients would lock out a node's own probes, which need less than a millisecond. Connections
//! are not kept alive, because a client could then idle on them; a scrape every few seconds does not need it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Shared;
use super::http::{Request, answer};
use crate::backoff::Pauses;
use crate::supervise::{self, Supervised};

/// The most connections at one time.
pub const CONNECTIONS: usize = 8;
/// How long a connection may last.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(2);
/// The longest head: the smallest bound that hyper accepts.
const HEAD_BYTES: usize = 8 * 1024;
/// How long to wait where no connection can be accepted: the process has no more descriptors, or the node no memory.
const PAUSE: Duration = Duration::from_secs(1);

/// Binds the address. Clients that connect wait until [`start`].
///
/// # Errors
/// It cannot be bound; the message has a remedy.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|error| BindError { address, error })
}

/// The address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {error}; {}", remedy(.error))]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or give another port with --metrics",
        io::ErrorKind::AddrNotAvailable => {
            "this host has no such address: give one that it has with --metrics, or 0.0.0.0 or [::] for all"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 take CAP_NET_BIND_SERVICE: give a higher one with --metrics"
        }
        _ => "give another address with --metrics",
    }
}

/// Answers clients until this is dropped. `now_ns` is the clock of [`super::Metrics::drained_ns`]. Must be called within a tokio
/// runtime.
pub fn start(listener: TcpListener, metrics: Shared, now_ns: fn() -> u64) -> Supervised {
    keep(listener, move |listener| serve(listener, metrics.clone(), now_ns))
}

/// Runs `serve`, again each time that it ends: only a fault of this program ends it. The socket stays meanwhile, so that clients
/// wait and no other process can take the address.
fn keep<F>(listener: TcpListener, serve: impl Fn(Arc<TcpListener>) -> F + Send + 'static) -> Supervised
where
    F: Future<Output = ()> + Send + 'static,
{
    let pauses = Pauses { first: PAUSE, ..Pauses::default() };
    supervise::keep("the server of metrics and health", pauses, Arc::new(listener), serve, |_, _| {})
}

async fn serve(listener: Arc<TcpListener>, metrics: Shared, now_ns: fn() -> u64) {
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(tokio::spawn(connection(stream, peer.ip(), metrics.clone(), now_ns)));
        // A request that has arrived is answered before the next connection is accepted: of many at once none has to close for
        // another.
        tokio::task::yield_now().await;
    }
}

async fn connection(stream: TcpStream, peer: IpAddr, metrics: Shared, now_ns: fn() -> u64) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let (method, path, query) = (request.method(), request.uri().path(), request.uri().query());
        let request = Request { method, path, query, accept, peer };
        let answer = answer(&request, &metrics.lock(), now_ns());
        ready(Ok::<_, Infallible>(answer))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(HEAD_BYTES);
    http.max_headers(64);
    match tokio::time::timeout(DEADLINE, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        // hyper answers a malformed request, and the operator need not know of it.
        Ok(Err(error)) => tracing::debug!(%error, "a client of the metrics"),
        Err(_) => tracing::debug!("a client of the metrics took too long"),
    }
}

#[cfg(test)]
mod tests;
