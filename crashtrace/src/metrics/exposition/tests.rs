#![expect(clippy::float_cmp, reason = "counts, and numbers that are written as they are read")]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::gfp::GfpNames;
use crate::journal::State;
use crate::metrics::Hooks;
use crate::names::NamesStatus;
use crate::schema::NameSource;

fn metrics() -> Metrics {
    let hooks = Hooks {
        tier: "kprobe".to_owned(),
        allocations: "none".to_owned(),
        in_place: vec!["kprobe:oom_kill_process".to_owned()],
        blind_spots: 2,
    };
    let mut metrics = Metrics::new(hooks, Some(4 << 20), GfpNames::fallback());
    (metrics.round_ns, metrics.drained_ns) = (Some(1), Some(1));
    for (number, counter) in (100..).zip(Counter::VARIANTS.iter().copied()) {
        metrics.stats.set(counter, number);
    }
    metrics.backlog.holds(&State { file_bytes: 4096, oldest_ns: Some(1), ..State::default() });
    metrics.names = vec![
        NamesStatus {
            source: NameSource::Kube,
            state: NamesState::Synced,
            problem: None,
            pods: Some(30),
            containers: Some(41),
            refused_pods: Some(2),
            age_seconds: Some(0),
        },
        NamesStatus {
            source: NameSource::Cri,
            state: NamesState::Degraded,
            problem: Some("gone".to_owned()),
            pods: None,
            containers: Some(7),
            refused_pods: None,
            age_seconds: None,
        },
    ];
    metrics.kube_writes = vec![
        Counts { written: 3, coalesced: 2, waiting: 1, ..Counts::default() },
        Counts { written: 1, failed: 4, gone: 5, ..Counts::default() },
    ];
    metrics
}

fn text(format: Format) -> String {
    render(&metrics(), 2, format).expect("a string takes everything")
}

/// Samples with their values.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let split = samples.map(|line| line.rsplit_once(' ').expect("a name and a value"));
    split.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[test]
fn the_exposition_has_what_the_table_has() {
    for (format, has_units) in [(Format::OpenMetrics, true), (Format::Text, false)] {
        let text = text(format);
        let names: BTreeSet<_> =
            parsed(&text).keys().map(|name| name.split('{').next().unwrap_or_default().to_owned()).collect();
        let table: BTreeSet<_> = Metric::ALL.iter().flat_map(|metric| metric.row().samples()).collect();
        assert_eq!(names, table, "{format:?}");
        for row in Metric::ALL.map(Metric::row) {
            assert!(text.contains(&format!(" {}\n", row.doc)), "{format:?}: {}", row.stem);
            let unit = row.unit.map(|unit| format!("# UNIT {}_{unit} {unit}\n", row.stem));
            assert!(unit.is_none_or(|unit| text.contains(&unit) == has_units), "{format:?}: {}", row.stem);
        }
    }
}

#[test]
fn every_sample_has_the_labels_of_its_row() {
    for line in text(Format::Text).lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').map_or((line, ""), |(name, rest)| (name, rest));
        let name = name.split(' ').next().unwrap_or_default();
        let row =
            Metric::ALL.map(Metric::row).into_iter().find(|row| row.samples().iter().any(|it| it == name));
        let row = row.unwrap_or_else(|| panic!("no row for {line}"));
        let names: Vec<_> = labels
            .split("\",")
            .filter_map(|label| label.split("=\"").next())
            .filter(|it| !it.is_empty() && !it.starts_with('}'))
            .collect();
        let names: Vec<_> = names.into_iter().filter(|name| *name != "le").collect();
        assert_eq!(names, row.labels, "{line}");
    }
}

/// Each once, under one name: none is left out, and none is added to another.
#[test]
fn every_counter_of_the_stream_has_one_sample() {
    let samples = parsed(&text(Format::OpenMetrics));
    for (number, counter) in (100..).zip(Counter::VARIANTS.iter().copied()) {
        let with: Vec<_> = samples.iter().filter(|(_, value)| **value == f64::from(number)).collect();
        assert_eq!(with.len(), 1, "{counter:?}: {with:?}");
    }
    let lost: f64 = samples
        .iter()
        .filter(|(name, _)| name.starts_with("crashtrace_lost_total"))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(lost, metrics().stats.lost() as f64, "what is served as lost is what the stream calls lost");
}

#[test]
fn kills_are_there_with_0_before_the_first() {
    let samples = parsed(&text(Format::Text));
    for level in ["container", "pod", "qos", "node_allocatable", "host_service", "cgroup"] {
        let name =
            format!("crashtrace_incidents_total{{kind=\"oom_kill\",cause=\"cgroup_oom\",level=\"{level}\"}}");
        assert_eq!(samples.get(&name), Some(&0.0), "{name}");
    }
    assert_eq!(
        samples["crashtrace_incidents_total{kind=\"oom_kill\",cause=\"system_oom\",level=\"node\"}"],
        0.0
    );
    assert_eq!(samples["crashtrace_report_latency_seconds_bucket{kind=\"oom_kill\",le=\"+Inf\"}"], 0.0);
}

#[test]
fn names_and_hooks_are_served_and_unknown_values_are_left_out() {
    let samples = parsed(&text(Format::OpenMetrics));
    for (name, value) in [
        ("crashtrace_pod_index_synced{source=\"kube\"}", Some(1.0)),
        ("crashtrace_pod_index_synced{source=\"cri\"}", Some(0.0)),
        ("crashtrace_pod_index_pods{source=\"kube\"}", Some(30.0)),
        ("crashtrace_pod_index_pods{source=\"cri\"}", None),
        ("crashtrace_kube_writes_total{object=\"report\",result=\"written\"}", Some(3.0)),
        ("crashtrace_kube_writes_total{object=\"report\",result=\"coalesced\"}", Some(2.0)),
        ("crashtrace_kube_writes_total{object=\"event\",result=\"failed\"}", Some(4.0)),
        ("crashtrace_kube_writes_total{object=\"event\",result=\"gone\"}", Some(5.0)),
        ("crashtrace_kube_writes_waiting{object=\"report\"}", Some(1.0)),
        ("crashtrace_pod_index_containers{source=\"cri\"}", Some(7.0)),
        ("crashtrace_pod_index_refused_pods_total{source=\"kube\"}", Some(2.0)),
        ("crashtrace_pod_index_refused_pods_total{source=\"cri\"}", None),
        ("crashtrace_pod_index_age_seconds{source=\"kube\"}", Some(0.0)),
        ("crashtrace_pod_index_age_seconds{source=\"cri\"}", None),
        ("crashtrace_hooks_info{tier=\"kprobe\",allocations=\"none\"}", Some(1.0)),
        ("crashtrace_blind_spots", Some(2.0)),
        ("crashtrace_ring_size_bytes", Some(4_194_304.0)),
        ("crashtrace_ready", Some(1.0)),
    ] {
        assert_eq!(samples.get(name).copied(), value, "{name}");
    }
    let late = render(&metrics(), 1 + 2 * super::super::health::ALIVE_NS, Format::Text).expect("text");
    assert!(late.contains("\ncrashtrace_ready 0.0\n"), "not ready while the ring is not drained");
}

/// A histogram's buckets include those of the smaller ones, up to all.
#[test]
fn latencies_add_up() {
    let mut metrics = metrics();
    let latency = metrics.lines.latency.entry(crate::schema::Kind::OomKill).or_default();
    latency.counts[0] = 3;
    latency.counts[2] = 4;
    latency.counts[BUCKETS.len()] = 5;
    latency.sum_seconds = 99.5;
    let samples = parsed(&render(&metrics, 2, Format::Text).expect("text"));
    let bucket = |le: &str| {
        samples[&format!("crashtrace_report_latency_seconds_bucket{{kind=\"oom_kill\",le=\"{le}\"}}")]
    };
    assert_eq!(
        [bucket("0.0001"), bucket("0.00025"), bucket("0.0005"), bucket("10"), bucket("+Inf")],
        [3.0, 3.0, 7.0, 7.0, 12.0]
    );
    let buckets = samples.keys().filter(|name| name.contains("_bucket{kind=\"oom_kill\"")).count();
    assert_eq!(buckets, BUCKETS.len() + 1);
    assert_eq!(samples["crashtrace_report_latency_seconds_sum{kind=\"oom_kill\"}"], 99.5);
    assert_eq!(samples["crashtrace_report_latency_seconds_count{kind=\"oom_kill\"}"], 12.0);
}

/// In this format the crate writes only the buckets that it is given.
#[test]
fn the_newer_format_has_a_bucket_for_all() {
    let text = text(Format::OpenMetrics);
    assert_eq!(text.matches("le=\"+Inf\"").count(), 1, "{text}");
}

/// deploy/monitoring/README.md has these numbers.
#[test]
fn series_are_few() {
    use crate::schema::Kind;
    use crate::stats::EndedHow;
    let mut metrics = metrics();
    let series = |metrics: &Metrics| parsed(&render(metrics, 2, Format::Text).expect("text")).len();
    let begun = series(&metrics);
    for kind in [
        Kind::OomKill,
        Kind::OomNoKill,
        Kind::OomWait,
        Kind::AllocFailure,
        Kind::VmallocFailure,
        Kind::ChargeFailure,
        Kind::OtherAllocFailure,
        Kind::ContainerExit,
    ] {
        metrics.lines.latency.entry(kind).or_default();
    }
    for (_, cause, _) in crate::metrics::incidents::expected().iter().filter(|it| it.0 == Kind::ContainerExit)
    {
        for how in EndedHow::VARIANTS {
            metrics.ends.ended(cause.into(), *how);
        }
    }
    let most = series(&metrics);
    assert!((200..=245).contains(&begun) && most <= 465, "{begun}, then {most}");
}

#[test]
fn names_follow_prometheus() {
    let mut seen = BTreeSet::new();
    for metric in Metric::ALL {
        let row = metric.row();
        let word = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        };
        assert!(row.stem.starts_with("crashtrace_") && word(row.stem), "{}", row.stem);
        assert!(row.labels.iter().all(|label| word(label) && *label != "le"), "{}", row.stem);
        assert!(row.unit.is_none_or(|unit| ["seconds", "bytes"].contains(&unit)), "{}", row.stem);
        assert!(
            !["_total", "_info", "_bucket", "_sum", "_count"].iter().any(|end| row.stem.ends_with(end)),
            "{}",
            row.stem
        );
        assert!(row.doc.ends_with('.') && !row.doc.contains(['\n', '|']), "{}", row.stem);
        assert!(seen.insert(row.name()), "{} is there twice", row.name());
    }
}

/// Numbers in words, each with the word after it.
fn numbers(text: &str) -> Vec<(&str, &str)> {
    const WORDS: [&str; 9] = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let words: Vec<_> = text.split(' ').collect();
    let after = |at: usize| words.get(at + 1).copied().unwrap_or_default();
    let is_number = |it: &str| WORDS.contains(&it.trim_end_matches(['.', ',', ';', ':']));
    words.iter().enumerate().filter(|(_, it)| is_number(it)).map(|(at, it)| (*it, after(at))).collect()
}

/// A reader has nothing but this text: "up to five" of what?
#[test]
fn each_help_text_has_its_units() {
    let is_unit = |(number, next): &(&str, &str)| {
        let unit = next.trim_end_matches(['.', ',', ';', ':']);
        number.chars().all(char::is_alphabetic) && ["seconds", "minutes"].contains(&unit)
    };
    for row in Metric::ALL.map(Metric::row) {
        let name = row.name();
        if let Some(unit) = row.unit {
            assert!(row.doc.to_lowercase().contains(unit), "{name} does not say {unit}: {}", row.doc);
        }
        let bare: Vec<_> = numbers(row.doc).into_iter().filter(|found| !is_unit(found)).collect();
        assert!(bare.is_empty(), "{name} has numbers of nothing, {bare:?}: {}", row.doc);
    }
    let bad = numbers("asked every five, and up to ten. After five seconds");
    assert_eq!(bad, [("five,", "and"), ("ten.", "After"), ("five", "seconds")]);
    assert_eq!(bad.iter().filter(|found| is_unit(found)).count(), 1);
}
