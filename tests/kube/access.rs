//! Tokens and certificates: absent, wrong, and replaced while the agent runs.

use super::server::{Kind, Server};
use super::{LONG, degraded, knows, options, synced, well};
use crashtrace::pods::kube::{Kube, Options, Problem, Source, check};

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
    assert!(said.contains("invalid peer certificate") && said.contains("check the CA certificate"), "{said}");
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
