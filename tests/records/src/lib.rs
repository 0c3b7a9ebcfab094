//! Records as the kernel side writes them, made up by tests: the ABI's own types, field by field in their order.
//!
//! `decode::tests::layout` in crashtrace holds this order, and the decoder's, against the types' layout in memory.

#![expect(clippy::must_use_candidate, reason = "only tests call these")]

use std::collections::BTreeMap;
use std::mem::offset_of;

use crashtrace_ebpf::{
    COMM_BYTES, ContainerExit, GROUP_WORDS, Header, Holder, LAYOUT_VERSION, Level, MESSAGE_BYTES,
    OomDecision, OomHolders, OomNoVictim, OomVictim, STACK_FRAMES, Section, Task, VmallocArea, decision_flag,
    hook, kind, missing, section,
};

macro_rules! put {
    ($out:ident, $from:expr, $($field:ident),+) => {
        $($out.extend_from_slice(&$from.$field.to_le_bytes());)+
    };
}

mod exit;
mod memory;
mod pages;
pub use exit::*;
pub use memory::*;
pub use pages::*;

/// A record, before it is bytes.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its kind and its length are filled in by [`Record::bytes`].
    pub header: Header,
    pub body: Body,
    /// The section of zones; it comes first, if it is there.
    pub zones: Option<Zones>,
    /// The section of a failed vmalloc.
    pub vmalloc: Option<VmallocArea>,
    pub sections: Vec<Cgroups>,
    /// Sections about memory; they come last.
    pub memory: Vec<Memory>,
}

/// The body between header and sections.
#[derive(Clone, Debug)]
pub enum Body {
    Decision(Box<OomDecision>),
    End,
    Victim(OomVictim),
    NoVictim(Box<OomNoVictim>),
    Wait(Box<OomNoVictim>),
    /// The number of holders is filled in by [`Record::bytes`], and so are the lengths of their levels and names.
    Holders(OomHolders, Vec<(Holder, Vec<u8>)>),
    Zones,
    Memory,
    Failure(Box<crashtrace_ebpf::AllocFailure>),
    Exit(Box<ContainerExit>),
}

/// A section.
#[derive(Clone, Debug, Default)]
pub struct Cgroups {
    /// Its length and the number of its levels are filled in by [`Record::bytes`].
    pub section: Section,
    /// The length of a level and of its name are filled in as well.
    pub levels: Vec<(Level, Vec<u8>)>,
}

impl Record {
    pub fn bytes(&self) -> Vec<u8> {
        let mut tail = Vec::new();
        let kind = match &self.body {
            Body::Decision(body) => {
                decision(body, &mut tail);
                kind::OOM_DECISION
            }
            Body::End => kind::OOM_DECISION_END,
            Body::Victim(body) => {
                task(&body.task, &mut tail);
                put!(tail, body, marker_tid, pad);
                kind::OOM_VICTIM
            }
            Body::NoVictim(body) => {
                no_victim_body(body, &mut tail);
                kind::OOM_NO_VICTIM
            }
            Body::Wait(body) => {
                no_victim_body(body, &mut tail);
                kind::OOM_WAIT
            }
            Body::Holders(body, holders) => {
                let body = OomHolders { holders: holders.len() as u32, ..*body };
                put!(tail, body, least_pages, small_pages, small, looked_at, total, holders, left_out, flags);
                for (holder, name) in holders {
                    put!(tail, holder, parent, pad);
                    level(&holder.level, name, &mut tail);
                }
                kind::OOM_HOLDERS
            }
            Body::Zones => kind::OOM_ZONES,
            Body::Memory => kind::OOM_MEMORY,
            Body::Failure(body) => {
                failure(body, &mut tail);
                kind::ALLOC_FAILURE
            }
            Body::Exit(body) => {
                end(body, &mut tail);
                kind::CONTAINER_EXIT
            }
        };
        if let Some(zones) = &self.zones {
            zones.bytes(&mut tail);
        }
        if let Some(area) = &self.vmalloc {
            vmalloc(area, &mut tail);
        }
        for cgroups in &self.sections {
            cgroups.bytes(&mut tail);
        }
        for memory in &self.memory {
            memory.bytes(&mut tail);
        }
        let length = (size_of::<Header>() + tail.len()) as u32;
        let header = Header { kind, length, ..self.header };
        let mut bytes = Vec::new();
        put!(bytes, header, layout, kind, length, seq, ktime_ns, decision_ns, missing, cpu, hook, stream);
        bytes.extend_from_slice(&header.pad);
        put!(bytes, header, unpacked);
        bytes.extend_from_slice(&tail);
        bytes
    }
}

impl Cgroups {
    fn bytes(&self, out: &mut Vec<u8>) {
        let mut tail = Vec::new();
        for (of, name) in &self.levels {
            level(of, name, &mut tail);
        }
        let length = (size_of::<Section>() + tail.len()) as u32;
        let section = Section { levels: self.levels.len() as u16, length, ..self.section };
        put!(out, section, kind, levels, flags, skipped, length, joins, joined_at);
        out.extend_from_slice(&tail);
    }
}

/// The record without its words that are zero, as the kernel side sends it.
///
/// # Panics
/// The record is shorter than a header.
pub fn packed(record: &[u8]) -> Vec<u8> {
    let (header, rest) = record.split_at(size_of::<Header>());
    let words: Vec<&[u8]> = rest.chunks(8).collect();
    let mut out = header.to_vec();
    let mut bitmaps = Vec::new();
    for group in words.chunks(GROUP_WORDS) {
        let mut bitmap = 0_u64;
        for (bit, word) in group.iter().enumerate() {
            if word.iter().any(|&byte| byte != 0) {
                bitmap |= 1 << bit;
                out.extend_from_slice(word);
            }
        }
        bitmaps.push(bitmap);
    }
    self::words(&bitmaps, &mut out);
    let length = out.len() as u32;
    out[offset_of!(Header, length)..][..4].copy_from_slice(&length.to_le_bytes());
    out[offset_of!(Header, unpacked)..][..4].copy_from_slice(&(record.len() as u32).to_le_bytes());
    out
}

fn words(words: &[u64], out: &mut Vec<u8>) {
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

fn level(level: &Level, name: &[u8], out: &mut Vec<u8>) {
    let padded = name.len().next_multiple_of(8);
    let length = (size_of::<Level>() + padded) as u16;
    let level = Level { length, name_length: name.len() as u16, ..*level };
    put!(out, level, length, name_length, flags, cgroup_id, usage_pages, max_pages);
    put!(out, level, swap_usage_pages, swap_max_pages);
    out.extend_from_slice(name);
    out.resize(out.len() + padded - name.len(), 0);
}

fn no_victim_body(body: &OomNoVictim, out: &mut Vec<u8>) {
    put!(out, body, repeats, gfp, order, flags, pad);
    task(&body.trigger, out);
    words(&body.stack, out);
}

fn decision(body: &OomDecision, out: &mut Vec<u8>) {
    put!(out, body, totalpages, points, gfp, order, constraint, flags);
    out.extend_from_slice(&body.message);
    task(&body.trigger, out);
    task(&body.victim, out);
    words(&body.stack, out);
}

fn task(task: &Task, out: &mut Vec<u8>) {
    put!(out, task, start_boottime_ns, anon_pages, file_pages, shmem_pages, swap_pages, page_table_bytes);
    put!(out, task, total_vm_pages, tgid, tid, ns_tgid, ns_tid, uid, task_flags, signal_flags, missing);
    put!(out, task, oom_score_adj, dumps_core, threads);
    out.extend_from_slice(&task.comm);
    out.extend_from_slice(&task.thread_comm);
}

/// `text` with NULs behind it; cut, without a NUL, where it is longer than the field.
pub fn text<const N: usize>(text: &[u8]) -> [u8; N] {
    std::array::from_fn(|index| text.get(index).copied().unwrap_or_default())
}

/// A process of `pages` anonymous pages.
pub fn process(pid: u32, comm: &[u8], pages: i64) -> Task {
    Task {
        start_boottime_ns: pid.into(),
        anon_pages: pages,
        file_pages: 16,
        page_table_bytes: 65_536,
        total_vm_pages: 100_000,
        tgid: pid,
        tid: pid,
        ns_tgid: 1,
        ns_tid: 1,
        uid: 1000,
        oom_score_adj: 986,
        threads: 1,
        comm: text::<COMM_BYTES>(comm),
        thread_comm: text::<COMM_BYTES>(comm),
        ..Task::default()
    }
}

/// The cgroups of `path`, each of them with a limit of `max_pages`, in use up to it.
pub fn cgroups(kind: u16, path: &[u8], max_pages: u64) -> Cgroups {
    let root = Level { max_pages: u64::MAX, swap_max_pages: u64::MAX, cgroup_id: 1, ..Level::default() };
    let root = (Level { flags: crashtrace_ebpf::level_flag::ROOT, ..root }, Vec::new());
    let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    let level = |(depth, name): (usize, &[u8])| {
        let level = Level {
            cgroup_id: 100 + depth as u64,
            usage_pages: max_pages,
            max_pages,
            swap_max_pages: u64::MAX,
            ..Level::default()
        };
        (level, name.to_vec())
    };
    let mut levels: Vec<_> = [root].into_iter().chain(names.enumerate().map(level)).collect();
    levels.reverse();
    Cgroups { section: Section { kind, ..Section::default() }, levels }
}

/// A record of which nothing but time, place and hook is set.
pub fn record(body: Body, ktime_ns: u64, cpu: u32, hook: u8) -> Record {
    let header = Header { layout: LAYOUT_VERSION, ktime_ns, cpu, hook, ..Header::default() };
    Record { header, body, zones: None, vmalloc: None, sections: Vec::new(), memory: Vec::new() }
}

/// The records of a process that ran into the limit of its cgroup and was killed: decision, mark and end.
pub fn memcg_kill(ktime_ns: u64, cpu: u32, path: &[u8], comm: &[u8]) -> Vec<Record> {
    let victim = process(4211, comm, 8000);
    let decision = OomDecision {
        totalpages: 8192,
        points: 8100,
        gfp: 0xcc0,
        order: 0,
        constraint: 3,
        flags: decision_flag::MEMCG,
        message: text::<MESSAGE_BYTES>(b"Memory cgroup out of memory"),
        trigger: victim,
        victim,
        stack: [0; STACK_FRAMES],
    };
    let of = |kind| cgroups(kind, path, 8192);
    let decision = Record {
        sections: vec![of(section::TRIGGER), of(section::VICTIM), of(section::LIMIT)],
        ..record(Body::Decision(Box::new(decision)), ktime_ns, cpu, hook::FENTRY)
    };
    let mark = OomVictim { task: victim, marker_tid: 4211, pad: 0 };
    let mark = Record {
        sections: vec![of(section::VICTIM)],
        ..record(Body::Victim(mark), ktime_ns + 1_000, cpu, hook::RAW_TRACEPOINT)
    };
    let end = record(Body::End, ktime_ns + 2_000, cpu, hook::FENTRY);
    let mut records = vec![decision, mark, end];
    for record in &mut records {
        record.header.decision_ns = ktime_ns;
    }
    records
}

/// An OOM of the cgroup `path` that found no process to kill.
pub fn no_victim(ktime_ns: u64, cpu: u32, path: &[u8], repeats: u64) -> Record {
    let body = OomNoVictim {
        repeats,
        gfp: 0xcc0,
        order: 0,
        flags: decision_flag::MEMCG,
        pad: 0,
        trigger: process(77, b"sh", 10),
        stack: [0; STACK_FRAMES],
    };
    Record {
        sections: vec![cgroups(section::LIMIT, path, 8192)],
        ..record(Body::NoVictim(Box::new(body)), ktime_ns, cpu, hook::FENTRY)
    }
}

/// A task that waits at the limit of the cgroup `path`, on a kernel that does not store the allocation's order and flags.
pub fn wait(ktime_ns: u64, cpu: u32, path: &[u8], repeats: u64) -> Record {
    let mut record = no_victim(ktime_ns, cpu, path, repeats);
    if let Body::NoVictim(body) = record.body {
        record.body = Body::Wait(body);
    }
    record.header.missing |= missing::REQUEST;
    record
}

/// Who held the node's memory at the decision of that time: a pod and a service.
pub fn holders(ktime_ns: u64, cpu: u32) -> Record {
    let body = OomHolders {
        least_pages: 1000,
        small_pages: 1500,
        small: 7,
        looked_at: 11,
        total: 40,
        holders: 0,
        left_out: 0,
        flags: 0,
    };
    let holder = |parent, name: &[u8], usage_pages| {
        let level = Level { usage_pages, max_pages: u64::MAX, swap_max_pages: u64::MAX, ..Level::default() };
        (Holder { parent, pad: 0, level }, name.to_vec())
    };
    let found = vec![
        holder(0, b"kubepods", 9000),
        holder(0, b"system.slice", 3000),
        holder(1, b"pod8b9f2a6e-1c3d-4e5f-9a7b-2c4d6e8f0a1b", 8000),
        holder(2, b"containerd.service", 2500),
    ];
    let mut record = record(Body::Holders(body, found), ktime_ns + 500, cpu, hook::FENTRY);
    record.header.decision_ns = ktime_ns;
    record
}

/// Numbers the records as each CPU counts its own, and says of all of them that they have no stack.
pub fn numbered(mut records: Vec<Record>) -> Vec<Record> {
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    for record in &mut records {
        let seq = next.entry(record.header.cpu).or_default();
        record.header.seq = *seq;
        record.header.missing |= missing::STACK;
        *seq += 1;
    }
    records
}
