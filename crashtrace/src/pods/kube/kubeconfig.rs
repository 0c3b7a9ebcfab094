//! What kubeconfigs say. kube reads their YAML, puts several together, and makes a `Config` of them; the files are read here,
//! bounded, and whole before kube sees them.
//!
//! # Users that are a program
//!
//! A user may be a program that writes a token (`exec`). It is run as whoever the agent is, which is root: so whoever can write the
//! file is root. Where a group or others can, or the file or a folder that it is in belongs to somebody else, the program is not run
//! and that is said ([`only_ours`]). It is run for each connection, and a connection is good for one watch.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::Config;
use kube::config::{AuthInfo, Cluster, ExecInteractiveMode, Kubeconfig};

use super::access::{Access, certificates, read};

/// Who may write: the group, others.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// What is in such a folder may be replaced by its owner only.
const STICKY: u32 = 0o1000;

/// What these files come to, as `kubectl` has it: of what two of them say, the first holds. Of this context, or of the current
/// one. May hang.
///
/// # Errors
/// What is wrong, and with which file.
pub(super) fn access(paths: &[PathBuf], context: Option<&str>) -> Result<Access, Wrong> {
    let (mut file, at) = merged(paths)?;
    let wrong = |reason: String| Wrong { path: at.clone(), reason };
    let name = context.map(str::to_owned).or(file.current_context.take());
    let name = name.ok_or_else(|| wrong("it has no current context: name one".to_owned()))?;
    let (cluster, user) = chosen(&mut file, &name).map_err(wrong)?;
    let (token, program) = complete(cluster, user).map_err(wrong)?;
    if let Some(program) = program {
        for path in paths {
            only_ours(path).map_err(|reason| Wrong {
                path: path.clone(),
                reason: format!("it names a program, {program}, which is not run: {reason}"),
            })?;
        }
    }
    file.current_context = Some(name);
    let config = Config::try_from(file).map_err(|error| wrong(error.to_string()))?;
    let https = config.cluster_url.scheme_str() == Some("https");
    if !https {
        return Err(wrong(format!("server {} is not https", config.cluster_url)));
    }
    Access::of(&config, token).map_err(wrong)
}

/// Whether the user of this context is a program. May hang.
pub(super) fn runs_program(paths: &[PathBuf], context: Option<&str>) -> bool {
    let Ok((mut file, _)) = merged(paths) else { return false };
    let name = context.map(str::to_owned).or(file.current_context.take()).unwrap_or_default();
    chosen(&mut file, &name).is_ok_and(|(_, user)| user.exec.is_some())
}

/// What is wrong with a kubeconfig.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

/// All of them in one, and the first. One that is not there is passed over, if another is.
fn merged(paths: &[PathBuf]) -> Result<(Kubeconfig, PathBuf), Wrong> {
    let mut all: Option<(Kubeconfig, PathBuf)> = None;
    let mut absent = None;
    for path in paths {
        let wrong = |reason: &dyn fmt::Display| Wrong { path: path.clone(), reason: reason.to_string() };
        let bytes = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                absent.get_or_insert(wrong(&error));
                continue;
            }
            read => read.map_err(|error| wrong(&error))?,
        };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| wrong(&"it is not text in UTF-8"))?;
        let mut file = Kubeconfig::from_yaml(text).map_err(|error| wrong(&error))?;
        resolve(&mut file, path.parent().unwrap_or(Path::new(".")));
        all = Some(match all {
            None => (file, path.clone()),
            Some((before, at)) => (before.merge(file).map_err(|error| wrong(&error))?, at),
        });
    }
    let none = || Wrong { path: PathBuf::new(), reason: "no file is named".to_owned() };
    all.ok_or_else(|| absent.unwrap_or_else(none))
}

/// Paths in a file are relative to it. (kube does this only where it reads the file itself.)
fn resolve(file: &mut Kubeconfig, dir: &Path) {
    let join = |path: &mut Option<String>| {
        if let Some(path) = path.as_mut().filter(|path| !path.is_empty()) {
            *path = dir.join(&path).to_string_lossy().into_owned();
        }
    };
    for cluster in file.clusters.iter_mut().filter_map(|it| it.cluster.as_mut()) {
        join(&mut cluster.certificate_authority);
    }
    for user in file.auth_infos.iter_mut().filter_map(|it| it.auth_info.as_mut()) {
        join(&mut user.client_certificate);
        join(&mut user.client_key);
        join(&mut user.token_file);
        // One without a slash is searched for in PATH.
        if let Some(exec) =
            user.exec.as_mut().filter(|it| it.command.as_ref().is_some_and(|it| it.contains('/')))
        {
            join(&mut exec.command);
        }
    }
}

/// The cluster and the user of a context.
fn chosen<'a>(file: &'a mut Kubeconfig, name: &str) -> Result<(&'a mut Cluster, &'a mut AuthInfo), String> {
    let context = file.contexts.iter().find(|it| it.name == name).and_then(|it| it.context.as_ref());
    let context = context.ok_or_else(|| format!("it has no context {name}"))?;
    let cluster = file.clusters.iter_mut().find(|it| it.name == context.cluster);
    let cluster = cluster
        .and_then(|it| it.cluster.as_mut())
        .ok_or_else(|| format!("it has no cluster {}", context.cluster))?;
    let user = context.user.as_deref().unwrap_or_default();
    let info = file.auth_infos.iter_mut().find(|it| it.name == user).and_then(|it| it.auth_info.as_mut());
    Ok((cluster, info.ok_or_else(|| format!("it has no user {user}"))?))
}

/// Puts what stands in other files into these, so that kube reads none. Its token's file, and its program.
fn complete(cluster: &mut Cluster, user: &mut AuthInfo) -> Result<(Option<PathBuf>, Option<String>), String> {
    if user.auth_provider.is_some() {
        let reason = "its user has an auth-provider, which Kubernetes 1.26 took away; use exec in its place";
        return Err(reason.to_owned());
    }
    if cluster.proxy_url.as_deref().is_some_and(|url| !url.is_empty()) {
        return Err("proxies are not supported".to_owned());
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err("insecure-skip-tls-verify: crashtrace believes no server that anybody can be".to_owned());
    }
    put(&mut cluster.certificate_authority_data, &mut cluster.certificate_authority)
        .map_err(|reason| format!("certificate-authority: {reason}"))?;
    if let Some(data) = &cluster.certificate_authority_data {
        let bytes =
            BASE64.decode(data.trim()).map_err(|error| format!("certificate-authority-data: {error}"))?;
        certificates(&bytes).map_err(|reason| format!("certificate-authority: {reason}"))?;
    }
    put(&mut user.client_certificate_data, &mut user.client_certificate)
        .map_err(|reason| format!("client-certificate: {reason}"))?;
    let mut key = None;
    put(&mut key, &mut user.client_key).map_err(|reason| format!("client-key: {reason}"))?;
    user.client_key_data = user.client_key_data.take().or(key.map(Into::into));
    // As kubectl has it: the file is newer than what was written down once.
    let token = user.token_file.take().filter(|path| !path.is_empty()).map(PathBuf::from);
    if token.is_some() {
        (user.token, user.username, user.password, user.exec) = (None, None, None, None);
    }
    let program = user.exec.as_mut().map(|exec| {
        // Nobody is there to be asked.
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
        exec.command.clone().unwrap_or_default()
    });
    Ok((token, program))
}

/// Reads a file that stands in the place of data.
fn put(data: &mut Option<String>, file: &mut Option<String>) -> Result<(), String> {
    let path = file.take().filter(|path| !path.is_empty());
    *data = match (data.take().filter(|data| !data.is_empty()), path) {
        (None, Some(path)) => {
            let bytes = read(Path::new(&path)).map_err(|error| format!("{path}: {error}"))?;
            Some(BASE64.encode(bytes))
        }
        (data, _) => data,
    };
    Ok(())
}

/// Nobody but root and who we are can write the file, or replace it or a folder that it is in.
fn only_ours(path: &Path) -> Result<(), String> {
    let path = match std::fs::canonicalize(path) {
        // Nothing was read of it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        path => path.map_err(|error| error.to_string())?,
    };
    let own = rustix::process::geteuid().as_raw();
    for (depth, part) in path.ancestors().enumerate() {
        let metadata = std::fs::metadata(part).map_err(|error| format!("{}: {error}", part.display()))?;
        let (owner, mode) = (metadata.uid(), metadata.mode());
        if owner != 0 && owner != own {
            return Err(format!("{} belongs to user {owner}; chown it to root", part.display()));
        }
        let sticky = depth > 0 && mode & STICKY != 0;
        if mode & GROUP_OR_OTHERS_WRITE != 0 && !sticky {
            let part = part.display();
            return Err(format!("others than its owner can write {part}; chmod go-w {part}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            let params = rcgen::CertificateParams::default();
            let ca = params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate");
            std::fs::write(dir.path().join("ca.crt"), ca.pem()).expect("a file");
            Self(dir)
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
            path
        }

        fn config(&self, cluster: &str, user: &str) -> PathBuf {
            self.write("config", yaml(cluster, user))
        }
    }

    fn yaml(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             clusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
             contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    fn read(cluster: &str, user: &str) -> Result<Access, String> {
        let files = Files::new();
        access(&[files.config(cluster, user)], None).map_err(|wrong| wrong.reason)
    }

    const CLUSTER: &str = "server: 'https://192.0.2.7:6443', certificate-authority: ca.crt";

    #[test]
    fn users_of_all_kinds_are_read() {
        for (user, auth) in
            [("token: secret", true), ("username: a, password: b", true), ("as: somebody", false)]
        {
            let access = read(CLUSTER, user).unwrap_or_else(|reason| panic!("{reason}"));
            assert_eq!(access.url.to_string(), "https://192.0.2.7:6443/");
            assert_eq!(
                (access.auth.is_some(), access.token.is_some(), access.by_program),
                (auth, false, false),
                "{user}"
            );
        }
        let access =
            read(CLUSTER, "tokenFile: token, token: old").unwrap_or_else(|reason| panic!("{reason}"));
        assert!(access.auth.is_none() && access.token.is_some_and(|it| it.0.ends_with("token")));
    }

    #[test]
    fn a_user_may_be_a_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        let (chain, key_data) = (BASE64.encode(certificate.pem()), BASE64.encode(key.serialize_pem()));
        let user = format!("client-certificate-data: {chain}, client-key-data: {key_data}");
        read(CLUSTER, &user).unwrap_or_else(|reason| panic!("{reason}"));
        let files = Files::new();
        files.write("user.crt", certificate.pem());
        files.write("user.key", key.serialize_pem());
        let config = files.config(CLUSTER, "client-certificate: user.crt, client-key: user.key");
        let access = access(&[config], None).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        assert!(access.tls.client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn a_cluster_without_a_ca_is_believed_by_the_systems() {
        // Of which there are none in a bare image: that is said then.
        match read("server: 'https://192.0.2.7'", "token: t") {
            Ok(access) => assert!(access.auth.is_some()),
            Err(reason) => assert!(reason.contains("certificate"), "{reason}"),
        }
    }

    #[test]
    fn of_several_files_the_first_holds_and_absent_ones_are_passed_over() {
        let files = Files::new();
        let one = files.write("one", "apiVersion: v1\nkind: Config\ncurrent-context: there\n");
        let two = files.write("two", yaml(CLUSTER, "token: t").replace("here", "there"));
        let absent = files.0.path().join("absent");
        let found = access(&[absent.clone(), one.clone(), two], None);
        assert!(found.is_ok_and(|it| it.auth.is_some()));
        let wrong = access(std::slice::from_ref(&absent), None).err().expect("there is none");
        assert_eq!(wrong.path, absent);
        let wrong = access(&[one], None).err().expect("it is half of one");
        assert_eq!(wrong.reason, "it has no context there");
    }

    #[test]
    fn a_user_may_be_a_program_of_a_file_that_only_root_can_write() {
        let files = Files::new();
        let program = |text: &str| {
            let path = files.write("program", format!("#!/bin/sh\n{text}\n"));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("its mode");
        };
        let user =
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./program, args: [secret-arg]}";
        let config = files.config(CLUSTER, user);
        let paths = [config.clone()];
        assert!(runs_program(&paths, None));
        assert!(!runs_program(&[files.write("plain", yaml(CLUSTER, "token: t"))], None));
        program(
            r#"echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2999-01-01T00:00:00Z"}}'"#,
        );
        let found = access(&paths, None).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        assert!(found.by_program && found.auth.is_some());
        let reason = || access(&paths, None).err().expect("it fails").reason;
        program("echo secret-token; echo no network >&2; exit 3");
        let said = reason();
        assert!(said.ends_with("program ended with exit status: 3: no network"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        program("echo secret-token: {");
        let said = reason();
        assert!(said.ends_with("program wrote is no ExecCredential") && !said.contains("secret"), "{said}");
        std::fs::remove_file(files.0.path().join("program")).expect("it is there");
        assert!(reason().contains("program cannot be run: No such file"), "{}", reason());
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o620)).expect("its mode");
        let said = reason();
        assert!(
            said.starts_with("it names a program, ") && said.contains("which is not run: others"),
            "{said}"
        );
        assert!(said.contains("chmod go-w "), "{said}");
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).expect("its mode");
        std::fs::set_permissions(files.0.path(), std::fs::Permissions::from_mode(0o777)).expect("its mode");
        assert!(reason().contains("which is not run"), "{}", reason());
    }

    #[test]
    fn what_is_not_done_is_said() {
        let skip = format!("{CLUSTER}, insecure-skip-tls-verify: true");
        let proxy = format!("{CLUSTER}, proxy-url: 'http://192.0.2.9'");
        for (cluster, user, said) in [
            (CLUSTER, "auth-provider: {name: gcp, config: {}}", "use exec in its place"),
            (&*skip, "", "insecure-skip-tls-verify"),
            (&*proxy, "token: t", "proxies are not supported"),
            ("server: 'http://192.0.2.7'", "token: t", "is not https"),
            (
                "server: 'https://192.0.2.7', certificate-authority-data: '!'",
                "token: t",
                "certificate-authority-data: ",
            ),
            ("server: 'https://192.0.2.7', certificate-authority: config", "", "no certificate is in it"),
            (CLUSTER, "client-certificate: absent, client-key: absent", "client-certificate: "),
        ] {
            let reason = read(cluster, user).err().unwrap_or_default();
            assert!(reason.contains(said), "{cluster} {user}: {reason}");
        }
    }

    /// Three bytes that begin as UTF-16 does made kube's own reader panic.
    #[test]
    fn whatever_is_in_a_file_or_in_its_place_is_refused() {
        let files = Files::new();
        for bytes in [&b"\xff\xfe\x00"[..], b"\xfe\xff", b"\xef\xbb", b"\0", b"a: [", b"[]", b""] {
            let path = files.write("config", bytes);
            assert!(access(&[path], None).is_err(), "{bytes:?}");
        }
        let large = files.write("large", vec![b' '; 2 << 20]);
        let reason = access(&[large], None).err().expect("it is large").reason;
        assert!(reason.contains("larger than 1048576 bytes"), "{reason}");
        let fifo = files.0.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
        let cluster = CLUSTER.replace("ca.crt", "fifo");
        for (paths, said) in [
            (vec![fifo.clone()], "it is a FIFO, not a regular file"),
            (vec!["/dev/zero".into()], "it is a device, not a regular file"),
            (vec![files.config(&cluster, "token: t")], "it is a FIFO, not a regular file"),
        ] {
            let reason = access(&paths, None).err().expect("it is none").reason;
            assert!(reason.contains(said), "{reason}");
        }
        let user = "client-certificate: /dev/zero, client-key: /dev/zero";
        let reason = access(&[files.config(CLUSTER, user)], None).err().expect("it is none").reason;
        assert!(reason.contains("it is a device"), "{reason}");
    }
}
