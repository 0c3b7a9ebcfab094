//! Lines of incidents of pods of the recorded cluster.

use crashtrace::schema::{
    Cause, Certainty, EndedBy, Envelope, Exit, Incident, Kind, Kubernetes, Level, LimitHit, Line, NameSource,
    OomRef, Owner, OwnerKind, Process, Text, Verdict,
};

/// A container of a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Of {
    pub(crate) namespace: &'static str,
    pub(crate) pod: &'static str,
    /// As its cgroup has it.
    pub(crate) uid: &'static str,
    pub(crate) container: &'static str,
    pub(crate) is_static: bool,
}

pub(crate) fn line(incident: Incident) -> Line {
    Line::Incident(Box::new(incident))
}

/// A container of each recorded pod that is no static one.
pub(crate) fn recorded_pods() -> Vec<Of> {
    let list: serde_json::Value =
        serde_json::from_slice(&crate::recorded!("pods-list.json")).expect("a list");
    let text =
        |value: &serde_json::Value| -> &'static str { value.as_str().expect("text").to_owned().leak() };
    let pods = list["items"].as_array().expect("items").iter();
    let pods = pods.filter(|pod| pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null());
    pods.map(|pod| Of {
        namespace: text(&pod["metadata"]["namespace"]),
        pod: text(&pod["metadata"]["name"]),
        uid: text(&pod["metadata"]["uid"]),
        container: text(&pod["spec"]["containers"][0]["name"]),
        is_static: false,
    })
    .collect()
}

fn owner(of: &Of) -> Owner {
    let text = |text: &str| Some(Text::new(text.as_bytes()));
    Owner {
        kind: OwnerKind::Container,
        namespace: text(of.namespace),
        pod: text(of.pod),
        container: text(of.container),
        kubernetes: Some(Kubernetes {
            role: None,
            workload: None,
            image: text("registry.example/web:1"),
            restart_count: Some(3),
            memory_request_bytes: None,
            memory_limit_bytes: Some(64 << 20),
            source: NameSource::Kube,
            stale_seconds: None,
        }),
        pod_uid: text(of.uid),
        static_pod: of.is_static,
        container_id: text(&"a".repeat(64)),
        qos_class: None,
        runtime: None,
        unit: None,
        engine: None,
        claims: None,
    }
}

fn incident(number: u32, kind: Kind, cause: Cause) -> Incident {
    Incident {
        envelope: Envelope::default(),
        id: format!("boot-{number:06}-0-{kind:?}"),
        revision: 1,
        redelivered: false,
        kind,
        time: format!("2026-11-30T10:{:02}:{:02}.123456789Z", number / 60, number % 60),
        ktime_ns: u64::from(number) * 1_000_000_000,
        verdict: Verdict {
            cause,
            shortage: None,
            level: Some(Level::Container),
            certainty: Certainty::Observed,
            inferred: Vec::new(),
            summary: format!("what happened {number}"),
            evidence: vec!["a fact".to_owned()],
            remedy: "Raise the limit.".to_owned(),
        },
        hooks: Vec::new(),
        origin: None,
        constraint: None,
        complete: true,
        repeats: 0,
        limit: None,
        memory: None,
        trigger: None,
        victims: Vec::new(),
        victims_total: 0,
        folded: None,
        allocation: None,
        exit: None,
        unresolved: Vec::new(),
        truncated: false,
    }
}

/// A kill at the container's limit.
pub(crate) fn kill(of: &Of, number: u32) -> Incident {
    let victim = Process { pid: Some(7), owner: Some(owner(of)), ..Process::default() };
    let limit = LimitHit {
        cgroup: Text::new(b"/kubepods/burstable/pod/container"),
        charged_at: Some(Level::Container),
        owner: Some(owner(of)),
        limit_bytes: Some(64 << 20),
        kind: None,
        unlimited: false,
        kubernetes_limit_bytes: None,
        kubernetes_limit_in_force_bytes: None,
        usage_bytes: Some(64 << 20),
        shmem_bytes: None,
        swap_usage_bytes: None,
        swap_limit_bytes: None,
        swap_unlimited: false,
        swap_includes_memory: None,
        oom_group: None,
    };
    let victims = vec![victim.clone(), victim];
    Incident {
        limit: Some(limit),
        victims,
        victims_total: 2,
        ..incident(number, Kind::OomKill, Cause::CgroupOom)
    }
}

/// The node runs out, and a process of the host is the victim.
pub(crate) fn of_host(number: u32) -> Incident {
    let host = Owner { kind: OwnerKind::HostService, pod_uid: None, ..without_names() };
    let victim = Process { pid: Some(8), owner: Some(host), ..Process::default() };
    Incident { victims: vec![victim], victims_total: 1, ..incident(number, Kind::OomKill, Cause::SystemOom) }
}

fn without_names() -> Owner {
    let of = Of { namespace: "", pod: "", uid: "", container: "", is_static: false };
    Owner { namespace: None, pod: None, container: None, kubernetes: None, container_id: None, ..owner(&of) }
}

/// A container's end, by this kill if one is given.
pub(crate) fn end(of: &Of, number: u32, kill: Option<&Incident>) -> Incident {
    let base = incident(number, Kind::ContainerExit, kill.map_or(Cause::ContainerExit, |_| Cause::CgroupOom));
    let exit = Exit {
        process: Process { pid: Some(7), owner: Some(owner(of)), ..Process::default() },
        exit_code: Some(kill.map_or(1, |_| 137)),
        signal: kill.map(|_| 9),
        signal_name: kill.map(|_| "SIGKILL".to_owned()),
        core_dumped: false,
        started: None,
        ran_ns: Some(42_000_000_000),
        before_exec: false,
        ended_by: Some(kill.map_or(EndedBy::Itself, |_| EndedBy::OomKiller)),
        signals: Vec::new(),
        fault: None,
        oom: kill.map(|kill| OomRef {
            id: kill.id.clone(),
            time: kill.time.clone(),
            pid: Some(7),
            comm: None,
        }),
        oom_kills_before: Vec::new(),
        oom_kills_before_total: 0,
        probe: None,
        stop: None,
        status: None,
        contradictions: Vec::new(),
        ends_last_hour: 0,
    };
    Incident { exit: Some(exit), ..base }
}
