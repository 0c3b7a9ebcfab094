//! A cgroup of a user's that has the names of a pod: what is said of it, by the stages that say it.

use crashtrace::classify::{Verdict, classify};
use crashtrace::enrich::{Case, Node, enrich};
use crashtrace::event::{Constraint, Hook, OomDecision, Stack};

use crate::parts::{API, MIB, case, control, decision, in_pod, level_of, lineage, marked, task};

const USER: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice";

pub(crate) fn imitation() -> (Case, Verdict) {
    let path = format!("{USER}{}", in_pod(API));
    let victim = task(4211, "hog", 60);
    let functions = ["oom_kill_process", "mem_cgroup_out_of_memory", "try_charge_memcg"];
    let decision = OomDecision {
        control: Some(control(Constraint::Memcg, 64 * MIB)),
        trigger: victim.clone(),
        trigger_cgroups: Some(lineage(&path)),
        victim: Some(victim.clone()),
        victim_cgroups: Some(lineage(&path)),
        limit_cgroups: Some(level_of(&path, 64 * MIB, 64 * MIB)),
        stack: Some(Stack(functions.map(str::to_owned).to_vec())),
        ..decision(Hook::Fentry)
    };
    let made = case(Some(decision), vec![marked(victim, &path)]);
    let case = enrich(made.incident, &mut Node::unseen("a test does not have it"));
    let verdict = classify(&case);
    (case, verdict)
}
