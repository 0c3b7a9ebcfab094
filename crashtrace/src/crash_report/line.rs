//! An incident of a line of the stream (`crashtrace/v1`), as a report has it. PURE.
//!
//! From JSON and leniently, for the agent's own lines and for those of an older or a newer agent: a field that is absent or another
//! than expected is unknown, and a word that this version does not have stays as it is.

use serde_json::Value;

use super::{ReportedExit, ReportedIncident, ReportedLimit, Run};

/// The incident of a line, for the container of `owner`; `end` is the line of the end of a container that an OOM kill made.
#[must_use]
pub fn incident(line: &Value, end: Option<&Value>, owner: &Value) -> ReportedIncident {
    let verdict = &line["verdict"];
    let exit = match end {
        Some(end) => Some(reported_exit(end, true)),
        None => line["exit"].is_object().then(|| reported_exit(line, false)),
    };
    ReportedIncident {
        id: text(&line["id"]).unwrap_or_default(),
        revision: number(&line["revision"]).unwrap_or_default(),
        time: text(&line["time"]).unwrap_or_default(),
        kind: text(&line["kind"]).unwrap_or_default(),
        cause: text(&verdict["cause"]).unwrap_or_else(|| "unknown".to_owned()),
        level: text(&verdict["level"]),
        certainty: text(&verdict["certainty"]).unwrap_or_default(),
        summary: text(&verdict["summary"]).unwrap_or_default(),
        evidence: texts(&verdict["evidence"]),
        remedy: text(&verdict["remedy"]).unwrap_or_default(),
        repeats: line["repeats"].as_u64().unwrap_or(0),
        exit,
        limit: line["limit"].is_object().then(|| reported_limit(&line["limit"])),
        run: Some(run(owner)),
    }
}

fn reported_exit(line: &Value, with_id: bool) -> ReportedExit {
    let exit = &line["exit"];
    ReportedExit {
        id: text(&line["id"]).filter(|_| with_id),
        revision: number(&line["revision"]).filter(|_| with_id),
        time: text(&line["time"]).unwrap_or_default(),
        code: exit["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok()),
        signal: text(&exit["signal_name"]),
        ran_seconds: exit["ran_ns"].as_u64().map(|ns| ns / 1_000_000_000),
        ended_by: text(&exit["ended_by"]),
        status_reason: text(&exit["status"]["reason"]),
        contradictions: texts(&exit["contradictions"]),
    }
}

fn reported_limit(limit: &Value) -> ReportedLimit {
    ReportedLimit {
        bytes: limit["limit_bytes"].as_u64(),
        usage_bytes: limit["usage_bytes"].as_u64(),
        cgroup: text(&limit["cgroup"]).unwrap_or_default(),
    }
}

fn run(owner: &Value) -> Run {
    let kubernetes = &owner["kubernetes"];
    Run {
        container_id: text(&owner["container_id"]),
        restart_count: number(&kubernetes["restart_count"]),
        image: text(&kubernetes["image"]),
        workload: workload(owner),
    }
}

/// The pod's controller, for example `Deployment/api`.
#[must_use]
pub fn workload(owner: &Value) -> Option<String> {
    let workload = &owner["kubernetes"]["workload"];
    Some(format!("{}/{}", text(&workload["kind"])?, text(&workload["name"])?))
}

/// Text, if that is what it is.
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text).collect()
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}
