//! `cargo run -p crashtrace --example kills -- 2000 > kills.rec`: a recording of so many kills of containers at their own limits, each
//! with the records, cgroups and accounts that the kernel side sends of one. `crashtrace replay` of two such recordings of different
//! lengths under `valgrind --tool=callgrind` shows what an incident costs between ring and line, and what of it where.
//!
//! The containers are those of 250 pods by turns, as containerd and kubelet with systemd name them. Kills are far enough apart that
//! none are folded.

use std::io::{self, Write as _};

use crashtrace_ebpf::section;
use crashtrace_records::{Body, Memory, Record, cgroups, memcg_kill, memcg_memory, numbered};
use crashtrace_test_support::recording::{bytes, preamble};

const PODS: u64 = 250;
const EVERY_NS: u64 = 20_000_000_000;
/// Of the container's limit, which the pod has too.
const LIMIT_PAGES: u64 = 131_072;

fn main() -> io::Result<()> {
    let kills: u64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(2000);
    let records = (1..=kills).flat_map(kill).collect();
    io::stdout().write_all(&bytes(&preamble(), &numbered(records)))
}

fn kill(number: u64) -> Vec<Record> {
    let pod = number % PODS;
    let path = format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podb2f8a1c4_0d3e_4b6a_9c57_{pod:012x}.slice/\
         cri-containerd-{pod:032x}00112233445566778899aabbccddeef0.scope"
    );
    let mut records = memcg_kill(number * EVERY_NS, (number % 4) as u32, path.as_bytes(), b"java");
    for record in &mut records {
        for list in &mut record.sections {
            *list = limited(list.section.kind, &path, pod);
        }
        if let Body::Decision(decision) = &mut record.body {
            (decision.totalpages, decision.points) = (LIMIT_PAGES, 130_000 + 129_000);
            decision.trigger.anon_pages = 120_000;
            decision.victim.anon_pages = 120_000;
            record.memory = vec![Memory::Memcg(Box::new(memcg_memory(1000 + pod * 10, LIMIT_PAGES)))];
        }
        if let Body::Victim(victim) = &mut record.body {
            victim.task.anon_pages = 120_000;
        }
    }
    records
}

/// The container is at its limit, the pod near to its own, and the cgroups above are not limited.
fn limited(kind: u16, path: &str, pod: u64) -> crashtrace_records::Cgroups {
    let mut list = cgroups(kind, path.as_bytes(), LIMIT_PAGES);
    for (depth, (level, _)) in list.levels.iter_mut().enumerate() {
        match depth {
            0 => level.cgroup_id = 1000 + pod * 10,
            1 => (level.cgroup_id, level.max_pages) = (1001 + pod * 10, LIMIT_PAGES * 2),
            _ => level.max_pages = u64::MAX,
        }
    }
    if kind == section::LIMIT {
        list.levels.first_mut().expect("the container").0.usage_pages = LIMIT_PAGES;
    }
    list
}
