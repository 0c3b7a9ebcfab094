//! `cargo bench -p crashtrace --bench pods`: the cost of the pod index, beside other ways.
//!
//! 500 pods, the recorded ones again and again. All ways are timed in turn, many times, and the median is shown: other work on
//! the machine slows all of them, so that the ratio says more than the nanoseconds.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use crashtrace::pods::index::Index;
use crashtrace::pods::object::{PodObject, pod};
use crashtrace::pods::pod::{Container, Pod};

const LIST: &str = include_str!("../fixtures/kubernetes/api/pods-list.json");
const PODS: usize = 500;
const ROUNDS: usize = 50;
/// Each way looks up all ids so many times a round; the linear one a part of them.
const TURNS: usize = 20;
const LINEAR_PART: usize = 20;

fn main() {
    let objects = recorded();
    let pods: Vec<_> = (0..PODS).map(|number| numbered(&objects, number)).collect();
    let now = Instant::now();
    let mut index = Index::default();
    index.replace(pods.clone(), now);
    let shared: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    let ids: Vec<_> = pods.iter().flat_map(|pod| &pod.containers).filter_map(|it| it.id.clone()).collect();
    let map: HashMap<String, (Arc<Pod>, usize)> = shared
        .iter()
        .flat_map(|pod| pod.containers.iter().enumerate().map(move |(at, it)| (pod, at, it)))
        .filter_map(|(pod, at, it)| Some((it.id.as_deref()?.to_owned(), (Arc::clone(pod), at))))
        .collect();
    let part: Vec<_> = ids.iter().step_by(LINEAR_PART).collect();

    let mut rows: [(&str, Vec<f64>); 6] = [
        ("find a container in the index", Vec::new()),
        ("... in a HashMap by the id's text", Vec::new()),
        ("... by looking at each pod in turn", Vec::new()),
        ("find a pod in the index", Vec::new()),
        ("take in an event, with a copy of the pod", Vec::new()),
        ("read a pod object from JSON", Vec::new()),
    ];
    for _ in 0..ROUNDS {
        let round = [
            ns_each(&ids, TURNS, |id| index.find_container(id)),
            ns_each(&ids, TURNS, |id| map.get(&**id).cloned()),
            ns_each(&part, 1, |id| linear(&shared, id)),
            ns_each(&pods, TURNS, |pod| index.find_pod(&pod.uid)),
            ns_each(&pods, 1, |pod| index.apply(pod.clone(), now)),
            ns_each(&objects, 1, |object| read(object)),
        ];
        rows.iter_mut().zip(round).for_each(|((_, times), ns)| times.push(ns));
    }

    println!("{} pods, {} containers, about {} KiB", index.pods(), ids.len(), index.bytes() >> 10);
    let rows = rows.map(|(what, times)| (what, median(times)));
    for (what, ns) in rows {
        println!("  {what:<42} {ns:>9.0} ns {:>8.1} x", ns / rows[0].1);
    }
}

/// How long one of these takes.
fn ns_each<T, R>(items: &[T], turns: usize, mut work: impl FnMut(&T) -> R) -> f64 {
    let start = Instant::now();
    for _ in 0..turns {
        for item in items {
            drop(black_box(work(black_box(item))));
        }
    }
    start.elapsed().as_nanos() as f64 / (turns * items.len()) as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn linear(pods: &[Arc<Pod>], id: &str) -> Option<(Arc<Pod>, usize)> {
    pods.iter().find_map(|pod| {
        let at = pod.containers.iter().position(|it| it.id.as_deref() == Some(id))?;
        Some((Arc::clone(pod), at))
    })
}

/// The recorded objects, as text.
fn recorded() -> Vec<String> {
    let list: serde_json::Value = serde_json::from_str(LIST).expect("JSON");
    list["items"].as_array().expect("a list").iter().map(ToString::to_string).collect()
}

fn read(object: &str) -> Pod {
    let object: PodObject = serde_json::from_str(object).expect("an object");
    pod(&object).expect("a pod")
}

/// A recorded pod with another name and other ids.
fn numbered(objects: &[String], number: usize) -> Pod {
    let recorded = read(&objects[number % objects.len()]);
    // Ids look random, as a runtime's do.
    let word = |seed: u64, word: u32| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(13 * word);
    let id = |at: usize| {
        let seed = (number * 64 + at + 1) as u64;
        format!("{:016x}{:016x}{:016x}{:016x}", word(seed, 1), word(seed, 2), word(seed, 3), word(seed, 4))
    };
    let containers = recorded.containers.iter().enumerate();
    Pod {
        uid: format!("{number:08x}-0000-4000-8000-000000000000").into(),
        name: format!("{}-{number:06}", recorded.name).into(),
        containers: containers.map(|(at, it)| Container { id: Some(id(at).into()), ..it.clone() }).collect(),
        ..recorded
    }
}
