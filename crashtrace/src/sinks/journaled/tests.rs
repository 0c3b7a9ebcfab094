use std::io::{PipeReader, PipeWriter, Read as _, pipe};
use std::path::Path;

use super::*;
use crate::journal::{self, Limits};
use crate::schema::{Envelope, Loss, LossKind};

const SOON: Duration = Duration::from_mins(1);

fn line(seq: u64) -> Line {
    Line::Loss(Box::new(Loss {
        envelope: Envelope { seq, ..Envelope::default() },
        redelivered: false,
        kind: LossKind::Loss,
        // As long as a report.
        time: " ".repeat(4000),
        counters: [].into(),
    }))
}

/// Each sequence number, and whether the line is marked.
fn read(bytes: &[u8]) -> Vec<(u64, bool)> {
    let lines = std::str::from_utf8(bytes).unwrap().lines();
    lines
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| (line["seq"].as_u64().unwrap(), line["redelivered"].as_bool().unwrap()))
        .collect()
}

fn start(directory: &Path, to: PipeWriter) -> Journaled {
    let limits = Limits { size_bytes: 64 << 20, age: Duration::from_hours(1) };
    let now = || Now { boot: 1, boottime_ns: 5, realtime_ns: 5 };
    let opened = journal::open(directory, limits, now()).unwrap();
    Journaled::start(opened, to, Arc::new(now), Arc::default(), Vec::new()).unwrap()
}

async fn put(journaled: &mut Journaled, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        let line = line(seq);
        journaled.put(crate::report::to_json_line(&line), line);
        if journaled.is_full() {
            // The files take them, whoever reads.
            journaled.changed().await.unwrap();
        }
    }
}

fn read_all(mut reader: PipeReader) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[tokio::test]
async fn a_pipe_that_is_not_read_stops_nothing_and_all_lines_follow_when_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    let mut journaled = start(directory.path(), writer);
    put(&mut journaled, 1..=1000).await;
    let received = read_all(reader);
    assert!(matches!(journaled.finish(Instant::now() + SOON).await, Written::All));
    let expected: Vec<_> = (1..=1000).map(|seq| (seq, false)).collect();
    assert_eq!(read(&received.join().unwrap()), expected);
}

/// The thread that delivers is in a write for good, as that of a killed process is.
#[tokio::test]
async fn lines_that_a_session_did_not_deliver_are_delivered_by_the_next_and_marked() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    let mut first = start(directory.path(), writer);
    put(&mut first, 1..=1000).await;
    let shared = first.shared.clone();
    // They are all safe, so this is no failure.
    assert!(matches!(first.finish(Instant::now() + Duration::from_millis(50)).await, Written::All));
    let left = shared.state().lines;
    assert!((980..1000).contains(&left), "{left}");

    let (next_reader, writer) = pipe().unwrap();
    let mut next = start(directory.path(), writer);
    put(&mut next, 1..=3).await;
    let received = read_all(next_reader);
    assert!(matches!(next.finish(Instant::now() + SOON).await, Written::All));
    let received = read(&received.join().unwrap());
    let (before, own): (Vec<_>, Vec<_>) = received.into_iter().partition(|(_, marked)| *marked);
    assert_eq!(before, (1000 - left + 1..=1000).map(|seq| (seq, true)).collect::<Vec<_>>());
    assert_eq!(own, [(1, false), (2, false), (3, false)]);
    drop(reader);
}

#[tokio::test]
async fn an_output_that_is_closed_is_an_error_at_once_and_its_lines_stay() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut first = start(directory.path(), writer);
    put(&mut first, 1..=1).await;
    assert_eq!(first.changed().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let line = line(2);
    first.put(crate::report::to_json_line(&line), line);
    first.keep(Instant::now() + SOON).await;

    let (reader, writer) = pipe().unwrap();
    let next = start(directory.path(), writer);
    let received = read_all(reader);
    assert!(matches!(next.finish(Instant::now() + SOON).await, Written::All));
    assert_eq!(read(&received.join().unwrap()), [(1, true), (2, true)]);
}
