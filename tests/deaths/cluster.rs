//! The API server, played from a recording with its clock: the agent's real index of pods, and answers about Events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crashtrace::names::{Events, NamesState, NamesStatus, PodEvent};
use crashtrace::pods::directory::{Directory, PodWatch, Reliance};
use crashtrace::pods::index::{Index, IndexedContainer};
use crashtrace::pods::object::{self, PodObject};
use crashtrace::pods::pod::Pod;
use crashtrace::schema::NameSource;
use jiff::Timestamp;
use serde_json::Value;

use crate::recording::{Recording, Written};
use crate::records::ms;

/// What comes of a request for a pod's Events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// The Events as of then, so many milliseconds later.
    After(i64),
    /// Each of them as two objects.
    Twice,
    /// None: they were deleted, or never written.
    Empty,
    Refused,
    /// It does not come.
    Never,
}

/// A handle of it.
#[derive(Clone, Debug)]
pub(crate) struct Cluster(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    index: Index,
    /// The index' clock at [`State::began`].
    instant: Instant,
    began: Timestamp,
    now: Timestamp,
    answers: Answers,
    namespace: String,
    events: Vec<Written>,
    asked: BTreeMap<String, Timestamp>,
    requests: usize,
}

impl Cluster {
    pub(crate) fn new(recording: &Recording, answers: Answers) -> Self {
        let began = recording.timeline[0].seen;
        Self(Arc::new(Mutex::new(State {
            index: Index::default(),
            instant: Instant::now(),
            began,
            now: began,
            answers,
            namespace: recording.namespace.clone(),
            events: recording.events.clone(),
            asked: BTreeMap::new(),
            requests: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_time(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// The watch tells of a change.
    pub(crate) fn tell(&self, r#type: &str, object: &Value) {
        let object: PodObject = serde_json::from_str(&object.to_string()).expect("an object");
        let pod = object::pod(&object).expect("a pod");
        let mut state = self.state();
        let now = state.instant();
        if r#type == "DELETED" {
            state.index.remove(&pod.uid, now);
        } else {
            state.index.apply(pod, now);
        }
    }

    /// How many requests for Events there were.
    pub(crate) fn requests(&self) -> usize {
        self.state().requests
    }

    /// The agent's sources, with this one as the API server.
    pub(crate) fn directory(&self) -> Directory {
        Directory {
            kube: Some(Box::new(self.clone())),
            node: Some("node1".to_owned()),
            ..Directory::default()
        }
    }
}

impl State {
    fn instant(&self) -> Instant {
        let passed = self.now.duration_since(self.began);
        self.instant + Duration::try_from(passed).unwrap_or_default()
    }

    /// As the source has it: a request whose answer comes later, and is good for two seconds.
    fn events(&mut self, uid: &str) -> Events {
        let latency = match self.answers {
            Answers::Refused => {
                let missing = "the API server refuses (403 Forbidden): events is forbidden".to_owned();
                return Events { missing: Some(missing), ..Events::default() };
            }
            Answers::After(latency) => ms(latency),
            Answers::Twice | Answers::Empty | Answers::Never => ms(30),
        };
        let now = self.now;
        let asked = self.asked.get(uid).copied().filter(|asked| now < *asked + latency + ms(2000));
        let asked = asked.unwrap_or_else(|| {
            self.requests += 1;
            self.asked.insert(uid.to_owned(), now);
            now
        });
        if self.answers == Answers::Never || now < asked + latency {
            let missing = Some("the API server has not answered yet".to_owned());
            return Events { missing, soon: true, ..Events::default() };
        }
        let list = match self.answers {
            Answers::Empty => Vec::new(),
            Answers::Twice => [self.written(asked + latency), self.written(asked + latency)].concat(),
            _ => self.written(asked + latency),
        };
        Events { list, ..Events::default() }
    }

    /// The Events as of then.
    fn written(&self, then: Timestamp) -> Vec<PodEvent> {
        let mut list: Vec<&Written> = Vec::new();
        let early: Vec<_> = self.events.iter().filter_map(|it| it.as_of(then)).collect();
        for event in self.events.iter().filter(|it| it.seen <= then).chain(&early) {
            match list.iter_mut().find(|before| event.is_again(before)) {
                Some(before) if before.last <= event.last => *before = event,
                Some(_) => {}
                None => list.push(event),
            }
        }
        list.into_iter().map(pod_event).collect()
    }
}

impl Written {
    /// An Event that is known by its last write only, as it was before that: written once.
    fn as_of(&self, then: Timestamp) -> Option<Self> {
        let first = self.first.filter(|first| *first <= then && self.seen > then)?;
        Some(Self { seen: first, count: Some(1), last: Some(first), ..self.clone() })
    }
}

fn pod_event(written: &Written) -> PodEvent {
    let container = written.field_path.as_deref().and_then(|path| {
        let (_, name) = path.split_once('{')?;
        name.strip_suffix('}')
    });
    PodEvent {
        reason: written.reason.clone(),
        message: written.message.clone(),
        count: written.count.unwrap_or(1),
        first_s: written.first.map(Timestamp::as_second),
        last_s: written.last.map(Timestamp::as_second),
        container: container.map(str::to_owned),
    }
}

impl PodWatch for Cluster {
    fn find_container(&self, id: &str) -> Option<IndexedContainer> {
        self.state().index.find_container(id)
    }

    fn find_pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.state().index.find_pod(uid)
    }

    fn disputed(&self, hash: &str) -> bool {
        self.state().index.disputed(hash)
    }

    fn events(&self, namespace: &str, uid: &str, _: Option<&str>) -> Events {
        let mut state = self.state();
        assert_eq!(namespace, state.namespace, "the pod's own");
        state.events(uid)
    }

    fn reliance(&self) -> Reliance {
        Reliance { soon: true, reason: "the API server has not told of it".to_owned(), ..Reliance::default() }
    }

    fn status(&self) -> NamesStatus {
        let pods = Some(self.state().index.pods() as u64);
        NamesStatus {
            source: NameSource::Kube,
            state: NamesState::Synced,
            problem: None,
            pods,
            containers: None,
            refused_pods: Some(0),
            age_seconds: Some(0),
        }
    }
}
