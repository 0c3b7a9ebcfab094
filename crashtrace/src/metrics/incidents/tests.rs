use super::*;
use crate::gfp::GfpNames;
use crate::schema::{Allocation, Certainty, Envelope, Folded, Process, Text, Verdict};

const KERNEL: u32 = 0xcc0;
const ATOMIC: u32 = 0xa20;
const NOWAIT: u32 = 0x800;
const NOWARN: u32 = 0x2000;

fn line(id: &str, kind: Kind, cause: Cause, level: Option<Level>) -> Incident {
    Incident {
        envelope: Envelope::default(),
        id: id.to_owned(),
        revision: 1,
        redelivered: false,
        kind,
        time: String::new(),
        ktime_ns: 1_000_000_000,
        verdict: Verdict {
            cause,
            shortage: None,
            level,
            certainty: Certainty::Observed,
            inferred: Vec::new(),
            summary: String::new(),
            evidence: Vec::new(),
            remedy: String::new(),
        },
        hooks: Vec::new(),
        origin: None,
        constraint: None,
        complete: true,
        repeats: 0,
        limit: None,
        memory: None,
        trigger: None,
        victims: Vec::new(),
        victims_total: 1,
        folded: None,
        allocation: None,
        exit: None,
        unresolved: Vec::new(),
        truncated: false,
    }
}

fn kill(id: &str) -> Incident {
    line(id, Kind::OomKill, Cause::CgroupOom, Some(Level::Container))
}

fn failure(id: &str, order: Option<u32>, gfp_mask: u32, repeats: u64) -> Incident {
    let allocation = Allocation {
        order,
        bytes: None,
        migrate_type: None,
        numa_nodes: Vec::new(),
        gfp: Vec::new(),
        gfp_mask,
        scope_total_bytes: None,
        victim_points_bytes: None,
    };
    let base = line(id, Kind::AllocFailure, Cause::Fragmentation, Some(Level::Node));
    Incident { repeats, allocation: Some(allocation), ..base }
}

fn after(written: impl IntoIterator<Item = (Incident, u64)>) -> Lines {
    let mut lines = Lines::new(GfpNames::fallback());
    for (incident, now_ns) in written {
        lines.wrote(&Line::Incident(Box::new(incident)), now_ns);
    }
    lines
}

#[test]
fn an_incident_counts_once_however_often_it_is_revised() {
    let mut named = kill("a");
    named.revision = 2;
    named.verdict.level = Some(Level::Pod);
    let lines = after([(kill("a"), 1_000_300_000), (named, 3_000_000_000), (kill("b"), 1_000_300_000)]);
    assert_eq!(lines.written, 3);
    assert_eq!(lines.incidents[&(Kind::OomKill, Cause::CgroupOom, Some(Level::Container))], 2);
    assert_eq!(
        lines.incidents[&(Kind::OomKill, Cause::CgroupOom, Some(Level::Pod))],
        0,
        "as the first line has it"
    );
    // The time that a revision waits is no latency.
    let latency = &lines.latency[&Kind::OomKill];
    assert_eq!((latency.count(), latency.counts[2]), (2, 2));
    assert!((latency.sum_seconds - 0.0006).abs() < 1e-9);
}

#[test]
fn kills_count_by_their_processes_with_those_that_folded_and_none_twice() {
    let what = (Cause::CgroupOom, Some(Level::Container));
    assert_eq!(after([]).kills.get(&what), Some(&0), "it is there from the start");
    let mut storm = Incident { repeats: 186, victims_total: 187, ..kill("a") };
    storm.folded = Some(Folded {
        victims_total: 186,
        exiting_total: 6,
        resident_bytes: None,
        until: String::new(),
        until_ktime_ns: 0,
        victims: Vec::new(),
    });
    let ending = Process { exiting: Some(true), ..Process::default() };
    let none = Incident { victims: vec![ending], ..kill("c") };
    let again = Incident { revision: 2, ..storm.clone() };
    let lines = after([storm, again, kill("b"), none].map(|it| (it, 1_000_300_000)));
    assert_eq!(lines.kills.get(&what), Some(&182));
    assert_eq!(lines.incidents.values().sum::<u64>(), 3);
}

#[test]
fn counts_stay_at_the_largest_number() {
    let all = Incident { victims_total: u64::MAX, ..kill("a") };
    let lines = after([all, kill("b")].map(|it| (it, 1_000_300_000)));
    assert_eq!(lines.kills.get(&(Cause::CgroupOom, Some(Level::Container))), Some(&u64::MAX));
}

#[test]
fn failures_count_with_those_that_folded_and_none_twice() {
    let mut more = failure("a", Some(4), KERNEL, 9);
    more.revision = 2;
    // The revision adds names: the count is the same.
    let mut named = failure("a", Some(4), KERNEL, 9);
    named.revision = 3;
    let now = 1_100_000_000;
    let lines = after([(failure("a", Some(4), KERNEL, 0), now), (more, now), (named, now)]);
    assert_eq!(lines.failures[&(Order::Of(4), Class::Sleeping)], 10);
    assert_eq!(lines.failures.values().sum::<u64>(), 10);
    assert_eq!(lines.incidents[&(Kind::AllocFailure, Cause::Fragmentation, Some(Level::Node))], 1);
}

#[test]
fn the_order_and_the_class_have_few_labels() {
    for (order, gfp, label, class) in [
        (Some(0), ATOMIC, "0", Class::Atomic),
        (Some(10), KERNEL, "10", Class::Sleeping),
        (Some(11), NOWAIT, "other", Class::Nowait),
        (Some(u32::MAX), KERNEL | NOWARN, "other", Class::Nowarn),
        (None, ATOMIC | NOWARN, "none", Class::Nowarn),
    ] {
        let lines = after([(failure("a", order, gfp, 0), 1)]);
        let counted: Vec<_> =
            lines.failures.iter().filter(|(_, count)| **count > 0).map(|(it, _)| *it).collect();
        assert_eq!(
            counted.iter().map(|(order, class)| (order.label(), *class)).collect::<Vec<_>>(),
            [(label.to_owned(), class)]
        );
        assert_eq!(lines.failures.len(), 13 * 4, "all are there from the start, and no others");
    }
}

#[test]
fn a_latency_is_in_the_bucket_whose_bound_it_does_not_exceed() {
    let lines = after([
        // The line is older than the incident: the clocks of two CPUs differ.
        (kill("a"), 999_999_999),
        (kill("b"), 1_000_100_000),
        (kill("c"), 1_000_100_001),
        (kill("d"), 60_000_000_000),
    ]);
    let counts = lines.latency[&Kind::OomKill].counts;
    assert_eq!((counts[0], counts[1], counts[BUCKETS.len()]), (2, 1, 1));
}

/// As where a filter dropped the first line.
#[test]
fn a_later_revision_that_is_the_first_to_go_out_counts_and_has_no_latency() {
    let mut second = kill("a");
    second.revision = 2;
    let lines = after([(second, 9_000_000_000)]);
    assert_eq!(lines.incidents[&(Kind::OomKill, Cause::CgroupOom, Some(Level::Container))], 1);
    assert_eq!(lines.latency[&Kind::OomKill].count(), 0);
}

#[test]
fn the_number_of_remembered_incidents_has_a_bound() {
    let many = (0..3 * REMEMBERED).map(|number| (kill(&number.to_string()), 1_000_000_000));
    let lines = after(many);
    assert_eq!(lines.told.len(), REMEMBERED);
    assert_eq!(lines.incidents.values().sum::<u64>(), 3 * REMEMBERED as u64);
}

#[test]
fn other_lines_are_lines() {
    let mut lines = Lines::new(GfpNames::fallback());
    lines.wrote(
        &Line::AgentStarted(Box::new(crate::schema::AgentStarted {
            envelope: Envelope::default(),
            redelivered: false,
            kind: crate::schema::AgentStartedKind::AgentStarted,
            time: String::new(),
            ktime_ns: 0,
            kernel: Text::from("6.1"),
            hooks: Vec::new(),
            btf: None,
            names_from: Vec::new(),
            blind: Vec::new(),
            replay: false,
            pin: None,
        })),
        5,
    );
    assert_eq!((lines.written, lines.incidents.values().sum::<u64>()), (1, 0));
}

/// The reviewed reports are of all kinds: all their results are expected.
#[test]
fn every_result_of_a_reviewed_report_is_expected() {
    let words = |(kind, cause, level): &What| [word(kind), word(cause), word(level)];
    let expected: Vec<_> = expected().iter().map(words).collect();
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/report");
    let mut seen = 0;
    for file in std::fs::read_dir(dir).expect("the reviewed reports").flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let Ok(report) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        let Some(verdict) = report.get("verdict") else { continue };
        let what = [&report["kind"], &verdict["cause"], &verdict["level"]];
        let what = what.map(|it| it.as_str().unwrap_or("none").to_owned());
        assert!(expected.contains(&what), "{}: {what:?}", file.path().display());
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}
