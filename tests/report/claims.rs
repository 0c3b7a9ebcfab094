//! A cgroup of a user's that has the names of a pod.

use crashtrace::event::{Constraint, Event, Hook, OomDecision};

use crate::parts::{
    API, CHARGE, MIB, Made, control, decision, end, in_pod, limited, lineage, made, marked, task,
};

const USER: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice";

pub(crate) fn imitation() -> Made {
    let path = format!("{USER}{}", in_pod(API));
    let cgroups = || limited(lineage(&path), 0, 64 * MIB, 64 * MIB);
    let victim = task(4211, "hog", 60);
    let decision = OomDecision {
        control: Some(control(Constraint::Memcg, 64 * MIB, 61)),
        trigger: victim.clone(),
        trigger_cgroups: Some(cgroups()),
        victim: Some(victim.clone()),
        victim_cgroups: Some(cgroups()),
        limit_cgroups: Some(cgroups()),
        ..decision(Hook::Fentry, &CHARGE)
    };
    made(vec![Event::OomDecision(Box::new(decision)), marked(victim, cgroups()), end(Hook::Fentry)])
}
