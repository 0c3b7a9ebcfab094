//! Tokens and certificates: absent, wrong, and replaced while the agent runs.

use super::{LONG, degraded, knows, options, synced, well};
use crashtrace::pods::kube::{Kube, Options, Problem, Source, check};
use crashtrace_test_support::api_server::{Kind, Server};

#[tokio::test]
async fn a_token_that_is_replaced_is_read_at_the_next_request() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    std::fs::write(server.file("token"), "new-token\n").expect("a file");
    server.accept_token("new-token");
    server.end_streams();
    server.wait_for_requests(2, LONG).await;
    assert_eq!((server.kinds(), server.unauthorized()), (vec![Kind::StreamedList, Kind::Watch], 0));
    knows(&kube);
}

/// As kubelet does it: the token is a link through a link to a folder, and the latter is renamed over.
#[tokio::test]
async fn a_token_whose_folder_is_replaced_is_read_at_the_next_request() {
    use std::os::unix::fs::symlink;
    let server = Server::start(well).await;
    let put = |folder: &str, token: &str| {
        std::fs::create_dir(server.file(folder)).expect("a folder");
        std::fs::write(server.file(folder).join("token"), token).expect("a file");
        symlink(folder, server.file("..data_tmp")).expect("a link");
        std::fs::rename(server.file("..data_tmp"), server.file("..data")).expect("it is renamed over");
    };
    put("..2026_11_28_00_00_00", "good-token");
    std::fs::remove_file(server.file("token")).expect("a file");
    symlink("..data/token", server.file("token")).expect("a link");
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    put("..2026_11_28_00_48_00", "new-token");
    server.accept_token("new-token");
    server.end_streams();
    server.wait_for_requests(2, LONG).await;
    assert_eq!((server.kinds(), server.unauthorized()), (vec![Kind::StreamedList, Kind::Watch], 0));
    knows(&kube);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_read_again_each_time() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.accept_token("new-token");
    server.break_streams();
    let said = degraded(&kube).await;
    assert!(
        said.starts_with("the API server refuses: 401 Unauthorized; the token or certificate is not"),
        "{said}"
    );
    assert!(server.unauthorized() >= 1);
    knows(&kube);
    std::fs::write(server.file("token"), "new-token").expect("a file");
    synced(&kube).await;
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::Watch], "no list is needed for that");
    knows(&kube);
}

/// kubelet may mount the token late, and a token may be written in two steps.
#[tokio::test]
async fn a_token_that_is_absent_or_empty_is_waited_for() {
    let server = Server::start(well).await;
    std::fs::remove_file(server.file("token")).expect("a file");
    let kube = Kube::start(options(&server));
    let said = degraded(&kube).await;
    let path = server.file("token");
    let expected = format!(
        "no token in {}: No such file or directory (os error 2); mount the service account's token there",
        path.display()
    );
    assert_eq!(said, expected);
    std::fs::write(&path, "\n").expect("a file");
    let empty = |problem: &Problem| problem.to_string().contains("the file is empty");
    kube.wait(LONG, |status| status.problem.as_ref().is_some_and(empty))
        .await
        .expect("an empty file is no token");
    assert_eq!((server.seen().len(), server.unauthorized()), (0, 0), "nothing is sent without a token");
    std::fs::write(&path, "good-token").expect("a file");
    synced(&kube).await;
    knows(&kube);
}

#[tokio::test]
async fn a_server_of_another_ca_is_told_nothing_until_it_is_known() {
    let mut server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.stop().await;
    let ca = server.change_ca();
    server.listen().await;
    let untrusted = |problem: &Problem| matches!(problem, Problem::Untrusted { .. });
    let status = kube
        .wait(LONG, |status| super::is_degraded(status) && status.problem.as_ref().is_some_and(untrusted))
        .await
        .expect("no trust");
    let said = status.reason().expect("a reason");
    assert!(
        said.contains("invalid peer certificate") && said.contains("check the configured CA certificate"),
        "{said}"
    );
    assert_eq!((server.seen().len(), server.unauthorized()), (1, 0), "no token goes to a stranger");
    knows(&kube);
    std::fs::write(server.file("ca.crt"), &ca.pem).expect("a file");
    synced(&kube).await;
    knows(&kube);
}

#[tokio::test]
async fn a_ca_that_is_absent_or_none_is_waited_for() {
    let server = Server::start(well).await;
    let good = std::fs::read(server.file("ca.crt")).expect("a file");
    for bad in [None, Some("")] {
        match bad {
            None => std::fs::remove_file(server.file("ca.crt")).expect("a file"),
            Some(text) => std::fs::write(server.file("ca.crt"), text).expect("a file"),
        }
        let kube = Kube::start(options(&server));
        let said = degraded(&kube).await;
        assert!(
            said.starts_with("no CA certificate in ") && said.contains("mount the cluster's ca.crt"),
            "{said}"
        );
        std::fs::write(server.file("ca.crt"), &good).expect("a file");
        synced(&kube).await;
    }
}

#[tokio::test]
async fn outside_a_pod_that_is_said() {
    let server = Server::start(well).await;
    let options = Options { source: Source::of_pod(|_| None, server.dir()), ..options(&server) };
    let said = check(&options, LONG).await.expect_err("this is no pod").to_string();
    assert!(said.contains("KUBERNETES_SERVICE_HOST") && said.contains("name a kubeconfig"), "{said}");
}

/// A file that is replaced by something else must not stop the agent.
#[tokio::test]
async fn a_token_or_a_ca_that_is_no_file_is_said_and_waited_for() {
    let server = Server::start(well).await;
    for name in ["token", "ca.crt"] {
        let path = server.file(name);
        let good = std::fs::read(&path).expect("a file");
        std::fs::remove_file(&path).expect("a file");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("a FIFO");
        let kube = Kube::start(options(&server));
        let said = degraded(&kube).await;
        assert!(said.contains("it is a FIFO, not a regular file"), "{said}");
        std::fs::remove_file(&path).expect("a FIFO");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
        let device = |problem: &Problem| problem.to_string().contains("it is a device, not a regular file");
        kube.wait(LONG, |status| status.problem.as_ref().is_some_and(device)).await.expect("it is none");
        std::fs::remove_file(&path).expect("a link");
        std::fs::write(&path, good).expect("a file");
        synced(&kube).await;
    }
}

fn by_files(server: &Server, paths: &[&std::path::Path]) -> Options {
    let paths = paths.iter().map(|path| path.to_path_buf()).collect();
    Options { source: Source::Kubeconfig { paths, context: None }, ..options(server) }
}

/// Its first bytes say that it is text in UTF-16, and then half of a character comes: kube's own reader panics.
#[tokio::test]
async fn a_kubeconfig_that_is_none_is_said_and_waited_for() {
    let server = Server::start(well).await;
    let path = server.file("kubeconfig");
    std::fs::write(&path, b"\xff\xfe\x00").expect("a file");
    let kube = Kube::start(by_files(&server, &[&path]));
    let said = degraded(&kube).await;
    assert_eq!(said, format!("kubeconfig {}: it is not text in UTF-8", path.display()));
    std::fs::write(&path, kubeconfig(&server, "{token: good-token}")).expect("a file");
    synced(&kube).await;
    knows(&kube);
}

fn kubeconfig(server: &Server, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         clusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority: ca.crt}}}}]\n\
         contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {user}}}]\n",
        server.address()
    )
}

/// As cloud providers have it. The file that names the program may be one of several.
#[tokio::test]
async fn a_program_may_give_the_credentials_and_runs_for_each_watch() {
    let server = Server::start(well).await;
    let (program, runs) = (server.file("program"), server.file("runs"));
    let answer = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"good-token"}}"#;
    std::fs::write(&program, format!("#!/bin/sh\necho >> {}\necho '{answer}'\n", runs.display()))
        .expect("a file");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&program, executable).expect("its mode");
    let path = server.file("kubeconfig");
    let user = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./program}}";
    std::fs::write(&path, kubeconfig(&server, user)).expect("a file");
    let absent = server.file("absent");
    let options = by_files(&server, &[&absent, &path]);
    assert!(options.source.takes().programs);
    assert!(!super::options(&server).source.takes().programs, "never in a pod");
    let kube = Kube::start(options);
    synced(&kube).await;
    let before = std::fs::read(&runs).expect("it ran").len();
    server.end_streams();
    let seen = server.wait_for_requests(2, LONG).await;
    assert_ne!(seen[0].connection, seen[1].connection);
    assert!(std::fs::read(&runs).expect("it ran").len() > before, "what it said may have expired");
    assert_eq!(server.unauthorized(), 0);
    knows(&kube);
}
