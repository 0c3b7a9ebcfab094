//! A server that behaves as it is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Response};
use prost::Message;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

use super::super::message::{ListContainersRequest, ListPodSandboxRequest};
use super::listing::{containers, sandboxes};
use super::message::{ListContainersResponse, ListPodSandboxResponse};

/// How it answers a call.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Answers with the recorded lists.
    Lists,
    /// The same, but refuses the whole of this list as too long: it sends only the parts that a filter selects.
    ListsInParts(&'static str),
    /// Lists its containers, and hangs up in the middle of its sandboxes.
    BreaksOff,
    /// Answers with these bytes.
    Says(Bytes),
    /// Refuses, in the head of the answer.
    Refuses(u32, &'static str),
    /// Answers with this status of HTTP.
    Status(u16),
    /// Says that all is well and nothing else.
    NothingFollows,
    /// Takes the call and never answers.
    Hangs,
    /// Hangs up in the middle of the call.
    HangsUp,
    /// Says this, which is no HTTP/2, and waits.
    Babbles(&'static [u8]),
}

/// A server, with its socket.
#[derive(Debug)]
pub(super) struct Server {
    _dir: TempDir,
    pub(super) socket: PathBuf,
    /// Connections so far.
    pub(super) met: Arc<AtomicU32>,
}

impl Server {
    /// Starts one.
    pub(super) fn start(manner: Manner) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("cri.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let met = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&met);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, manner.clone()));
            }
        });
        Self { _dir: dir, socket, met }
    }
}

/// A message as gRPC sends it.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("it is short"));
    bytes.extend_from_slice(&message);
    bytes.freeze()
}

/// The list of this call; `None` if the client wants all of the list that is too long.
async fn listed(method: &str, mut body: h2::RecvStream, long: Option<&str>) -> Option<Bytes> {
    let mut question = BytesMut::new();
    while let Some(Ok(chunk)) = body.data().await {
        question.extend_from_slice(&chunk);
    }
    let question = question.split_off(5);
    match method {
        "ListContainers" => {
            let asked = ListContainersRequest::decode(question.freeze()).expect("a question");
            let mut containers = containers();
            match asked.filter {
                Some(filter) => containers.retain(|it| it.pod_sandbox_id == filter.pod_sandbox_id),
                None if long == Some(method) => return None,
                None => {}
            }
            Some(framed(&ListContainersResponse { containers }))
        }
        "ListPodSandbox" => {
            let asked = ListPodSandboxRequest::decode(question.freeze()).expect("a question");
            let mut items = sandboxes();
            match asked.filter {
                Some(filter) => items.retain(|it| it.id == filter.id),
                None if long == Some(method) => return None,
                None => {}
            }
            Some(framed(&ListPodSandboxResponse { items }))
        }
        other => panic!("{other} was not to be called"),
    }
}

async fn serve(stream: UnixStream, manner: Manner) {
    if let Manner::Babbles(words) = manner {
        let _ = stream.writable().await;
        let _ = stream.try_write(words);
        std::future::pending::<()>().await;
    }
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut open = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let head = || Response::builder().header("content-type", "application/grpc");
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let (head, body) = match &manner {
            Manner::ListsInParts(long) => match listed(&method, request.into_body(), Some(long)).await {
                Some(body) => (head(), Some(body)),
                None => (head().header("grpc-status", 8).header("grpc-message", "larger than max"), None),
            },
            Manner::BreaksOff if method == "ListPodSandbox" => {
                let body = listed(&method, request.into_body(), None).await.expect("a list");
                let Ok(mut stream) = respond.send_response(head().body(()).expect("a head"), false) else {
                    continue;
                };
                let _ = stream.send_data(body.slice(..body.len() / 2), false);
                // The data must be sent before the reset.
                open.push(respond);
                tokio::spawn(async move { stream.send_reset(h2::Reason::CANCEL) });
                continue;
            }
            Manner::Lists | Manner::BreaksOff => (head(), listed(&method, request.into_body(), None).await),
            Manner::Says(bytes) => (head(), Some(bytes.clone())),
            Manner::Refuses(code, message) => {
                (head().header("grpc-status", *code).header("grpc-message", *message), None)
            }
            Manner::Status(status) => (head().status(*status), None),
            Manner::NothingFollows => (head().header("grpc-status", 0), None),
            Manner::Hangs => {
                open.push(respond);
                continue;
            }
            Manner::HangsUp | Manner::Babbles(_) => return,
        };
        let head = head.body(()).expect("a head");
        let Ok(mut stream) = respond.send_response(head, body.is_none()) else { continue };
        if let Some(body) = body {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 0.into());
            let _ = stream.send_data(body, false).and_then(|()| stream.send_trailers(trailers));
        }
    }
}
