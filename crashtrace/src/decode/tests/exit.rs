//! Ends of containers: where each fact lies, what an empty place is, and what is impossible.

use std::mem::offset_of;

use crashtrace_ebpf::{
    ContainerExit as Body, FAILED_EXECS, FailedExecs, RaisedSignal, SENDER_NAMES_BYTES, SentSignal,
    exit_flag, sender_flag,
};
use crashtrace_records::{NOT_SENT, sent_signal, text};

use super::layout::{Raw, stamp};
use super::*;
use crate::event::{ContainerExit, FailedExec, Outcome, Parent, Raised, Sender, Signal, WaitStatus};

const PATH: &[u8] = b"/system.slice/containerd.service";

fn end(change: impl FnOnce(&mut Body)) -> Result<ContainerExit, DecodeError> {
    let mut record = container_exit(2_000_000_000_000, 3, b"/kubepods/pod1/c1", b"java", 3 << 8);
    let crashtrace_records::Body::Exit(body) = &mut record.body else { unreachable!() };
    change(body);
    match read(&record)? {
        Event::ContainerExit(end) => Ok(*end),
        other => panic!("no end: {other:?}"),
    }
}

fn level(name: &str, cgroup_id: Option<u64>) -> EventLevel {
    EventLevel { cgroup_id, name: Some(Name::from(name)), ..EventLevel::default() }
}

/// Each field by its offset, with a value of its own.
#[test]
fn an_end_is_read_as_it_lies_in_memory() {
    let mut raw = Raw::new(size_of::<Body>(), abi::kind::CONTAINER_EXIT);
    let task = raw.task(offset_of!(Body, task), 1);
    macro_rules! put {
        ($at:expr, $of:ty: $($field:ident = $value:expr),+) => {
            $(raw.body($at + offset_of!($of, $field), &$value.to_le_bytes());)+
        };
    }
    put!(0, Body: parent_tgid = 41_u32, status = 0x8b_i32, pid_ns = 42_u32, flags = 3_u32);
    raw.body(offset_of!(Body, parent_comm), &[b'p'; 16]);
    let sent = |raw: &mut Raw, at: usize, base: u32| {
        macro_rules! put {
            ($($field:ident: $type:ty = $value:expr),+) => {
                $(raw.body(at + offset_of!(SentSignal, $field), &<$type>::try_from($value).unwrap().to_le_bytes());)+
            };
        }
        put!(ktime_ns: u64 = base, start_boottime_ns: u64 = base + 1, cgroup_id: u64 = base + 2);
        put!(signal: u32 = 15_u32, code: i32 = -6, result: u32 = base + 3, count: u32 = base + 4);
        put!(tgid: u32 = base + 5, tid: u32 = base + 6, uid: u32 = base + 7, parent_tgid: u32 = base + 8);
        put!(pid_ns: u32 = base + 9, task_flags: u32 = 4_u32, flags: u32 = 3_u32, names_length: u32 = 5_u32);
        raw.body(at + offset_of!(SentSignal, comm), &[b'c'; 16]);
        raw.body(at + offset_of!(SentSignal, parent_comm), &[b'd'; 16]);
        raw.body(at + offset_of!(SentSignal, names), b"ab\0c\0not in use");
        Signal {
            ktime_ns: base.into(),
            number: 15,
            code: -6,
            outcome: Outcome::Other(base + 3),
            count: base + 4,
            sender: Sender {
                task: Task {
                    start_boottime_ns: Some(u64::from(base) + 1),
                    pid: Some(base + 5),
                    tid: Some(base + 6),
                    uid: Some(base + 7),
                    comm: Some(Name::from("cccccccccccccccc")),
                    ..Task::default()
                },
                parent: Parent { pid: Some(base + 8), comm: Some(Name::from("dddddddddddddddd")) },
                pid_ns: Some(base + 9),
                exiting: true,
                cgroups: Some(Lineage {
                    levels: vec![level("ab", Some(u64::from(base) + 2)), level("c", None)],
                    skipped: 0,
                    incomplete: true,
                    unified: true,
                }),
            },
        }
    };
    let asked = sent(&mut raw, offset_of!(Body, asked), 10);
    let killed = sent(&mut raw, offset_of!(Body, killed), 30);
    put!(offset_of!(Body, raised), RaisedSignal: ktime_ns = 51_u64, address = 52_u64, signal = 11_u32, code = 1_i32);
    put!(offset_of!(Body, raised), RaisedSignal: result = 0_u32, count = 53_u32, syscall = 54_i32, arch = 55_u32);
    let execs = offset_of!(Body, execs);
    let mut failed_execs = Vec::new();
    for index in 0..FAILED_EXECS {
        let number = index as u32 + 61;
        let at = execs + offset_of!(FailedExecs, ktime_ns) + 8 * index;
        raw.body(at, &u64::from(number).to_le_bytes());
        raw.body(execs + offset_of!(FailedExecs, status) + 4 * index, &(number << 8).to_le_bytes());
        raw.body(execs + offset_of!(FailedExecs, comm) + 16 * index, &[b'e' + index as u8; 16]);
        failed_execs.push(FailedExec {
            ktime_ns: number.into(),
            status: WaitStatus::Exited { code: number as u8 },
            comm: Some(Name(vec![b'e' + index as u8; 16])),
        });
    }
    put!(execs, FailedExecs: total = 70_u32, pad = u32::MAX);
    assert_eq!(
        raw.decoded(),
        Event::ContainerExit(Box::new(ContainerExit {
            stamp: stamp(),
            task,
            cgroups: None,
            status: Some(WaitStatus::Signaled { signal: 11, core_dumped: true }),
            parent: Parent { pid: Some(41), comm: Some(Name(vec![b'p'; 16])) },
            pid_ns: Some(42),
            is_init: true,
            before_exec: true,
            oom_marked: false,
            cpu_limited: false,
            asked: Some(asked),
            killed: Some(killed),
            raised: Some(Raised {
                ktime_ns: 51,
                number: 11,
                code: 1,
                outcome: Outcome::Delivered,
                count: 53,
                address: Some(52),
                syscall: None,
            }),
            failed_execs,
            failed_execs_total: 70,
        }))
    );
}

#[test]
fn empty_places_are_none() {
    let end = end(|_| ()).unwrap();
    assert_eq!((end.asked, end.killed, end.raised), (None, None, None));
    assert_eq!((end.failed_execs, end.failed_execs_total), (Vec::new(), 0));
    assert_eq!(end.cgroups.map(|cgroups| cgroups.path()), Some(b"/kubepods/pod1/c1".to_vec()));
}

#[test]
fn unread_facts_are_none() {
    let end = end(|body| {
        body.flags = exit_flag::NO_STATUS | exit_flag::OOM_MARKED;
        (body.parent_tgid, body.pid_ns) = (0, 0);
        body.asked =
            SentSignal { flags: sender_flag::UNREAD, cgroup_id: 0, ..sent_signal(5, 15, 7, b"sh", b"") };
    })
    .unwrap();
    assert_eq!((end.status, end.pid_ns, end.parent), (None, None, Parent::default()));
    assert!(end.oom_marked && !end.is_init && !end.before_exec);
    let sender = end.asked.unwrap().sender;
    let Task { pid, tid, comm, uid, start_boottime_ns, .. } = sender.task;
    assert_eq!(
        (pid, tid, comm, uid, start_boottime_ns, sender.cgroups),
        (None, None, None, None, None, None)
    );
}

#[test]
fn the_cgroups_of_a_sender_are_named_from_the_root() {
    let of = |signal: SentSignal| {
        end(|body| body.asked = signal).map(|end| end.asked.unwrap().sender.cgroups.unwrap())
    };
    let whole = of(sent_signal(5, 15, 7, b"runc", PATH)).unwrap();
    assert_eq!((whole.path().as_slice(), whole.incomplete), (PATH, false));
    assert!(whole.levels.last().unwrap().root && whole.levels[0].cgroup_id == Some(77));
    let root = of(sent_signal(5, 15, 7, b"kthreadd", b"/")).unwrap();
    assert_eq!((root.path().as_slice(), root.levels.len()), (b"/".as_slice(), 1));
    let cut =
        of(SentSignal { flags: sender_flag::NAMES_CUT, ..sent_signal(5, 15, 7, b"runc", PATH) }).unwrap();
    assert!(cut.incomplete && cut.levels.iter().all(|level| !level.root));
    let nothing = SentSignal { flags: sender_flag::NAMES_CUT, ..sent_signal(5, 15, 7, b"runc", b"/") };
    assert_eq!(end(|body| body.asked = nothing).unwrap().asked.unwrap().sender.cgroups, None);
}

#[test]
fn any_signal_may_be_the_stop_signal_of_an_image() {
    for number in [28, 37, 64] {
        let signal = SentSignal { flags: sender_flag::INSIDE, ..sent_signal(5, number, 7, b"runc", PATH) };
        let asked = end(|body| body.asked = signal).unwrap().asked.unwrap();
        assert_eq!((u32::from(asked.number), asked.sender.cgroups.unwrap().incomplete), (number, false));
    }
}

#[test]
fn a_limit_of_cpu_time_is_a_flag() {
    for (flags, cpu_limited) in [(exit_flag::CPU_LIMIT, true), (!exit_flag::CPU_LIMIT, false)] {
        assert_eq!(end(|body| body.flags = flags).unwrap().cpu_limited, cpu_limited);
    }
}

/// The place of an address has the sender's ids where a process sent the signal.
#[test]
fn an_address_is_that_of_a_fault_and_a_system_call_that_of_seccomp() {
    let raised = |signal, code| {
        let raised = RaisedSignal {
            ktime_ns: 5,
            address: 0x10,
            signal,
            code,
            syscall: 101,
            arch: 0xc000_003e,
            ..RaisedSignal::default()
        };
        let raised = end(|body| body.raised = raised).unwrap().raised.unwrap();
        (raised.address, raised.syscall)
    };
    let syscall = Some((101, 0xc000_003e));
    for (signal, code, expected) in [
        (11, 1, (Some(0x10), None)),
        (7, 4, (Some(0x10), None)),
        // SI_KERNEL: no address is known, as of a non-canonical one.
        (11, 0x80, (None, None)),
        (11, 0, (None, None)),
        (6, -6, (None, None)),
        (31, 1, (None, syscall)),
        (31, 0, (None, None)),
    ] {
        assert_eq!(raised(signal, code), expected, "{signal} {code}");
    }
}

#[test]
fn impossible_values_of_an_end_are_refused() {
    type Change = fn(&mut Body);
    let cases: [(&str, Change); 10] = [
        ("process id of a victim", |body| body.task.tgid = 0),
        ("process id", |body| body.parent_tgid = u32::MAX),
        ("number of a signal", |body| body.asked = sent_signal(5, 65, 7, b"sh", PATH)),
        ("number of a signal", |body| body.killed = sent_signal(5, 0, 7, b"sh", PATH)),
        ("number of a signal", |body| body.raised = RaisedSignal { ktime_ns: 5, ..RaisedSignal::default() }),
        ("time of a signal, in ns", |body| body.asked = sent_signal(u64::MAX, 15, 7, b"sh", PATH)),
        ("process id", |body| {
            body.killed = SentSignal { tgid: u32::MAX, ..sent_signal(5, 9, 7, b"sh", PATH) }
        }),
        ("process id", |body| {
            body.killed = SentSignal { parent_tgid: u32::MAX, ..sent_signal(5, 9, 7, b"sh", PATH) }
        }),
        ("time of an end, in ns", |body| body.execs.ktime_ns[3] = u64::MAX),
        ("length of a sender's cgroups", |body| {
            body.asked = SentSignal {
                names_length: SENDER_NAMES_BYTES as u32 + 1,
                ..sent_signal(5, 15, 7, b"sh", PATH)
            };
        }),
    ];
    for (expected, change) in cases {
        match end(change) {
            Err(DecodeError::Impossible { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

/// Possible, if odd: the idle task is current in an interrupt, and a place without a time is empty whatever else is in it.
#[test]
fn possible_extremes_of_an_end_are_accepted() {
    let idle = SentSignal { tgid: 0, tid: 0, ..sent_signal(5, 15, 0, b"swapper/0", b"/") };
    assert!(end(|body| body.asked = idle).unwrap().asked.is_some());
    let names_length = SENDER_NAMES_BYTES as u32;
    let full = SentSignal { names_length, names: [b'n'; 512], ..sent_signal(5, 15, 7, b"sh", PATH) };
    assert!(end(|body| body.asked = full).is_ok());
    let empty = SentSignal { signal: u32::MAX, names_length: u32::MAX, ..NOT_SENT };
    assert_eq!(end(|body| body.asked = empty).unwrap().asked, None);
    assert!(end(|body| body.parent_comm = text(b"\xff\x1b[2J")).is_ok());
}
