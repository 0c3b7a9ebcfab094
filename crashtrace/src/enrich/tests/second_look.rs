//! A second look at the node's cgroups, where the kernel side's walk ended early.

use super::*;
use crate::enrich::look_again;
use crate::event::{Holder, OomHolders};
use crate::node::{CgroupFiles, Look, Looked, Node};

const FIELD: &str = "memory.holders_late";

/// Gives what the test has set, and knows what it was asked for.
#[derive(Debug)]
struct Looks(Look, Vec<(u64, u64)>);

impl CgroupFiles for Looks {
    fn memory_stat(&mut self, _: &[u8], _: Option<u64>) -> Result<Vec<u8>, String> {
        Err("a test has none".to_owned())
    }

    fn large(&mut self, about: u64, least_bytes: u64) -> Look {
        self.1.push((about, least_bytes));
        self.0.clone()
    }
}

fn holder(parent: Option<usize>, name: &str, mib: u64) -> Holder {
    let level = Level { name: Some(name.into()), usage_bytes: Some(mib * MIB), ..Level::default() };
    Holder { parent, level }
}

/// A kill of the node, whose walk found one service.
fn cut(unfinished: bool, of_limit: bool) -> OomKill {
    let mut kill = kill(&lineage(&api()), None, &["oom_kill_process", "out_of_memory"]);
    kill.holders = Some(Box::new(OomHolders {
        stamp: kill.decision().stamp,
        least_bytes: 10 * MIB,
        holders: vec![holder(None, "system.slice", 50), holder(Some(0), "a.service", 45)],
        left_out: 0,
        small: 0,
        small_bytes: 0,
        looked_at: 9,
        total: Some(40_000),
        unfinished,
        time_up: unfinished,
        of_limit,
        removed_small: None,
    }));
    kill
}

fn case(kill: OomKill, look: Look) -> Case {
    enrich(
        an_incident(kill),
        &mut Node { cgroups: Box::new(Looks(look, Vec::new())), ..Node::unseen("a test") },
    )
}

fn late(case: &Case) -> Vec<(String, u64)> {
    let late = case.holders_late.as_ref().expect("a second look");
    let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    late.holders.iter().map(|held| (name(&held.party.path), held.usage_bytes / MIB)).collect()
}

/// What the walk had found is not told twice, however it has changed since.
fn looked() -> Looked {
    let mut pod = POD.split('/').skip(1);
    let mut name = || pod.next().expect("three names");
    let holders = vec![
        holder(None, "system.slice", 60),
        holder(None, name(), 300),
        holder(Some(0), "a.service", 44),
        holder(Some(0), "b.service", 12),
        holder(Some(1), name(), 300),
        holder(Some(4), name(), 290),
    ];
    Looked { holders, looked_at: 40_000, unfinished: true }
}

#[test]
fn a_walk_that_ended_early_is_followed_by_a_second_look() {
    let mut case = case(cut(true, false), Look::Pending);
    assert!(reason(&case, FIELD).is_some_and(|reason| reason.contains("not over")));
    assert_eq!(case.holders_late, None);
    let mut looks = Looks(Look::Pending, Vec::new());
    assert!(!look_again(&mut case, &mut looks));
    looks.0 = Look::Done(looked());
    assert!(look_again(&mut case, &mut looks));
    assert_eq!(late(&case), [(POD.to_owned(), 290), ("/system.slice/b.service".to_owned(), 12)]);
    let found = case.holders_late.as_ref().expect("a second look");
    assert_eq!((found.looked_at, found.incomplete), (40_000, true));
    assert_eq!(reason(&case, FIELD), None);
    assert!(!look_again(&mut case, &mut looks), "it is over");
    let stamp = case.memory.as_ref().map(|memory| memory.least_bytes);
    assert_eq!((looks.1.len(), stamp), (2, Some(10 * MIB)));
    assert!(looks.1.iter().all(|asked| *asked == looks.1[0] && asked.1 == 10 * MIB), "{:?}", looks.1);
}

#[test]
fn a_walk_that_was_complete_or_of_a_limit_needs_none() {
    for kill in [cut(false, false), cut(true, true)] {
        let case = case(kill, Look::Done(looked()));
        assert!(case.holders_late.is_none() && case.second_look.is_none());
        assert_eq!(reason(&case, FIELD), None);
    }
}

#[test]
fn a_look_that_cannot_be_made_has_its_reason() {
    let case = case(cut(true, false), Look::Failed("no threads".to_owned()));
    assert_eq!(reason(&case, FIELD), Some("no threads"));
    assert!(case.holders_late.is_none() && case.second_look.is_none());
}

/// On a node that is a container the agent sees paths from that container on; those of the report begin at the machine's root.
#[test]
fn paths_begin_at_the_machines_root() {
    let container = "/docker/14f9928c6e625b324b8970ffd509ee2647fe9a6cfb9d9e54c5bab6faa1603c71";
    let mut kill = cut(true, false);
    let mut cgroups = lineage(&format!("{container}{}", api()));
    let at = cgroups.levels.len() - 3;
    cgroups.levels[at].cgroup_id = Some(77);
    assert_eq!(cgroups.path_of(at), container.as_bytes());
    kill.decision().victim_cgroups = Some(cgroups);
    let mut node = Node {
        cgroups: Box::new(Looks(Look::Done(looked()), Vec::new())),
        root: NodeRoot { cgroup_id: Some(77), ..NodeRoot::default() },
        ..Node::unseen("a test")
    };
    let case = enrich(an_incident(kill), &mut node);
    assert_eq!(late(&case)[0], (format!("{container}{POD}"), 290));
}
