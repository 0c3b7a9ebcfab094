//! Kubeconfigs, and files that are none.

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
    for (user, auth) in [("token: secret", true), ("username: a, password: b", true), ("as: somebody", false)]
    {
        let access = read(CLUSTER, user).unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!(access.url.to_string(), "https://192.0.2.7:6443/");
        assert_eq!(
            (access.auth.is_some(), access.token.is_some(), access.by_program),
            (auth, false, false),
            "{user}"
        );
    }
    let access = read(CLUSTER, "tokenFile: token, token: old").unwrap_or_else(|reason| panic!("{reason}"));
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
        // Written by a child: a program that this process has open for writing cannot be run, nor while a child that another
        // thread has just forked holds it.
        let write = "printf '#!/bin/sh\n%s\n' \"$1\" >\"$0\" && chmod 700 \"$0\"";
        let path = files.0.path().join("program");
        let written = std::process::Command::new("sh").args(["-c", write]).arg(path).arg(text).status();
        assert!(written.is_ok_and(|status| status.success()));
    };
    let user = "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./program, args: [secret-arg]}";
    let config = files.config(CLUSTER, user);
    let paths = [config.clone()];
    assert!(takes(&paths, None).programs);
    assert!(!takes(&[files.write("plain", yaml(CLUSTER, "token: t"))], None).programs);
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
    assert!(said.starts_with("it names a program, ") && said.contains("which is not run: others"), "{said}");
    assert!(said.contains("chmod go-w "), "{said}");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    std::fs::set_permissions(files.0.path(), std::fs::Permissions::from_mode(0o777)).expect("its mode");
    assert!(reason().contains("which is not run"), "{}", reason());
}

#[test]
fn settings_that_are_not_supported_are_named() {
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
    std::fs::File::create(files.0.path().join("sparse"))
        .and_then(|file| file.set_len(1 << 30))
        .expect("a file");
    let sparse = files.config(&CLUSTER.replace("ca.crt", "sparse"), "token: t");
    let reason = access(&[sparse], None).err().expect("it is of 1 GiB").reason;
    assert!(reason.contains("larger than 1048576 bytes"), "{reason}");
    let user = "client-certificate: /dev/zero, client-key: /dev/zero";
    let reason = access(&[files.config(CLUSTER, user)], None).err().expect("it is none").reason;
    assert!(reason.contains("it is a device"), "{reason}");
}
