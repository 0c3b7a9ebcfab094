//! What fails as a whole: exit code 1, nothing on standard output, and a message with what to do.

use super::*;

async fn refused(script: impl FnMut(&Seen) -> Answer + Send + 'static, args: &[&str]) -> String {
    let (_server, path) = serve(script).await;
    let output = run(&path, args).await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""), "{}", stderr(&output));
    stderr(&output).to_owned()
}

#[tokio::test]
async fn a_pod_that_is_not_there() {
    let said = refused(|_| not_found("pods", POD), &[POD]).await;
    assert!(said.contains(&format!("there is no pod {POD} in namespace shop")), "{said}");
    assert!(said.contains("-n"), "{said}");
}

#[tokio::test]
async fn no_right_to_the_pod() {
    let said = refused(|_| forbidden("get", "pods"), &["-n", "other", POD]).await;
    assert!(said.contains("no right to get pods in namespace other (403)"), "{said}");
    assert!(said.contains("kubectl auth can-i get pods -n other --kubeconfig "), "{said}");
}

#[tokio::test]
async fn credentials_that_are_not_accepted() {
    let (server, path) = serve(|_| panic!("the server looks at the token first")).await;
    server.accept_token("another");
    let output = run(&path, &[POD]).await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    let said = stderr(&output);
    assert!(
        said.contains("does not accept your credentials (401") && said.contains("kubectl auth whoami"),
        "{said}"
    );
}

#[tokio::test]
async fn a_server_that_is_away() {
    let (mut server, path) = serve(|_| panic!("it is away")).await;
    server.stop().await;
    let output = run(&path, &[POD]).await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("cannot reach the API server"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_server_of_another_ca_gets_no_token() {
    let (mut server, path) = serve(|_| panic!("it is not asked")).await;
    server.stop().await;
    server.change_ca();
    server.listen().await;
    let output = run(&path, &[POD]).await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("cannot reach the API server"), "{}", stderr(&output));
    assert_eq!((server.seen().len(), server.unauthorized()), (0, 0));
}

#[tokio::test]
async fn a_container_that_the_pod_does_not_have() {
    let cluster = Cluster { pod: pod(&crashed("Error", 1, 3)), ..Cluster::default() };
    let said = refused(move |seen| cluster.answer(seen), &[POD, "-c", "web"]).await;
    assert!(said.contains("has no container web; it has: api"), "{said}");
}

#[test]
fn no_cluster_at_all() {
    let output = command(&[POD]).output().expect("the command runs");
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("--kubeconfig"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_is_2_and_prints_nothing() {
    for (args, says) in [
        (&[][..], "POD"),
        (&["Shop/api"], "namespace"),
        (&["a/b/c"], "cannot be a name"),
        (&["shop/api", "-n", "other"], "shop"),
        (&["api", "--from", "-", "--context", "x"], "--context"),
        (&["api", "--previous-logs", "0"], "0"),
        (&["api", "--no-logs", "--previous-logs", "3"], "--previous-logs"),
        (&["api", "--from", "/"], "directory"),
        (&["-n", "shop", "--from", "-"], "POD"),
    ] {
        let output = command(args).output().expect("the command runs");
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""), "{args:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
}
