//! The table of recorded deaths in `crashtrace/docs/deaths.md`, from `tests/deaths/truth.toml`.

use crate::files;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::fmt::Write as _;
use std::fs;

const TRUTH: &str = "tests/deaths/truth.toml";

#[derive(Deserialize)]
struct Truth {
    death: Vec<Death>,
}

/// What the table needs of an entry; `tests/deaths` reads all of it.
#[derive(Deserialize)]
struct Death {
    case: String,
    happened: String,
    kubernetes: String,
    line: bool,
    cause: String,
    level: Option<String>,
    ended_by: String,
    stop: Option<String>,
    probe: Option<String>,
    #[serde(default)]
    oom: bool,
    #[serde(default)]
    oom_before: u64,
    #[serde(default)]
    contradictions: Vec<Vec<String>>,
}

/// The table.
pub(super) fn table() -> Result<String> {
    let path = files::root().join(TRUTH);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    of(&text).with_context(|| TRUTH.to_owned())
}

fn of(truth: &str) -> Result<String> {
    let truth: Truth = toml::from_str(truth)?;
    let mut table =
        "| case | what happened | Kubernetes says | crashtrace says | line |\n|---|---|---|---|---|\n"
            .to_owned();
    for death in &truth.death {
        let Death { case, happened, kubernetes, .. } = death;
        let line = if death.line { "yes" } else { "with `--exits all`" };
        writeln!(table, "| {case} | {happened} | {kubernetes} | {} | {line} |", says(death))?;
    }
    Ok(table)
}

/// The verdict in a few words.
fn says(death: &Death) -> String {
    let mut says = format!("`{}`", death.cause);
    for part in [&death.level, &death.stop, &death.probe].into_iter().flatten() {
        write!(says, " (`{part}`)").unwrap_or_default();
    }
    write!(says, " by `{}`", death.ended_by).unwrap_or_default();
    if death.oom {
        says.push_str("; names the OOM kill");
    }
    if death.oom_before > 0 {
        write!(says, "; names {} OOM kill before", death.oom_before).unwrap_or_default();
    }
    match death.contradictions.len() {
        0 => {}
        1 => says.push_str("; one contradiction"),
        count => write!(says, "; {count} contradictions").unwrap_or_default(),
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_death() {
        let truth = r#"
            [[death]]
            case = "a"
            file = "x"
            happened = "it ran out of memory"
            kubernetes = "OOMKilled 137"
            line = true
            cause = "cgroup_oom"
            level = "pod"
            ended_by = "oom_killer"
            oom = true
            [[death]]
            case = "b"
            happened = "it was deleted"
            kubernetes = "OOMKilled 137"
            line = false
            cause = "stopped"
            ended_by = "runtime"
            stop = "deleted"
            oom_before = 1
            contradictions = [["OOMKilled"]]
        "#;
        let table = of(truth).expect("it is well-formed");
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| a | it ran out of memory | OOMKilled 137 | `cgroup_oom` (`pod`) by `oom_killer`; names the OOM kill | yes |",
                "| b | it was deleted | OOMKilled 137 | `stopped` (`deleted`) by `runtime`; names 1 OOM kill before; one \
                 contradiction | with `--exits all` |",
            ]
        );
        of("[[death]]\ncase = 1").expect_err("no text");
    }

    #[test]
    fn the_recorded_deaths_make_a_table() {
        let table = table().expect("it can be read");
        assert!(table.contains("| hostkill |") && table.lines().count() > 50, "{table}");
    }
}
