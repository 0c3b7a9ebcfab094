//! The access to a cluster: an address, certificates, and the user. kube's `Config` makes it of a kubeconfig or of a pod's files;
//! the files are read here, for kube has no bound and no deadline for them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use kube::Config;
use kube::client::middleware::{AuthLayer, ExtraHeadersLayer};
use kube::client::{AuthError, ConfigExt as _};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use super::problem::{Problem, clean};
use crate::files::{read_off_loop, read_regular};

/// The largest file that is read. A kubeconfig with certificates in it has some 10 KiB for each cluster.
const LARGEST_FILE_BYTES: u64 = 1 << 20;
/// The largest token. One of a service account has 1 KiB, and a header of HTTP may have 16.
const LARGEST_TOKEN_BYTES: u64 = 64 << 10;
/// How long the token may take to be read.
const TOKEN_DEADLINE: Duration = Duration::from_secs(5);

/// The access to a cluster.
pub(super) struct Access {
    pub(super) url: http::Uri,
    pub(super) tls: ClientConfig,
    /// The name in the server's certificate, where it is not that of the URL.
    pub(super) server_name: Option<ServerName<'static>>,
    /// The credentials, unless a certificate or `token` has them.
    pub(super) auth: Option<AuthLayer>,
    /// The user to act as, if the configuration impersonates one.
    pub(super) headers: ExtraHeadersLayer,
    pub(super) token: Option<TokenFile>,
    /// A program was run for it. Its token or certificate may be valid for a quarter of an hour.
    pub(super) by_program: bool,
}

impl Access {
    /// From a configuration. Reads only the system's CA certificates, if the cluster names none; runs the program that the
    /// configuration names, if it names one, and waits for it.
    ///
    /// # Errors
    /// The problem, in words.
    pub(super) fn of(config: &Config, token: Option<PathBuf>) -> Result<Self, String> {
        let program = config.auth_info.exec.as_ref().map(|exec| exec.command.clone().unwrap_or_default());
        let said = |error: kube::Error| said(&error, program.as_deref().unwrap_or_default());
        // First: it says why the program fails, where TLS would pass over it.
        let auth = config.auth_layer().map_err(said)?;
        let server_name = config.tls_server_name.clone().map(ServerName::try_from);
        Ok(Self {
            url: config.cluster_url.clone(),
            tls: config.rustls_client_config().map_err(said)?,
            server_name: server_name.transpose().map_err(|error| format!("tls-server-name: {error}"))?,
            auth,
            headers: config.extra_headers_layer().map_err(said)?,
            token: token.map(TokenFile),
            by_program: program.is_some(),
        })
    }
}

/// The text of kube's error, without the program's output: that may be a token.
fn said(error: &kube::Error, program: &str) -> String {
    match error {
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
            format!("{program} ended with {}: {}", out.status, clean(&String::from_utf8_lossy(&out.stderr)))
        }
        kube::Error::Auth(AuthError::AuthExecStart(error)) => {
            format!("{program} cannot be run: {error}")
        }
        kube::Error::Auth(AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed) => {
            format!("what {program} wrote is no ExecCredential")
        }
        other => clean(&other.to_string()),
    }
}

/// A token in a file.
///
/// kube's own reader of token files was rejected: it reads at most once a minute, so a refused token is used on for that
/// long; it takes an empty file for a token; it fails on the line end that most editors put behind one; and it reads on the
/// loop whatever the path leads to, without a bound. A request comes every few minutes, so to read each time costs nothing and is
/// never late.
#[derive(Debug)]
pub(super) struct TokenFile(pub(super) PathBuf);

impl TokenFile {
    /// The header of one request.
    pub(super) async fn header(&self) -> Result<(HeaderName, HeaderValue), Problem> {
        let problem = |reason: &str| Problem::Token { path: self.0.clone(), reason: reason.to_owned() };
        let bytes = read_off_loop(&self.0, LARGEST_TOKEN_BYTES, TOKEN_DEADLINE).await;
        let bytes = bytes.map_err(|error| problem(&error.to_string()))?;
        let token = bytes.trim_ascii();
        if token.is_empty() {
            return Err(problem("the file is empty"));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(problem("what is in the file is no token"));
        }
        let mut value = HeaderValue::try_from([b"Bearer ", token].concat())
            .map_err(|_| problem("what is in the file is no token"))?;
        // It is in no log.
        value.set_sensitive(true);
        Ok((AUTHORIZATION, value))
    }
}

/// A file that a configuration names, or is. May hang.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_regular(path, LARGEST_FILE_BYTES)
}

/// Certificates in PEM, at least one; or why there are none.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem).map(|it| it.map(|it| it.to_vec())).collect();
    let all = all.map_err(|error| clean(&error.to_string()))?;
    if all.is_empty() { Err("no certificate is in it".to_owned()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_valid_token_is_accepted() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        let token = TokenFile(path.clone());
        assert!(token.header().await.is_err(), "absent");
        for (bytes, good) in
            [(&b""[..], false), (b" \n", false), (b"\xff\0", false), (b"a b", false), (b"a.b-c_d\n", true)]
        {
            std::fs::write(&path, bytes).expect("a file");
            assert_eq!(token.header().await.is_ok(), good, "{bytes:?}");
        }
        let (_, value) = token.header().await.expect("good");
        assert_eq!((value.as_bytes(), value.is_sensitive()), (&b"Bearer a.b-c_d"[..], true));
        std::fs::write(&path, vec![b'a'; 1 << 20]).expect("a file");
        let said = token.header().await.expect_err("too large").to_string();
        assert!(said.contains("larger than 65536 bytes"), "{said}");
    }

    #[test]
    fn only_valid_certificates_are_accepted() {
        for bytes in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            assert!(certificates(bytes).is_err(), "{bytes:?}");
        }
    }
}
