//! The memory that the pod index holds, as the allocator has it. One test alone in its program, so that no other test allocates.

use std::time::{Duration, Instant};

use crashtrace::names::MemoryBounds;
use crashtrace::pods::index::{Index, MAX_BYTES, MAX_EARLIER_RUNS};
use crashtrace::pods::life::{self, Ended, MAX_MESSAGE_BYTES, MAX_WORD_BYTES};
use crashtrace::pods::object::{MAX_CONTAINERS, MAX_IMAGE_BYTES, MAX_NAME_BYTES, PodObject, pod};
use crashtrace::pods::pod::{Container, MemoryMounts, Pod};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const LIST: &str = include_str!("fixtures/kubernetes/api/pods-list.json");
const PODS: usize = 500;
const EVENTS: usize = 100_000;

/// The recorded pods again and again, each with other names and ids.
struct Node {
    recorded: Vec<Pod>,
    runs: Vec<usize>,
}

impl Node {
    fn new() -> Self {
        let list: serde_json::Value = serde_json::from_str(LIST).expect("JSON");
        let items = list["items"].as_array().expect("a list").iter();
        let recorded = items.map(|item| {
            let object: PodObject = serde_json::from_str(&item.to_string()).expect("an object");
            pod(&object).expect("a pod")
        });
        Self { recorded: recorded.collect(), runs: vec![0; PODS] }
    }

    /// The pod with this number as it is in its present run.
    fn pod(&self, number: usize) -> Pod {
        let recorded = &self.recorded[number % self.recorded.len()];
        let run = self.runs[number];
        let container = |(at, it): (usize, &Container)| {
            let id = |run: usize| Some(format!("{number:016x}{at:016x}{run:032x}").into());
            Container {
                memory_mounts: MemoryMounts::default(),
                id: id(run),
                last_id: run.checked_sub(1).and_then(id),
                restart_count: u32::try_from(run).ok(),
                life: life::OfContainer {
                    last_ended: run.checked_sub(1).map(|run| {
                        let (reason, at) = (life::word("Error"), i64::try_from(run).ok());
                        Box::new(Ended { reason, exit_code: Some(1), finished_at_s: at })
                    }),
                    ..it.life.clone()
                },
                ..it.clone()
            }
        };
        Pod {
            shares_pids: false,
            memory_volumes: Box::default(),
            uid: format!("{number:08x}-0000-4000-8000-000000000000").into(),
            config_hash: recorded.config_hash.as_ref().map(|_| format!("{number:032x}").into()),
            name: format!("{}-{number:06}", recorded.name).into(),
            containers: recorded.containers.iter().enumerate().map(container).collect(),
            ..recorded.clone()
        }
    }
}

/// Where keys come and go, a table grows once more than their number needs, at a moment that the keys of its hashes decide:
/// both together by less than a third of all. A pod that leaked, or an id of each event, would come to far more.
fn assert_flat(what: &str, early: usize, late: usize) {
    assert!(late < early + early / 3, "{what}: {early}, then {late} bytes");
}

/// What the test harness's own thread may allocate meanwhile: it notes the running test after it has started it.
const HARNESS_BYTES: usize = 1024;

#[test]
fn a_hundred_thousand_events_of_five_hundred_pods_leave_memory_as_it_was() {
    let mut node = Node::new();
    let start = Instant::now();
    let held = |before: usize| MEMORY.current_usage() - before;
    let before = MEMORY.current_usage();
    let mut index = Index::default();
    for number in 0..PODS {
        assert!(index.apply(node.pod(number), start));
    }
    let full = held(before);
    assert!(full < 2 << 20, "{full} bytes for {PODS} pods");
    // The index's own count is close to that.
    let said = index.bytes();
    assert!((full / 2..full * 2).contains(&said), "it says {said} and holds {full}");

    // The same objects again, as conditions change.
    for event in 0..EVENTS / 2 {
        assert!(index.apply(node.pod(event % PODS), start));
    }
    assert_flat("the same objects again", full, held(before));
    assert_eq!(index.bytes(), said);

    // Every event is another run: earlier ones are kept, up to a bound.
    let mut most = 0;
    for event in 0..EVENTS / 2 {
        let number = event % PODS;
        node.runs[number] += 1;
        assert!(index.apply(node.pod(number), start + Duration::from_millis(event as u64)));
        if event == EVENTS / 4 {
            most = held(before);
        }
    }
    assert_flat("other runs", most, held(before));
    println!("{PODS} pods: {full} bytes, with all earlier runs {most}");
    assert!(most < 4 << 20, "{most} bytes with {MAX_EARLIER_RUNS} earlier runs of each container");
    assert_eq!((index.pods(), index.gone(), index.refused()), (PODS, 0, 0));

    // Other pods in place of these, each gone in its turn, minute by minute.
    let mut rounds = Vec::new();
    for minute in 0..60_u64 {
        let now = start + Duration::from_secs(3600 + 60 * minute);
        index.begin_replace();
        for number in 0..PODS {
            let mut other = node.pod(number);
            other.uid = format!("{minute:08x}-{number:027x}").into();
            assert!(index.apply(other, now));
        }
        index.end_replace(now);
        rounds.push(held(before));
    }
    assert_eq!((index.pods(), index.refused()), (PODS, 0));
    assert_flat("other pods", rounds[19], rounds[59]);

    drop(index);
    drop(rounds);
    assert!(MEMORY.current_usage().abs_diff(before) < HARNESS_BYTES, "all of it is freed");
    the_largest_pods_are_refused_before_the_bound_is_passed();
}

/// Those that meet all bounds of one pod.
fn the_largest_pods_are_refused_before_the_bound_is_passed() {
    let now = Instant::now();
    let mut index = Index::default();
    let before = MEMORY.current_usage();
    for number in 0.. {
        let text =
            |what: &str, length: usize| format!("{what}{number:0>width$}", width = length - what.len());
        let ended = || {
            let reason = Some(text("", MAX_WORD_BYTES).into());
            Some(Box::new(Ended { reason, exit_code: Some(1), finished_at_s: Some(1) }))
        };
        let container = |at: usize| Container {
            memory_mounts: MemoryMounts::default(),
            name: text(&format!("c{at}-"), MAX_NAME_BYTES).into(),
            kind: crashtrace::pods::pod::ContainerKind::App,
            id: Some(format!("{number:032x}{at:032x}").into()),
            last_id: Some(format!("{number:032x}f{at:031x}").into()),
            image: Some(text(&format!("i{at}-"), MAX_IMAGE_BYTES).into()),
            restart_count: Some(1),
            memory: MemoryBounds::default(),
            life: life::OfContainer { ended: ended(), last_ended: ended(), ..life::OfContainer::default() },
        };
        let name = || text("", MAX_NAME_BYTES).into();
        let life =
            life::OfPod { message: Some(text("", MAX_MESSAGE_BYTES).into()), ..life::OfPod::default() };
        let pod = Pod {
            shares_pids: false,
            memory_volumes: Box::default(),
            uid: name(),
            config_hash: Some(name()),
            namespace: name(),
            name: name(),
            workload: None,
            qos: None,
            life,
            memory: MemoryBounds::default(),
            containers: (0..MAX_CONTAINERS).map(container).collect(),
        };
        if !index.apply(pod, now) {
            break;
        }
    }
    let held = MEMORY.current_usage() - before;
    println!("{} of the largest pods: {held} bytes, and it says {}", index.pods(), index.bytes());
    assert!(index.pods() > 100 && held <= MAX_BYTES, "{} pods: {held} bytes", index.pods());
}
