//! Names of pods: in the line if they are known, in another revision if they come within seconds.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::names::MemoryBounds;
use crate::names::{Answer, PodNames, Who};
use crate::node::Node;
use crate::pipeline::revisions::{MOST, WAIT_NS};
use crate::schema::NameSource;

const LIMIT_BYTES: u64 = 32 << 20;

/// Gives the answer that the test has set.
#[derive(Clone, Debug)]
struct Told(Rc<RefCell<Answer>>);

impl PodNames for Told {
    fn find(&mut self, who: Who<'_>) -> Answer {
        assert_eq!(who.pod_uid, "b2f8a1c4-0d3e-4b6a-9c57-1e2f3a4b5c6d");
        let answer = self.0.borrow().clone();
        let names = answer.names.map(|names| match who.container_id {
            Some(_) => names,
            None => names.without_container(),
        });
        Answer { names, ..answer }
    }
}

fn names(memory: MemoryBounds) -> Answer {
    Answer { names: Some(crate::pods::names::tests::shop(memory)), ..Answer::default() }
}

fn unknown(soon: bool) -> Answer {
    Answer { names: None, missing: Some("the API server is not heard".into()), soon, later: false }
}

fn spec(limit_bytes: u64) -> MemoryBounds {
    MemoryBounds { limit_bytes: Some(limit_bytes), ..MemoryBounds::default() }
}

/// A pipeline with a source of names, and the answer of that source.
fn before(answer: Answer, filter: Filter) -> (Pipeline, Rc<RefCell<Answer>>) {
    let told = Rc::new(RefCell::new(answer));
    let mut pipeline = pipeline(filter);
    pipeline.node = Node { pods: Box::new(Told(Rc::clone(&told))), ..Node::unseen("a test") };
    (pipeline, told)
}

fn kill(pipeline: &mut Pipeline, ktime_ns: u64) -> Vec<Value> {
    let mut records = numbered(memcg_kill(ktime_ns, 0, POD, b"java"));
    let before = pipeline.next.get(&(0, 0)).copied().unwrap_or_default();
    for record in &mut records {
        record.header.seq += before;
    }
    lines(pipeline, &records)
}

fn tick(pipeline: &mut Pipeline, now_ns: u64) -> Vec<Value> {
    pipeline.tick(now_ns).iter().map(json).collect()
}

#[test]
fn names_that_are_known_are_in_the_line() {
    let (mut pipeline, _) = before(names(spec(LIMIT_BYTES)), Filter::default());
    let [line] = kill(&mut pipeline, SECOND).try_into().expect("one line");
    for party in ["limit", "trigger"] {
        let owner = &line[party]["owner"];
        assert_eq!((&owner["namespace"], &owner["pod"]), (&"shop".into(), &"api-7f9c".into()), "{party}");
        assert_eq!(
            owner["kubernetes"]["workload"],
            serde_json::json!({ "kind": "Deployment", "name": "api", "inferred": true })
        );
    }
    let owner = &line["victims"][0]["owner"];
    assert_eq!(owner["container"], "api");
    assert_eq!(owner["kubernetes"]["restart_count"], 3);
    assert_eq!(owner["kubernetes"]["image"], "registry/api:1");
    assert_eq!(owner["kubernetes"]["memory_limit_bytes"], LIMIT_BYTES);
    assert_eq!(owner["kubernetes"]["source"], "kube");
    let summary = line["verdict"]["summary"].as_str().unwrap_or_default();
    assert!(summary.starts_with("container api of pod shop/api-7f9c hit its own limit"), "{summary}");
    let remedy = line["verdict"]["remedy"].as_str().unwrap_or_default();
    assert!(
        remedy.starts_with(
            "Raise the container's resources.limits.memory (container api in Deployment shop/api) above"
        ),
        "{remedy}"
    );
    assert_eq!(line["unresolved"].as_array().map(|all| all.iter().any(names_a_pod)), Some(false));
    assert_eq!(tick(&mut pipeline, 20 * SECOND), [Value::Null; 0], "nothing is left to say");
}

fn names_a_pod(unresolved: &Value) -> bool {
    unresolved["field"].as_str().is_some_and(|field| field.ends_with(".owner.pod"))
}

#[test]
fn a_name_that_comes_later_makes_one_more_revision() {
    let (mut pipeline, told) = before(unknown(true), Filter::default());
    let [first] = kill(&mut pipeline, SECOND).try_into().expect("one line at once");
    assert_eq!((&first["revision"], &first["victims"][0]["owner"]["pod"]), (&1.into(), &Value::Null));
    let why: Vec<_> =
        first["unresolved"].as_array().into_iter().flatten().filter(|it| names_a_pod(it)).collect();
    assert_eq!(why.len(), 3, "trigger, victim and limit: {why:?}");
    assert!(why.iter().all(|it| it["reason"] == "the API server is not heard"));

    assert_eq!(tick(&mut pipeline, 2 * SECOND), [Value::Null; 0]);
    *told.borrow_mut() = names(spec(LIMIT_BYTES));
    let due = pipeline.deadline_ns().expect("it asks again");
    let [second] = tick(&mut pipeline, due).try_into().expect("one more line");
    assert_eq!((&second["revision"], &second["id"]), (&2.into(), &first["id"]));
    assert_eq!(second["victims"][0]["owner"]["pod"], "api-7f9c");
    assert_eq!(tick(&mut pipeline, 20 * SECOND), [Value::Null; 0], "and no other");
    assert_eq!(pipeline.deadline_ns(), None);
}

/// A runtime that does not answer for a minute, an API server that is upgraded.
#[test]
fn a_name_that_comes_minutes_later_makes_one_more_revision() {
    for away in [unknown(true), Answer { later: true, ..unknown(false) }] {
        let (mut pipeline, told) = before(away, Filter::default());
        let [first] = kill(&mut pipeline, SECOND).try_into().expect("one line at once");
        for at in 2..240 {
            assert_eq!(tick(&mut pipeline, at * SECOND), [Value::Null; 0]);
        }
        *told.borrow_mut() = names(spec(LIMIT_BYTES));
        let due_ns = pipeline.deadline_ns().expect("it asks again");
        assert!((239 * SECOND..242 * SECOND).contains(&due_ns), "{due_ns}");
        let [second] = tick(&mut pipeline, due_ns).try_into().expect("one more line");
        assert_eq!((&second["revision"], &second["id"]), (&2.into(), &first["id"]));
        assert_eq!(second["victims"][0]["owner"]["pod"], "api-7f9c");
        assert_eq!(pipeline.deadline_ns(), None);
    }
}

#[test]
fn a_name_that_does_not_come_is_not_waited_for_longer_than_minutes() {
    let (mut pipeline, told) = before(unknown(true), Filter::default());
    assert_eq!(kill(&mut pipeline, SECOND).len(), 1);
    assert_eq!(tick(&mut pipeline, SECOND + WAIT_NS), [Value::Null; 0]);
    *told.borrow_mut() = names(spec(LIMIT_BYTES));
    assert_eq!(tick(&mut pipeline, 2 * SECOND + WAIT_NS), [Value::Null; 0]);
    assert_eq!(pipeline.deadline_ns(), None);
    // Nor if no name is expected.
    *told.borrow_mut() = unknown(false);
    assert_eq!(kill(&mut pipeline, 2 * WAIT_NS).len(), 1);
    assert_eq!(pipeline.deadline_ns(), None);
}

/// The runtime names a container at once, and the API server, which is away, has the rest.
#[test]
fn what_comes_soon_is_not_held_back_for_what_comes_later() {
    let (mut pipeline, told) = before(unknown(true), Filter::default());
    kill(&mut pipeline, SECOND);
    let all = names(spec(LIMIT_BYTES));
    let mut part = all.clone();
    part.names.as_mut().expect("names").workload = None;
    (part.missing, part.later) = (Some("the API server is not heard".into()), true);
    *told.borrow_mut() = part;
    assert_eq!(tick(&mut pipeline, 4 * SECOND), [Value::Null; 0], "the rest may come in a moment");
    let [second] = tick(&mut pipeline, 6 * SECOND).try_into().expect("what is known");
    assert_eq!((&second["revision"], &second["victims"][0]["owner"]["pod"]), (&2.into(), &"api-7f9c".into()));
    assert_eq!(tick(&mut pipeline, 60 * SECOND), [Value::Null; 0], "nothing is new");
    *told.borrow_mut() = all;
    let [third] = tick(&mut pipeline, 90 * SECOND).try_into().expect("the rest");
    assert_eq!(third["revision"], 3);
    assert_eq!(third["victims"][0]["owner"]["kubernetes"]["workload"]["name"], "api");
}

/// Also of an incident from before many others.
#[test]
fn a_waiting_incident_keeps_its_number() {
    let (mut pipeline, told) = before(unknown(true), Filter::default());
    kill(&mut pipeline, SECOND);
    *told.borrow_mut() = unknown(false);
    for at in 0..4000 {
        pipeline.revisions.number(&format!("other-{at}"), 1);
    }
    *told.borrow_mut() = names(spec(LIMIT_BYTES));
    let [named] = tick(&mut pipeline, 30 * SECOND).try_into().expect("the revision");
    assert_eq!(named["revision"], 2);
}

#[test]
fn names_that_are_known_at_the_end_are_reported() {
    let (mut pipeline, told) = before(unknown(true), Filter::default());
    kill(&mut pipeline, SECOND);
    *told.borrow_mut() = names(spec(LIMIT_BYTES));
    let last: Vec<_> = pipeline.stopping(2 * SECOND, "signal").iter().map(json).collect();
    assert_eq!(kinds(&last), ["oom_kill", "agent_stopping"]);
    assert_eq!(last[0]["victims"][0]["owner"]["namespace"], "shop");
}

#[test]
fn kills_that_fold_get_their_names_as_well_and_are_counted_once() {
    let (mut pipeline, told) = before(unknown(true), Filter::default());
    let first: Vec<_> = (0..1000).flat_map(|at| kill(&mut pipeline, SECOND + at)).collect();
    assert_eq!(first.len() as u64, crate::fold::BURST);
    let due_ns = pipeline.deadline_ns().expect("it asks again");
    assert_eq!(tick(&mut pipeline, due_ns), [Value::Null; 0]);
    let [fold] = tick(&mut pipeline, 2 * SECOND + 100_000_000).try_into().expect("a second later");
    assert_eq!((&fold["repeats"], &fold["victims_total"]), (&935.into(), &936.into()));
    assert_eq!((&fold["ktime_ns"], &fold["folded"]["victims_total"]), (&(SECOND + 64).into(), &935.into()));
    let summary = fold["verdict"]["summary"].as_str().unwrap_or_default();
    assert!(summary.ends_with("; 935 more such kills within 0.0 s, of 935 processes"), "{summary}");
    *told.borrow_mut() = names(spec(LIMIT_BYTES));
    let again = tick(&mut pipeline, 4 * SECOND);
    assert_eq!(again.len() as u64, crate::fold::BURST + 1);
    let named = again.iter().find(|line| line["id"] == fold["id"]).expect("the fold again");
    assert_eq!((&named["revision"], &named["repeats"]), (&2.into(), &935.into()));
    assert_eq!(named["victims"][0]["owner"]["pod"], "api-7f9c");
    let total = again.iter().map(|line| line["victims_total"].as_u64().expect("a number")).sum::<u64>();
    assert_eq!(total, 1000);
}

#[test]
fn at_the_end_folded_kills_are_reported() {
    let (mut pipeline, _) = before(names(spec(LIMIT_BYTES)), Filter::default());
    let first = (0..100).map(|at| kill(&mut pipeline, SECOND + at).len()).sum::<usize>();
    let last: Vec<_> = pipeline.stopping(SECOND + 200, "signal").iter().map(json).collect();
    assert_eq!(kinds(&last), ["oom_kill", "agent_stopping"]);
    assert_eq!(last[0]["repeats"], 100 - first - 1);
}

#[test]
fn the_number_of_waiting_nameless_incidents_is_bounded() {
    let mut unseen =
        Node { pods: Box::new(Told(Rc::new(RefCell::new(unknown(true))))), ..Node::unseen("a test") };
    let record = memcg_kill(SECOND, 0, POD, b"java");
    let mut stages = pipeline(Filter::default());
    let events =
        record.iter().map(|it| decode::decode(&it.bytes().into(), &stages.machine).expect("an event"));
    let events: Vec<_> = events.collect();
    let incidents = events.into_iter().flat_map(|event| stages.correlator.push(event, &mut stages.stats));
    let Some(Incident::OomKill(kill)) = incidents.collect::<Vec<_>>().pop() else { panic!("a kill") };
    let mut count = |victims: usize| {
        let mut revisions = Revisions::default();
        let victims = vec![kill.victims[0].clone(); victims];
        let case = enrich(
            Incident::OomKill(Box::new(crate::correlate::OomKill { victims, ..*kill.clone() })),
            &mut unseen,
        );
        for id in 0..1000 {
            revisions.wait(&id.to_string(), 1, &case, SECOND);
        }
        let known = names(spec(LIMIT_BYTES));
        let mut node = Node::unseen("a test");
        let pods = &mut Told(Rc::new(RefCell::new(known)));
        revisions.due(3 * SECOND, pods, node.cgroups.as_mut()).len()
    };
    // A case may have hundreds of victims.
    let (small, large) = (count(1), count(300));
    assert!((300..=MOST).contains(&small) && (5..20).contains(&large), "{small} {large}");
}

#[test]
fn an_incident_of_another_namespace_is_dropped_once_that_is_known() {
    let filter = |namespace: &str| Filter { namespaces: vec![namespace.into()], ..Filter::default() };
    for (namespace, answer, expected) in [
        ("shop", names(spec(LIMIT_BYTES)), 1),
        ("other", names(spec(LIMIT_BYTES)), 0),
        ("other", unknown(false), 1),
    ] {
        let (mut pipeline, _) = before(answer, filter(namespace));
        assert_eq!(kill(&mut pipeline, SECOND).len(), expected, "{namespace}");
    }
}

/// The test's kill is at a limit of `LIMIT_BYTES`, that of the pod's cgroup and the container's.
#[test]
fn a_limit_that_kubernetes_does_not_have_is_reported() {
    let in_force = MemoryBounds { limit_in_force_bytes: Some(LIMIT_BYTES), ..spec(2 * LIMIT_BYTES) };
    let by_hand = MemoryBounds { limit_in_force_bytes: Some(2 * LIMIT_BYTES), ..spec(2 * LIMIT_BYTES) };
    for (memory, said) in [
        (spec(LIMIT_BYTES), "Kubernetes has the same limit of 32 MiB for container api"),
        (spec(LIMIT_BYTES + 1), "Kubernetes has the same limit of 32 MiB for container api"),
        (in_force, "a resize is in progress or cannot be done"),
        (by_hand, "Kubernetes has a limit of 64 MiB for container api, but 32 MiB was in force"),
        (MemoryBounds::default(), "Kubernetes has no limit for container api, but 32 MiB was in force"),
    ] {
        let (mut pipeline, _) = before(names(memory), Filter::default());
        let [line] = kill(&mut pipeline, SECOND).try_into().expect("one line");
        assert_eq!(line["limit"]["limit_bytes"], LIMIT_BYTES);
        assert_eq!(line["limit"]["kubernetes_limit_bytes"], serde_json::json!(memory.limit_bytes));
        let evidence = line["verdict"]["evidence"].as_array().cloned().unwrap_or_default();
        let says = evidence
            .iter()
            .filter_map(Value::as_str)
            .filter(|it| it.contains("Kubernetes") || it.contains("the pod's spec has a limit"));
        let says: Vec<_> = says.collect();
        assert!(says.len() == 1 && says[0].contains(said), "{says:?}");
        let summary = line["verdict"]["summary"].as_str().unwrap_or_default();
        assert!(summary.contains("limit of 32 MiB"), "{summary}");
    }
}

/// The runtime has no limits: a missing limit is no disagreement.
#[test]
fn a_runtime_has_no_limits() {
    let mut answer = names(MemoryBounds::default());
    answer.names.iter_mut().for_each(|names| names.source = NameSource::Cri);
    let (mut pipeline, _) = before(answer, Filter::default());
    let [line] = kill(&mut pipeline, SECOND).try_into().expect("one line");
    assert_eq!(line["limit"]["owner"]["kubernetes"]["source"], "cri");
    assert!(!line["verdict"]["evidence"].to_string().contains("Kubernetes"));
}

#[test]
fn names_are_reported_with_the_age_of_their_source() {
    let mut answer = names(spec(LIMIT_BYTES));
    answer.names.iter_mut().for_each(|names| names.stale_seconds = Some(240));
    let (mut pipeline, _) = before(answer, Filter::default());
    let [line] = kill(&mut pipeline, SECOND).try_into().expect("one line");
    assert_eq!(line["limit"]["owner"]["kubernetes"]["stale_seconds"], 240);
    assert!(line["verdict"]["evidence"].to_string().contains("as last heard 240 s ago"));
}
