//! What it takes to be let in: an address, certificates, and who we are.

use std::path::PathBuf;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::problem::{Problem, clean};

/// A user's certificates and key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What it takes to be let in.
pub(super) struct Access {
    pub(super) url: http::Uri,
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// The name in the server's certificate, where it is not that of the URL.
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) identity: Option<Identity>,
    pub(super) credentials: Credentials,
}

/// What a request says of who we are.
pub(super) enum Credentials {
    /// Nothing: the certificate says it.
    None,
    /// The token in this file.
    TokenFile(PathBuf),
    /// This value of `Authorization`.
    Authorization(String),
}

impl Credentials {
    /// The header of one request.
    ///
    /// kube's own reader of token files was rejected: it reads at most once a minute, so a refused token is used on for that
    /// long; it takes an empty file for a token; and it fails on the line end that most editors put behind one. A request
    /// comes every few minutes, so to read each time costs nothing and is never late.
    pub(super) fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, Problem> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Authorization(text) => text.clone(),
            Self::TokenFile(path) => {
                let problem = |reason: &str| Problem::Token { path: path.clone(), reason: reason.to_owned() };
                let token = std::fs::read_to_string(path).map_err(|error| problem(&error.to_string()))?;
                let token = token.trim();
                if token.is_empty() {
                    return Err(problem("the file is empty"));
                }
                if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(problem("what is in the file is no token"));
                }
                format!("Bearer {token}")
            }
        };
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| Problem::Settings("the token has characters that none can have".to_owned()))?;
        // It is in no log.
        value.set_sensitive(true);
        Ok(Some((http::header::AUTHORIZATION, value)))
    }
}

impl Access {
    /// For TLS with the server. Nothing but the cluster's CA is trusted.
    pub(super) fn tls(&self) -> Result<ClientConfig, Problem> {
        let problem = |error: rustls::Error| Problem::Settings(clean(&error.to_string()));
        let mut roots = RootCertStore::empty();
        for root in &self.roots {
            roots.add(root.clone()).map_err(problem)?;
        }
        // Named: with two in the program, rustls ends the process rather than choose.
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(problem)?
            .with_root_certificates(roots);
        match &self.identity {
            None => Ok(config.with_no_client_auth()),
            Some((chain, key)) => {
                config.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(problem)
            }
        }
    }
}

/// Certificates in PEM, at least one; or what is wrong with them.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| clean(&error.to_string()))?;
    if all.is_empty() { Err("no certificate is in it".to_owned()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_from_what_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        let credentials = Credentials::TokenFile(path.clone());
        assert!(credentials.header().is_err(), "absent");
        for (bytes, good) in [(&b""[..], false), (b" \n", false), (b"\xff\0", false), (b"a.b-c_d\n", true)] {
            std::fs::write(&path, bytes).expect("a file");
            assert_eq!(credentials.header().is_ok(), good, "{bytes:?}");
        }
        let (_, value) = credentials.header().expect("good").expect("a header");
        assert_eq!((value.as_bytes(), value.is_sensitive()), (&b"Bearer a.b-c_d"[..], true));
        assert!(Credentials::Authorization("Bearer a\nb".to_owned()).header().is_err());
    }

    #[test]
    fn certificates_are_told_from_what_is_none() {
        for bytes in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            assert!(certificates(bytes).is_err(), "{bytes:?}");
        }
    }
}
