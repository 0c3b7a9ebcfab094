//! `scenario replay`: many incidents through `crashtrace replay`: what it spends on each, and whether its memory stays as it is.

use std::ffi::OsString;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use crashtrace::recording::frame;
use crashtrace_records::{Record, memcg_kill};
use crashtrace_test_support::recording::preamble;
use serde_json::{Map, json};

use super::memory;
use super::tool::cpu_ns;

/// What to replay, and with which program.
#[derive(clap::Args)]
pub struct Args {
    /// What the result is for
    #[arg(long)]
    label: String,
    /// How many incidents
    #[arg(long, default_value_t = 100_000)]
    incidents: u64,
    /// In how many pods; with as many as incidents none comes twice
    #[arg(long, default_value_t = PODS)]
    pods: u64,
    /// The program, which reads the recording from its stdin
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A kill a second, in so many pods in turn: no two of them fold.
const PODS: u64 = 2000;
const APART_NS: u64 = 1_000_000_000;
/// Of all incidents; the memory is looked at after each.
const PARTS: u64 = 10;

/// Prints one JSON object: instructions for each incident, and memory and descriptors after each tenth of them.
pub fn run(args: &Args) -> Result<()> {
    let (program, rest) = args.command.split_first().context("no program is given")?;
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut recording = BufWriter::new(child.stdin.take().context("it has no stdin")?);
    preamble().write_to(&mut recording)?;
    let mut figures = Map::new();
    let (mut anon, mut files, mut seq) = (Vec::new(), Vec::new(), 0);
    for incident in 0..args.incidents {
        for record in records(incident, args.pods.max(1), &mut seq) {
            recording.write_all(&frame(&record.bytes()).context("a record is too long")?)?;
        }
        if (incident + 1) % (args.incidents / PARTS).max(1) == 0 {
            anon.push(memory::anon_bytes(child.id())?);
            let open = fs::read_dir(format!("/proc/{}/fd", child.id())).context("cannot list its files")?;
            files.push(open.count());
        }
    }
    drop(recording.into_inner().context("it took not all of the recording")?);
    // It has ended, and is there until it is waited for.
    rustix::process::waitid(
        rustix::process::WaitId::Pid(
            rustix::process::Pid::from_raw(child.id().cast_signed()).context("it has a number")?,
        ),
        rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
    )
    .context("cannot wait for its end")?;
    figures.insert("cpu_per_incident_ns".to_owned(), (cpu_ns(child.id())? / args.incidents.max(1)).into());
    let status = child.wait().context("cannot wait for it")?;
    ensure!(status.success(), "{} ended with {status}", program.display());
    figures.insert("incidents".to_owned(), args.incidents.into());
    figures.insert("anon_bytes_each_tenth".to_owned(), json!(anon));
    figures.insert("open_files_each_tenth".to_owned(), json!(files));
    println!("{}", json!({ "label": args.label, "of": "replay", "figures": figures }));
    Ok(())
}

/// The records of the incident with this number.
fn records(incident: u64, pods: u64, seq: &mut u64) -> Vec<Record> {
    let pod = incident % pods;
    let uid = format!("{pod:08x}_1c3d_4e5f_9a7b_2c4d6e8f0a1b");
    let path = format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{pod:064x}.scope"
    );
    let mut records = memcg_kill((incident + 1) * APART_NS, 0, path.as_bytes(), b"worker");
    for record in &mut records {
        record.header.seq = *seq;
        *seq += 1;
        // Each pod has cgroups of its own; those above are the same for all.
        for cgroups in &mut record.sections {
            for (depth, (level, _)) in cgroups.levels.iter_mut().rev().enumerate() {
                level.cgroup_id += if depth > 2 { pod * 16 } else { 0 };
            }
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incidents_of_two_pods_share_no_cgroup_below_their_qos_class() {
        let mut seq = 0;
        let ids = |records: Vec<Record>| -> Vec<u64> {
            records[0].sections[0].levels.iter().map(|(level, _)| level.cgroup_id).collect()
        };
        let (one, other) = (ids(records(0, PODS, &mut seq)), ids(records(1, PODS, &mut seq)));
        assert_eq!(seq, 6);
        assert_eq!(one[2..], other[2..]);
        assert!(one[..2].iter().all(|id| !other.contains(id)), "{one:?} {other:?}");
    }
}
