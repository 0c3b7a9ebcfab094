//! What a report must say, field by field, from the facts of the kill that a scenario brought about.

use serde_json::{Value, json};

use crate::actor::Actor;
use crate::cgroup::{Cgroup, Container, Pod};

/// How far the kernel's counters may be off: resident sizes by 32 pages a CPU, usage by what CPUs keep in stock.
const SLACK: u64 = 1 << 20;

/// The hooks that an agent uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Fentry,
    Kprobe,
    Tracepoint,
}

impl Tier {
    /// All of them, best first.
    pub const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    /// As `--hooks` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// There is a probe on the decision, with all that it alone sees.
    pub fn sees_decision(self) -> bool {
        self != Self::Tracepoint
    }
}

/// A report.
#[derive(Clone, Debug)]
pub struct Expected {
    /// `oom_kill` or `oom_no_kill`.
    pub kind: &'static str,
    pub cause: &'static str,
    pub level: Option<&'static str>,
    pub origin: &'static str,
    pub constraint: Option<&'static str>,
    pub limit: Option<Limit>,
    pub trigger: Trigger,
    /// In any order; the first was chosen by the kernel.
    pub victims: Vec<Process>,
    /// All of a group die together: without a probe on the end nobody knows whether that was all.
    pub group: bool,
    /// There is nothing but an order (-1) that sysrq sends.
    pub order: Option<u32>,
    /// At least so many repeats were folded into it.
    pub repeats: u64,
}

/// The limit that was hit.
#[derive(Clone, Debug)]
pub struct Limit {
    charged_at: &'static str,
    path: String,
    owner: Value,
    bytes: u64,
    usage: (u64, u64),
    oom_group: bool,
}

/// Who ran into it.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// A process of the scenario.
    Process(Box<Process>),
    /// Whoever it was goes by a name that begins like this.
    Comm(&'static str),
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    pid: u32,
    container_pid: u32,
    comm: String,
    adj: i16,
    started_ns: (u64, u64),
    anon: (u64, u64),
    path: String,
    owner: Value,
}

impl Process {
    /// A process of a container. To be made when it has touched all that it will.
    pub fn of(actor: &Actor, container: &Container) -> anyhow::Result<Self> {
        let owner = json!({ "kind": "container", "pod_uid": container.pod_uid, "container_id": container.id,
                            "qos_class": "Burstable" });
        Self::with_owner(actor, owner)
    }

    /// A process of a cgroup that is no pod's.
    pub fn of_host(actor: &Actor) -> anyhow::Result<Self> {
        Self::with_owner(actor, json!({ "kind": "cgroup", "pod_uid": null, "container_id": null }))
    }

    /// The same at some time before.
    pub fn on_its_way(self) -> Self {
        Self { anon: (0, self.anon.1), ..self }
    }

    fn with_owner(actor: &Actor, owner: Value) -> anyhow::Result<Self> {
        let (_, touched) = actor.last_touch()?;
        let anon = (touched.saturating_sub(SLACK), touched + actor.anon_before + SLACK);
        Ok(Self {
            pid: actor.pid,
            container_pid: actor.container_pid,
            comm: actor.comm.clone(),
            adj: actor.oom_score_adj,
            started_ns: actor.started_ns,
            anon,
            path: actor.cgroup.clone(),
            owner,
        })
    }
}

impl Limit {
    /// A container's.
    pub fn of_container(container: &Container, bytes: u64) -> Self {
        let owner = json!({ "kind": "container", "pod_uid": container.pod_uid, "container_id": container.id,
                            "qos_class": "Burstable" });
        Self::new("container", &container.cgroup, owner, bytes)
    }

    /// A pod's.
    pub fn of_pod(pod: &Pod<'_>, bytes: u64) -> Self {
        let owner =
            json!({ "kind": "pod", "pod_uid": pod.uid, "container_id": null, "qos_class": "Burstable" });
        Self::new("pod", &pod.cgroup, owner, bytes)
    }

    fn new(charged_at: &'static str, cgroup: &Cgroup, owner: Value, bytes: u64) -> Self {
        let usage = (bytes - SLACK, bytes);
        Self { charged_at, path: cgroup.path.clone(), owner, bytes, usage, oom_group: false }
    }

    /// With this much in use, which is more than the limit.
    pub fn with_usage(self, at_least: u64) -> Self {
        Self { usage: (at_least, at_least + 16 * SLACK), ..self }
    }

    /// With `memory.oom.group`.
    pub fn with_group(self) -> Self {
        Self { oom_group: true, ..self }
    }
}

impl Expected {
    /// A kill for a limit of a cgroup.
    pub fn cgroup_kill(level: &'static str, limit: Limit, trigger: Process, victims: Vec<Process>) -> Self {
        Self {
            kind: "oom_kill",
            cause: "cgroup_oom",
            level: Some(level),
            origin: "charge",
            constraint: Some("memcg"),
            limit: Some(limit),
            trigger: Trigger::Process(Box::new(trigger)),
            victims,
            group: false,
            order: Some(0),
            repeats: 0,
        }
    }

    /// A kill of the whole node.
    pub fn node_kill(
        origin: &'static str,
        level: Option<&'static str>,
        trigger: Trigger,
        victim: Process,
    ) -> Self {
        Self {
            kind: "oom_kill",
            cause: "system_oom",
            level,
            origin,
            constraint: Some("none"),
            limit: None,
            trigger,
            victims: vec![victim],
            group: false,
            order: Some(0),
            repeats: 0,
        }
    }

    /// What is wrong with `line`, one sentence a field.
    pub fn faults(&self, tier: Tier, line: &Value) -> Vec<String> {
        let mut check = Check { line, faults: Vec::new() };
        check.eq("schema", "crashtrace/v1");
        check.eq("kind", self.kind);
        check.eq("revision", 1);
        check.eq("redelivered", false);
        check.eq("lost", 0);
        check.eq("verdict.cause", self.cause);
        check.eq("verdict.level", json!(self.level));
        check.eq("origin", self.origin);
        check.eq("constraint", json!(self.constraint));
        check.eq("complete", tier.sees_decision() || !self.group);
        check.eq("truncated", false);
        check.within("repeats", self.repeats, if self.repeats > 0 { u64::MAX } else { 0 });
        check.eq("hooks", self.hooks(tier));
        // The last tier may find the kernel's request on the killer's stack, and then infers nothing either.
        let inferred = check.get("verdict.inferred").as_array().is_some_and(|list| !list.is_empty());
        check.eq("verdict.certainty", if inferred { "inferred" } else { "observed" });
        if tier.sees_decision() {
            check.eq("verdict.inferred", json!([]));
        }
        if tier.sees_decision() || !check.get("allocation").is_null() {
            check.eq("allocation.order", json!(self.order));
        }
        match &self.limit {
            Some(limit) => check.limit(limit),
            None => check.eq("limit", Value::Null),
        }
        match &self.trigger {
            Trigger::Process(process) => check.process("trigger", process),
            Trigger::Comm(prefix) => {
                let comm = check.get("trigger.comm").as_str().unwrap_or_default();
                if !comm.starts_with(prefix) {
                    check.fault("trigger.comm", format!("beginning with {prefix}"));
                }
            }
        }
        check.eq("victims_total", self.victims.len());
        for victim in &self.victims {
            let victims = check.get("victims").as_array().map_or(&[][..], Vec::as_slice);
            match victims.iter().position(|found| found["pid"] == victim.pid) {
                Some(index) => check.process(&format!("victims.{index}"), victim),
                None => check.fault("victims", format!("one with pid {}", victim.pid)),
            }
        }
        if let [_] = self.victims.as_slice() {
            check.eq("victims.0.exiting", false);
        }
        check.faults
    }

    fn hooks(&self, tier: Tier) -> Value {
        let function = if self.kind == "oom_kill" { "oom_kill_process" } else { "mem_cgroup_out_of_memory" };
        let mut hooks = Vec::new();
        if tier.sees_decision() {
            hooks.push(format!("{}:{function}", tier.name()));
        }
        if self.kind == "oom_kill" {
            hooks.push("raw_tp:mark_victim".to_owned());
        }
        json!(hooks)
    }
}

/// Compares one line.
struct Check<'a> {
    line: &'a Value,
    faults: Vec<String>,
}

impl<'a> Check<'a> {
    /// What is at `victims.0.pid`, say; null if nothing is.
    fn get(&self, path: &str) -> &'a Value {
        static NOTHING: Value = Value::Null;
        self.line.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&NOTHING)
    }

    fn fault(&mut self, path: &str, expected: impl std::fmt::Display) {
        self.faults.push(format!("{path}: expected {expected}, got {}", self.get(path)));
    }

    fn eq(&mut self, path: &str, expected: impl Into<Value>) {
        let expected = expected.into();
        if *self.get(path) != expected {
            self.fault(path, expected);
        }
    }

    fn within(&mut self, path: &str, least: u64, most: u64) {
        if !self.get(path).as_u64().is_some_and(|value| (least..=most).contains(&value)) {
            self.fault(path, format!("{least} to {most}"));
        }
    }

    fn owner(&mut self, path: &str, expected: &Value) {
        for (field, value) in expected.as_object().into_iter().flatten() {
            self.eq(&format!("{path}.{field}"), value.clone());
        }
    }

    fn limit(&mut self, limit: &Limit) {
        self.eq("limit.cgroup", limit.path.as_str());
        self.eq("limit.charged_at", limit.charged_at);
        self.owner("limit.owner", &limit.owner);
        self.eq("limit.limit_bytes", limit.bytes);
        self.eq("limit.unlimited", false);
        self.within("limit.usage_bytes", limit.usage.0, limit.usage.1);
        self.eq("limit.oom_group", limit.oom_group);
    }

    fn process(&mut self, path: &str, process: &Process) {
        let at = |field: &str| format!("{path}.{field}");
        self.eq(&at("pid"), process.pid);
        self.eq(&at("tid"), process.pid);
        self.eq(&at("container_pid"), process.container_pid);
        self.eq(&at("comm"), process.comm.as_str());
        self.eq(&at("thread_comm"), process.comm.as_str());
        self.eq(&at("uid"), 0);
        self.eq(&at("oom_score_adj"), process.adj);
        self.within(&at("start_boottime_ns"), process.started_ns.0, process.started_ns.1);
        self.within(&at("anon_bytes"), process.anon.0, process.anon.1);
        self.within(&at("total_vm_bytes"), process.anon.0, u64::MAX);
        self.within(&at("page_table_bytes"), process.anon.0 / 512, process.anon.1 / 256 + SLACK);
        self.eq(&at("cgroup"), process.path.as_str());
        self.eq(&at("cgroup_cut"), false);
        self.owner(&at("owner"), &process.owner);
    }
}
