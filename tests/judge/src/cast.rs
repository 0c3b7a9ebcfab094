//! The cast of a scenario: which process and which cgroup had which role.

use std::collections::BTreeMap;

use serde_json::Value;

/// How far the kernel's counters may be off: resident sizes by 32 pages a CPU, usage by the pages that CPUs keep in stock.
pub const SLACK: u64 = 1 << 20;

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    /// The thread that runs into the limit and dies; `None` if any of its threads may be it.
    pub tid: Option<u32>,
    pub container_pid: u32,
    /// As the kernel has it: any bytes.
    pub comm: Vec<u8>,
    /// The thread's name; `None` if any of its threads may be it.
    pub thread_comm: Option<Vec<u8>>,
    pub adj: i16,
    /// Between which times it was started, in nanoseconds of `CLOCK_BOOTTIME`.
    pub started_ns: (u64, u64),
    /// Anonymous memory, at least and at most.
    pub anon: (u64, u64),
    /// Path of its cgroup.
    pub path: Vec<u8>,
    /// Fields of its owner in reports.
    pub owner: Value,
    /// It is the first process of its container.
    pub is_first: bool,
    /// How it ended, if its parent has waited for it.
    pub end: Option<End>,
}

/// The end of a process, as its parent saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// What it called `exit` with.
    pub code: Option<u8>,
    /// The signal that it ended by.
    pub signal: Option<u8>,
    pub core_dumped: bool,
    /// Between which times, in nanoseconds of `CLOCK_BOOTTIME`.
    pub at_ns: (u64, u64),
    /// Number of the system call that it announced as its last.
    pub syscall: Option<i32>,
}

/// A cgroup.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its path.
    pub path: Vec<u8>,
    /// Fields of its owner in reports.
    pub owner: Value,
}

/// The processes and cgroups by role.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    /// A report is about this scenario if it names one of these cgroups, or one below.
    pub prefixes: Vec<String>,
    /// Processes by role; several have the same one where a report is expected of each, or a group is.
    pub processes: BTreeMap<&'static str, Vec<Process>>,
    /// Cgroups by role, with the same index where there are several.
    pub places: BTreeMap<&'static str, Vec<Place>>,
    /// When the victim touched its last page, where that led to the kill.
    pub last_touch_ns: Option<u64>,
    /// Kills by the OOM killer in the scenario's cgroups as the kernel itself has counted them; `None` where it does not.
    pub kills: Option<u64>,
    /// The kernel's fragmentation index in debugfs, right before an allocation that was to fail: by zone, and by order.
    pub extfrag: BTreeMap<String, Vec<f64>>,
    /// Its unusable free space index, the same.
    pub unusable: BTreeMap<String, Vec<f64>>,
}

impl Cast {
    /// Gives a process a role.
    #[must_use]
    pub fn process(mut self, role: &'static str, process: Process) -> Self {
        self.processes.entry(role).or_default().push(process);
        self
    }

    /// Gives a cgroup a role.
    #[must_use]
    pub fn place(mut self, role: &'static str, place: Place) -> Self {
        self.places.entry(role).or_default().push(place);
        self
    }

    /// The process with this id.
    pub fn by_pid(&self, pid: u64) -> Option<&Process> {
        self.processes.values().flatten().find(|process| u64::from(process.pid) == pid)
    }

    /// Whether a report names a cgroup of this scenario, or has killed a process of it that is in the root cgroup, as others are.
    pub fn is_about(&self, line: &Value) -> bool {
        let in_root = |victim: &Value| {
            let process = victim["pid"].as_u64().and_then(|pid| self.by_pid(pid));
            process.zip(victim["start_boottime_ns"].as_u64()).is_some_and(|(process, start)| {
                process.path == b"/" && (process.started_ns.0..=process.started_ns.1).contains(&start)
            })
        };
        is_about(&self.prefixes, line) || victims(line).iter().any(in_root)
    }
}

/// Whether a report names one of these cgroups, or one below.
pub fn is_about(prefixes: &[String], line: &Value) -> bool {
    let within = |path: &str, prefix: &String| {
        path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let named = |cgroup: &Value| {
        cgroup.as_str().is_some_and(|path| prefixes.iter().any(|prefix| within(path, prefix)))
    };
    named(&line["limit"]["cgroup"])
        || named(&line["trigger"]["cgroup"])
        || named(&line["exit"]["process"]["cgroup"])
        || victims(line).iter().any(|victim| named(&victim["cgroup"]))
}

fn victims(line: &Value) -> &[Value] {
    line["victims"].as_array().map_or(&[][..], Vec::as_slice)
}
