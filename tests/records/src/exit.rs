//! Ends of containers.

use crashtrace_ebpf::{
    COMM_BYTES, ContainerExit, FailedExecs, RaisedSignal, SENDER_NAMES_BYTES, SentSignal, exit_flag, hook,
    section,
};

use super::{Body, Record, cgroups, process, record, task, text};

pub(super) fn end(body: &ContainerExit, out: &mut Vec<u8>) {
    task(&body.task, out);
    put!(out, body, parent_tgid, status, pid_ns, flags);
    out.extend_from_slice(&body.parent_comm);
    sent(&body.asked, out);
    sent(&body.killed, out);
    put!(out, body.raised, ktime_ns, address, signal, code, result, count, syscall, arch);
    for time in body.execs.ktime_ns {
        out.extend_from_slice(&time.to_le_bytes());
    }
    for status in body.execs.status {
        out.extend_from_slice(&status.to_le_bytes());
    }
    for comm in body.execs.comm {
        out.extend_from_slice(&comm);
    }
    put!(out, body.execs, total, pad);
}

fn sent(signal: &SentSignal, out: &mut Vec<u8>) {
    put!(out, signal, ktime_ns, start_boottime_ns, cgroup_id, signal, code, result, count, tgid, tid, uid);
    put!(out, signal, parent_tgid, pid_ns, task_flags, flags, names_length);
    out.extend_from_slice(&signal.comm);
    out.extend_from_slice(&signal.parent_comm);
    out.extend_from_slice(&signal.names);
}

/// No signal.
pub const NOT_SENT: SentSignal = SentSignal {
    ktime_ns: 0,
    start_boottime_ns: 0,
    cgroup_id: 0,
    signal: 0,
    code: 0,
    result: 0,
    count: 0,
    tgid: 0,
    tid: 0,
    uid: 0,
    parent_tgid: 0,
    pid_ns: 0,
    task_flags: 0,
    flags: 0,
    names_length: 0,
    comm: [0; COMM_BYTES],
    parent_comm: [0; COMM_BYTES],
    names: [0; SENDER_NAMES_BYTES],
};

/// A signal that root's process `comm` in the cgroup `path` sent with `kill`.
pub fn sent_signal(ktime_ns: u64, number: u32, pid: u32, comm: &[u8], path: &[u8]) -> SentSignal {
    let mut names = Vec::new();
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).rev() {
        names.extend_from_slice(name);
        names.push(0);
    }
    SentSignal {
        ktime_ns,
        start_boottime_ns: pid.into(),
        cgroup_id: 77,
        signal: number,
        count: 1,
        tgid: pid,
        tid: pid,
        parent_tgid: 900,
        pid_ns: 0xefff_fffc,
        names_length: names.len() as u32,
        comm: text::<COMM_BYTES>(comm),
        parent_comm: text::<COMM_BYTES>(b"containerd-shim"),
        names: text::<SENDER_NAMES_BYTES>(&names),
        ..NOT_SENT
    }
}

/// The first process of the container in `path` ended with this status, and got no signal.
pub fn container_exit(ktime_ns: u64, cpu: u32, path: &[u8], comm: &[u8], status: i32) -> Record {
    let body = ContainerExit {
        task: process(4211, comm, 0),
        parent_tgid: 900,
        status,
        pid_ns: 0xf000_0123,
        flags: exit_flag::INIT,
        parent_comm: text::<COMM_BYTES>(b"containerd-shim"),
        asked: NOT_SENT,
        killed: NOT_SENT,
        raised: RaisedSignal::default(),
        execs: FailedExecs::default(),
    };
    Record {
        sections: vec![cgroups(section::VICTIM, path, 8192)],
        ..record(Body::Exit(Box::new(body)), ktime_ns, cpu, hook::RAW_TRACEPOINT)
    }
}
