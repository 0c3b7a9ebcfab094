//! The client before servers that answer, refuse, break off, hang and babble.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::Mode;

use super::super::cache::Listed;
use super::super::grpc::LONGEST_ANSWER;
use super::super::{Cri, Options, list, list_all, socket};
use super::listing::{containers, sandboxes};
use super::message::listing;
use super::server::{Manner, Server};

const SHORT: Duration = Duration::from_millis(300);
/// For answers that must come: a busy machine takes its time.
const LONG: Duration = Duration::from_secs(20);

async fn reason(manner: Manner, deadline: Duration) -> String {
    let server = Server::start(manner);
    let begun = Instant::now();
    let problem = list(&server.socket, deadline).await.expect_err("it cannot be listed");
    assert!(begun.elapsed() < deadline + Duration::from_secs(5), "{:?}", begun.elapsed());
    problem.to_string()
}

#[tokio::test]
async fn a_good_server_is_listed() {
    let server = Server::start(Manner::Lists);
    let got = list(&server.socket, LONG).await.expect("a list");
    assert_eq!(got, listing(sandboxes(), containers()));
    assert_eq!(got.containers.len(), containers().len());
}

/// containerd sends no more than 16 MiB, and eight pods with their labels can have that many: it then refuses the list.
#[tokio::test]
async fn one_list_that_is_too_long_costs_no_names() {
    let all = listing(sandboxes(), containers());
    for long in ["ListContainers", "ListPodSandbox"] {
        let server = Server::start(Manner::ListsInParts(long));
        let (got, problem) = list_all(std::slice::from_ref(&server.socket), LONG).await;
        let got = got.expect("a list");
        let missing: Vec<_> = all.containers.iter().filter(|it| !got.containers.contains(it)).collect();
        assert!(missing.is_empty(), "{long}: {missing:?}");
        let with_containers = |id: &str| all.containers.iter().any(|it| it.sandbox_id.as_deref() == Some(id));
        for sandbox in all.sandboxes.iter().filter(|it| with_containers(&it.id)) {
            assert!(got.sandboxes.contains(sandbox), "{long}: {sandbox:?}");
        }
        let said = problem.expect("it is not whole").to_string();
        assert!(said.contains("gRPC status 8: larger than max"), "{said}");
    }
}

#[tokio::test]
async fn items_before_the_end_stay() {
    let server = Server::start(Manner::BreaksOff);
    let (got, problem) = list_all(std::slice::from_ref(&server.socket), LONG).await;
    let got = got.expect("a part");
    assert_eq!(got.containers.len(), containers().len());
    assert!(got.sandboxes.len() < sandboxes().len());
    assert!(problem.is_some());
    assert!(list(&server.socket, LONG).await.is_err(), "it is no list");
}

#[tokio::test]
async fn trouble_has_a_reason() {
    let refusal = reason(Manner::Refuses(12, "unknown service runtime.v1.RuntimeService"), LONG).await;
    assert_eq!(refusal, "refused with gRPC status 12: unknown service runtime.v1.RuntimeService");
    assert_eq!(reason(Manner::Hangs, SHORT).await, "no answer within 300 ms");
    assert_eq!(reason(Manner::Status(404), LONG).await, "not an answer of CRI v1: HTTP status 404");
    let says = |bytes: &'static [u8]| reason(Manner::Says(Bytes::from_static(bytes)), LONG);
    for (answer, wrong) in [
        (&b"\0"[..], "an answer of 1 bytes"),
        (b"\x01\0\0\0\0", "a compressed answer"),
        (b"\0\0\0\0\x09ab", "2 bytes where 9 were announced"),
        (b"\0\0\0\0\x02\xff\xff", "it ends within a field"),
        (b"\0\0\0\0\x02\x0a\x02", "a field that is longer than its message"),
        (b"\0\xff\xff\xff\xff", "an answer of 4294967295 bytes"),
    ] {
        let said = says(answer).await;
        assert!(said.starts_with("not an answer of CRI v1: ") && said.contains(wrong), "{said}");
    }
    let said = reason(Manner::NothingFollows, LONG).await;
    assert!(said.starts_with("not an answer of CRI v1: "), "{said}");
    let said = reason(Manner::HangsUp, LONG).await;
    assert!(said.starts_with("the connection broke"), "{said}");
    let mut long = vec![0];
    long.extend_from_slice(&u32::try_from(LONGEST_ANSWER + 1).expect("it fits").to_be_bytes());
    let said = reason(Manner::Says(long.into()), LONG).await;
    assert!(said.contains("an answer of 134217729 bytes"), "{said}");
}

#[tokio::test]
async fn a_socket_without_a_server_has_a_reason() {
    for words in
        [&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request"[..], b"\0\0\0\0", b""]
    {
        let said = reason(Manner::Babbles(words), SHORT).await;
        assert!(!said.is_empty(), "{said}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let said = list(&at("absent"), SHORT).await.expect_err("nothing is there").to_string();
    assert!(said.starts_with("cannot connect: No such file"), "{said}");
    std::fs::write(at("file"), "").expect("a file");
    drop(std::os::unix::net::UnixListener::bind(at("dead")).expect("a socket"));
    for name in ["file", "dead"] {
        let said = list(&at(name), SHORT).await.expect_err("nobody listens").to_string();
        assert!(said.starts_with("cannot connect: Connection refused"), "{said}");
    }
    let (listing, problem) = list_all(&[at("absent"), at("file")], SHORT).await;
    let said = problem.expect("no socket").to_string();
    assert!(listing.is_none() && said.starts_with("no container runtime has its socket at "), "{said}");
}

/// The accept queue of a runtime that is stopped fills up; connecting then neither succeeds nor fails.
#[tokio::test]
async fn a_listener_that_never_accepts_is_silent() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("stopped");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    assert_eq!(list(&path, SHORT).await.expect_err("silent").to_string(), "no answer within 300 ms");
}

#[tokio::test]
async fn a_socket_that_hangs_does_not_hide_another() {
    let (hangs, lists) = (Server::start(Manner::Hangs), Server::start(Manner::Lists));
    let off = Server::start(Manner::Refuses(12, "unknown service"));
    let paths = [&off, &hangs, &lists, &lists].map(|server| server.socket.clone());
    let (listing, problem) = list_all(&paths, Duration::from_secs(2)).await;
    assert_eq!(listing.map(|it| it.containers.len()), Some(containers().len()), "each socket once");
    let said = problem.expect("one hangs").to_string();
    assert!(said.contains("no answer within 2000 ms") && !said.contains("unknown service"), "{said}");
}

#[test]
fn sockets_are_found_once_and_only_sockets() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let _listener = std::os::unix::net::UnixListener::bind(at("one")).expect("a socket");
    std::os::unix::fs::symlink(at("one"), at("link")).expect("a link");
    std::fs::write(at("file"), "").expect("a file");
    let fifo = rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0);
    fifo.expect("a fifo");
    let found = socket::present(&["absent", "file", "fifo", "link", "one"].map(at));
    assert_eq!(found, [std::fs::canonicalize(at("one")).expect("a path")]);
    assert_eq!(socket::path("unix:///run/a.sock"), PathBuf::from("/run/a.sock"));
    assert_eq!(socket::path("/run/a.sock"), Path::new("/run/a.sock"));
}

fn options(socket: &Path) -> Options {
    let pause = Duration::from_millis(20);
    Options { pause, deadline: LONG, ..Options::at(&socket.display().to_string()) }
}

#[tokio::test]
async fn a_handle_finds_listed_ids_and_lists_once_for_others() {
    let server = Server::start(Manner::Lists);
    let cri = Cri::start(options(&server.socket));
    let it = containers().remove(0);
    assert_eq!(cri.find(&it.id), None, "nothing is listed yet, and it does not wait");
    let Some(Listed::Container(found)) = cri.find_within(&it.id, LONG).await else { panic!("it is listed") };
    assert_eq!(found.id, it.id);
    assert!(cri.find_pod(found.pod_uid.as_deref().expect("a uid")).is_some());
    assert_eq!(cri.find_within("unknown", LONG).await, None);
    let lists = cri.status().tried;
    for _ in 0..10 {
        assert_eq!(cri.find("unknown"), None);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Another list may have been wanted while the last was under way.
    assert!(cri.status().tried <= lists + 1, "{:?}", cri.status());
    let status = cri.status();
    assert_eq!((status.problem, status.listed), (None, status.tried));
    assert_eq!(status.containers, containers().len());
    let met = server.met.load(Ordering::Relaxed);
    drop(cri);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.met.load(Ordering::Relaxed), met, "without a handle nobody asks");
}

#[tokio::test]
async fn questions_are_rate_limited() {
    let server = Server::start(Manner::Lists);
    let cri = Cri::start(Options { pause: Duration::from_millis(200), ..options(&server.socket) });
    let begun = Instant::now();
    for at in 0..50 {
        assert_eq!(cri.find(&at.to_string()), None);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let most = begun.elapsed().as_millis() / 200 + 1;
    assert!(u128::from(cri.status().tried) <= most, "{:?} of {most}", cri.status());
}

#[tokio::test]
async fn a_runtime_that_comes_late_is_found_and_one_that_hangs_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("late.sock");
    let cri = Cri::start(Options { deadline: SHORT, ..options(&path) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(cri.status().problem.expect("no socket").contains("late.sock"));
    let server = Server::start(Manner::Lists);
    std::fs::rename(&server.socket, &path).expect("it moves");
    assert!(cri.find_within(&containers()[0].id, LONG).await.is_some());

    let hangs = Server::start(Manner::Hangs);
    let cri = Cri::start(Options { deadline: SHORT, ..options(&hangs.socket) });
    assert_eq!(cri.find("anything"), None);
    assert_eq!(cri.find_within("anything", Duration::from_millis(700)).await, None);
    assert!(cri.status().problem.expect("it hangs").contains("no answer within 300 ms"));
}
