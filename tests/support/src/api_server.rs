//! An API server as far as the agent can tell: HTTPS with its own CA, bearer tokens, answers by a script.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub mod objects;
mod tls;

use tls::Ca;

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A watch that begins with the list.
    StreamedList,
    /// A watch from a version.
    Watch,
    List,
    /// A list of a pod's Events.
    Events,
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Kind,
    pub path: String,
    pub query: HashMap<String, String>,
    pub at: Instant,
    /// The connection that it came on.
    pub connection: usize,
}

impl Seen {
    pub fn version(&self) -> &str {
        self.query.get("resourceVersion").map_or("", String::as_str)
    }
}

/// A write that was received.
#[derive(Clone, Debug)]
pub struct Wrote {
    pub method: String,
    pub path: String,
    pub query: HashMap<String, String>,
    /// Its `Content-Type`.
    pub content: String,
    pub body: serde_json::Value,
    pub at: Instant,
}

/// A part of a body.
pub enum Piece {
    Bytes(Bytes),
    End,
    Break,
}

/// The server's answer to a request.
pub enum Answer {
    /// Status, content type, `Retry-After`, body.
    Whole(u16, &'static str, Option<&'static str>, Bytes),
    /// These bytes, and then the test's, till it ends the streams.
    Open(Vec<u8>),
    /// These bytes, and the end.
    Closed(Vec<u8>),
    /// None.
    Never,
}

type Script = Box<dyn FnMut(&Seen) -> Answer + Send>;
type WriteScript = Box<dyn FnMut(&Wrote) -> Answer + Send>;

struct State {
    script: Script,
    events: Script,
    /// Of a server for any client: it answers all requests.
    all: Option<Script>,
    seen_events: Vec<Seen>,
    writes: WriteScript,
    token: String,
    seen: Vec<Seen>,
    unauthorized: usize,
    streams: Vec<UnboundedSender<Piece>>,
    connections: usize,
    leaving: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

pub struct Server {
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    state: Arc<Mutex<State>>,
    accept: Option<JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl Server {
    pub async fn start(script: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let ca = Ca::new();
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("ca.crt"), &ca.pem).expect("a file");
        std::fs::write(dir.path().join("token"), "good-token").expect("a file");
        let state = State {
            script: Box::new(script),
            events: Box::new(|_| no_events()),
            all: None,
            seen_events: Vec::new(),
            writes: Box::new(|wrote| panic!("nothing is written here: {wrote:?}")),
            token: "good-token".to_owned(),
            seen: Vec::new(),
            unauthorized: 0,
            streams: Vec::new(),
            connections: 0,
            leaving: watch::Sender::new(false),
            tasks: Vec::new(),
        };
        let mut server = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: ca.server(),
            state: Arc::new(Mutex::new(state)),
            accept: None,
            dir,
        };
        server.listen().await;
        server
    }

    /// At the port that it had, if it had one.
    pub async fn listen(&mut self) {
        self.state().leaving.send_replace(false);
        let listener = TcpListener::bind(self.address).await.expect("a port");
        self.address = listener.local_addr().expect("an address");
        self.accept = Some(tokio::spawn(accept(listener, Arc::clone(&self.tls), Arc::clone(&self.state))));
    }

    /// As a server that is killed: new connections are refused, open ones break.
    pub async fn stop(&mut self) {
        self.refuse().await;
        self.cut();
    }

    fn cut(&mut self) {
        let mut state = self.state();
        state.streams.clear();
        for task in state.tasks.drain(..) {
            task.abort();
        }
    }

    /// As a server that is told to stop: new connections are refused, open ones live until their answer has ended.
    pub async fn refuse(&mut self) {
        self.state().leaving.send_replace(true);
        if let Some(accept) = self.accept.take() {
            accept.abort();
            // Only then is the port free.
            let _ = accept.await;
        }
    }

    pub fn answer_by(&self, script: impl FnMut(&Seen) -> Answer + Send + 'static) {
        self.state().script = Box::new(script);
    }

    /// Lists of Events; until this is called there are none. They are not among [`Self::seen`].
    pub fn answer_events_by(&self, script: impl FnMut(&Seen) -> Answer + Send + 'static) {
        self.state().events = Box::new(script);
    }

    /// Writes, of which there are none until this is called. They are not among [`Self::seen`].
    pub fn answer_writes_by(&self, script: impl FnMut(&Wrote) -> Answer + Send + 'static) {
        self.state().writes = Box::new(script);
    }

    /// Answers requests of any path; those of the agent's watch too.
    pub fn answer_all_by(&self, script: impl FnMut(&Seen) -> Answer + Send + 'static) {
        self.state().all = Some(Box::new(script));
    }

    pub fn seen_events(&self) -> Vec<Seen> {
        self.state().seen_events.clone()
    }

    pub fn accept_token(&self, token: &str) {
        token.clone_into(&mut self.state().token);
    }

    /// Another certificate, by another CA.
    pub fn change_ca(&mut self) -> Ca {
        let ca = Ca::new();
        self.tls = ca.server();
        ca
    }

    /// On all open streams.
    pub fn send(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.state().streams.retain(|stream| stream.send(Piece::Bytes(bytes.clone())).is_ok());
    }

    pub fn end_streams(&self) {
        for stream in self.state().streams.drain(..) {
            let _ = stream.send(Piece::End);
        }
    }

    pub fn break_streams(&self) {
        for stream in self.state().streams.drain(..) {
            let _ = stream.send(Piece::Break);
        }
    }

    /// Waits until the client has closed its streams.
    pub async fn streams_closed(&self) {
        while self.state().streams.iter().any(|stream| !stream.is_closed()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    pub fn kinds(&self) -> Vec<Kind> {
        self.state().seen.iter().map(|seen| seen.kind).collect()
    }

    /// Requests with a wrong token, or none.
    pub fn unauthorized(&self) -> usize {
        self.state().unauthorized
    }

    /// Waits for so many requests.
    pub async fn wait_for_requests(&self, number: usize, deadline: Duration) -> Vec<Seen> {
        let end = Instant::now() + deadline;
        loop {
            let seen = self.seen();
            if seen.len() >= number {
                return seen;
            }
            assert!(Instant::now() < end, "{} requests of {number}: {seen:?}", seen.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accept) = self.accept.take() {
            accept.abort();
        }
        self.cut();
    }
}

fn no_events() -> Answer {
    let list = r#"{"kind":"EventList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}"#;
    Answer::Whole(200, "application/json", None, Bytes::from_static(list.as_bytes()))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, tls: Arc<ServerConfig>, state: Arc<Mutex<State>>) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let number = {
            let mut state = lock(&state);
            state.connections += 1;
            state.connections
        };
        let task = tokio::spawn(serve(tcp, TlsAcceptor::from(Arc::clone(&tls)), Arc::clone(&state), number));
        lock(&state).tasks.push(task);
    }
}

async fn serve(tcp: TcpStream, tls: TlsAcceptor, state: Arc<Mutex<State>>, connection: usize) {
    let Ok(stream) = tls.accept(tcp).await else { return };
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(request, &state, connection).await) }
    });
    let mut leaving = lock(&state).leaving.subscribe();
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let left = async { leaving.wait_for(|leaving| *leaving).await.is_ok() };
    // A client that goes away is no failure of the test.
    tokio::select! {
        _ = &mut served => {}
        _ = left => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    state: &Mutex<State>,
    connection: usize,
) -> hyper::Response<Stream> {
    let json = "application/json";
    let query: HashMap<_, _> =
        form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let path = request.uri().path().to_owned();
    let selector = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
    let of_events = path.starts_with("/api/v1/namespaces/") && path.ends_with("/events");
    let method = request.method().to_string();
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let [authorization, content] = ["authorization", "content-type"].map(|name| header(name).to_owned());
    let is_write = method != "GET";
    let body = if is_write {
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        serde_json::from_slice(&body.unwrap_or_default()).expect("a body of JSON")
    } else {
        serde_json::Value::Null
    };
    // A script of all requests looks at their paths itself.
    let has_script = lock(state).all.is_some();
    let of_group = path.starts_with("/apis/") && !is_write && !has_script;
    match (is_write || of_group || has_script, of_events) {
        (true, _) => {}
        (false, true) => assert!(selector.starts_with("involvedObject.uid="), "{selector}"),
        (false, false) => assert_eq!((path.as_str(), selector), ("/api/v1/pods", "spec.nodeName=node1")),
    }
    let answer = {
        let mut state = lock(state);
        if authorization != format!("Bearer {}", state.token) {
            state.unauthorized += 1;
            let body = include_bytes!("../../fixtures/kubernetes/api/errors/401-unauthorized.json");
            Answer::Whole(401, json, None, Bytes::from_static(body))
        } else if is_write || of_group {
            // What is looked up of a group is a matter of the objects too.
            (state.writes)(&Wrote { method, path, query, content, body, at: Instant::now() })
        } else {
            let kind = match (query.contains_key("watch"), query.contains_key("sendInitialEvents")) {
                (true, true) => Kind::StreamedList,
                (true, false) => Kind::Watch,
                (false, _) if of_events => Kind::Events,
                (false, _) => Kind::List,
            };
            let seen = Seen { kind, path, query, at: Instant::now(), connection };
            if let Some(mut all) = state.all.take() {
                state.seen.push(seen.clone());
                let answer = all(&seen);
                state.all = Some(all);
                answer
            } else if of_events {
                state.seen_events.push(seen.clone());
                (state.events)(&seen)
            } else {
                state.seen.push(seen.clone());
                (state.script)(&seen)
            }
        }
    };
    let (status, kind, retry_after, first, live) = match answer {
        Answer::Whole(status, kind, retry_after, body) => {
            (status, kind, retry_after, vec![Piece::Bytes(body), Piece::End], None)
        }
        Answer::Open(bytes) => {
            let (send, receive) = unbounded_channel();
            lock(state).streams.push(send);
            (200, json, None, vec![Piece::Bytes(bytes.into())], Some(receive))
        }
        Answer::Closed(bytes) => (200, json, None, vec![Piece::Bytes(bytes.into()), Piece::End], None),
        Answer::Never => pending().await,
    };
    let mut response = hyper::Response::builder().status(status).header("content-type", kind);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Stream { first: first.into(), live }).expect("an answer")
}

struct Stream {
    first: VecDeque<Piece>,
    live: Option<UnboundedReceiver<Piece>>,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let piece = match (self.first.pop_front(), &mut self.live) {
            (Some(piece), _) => Some(piece),
            (None, Some(live)) => std::task::ready!(live.poll_recv(context)),
            (None, None) => None,
        };
        Poll::Ready(match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            // A stream whose test is gone breaks, too.
            Some(Piece::Break) | None => Some(Err(std::io::Error::other("the server breaks off"))),
        })
    }
}
