//! The table of metrics, from the agent's source.

use std::fmt::Write as _;

use crashtrace::metrics::table::{Metric, MetricKind};

pub(crate) fn table() -> String {
    let mut text = "| metric | type | labels | tells |\n|---|---|---|---|\n".to_owned();
    for row in Metric::ALL.map(Metric::row) {
        let kind = match row.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::Info => "always 1",
        };
        let labels: Vec<_> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, labels, doc) = (row.name(), labels.join(", "), row.doc);
        writeln!(text, "| `{name}` | {kind} | {labels} | {doc} |").expect("a string takes all");
    }
    text
}
