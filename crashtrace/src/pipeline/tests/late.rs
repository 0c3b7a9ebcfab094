//! A second look at the node's cgroups makes another revision.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::event::{Holder, Level};
use crate::node::{CgroupFiles, Look, Looked, Node};
use crate::pipeline::revisions::{SOON_NS, WAIT_NS};
use crashtrace_ebpf::holders_flag;
use crashtrace_records::holders;

/// Gives the look that the test has set.
#[derive(Debug)]
struct Cgroups(Rc<RefCell<Look>>);

impl CgroupFiles for Cgroups {
    fn memory_stat(&mut self, _: &[u8], _: Option<u64>) -> Result<Vec<u8>, String> {
        Err("a test has none".to_owned())
    }

    fn large(&mut self, _: u64, _: u64) -> Look {
        self.0.borrow().clone()
    }
}

/// A pipeline that has just reported a kill of the node whose walk had these flags.
fn killed(look: Look, flags: u32) -> (Pipeline, Rc<RefCell<Look>>, Value) {
    let look = Rc::new(RefCell::new(look));
    let mut pipeline = pipeline(Filter::default());
    pipeline.node = Node { cgroups: Box::new(Cgroups(Rc::clone(&look))), ..Node::unseen("a test") };
    let mut records = memcg_kill(100, 0, HOST, b"java");
    if let Body::Decision(body) = &mut records[0].body {
        (body.flags, body.constraint) = (0, 0);
    }
    records[0].sections.truncate(2);
    let mut walk = holders(100, 0);
    if let Body::Holders(body, _) = &mut walk.body {
        body.flags = flags;
    }
    records.insert(1, walk);
    let [line] = lines(&mut pipeline, &numbered(records)).try_into().expect("one line at once");
    (pipeline, look, line)
}

fn found() -> Look {
    let level = Level { name: Some("late.service".into()), usage_bytes: Some(1 << 30), ..Level::default() };
    Look::Done(Looked { holders: vec![Holder { parent: None, level }], looked_at: 77, unfinished: false })
}

fn gaps(line: &Value) -> usize {
    let all = line["unresolved"].as_array().expect("a list");
    all.iter().filter(|gap| gap["field"] == "memory.holders_late").count()
}

const CUT: u32 = holders_flag::UNFINISHED | holders_flag::TIME_UP;

#[test]
fn a_look_that_ends_later_makes_one_more_revision() {
    let (mut pipeline, look, first) = killed(Look::Pending, CUT);
    assert_eq!((&first["revision"], &first["memory"]["time_up"]), (&1.into(), &true.into()));
    assert_eq!((gaps(&first), &first["memory"]["cgroups_looked_at_late"]), (1, &Value::Null));
    let due = pipeline.deadline_ns().expect("it looks again");
    assert_eq!(pipeline.tick(due).len(), 0);
    *look.borrow_mut() = found();
    let due = pipeline.deadline_ns().expect("it looks again");
    let [second] = pipeline.tick(due).try_into().expect("one more line");
    let second = json(&second);
    assert_eq!((&second["revision"], &second["id"]), (&2.into(), &first["id"]));
    let memory = &second["memory"];
    assert_eq!(memory["holders_late"][0]["cgroup"], "/late.service");
    assert_eq!((&memory["cgroups_looked_at_late"], &memory["late_incomplete"]), (&77.into(), &false.into()));
    assert_eq!(memory["holders"], first["memory"]["holders"], "those of the decision stay");
    assert_eq!(gaps(&second), 0);
    let evidence = second["verdict"]["evidence"].to_string();
    assert!(evidence.contains("a second look at 77 cgroups, just after the kill, found "), "{evidence}");
    assert_eq!(pipeline.deadline_ns(), None, "and no other");
}

/// The line of the first moment stays as it is.
#[test]
fn a_look_that_does_not_end_is_not_awaited_for_ever() {
    let (mut pipeline, _, first) = killed(Look::Pending, CUT);
    assert_eq!(gaps(&first), 1);
    let last = 100 + WAIT_NS + SOON_NS;
    while let Some(due) = pipeline.deadline_ns() {
        assert!(due <= last + 60 * SECOND, "{due}");
        assert_eq!(pipeline.tick(due).len(), 0);
    }
}

#[test]
fn a_walk_that_was_through_is_not_repeated() {
    let (pipeline, _, line) = killed(found(), 0);
    assert_eq!((&line["memory"]["time_up"], gaps(&line)), (&false.into(), 0));
    assert_eq!(line["memory"]["holders_late"], serde_json::json!([]));
    assert_eq!(pipeline.deadline_ns(), None);
}
