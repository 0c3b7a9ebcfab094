//! A recording, played to the agent's stages: what the watch told and what the kernel wrote, in the order of their times.

use std::collections::BTreeMap;

use crashtrace::decode::Machine;
use crashtrace::filter::{Exits, Filter};
use crashtrace::gfp::GfpNames;
use crashtrace::names::{NoNames, PodNames};
use crashtrace::node::Node;
use crashtrace::pipeline::{Pipeline, Session};
use crashtrace::report::{Context, to_json_line};
use crashtrace::schema::Line;
use crashtrace_records::{Body, Record};
use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{Answers, Cluster};
use crate::oom::oom_kills;
use crate::recording::Recording;
use crate::records::{BOOTED, Died, ktime_ns, ms, pause_ended};
use crate::truth::Truth;

/// How the agent is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// All ends of containers have a line.
    pub(crate) all: bool,
    /// What comes of requests for Events; `None`: the API server is no source.
    pub(crate) events: Option<Answers>,
}

pub(crate) const DEFAULT: Setup = Setup { all: false, events: Some(Answers::After(30)) };
pub(crate) const ALL: Setup = Setup { all: true, ..DEFAULT };

enum Act {
    Tell(&'static str, Value),
    Record(Box<Record>),
}

/// The lines, and what was asked for.
#[derive(Debug)]
pub(crate) struct Played {
    /// With the time of each.
    pub(crate) lines: Vec<(Timestamp, Value)>,
    pub(crate) requests: usize,
    /// The time of each container's end, by its id.
    pub(crate) ends: BTreeMap<String, Timestamp>,
}

impl Played {
    /// The lines about the end of a container, in their order.
    pub(crate) fn of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Value> {
        self.exits().filter(move |line| line["exit"]["process"]["owner"]["container_id"] == id)
    }

    /// Those about ends of containers.
    pub(crate) fn exits(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().map(|(_, line)| line).filter(|line| line["kind"] == "container_exit")
    }

    /// Those about OOM kills.
    pub(crate) fn ooms(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().map(|(_, line)| line).filter(|line| line["kind"] == "oom_kill")
    }
}

/// Plays a recording with the deaths that `truth.toml` has of it.
pub(crate) fn play(recording: &Recording, file: &str, truth: &Truth, setup: Setup) -> Played {
    let died: Vec<_> = truth.of(file).map(|death| Died::new(recording, death)).collect();
    let cluster = Cluster::new(recording, setup.events.unwrap_or(Answers::Never));
    let pods: Box<dyn PodNames> = match setup.events {
        Some(_) => Box::new(cluster.directory()),
        None => Box::new(NoNames("no source of names is in use")),
    };
    let mut pipeline = pipeline(setup, pods);
    let mut lines = Vec::new();
    for (time, act) in acts(recording, &died) {
        lines.extend(wait(&mut pipeline, &cluster, time));
        cluster.set_time(time);
        match act {
            Act::Tell(kind, object) => cluster.tell(kind, &object),
            Act::Record(record) => {
                lines.extend(pipeline.record(&record.bytes().into()).iter().map(|line| (time, json(line))));
            }
        }
    }
    let last = lines.last().map_or(BOOTED, |(time, _)| *time).max(recording.timeline[0].seen);
    let end = died.iter().map(|died| died.at).max().unwrap_or(last) + ms(60_000);
    lines.extend(wait(&mut pipeline, &cluster, end));
    assert_eq!(pipeline.losses(ktime_ns(end)).map(|line| json(&line)), None, "a record could not be read");
    let ends = died.iter().map(|died| (died.id.clone(), died.at)).collect();
    Played { lines, requests: cluster.requests(), ends }
}

/// All of it in the order of time. What the watch tells goes before records of the same time.
fn acts(recording: &Recording, died: &[Died<'_>]) -> Vec<(Timestamp, Act)> {
    let mut acts: Vec<(Timestamp, Act)> = Vec::new();
    for change in &recording.timeline {
        let kind = if change.r#type == "DELETED" { "DELETED" } else { "MODIFIED" };
        acts.push((change.seen, Act::Tell(kind, recording.object(change))));
    }
    let mut records: Vec<_> = died.iter().map(|died| (died.at, died.record())).collect();
    records.extend(pause_ended(recording));
    for kill in oom_kills(recording) {
        let main = died.iter().find(|died| kill.is_in(&died.id));
        records.extend(kill.records(recording, main));
    }
    records.sort_by_key(|(_, record)| record.header.ktime_ns);
    for (seq, (time, mut record)) in records.into_iter().enumerate() {
        if matches!(record.body, Body::Exit(_)) {
            // Times of the status have seconds only, and no two ends on a CPU have the same time.
            record.header.ktime_ns += seq as u64;
        }
        record.header.seq = seq as u64;
        record.header.missing |= crashtrace_ebpf::missing::STACK;
        acts.push((time, Act::Record(Box::new(record))));
    }
    acts.sort_by_key(|(time, _)| *time);
    acts
}

/// What comes of the time that passes.
fn wait(pipeline: &mut Pipeline, cluster: &Cluster, until: Timestamp) -> Vec<(Timestamp, Value)> {
    let mut lines = Vec::new();
    while let Some(due) = pipeline.deadline_ns().filter(|due| *due <= ktime_ns(until)) {
        let time = BOOTED + jiff::SignedDuration::from_nanos(due.cast_signed());
        cluster.set_time(time);
        lines.extend(pipeline.tick(due).iter().map(|line| (time, json(line))));
        let next = pipeline.deadline_ns();
        assert!(next.is_none_or(|next| next > due), "the deadline does not move");
    }
    lines
}

fn json(line: &Line) -> Value {
    serde_json::from_slice(&to_json_line(line)).expect("one JSON object")
}

fn pipeline(setup: Setup, pods: Box<dyn PodNames>) -> Pipeline {
    let session = Session {
        node: "node1".into(),
        session: "s".into(),
        kernel: "6.18.0".into(),
        hooks: vec!["fentry:oom_kill_process".into(), "raw_tp:sched_process_exit".into()],
        btf: None,
        names_from: Vec::new(),
        blind: Vec::new(),
        replay: false,
        pin: None,
    };
    let context = Context {
        memory_cgroup_v1: Some(true),
        boot_id: "b".into(),
        page_size_bytes: 4096,
        realtime_offset_ns: i64::try_from(BOOTED.as_nanosecond()).expect("this century"),
        gfp: GfpNames::fallback(),
    };
    let machine = Machine { page_size_bytes: 4096, symbols: None };
    let exits = if setup.all { Exits::All } else { Exits::Failed };
    let filter = Filter { exits, ..Filter::default() };
    let node = Node { pods, ..Node::unseen("a test") };
    Pipeline::new(session, machine, context, filter, node)
}
