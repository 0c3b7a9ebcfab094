//! Words for the owners of limits.

mod kubernetes;

use crate::cgroup::NodeRoot;
use crate::classify::tests::build::{
    BURSTABLE, CHARGE, KUBEPODS, MIB, POD, Told, WRITE, an_incident, api, kill, lineage, told,
};
use crate::enrich::enrich;
use crate::node::Node;

/// A kill in the cgroup `victim` at the limit of its ancestor `limit`.
fn killed(victim: &str, limit: &str, stack: &[&str], v1: bool) -> Told {
    let cgroups = lineage(victim).with(limit, 64 * MIB, 64 * MIB);
    let limit = cgroups.from(limit);
    let root = NodeRoot { v1, ..NodeRoot::default() };
    told(&enrich(
        an_incident(kill(&cgroups, Some(limit), stack)),
        &mut Node { root, ..Node::unseen("a test") },
    ))
}

fn texts(told: &Told) -> String {
    format!("{}\n{}\n{}", told.summary, told.evidence.join("\n"), told.remedy)
}

#[test]
fn the_limits_file_has_its_name_on_the_nodes_cgroup_version() {
    let nested = format!("{}/init.scope", api());
    for (victim, limit) in [
        (api(), api()),
        (api(), POD.to_owned()),
        (api(), BURSTABLE.to_owned()),
        (api(), KUBEPODS.to_owned()),
        (nested.clone(), nested),
        ("/custom/x".to_owned(), "/custom".to_owned()),
        ("/system.slice/x.service/y".to_owned(), "/system.slice/x.service/y".to_owned()),
    ] {
        let [v1, v2] = [true, false].map(|v1| texts(&killed(&victim, &limit, &CHARGE, v1)));
        assert!(!v1.contains("memory.max") && !v1.contains("memory.current"), "{v1}");
        assert!(!v2.contains("in_bytes"), "{v2}");
        assert_eq!(v1.replace("memory.limit_in_bytes", "memory.max"), v2);
    }
    let lowered = killed(&api(), &api(), &WRITE, false).remedy;
    assert!(lowered.contains("a tool that writes memory.max"), "{lowered}");
    // No limit owner is known.
    let unknown = kill(&lineage(&api()), None, &CHARGE).raw();
    for (v1, usage, limit) in
        [(true, "memory.usage_in_bytes", "memory.limit_in_bytes"), (false, "memory.current", "memory.max")]
    {
        let root = NodeRoot { v1, ..NodeRoot::default() };
        let mut node = Node { root, ..Node::unseen("a test") };
        let remedy = told(&enrich(an_incident(unknown.clone()), &mut node)).remedy;
        assert!(remedy.starts_with(&format!("Compare {usage} with {limit} in")), "{remedy}");
    }
}
