//! Unary gRPC calls over a unix socket: HTTP/2 by the crate `h2`, and the five bytes that gRPC puts before a message.
//!
//! A whole gRPC stack would bring load balancing, TLS and a server for two calls now and then. Nothing here has a
//! deadline: a future that is dropped resets its stream, and the connection ends with its [`Connection`].
//!
//! An answer is handed on as it comes, and never held as a whole. So a long answer takes no more memory than a short one:
//! containerd sends at most 16 MiB unless told otherwise, CRI-O 80 MiB.

use std::path::Path;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, StatusCode, header};
use prost::Message;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::Problem;
use crate::harmless::one_line;
use crate::pods::TURN_BYTES;

/// The longest answer that is taken, in bytes: more than CRI-O's longest.
pub const LONGEST_ANSWER: u64 = 128 << 20;
/// The longest head of an answer, and the longest trailers, in bytes.
const LONGEST_HEAD: u32 = 64 << 10;
/// How much may be under way before it is read, in bytes.
const WINDOW: u32 = 1 << 20;
/// Flag of compression, and length.
const PREFIX: usize = 5;
/// How much of a server's own words goes into a reason, in characters.
const WORDS: usize = 500;

/// The reader of an answer's message.
pub trait Answer {
    /// It begins, and is so many bytes long.
    fn begin(&mut self, length: u64);
    /// The next bytes of it.
    ///
    /// # Errors
    /// Why they are not the expected answer, as a phrase.
    fn take(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// It is over.
    ///
    /// # Errors
    /// Why it should not be.
    fn end(&mut self) -> Result<(), String>;
}

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
    /// No process listens on the socket ([`Problem::Unreachable`]), or it does not speak HTTP/2 ([`Problem::Broken`]).
    pub async fn open(socket: &Path) -> Result<Self, Problem> {
        let stream = UnixStream::connect(socket).await.map_err(Problem::Unreachable)?;
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
        builder.max_header_list_size(LONGEST_HEAD);
        let (send, connection) = builder.handshake(stream).await.map_err(|error| broken(&error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the runtime broke");
            }
        });
        Ok(Self { send, driver })
    }

    /// Calls a method, `/<service>/<method>`, and hands its answer on.
    ///
    /// # Errors
    /// The server refuses ([`Problem::Refused`]), the connection breaks ([`Problem::Broken`]), or the answer is not gRPC
    /// or not the expected one ([`Problem::Nonsense`]). Part of an answer may have been handed on before.
    pub async fn unary(
        &mut self,
        path: &str,
        question: &impl Message,
        answer: &mut impl Answer,
    ) -> Result<(), Problem> {
        let request = Request::builder()
            .method(Method::POST)
            // The path of a socket's file is no valid authority, and Go's servers refuse an authority that they cannot parse.
            .uri(format!("http://localhost{path}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, concat!("crashtrace/", env!("CARGO_PKG_VERSION")))
            .body(())
            .map_err(|error| Problem::Nonsense(format!("{path} is no path: {error}")))?;
        // A clone's turn comes when the server allows one more stream.
        let mut send = self.send.clone().ready().await.map_err(|error| broken(&error))?;
        let (head, mut body) = send.send_request(request, false).map_err(|error| broken(&error))?;
        body.send_data(framed(question), true).map_err(|error| broken(&error))?;
        let (head, body) = head.await.map_err(|error| broken(&error))?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Problem::Nonsense(format!("HTTP status {}", head.status.as_u16())));
        }
        // An error without a body: its trailers are in the head.
        if head.headers.contains_key("grpc-status") {
            check(&head.headers)?;
        }
        let trailers = read(body, answer).await?;
        check(&trailers.unwrap_or_default())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Reads a body to its end, and hands on the one message that is in it. Gives the trailers.
///
/// The server reports an error that it finds on the way in the trailers, so an empty body is for them to explain.
async fn read(mut body: RecvStream, answer: &mut impl Answer) -> Result<Option<HeaderMap>, Problem> {
    let mut message = Unframed::default();
    let mut at_once = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        let bytes = chunk.len();
        message.take(chunk, answer).map_err(Problem::Nonsense)?;
        // The server may send as many bytes again as were read; these were received, so this cannot be too much.
        body.flow_control().release_capacity(bytes).map_err(|error| broken(&error))?;
        at_once += bytes;
        if at_once >= TURN_BYTES {
            at_once = 0;
            tokio::task::yield_now().await;
        }
    }
    let trailers = body.trailers().await.map_err(|error| broken(&error))?;
    if let Some(trailers) = trailers.as_ref().filter(|_| message.read == 0) {
        check(trailers)?;
    }
    message.end(answer).map_err(Problem::Nonsense)?;
    Ok(trailers)
}

/// The one message of a body, as it comes.
#[derive(Debug, Default)]
struct Unframed {
    prefix: BytesMut,
    length: u64,
    /// Bytes of the message so far.
    read: u64,
}

impl Unframed {
    fn take(&mut self, mut chunk: Bytes, answer: &mut impl Answer) -> Result<(), String> {
        if self.prefix.len() < PREFIX {
            let missing = chunk.len().min(PREFIX - self.prefix.len());
            self.prefix.extend_from_slice(&chunk.split_to(missing));
            let Some([compressed, length @ ..]) = self.prefix.first_chunk::<PREFIX>() else { return Ok(()) };
            if *compressed != 0 {
                return Err("a compressed answer, which was not asked for".to_owned());
            }
            self.length = u32::from_be_bytes(*length).into();
            if self.length > LONGEST_ANSWER {
                return Err(format!("an answer of {} bytes, more than {LONGEST_ANSWER}", self.length));
            }
            answer.begin(self.length);
        }
        self.read = self.read.saturating_add(chunk.len() as u64);
        if self.read > self.length {
            return Err(format!("{} bytes where {} were announced", self.read, self.length));
        }
        if chunk.has_remaining() { answer.take(&chunk) } else { Ok(()) }
    }

    fn end(&self, answer: &mut impl Answer) -> Result<(), String> {
        if self.prefix.len() < PREFIX {
            return Err(format!("an answer of {} bytes", self.prefix.len()));
        }
        if self.read != self.length {
            return Err(format!("{} bytes where {} were announced", self.read, self.length));
        }
        answer.end()
    }
}

fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut bytes = BytesMut::with_capacity(PREFIX + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message);
    bytes.freeze()
}

/// The result of the call, from its trailers.
fn check(trailers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let message = one_line(text("grpc-message").unwrap_or("no reason given"), WORDS);
            Err(Problem::Refused { code, message })
        }
        None => Err(Problem::Nonsense("an answer without a status of gRPC".to_owned())),
    }
}

fn broken(error: &h2::Error) -> Problem {
    if error.reason() == Some(Reason::FRAME_SIZE_ERROR) || error.reason() == Some(Reason::PROTOCOL_ERROR) {
        return Problem::Nonsense(format!("no HTTP/2: {error}"));
    }
    Problem::Broken(error.to_string())
}
