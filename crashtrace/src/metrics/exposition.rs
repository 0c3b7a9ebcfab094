//! The exposition for Prometheus: the table's rows with their values, written by `prometheus-client`.
//!
//! That crate's own counters are not used: these values are counted for the stream already, and a second count of the same thing
//! can differ from the first. Its `Collector` takes values as they are at a scrape.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use strum::VariantArray as _;

use super::health::OutputState;
use super::incidents::{BUCKETS, word};
use super::table::{Metric, MetricKind};
use super::{Metrics, ends};
use crate::kube_reports::Counts;
use crate::names::{NamesState, NamesStatus};
use crate::stats::Counter;

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The newer one, with units, which Prometheus prefers.
    OpenMetrics,
    /// The older one, which every client reads.
    Text,
}

impl Format {
    /// The format for a client that accepts this.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let wanted = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if wanted { Self::OpenMetrics } else { Self::Text }
    }

    /// Value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Count(u64),
    Gauge(f64),
    Info,
    Histogram { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
}

/// A sample: values of the row's labels, in its order, and its value.
type Sample = (Vec<String>, Value);

/// The exposition at this time, in this format.
///
/// # Errors
/// Never: writes to a string do not fail.
pub fn render(metrics: &Metrics, now_ns: u64, format: Format) -> Result<String, fmt::Error> {
    let samples = Metric::ALL.iter().map(|metric| (*metric, samples(*metric, metrics, now_ns)));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Table(samples.collect())));
    let mut text = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut text, &registry)?,
        Format::Text => prometheus_text::encode(&mut text, &registry)?,
    }
    Ok(text)
}

#[derive(Debug)]
struct Table(Vec<(Metric, Vec<Sample>)>);

impl Collector for Table {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, samples) in &self.0 {
            let row = metric.row();
            let kind = match row.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
                MetricKind::Info => MetricType::Info,
            };
            let unit = row.unit.map(|unit| Unit::Other(unit.to_owned()));
            let mut family = encoder.encode_descriptor(row.stem, row.doc, unit.as_ref(), kind)?;
            for (values, value) in samples {
                let labels: Vec<_> =
                    row.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
                match value {
                    Value::Info => family.encode_info(&labels)?,
                    _ if labels.is_empty() => encode(&mut family, value)?,
                    _ => encode(&mut family.encode_family(&labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Count(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
        Value::Gauge(value) => encoder.encode_gauge(value),
        Value::Histogram { sum, count, buckets } => {
            encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
        // Its value is in its labels.
        Value::Info => Ok(()),
    }
}

fn samples(metric: Metric, it: &Metrics, now_ns: u64) -> Vec<Sample> {
    let one = |value| vec![(Vec::new(), value)];
    let lines = &it.lines;
    match metric {
        Metric::Build => {
            let layout = crashtrace_ebpf::LAYOUT_VERSION.to_string();
            vec![(vec![env!("CARGO_PKG_VERSION").to_owned(), layout], Value::Info)]
        }
        Metric::Hooks => vec![(vec![it.hooks.tier.clone(), it.hooks.allocations.clone()], Value::Info)],
        Metric::BlindSpots => one(Value::Gauge(it.hooks.blind_spots as f64)),
        Metric::RingSize => {
            it.ring_bytes.map(|bytes| (Vec::new(), Value::Gauge(bytes as f64))).into_iter().collect()
        }
        Metric::Ready => one(Value::Gauge(f64::from(u8::from(it.readiness(now_ns).ready)))),
        Metric::Incidents => lines
            .incidents
            .iter()
            .map(|((kind, cause, level), count)| {
                (vec![word(kind), word(cause), word(level)], Value::Count(*count))
            })
            .collect(),
        Metric::OomKills => lines
            .kills
            .iter()
            .map(|((cause, level), count)| (vec![word(cause), word(level)], Value::Count(*count)))
            .collect(),
        Metric::FailedAllocations => lines
            .failures
            .iter()
            .map(|((order, class), count)| (vec![order.label(), word(class)], Value::Count(*count)))
            .collect(),
        Metric::ContainerEnds => ends::by_cause(&it.ends)
            .into_iter()
            .map(|((cause, how), count)| (vec![cause.to_owned(), how.to_owned()], Value::Count(count)))
            .collect(),
        Metric::ProbeKills => labelled(ends::by_probe(&it.ends)),
        Metric::IgnoredTerms => labelled(ends::by_term(&it.ends)),
        Metric::ReportLatency => lines
            .latency
            .iter()
            .map(|(kind, latency)| {
                let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
                let buckets = bounds.zip(latency.counts).collect();
                let (sum, count) = (latency.sum_seconds, latency.count());
                (vec![word(kind)], Value::Histogram { sum, count, buckets })
            })
            .collect(),
        Metric::LinesWritten => one(Value::Count(lines.written)),
        Metric::OutputBlocked => one(Value::Gauge(OutputState::of(&it.backlog, now_ns).blocked_seconds)),
        Metric::OutputWaiting => one(Value::Gauge(it.backlog.lines() as f64)),
        Metric::JournalSize => journal(it, now_ns, |(file_bytes, _)| file_bytes as f64),
        Metric::JournalOldest => journal(it, now_ns, |(_, age_ns)| (age_ns / 1_000_000) as f64 / 1000.0),
        Metric::PodIndexSynced => {
            it.of_names(|names| Some(Value::Gauge(f64::from(u8::from(names.state == NamesState::Synced)))))
        }
        Metric::PodIndexPods => it.of_names(|names| names.pods.map(|pods| Value::Gauge(pods as f64))),
        Metric::PodIndexContainers => {
            it.of_names(|names| names.containers.map(|containers| Value::Gauge(containers as f64)))
        }
        Metric::PodIndexRefused => it.of_names(|names| names.refused_pods.map(Value::Count)),
        Metric::PodIndexAge => it.of_names(|names| names.age_seconds.map(|age| Value::Gauge(age as f64))),
        Metric::KubeWrites => it
            .of_writes()
            .flat_map(|(object, counts)| {
                let Counts { written, failed, coalesced, gone, left_out, .. } = counts;
                let all = [
                    ("written", written),
                    ("failed", failed),
                    ("coalesced", coalesced),
                    ("gone", gone),
                    ("left_out", left_out),
                ];
                all.map(|(result, count)| (vec![object.to_owned(), result.to_owned()], Value::Count(*count)))
            })
            .collect(),
        Metric::KubeWritesWaiting => it
            .of_writes()
            .map(|(object, counts)| (vec![object.to_owned()], Value::Gauge(counts.waiting as f64)))
            .collect(),
        Metric::Reports
        | Metric::ReportsFiltered
        | Metric::Lost
        | Metric::LostInRing
        | Metric::OrphanedRecords
        | Metric::MarkedAlreadyDying
        | Metric::LimitWritesMet
        | Metric::RoutineMemcgOoms
        | Metric::FoldedNoVictims
        | Metric::KernelFailedAllocations
        | Metric::UnsureExits
        | Metric::EndsNotReported
        | Metric::ExitsOfOthers
        | Metric::MessagesDropped
        | Metric::SinkFailures => counted(metric, it),
    }
}

/// A value of the journal, if there is one.
fn journal(it: &Metrics, now_ns: u64, value: impl Fn((u64, u64)) -> f64) -> Vec<Sample> {
    it.backlog.journal(now_ns).map(|shown| (Vec::new(), Value::Gauge(value(shown)))).into_iter().collect()
}

/// Counts with one label.
fn labelled(counts: BTreeMap<&'static str, u64>) -> Vec<Sample> {
    counts.into_iter().map(|(label, count)| (vec![label.to_owned()], Value::Count(count))).collect()
}

/// The counters of the stream that this metric consists of.
fn counted(metric: Metric, it: &Metrics) -> Vec<Sample> {
    let own = Counter::VARIANTS.iter().copied().map(|counter| (counter, place(counter)));
    own.filter(|(_, (place, _))| *place == metric)
        .map(|(counter, (_, labels))| {
            (labels.iter().map(|label| (*label).to_owned()).collect(), Value::Count(it.stats.get(counter)))
        })
        .collect()
}

/// Where a counter of the stream is served.
fn place(counter: Counter) -> (Metric, &'static [&'static str]) {
    match counter {
        Counter::RecordsLost => (Metric::Lost, &["ring", "no_room"]),
        Counter::KillsLost => (Metric::LostInRing, &["kill"]),
        Counter::FailuresLost => (Metric::LostInRing, &["failed_allocation"]),
        Counter::EndsLost => (Metric::LostInRing, &["container_end"]),
        Counter::RecordsMalformed => (Metric::Lost, &["decode", "malformed"]),
        Counter::RecordsOfUnknownKind => (Metric::Lost, &["decode", "unknown_kind"]),
        Counter::RecordsOfAnotherLayout => (Metric::Lost, &["decode", "another_layout"]),
        Counter::AllocUntold => (Metric::Lost, &["kernel", "not_recorded"]),
        Counter::ExitsCrowdedOut => (Metric::Lost, &["kernel", "crowded_out"]),
        Counter::ExitsUnsure => (Metric::UnsureExits, &[]),
        Counter::EndsWithoutDecision => (Metric::OrphanedRecords, &["end"]),
        Counter::HoldersWithoutDecision => (Metric::OrphanedRecords, &["holders"]),
        Counter::MarkedAlreadyDying => (Metric::MarkedAlreadyDying, &[]),
        Counter::LimitWritesMet => (Metric::LimitWritesMet, &[]),
        Counter::IncidentsFiltered => (Metric::ReportsFiltered, &[]),
        Counter::IncidentsReported => (Metric::Reports, &[]),
        Counter::MemcgOomRoutine => (Metric::RoutineMemcgOoms, &[]),
        Counter::NoVictimFolded => (Metric::FoldedNoVictims, &[]),
        Counter::AllocFailed => (Metric::KernelFailedAllocations, &["to_report"]),
        Counter::AllocNowarn => (Metric::KernelFailedAllocations, &["nowarn"]),
        Counter::AllocOfVictim => (Metric::KernelFailedAllocations, &["of_victim"]),
        Counter::ExitsOfNoContainer => (Metric::ExitsOfOthers, &["no_container"]),
        Counter::ExitsOfSandboxes => (Metric::ExitsOfOthers, &["sandbox"]),
        Counter::EndsStopped => (Metric::EndsNotReported, &["stopped"]),
        Counter::EndsWell => (Metric::EndsNotReported, &["done"]),
        Counter::EndsUnwanted => (Metric::EndsNotReported, &["unwanted"]),
        Counter::EndsUntold => (Metric::Lost, &["pipeline", "storm"]),
        Counter::JournalDropped => (Metric::Lost, &["journal", "dropped"]),
        Counter::JournalDamaged => (Metric::Lost, &["journal", "damaged"]),
        Counter::MessagesDropped => (Metric::MessagesDropped, &["unwritable"]),
        Counter::MessagesKeptBack => (Metric::MessagesDropped, &["too_many"]),
        Counter::SinkFailures => (Metric::SinkFailures, &[]),
    }
}

impl Metrics {
    fn of_names(&self, value: impl Fn(&NamesStatus) -> Option<Value>) -> Vec<Sample> {
        let known = self.names.iter().filter_map(|names| Some((names.source, value(names)?)));
        known.map(|(source, value)| (vec![word(&source)], value)).collect()
    }

    fn of_writes(&self) -> impl Iterator<Item = (&'static str, &Counts)> {
        ["report", "event"].into_iter().zip(&self.kube_writes)
    }
}

#[cfg(test)]
mod tests;
