//! Where the API server is, and the credentials: a pod's service account, or a kubeconfig.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Config;

use super::access::{Access, certificates, read};
use super::kubeconfig::{self, Wrong};
use super::problem::{Problem, clean};
use crate::files::{off_loop, within};

/// Where kubelet mounts the files of a pod's service account.
const SERVICE_ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// How long files may take to be read, and the program of a kubeconfig to answer: twice, for it runs once for the token
/// and once for the certificate.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long [`Source::takes`] may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// Where the API server is, and the credentials. Files are read anew for each connection, the token for each request.
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
    /// As `kubectl` has it, for use by hand.
    Kubeconfig {
        /// The files, put together as `kubectl` does it with those of `KUBECONFIG`.
        paths: Vec<PathBuf>,
        /// Which context of them, if not the current one.
        context: Option<String>,
    },
}

/// What the use of a [`Source`] takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// A program is to be run ([`Source::Kubeconfig`] with a user that is `exec`).
    pub programs: bool,
    /// A file of it is another user's, or behind a folder of another user that is not open to all: this user may read it by a right
    /// of root alone (`sudo crashtrace`).
    pub files_of_others: bool,
}

impl Source {
    /// That of a pod: by its environment, which is read with `var`, and the files that kubelet mounts below `root`. Connections
    /// report a missing file or variable.
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

    /// Reads the files, off the loop, and runs the program of a kubeconfig that has one.
    ///
    /// # Errors
    /// There is no way in, or it takes too long to find.
    pub(super) async fn access(&self) -> Result<Access, Problem> {
        let source = self.clone();
        let read = off_loop(DEADLINE, move || Ok(source.read())).await;
        read.unwrap_or_else(|error| Err(self.problem(&error.to_string())))
    }

    /// What its use takes, beyond what a pod does. A file that cannot be read (yet) takes nothing: where programs are then
    /// forbidden, [`Kube`](super::Kube) says that it cannot be run, should it name one later. For use before there is a loop.
    #[must_use]
    pub fn takes(&self) -> Takes {
        let Self::Kubeconfig { paths, context } = self.clone() else { return Takes::default() };
        within(LOOK_DEADLINE, move || Ok(kubeconfig::takes(&paths, context.as_deref()))).unwrap_or_default()
    }

    fn problem(&self, reason: &str) -> Problem {
        match self {
            Self::Pod { ca, .. } => Problem::Ca { path: ca.clone(), reason: clean(reason) },
            Self::Kubeconfig { paths, .. } => Problem::Kubeconfig {
                path: paths.first().cloned().unwrap_or_default(),
                reason: clean(reason),
            },
        }
    }

    /// May hang.
    fn read(&self) -> Result<Access, Problem> {
        match self {
            Self::Pod { host, port, token, ca } => {
                // First of all: outside a pod the files are not there either.
                let mut config = Config::new(url(host, port)?);
                let problem = |reason: String| self.problem(&reason);
                let pem = read(ca).map_err(|error| problem(error.to_string()))?;
                config.root_cert = Some(certificates(&pem).map_err(problem)?);
                Access::of(&config, Some(token.clone())).map_err(problem)
            }
            Self::Kubeconfig { paths, context } => kubeconfig::access(paths, context.as_deref())
                .map_err(|Wrong { path, reason }| Problem::Kubeconfig { path, reason: clean(&reason) }),
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
