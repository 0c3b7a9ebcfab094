//! Problems with the API server, in words for a report's `unresolved`, for `crashtrace doctor` and for a log line.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;

use crate::harmless::one_line;

/// The longest text of others that is passed on: a reason must be short.
const LONGEST_TEXT: usize = 240;

/// Why the API server gives no pods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The address, or the credentials, cannot be found out.
    #[error("no way to the API server: {0}")]
    Settings(String),
    /// A token that cannot be read, or is none.
    #[error("no token in {}: {reason}; mount the service account's token there", .path.display())]
    Token {
        /// The file.
        path: PathBuf,
        reason: String,
    },
    /// A CA certificate that cannot be read, or is none.
    #[error("no CA certificate in {}: {reason}; mount the cluster's ca.crt there", .path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        reason: String,
    },
    /// A kubeconfig that cannot be read or used.
    #[error("kubeconfig {}: {reason}", .path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        reason: String,
    },
    /// No server listens at the address, or there is no network.
    #[error("cannot connect to the API server {server}: {reason}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// The system's words.
        reason: String,
    },
    /// The server cannot show that it is this cluster's API server.
    #[error(
        "the certificate of API server {server} is not trusted: {reason}; check the configured CA certificate"
    )]
    Untrusted {
        /// Its URL.
        server: String,
        /// The reason, from TLS.
        reason: String,
    },
    /// A request without an answer.
    #[error("the API server gives no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// A watch without a word. Bookmarks come about once a minute: so the connection is dead, whatever TCP says.
    #[error("the API server sent nothing for {} s, not even a bookmark", .0.as_secs())]
    Quiet(Duration),
    /// The connection broke.
    #[error("the connection to the API server broke: {0}")]
    Broken(String),
    /// It says no.
    #[error("the API server refuses: {code} {message}{}", remedy(*.code))]
    Refused {
        /// HTTP's status.
        code: u16,
        /// Its words.
        message: String,
    },
    /// This program has a fault.
    #[error("{0}")]
    Fault(String),
    /// The answer does not follow the API.
    #[error("not an answer of the Kubernetes API: {0}")]
    Nonsense(String),
}

impl Problem {
    /// From an answer that is no success.
    pub(super) fn refused(code: u16, message: &str) -> Self {
        let name = StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason()).unwrap_or("");
        let message = clean(message);
        Self::Refused { code, message: if message.is_empty() { name.to_owned() } else { message } }
    }

    pub(super) fn nonsense(what: &str) -> Self {
        Self::Nonsense(clean(what))
    }

    /// From an error of the connection, before an answer came.
    pub(super) fn of_request(server: &str, error: &(dyn Error + 'static)) -> Self {
        let server = server.to_owned();
        if let Some(refusal) = links(error).find_map(tls) {
            return Self::Untrusted { server, reason: clean(&refusal.to_string()) };
        }
        let reason = root(error);
        let connecting = |link: &(dyn Error + 'static)| {
            link.downcast_ref::<hyper_util::client::legacy::Error>()
                .is_some_and(hyper_util::client::legacy::Error::is_connect)
        };
        if links(error).any(connecting) { Self::Unreachable { server, reason } } else { Self::Broken(reason) }
    }

    /// From an error in the middle of an answer.
    pub(super) fn of_body(error: &(dyn Error + 'static)) -> Self {
        Self::Broken(root(error))
    }

    /// The remedy, as a phrase.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Settings(_) => "name a kubeconfig with --kubeconfig, and the node with --node-name",
            Self::Token { .. } | Self::Ca { .. } => {
                "let the pod have its service account's files (automountServiceAccountToken), as regular files"
            }
            Self::Kubeconfig { .. } => "fix the kubeconfig, or name another with --kubeconfig",
            Self::Unreachable { .. } | Self::Silent(_) | Self::Quiet(_) | Self::Broken(_) => {
                "check that this node reaches the API server: network, network policies, firewalls, and the server's health"
            }
            Self::Untrusted { .. } => "give crashtrace the CA certificate of this cluster",
            Self::Refused { code: 401, .. } => {
                "give crashtrace a token or a certificate of this cluster that has not expired"
            }
            Self::Refused { code: 403, .. } => {
                "bind the service account, or the user, to a ClusterRole with list and watch on pods"
            }
            Self::Refused { .. } | Self::Nonsense(_) => "check the API server's address, and its log",
            Self::Fault(_) => "report this fault of crashtrace",
        }
    }

    /// The kind of problem: its words may differ each time.
    pub(super) fn kind(&self) -> (std::mem::Discriminant<Self>, Option<u16>) {
        (std::mem::discriminant(self), self.code())
    }

    /// The answer's HTTP status, where there was one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        if let Self::Refused { code, .. } = self { Some(*code) } else { None }
    }
}

fn remedy(code: u16) -> &'static str {
    match code {
        401 => "; the token or certificate is not accepted: is it of this cluster, and not expired?",
        403 => "; grant list and watch on pods",
        _ => "",
    }
}

/// Text of others: one line, of bounded length.
pub(super) fn clean(text: &str) -> String {
    one_line(text, LONGEST_TEXT)
}

fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// rustls hands its errors on inside I/O errors, even two deep, and these do not count the inner error as their source.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return tls(io.get_ref()?);
    }
    error.downcast_ref::<rustls::Error>()
}

/// The text of the innermost error: those around it say "error", and where in which library.
fn root(error: &(dyn Error + 'static)) -> String {
    let text = links(error).last().map(ToString::to_string).unwrap_or_default();
    // rustls adds where to read more.
    clean(text.split_once(": https://").map_or(&text, |(text, _)| text))
}
