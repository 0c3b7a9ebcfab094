//! The API server's messages, as far as they are kept ([`super::sieve`]) and read: leniently, for objects are [`PodObject`]s.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem::{Problem, clean};
use crate::pods::object::PodObject;

/// One line of a watch.
pub(super) enum Event {
    /// `ADDED` and `MODIFIED`.
    There(Box<PodObject>),
    /// `DELETED`: the object as it was at last.
    Gone(Box<PodObject>),
    /// `BOOKMARK`: a resource version to go on from, and whether the first list has ended.
    Bookmark { version: Option<String>, list_ended: bool },
    /// `ERROR`.
    Error { code: u16, message: String, retry_after: Option<Duration> },
    /// Something newer than this program.
    Unknown,
}

impl Event {
    /// # Errors
    /// The line is no event: then nothing that follows can be trusted to be.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let raw: Raw<'_> = serde_json::from_slice(line).map_err(|error| {
            let start = String::from_utf8_lossy(line.get(..60).unwrap_or(line)).into_owned();
            Problem::Nonsense(format!("no event ({}): {}", clean(&error.to_string()), clean(&start)))
        })?;
        let object = || Box::new(object(raw.object.get().as_bytes()));
        Ok(match &*raw.kind {
            "ADDED" | "MODIFIED" => Self::There(object()),
            "DELETED" => Self::Gone(object()),
            "BOOKMARK" => {
                let meta = object().metadata;
                let list_ended = meta.annotations.initial_events_end.as_deref() == Some("true");
                Self::Bookmark { version: meta.resource_version, list_ended }
            }
            "ERROR" => {
                let status = Status::parse(raw.object.get().as_bytes()).unwrap_or_default();
                let code = status.code.unwrap_or_default();
                Self::Error {
                    code,
                    message: status.message.unwrap_or_default(),
                    retry_after: status.retry_after,
                }
            }
            _ => Self::Unknown,
        })
    }
}

/// Reads any JSON, see [`PodObject`].
pub(super) fn object(json: &[u8]) -> PodObject {
    serde_json::from_slice(json).unwrap_or_default()
}

/// The fields around the items of a list, or of a page of one.
#[derive(Debug)]
pub(super) struct List {
    pub(super) version: Option<String>,
    /// There are more pages.
    pub(super) next_page: Option<String>,
}

impl List {
    pub(super) fn parse(kept: &[u8]) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Raw {
            metadata: Option<Meta>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Meta {
            resource_version: Option<String>,
            r#continue: Option<String>,
        }
        let raw: Raw = serde_json::from_slice(kept).map_err(|error| {
            let start = String::from_utf8_lossy(kept.get(..60).unwrap_or(kept)).into_owned();
            Problem::Nonsense(format!("no list ({}): {}", clean(&error.to_string()), clean(&start)))
        })?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let Meta { resource_version, r#continue } = raw.metadata.unwrap_or_default();
        Ok(Self { version: given(resource_version), next_page: given(r#continue) })
    }
}

/// `Status`: how the API server says no.
#[derive(Default)]
pub(super) struct Status {
    pub(super) code: Option<u16>,
    pub(super) message: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// The resource that it is about.
    pub(super) about: Option<String>,
    /// A cause of it: the namespace is being deleted.
    pub(super) namespace_goes: bool,
}

impl Status {
    /// `None` where it is none: some refusals are plain text.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw {
            kind: Option<String>,
            message: Option<String>,
            code: Option<u16>,
            details: Option<Details>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Details {
            retry_after_seconds: Option<u32>,
            kind: Option<String>,
            causes: Vec<Cause>,
        }
        #[derive(Deserialize)]
        struct Cause {
            reason: Option<String>,
        }
        let raw: Raw = serde_json::from_slice(body).ok()?;
        let details = raw.details.unwrap_or_default();
        let seconds = details.retry_after_seconds;
        let goes = |cause: &Cause| cause.reason.as_deref() == Some("NamespaceTerminating");
        (raw.kind.as_deref() == Some("Status")).then(|| Self {
            code: raw.code,
            message: raw.message,
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds.into())),
            namespace_goes: details.causes.iter().any(goes),
            about: details.kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_events_of_all_kinds() {
        let added = br#"{"type":"ADDED","object":{"metadata":{"uid":"u","resourceVersion":"7"},"spec":{"containers":null}}}"#;
        let Ok(Event::There(pod)) = Event::parse(added) else { panic!("it is there") };
        assert_eq!(pod.metadata.resource_version.as_deref(), Some("7"));
        let end = br#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"422","annotations":{"k8s.io/initial-events-end":"true"}},"spec":{"containers":null},"status":{}}}"#;
        let Ok(Event::Bookmark { version, list_ended }) = Event::parse(end) else { panic!("a bookmark") };
        assert_eq!((version.as_deref(), list_ended), (Some("422"), true));
        assert!(matches!(Event::parse(br#"{"type":"NEWS","object":1}"#), Ok(Event::Unknown)));
        let error = br#"{"type":"ERROR","object":"what"}"#;
        assert!(matches!(Event::parse(error), Ok(Event::Error { code: 0, .. })));
        for broken in [&b"<html>\x1b[2J"[..], b"", b"{}", b"[]", b"\xff\xfe", br#"{"type":"ADDED"}"#] {
            let Err(problem) = Event::parse(broken) else { panic!("{broken:?} is no event") };
            assert!(!problem.to_string().contains(char::is_control), "{problem}");
        }
    }

    #[test]
    fn reads_lists_and_refusals() {
        let list = List::parse(br#"{"metadata":{"resourceVersion":"9","continue":""},"items":null}"#)
            .expect("a list");
        assert_eq!((list.version.as_deref(), list.next_page), (Some("9"), None));
        assert!(List::parse(b"404 page not found").is_err());
        assert!(Status::parse(b"Too many requests, please try again later.").is_none());
        let status = Status::parse(br#"{"kind":"Status","code":504,"details":{"retryAfterSeconds":1}}"#);
        assert_eq!(status.and_then(|status| status.retry_after), Some(Duration::from_secs(1)));
    }
}
