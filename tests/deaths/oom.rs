//! Recorded OOM kills, and the records that the kernel side would have written of them.

use crashtrace_ebpf::{OomDecision, OomVictim, STACK_FRAMES, Task, decision_flag, hook, section};
use crashtrace_records::{Body, Record, process, record, text};
use jiff::Timestamp;

use crate::recording::Recording;
use crate::records::{Died, MIB, ktime_ns, levels, ms, time};

/// An OOM kill.
#[derive(Clone, Debug)]
pub(crate) struct OomKill {
    pub(crate) time: Timestamp,
    oom_memcg: String,
    task_memcg: String,
    /// The cgroup of the trigger.
    trigger: String,
    pub(crate) comm: String,
    pub(crate) pid: u32,
    /// What the victim had in memory.
    resident_bytes: u64,
    /// What its container held.
    held_bytes: u64,
}

/// The OOM kills of a recording: from the kernel's log or, of a traced one, the SIGKILLs that the kernel sent at the limit of
/// their container (`sharehog`, whose containers have limits of their own).
pub(crate) fn oom_kills(recording: &Recording) -> impl Iterator<Item = OomKill> + '_ {
    let logged = recording.oom_kills.iter().map(|lines| {
        let line = &lines[1];
        let seconds = line.trim_start_matches('[').split(']').next().expect("a time").trim();
        let micros = seconds.replace('.', "").parse::<u64>().expect("microseconds");
        let field = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{name}: {line}"));
            rest.split(',').next().unwrap_or_default().to_owned()
        };
        let oom_memcg = field("oom_memcg");
        let pod = recording.cgroup("");
        OomKill {
            time: time(micros * 1000),
            trigger: format!("{pod}{}", field("cpuset")),
            oom_memcg,
            task_memcg: field("task_memcg"),
            comm: field(",task"),
            pid: field("pid").parse().expect("a process id"),
            resident_bytes: resident_bytes(&lines[2]),
            // `dd` wrote a tmpfs, whose pages are its container's: as many as may be.
            held_bytes: if line.contains("task=dd,") { 64 * MIB } else { resident_bytes(&lines[2]) },
        }
    });
    let traced = recording.signals_and_exits.iter().filter_map(|it| {
        // The kernel's SIGKILL at the end of a pid namespace comes from its process 1, this one from the victim itself.
        let is_oom = it.arg("code") == Some(128) && it.arg("pid") == Some(it.by_pid);
        let victim = recording.processes.iter().find(|process| is_oom && process.pid == it.by_pid)?;
        Some(OomKill {
            time: it.time - ms(1),
            oom_memcg: victim.cgroup.clone(),
            task_memcg: victim.cgroup.clone(),
            trigger: victim.cgroup.clone(),
            comm: it.by_comm.clone(),
            pid: it.by_pid,
            resident_bytes: recording.limit_bytes(&victim.cgroup)? - MIB / 2,
            held_bytes: recording.limit_bytes(&victim.cgroup)?,
        })
    });
    logged.chain(traced)
}

/// The resident memory of the victim.
fn resident_bytes(killed: &str) -> u64 {
    let kib = |name: &str| {
        let (_, rest) = killed.split_once(&format!("{name}-rss:")).expect("a size");
        rest.split("kB").next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    };
    (kib("anon") + kib("file") + kib("shmem")) << 10
}

impl OomKill {
    /// Its victim was in this container.
    pub(crate) fn is_in(&self, id: &str) -> bool {
        self.task_memcg.ends_with(id)
    }

    /// Decision, mark and end. `started` is that of the main process, if it is the victim.
    pub(crate) fn records(&self, recording: &Recording, main: Option<&Died<'_>>) -> Vec<(Timestamp, Record)> {
        let start =
            main.filter(|died| died.pid() == self.pid).map_or(self.time - ms(400), |died| died.started);
        let limit = recording.limit_bytes(&self.oom_memcg).expect("a limit");
        let victim = Task {
            start_boottime_ns: ktime_ns(start),
            uid: 0,
            ns_tgid: main.filter(|died| died.pid() == self.pid).map_or(8, Died::ns_pid),
            ..process(
                self.pid,
                self.comm.as_bytes(),
                i64::try_from(self.resident_bytes / 4096).unwrap_or_default(),
            )
        };
        let trigger =
            if self.trigger == self.task_memcg { victim } else { process(self.pid + 7, b"memhog", 900) };
        let decision = OomDecision {
            totalpages: limit / 4096,
            points: (limit / 4096).cast_signed(),
            gfp: 0xcc0,
            order: 0,
            constraint: 3,
            flags: decision_flag::MEMCG,
            message: text(b"Memory cgroup out of memory"),
            trigger,
            victim,
            stack: [0; STACK_FRAMES],
        };
        let of = |kind, path: &str| {
            let held_bytes = if path == self.task_memcg { self.held_bytes } else { MIB };
            levels(recording, kind, path, held_bytes)
        };
        let at = ktime_ns(self.time);
        let decision = Record {
            sections: vec![
                of(section::TRIGGER, &self.trigger),
                of(section::VICTIM, &self.task_memcg),
                of(section::LIMIT, &self.oom_memcg),
            ],
            ..record(Body::Decision(Box::new(decision)), at, 0, hook::FENTRY)
        };
        let mark = OomVictim { task: Task { task_flags: 4, ..victim }, marker_tid: trigger.tid, pad: 0 };
        let mark = Record {
            sections: vec![of(section::VICTIM, &self.task_memcg)],
            ..record(Body::Victim(mark), at + 1_000, 0, hook::RAW_TRACEPOINT)
        };
        let mut records = vec![decision, mark, record(Body::End, at + 2_000, 0, hook::FENTRY)];
        for record in &mut records {
            record.header.decision_ns = at;
        }
        records.into_iter().map(|record| (self.time, record)).collect()
    }
}
