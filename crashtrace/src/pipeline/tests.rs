//! The stages in a row: losses are reported, filtered incidents are counted, and each line is one JSON object.

use proptest::prelude::*;
use serde_json::Value;

use crashtrace_ebpf::counter::{self, Counts};
use crashtrace_ebpf::stream;

use super::*;
use crate::gfp::GfpNames;
use crate::report::to_json_line;
use crate::schema::Cause;
use crate::schema::MAX_LINE_BYTES;
use crate::symbols::tests::every_function;
use crashtrace_records::{Body, Record, memcg_kill, no_victim, numbered, process, record};
use strum::VariantArray as _;

mod alloc;
mod exits;
mod late;
mod names;
mod pinned;

const POD: &[u8] = b"/kubepods/burstable/podb2f8a1c4-0d3e-4b6a-9c57-1e2f3a4b5c6d/3f2a9c0d1e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeef";
const HOST: &[u8] = b"/system.slice/backup.service";
const SECOND: u64 = 1_000_000_000;

fn pipeline(filter: Filter) -> Pipeline {
    let session = Session {
        node: "n1".into(),
        session: "s".into(),
        kernel: "6.12.0".into(),
        hooks: vec!["fentry:oom_kill_process".into()],
        btf: None,
        names_from: Vec::new(),
        blind: Vec::new(),
        replay: false,
        pin: None,
    };
    let machine = Machine { page_size_bytes: 4096, symbols: None };
    let context = Context {
        memory_cgroup_v1: Some(false),
        boot_id: "b".into(),
        page_size_bytes: 4096,
        realtime_offset_ns: 0,
        gfp: GfpNames::fallback(),
    };
    Pipeline::new(session, machine, context, filter, Node::unseen("a test"))
}

fn lines(pipeline: &mut Pipeline, records: &[Record]) -> Vec<Value> {
    records
        .iter()
        .flat_map(|record| pipeline.record(&record.bytes().into()))
        .map(|line| json(&line))
        .collect()
}

/// One line, checked for the properties of every line.
fn json(line: &Line) -> Value {
    let bytes = to_json_line(line);
    assert!(bytes.len() <= MAX_LINE_BYTES);
    assert_eq!(
        bytes.iter().position(|&byte| byte == b'\n'),
        Some(bytes.len() - 1),
        "one newline, at the end"
    );
    serde_json::from_slice(&bytes).expect("one JSON object")
}

/// The kernel side's counts: of lost records, and of OOMs that are routine or folded.
fn counts(lost: u64, memcg_oom_routine: u64, no_victim_folded: u64) -> Counts {
    let mut counts = Counts::default();
    counts[counter::RING_FULL as usize] = lost;
    counts[counter::MEMCG_OOM_ROUTINE as usize] = memcg_oom_routine;
    counts[counter::NO_VICTIM_FOLDED as usize] = no_victim_folded;
    counts
}

fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["kind"].as_str().expect("a kind")).collect()
}

#[test]
fn a_session_begins_and_ends_with_a_line_and_numbers_all_of_them() {
    let mut pipeline = pipeline(Filter::default());
    let mut all = vec![json(&pipeline.started(1))];
    let kill = memcg_kill(100, 0, POD, b"java");
    all.extend(lines(&mut pipeline, &numbered([kill, vec![no_victim(9_000, 1, HOST, 0)]].concat())));
    // Its end never comes.
    let mut open = memcg_kill(20_000, 1, POD, b"ruby");
    open[0].header.seq = 1;
    all.extend(lines(&mut pipeline, &open[..1]));
    all.extend(pipeline.stopping(30_000, "signal").iter().map(json));
    assert_eq!(kinds(&all), ["agent_started", "oom_kill", "oom_no_kill", "oom_kill", "agent_stopping"]);
    assert_eq!(
        all.iter().map(|line| line["seq"].as_u64()).collect::<Vec<_>>(),
        (1..=5).map(Some).collect::<Vec<_>>()
    );
    assert_eq!((&all[1]["complete"], &all[3]["complete"]), (&true.into(), &false.into()));
    let stopping = &all[4];
    assert_eq!((&stopping["reason"], &stopping["ktime_ns"]), (&"signal".into(), &30_000.into()));
    assert_eq!(stopping["counters"]["incidents_reported"], 3);
    assert_eq!(stopping["counters"].as_object().expect("counters").len(), Counter::VARIANTS.len());
}

#[test]
fn a_gap_in_one_cpus_numbers_is_a_loss_and_a_change_of_cpu_is_none() {
    let mut pipeline = pipeline(Filter::default());
    let two = [memcg_kill(100, 0, POD, b"a"), memcg_kill(10_000, 1, POD, b"b")].concat();
    let mut records = numbered(two);
    assert_eq!(lines(&mut pipeline, &records).len(), 2);
    assert_eq!((pipeline.stats.lost(), pipeline.losses(1).is_none()), (0, true));
    // Three are missing on CPU 1 and one on CPU 0.
    for (record, (cpu, seq, at)) in records.iter_mut().zip([(1, 6, 1), (0, 4, 2), (0, 5, 3)]) {
        (record.header.cpu, record.header.seq) = (cpu, seq);
        record.header.ktime_ns = 20_000 + at;
        record.header.decision_ns = 20_001;
    }
    let told = lines(&mut pipeline, &records[..3]);
    assert_eq!(kinds(&told), ["oom_kill"]);
    assert_eq!(told[0]["lost"], 4);
    assert_eq!(told[0]["complete"], false, "what was lost may have been its own");
    assert!(pipeline.losses(1).is_none(), "the incident has told it");
}

/// A program that was preempted sends its record after those of others.
#[test]
fn each_stream_of_a_cpu_has_its_own_numbers() {
    let mut pipeline = pipeline(Filter::default());
    let mut records = numbered(memcg_kill(100, 0, POD, b"a"));
    let count = records.len() as u64;
    let mut other = records.clone();
    for (record, seq) in other.iter_mut().zip(0..) {
        (record.header.stream, record.header.seq) = (stream::EXIT, seq);
        record.header.ktime_ns += 10_000;
        record.header.decision_ns += 10_000;
    }
    records.append(&mut other);
    assert_eq!(lines(&mut pipeline, &records).len(), 2);
    assert_eq!(pipeline.stats.lost(), 0);
    // And within a stream a gap is a loss.
    let mut late = numbered(memcg_kill(30_000, 0, POD, b"b"));
    late[0].header.stream = stream::EXIT;
    late[0].header.seq = count + 2;
    lines(&mut pipeline, &late[..1]);
    assert_eq!(pipeline.stats.lost(), 2);
}

#[test]
fn a_record_is_not_lost_twice_where_the_kernel_counts_it_too() {
    let mut pipeline = pipeline(Filter::default());
    let mut end = record(Body::End, 5, 0, 1);
    end.header.seq = 3;
    lines(&mut pipeline, &[end]);
    pipeline.kernel_counts(&counts(3, 7, 8));
    assert_eq!(pipeline.stats.lost(), 3);
    pipeline.kernel_counts(&counts(5, 7, 8));
    assert_eq!(pipeline.stats.lost(), 5, "two of a CPU that has written nothing since");
    pipeline.kernel_counts(&counts(4, 7, 8));
    assert_eq!(
        (pipeline.stats.get(Counter::MemcgOomRoutine), pipeline.stats.get(Counter::NoVictimFolded)),
        (7, 8)
    );
}

#[test]
fn a_loss_that_only_the_kernel_saw_tears_the_open_incident() {
    let mut pipeline = pipeline(Filter::default());
    let records = numbered(memcg_kill(100, 0, POD, b"java"));
    lines(&mut pipeline, &records[..1]);
    pipeline.kernel_counts(&counts(0, 1, 0));
    lines(&mut pipeline, &records[1..2]);
    pipeline.kernel_counts(&counts(1, 1, 0));
    assert_eq!(lines(&mut pipeline, &records[2..])[0]["complete"], false);
}

#[test]
fn a_loss_has_its_own_line_only_if_no_other_line_reported_it_and_lost_adds_up() {
    let mut pipeline = pipeline(Filter::default());
    pipeline.started(1);
    assert!(pipeline.losses(1).is_none());
    pipeline.malformed();
    let first = json(&pipeline.losses(2 * SECOND).expect("a loss"));
    assert_eq!((&first["kind"], &first["lost"], &first["seq"]), (&"loss".into(), &1.into(), &2.into()));
    assert_eq!(first["counters"], serde_json::json!({ "records_malformed": 1 }));
    assert!(pipeline.losses(3).is_none(), "told");
    pipeline.malformed();
    pipeline.kernel_counts(&counts(5, 0, 0));
    let second = json(&pipeline.losses(4).expect("a loss"));
    assert_eq!((&second["lost"], &second["seq"]), (&7.into(), &3.into()));
    assert_eq!(second["counters"], serde_json::json!({ "records_lost": 5, "records_malformed": 1 }));
    pipeline.malformed();
    let stopping = pipeline.stopping(5, "signal");
    assert_eq!(json(&stopping[0])["lost"], 8);
}

#[test]
fn counted_events_without_a_loss_give_no_loss_line() {
    let mut pipeline = pipeline(Filter::default());
    let mut dying = process(7, b"sh", 1);
    dying.task_flags = 4;
    let mark = crashtrace_ebpf::OomVictim { task: dying, marker_tid: 7, pad: 0 };
    let records = numbered(vec![record(Body::End, 5, 0, 1), record(Body::Victim(mark), 6, 0, 3)]);
    assert_eq!(lines(&mut pipeline, &records), [Value::Null; 0]);
    assert!(pipeline.losses(7).is_none());
    assert_eq!(pipeline.stats.get(Counter::EndsWithoutDecision), 1);
    assert_eq!(pipeline.stats.get(Counter::MarkedAlreadyDying), 1);
}

/// A task that is killed while it allocates is marked by `out_of_memory` itself, and no hook on the decision runs: the stack alone tells
/// that it is no kill, by symbols that are read when the hooks are in place.
#[test]
fn symbols_that_come_later_tell_a_mark_of_the_dying_too() {
    let symbols = every_function();
    let address = |function: &str| {
        (0x1001..).step_by(64).find(|at| symbols.name_of(*at) == Some(function)).expect("it has all")
    };
    let mut records = numbered(memcg_kill(100, 0, POD, b"java"));
    records.truncate(2);
    records[0].header.hook = crashtrace_ebpf::hook::RAW_TRACEPOINT;
    records[0].header.missing = crashtrace_ebpf::missing::OOM_CONTROL;
    if let Body::Decision(body) = &mut records[0].body {
        body.stack[..2].copy_from_slice(&[address("mark_oom_victim"), address("out_of_memory")]);
    }
    let told = |symbols: Option<Symbols>| {
        let mut pipeline = pipeline(Filter::default());
        pipeline.symbols(symbols);
        let lines = lines(&mut pipeline, &records).len() + pipeline.tick(3 * SECOND).len();
        (lines, pipeline.stats.get(Counter::MarkedAlreadyDying))
    };
    assert_eq!(told(Some(symbols.clone())), (0, 1));
    assert_eq!(told(None), (1, 0), "oom_kill_process would not show");
}

#[test]
fn an_unreadable_record_counts_once_in_the_counter_of_its_fault() {
    let good = numbered(memcg_kill(100, 0, POD, b"java"));
    for (at, value, counter) in [
        (2, 99, Counter::RecordsOfUnknownKind),
        (0, 99, Counter::RecordsOfAnotherLayout),
        (40, 99, Counter::RecordsMalformed),
    ] {
        let mut pipeline = pipeline(Filter::default());
        let mut bytes = good[0].bytes();
        bytes[at] = value;
        assert!(pipeline.record(&bytes.into()).is_empty());
        assert_eq!((pipeline.stats.get(counter), pipeline.stats.lost()), (1, 1));
        assert!(pipeline.losses(1).is_some());
    }
}

#[test]
fn a_filter_by_cause_drops_the_others_and_counts_them() {
    let records = numbered([memcg_kill(100, 0, POD, b"a"), memcg_kill(10_000, 0, HOST, b"b")].concat());
    for (causes, through) in [
        (vec![], 2),
        (vec![Cause::CgroupOom], 2),
        (vec![Cause::SystemOom], 0),
        (vec![Cause::SystemOom, Cause::CgroupOom], 2),
    ] {
        let mut pipeline = pipeline(Filter { causes, ..Filter::default() });
        assert_eq!(lines(&mut pipeline, &records).len(), through);
        assert_eq!(pipeline.stats.get(Counter::IncidentsFiltered), 2 - through as u64);
        assert_eq!(pipeline.stats.get(Counter::IncidentsReported), through as u64);
    }
}

#[test]
fn a_loss_before_a_filtered_incident_has_a_line() {
    let mut pipeline = pipeline(Filter { causes: vec![Cause::SystemOom], ..Filter::default() });
    let mut records = numbered(memcg_kill(100, 0, POD, b"a"));
    for record in &mut records {
        record.header.seq += 2;
    }
    assert_eq!(lines(&mut pipeline, &records), [Value::Null; 0]);
    assert_eq!(json(&pipeline.losses(1).expect("a loss"))["lost"], 2);
}

#[test]
fn a_filter_by_namespace_passes_unknown_namespaces_and_nothing_of_the_host() {
    let records = numbered([memcg_kill(100, 0, POD, b"a"), memcg_kill(10_000, 0, HOST, b"b")].concat());
    let mut pipeline = pipeline(Filter { namespaces: vec!["shop".into()], ..Filter::default() });
    let through = lines(&mut pipeline, &records);
    assert_eq!(through.len(), 1);
    assert_eq!(through[0]["limit"]["owner"]["pod_uid"], "b2f8a1c4-0d3e-4b6a-9c57-1e2f3a4b5c6d");
    assert_eq!(pipeline.stats.get(Counter::IncidentsFiltered), 1);
}

#[test]
fn time_alone_closes_open_incidents() {
    let mut pipeline = pipeline(Filter::default());
    let records = numbered(memcg_kill(100, 0, POD, b"java"));
    lines(&mut pipeline, &records[..2]);
    let deadline_ns = pipeline.deadline_ns().expect("something is open");
    assert!(pipeline.tick(deadline_ns - 1).is_empty());
    assert_eq!(kinds(&pipeline.tick(deadline_ns).iter().map(json).collect::<Vec<_>>()), ["oom_kill"]);
    assert_eq!(pipeline.deadline_ns(), None);
}

#[test]
fn hostile_names_stay_inside_of_their_line() {
    let harm: [&[u8]; 5] =
        [b"\n{\"kind\":\"x", b"\x1b[2J\x07", b"\"},\\\"", b"\xff\xfe\xc3\x28", b"\r\n\t\x01\x7f"];
    for name in harm {
        let path = [POD, b"/", name].concat();
        let mut pipeline = pipeline(Filter::default());
        let told = lines(&mut pipeline, &numbered(memcg_kill(100, 0, &path, name)));
        assert_eq!(kinds(&told), ["oom_kill"]);
        let text = serde_json::to_value(Text::new(name)).expect("a text");
        assert_eq!(told[0]["victims"][0]["comm"], text);
        let cgroup = told[0]["victims"][0]["cgroup"].as_str().expect("a path");
        assert!(cgroup.ends_with(text.as_str().expect("a text")), "{cgroup}");
    }
}

proptest! {
    #[test]
    fn any_names_and_any_order_of_records_give_lines_that_are_numbered_without_gaps(
        names in prop::collection::vec(prop::collection::vec(1_u8.., 0..250), 1..16),
        comm in prop::collection::vec(any::<u8>(), 0..20),
        order in Just((0..9).collect::<Vec<usize>>()).prop_shuffle(),
        dropped in 0_usize..9,
    ) {
        let path = names.join(&b'/');
        let kills = [100, 10_000, 20_000].map(|at| memcg_kill(at, at as u32 % 3, &path, &comm)).concat();
        let records = numbered(kills);
        let mut pipeline = pipeline(Filter::default());
        let mut all = vec![json(&pipeline.started(1))];
        for index in order.into_iter().skip(dropped) {
            // More levels than a record may have are refused, and counted.
            all.extend(lines(&mut pipeline, &records[index..=index]));
        }
        all.extend(pipeline.losses(9).iter().map(json));
        all.extend(pipeline.stopping(10, "signal").iter().map(json));
        let lost: Vec<_> = all.iter().filter_map(|line| line["lost"].as_u64()).collect();
        prop_assert!(lost.is_sorted() && lost.len() == all.len());
        prop_assert!((1..).zip(&all).all(|(seq, line)| line["seq"] == seq));
    }
}

#[test]
fn a_clock_that_was_set_is_reported_and_later_lines_use_the_new_one() {
    let mut pipeline = pipeline(Filter::default());
    let before = lines(&mut pipeline, &memcg_kill(1_000_000_000, 0, POD, b"java"));
    assert_eq!(before[0]["time"], "1970-01-01T00:00:01.000000000Z");
    let changed = json(&pipeline.clock(2_000_000_000, 86_400_000_000_000));
    assert_eq!(changed["kind"], "clock_changed");
    assert_eq!(changed["time_before"], "1970-01-01T00:00:02.000000000Z");
    assert_eq!(changed["time"], "1970-01-02T00:00:02.000000000Z");
    assert_eq!(
        (&changed["ktime_ns"], &changed["step_ns"]),
        (&2_000_000_000_u64.into(), &86_400_000_000_000_u64.into())
    );
    let after = lines(&mut pipeline, &memcg_kill(3_000_000_000, 1, POD, b"java"));
    assert_eq!(after[0]["time"], "1970-01-02T00:00:03.000000000Z");
    assert_eq!(after[0]["ktime_ns"], 3_000_000_000_u64);
    // And back.
    assert_eq!(json(&pipeline.clock(4_000_000_000, 0))["step_ns"], -86_400_000_000_000_i64);
    assert_eq!(
        json(&pipeline.stopping(5_000_000_000, "signal")[0])["time"],
        "1970-01-01T00:00:05.000000000Z"
    );
}

/// The hooks are on for a moment before the time of the start is taken.
#[test]
fn records_before_the_start_are_skipped_and_their_incidents_are_incomplete() {
    let mut pipeline = pipeline(Filter::default());
    let mut records = memcg_kill(1_000, 0, POD, b"java");
    let later = memcg_kill(100_000, 0, POD, b"java");
    let first = lines(&mut pipeline, &records);
    assert_eq!(kinds(&first), ["oom_kill"], "without a start all is told");
    let mut pipeline = self::pipeline(Filter::default());
    // The decision is older, its mark and its end are not.
    pipeline.started(records[1].header.ktime_ns);
    records.extend(later);
    let told = lines(&mut pipeline, &numbered(records.clone()));
    assert_eq!(kinds(&told), ["oom_kill", "oom_kill"]);
    assert_eq!((&told[0]["complete"], &told[1]["complete"]), (&false.into(), &true.into()));
    let mut pipeline = self::pipeline(Filter::default());
    pipeline.started(99_999);
    let told = lines(&mut pipeline, &numbered(records));
    assert_eq!(
        (kinds(&told), &told[0]["complete"], &told[0]["lost"]),
        (vec!["oom_kill"], &true.into(), &0.into())
    );
}
