//! [`crashtrace_records`] writes fields in the order of the ABI's types in memory, and the decoder reads them in that order.

use std::mem::offset_of;

use crate::event::{
    Constraint, Hook, OomControl, OomNoVictim as NoVictim, OomVictim as Victim, Rss, Stack, Stamp,
};

use super::*;

/// A record that is written by offsets only.
pub(super) struct Raw(Vec<u8>);

impl Raw {
    pub(super) fn new(body: usize, kind: u16) -> Self {
        let mut raw = Self(vec![0; size_of::<Header>() + body]);
        let length = raw.0.len() as u32;
        raw.at(offset_of!(Header, layout), &abi::LAYOUT_VERSION.to_le_bytes());
        raw.at(offset_of!(Header, kind), &kind.to_le_bytes());
        raw.at(offset_of!(Header, length), &length.to_le_bytes());
        raw.at(offset_of!(Header, seq), &101_u64.to_le_bytes());
        raw.at(offset_of!(Header, ktime_ns), &102_u64.to_le_bytes());
        raw.at(offset_of!(Header, decision_ns), &103_u64.to_le_bytes());
        raw.at(offset_of!(Header, missing), &0_u32.to_le_bytes());
        raw.at(offset_of!(Header, cpu), &104_u32.to_le_bytes());
        raw.at(offset_of!(Header, hook), &[hook::KPROBE]);
        raw
    }

    fn at(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// A field of the body.
    pub(super) fn body(&mut self, offset: usize, bytes: &[u8]) {
        self.at(size_of::<Header>() + offset, bytes);
    }

    /// A task at `offset` of the body, each field with a different value, from `base` on.
    pub(super) fn task(&mut self, offset: usize, base: u8) -> Task {
        macro_rules! put {
            ($($field:ident: $type:ty = $value:expr),+) => {
                $(self.body(offset + offset_of!(abi::Task, $field), &<$type>::from($value).to_le_bytes());)+
            };
        }
        put!(start_boottime_ns: u64 = base, anon_pages: i64 = base + 1, file_pages: i64 = base + 2);
        put!(shmem_pages: i64 = base + 3, swap_pages: i64 = base + 4, page_table_bytes: u64 = base + 5);
        put!(total_vm_pages: u64 = base + 6, tgid: u32 = base + 7, tid: u32 = base + 8, ns_tgid: u32 = base + 9);
        put!(ns_tid: u32 = base + 10, uid: u32 = base + 11, task_flags: u32 = 4_u8, oom_score_adj: i16 = base + 12);
        self.body(offset + offset_of!(abi::Task, dumps_core), &[0; 2]);
        self.body(offset + offset_of!(abi::Task, threads), &1_u32.to_le_bytes());
        self.body(offset + offset_of!(abi::Task, comm), &[b'a' + base; 16]);
        self.body(offset + offset_of!(abi::Task, thread_comm), &[b'b' + base; 16]);
        let value = |add: u8| u64::from(base + add);
        let number = |add: u8| Some(u32::from(base + add));
        Task {
            pid: number(7),
            tid: number(8),
            container_pid: number(9),
            comm: Some(Name(vec![b'a' + base; 16])),
            thread_comm: Some(Name(vec![b'b' + base; 16])),
            uid: number(11),
            oom_score_adj: Some(i16::from(base + 12)),
            rss: Some(Rss {
                anon_bytes: value(1) * PAGE,
                file_bytes: value(2) * PAGE,
                shmem_bytes: value(3) * PAGE,
                swap_bytes: value(4) * PAGE,
            }),
            page_table_bytes: Some(value(5)),
            total_vm_bytes: Some(value(6) * PAGE),
            start_boottime_ns: Some(value(0)),
            exiting: Some(true),
        }
    }

    pub(super) fn decoded(self) -> Event {
        decode(&Bytes::from(self.0), &machine()).expect("a record")
    }
}

pub(super) fn stamp() -> Stamp {
    Stamp { ktime_ns: 102, cpu: 104, seq: 101, hook: Hook::Kprobe, decision_ns: Some(103) }
}

fn named() -> Stack {
    Stack(vec!["out_of_memory".to_owned()])
}

#[test]
fn a_decision_is_read_as_it_lies_in_memory() {
    let mut raw = Raw::new(size_of::<OomDecision>(), abi::kind::OOM_DECISION);
    raw.body(offset_of!(OomDecision, totalpages), &21_u64.to_le_bytes());
    raw.body(offset_of!(OomDecision, points), &(-22_i64).to_le_bytes());
    raw.body(offset_of!(OomDecision, gfp), &23_u32.to_le_bytes());
    raw.body(offset_of!(OomDecision, order), &24_i32.to_le_bytes());
    raw.body(offset_of!(OomDecision, constraint), &25_u32.to_le_bytes());
    raw.body(offset_of!(OomDecision, flags), &3_u32.to_le_bytes());
    raw.body(offset_of!(OomDecision, message), &[b'm'; abi::MESSAGE_BYTES]);
    let trigger = raw.task(offset_of!(OomDecision, trigger), 1);
    let victim = raw.task(offset_of!(OomDecision, victim), 17);
    // The last place, and a frame without a name before it.
    raw.body(offset_of!(OomDecision, stack), &5_u64.to_le_bytes());
    raw.body(offset_of!(OomDecision, stack) + 8 * (STACK_FRAMES - 1), &OUT_OF_MEMORY.to_le_bytes());
    assert_eq!(
        raw.decoded(),
        Event::OomDecision(Box::new(Decided {
            limit_memory: None,
            victim_memory: None,
            stamp: stamp(),
            control: Some(OomControl {
                total_bytes: 21 * PAGE,
                points_bytes: -22 * PAGE.cast_signed(),
                gfp: 23,
                order: Some(24),
                constraint: Constraint::Other(25),
                memcg: true,
                zonelist: true,
            }),
            message: Some(Name(vec![b'm'; abi::MESSAGE_BYTES])),
            trigger,
            trigger_cgroups: None,
            victim: Some(victim),
            victim_cgroups: None,
            limit_cgroups: None,
            stack: Some(named()),
        }))
    );
}

#[test]
fn a_victim_is_read_as_it_lies_in_memory() {
    let mut raw = Raw::new(size_of::<OomVictim>(), abi::kind::OOM_VICTIM);
    let task = raw.task(offset_of!(OomVictim, task), 1);
    raw.body(offset_of!(OomVictim, marker_tid), &31_u32.to_le_bytes());
    raw.body(offset_of!(OomVictim, pad), &[0xff; 4]);
    let victim = Victim { stamp: stamp(), task, cgroups: None, in_decision: false, marker_tid: 31 };
    assert_eq!(raw.decoded(), Event::OomVictim(Box::new(victim)));
}

#[test]
fn an_oom_without_a_victim_is_read_as_it_lies_in_memory() {
    let mut raw = Raw::new(size_of::<OomNoVictim>(), abi::kind::OOM_NO_VICTIM);
    raw.body(offset_of!(OomNoVictim, repeats), &41_u64.to_le_bytes());
    raw.body(offset_of!(OomNoVictim, gfp), &42_u32.to_le_bytes());
    raw.body(offset_of!(OomNoVictim, order), &43_i32.to_le_bytes());
    raw.body(offset_of!(OomNoVictim, flags), &1_u32.to_le_bytes());
    raw.body(offset_of!(OomNoVictim, pad), &[0xff; 4]);
    let trigger = raw.task(offset_of!(OomNoVictim, trigger), 1);
    raw.body(offset_of!(OomNoVictim, stack) + 8 * (STACK_FRAMES - 1), &OUT_OF_MEMORY.to_le_bytes());
    assert_eq!(
        raw.decoded(),
        Event::OomNoVictim(Box::new(NoVictim {
            limit_memory: None,
            stamp: stamp(),
            why: crate::event::NoKill::NobodyFound,
            repeats: 41,
            gfp: Some(42),
            order: Some(43),
            memcg: true,
            trigger,
            trigger_cgroups: None,
            limit_cgroups: None,
            stack: Some(named()),
        }))
    );
}

#[test]
fn what_a_section_joins_is_read_as_it_lies_in_memory() {
    let mut raw = Raw::new(size_of::<OomVictim>() + size_of::<Section>(), abi::kind::OOM_VICTIM);
    for id in [offset_of!(abi::Task, tgid), offset_of!(abi::Task, tid)] {
        raw.body(offset_of!(OomVictim, task) + id, &1_u32.to_le_bytes());
    }
    let section = size_of::<OomVictim>();
    raw.body(section + offset_of!(Section, kind), &section::VICTIM.to_le_bytes());
    raw.body(section + offset_of!(Section, length), &(size_of::<Section>() as u32).to_le_bytes());
    let joins = section::VICTIM | abi::joins::DECISION;
    raw.body(section + offset_of!(Section, joins), &joins.to_le_bytes());
    let Event::OomVictim(victim) = raw.decoded() else { panic!("no victim") };
    assert!(victim.in_decision);
}

#[test]
fn a_section_and_its_levels_are_read_as_they_lie_in_memory() {
    let tail = size_of::<Section>() + size_of::<Level>() + 8;
    let mut raw = Raw::new(size_of::<OomVictim>() + tail, abi::kind::OOM_VICTIM);
    for id in [offset_of!(abi::Task, tgid), offset_of!(abi::Task, tid)] {
        raw.body(offset_of!(OomVictim, task) + id, &1_u32.to_le_bytes());
    }
    let section = size_of::<OomVictim>();
    raw.body(section + offset_of!(Section, kind), &section::VICTIM.to_le_bytes());
    raw.body(section + offset_of!(Section, levels), &1_u16.to_le_bytes());
    raw.body(section + offset_of!(Section, flags), &abi::section_flag::INCOMPLETE.to_le_bytes());
    raw.body(section + offset_of!(Section, skipped), &51_u16.to_le_bytes());
    raw.body(section + offset_of!(Section, length), &(tail as u32).to_le_bytes());
    let level = section + size_of::<Section>();
    raw.body(level + offset_of!(Level, length), &56_u16.to_le_bytes());
    raw.body(level + offset_of!(Level, name_length), &3_u16.to_le_bytes());
    raw.body(level + offset_of!(Level, flags), &abi::level_flag::OOM_GROUP.to_le_bytes());
    raw.body(level + offset_of!(Level, cgroup_id), &52_u64.to_le_bytes());
    raw.body(level + offset_of!(Level, usage_pages), &53_u64.to_le_bytes());
    raw.body(level + offset_of!(Level, max_pages), &54_u64.to_le_bytes());
    raw.body(level + offset_of!(Level, swap_usage_pages), &55_u64.to_le_bytes());
    raw.body(level + offset_of!(Level, swap_max_pages), &56_u64.to_le_bytes());
    raw.body(level + size_of::<Level>(), b"pod");
    let Event::OomVictim(victim) = raw.decoded() else { panic!("no victim") };
    let level = EventLevel {
        removed: false,
        cgroup_id: Some(52),
        name: Some(Name::from("pod")),
        root: false,
        usage_bytes: Some(53 * PAGE),
        limit: Some(Limit::Bytes(54 * PAGE)),
        swap_usage_bytes: Some(55 * PAGE),
        swap_limit: Some(Limit::Bytes(56 * PAGE)),
        oom_group: Some(true),
        oom_kill_disable: false,
    };
    let lineage = Lineage { levels: vec![level], skipped: 51, incomplete: true, unified: false };
    assert_eq!(victim.cgroups, Some(lineage));
}

#[test]
fn records_of_the_tests_have_the_size_of_the_types() {
    let size = |body| record(body, 1, 0, hook::FENTRY).bytes().len() - size_of::<Header>();
    let [decision, victim, _, none, wait, held, _, failure, end] = &each_kind()[..] else {
        panic!("nine kinds")
    };
    assert_eq!(size(decision.body.clone()), size_of::<OomDecision>());
    assert_eq!(size(victim.body.clone()), size_of::<OomVictim>());
    assert_eq!(size(none.body.clone()), size_of::<OomNoVictim>());
    assert_eq!(size(wait.body.clone()), size_of::<OomNoVictim>());
    let Body::Holders(body, _) = &held.body else { panic!("these are holders") };
    assert_eq!(size(Body::Holders(*body, Vec::new())), size_of::<abi::OomHolders>());
    assert_eq!(size(failure.body.clone()), size_of::<abi::AllocFailure>());
    assert_eq!(size(end.body.clone()), size_of::<abi::ContainerExit>());
    assert_eq!((size(Body::End), size(Body::Zones)), (0, 0));
    let section = |levels| {
        let sections = vec![Cgroups { section: Section::default(), levels }];
        let record = Record { sections, ..record(Body::End, 1, 0, hook::FENTRY) };
        record.bytes().len() - size_of::<Header>()
    };
    assert_eq!(section(Vec::new()), size_of::<Section>());
    assert_eq!(
        section(vec![(Level::default(), vec![b'n'; 9])]),
        size_of::<Section>() + size_of::<Level>() + 16
    );
}
