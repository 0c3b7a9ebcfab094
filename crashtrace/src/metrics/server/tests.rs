//! Real sockets on this host's loopback, with clients of every kind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::gfp::GfpNames;
use crate::metrics::{Hooks, Metrics};

async fn served() -> (SocketAddr, Supervised) {
    let listener = bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut metrics = Metrics::new(Hooks::default(), None, GfpNames::fallback());
    (metrics.round_ns, metrics.drained_ns) = (Some(0), Some(0));
    (address, start(listener, Shared::new(metrics), || 0))
}

/// The answer to these bytes, up to the end of the connection.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request).await.expect("it takes it");
    rest(&mut stream).await
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A closed connection may show as an error, after the answer.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn one_request_is_answered_and_the_connection_ends() {
    let (address, _server) = served().await;
    let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = exchange(address, request.repeat(2).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    let answer = exchange(address, b"GET /metrics HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("crashtrace_incidents_total{"), "{answer}");
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let (address, _server) = served().await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD_BYTES));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    for request in [b"\0\xff\x16\x03\x01 nonsense\r\n\r\n".as_slice(), long.as_bytes(), many.as_bytes()] {
        let answer = exchange(address, request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // A body is not read, whatever its stated length.
    let answer =
        exchange(address, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"), "{answer}");
}

/// Many silent clients, or with half a request: proper requests are answered meanwhile, and the silent clients are closed.
#[tokio::test]
async fn slow_clients_lock_out_no_other_and_are_closed() {
    let (address, _server) = served().await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for number in 0..5 * CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        if number % 2 == 0 {
            stream.write_all(b"GET /metrics HTT").await.expect("it takes it");
        }
        silent.push(stream);
        let answer = exchange(address, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    for mut stream in silent {
        rest(&mut stream).await;
    }
    assert!(begun.elapsed() < DEADLINE + HEAD, "{:?}", begun.elapsed());
}

/// All are in the kernel's queue before the first is accepted.
#[tokio::test]
async fn many_at_once_are_all_answered() {
    let listener = bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut asking = Vec::new();
    for _ in 0..8 * CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it takes it");
        asking.push(stream);
    }
    let metrics = Metrics::new(Hooks::default(), None, GfpNames::fallback());
    let _server = start(listener, Shared::new(metrics), || 0);
    for mut stream in asking {
        let answer = rest(&mut stream).await;
        let length = answer.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(length, Some(body.len().to_string().as_str()), "it is whole");
    }
}

/// A client that connected before the panic is answered after it, on the same socket.
#[tokio::test]
async fn a_server_that_panics_is_restarted_on_the_same_socket() {
    let listener = bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let metrics = Shared::new(Metrics::new(Hooks::default(), None, GfpNames::fallback()));
    let runs = Arc::new(AtomicUsize::new(0));
    let its_runs = Arc::clone(&runs);
    let _server = keep(listener, move |listener| {
        let (run, metrics) = (its_runs.fetch_add(1, Ordering::SeqCst), metrics.clone());
        async move {
            assert!(run > 0, "index out of bounds");
            serve(listener, metrics, || 0).await;
        }
    });
    let answer = exchange(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named_with_what_to_do() {
    let (taken, _server) = served().await;
    let said = bind(taken).await.expect_err("it is taken").to_string();
    assert!(said.contains(&taken.to_string()) && said.contains("stop what listens there"), "{said}");
    // From the block for documentation (RFC 5737).
    let elsewhere = "192.0.2.1:9464".parse().expect("an address");
    let said = bind(elsewhere).await.expect_err("it is not this host's").to_string();
    assert!(said.contains("192.0.2.1:9464") && said.contains("no such address"), "{said}");
}
