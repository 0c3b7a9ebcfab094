//! The decoder against records that [`crashtrace_records`] writes: every field, every bit, every kind of fault.

use bytes::Bytes;
use crashtrace_ebpf as abi;
use crashtrace_ebpf::{
    Header, Level, OomDecision, OomNoVictim, OomVictim, STACK_FRAMES, Section, hook, section,
};

use super::{DecodeError, Machine, decode};
use crate::event::{Event, Level as EventLevel, Limit, Lineage, Name, OomDecision as Decided, Task};
use crate::symbols::Symbols;
use crashtrace_records::{
    Body, Cgroups, Memory, Record, alloc_failure, cgroups, container_exit, holders, memcg_kill, memcg_memory,
    no_victim, node_memory, oom_zones, process, record, wait,
};

mod alloc;
mod broken;
mod exit;
mod holders;
mod layout;
mod lineage;
mod memory;
mod missing;
mod packed;
mod possible;
mod zones;

const PAGE: u64 = 4096;
/// In `out_of_memory`, by [`machine`]'s symbols.
const OUT_OF_MEMORY: u64 = 0xffff_ffff_8100_0010;

fn machine() -> Machine {
    let kallsyms: &[u8] = b"ffffffff81000000 T out_of_memory\nffffffff81001000 T elsewhere\n\
        ffffffff81002000 T __vmalloc_node_range_noprof\nffffffff81003000 T elsewhere\n";
    Machine { page_size_bytes: PAGE, symbols: Some(Symbols::parse(kallsyms)) }
}

fn read(record: &Record) -> Result<Event, DecodeError> {
    decode(&Bytes::from(record.bytes()), &machine())
}

fn decision_of(record: &Record) -> Decided {
    match read(record) {
        Ok(Event::OomDecision(decision)) => *decision,
        other => panic!("no decision: {other:?}"),
    }
}

/// One record of each kind, with every section that it can have.
fn each_kind() -> Vec<Record> {
    let mut records = memcg_kill(1_000, 3, b"/kubepods/pod1/c1", b"java");
    let memcg = |id| Memory::Memcg(Box::new(memcg_memory(id, 8192)));
    records[0].memory = vec![memcg(7), memcg(8)];
    let mut none = no_victim(5_000, 2, b"/kubepods/pod1", 9);
    none.memory.push(memcg(7));
    none.sections.push(cgroups(section::TRIGGER, b"/system.slice/x.service", 64));
    records.push(none);
    records.push(wait(6_000, 2, b"/kubepods/pod1", 2));
    let removed = abi::RemovedCgroups { small: 2, small_pages: 300 };
    records.push(Record { memory: vec![Memory::Removed(removed)], ..holders(1_000, 3) });
    let memory = vec![Memory::Node(Box::new(node_memory(1 << 20)))];
    records.push(Record { memory, ..oom_zones(1_000, 3) });
    records.push(alloc_failure(7_000, 1, b"/kubepods/pod1/c1", 5));
    records.push(container_exit(8_000, 1, b"/kubepods/pod1/c1", b"java", 15));
    records
}

fn plain_decision() -> OomDecision {
    let Body::Decision(body) = memcg_kill(1_000, 3, b"/a", b"java").swap_remove(0).body else {
        unreachable!()
    };
    *body
}

fn with_task(task: abi::Task) -> Task {
    let body = OomVictim { task, marker_tid: 9, pad: 0 };
    match read(&record(Body::Victim(body), 1, 0, hook::RAW_TRACEPOINT)) {
        Ok(Event::OomVictim(victim)) => victim.task,
        other => panic!("no victim: {other:?}"),
    }
}

#[test]
fn an_end_has_only_its_stamp() {
    let mut end = record(Body::End, 7_000, 5, hook::KPROBE);
    end.header.seq = 12;
    let stamp = |decision_ns| crate::event::Stamp {
        ktime_ns: 7_000,
        cpu: 5,
        seq: 12,
        hook: crate::event::Hook::Kprobe,
        decision_ns,
    };
    assert_eq!(read(&end), Ok(Event::OomDecisionEnd(stamp(None))), "0 is no decision");
    end.header.decision_ns = 6_000;
    assert_eq!(read(&end), Ok(Event::OomDecisionEnd(stamp(Some(6_000)))));
    let bytes = Bytes::from(end.bytes());
    assert_eq!((super::position(&bytes), super::ktime_ns(&bytes)), (Ok((5, 0, 12)), Ok(7_000)));
}

#[test]
fn counters_that_are_below_zero_for_a_moment_are_zero() {
    let task = abi::Task {
        anon_pages: -1,
        file_pages: i64::MIN,
        shmem_pages: 2,
        swap_pages: -7,
        ..process(1, b"a", 0)
    };
    let rss = with_task(task).rss.expect("sizes");
    assert_eq!((rss.anon_bytes, rss.file_bytes, rss.shmem_bytes, rss.swap_bytes), (0, 0, 2 * PAGE, 0));
}

#[test]
fn sizes_saturate_at_the_largest_number() {
    let mut record = memcg_kill(1, 0, b"/a", b"a").swap_remove(0);
    let body = OomDecision { points: i64::MIN, totalpages: u64::MAX, ..plain_decision() };
    record.body = Body::Decision(Box::new(body));
    let control = decision_of(&record).control.expect("a request");
    assert_eq!((control.points_bytes, control.total_bytes), (i64::MIN, u64::MAX));
}

#[test]
fn a_name_ends_at_its_nul_or_with_its_field() {
    let named = |comm: &[u8]| with_task(process(1, comm, 0)).comm;
    assert_eq!(named(b"java\0rest"), Some(Name::from("java")));
    assert_eq!(named(b""), Some(Name::from("")));
    assert_eq!(named(b"0123456789abcdef"), Some(Name::from("0123456789abcdef")));
    assert_eq!(named(b"\xff\x1b\n\"\\"), Some(Name(b"\xff\x1b\n\"\\".to_vec())));
}

#[test]
fn only_a_process_that_had_begun_to_exit_is_exiting() {
    for (task_flags, signal_flags, threads, dumps_core, exiting) in [
        (0, 0, 1, 0, false),
        (4, 0, 1, 0, true),
        (0, 4, 1, 0, true),
        (4, 4, 1, 0, true),
        (!4, !12, 1, 0, false),
        // The first thread has exited, and another one goes on.
        (4, 0, 2, 0, false),
        (4, 4, 2, 0, true),
        // It writes its core, which newer kernels show by a pointer and older ones by a flag.
        (0, 4, 1, 1, false),
        (0, 12, 1, 0, false),
    ] {
        let task = abi::Task { task_flags, signal_flags, threads, dumps_core, ..process(1, b"a", 0) };
        assert_eq!(with_task(task).exiting, Some(exiting), "{task_flags:#x} {signal_flags:#x} {threads}");
    }
}

#[test]
fn every_constraint_flag_and_order_is_told_apart() {
    use crate::event::Constraint::{Cpuset, Memcg, Mempolicy, None as Nowhere, Other};
    let of = |body: OomDecision| {
        let mut record = memcg_kill(1, 0, b"/a", b"a").swap_remove(0);
        record.body = Body::Decision(Box::new(body));
        decision_of(&record).control.expect("a request")
    };
    for (value, constraint) in
        [(0, Nowhere), (1, Cpuset), (2, Mempolicy), (3, Memcg), (4, Other(4)), (u32::MAX, Other(u32::MAX))]
    {
        assert_eq!(of(OomDecision { constraint: value, ..plain_decision() }).constraint, constraint);
    }
    for (flags, memcg, zonelist) in [(0, false, false), (1, true, false), (2, false, true), (4, false, false)]
    {
        let control = of(OomDecision { flags, ..plain_decision() });
        assert_eq!((control.memcg, control.zonelist), (memcg, zonelist), "{flags}");
    }
    for (value, order) in [(0, Some(0)), (9, Some(9)), (-1, None)] {
        assert_eq!(of(OomDecision { order: value, ..plain_decision() }).order, order);
    }
}

#[test]
fn a_stack_has_the_names_that_the_machine_can_give() {
    let mut stack = [0; STACK_FRAMES];
    (stack[0], stack[1], stack[23]) = (1, OUT_OF_MEMORY, OUT_OF_MEMORY + 8);
    let mut record = memcg_kill(1, 0, b"/a", b"a").swap_remove(0);
    record.body = Body::Decision(Box::new(OomDecision { stack, ..plain_decision() }));
    let names = |machine: &Machine| match decode(&Bytes::from(record.bytes()), machine) {
        Ok(Event::OomDecision(decision)) => decision.stack.map(|stack| stack.0),
        other => panic!("no decision: {other:?}"),
    };
    assert_eq!(names(&machine()), Some(vec!["out_of_memory".to_owned(); 2]));
    assert_eq!(
        names(&Machine { symbols: None, ..machine() }),
        None,
        "nothing to name it by is not an empty stack"
    );
}
