//! The zones of a failed allocation, the allocation itself, and unmovable memory.

use std::collections::BTreeMap;

use super::*;
use crate::classify::tests::alloc::{case as case_of, failure, fragmented, short};
use crate::correlate::AllocFailures;
use crate::event::{AllocFailure, Asked, Event};
use crate::gfp::GfpNames;
use crate::node::Node;
use crate::node::{ProcFile, ProcFiles};
use crate::observe::observe;

const ZONEINFO: &str = include_str!("../../../../tests/fixtures/proc/zoneinfo");
const BUDDYINFO: &str = include_str!("../../../../tests/fixtures/proc/buddyinfo");

/// Files by their names; the others cannot be read.
#[derive(Debug)]
struct Files(BTreeMap<&'static str, &'static str>);

impl ProcFiles for Files {
    fn read(&mut self, file: ProcFile) -> Result<Vec<u8>, String> {
        let found = self.0.get(file.name()).map(|text| text.as_bytes().to_vec());
        found.ok_or_else(|| format!("{} cannot be read", file.name()))
    }
}

fn with<const N: usize>(files: [(&'static str, &'static str); N]) -> Node {
    Node { proc: Box::new(Files(files.into())), gfp: GfpNames::fallback(), ..Node::unseen("a test") }
}

fn looked(failure: AllocFailure, node: &mut Node) -> Option<crate::event::Zones> {
    let mut event = Event::AllocFailure(Box::new(failure));
    observe(&mut event, node.proc.as_mut());
    match event {
        Event::AllocFailure(failure) => failure.zones,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_zones_are_read_from_the_node_if_the_kernel_side_has_none() {
    let both = || with([("zoneinfo", ZONEINFO), ("buddyinfo", BUDDYINFO)]);
    let zones = looked(failure(9, 0xcc0, None), &mut both()).expect("zones");
    assert_eq!((zones.list.len(), zones.late), (3, true));
    assert_eq!(looked(failure(9, 0xcc0, Some(short())), &mut both()), Some(short()), "what it saw is better");
    for mut part in [with([("zoneinfo", ZONEINFO)]), with([("buddyinfo", BUDDYINFO)])] {
        assert_eq!(looked(failure(9, 0xcc0, None), &mut part), None);
    }
    assert_eq!(looked(failure(9, 0xcc0, None), &mut with([("zoneinfo", "\u{1}"), ("buddyinfo", "")])), None);
    let case = case_of(failure(9, 0xcc0, None));
    assert!(reason(&case, "memory").is_some_and(|reason| reason.contains("nor read from /proc")));
}

#[test]
fn the_request_has_the_order_of_the_allocation() {
    let request = |asked| case_of(AllocFailure { asked, ..failure(9, 0x10_0cca, Some(short())) }).request;
    let pages = request(Asked::Pages { order: 9 }).expect("a request");
    assert_eq!((pages.order, pages.traits.movable, pages.nodes), (9, true, Some(1)), "__GFP_HARDWALL");
    assert_eq!(request(Asked::Vmalloc { bytes: Some(1 << 30) }).map(|request| request.order), Some(0));
    assert_eq!(request(Asked::Other), None);
    let mut kernels = case_of(failure(9, 0xcc0, Some(short())));
    assert_eq!(kernels.request.take().and_then(|request| request.nodes), None, "of any node");
}

#[test]
fn bounds_on_nodes_come_together() {
    let nodes = |change: fn(&mut AllocFailure)| {
        let mut failure = failure(9, 0xcc0, Some(short()));
        change(&mut failure);
        case_of(failure).request.expect("a request").nodes
    };
    assert_eq!(nodes(|failure| failure.nodemask = Some(0b110)), Some(0b110));
    assert_eq!(
        nodes(|failure| (failure.gfp, failure.nodemask, failure.mems_allowed) =
            (0x10_0cc0, Some(0b110), Some(0b011))),
        Some(0b010)
    );
    assert_eq!(nodes(|failure| (failure.gfp, failure.numa_node) = (0x20_0cc0, 63)), Some(1 << 63));
    assert_eq!(
        nodes(|failure| (failure.gfp, failure.numa_node) = (0x20_0cc0, 64)),
        None,
        "beyond what is told"
    );
}

#[test]
fn unmovable_memory_is_read_if_it_may_be_the_reason() {
    let of = |zones, node: &mut Node| {
        let mut event = Event::AllocFailure(Box::new(failure(9, 0xcc0, Some(zones))));
        observe(&mut event, node.proc.as_mut());
        let Event::AllocFailure(event) = event else { panic!("{event:?}") };
        let failures = AllocFailures { event, repeats: 0, revision: 1 };
        // When the incident goes out, nothing is read any more: the memory has changed by then.
        enrich(Incident::AllocFailure(Box::new(failures)), &mut with([]))
    };
    let meminfo = || with([("meminfo", "SUnreclaim: 5 kB\n")]);
    let unmovable = of(fragmented(), &mut meminfo()).unmovable.expect("figures");
    assert_eq!(unmovable.slab_unreclaimable_bytes, Some(5 << 10));
    assert_eq!(of(short(), &mut meminfo()).unmovable, None);
    let unread = of(fragmented(), &mut with([]));
    assert_eq!(
        (unread.unmovable, reason(&unread, "memory.unmovable")),
        (None, Some("/proc/meminfo could not be read when it failed"))
    );
    assert_eq!(reason(&of(short(), &mut with([])), "memory.unmovable"), None);
}
