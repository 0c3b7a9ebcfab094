//! A connection to the API server, and requests on it: each with a deadline, each refusal with its reason.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, StatusCode, request};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::Body;
use kube::client::middleware::BaseUriLayer;
use tokio::time::timeout;
use tower::{BoxError, ServiceBuilder};

use super::Options;
use super::access::TokenFile;
use super::body::whole;
use super::message::Status;
use super::problem::Problem;

/// More than a refusal is ever long.
const LONGEST_REFUSAL: usize = 64 << 10;
/// More than an object that the agent writes is ever long, with the server's own fields.
const LONGEST_OBJECT: usize = 256 << 10;
/// A dead peer is noticed by TCP after about a minute.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);

/// Why a request, or the answer to it, came to nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) problem: Problem,
    /// The server says when to come back.
    pub(crate) retry_after: Option<Duration>,
    /// The resource that the refusal is about, for example `namespaces`.
    pub(crate) about: Option<String>,
    /// The namespace is being deleted, and takes nothing new.
    pub(crate) namespace_goes: bool,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem, retry_after: None, about: None, namespace_goes: false }
    }
}

impl Failure {
    /// The server does not have the object, which is one of this resource.
    pub(crate) fn is_without(&self, resource: &str) -> bool {
        self.problem.code() == Some(404) && self.about.as_deref() == Some(resource)
    }
}

/// Keeps one connection open, and makes another when that is gone.
pub(crate) struct Connection {
    client: kube::Client,
    token: Option<TokenFile>,
    by_program: bool,
    server: String,
    /// For the headers of an answer. (A busy API server lets a request wait for a quarter of a minute.)
    deadline: Duration,
}

impl Connection {
    /// Reads the configuration. No connection is made yet.
    ///
    /// kube's own stack under its client was rejected: it has no TCP keepalive, it logs each failure as an error, and it keeps a
    /// program's token for as long as the client lives, then runs the program again on the loop's own pool of threads, which the
    /// agent's end would wait for.
    pub(crate) async fn open(options: &Options) -> Result<Self, Problem> {
        if options.node.is_empty() {
            // It would select the pods that are on no node.
            return Err(Problem::Settings("the node's name is not known".to_owned()));
        }
        let access = options.source.access().await?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.connect_deadline));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE / KEEPALIVE_RETRIES));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let mut tls = HttpsConnectorBuilder::new().with_tls_config(access.tls).https_only();
        if let Some(name) = access.server_name {
            tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let tls = tls.enable_http1().wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(tls);
        let service = ServiceBuilder::new()
            .layer(access.headers)
            .option_layer(access.auth)
            .layer(BaseUriLayer::new(access.url.clone()))
            .map_err(BoxError::from)
            .service(http);
        Ok(Self {
            client: kube::Client::new(service, "default"),
            server: access.url.to_string().trim_end_matches('/').to_owned(),
            token: access.token,
            by_program: access.by_program,
            deadline: options.answer_deadline,
        })
    }

    /// It is good for one watch: its credentials are from a program, and may be valid for a quarter of an hour only.
    pub(crate) fn is_for_one_watch(&self) -> bool {
        self.by_program
    }

    /// Where the server is.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The body of a good answer.
    pub(crate) async fn get(&self, path: &str) -> Result<Body, Failure> {
        self.answer(Request::get(path).header(ACCEPT, "application/json"), Body::empty()).await
    }

    /// Writes, and gives the object as the server then has it.
    ///
    /// # Errors
    /// The server refuses, or gives no answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content: &'static str,
        body: Vec<u8>,
    ) -> Result<Bytes, Failure> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(ACCEPT, "application/json").header(CONTENT_TYPE, content);
        let answer = self.answer(request, Body::from(body)).await?;
        let whole = timeout(self.deadline, whole(answer, LONGEST_OBJECT)).await;
        Ok(whole.map_err(|_| Problem::Silent(self.deadline))??.into())
    }

    async fn answer(&self, mut request: request::Builder, body: Body) -> Result<Body, Failure> {
        request = request.header(USER_AGENT, concat!("crashtrace/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            let (name, value) = token.header().await?;
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|error| Problem::Settings(error.to_string()))?;
        let silent = |_| Problem::Silent(self.deadline);
        let answer = timeout(self.deadline, self.client.send(request)).await.map_err(silent)?;
        let answer = answer.map_err(|error| Problem::of_request(&self.server, &error))?;
        if matches!(answer.status(), StatusCode::OK | StatusCode::CREATED) {
            return Ok(answer.into_body());
        }
        Err(timeout(self.deadline, refusal(answer)).await.map_err(silent)?)
    }
}

/// The API server refuses by a `Status`, or by plain text if it refuses early; a proxy before it refuses by any
/// text.
async fn refusal(answer: Response<Body>) -> Failure {
    let code = answer.status().as_u16();
    let seconds =
        answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let kind = answer.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec()).unwrap_or_default();
    let body = whole(answer.into_body(), LONGEST_REFUSAL).await.unwrap_or_default();
    let status = Status::parse(&body);
    let message = match &status {
        Some(status) => status.message.clone().unwrap_or_default(),
        // A page of a proxy says nothing in one line.
        None if kind.starts_with(b"text/plain") => String::from_utf8_lossy(&body).into_owned(),
        None => String::new(),
    };
    Failure {
        problem: Problem::refused(code, &message),
        retry_after: seconds
            .map(Duration::from_secs)
            .or(status.as_ref().and_then(|status| status.retry_after)),
        namespace_goes: status.as_ref().is_some_and(|status| status.namespace_goes),
        about: status.and_then(|status| status.about),
    }
}
