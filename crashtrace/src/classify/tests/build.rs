//! Incidents, built as the kernel would report them.

use crate::classify::{Verdict, classify};
use crate::correlate::{Incident, OomKill, OomNoKill, complete_victims};
use crate::describe::{Description, describe};
use crate::enrich::{Case, enrich};
use crate::event::{
    Constraint, Hook, Level, Limit, Lineage, Name, OomControl, OomDecision, OomNoVictim, OomVictim, Rss,
    Stack, Stamp, Task,
};
use crate::node::Node;
use crate::schema::Unresolved;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const KUBEPODS: &str = "/kubepods";
pub(crate) const BURSTABLE: &str = "/kubepods/burstable";
pub(crate) const POD: &str = "/kubepods/burstable/pod1f6cbd1e-0d5a-4a4f-8f5c-2b8f0a2f6f11";
/// Ids of containers, to append to a pod's path.
pub(crate) const API: &str = "4f2a00000000000000000000000000000000000000000000000000000000beef";
pub(crate) const SIDE: &str = "77aa00000000000000000000000000000000000000000000000000000000cafe";

pub(crate) const CHARGE: [&str; 4] =
    ["oom_kill_process", "out_of_memory", "mem_cgroup_out_of_memory", "try_charge_memcg"];
pub(crate) const WRITE: [&str; 4] =
    ["oom_kill_process", "out_of_memory", "mem_cgroup_out_of_memory", "memory_max_write"];
pub(crate) const SYSTEM: [&str; 2] = ["oom_kill_process", "out_of_memory"];

pub(crate) fn api() -> String {
    format!("{POD}/{API}")
}

pub(crate) fn side() -> String {
    format!("{POD}/{SIDE}")
}

/// A path's cgroups without limits. Equal paths have equal ids.
pub(crate) fn lineage(path: &str) -> Lineage {
    let mut levels =
        vec![Level { root: true, cgroup_id: Some(1), name: Some("".into()), ..Level::default() }];
    let mut id = 1_u64;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        id = name.bytes().fold(id, |id, byte| (id ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        levels.insert(
            0,
            Level {
                cgroup_id: Some(id),
                name: Some(name.into()),
                root: false,
                usage_bytes: Some(MIB),
                limit: Some(Limit::Unlimited),
                swap_usage_bytes: Some(0),
                swap_limit: Some(Limit::Unlimited),
                oom_group: Some(false),
                oom_kill_disable: false,
                removed: false,
            },
        );
    }
    Lineage { levels, skipped: 0, incomplete: false, unified: false }
}

impl Lineage {
    pub(crate) fn level_mut(&mut self, path: &str) -> &mut Level {
        let names = path.split('/').filter(|name| !name.is_empty()).count();
        let index = self.levels.len() - 1 - names;
        &mut self.levels[index]
    }

    /// Sets usage and limit of a cgroup on the path.
    pub(crate) fn with(mut self, path: &str, usage: u64, limit: u64) -> Self {
        let level = self.level_mut(path);
        level.usage_bytes = Some(usage);
        level.limit = Some(Limit::Bytes(limit));
        self
    }

    pub(crate) fn with_group(mut self, path: &str) -> Self {
        self.level_mut(path).oom_group = Some(true);
        self
    }

    /// From a cgroup on the path to the root.
    pub(crate) fn from(&self, path: &str) -> Self {
        let names = path.split('/').filter(|name| !name.is_empty()).count();
        let levels = self.levels[self.levels.len() - 1 - names..].to_vec();
        Self { levels, ..self.clone() }
    }
}

pub(crate) fn task(comm: &str, pid: u32) -> Task {
    Task {
        pid: Some(pid),
        tid: Some(pid),
        container_pid: Some(1),
        comm: Some(comm.into()),
        thread_comm: Some(comm.into()),
        uid: Some(0),
        oom_score_adj: Some(986),
        rss: Some(Rss { anon_bytes: 480 * MIB, file_bytes: 10 * MIB, shmem_bytes: MIB, swap_bytes: 0 }),
        page_table_bytes: Some(2 * MIB),
        total_vm_bytes: Some(2048 * MIB),
        start_boottime_ns: Some(5),
        exiting: Some(false),
    }
}

pub(crate) fn stamp(hook: Hook) -> Stamp {
    Stamp { ktime_ns: 100, cpu: 0, seq: 0, hook, decision_ns: Some(100) }
}

pub(crate) fn stack(names: &[&str]) -> Stack {
    Stack(names.iter().map(|&name| name.to_owned()).collect())
}

pub(crate) fn control(memcg: bool) -> OomControl {
    OomControl {
        total_bytes: 512 * MIB,
        points_bytes: 600 * 1024 * 1024,
        gfp: 0xcc0,
        order: Some(0),
        constraint: if memcg { Constraint::Memcg } else { Constraint::None },
        memcg,
        zonelist: !memcg,
    }
}

pub(crate) fn mark(task: Task, cgroups: Option<Lineage>) -> OomVictim {
    OomVictim { stamp: stamp(Hook::RawTracepoint), task, cgroups, in_decision: false, marker_tid: 4211 }
}

/// A kill: `java` of `victim` is both trigger and victim, and `oom_control` is a memcg's if there is a limit.
pub(crate) fn kill(victim: &Lineage, limit: Option<Lineage>, names: &[&str]) -> OomKill {
    let decision = OomDecision {
        limit_memory: None,
        victim_memory: None,
        stamp: stamp(Hook::Fentry),
        control: Some(control(limit.is_some())),
        message: Some(if limit.is_some() { "Memory cgroup out of memory" } else { "Out of memory" }.into()),
        trigger: task("java", 4211),
        trigger_cgroups: Some(victim.clone()),
        victim: Some(task("java", 4211)),
        victim_cgroups: Some(victim.clone()),
        limit_cgroups: limit,
        stack: Some(stack(names)),
    };
    OomKill {
        node_memory: None,
        ktime_ns: 100,
        cpu: 0,
        decision: Some(Box::new(decision)),
        // The mark comes after the signal, so the task looks as if it was exiting.
        victims: vec![mark(Task { exiting: Some(true), ..task("java", 4211) }, Some(victim.clone()))],
        holders: None,
        zones: None,
        revision: 1,
        complete: true,
        may_grow: false,
        unlisted: 0,
        folded: None,
    }
}

impl OomKill {
    pub(crate) fn decision(&mut self) -> &mut OomDecision {
        self.decision.as_mut().expect("the decision is there")
    }

    /// As the tier without a probe on the decision sees it.
    pub(crate) fn raw(mut self) -> Self {
        let decision = self.decision();
        decision.stamp.hook = Hook::RawTracepoint;
        decision.control = None;
        decision.message = None;
        decision.limit_cgroups = None;
        if let Some(victim) = &mut decision.victim {
            victim.exiting = Some(true);
        }
        // The stack of a mark: it begins further in.
        if let Some(stack) = &mut decision.stack
            && stack.has("out_of_memory")
        {
            stack.0.insert(0, "__oom_kill_process".to_owned());
        }
        self
    }

    pub(crate) fn triggered_by(mut self, trigger: Task, cgroups: Lineage) -> Self {
        let decision = self.decision();
        decision.trigger = trigger;
        decision.trigger_cgroups = Some(cgroups);
        self
    }

    pub(crate) fn with_control(mut self, change: impl FnOnce(&mut OomControl)) -> Self {
        change(self.decision().control.as_mut().expect("the control is there"));
        self
    }

    pub(crate) fn verdict(self) -> Told {
        told(&enrich(an_incident(self), &mut Node::unseen("a test")))
    }
}

/// An OOM without a victim, with `java` as trigger.
pub(crate) fn no_kill(trigger: Lineage, limit: Option<Lineage>, names: &[&str]) -> OomNoKill {
    let event = OomNoVictim {
        limit_memory: None,
        stamp: stamp(Hook::Fentry),
        why: crate::event::NoKill::NobodyFound,
        repeats: 0,
        gfp: Some(0xcc0),
        order: Some(0),
        memcg: limit.is_some(),
        trigger: task("java", 4211),
        trigger_cgroups: Some(trigger),
        limit_cgroups: limit,
        stack: Some(stack(names)),
    };
    OomNoKill { event: Box::new(event), repeats: 0 }
}

impl OomNoKill {
    pub(crate) fn verdict(self) -> Told {
        told(&enrich(Incident::OomNoKill(Box::new(self)), &mut Node::unseen("a test")))
    }
}

/// A kill as the correlator gives it.
pub(crate) fn an_incident(mut kill: OomKill) -> Incident {
    complete_victims(&mut kill);
    Incident::OomKill(Box::new(kill))
}

/// A verdict, and its sentences.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) verdict: Verdict,
    pub(crate) summary: String,
    pub(crate) evidence: Vec<String>,
    pub(crate) remedy: String,
    pub(crate) contradictions: Vec<String>,
    pub(crate) unresolved: Vec<Unresolved>,
}

impl std::ops::Deref for Told {
    type Target = Verdict;

    fn deref(&self) -> &Verdict {
        &self.verdict
    }
}

pub(crate) fn told(case: &Case) -> Told {
    let verdict = classify(case);
    let Description { summary, evidence, remedy, contradictions, unresolved } = describe(case, &verdict);
    Told { verdict, summary, evidence, remedy, contradictions, unresolved }
}

impl Told {
    /// Whether one sentence of the evidence has all of these.
    pub(crate) fn shows(&self, parts: &[&str]) -> bool {
        self.evidence.iter().any(|sentence| parts.iter().all(|part| sentence.contains(part)))
    }

    /// The paths of inferred fields.
    pub(crate) fn inferred(&self) -> Vec<String> {
        self.verdict.inferred.iter().map(ToString::to_string).collect()
    }

    /// Why a field is unresolved.
    pub(crate) fn gap(&self, field: &str) -> Option<&str> {
        self.unresolved.iter().find(|gap| gap.field.to_string() == field).map(|gap| gap.reason.as_str())
    }
}

pub(crate) fn name(bytes: &[u8]) -> Name {
    Name(bytes.to_vec())
}
