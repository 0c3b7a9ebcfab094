//! Unary gRPC calls over a unix socket: HTTP/2 by the crate `h2`, and the five bytes that gRPC puts before a message.
//!
//! A whole gRPC stack would bring load balancing, TLS and a server for what is two calls now and then. Nothing here has a
//! deadline of its own: a future that is dropped resets its stream, and the connection ends with its [`Connection`].

use std::path::Path;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, StatusCode, header};
use prost::Message;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::Problem;

/// The longest answer that is taken, in bytes; what kubelet's own client takes. A thousand containers make some 1 MiB.
pub const LONGEST_ANSWER: usize = 16 << 20;
/// How much may be under way before it is read, in bytes.
const WINDOW: u32 = 1 << 20;
/// Flag of compression, and length.
const PREFIX: usize = 5;
/// How much of a server's own words goes into a reason, in characters.
const WORDS: usize = 500;

/// A connection to a gRPC server.
#[derive(Debug)]
pub struct Connection {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects to the socket. Must be called within a tokio runtime, which then drives the connection.
    ///
    /// # Errors
    /// Nobody listens there ([`Problem::Unreachable`]), or it does not speak HTTP/2 ([`Problem::Broken`]).
    pub async fn open(socket: &Path) -> Result<Self, Problem> {
        let stream = UnixStream::connect(socket).await.map_err(Problem::Unreachable)?;
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
        let (send, connection) = builder.handshake(stream).await.map_err(|error| broken(&error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the runtime broke");
            }
        });
        Ok(Self { send, driver })
    }

    /// Calls a method, `/<service>/<method>`.
    ///
    /// # Errors
    /// The server says no ([`Problem::Refused`]), the connection breaks ([`Problem::Broken`]), or what comes is no gRPC
    /// or not this message ([`Problem::Nonsense`]).
    pub async fn unary<Q: Message, A: Message + Default>(
        &mut self,
        path: &str,
        question: &Q,
    ) -> Result<A, Problem> {
        let request = Request::builder()
            .method(Method::POST)
            // The name of a socket's file is no authority, and Go's servers refuse one that they cannot parse.
            .uri(format!("http://localhost{path}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, concat!("crashtrace/", env!("CARGO_PKG_VERSION")))
            .body(())
            .map_err(|error| Problem::Nonsense(format!("{path} is no path: {error}")))?;
        // A clone's turn comes when the server allows one more stream.
        let mut send = self.send.clone().ready().await.map_err(|error| broken(&error))?;
        let (answer, mut body) = send.send_request(request, false).map_err(|error| broken(&error))?;
        body.send_data(framed(question), true).map_err(|error| broken(&error))?;
        let (head, body) = answer.await.map_err(|error| broken(&error))?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Problem::Nonsense(format!("HTTP status {}", head.status.as_u16())));
        }
        // An error without a body: its trailers stand in the head.
        if head.headers.contains_key("grpc-status") {
            check(&head.headers)?;
        }
        let (bytes, trailers) = read(body).await?;
        check(&trailers.unwrap_or_default())?;
        A::decode(unframed(bytes)?).map_err(|error| Problem::Nonsense(format!("not this message: {error}")))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Reads a body to its end, with its trailers.
async fn read(mut body: RecvStream) -> Result<(Bytes, Option<HeaderMap>), Problem> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if bytes.len() + chunk.len() > LONGEST_ANSWER + PREFIX {
            return Err(Problem::Nonsense(format!("an answer of more than {LONGEST_ANSWER} bytes")));
        }
        bytes.extend_from_slice(&chunk);
        // What was read may be sent again; it was received, so this cannot be too much.
        body.flow_control().release_capacity(chunk.len()).map_err(|error| broken(&error))?;
    }
    let trailers = body.trailers().await.map_err(|error| broken(&error))?;
    Ok((bytes.freeze(), trailers))
}

fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut bytes = BytesMut::with_capacity(PREFIX + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message);
    bytes.freeze()
}

/// The one message of a body.
fn unframed(mut bytes: Bytes) -> Result<Bytes, Problem> {
    let [compressed, length @ ..] = *bytes
        .first_chunk::<PREFIX>()
        .ok_or_else(|| Problem::Nonsense(format!("an answer of {} bytes", bytes.len())))?;
    if compressed != 0 {
        return Err(Problem::Nonsense("a compressed answer, which was not asked for".to_owned()));
    }
    let message = bytes.split_off(PREFIX);
    let length = u32::from_be_bytes(length);
    if usize::try_from(length).ok() != Some(message.len()) {
        let long = message.len();
        return Err(Problem::Nonsense(format!("{long} bytes where {length} were announced")));
    }
    Ok(message)
}

/// What the trailers say of the call.
fn check(trailers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            Err(Problem::Refused { code, message: words(text("grpc-message").unwrap_or("no reason given")) })
        }
        None => Err(Problem::Nonsense("an answer without a status of gRPC".to_owned())),
    }
}

/// A server's own words, in one line of bounded length.
fn words(text: &str) -> String {
    text.chars().map(|any| if any.is_control() { ' ' } else { any }).take(WORDS).collect()
}

fn broken(error: &h2::Error) -> Problem {
    if error.reason() == Some(Reason::FRAME_SIZE_ERROR) || error.reason() == Some(Reason::PROTOCOL_ERROR) {
        return Problem::Nonsense(format!("no HTTP/2: {error}"));
    }
    Problem::Broken(error.to_string())
}
