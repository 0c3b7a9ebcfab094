//! Requests and answers. PURE: the metrics and the time are arguments.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::Metrics;
use super::exposition::{self, Format};
use crate::schema::json::harmless;

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The part of a request that matters; its body is not read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    /// The part after the path's question mark.
    pub query: Option<&'a str>,
    /// The formats that the client can read.
    pub accept: Option<&'a str>,
    /// The client's address.
    pub peer: IpAddr,
}

/// The answer to a request.
#[must_use]
pub fn answer(request: &Request<'_>, metrics: &Metrics, now_ns: u64) -> Response<Full<Bytes>> {
    let Request { method, path, query, accept, peer } = *request;
    if method != Method::GET && method != Method::HEAD {
        let mut answer = respond(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n".to_owned());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/metrics" => {
            let format = Format::accepted(accept);
            match exposition::render(metrics, now_ns, format) {
                Ok(text) => respond(StatusCode::OK, format.content_type(), text),
                Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
            }
        }
        "/healthz" => {
            let health = metrics.health(now_ns);
            said(health.alive, &health)
        }
        "/readyz" => {
            let readiness = metrics.readiness(now_ns);
            // A socket for both families shows IPv4 clients as ::ffff:127.0.0.1.
            match (query, peer.to_canonical().is_loopback()) {
                (Some("verbose"), true) => said(readiness.ready, &readiness),
                (Some("verbose"), false) => {
                    respond(StatusCode::FORBIDDEN, PLAIN, "?verbose is for loopback\n".to_owned())
                }
                _ => said(readiness.ready, &readiness.short()),
            }
        }
        _ => respond(StatusCode::NOT_FOUND, PLAIN, "there are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn said(yes: bool, what: &impl Serialize) -> Response<Full<Bytes>> {
    let status = if yes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(what) {
        Ok(json) => respond(status, JSON, harmless(&json).into_owned() + "\n"),
        Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::gfp::GfpNames;
    use crate::metrics::Hooks;
    use crate::metrics::health::ALIVE_NS;

    fn metrics() -> Metrics {
        let hooks = Hooks { in_place: vec!["raw_tp:mark_victim".to_owned()], ..Hooks::default() };
        let mut metrics = Metrics::new(hooks, None, GfpNames::fallback());
        (metrics.round_ns, metrics.drained_ns) = (Some(7), Some(7));
        metrics
    }

    fn ask(method: &Method, path: &str, accept: Option<&str>, now_ns: u64) -> (u16, String, String) {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        said(&Request { method, path, query, accept, peer: [127, 0, 0, 1].into() }, &metrics(), now_ns)
    }

    /// Status, kind and body.
    fn said(request: &Request<'_>, metrics: &Metrics, now_ns: u64) -> (u16, String, String) {
        let answer = answer(request, metrics, now_ns);
        let kind = answer.headers()[CONTENT_TYPE].to_str().expect("a word").to_owned();
        let status = answer.status().as_u16();
        let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let body = tokio.block_on(answer.into_body().collect()).expect("a body").to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn a_probe_gets_yes_or_no_with_the_reason() {
        for path in ["/healthz", "/readyz?verbose"] {
            let (status, kind, body) = ask(&Method::GET, path, None, 8);
            assert_eq!((status, kind.as_str()), (200, JSON), "{body}");
            let (status, _, body) = ask(&Method::GET, path, None, 8 + ALIVE_NS);
            assert_eq!(status, 503, "{body}");
            let said: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(said["drained_seconds_ago"], 15.0);
        }
        assert!(ask(&Method::GET, "/readyz", None, 8 + ALIVE_NS).2.contains("not drained"));
    }

    /// A client on the pod network learns no URL, path or error.
    #[test]
    fn more_than_yes_or_no_is_for_loopback() {
        use crate::names::{NamesState, NamesStatus};
        use crate::pods::names::tests::status;
        use crate::schema::NameSource;
        let secret = "https://10.0.0.1:6443: /var/run/secrets/token: certificate has expired";
        let mut metrics = metrics();
        let degraded = status(NameSource::Kube, NamesState::Degraded);
        metrics.names = vec![NamesStatus { problem: Some(secret.to_owned()), ..degraded }];
        let ask = |peer: &str, query| {
            let peer = peer.parse().expect("an address");
            let request = Request { method: &Method::GET, path: "/readyz", query, accept: None, peer };
            let (status, _, body) = said(&request, &metrics, 8);
            (status, body)
        };
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let (status, body) = ask(peer, Some("verbose"));
            assert!(status == 200 && body.contains(secret), "{peer}: {body}");
        }
        for peer in ["10.244.1.7", "fd00::7", "::ffff:10.244.1.7", "127.0.0.1"] {
            assert_eq!(ask(peer, None), (200, "{\"ready\":true,\"why\":null}\n".to_owned()), "{peer}");
        }
        for peer in ["10.244.1.7", "fd00::7", "::ffff:10.244.1.7"] {
            let (status, body) = ask(peer, Some("verbose"));
            assert!(status == 403 && !body.contains("10.0.0.1"), "{peer}: {body}");
            assert_eq!(ask(peer, Some("verbose=1")).1, ask(peer, None).1);
        }
    }

    #[test]
    fn a_client_gets_the_format_that_it_can_read() {
        let newer = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let (status, kind, body) = ask(&Method::GET, "/metrics", Some(newer), 8);
        assert_eq!(status, 200);
        assert!(
            kind.starts_with("application/openmetrics-text") && body.ends_with("# EOF\n"),
            "{kind}: {body}"
        );
        for older in [None, Some("*/*"), Some("text/plain")] {
            let (_, kind, body) = ask(&Method::GET, "/metrics", older, 8);
            assert!(kind.starts_with("text/plain; version=0.0.4") && !body.contains("# EOF"), "{kind}");
        }
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        assert_eq!(ask(&Method::GET, "/", None, 8).0, 404);
        assert_eq!(ask(&Method::GET, "/metrics/", None, 8).0, 404);
        assert_eq!(ask(&Method::POST, "/metrics", None, 8).0, 405);
        assert_eq!(ask(&Method::HEAD, "/readyz", None, 8).0, 200);
    }
}
