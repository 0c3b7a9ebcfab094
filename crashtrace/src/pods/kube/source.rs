//! Where the API server is and who we are: a pod's service account, or a kubeconfig.

use std::path::{Path, PathBuf};

use super::access::{Access, Credentials, certificates};
use super::kubeconfig;
use super::problem::{Problem, clean};

/// Where kubelet puts what a pod's service account needs.
const SERVICE_ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// Where the API server is and who we are. Files are read anew for each connection, the token for each request.
#[derive(Clone, Debug)]
pub enum Source {
    /// As pods have it.
    Pod {
        /// `KUBERNETES_SERVICE_HOST`: a name or an address.
        host: String,
        /// `KUBERNETES_SERVICE_PORT`.
        port: String,
        /// The service account's token.
        token: PathBuf,
        /// The cluster's CA certificates.
        ca: PathBuf,
    },
    /// As `kubectl` has it, for use by hand. Users that are a token, a token file, a password or a certificate; no program
    /// (`exec`) is run to become one: not as root, in the name of a file.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Which context of it, if not the current one.
        context: Option<String>,
    },
}

impl Source {
    /// That of a pod: by its environment, which is read with `var`, and the files that kubelet mounts below `root`. What is
    /// missing is said by the connections.
    pub fn of_pod(var: impl Fn(&str) -> Option<String>, root: &Path) -> Self {
        let var = |name| var(name).unwrap_or_default();
        let account = root.join(SERVICE_ACCOUNT);
        Self::Pod {
            host: var("KUBERNETES_SERVICE_HOST"),
            port: var("KUBERNETES_SERVICE_PORT"),
            token: account.join("token"),
            ca: account.join("ca.crt"),
        }
    }

    /// Reads the files.
    pub(super) fn access(&self) -> Result<Access, Problem> {
        match self {
            Self::Pod { host, port, token, ca } => {
                // First of all: outside a pod the files are not there either.
                let url = url(host, port)?;
                let problem = |reason: String| Problem::Ca { path: ca.clone(), reason };
                let pem = std::fs::read(ca).map_err(|error| problem(error.to_string()))?;
                Ok(Access {
                    url,
                    roots: certificates(&pem).map_err(problem)?,
                    server_name: None,
                    identity: None,
                    credentials: Credentials::TokenFile(token.clone()),
                })
            }
            Self::Kubeconfig { path, context } => {
                let problem =
                    |reason: String| Problem::Kubeconfig { path: path.clone(), reason: clean(&reason) };
                kubeconfig::access(path, context.as_deref()).map_err(problem)
            }
        }
    }
}

fn url(host: &str, port: &str) -> Result<http::Uri, Problem> {
    if host.is_empty() || port.is_empty() {
        let what = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod; name a kubeconfig";
        return Err(Problem::Settings(what.to_owned()));
    }
    let port: u16 = port
        .parse()
        .map_err(|_| Problem::Settings(format!("KUBERNETES_SERVICE_PORT is no port: {}", clean(port))))?;
    // An address of IPv6 has to be in brackets.
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("https://{host}:{port}")
        .parse()
        .map_err(|error| Problem::Settings(clean(&format!("KUBERNETES_SERVICE_HOST {host:?}: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_kinds_make_urls() {
        for (host, port, is) in [
            ("10.96.0.1", "443", "https://10.96.0.1:443/"),
            ("fd00::1", "6443", "https://[fd00::1]:6443/"),
            ("kubernetes.default.svc", "443", "https://kubernetes.default.svc:443/"),
        ] {
            assert_eq!(url(host, port).expect("a url").to_string(), is);
        }
        for (host, port) in [("", ""), ("10.96.0.1", ""), ("a b", "1"), ("h", "p")] {
            assert!(url(host, port).is_err(), "{host} {port}");
        }
    }
}
