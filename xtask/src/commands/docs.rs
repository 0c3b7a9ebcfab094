//! `cargo xtask docs`: writes the generated parts of the documents, between their markers.

use crate::matrix::gate;
use crate::matrix::outcome::{AGENT, Judged, Outcome};
use crate::matrix::record::{self, KernelResults, Matrix, ShapeResults};
use crate::matrix::shape::Shape;
use crate::{exec, files, toolchain};
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::fs;

mod deaths;

/// Write the generated parts of the documents.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail if anything would change. The tests of the documents check the parts that the agent generates.
    #[arg(long)]
    check: bool,
}

/// `cargo xtask docs`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let matrix = record::load()?;
    if matrix.is_none() {
        eprintln!(
            "xtask: there is no {} yet, and so no table: `cargo xtask vm --all` writes it",
            record::NAME
        );
    }
    let parts = [
        ("README.md", "report container_oom", report("container_oom", None)?),
        ("README.md", "report system_oom", report("system_oom", Some(HOLDERS))?),
        ("README.md", "report alloc_fragmentation", report("alloc_fragmentation", Some(PROCESSES))?),
        ("README.md", "report exit_fault", report("exit_fault", Some(EVIDENCE))?),
        ("README.md", "report exit_probe", report("exit_probe", Some(EVIDENCE))?),
        ("tests/results/README.md", "matrix", kernels(matrix.as_ref())),
        ("CONTRIBUTING.md", "gate", gate::markdown()),
        ("crashtrace/docs/deaths.md", "deaths", deaths::table()?),
    ];
    let mut stale = Vec::new();
    for (file, name, part) in parts {
        let path = files::root().join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        let now = replaced(&text, name, &part).with_context(|| file.to_owned())?;
        if now == text {
            continue;
        }
        if args.check {
            stale.push(format!("{name} in {file}"));
        } else {
            fs::write(&path, now).with_context(|| format!("cannot write {file}"))?;
            eprintln!("xtask: {file} was rewritten");
        }
    }
    if !args.check {
        // The parts that the agent's code generates. Their tests write them, and otherwise compare.
        let mut cargo = toolchain::command("cargo");
        cargo.args([
            "test",
            "--quiet",
            "--locked",
            "--package",
            "crashtrace",
            "--test",
            "documents",
            "generated",
        ]);
        exec::run(cargo.env("CRASHTRACE_BLESS", "1"))?;
    }
    if stale.is_empty() {
        return Ok(());
    }
    bail!("not up to date: {}; run `cargo xtask docs`, and read the diff", stale.join(", "))
}

/// The text with this part between the markers of this name.
fn replaced(text: &str, name: &str, part: &str) -> Result<String> {
    let begin = format!("<!-- {name}: begin, written by cargo xtask docs -->\n");
    let end = format!("<!-- {name}: end -->\n");
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no line {begin:?}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no line {end:?} after the first"))?;
    Ok(format!("{before}{begin}\n{part}\n{end}{after}"))
}

/// Where a report begins with its evidence.
const EVIDENCE: &str = "\n  Because:\n";
/// Where the table of processes begins.
const PROCESSES: &str = "\n           PID";
/// Where the holders are listed, behind the account.
const HOLDERS: &str = "\n  pods  ";

/// A report of `tests/fixtures/report`, which a test compares with what crashtrace writes; complete, or up to `end`.
fn report(name: &str, end: Option<&str>) -> Result<String> {
    let path = files::root().join("tests/fixtures/report").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let shown = match end {
        Some(end) => text.split_once(end).with_context(|| format!("no {end:?} in {}", path.display()))?.0,
        None => &text,
    };
    let lines: Vec<_> = shown.trim_end().lines().map(str::trim_end).collect();
    Ok(format!("```\n{}\n```\n", lines.join("\n")))
}

/// The table of tested kernels.
fn kernels(matrix: Option<&Matrix>) -> String {
    let Some(matrix) = matrix else {
        return "No run of the whole matrix is recorded yet: `cargo xtask vm --all` makes one.\n".to_owned();
    };
    let mut text =
        "| kernel | Debian's package | cgroup | fentry | kprobe | tracepoint | as deployed |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for kernel in &matrix.kernels {
        for shape in &kernel.shapes {
            let KernelResults { label, arch, package, .. } = kernel;
            // Where the modules have a package of their own, the first is the image's.
            let package = package.split(',').next().unwrap_or(package);
            let cgroup = match shape.shape {
                Shape::V2 => "v2",
                Shape::Numa => "v2, two nodes",
                Shape::V1 => "v1",
                Shape::Movable => "v2, zone Movable",
                Shape::NoMemcg => "v2, no memory controller",
            };
            let judged = [Judged::Fentry, Judged::Kprobe, Judged::Tracepoint, Judged::Deployed];
            let judged = judged.map(|judged| counts(shape, judged));
            writeln!(text, "| {label} ({arch}) | {package} | {cgroup} | {} |", judged.join(" | "))
                .unwrap_or_default();
        }
    }
    let disagree = matrix.kernels.iter().flat_map(|kernel| &kernel.shapes).flat_map(ShapeResults::played);
    let disagree =
        disagree.filter(|it| it.worst(Judged::Agree).is_some_and(|outcome| !outcome.is_good())).count();
    let Matrix { commit, date, duration_s, remark, .. } = matrix;
    let agree = match disagree {
        0 => {
            "One agent at a time watched them, and agents with all kinds of hooks together, and they agreed."
        }
        _ => {
            "One agent at a time watched them, and agents with all kinds of hooks together, and they did not always agree."
        }
    };
    let minutes = duration_s.div_ceil(60);
    write!(
        text,
        "\nScenarios that passed, of those played, for each kind of hooks. {agree} As deployed: requirements on \
         the agent in its container (`tests/judge/deployed.toml`). From `cargo xtask vm --all` at commit {commit}, \
         {date}, {minutes} minutes.\n"
    )
    .unwrap_or_default();
    if let Some(remark) = remark {
        writeln!(text, "{remark}").unwrap_or_default();
    }
    text
}

/// The results of one kind of hooks, or of the deployed agent, in a shape.
fn counts(shape: &ShapeResults, tier: Judged) -> String {
    let count = |outcome| shape.played().filter(|results| results.worst(tier) == Some(outcome)).count();
    let of = shape.played().filter(|results| results.worst(tier).is_some()).count();
    if of == 0 && tier == Judged::Deployed {
        return "-".to_owned();
    }
    if of > 0 && count(Outcome::Lacking) == of {
        return "refused by the kernel".to_owned();
    }
    let mut text = format!("{} of {of}", count(Outcome::Passed));
    match count(Outcome::Blind) {
        0 => {}
        blind => write!(text, ", blind to {blind}").unwrap_or_default(),
    }
    let agent = shape.scenarios.iter().find(|results| results.scenario == AGENT);
    if agent.and_then(|results| results.worst(tier)).is_none_or(|outcome| !outcome.is_good()) {
        text.push_str(", and the agent failed");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::record::merge;
    use crate::matrix::record::tests::{judgement, played};

    #[test]
    fn writes_between_its_markers_only() {
        let text = "a\n<!-- x: begin, written by cargo xtask docs -->\nold\n<!-- x: end -->\nb\n";
        let now = replaced(text, "x", "| new |\n").expect("both markers are there");
        assert_eq!(
            now,
            "a\n<!-- x: begin, written by cargo xtask docs -->\n\n| new |\n\n<!-- x: end -->\nb\n"
        );
        assert_eq!(replaced(&now, "x", "| new |\n").expect("still"), now);
        for broken in ["a\n<!-- x: end -->\n", "<!-- x: begin, written by cargo xtask docs -->\n"] {
            replaced(broken, "x", "").expect_err(broken);
        }
    }

    #[test]
    fn a_report_is_shown_whole_or_up_to_its_evidence() {
        let whole = report("system_oom", None).expect("a report");
        let beginning = report("system_oom", Some(EVIDENCE)).expect("it has evidence");
        assert!(
            whole.starts_with("```\n2") && whole.contains("Because:") && whole.ends_with("\n```\n"),
            "{whole}"
        );
        let (before, _) = whole.split_once(EVIDENCE).expect("it has evidence");
        assert_eq!(beginning, format!("{}\n```\n", before.trim_end()));
        report("no_such_report", None).expect_err("there is none");
        report("system_oom", Some("no such line")).expect_err("its end is not there");
    }

    #[test]
    fn says_that_nothing_is_recorded() {
        assert!(kernels(None).contains("No run"));
    }

    #[test]
    fn a_row_for_each_shape_of_each_kernel() {
        let good = |scenario: &str, tier| judgement(scenario, tier, false, Outcome::Passed);
        let mut unified =
            vec![good(AGENT, Judged::Kprobe), good("a", Judged::Kprobe), good("b", Judged::Kprobe)];
        unified.push(judgement("c", Judged::Kprobe, true, Outcome::Blind));
        unified.push(judgement("b", Judged::Kprobe, true, Outcome::Failed));
        unified.push(judgement("a", Judged::Fentry, false, Outcome::Lacking));
        unified.push(judgement("a", Judged::Tracepoint, false, Outcome::Missing));
        unified.push(judgement("a", Judged::Agree, false, Outcome::Passed));
        let mut matrix = Matrix {
            commit: "c0ffee".to_owned(),
            incomplete: None,
            date: "2026-11-25".to_owned(),
            duration_s: 3601,
            remark: Some("It rained.".to_owned()),
            kernels: merge(&[played("6.1", Shape::V2, unified), played("6.1", Shape::Numa, Vec::new())]),
        };
        let text = kernels(Some(&matrix));
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(
            rows[2],
            "| 6.1 (x86_64) | linux-image-6.1 1 | v2 | refused by the kernel | 1 of 3, blind to 1 | \
             0 of 1, and the agent failed | - |"
        );
        assert!(rows[3].contains("| v2, two nodes |"), "{text}");
        assert!(
            text.contains("they agreed")
                && text.ends_with("commit c0ffee, 2026-11-25, 61 minutes.\nIt rained.\n"),
            "{text}"
        );
        let scenarios = &mut matrix.kernels[0].shapes[0].scenarios;
        scenarios[0].together.insert(Judged::Deployed, Outcome::Passed);
        scenarios[1].together.insert(Judged::Agree, Outcome::Failed);
        scenarios[1].together.insert(Judged::Deployed, Outcome::Passed);
        let text = kernels(Some(&matrix));
        assert!(text.contains("did not always agree") && text.contains("| 1 of 1 |\n"), "{text}");
    }
}
