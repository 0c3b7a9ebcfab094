//! The diagnosis over recorded statuses and Events of real deaths (`tests/fixtures/kubernetes`), and over made ones.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

mod any;
mod joined;
mod made;
mod recorded;

/// A folder of fixtures.
fn fixtures(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kubernetes").join(path)
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `why` would have from the API server, five minutes after `time`.
fn facts(pod: Value, events: &[Value], time: Timestamp) -> Facts {
    let pod = serde_json::from_value(pod).expect("a pod");
    let mut facts = Facts::of_pod(pod, time + jiff::SignedDuration::from_mins(5));
    facts.events =
        events.iter().map(|event| serde_json::from_value(event.clone()).expect("an Event")).collect();
    facts
}
