//! The most memory that the runtime's lists, recordings and waiting incidents take, as the allocator counts it. The tests of this
//! program take turns, so that no other test allocates.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crashtrace::decode::Machine;
use crashtrace::filter::Filter;
use crashtrace::gfp::GfpNames;
use crashtrace::names::{Answer, PodNames, Who};
use crashtrace::node::Node;
use crashtrace::pipeline::{Pipeline, Session};
use crashtrace::pods::cri::{self, Listing};
use crashtrace::recording::{FORMAT, Reader};
use crashtrace::report::Context;
use peak_alloc::PeakAlloc;

use crashtrace_records::{Record, memcg_kill, numbered};
use crashtrace_test_support::large_runtime::{Body, Runtime, container, empties, sandbox};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

static TURN: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_mins(2);

/// The list of a runtime with these answers, why it is not whole, and the peak of its memory.
fn listed(sandboxes: Body, containers: Body) -> (Option<Listing>, Option<String>, usize) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio.block_on(async {
        let runtime = Runtime::start(sandboxes, containers);
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let (listing, problem) = cri::list_all(std::slice::from_ref(&runtime.socket), PATIENCE).await;
        (listing, problem.map(|problem| problem.to_string()), MEMORY.peak_usage() - before)
    })
}

/// Kubernetes bounds a label, not their number: a pod may have 1.2 MB of them, and kubelet hands all to the runtime.
#[test]
fn labels_that_are_not_read_take_no_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let pods = 8;
    let sandboxes = Body((0..pods).map(|number| (sandbox(number, 600_000), 1)).collect());
    let containers = Body((0..pods).map(|number| (container(number), 1)).collect());
    let (listing, problem, peak) = listed(sandboxes, containers);
    eprintln!("labels: {peak} bytes");
    let listing = listing.expect("a list");
    assert_eq!((listing.sandboxes.len(), listing.containers.len(), problem), (pods, pods, None));
    assert!(peak < 4 * MIB, "{peak} bytes");
}

#[test]
fn empty_items_take_no_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (listing, problem, peak) = listed(empties(16 * MIB - 64), empties(16 * MIB - 64));
    eprintln!("empties: {peak} bytes");
    let listing = listing.expect("a list");
    assert_eq!((listing.sandboxes.len(), listing.containers.len(), problem), (0, 0, None));
    assert!(peak < 4 * MIB, "{peak} bytes");
}

/// A runtime with more than there is room for: the kept items are bounded, and the rest is counted and reported.
#[test]
fn a_runtime_that_lists_without_end_is_cut() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let one = container(7);
    let count = 16 * MIB / one.len();
    let (listing, problem, peak) = listed(empties(MIB), Body(vec![(one, count)]));
    let listing = listing.expect("a list");
    let left_out = count - listing.containers.len();
    eprintln!("no end: {peak} bytes for {} containers, {left_out} left out", listing.containers.len());
    assert_eq!(listing.refused, left_out as u64);
    let problem = problem.expect("it is not whole");
    assert!(
        problem.contains(&format!("{left_out} of its sandboxes and containers are left out")),
        "{problem}"
    );
    assert!(peak < 12 * MIB, "{peak} bytes");
}

/// As any JSON a megabyte of numbers takes sixteen.
#[test]
fn a_preamble_with_more_than_belongs_there_takes_no_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let zeros = "0,".repeat(500_000);
    let preamble = format!("{{\"format\":\"{FORMAT}\",\"other\":[{zeros}0]}}\n");
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let opened = Reader::open(preamble.as_bytes());
    let peak = MEMORY.peak_usage() - before;
    eprintln!("preamble: {peak} bytes");
    assert!(opened.is_err(), "it lacks all else");
    assert!(peak < 4 * MIB, "{peak} bytes");
}

/// A source that does not answer.
#[derive(Debug)]
struct Away;

impl PodNames for Away {
    fn find(&mut self, _: Who<'_>) -> Answer {
        Answer {
            missing: Some("the container runtime has not answered yet".into()),
            soon: true,
            ..Answer::default()
        }
    }
}

fn pipeline() -> Pipeline {
    let session = Session {
        node: "n".into(),
        session: "s".into(),
        kernel: "6.12.0".into(),
        hooks: vec!["fentry:oom_kill_process".into()],
        btf: None,
        names_from: Vec::new(),
        blind: Vec::new(),
        replay: false,
        pin: None,
    };
    let context = Context {
        memory_cgroup_v1: Some(false),
        boot_id: "b".into(),
        page_size_bytes: 4096,
        realtime_offset_ns: 0,
        gfp: GfpNames::fallback(),
    };
    let machine = Machine { page_size_bytes: 4096, symbols: None };
    let node = Node { pods: Box::new(Away), ..Node::unseen("a test") };
    Pipeline::new(session, machine, context, Filter::default(), node)
}

/// Kills of as many pods, with as many victims each, a tenth of a second apart.
fn kills(pods: u64, victims: usize) -> Vec<Record> {
    let kill = |number: u64| {
        let path = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podb2f8a1c4_0d3e_4b6a_9c57_{number:012x}.slice/\
             cri-containerd-{number:064x}.scope"
        );
        let mut records = memcg_kill((number + 1) * 100_000_000, 0, path.as_bytes(), b"java");
        // Each at its own limit, so that they do not fold.
        let levels = records.iter_mut().flat_map(|record| &mut record.sections);
        for (level, _) in levels.flat_map(|list| list.levels.iter_mut().take(2)) {
            level.cgroup_id += 1000 * (number + 1);
        }
        for more in 1..victims {
            let mut mark = records[1].clone();
            if let crashtrace_records::Body::Victim(victim) = &mut mark.body {
                victim.task.tgid += more as u32;
            }
            records.insert(1, mark);
        }
        records
    };
    numbered((0..pods).flat_map(kill).collect())
}

/// While the runtime does not answer, incidents wait for names, and no more of them than there is room for.
#[test]
fn incidents_that_wait_for_names_take_no_more_than_their_bound() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for (pods, victims) in [(1500, 1), (40, 200)] {
        let records: Vec<_> = kills(pods, victims).iter().map(|record| record.bytes().into()).collect();
        let mut stages = pipeline();
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let lines: usize = records.iter().map(|record| stages.record(record).len()).sum();
        let (held, peak) = (MEMORY.current_usage() - before, MEMORY.peak_usage() - before);
        eprintln!("{pods} kills of {victims}: {held} bytes, peak {peak}");
        assert_eq!(lines as u64, pods);
        assert!(held > 3 * MIB / 2, "they wait: {held} bytes");
        assert!(held < 7 * MIB && peak < 8 * MIB, "{held} bytes, peak {peak}");
    }
}
