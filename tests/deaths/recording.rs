//! A recording: a pod's processes, signals, Events and statuses, with their times.

use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// `tests/fixtures/kubernetes/deaths/README.md` says what the fields are.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Recording {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) spec: Value,
    pub(crate) processes: Vec<Process>,
    #[serde(default)]
    pub(crate) signals_and_exits: Vec<Traced>,
    /// The kernel log's lines about each OOM kill.
    #[serde(default)]
    pub(crate) oom_kills: Vec<Vec<String>>,
    pub(crate) events: Vec<Written>,
    pub(crate) timeline: Vec<Change>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Process {
    pub(crate) t: Timestamp,
    pub(crate) pid: u32,
    /// Its ids, from the host's pid namespace inwards.
    pub(crate) nspid: Vec<String>,
    pub(crate) comm: String,
    pub(crate) ppid: Option<String>,
    pub(crate) cgroup: String,
}

/// What a tracepoint saw.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Traced {
    pub(crate) time: Timestamp,
    pub(crate) event: String,
    pub(crate) by_comm: String,
    pub(crate) by_pid: u32,
    pub(crate) by_in_pod: bool,
    pub(crate) args: String,
}

impl Traced {
    /// A number of its arguments.
    pub(crate) fn arg(&self, name: &str) -> Option<u32> {
        // A name of a process may have spaces, and the numbers come after it or before it.
        self.args.split(' ').find_map(|arg| arg.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }

    pub(crate) fn is_signal_to(&self, pid: u32) -> bool {
        self.event == "signal_generate" && self.arg("pid") == Some(pid)
    }

    pub(crate) fn is_exit_of(&self, pid: u32) -> bool {
        self.event == "sched_process_exit" && self.arg("pid") == Some(pid)
    }
}

/// A write of an Event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written {
    pub(crate) seen: Timestamp,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) count: Option<u32>,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    pub(crate) field_path: Option<String>,
}

impl Written {
    /// Whether it is the same Event, written again.
    pub(crate) fn is_again(&self, before: &Self) -> bool {
        let of = |it: &Self| (it.reason.clone(), it.message.clone(), it.field_path.clone(), it.first);
        of(self) == of(before)
    }
}

/// A change of the pod.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Change {
    pub(crate) seen: Timestamp,
    pub(crate) r#type: String,
    pub(crate) metadata: Value,
    pub(crate) status: Value,
}

/// The end of a container's run, as the status has it.
#[derive(Clone, Debug)]
pub(crate) struct Terminated {
    pub(crate) exit_code: u64,
    pub(crate) reason: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Option<Timestamp>,
    /// When the watch told of it first.
    pub(crate) seen: Timestamp,
}

impl Recording {
    pub(crate) fn read(file: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kubernetes/deaths");
        let path = folder.join(format!("{file}.json"));
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// The names of all of them.
    pub(crate) fn all() -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kubernetes/deaths");
        let mut all = Vec::new();
        for kind in ["traced", "untraced"] {
            for entry in std::fs::read_dir(folder.join(kind)).expect("a folder") {
                let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
                all.push(format!("{kind}/{}", name.strip_suffix(".json").expect("a recording")));
            }
        }
        all.sort();
        all
    }

    /// The API server's whole object at a change.
    pub(crate) fn object(&self, change: &Change) -> Value {
        let mut metadata = change.metadata.clone();
        metadata["namespace"] = json!(self.namespace);
        metadata["name"] = json!(self.pod);
        metadata["uid"] = json!(self.uid);
        let mut spec = self.spec.clone();
        spec["nodeName"] = json!("node1");
        json!({ "kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": change.status })
    }

    /// The whole ids of its containers that begin so.
    pub(crate) fn container(&self, beginning: &str) -> String {
        let ids = self.ids();
        let mut found = ids.into_iter().filter(|id| id.starts_with(beginning));
        let id = found.next().unwrap_or_else(|| panic!("{}: no container {beginning}", self.pod));
        assert_eq!(found.next(), None, "{}: two containers {beginning}", self.pod);
        id
    }

    fn ids(&self) -> Vec<String> {
        let statuses = self.timeline.iter().flat_map(statuses);
        let of = |status: &Value| {
            let last = &status["lastState"]["terminated"]["containerID"];
            let ids = [&status["containerID"], last].map(|id| id.as_str().map(str::to_owned));
            ids.into_iter().flatten().filter_map(|id| Some(id.strip_prefix("containerd://")?.to_owned()))
        };
        let mut ids: Vec<_> = statuses.flat_map(of).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// How the run of this id ended.
    pub(crate) fn terminated(&self, id: &str) -> Option<Terminated> {
        self.timeline.iter().find_map(|change| {
            statuses(change).find_map(|status| {
                [&status["state"], &status["lastState"]].into_iter().find_map(|state| {
                    let it = &state["terminated"];
                    let same = it["containerID"].as_str()?.strip_prefix("containerd://")? == id;
                    let time = |name: &str| it[name].as_str()?.parse().ok();
                    same.then(|| Terminated {
                        exit_code: it["exitCode"].as_u64().expect("a code"),
                        reason: it["reason"].as_str().expect("a reason").to_owned(),
                        started: time("startedAt"),
                        finished: time("finishedAt"),
                        seen: change.seen,
                    })
                })
            })
        })
    }

    /// The container of its spec that this id is a run of.
    pub(crate) fn name_of(&self, id: &str) -> String {
        let mut statuses = self.timeline.iter().flat_map(statuses);
        let of = |status: &&Value| status.to_string().contains(&format!("containerd://{id}"));
        statuses.find(of).and_then(|status| status["name"].as_str()).expect("a container").to_owned()
    }

    /// The path of a container's cgroup.
    pub(crate) fn cgroup(&self, id: &str) -> String {
        let qos = self.timeline.iter().find_map(|change| change.status["qosClass"].as_str());
        match qos.expect("a class") {
            "Guaranteed" => format!("/kubepods/pod{}/{id}", self.uid),
            class => format!("/kubepods/{}/pod{}/{id}", class.to_lowercase(), self.uid),
        }
    }

    pub(crate) fn pod_cgroup(&self) -> String {
        self.cgroup("").trim_end_matches('/').to_owned()
    }

    /// The first process of a container: the one that the runtime started there, which is process 1 of its namespace unless the
    /// namespace is the pod's or the host's. The recorder saw it, or anything before it, as the first one there.
    pub(crate) fn main_process(&self, id: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.cgroup.ends_with(id))
    }

    /// Its pause processes: those of no container.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = &Process> {
        let ids = self.ids();
        self.processes.iter().filter(move |it| !ids.iter().any(|id| it.cgroup.ends_with(id.as_str())))
    }
}

fn statuses(change: &Change) -> impl Iterator<Item = &Value> {
    let of = |name: &str| change.status[name].as_array().into_iter().flatten();
    of("initContainerStatuses").chain(of("containerStatuses"))
}
