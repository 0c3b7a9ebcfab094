//! What a kubeconfig says. kube reads it (YAML, files beside it); what is more than a certificate, a token or a password is refused.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use secrecy::{ExposeSecret as _, SecretString};

use super::access::{Access, Credentials, Identity, certificates};

/// Of this context, or the file's current one. An error says what is wrong with the file.
///
/// kube's own `Config` was rejected: for it kube runs programs to get a token (`exec`), and takes `HTTPS_PROXY`, which on a node is
/// about other servers, for this one's.
pub(super) fn access(path: &Path, context: Option<&str>) -> Result<Access, String> {
    let file = Kubeconfig::read_from(path).map_err(|error| error.to_string())?;
    let name = context.or(file.current_context.as_deref()).ok_or("it has no current context: name one")?;
    let context = file.contexts.iter().find(|it| it.name == name).and_then(|it| it.context.as_ref());
    let context = context.ok_or_else(|| format!("it has no context {name}"))?;
    let cluster = file.clusters.iter().find(|it| it.name == context.cluster);
    let cluster = cluster
        .and_then(|it| it.cluster.as_ref())
        .ok_or_else(|| format!("it has no cluster {}", context.cluster))?;
    let user = context.user.as_deref().unwrap_or_default();
    let info = file.auth_infos.iter().find(|it| it.name == user).and_then(|it| it.auth_info.as_ref());
    let info = info.ok_or_else(|| format!("it has no user {user}"))?;
    of(cluster, user, info)
}

fn of(cluster: &Cluster, user: &str, info: &AuthInfo) -> Result<Access, String> {
    if info.exec.is_some() || info.auth_provider.is_some() {
        return Err(format!(
            "to be user {user} a program must be run, which crashtrace does not do; name a context whose user has a token or \
             a certificate"
        ));
    }
    if info.impersonate.is_some() || cluster.proxy_url.as_deref().is_some_and(|url| !url.is_empty()) {
        return Err("impersonation and proxies are not supported".to_owned());
    }
    let server = cluster.server.as_deref().unwrap_or_default();
    let url: http::Uri = server.parse().map_err(|error| format!("server {server:?} is no URL: {error}"))?;
    if url.scheme_str() != Some("https") {
        return Err(format!("server {server:?} is not https"));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err("insecure-skip-tls-verify: crashtrace believes no server that anybody can be".to_owned());
    }
    let ca = given(cluster.certificate_authority_data.as_deref(), cluster.certificate_authority.as_deref())
        .map_err(|reason| format!("certificate-authority: {reason}"))?
        .ok_or("its cluster has no certificate-authority")?;
    let roots = certificates(&ca).map_err(|reason| format!("certificate-authority: {reason}"))?;
    let server_name = cluster.tls_server_name.clone().map(ServerName::try_from);
    let server_name = server_name.transpose().map_err(|error| format!("tls-server-name: {error}"))?;
    Ok(Access { url, roots, server_name, identity: identity(info)?, credentials: credentials(info) })
}

fn identity(info: &AuthInfo) -> Result<Option<Identity>, String> {
    let secret = |text: &Option<SecretString>| text.as_ref().map(|text| text.expose_secret().to_owned());
    let chain = given(info.client_certificate_data.as_deref(), info.client_certificate.as_deref())
        .map_err(|reason| format!("client-certificate: {reason}"))?;
    let key = given(secret(&info.client_key_data).as_deref(), info.client_key.as_deref())
        .map_err(|reason| format!("client-key: {reason}"))?;
    let (Some(chain), Some(key)) = (chain, key) else { return Ok(None) };
    let chain = certificates(&chain).map_err(|reason| format!("client-certificate: {reason}"))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| format!("client-key: {error}"))?;
    Ok(Some((chain, key)))
}

/// In kubectl's order.
fn credentials(info: &AuthInfo) -> Credentials {
    if let Some(token) =
        info.token.as_ref().map(SecretString::expose_secret).filter(|token| !token.is_empty())
    {
        return Credentials::Authorization(format!("Bearer {token}"));
    }
    if let Some(path) = &info.token_file {
        return Credentials::TokenFile(path.into());
    }
    if let (Some(name), Some(password)) = (&info.username, &info.password) {
        let both = BASE64.encode(format!("{name}:{}", password.expose_secret()));
        return Credentials::Authorization(format!("Basic {both}"));
    }
    Credentials::None
}

/// Data in base64, or else a file.
fn given(data: Option<&str>, path: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    match (data.filter(|data| !data.is_empty()), path.filter(|path| !path.is_empty())) {
        (Some(data), _) => BASE64.decode(data.trim()).map(Some).map_err(|error| error.to_string()),
        (None, Some(path)) => std::fs::read(path).map(Some).map_err(|error| format!("{path}: {error}")),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cluster: &str, user: &str) -> Result<Access, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config");
        let params = rcgen::CertificateParams::default();
        let ca = params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate");
        std::fs::write(dir.path().join("ca.crt"), ca.pem()).expect("a file");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             clusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
             contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        );
        std::fs::write(&path, text).expect("a file");
        access(&path, None)
    }

    const CLUSTER: &str = "server: 'https://192.0.2.7:6443', certificate-authority: ca.crt";

    #[test]
    fn users_of_all_kinds_are_read() {
        let access = read(CLUSTER, "token: secret").unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!(access.url.to_string(), "https://192.0.2.7:6443/");
        assert!(matches!(access.credentials, Credentials::Authorization(text) if text == "Bearer secret"));
        let access = read(CLUSTER, "username: a, password: b").unwrap_or_else(|reason| panic!("{reason}"));
        assert!(matches!(access.credentials, Credentials::Authorization(text) if text == "Basic YTpi"));
        let access = read(CLUSTER, "tokenFile: /run/token").unwrap_or_else(|reason| panic!("{reason}"));
        assert!(
            matches!(access.credentials, Credentials::TokenFile(path) if path == Path::new("/run/token"))
        );
    }

    #[test]
    fn a_user_may_be_a_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        let (chain, key) = (BASE64.encode(certificate.pem()), BASE64.encode(key.serialize_pem()));
        let user = format!("client-certificate-data: {chain}, client-key-data: {key}");
        let access = read(CLUSTER, &user).unwrap_or_else(|reason| panic!("{reason}"));
        assert!(access.identity.is_some() && matches!(access.credentials, Credentials::None));
        access.tls().expect("TLS takes them");
    }

    #[test]
    fn what_is_not_done_is_said() {
        let https = "server: 'https://192.0.2.7:6443'";
        let skip = format!("{CLUSTER}, insecure-skip-tls-verify: true");
        let proxy = format!("{CLUSTER}, proxy-url: 'http://192.0.2.9'");
        let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/false}";
        for (cluster, user, said) in [
            (CLUSTER, exec, "to be user u a program must be run"),
            (&*skip, "", "insecure-skip-tls-verify"),
            (&*proxy, "token: t", "proxies are not supported"),
            (https, "token: t", "no certificate-authority"),
            ("server: 'http://192.0.2.7'", "token: t", "is not https"),
            (
                "server: 'https://192.0.2.7', certificate-authority-data: '!'",
                "token: t",
                "certificate-authority: ",
            ),
            (CLUSTER, "client-certificate: absent, client-key: absent", "client-certificate: "),
        ] {
            let reason = read(cluster, user).err().unwrap_or_default();
            assert!(reason.contains(said), "{cluster} {user}: {reason}");
        }
        assert!(access(Path::new("/nowhere/config"), None).is_err());
    }
}
