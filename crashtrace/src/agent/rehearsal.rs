//! A report of an OOM kill that never happened, made and thrown away before the first real one: by then the program's pages that a
//! report needs are in memory, and its heap has been as large as it gets. PURE.

use crate::decode::Machine;
use crate::event::{
    Constraint, Event, Hook, Level, Limit, Lineage, MemcgMemory, MemcgStats, OomControl, OomDecision,
    OomVictim, Rss, Stamp, Task,
};
use crate::filter::Filter;
use crate::node::Node;
use crate::pipeline::{Pipeline, Session};
use crate::report::{Context, to_json_line};

const MIB: u64 = 1 << 20;
const LIMIT_BYTES: u64 = 512 * MIB;

/// Makes the report, and gives its bytes.
pub(super) fn rehearse(session: &Session, machine: &Machine, context: &Context) -> usize {
    let (machine, context) = (machine.clone(), context.clone());
    let node = Node { gfp: context.gfp.clone(), ..Node::unseen("it never happened") };
    let mut pipeline = Pipeline::new(session.clone(), machine, context, Filter::default(), node);
    let lines = kill().into_iter().flat_map(|event| pipeline.event(event)).collect::<Vec<_>>();
    lines.iter().map(|line| to_json_line(line).len()).sum()
}

/// A container of a pod at its limit.
fn kill() -> [Event; 3] {
    let stamp = |ktime_ns| Stamp { ktime_ns, cpu: 0, seq: 0, hook: Hook::Fentry, decision_ns: Some(1) };
    let task = Task {
        pid: Some(2),
        tid: Some(2),
        comm: Some("rehearsal".into()),
        uid: Some(1000),
        oom_score_adj: Some(986),
        rss: Some(Rss { anon_bytes: 480 * MIB, file_bytes: 6 * MIB, shmem_bytes: 4 * MIB, swap_bytes: 0 }),
        page_table_bytes: Some(MIB),
        ..Task::default()
    };
    let memory = MemcgMemory {
        cgroup_id: Some(3),
        usage_bytes: Some(LIMIT_BYTES),
        stats: MemcgStats {
            anon_bytes: Some(480 * MIB),
            file_bytes: Some(10 * MIB),
            shmem_bytes: Some(4 * MIB),
            slab_unreclaimable_bytes: Some(4 * MIB),
            ..MemcgStats::default()
        },
        ..MemcgMemory::default()
    };
    let decision = OomDecision {
        stamp: stamp(1),
        control: Some(OomControl {
            total_bytes: LIMIT_BYTES,
            points_bytes: LIMIT_BYTES.cast_signed(),
            gfp: 0xcc0,
            order: Some(0),
            constraint: Constraint::Memcg,
            memcg: true,
            zonelist: false,
        }),
        message: None,
        trigger: task.clone(),
        trigger_cgroups: Some(cgroups()),
        victim: Some(task.clone()),
        victim_cgroups: Some(cgroups()),
        limit_cgroups: Some(cgroups()),
        limit_memory: Some(Box::new(memory)),
        victim_memory: None,
        stack: None,
    };
    let mark =
        OomVictim { stamp: stamp(2), task, cgroups: Some(cgroups()), marker_tid: 2, in_decision: false };
    [
        Event::OomDecision(Box::new(decision)),
        Event::OomVictim(Box::new(mark)),
        Event::OomDecisionEnd(stamp(3)),
    ]
}

fn cgroups() -> Lineage {
    const NAMES: [&str; 5] = [
        "cri-containerd-00000000000000000000000000000000000000000000000000000000000000ff.scope",
        "kubepods-burstable-pod00000000_0000_4000_8000_000000000000.slice",
        "kubepods-burstable.slice",
        "kubepods.slice",
        "",
    ];
    let level = |(at, name): (usize, &str)| Level {
        cgroup_id: Some(3 + at as u64),
        name: Some(name.into()),
        root: name.is_empty(),
        usage_bytes: Some(LIMIT_BYTES),
        limit: Some(if at < 2 { Limit::Bytes(LIMIT_BYTES) } else { Limit::Unlimited }),
        oom_group: Some(false),
        ..Level::default()
    };
    let levels = NAMES.into_iter().enumerate().map(level).collect();
    Lineage { levels, skipped: 0, incomplete: false, unified: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gfp::GfpNames;

    /// Each sentence and field that a kill in a pod has: nothing is left out because a fact is missing.
    #[test]
    fn a_whole_report_is_made() {
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
        let bytes = rehearse(&session, &machine, &context);
        assert!((4000..12_000).contains(&bytes), "{bytes}");
    }
}
