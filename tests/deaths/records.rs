//! Records as the kernel side would have written them of a recorded death.
//!
//! The recorder had no cgroups of processes outside of pods: the runtime's `runc` is put where containerd runs under systemd, and
//! a shell of the host into a login session.

use crashtrace_ebpf::{
    ContainerExit, FAILED_EXECS, FailedExecs, RaisedSignal, SentSignal, Task, exit_flag, hook, section,
};
use crashtrace_records::{Body, Cgroups, NOT_SENT, Record, cgroups, process, record, sent_signal, text};
use jiff::Timestamp;

use crate::oom::{OomKill, oom_kills};
use crate::recording::{Process, Recording, Traced};
use crate::truth::{By, Death, Ended};

/// `CLOCK_REALTIME` less `CLOCK_BOOTTIME` of the node: the recordings' kernel log begins an hour and a half before the first.
pub(crate) const BOOTED: Timestamp = Timestamp::constant(1_795_330_316, 500_000_000);
const RUNTIME: &str = "/system.slice/containerd.service";
const SESSION: &str = "/user.slice/user-0.slice/session-3.scope";
/// As every kernel numbers the first pid namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const HOST_PIDS: u32 = 0xefff_fffc;
const SIGKILL: u32 = 9;
/// `TRACE_SIGNAL_IGNORED` (`include/trace/events/signal.h`).
const IGNORED: u32 = 1;
pub(crate) const MIB: u64 = 1 << 20;

/// The time of a record.
pub(crate) fn ktime_ns(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond() - BOOTED.as_nanosecond()).expect("the node runs")
}

pub(crate) fn time(ktime_ns: u64) -> Timestamp {
    let ns = BOOTED.as_nanosecond() + i128::from(ktime_ns);
    Timestamp::from_nanosecond(ns).expect("a time")
}

/// Of a path that no other cgroup has had.
fn cgroup_id(path: &str) -> u64 {
    path.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |id: u64, byte| (id ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A section with the cgroups of a path, those of a pod with their limits. The container in it holds `held_bytes`, the pod all that
/// it may.
pub(crate) fn levels(recording: &Recording, kind: u16, path: &str, held_bytes: u64) -> Cgroups {
    let mut section = cgroups(kind, path.as_bytes(), u64::MAX);
    let depth = path.split('/').count() - 1;
    for (up, (level, _)) in section.levels.iter_mut().enumerate().take(depth) {
        let above = path.rsplitn(up + 1, '/').last().unwrap_or_default();
        level.cgroup_id = cgroup_id(above);
        let limit = recording.limit_bytes(above);
        level.usage_pages = if up == 0 && above != recording.pod_cgroup() {
            held_bytes / 4096
        } else {
            limit.map_or(1000, |bytes| bytes / 4096)
        };
        level.max_pages = limit.map_or(u64::MAX, |bytes| bytes / 4096);
    }
    section
}

impl Recording {
    /// The limit of one of the pod's cgroups, or of the pod's.
    pub(crate) fn limit_bytes(&self, path: &str) -> Option<u64> {
        let bytes = |resources: &serde_json::Value| {
            let amount = resources["limits"]["memory"].as_str()?.strip_suffix("Mi")?;
            amount.parse::<u64>().ok().map(|mib| mib * MIB)
        };
        let of_pod = bytes(&self.spec["resources"]);
        let containers = || {
            let of = |name: &str| self.spec[name].as_array().into_iter().flatten();
            of("initContainers").chain(of("containers"))
        };
        let (_, last) = path.rsplit_once('/')?;
        if path == self.pod_cgroup() {
            return of_pod.or_else(|| containers().map(|it| bytes(&it["resources"])).sum());
        }
        let is_container = path.contains(&self.uid) && !self.pauses().any(|pause| pause.cgroup == path);
        let name = is_container.then(|| self.name_of(last))?;
        let container = containers().find(|it| it["name"] == name.as_str())?;
        bytes(&container["resources"]).or(of_pod)
    }

    fn shares_pids(&self) -> bool {
        self.spec["shareProcessNamespace"] == true
    }

    /// The inode of a process' pid namespace.
    fn pids_of(&self, cgroup: &str) -> u32 {
        if self.spec["hostPID"] == true {
            return HOST_PIDS;
        }
        let whose = if self.shares_pids() { self.uid.as_str() } else { cgroup };
        let [low, middle, high, ..] = cgroup_id(whose).to_le_bytes();
        0xf000_0000 | u32::from_le_bytes([low, middle, high, 0])
    }

    /// The name of a process of a container when it runs: the recorder may have seen it before it was one.
    fn comm(&self, process: Option<&Process>, before_exec: bool) -> String {
        let runc = "runc:[2:INIT]";
        match process {
            _ if before_exec => runc.to_owned(),
            Some(process) if process.comm != runc => process.comm.clone(),
            Some(process) => {
                let named = |it: &&Traced| it.is_signal_to(process.pid) || it.is_exit_of(process.pid);
                let args = self.signals_and_exits.iter().find(named).map(|it| it.args.as_str());
                let comm = args.and_then(|args| args.split_once("comm=")?.1.split(' ').next());
                comm.unwrap_or("sh").to_owned()
            }
            None => "sh".to_owned(),
        }
    }
}

/// A death, as far as it is known from the recording and its README.
#[derive(Debug)]
pub(crate) struct Died<'a> {
    pub(crate) recording: &'a Recording,
    /// The id of the container.
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    main: Option<&'a Process>,
    pub(crate) started: Timestamp,
    death: &'a Death,
}

impl<'a> Died<'a> {
    pub(crate) fn new(recording: &'a Recording, death: &'a Death) -> Self {
        let id = recording.container(&death.container);
        let main = recording.main_process(&id);
        let told = recording.terminated(&id);
        let exit = |pid: u32| recording.signals_and_exits.iter().find(|it| it.is_exit_of(pid));
        let killed = |pid: u32| {
            let mut signals = recording.signals_and_exits.iter();
            signals.find(|it| it.is_signal_to(pid) && it.arg("sig") == Some(9) && it.arg("res") == Some(0))
        };
        let traced = main.and_then(|main| exit(main.pid)).map(|it| it.time);
        let killed = || main.and_then(|main| killed(main.pid)).map(|it| it.time + ms(1));
        let oom = || oom_kills(recording).find(|kill| death.oom && kill.is_in(&id)).map(|it| it.time + ms(5));
        // `finishedAt` has seconds; the status comes a little later than the end.
        let told_at =
            told.as_ref().and_then(|told| Some((told.finished? + ms(500)).min(told.seen - ms(100))));
        let at = traced.or_else(killed).or_else(oom).or(death.at).or(told_at).expect("when it ended");
        let seen = main.map(|main| main.t).filter(|t| *t < at);
        let told_start = told.as_ref().and_then(|told| told.started);
        let started = told_start.filter(|it| it.as_second() > 0 && *it < at).or(seen).unwrap_or(at - ms(500));
        if let Some(told) = told.filter(|told| told.reason != "StartError") {
            assert_eq!(told.exit_code, death.ended.code(), "{}: the status has another code", death.case);
        }
        Self { recording, id, at, main, started, death }
    }

    fn cgroup(&self) -> String {
        self.recording.cgroup(&self.id)
    }

    /// The OOM kill that ended it.
    fn oom_kill(&self) -> Option<OomKill> {
        oom_kills(self.recording).find(|kill| self.death.oom && kill.is_in(&self.id))
    }

    pub(crate) fn pid(&self) -> u32 {
        let unseen = || 50_000 + u32::try_from(cgroup_id(&self.id) % 10_000).unwrap_or_default();
        let killed = || self.oom_kill().map(|kill| kill.pid);
        self.main.map(|main| main.pid).or_else(killed).unwrap_or_else(unseen)
    }

    fn shim(&self) -> u32 {
        self.main.and_then(|main| main.ppid.as_deref()?.parse().ok()).unwrap_or(1234)
    }

    pub(crate) fn ns_pid(&self) -> u32 {
        let seen = self.main.and_then(|main| main.nspid.last()?.parse().ok());
        seen.unwrap_or(if self.recording.shares_pids() { 7 } else { 1 })
    }

    fn task(&self) -> Task {
        let comm = self.oom_kill().map(|kill| kill.comm);
        let comm = comm.unwrap_or_else(|| self.recording.comm(self.main, self.death.before_exec));
        Task {
            start_boottime_ns: ktime_ns(self.started),
            ns_tgid: self.ns_pid(),
            ns_tid: self.ns_pid(),
            uid: 0,
            ..process(self.pid(), comm.as_bytes(), 0)
        }
    }

    /// All signals to it, oldest first.
    fn signals(&self) -> Vec<SentSignal> {
        let pid = self.pid();
        let traced = self.recording.signals_and_exits.iter().filter(|it| it.is_signal_to(pid));
        let mut all: Vec<_> = traced.map(|it| self.sent(it)).collect();
        let missing = self.death.signals.iter().map(|it| SentSignal {
            ktime_ns: ktime_ns(self.at) - it.before_ms * 1_000_000,
            signal: it.number.into(),
            result: if it.ignored { IGNORED } else { 0 },
            ..self.sender(it.by)
        });
        all.extend(missing);
        if self.oom_kill().is_none() || !all.is_empty() {
            all.sort_by_key(|it| it.ktime_ns);
            return all;
        }
        // `__oom_kill_process` (`mm/oom_kill.c`).
        let kernels = SentSignal {
            ktime_ns: ktime_ns(self.at) - 4_000_000,
            signal: 9,
            code: 128,
            ..self.sender(By::Same)
        };
        all.push(kernels);
        all
    }

    fn sent(&self, traced: &Traced) -> SentSignal {
        let by = match (traced.by_in_pod, traced.by_comm.as_str()) {
            (true, _) => By::Same,
            (false, "runc") => By::Runtime,
            _ => By::Host,
        };
        let sender = self.recording.processes.iter().find(|it| it.pid == traced.by_pid && traced.by_in_pod);
        let from = sender.map_or_else(
            || self.sender(by),
            |sender| self.process_in_pod(sender.pid, &sender.comm, &sender.cgroup),
        );
        let number = |name: &str| traced.arg(name).expect("a number");
        SentSignal {
            ktime_ns: ktime_ns(traced.time),
            signal: number("sig"),
            code: number("code").cast_signed(),
            result: number("res"),
            tgid: traced.by_pid,
            tid: traced.by_pid,
            ..from
        }
    }

    fn process_in_pod(&self, pid: u32, comm: &str, cgroup: &str) -> SentSignal {
        SentSignal {
            pid_ns: self.recording.pids_of(cgroup),
            parent_tgid: self.shim(),
            parent_comm: text(b"containerd-shim"),
            ..sender(pid, comm, cgroup, self.started)
        }
    }

    /// A process that the recording does not have.
    fn sender(&self, by: By) -> SentSignal {
        match by {
            By::Runtime => SentSignal {
                parent_tgid: self.shim(),
                parent_comm: text(b"containerd-shim"),
                ..sender(61_000, "runc", RUNTIME, self.at - ms(20))
            },
            By::Host => SentSignal {
                parent_tgid: 900,
                parent_comm: text(b"sshd"),
                ..sender(62_000, "bash", SESSION, BOOTED + ms(100_000))
            },
            By::Same => self.process_in_pod(self.pid() + 1, "sh", &self.cgroup()),
        }
    }

    /// Processes of exec probes that failed in this run: kubelet tells of each by an Event, runs them at the probe's interval, and
    /// sends SIGTERM within milliseconds of the last. (The tracer missed most of them. Of the fourth probe of `live-143` it has the
    /// end, 2.012 s before SIGTERM, with an interval of 2 s.)
    fn failed_execs(&self, asked: Option<&SentSignal>) -> FailedExecs {
        let mut of_run = self.recording.events.iter().filter(|it| {
            it.reason == "Unhealthy"
                && it.seen > self.started
                && it.seen < self.at
                && it.seen.subsec_nanosecond() > 0
        });
        let (Some(_), Some(asked)) = (of_run.clone().next(), asked) else { return FailedExecs::default() };
        let readiness = of_run.any(|it| it.message.starts_with("Readiness"));
        let total = if readiness { 21 } else { 2 };
        let mut execs = FailedExecs { total, ..FailedExecs::default() };
        for at in 0..FAILED_EXECS.min(total as usize) {
            // A readiness probe has nothing to do with SIGTERM.
            let before = if readiness { 900_000_000 } else { 12_000_000 };
            execs.ktime_ns[at] = asked.ktime_ns - before - at as u64 * 2_000_000_000;
            execs.status[at] = 1 << 8;
            execs.comm[at] = text(b"sh");
        }
        execs
    }

    /// The record of its end.
    pub(crate) fn record(&self) -> Record {
        let signals = self.signals();
        let fatal = |it: &&SentSignal| it.signal != SIGKILL;
        let kills = || signals.iter().filter(|it| it.signal == SIGKILL);
        let asked = signals.iter().rfind(fatal).copied();
        let killed = kills().find(|it| it.result != IGNORED).or_else(|| kills().next_back()).copied();
        if self.death.ended == Ended::Signal(9) {
            assert!(killed.is_some_and(|it| it.result == 0), "{}: no SIGKILL", self.death.case);
        }
        let raised = self.death.raised.map(|raised| RaisedSignal {
            ktime_ns: ktime_ns(self.at) - 300_000,
            signal: raised.number.into(),
            code: raised.code,
            count: 1,
            ..RaisedSignal::default()
        });
        let is_init = self.ns_pid() == 1 && self.recording.spec["hostPID"] != true;
        let oom_marked = self.oom_kill().is_some();
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let exit = ContainerExit {
            task: Task { task_flags: 4, ..self.task() },
            parent_tgid: self.shim(),
            status: self.death.ended.status(),
            pid_ns: self.recording.pids_of(&self.cgroup()),
            flags: flag(is_init, exit_flag::INIT)
                | flag(self.death.before_exec, exit_flag::BEFORE_EXEC)
                | flag(oom_marked, exit_flag::OOM_MARKED),
            parent_comm: text(b"containerd-shim"),
            asked: asked.unwrap_or(NOT_SENT),
            killed: killed.unwrap_or(NOT_SENT),
            raised: raised.unwrap_or_default(),
            execs: self.failed_execs(asked.as_ref()),
        };
        Record {
            sections: vec![levels(self.recording, section::VICTIM, &self.cgroup(), 0)],
            ..record(Body::Exit(Box::new(exit)), ktime_ns(self.at), 0, hook::RAW_TRACEPOINT)
        }
    }
}

pub(crate) fn ms(ms: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_millis(ms)
}

/// A signal of nothing but its sender: a process of root.
fn sender(pid: u32, comm: &str, cgroup: &str, started: Timestamp) -> SentSignal {
    SentSignal {
        start_boottime_ns: ktime_ns(started),
        cgroup_id: cgroup_id(cgroup),
        parent_tgid: 0,
        parent_comm: text(b""),
        ..sent_signal(0, 0, pid, comm.as_bytes(), cgroup.as_bytes())
    }
}

/// The end of a pod's pause by a SIGKILL of the runtime, where the tracer saw one.
pub(crate) fn pause_ended(recording: &Recording) -> impl Iterator<Item = (Timestamp, Record)> + '_ {
    recording.pauses().filter_map(|pause| {
        let signal = recording.signals_and_exits.iter().find(|it| it.is_signal_to(pause.pid))?;
        let at = signal.time + ms(1);
        let exit = ContainerExit {
            task: Task { start_boottime_ns: ktime_ns(pause.t), ..process(pause.pid, b"pause", 0) },
            parent_tgid: pause.ppid.as_deref()?.parse().ok()?,
            status: 9,
            pid_ns: recording.pids_of(&pause.cgroup),
            flags: exit_flag::INIT,
            parent_comm: text(b"containerd-shim"),
            asked: NOT_SENT,
            killed: SentSignal {
                ktime_ns: ktime_ns(signal.time),
                signal: 9,
                parent_comm: text(b"containerd-shim"),
                ..sender(signal.by_pid, &signal.by_comm, RUNTIME, signal.time - ms(20))
            },
            raised: RaisedSignal::default(),
            execs: FailedExecs::default(),
        };
        let body = Body::Exit(Box::new(exit));
        let sections = vec![levels(recording, section::VICTIM, &pause.cgroup, 0)];
        Some((at, Record { sections, ..record(body, ktime_ns(at), 0, hook::RAW_TRACEPOINT) }))
    })
}
