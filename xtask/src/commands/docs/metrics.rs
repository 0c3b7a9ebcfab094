//! The table of metrics, from the agent's source.

use std::fmt::Write as _;

use table::{Kind, Metric};

#[path = "../../../../crashtrace/src/metrics/table.rs"]
#[expect(dead_code, unreachable_pub, reason = "the agent uses what is left")]
mod table;

pub(super) fn markdown() -> String {
    let mut text = "| metric | type | labels | tells |\n|---|---|---|---|\n".to_owned();
    for row in Metric::ALL.map(Metric::row) {
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "always 1",
        };
        let labels: Vec<_> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, labels, doc) = (row.name(), labels.join(", "), row.doc);
        writeln!(text, "| `{name}` | {kind} | {labels} | {doc} |").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_metric() {
        let text = markdown();
        let rows: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), Metric::ALL.len());
        assert!(rows.iter().all(|row| row.matches(" | ").count() == 3), "{text}");
        assert!(rows.iter().any(|row| {
            row.starts_with(
                "| `crashtrace_incidents_total` | counter | `kind`, `cause`, `level` | Incidents ",
            )
        }));
    }
}
