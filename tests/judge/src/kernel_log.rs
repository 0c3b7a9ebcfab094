//! The kernel's own log of an OOM decision: a witness of the account in a report, beside the counters that the agent reads.
//!
//! At a decision the kernel logs the node's counters (`show_free_areas`, "Mem-Info:") or, at a memcg's limit, the memcg's
//! (`mem_cgroup_print_oom_meminfo`, "Memory cgroup stats for"), and then which process it kills. Both are rate-limited (10 in 5 s),
//! so they may be missing; what is there must agree with the report.

use std::collections::BTreeMap;

use serde_json::Value;

/// Bytes of a page in guests.
const PAGE: u64 = 4096;

/// One decision in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The limit owner; `None` if the node was out of memory.
    pub memcg: Option<String>,
    /// The process that was chosen.
    pub killed: Option<u64>,
    /// The kernel's counters in bytes, by the kernel's name: of the node, or of the memcg.
    pub bytes: BTreeMap<String, u64>,
}

/// A part of the log in which figures stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    /// Pages, as `name:number`.
    Node,
    /// Bytes, as `name number`.
    Memcg,
    Tasks,
}

/// The decisions in a log, without priorities and times: one message a line.
pub fn decisions(log: &str) -> Vec<Decision> {
    let mut found: Vec<Decision> = Vec::new();
    let mut part = Part::Tasks;
    for line in log.lines().map(str::trim) {
        if line.contains(" invoked oom-killer: ") {
            found.push(Decision::default());
            part = Part::Head;
            continue;
        }
        let Some(decision) = found.last_mut() else { continue };
        if let Some(path) = line.strip_prefix("Memory cgroup stats for ") {
            decision.memcg = Some(path.trim_end_matches(':').to_owned());
            part = Part::Memcg;
        } else if line == "Mem-Info:" {
            // A victim may fail to allocate afterwards, with figures of its own.
            part = if decision.killed.is_none() { Part::Node } else { Part::Tasks };
        } else if line.starts_with("Tasks state") {
            part = Part::Tasks;
        } else if let Some(pid) = killed(line) {
            // This line is logged always: the next is of a decision whose others were left out, or of a group that dies with it.
            decision.killed.get_or_insert(pid);
        } else {
            match part {
                Part::Node => decision.node(line),
                Part::Memcg => decision.memcg_stat(line),
                Part::Head | Part::Tasks => {}
            }
        }
    }
    found.retain(|decision| !decision.bytes.is_empty() && decision.killed.is_some());
    found
}

/// `Out of memory: Killed process 374 (trig) total-vm:427108kB, ...`
fn killed(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("Killed process ")?;
    rest.split_whitespace().next()?.parse().ok()
}

impl Decision {
    fn add(&mut self, name: &str, bytes: u64) {
        *self.bytes.entry(name.to_owned()).or_default() += bytes;
    }

    /// Of the sum over all nodes `name:pages`; of each NUMA node what is in no sum, `name:numberkB`; and the huge pages.
    fn node(&mut self, line: &str) {
        if let Some(huge) = line.split_once("hugepages_total=").map(|(_, rest)| rest) {
            let mut numbers = huge.split_whitespace().map(|word| {
                word.rsplit('=').next().and_then(|word| word.trim_end_matches("kB").parse::<u64>().ok())
            });
            if let (Some(total), Some(kib)) = (numbers.next().flatten(), numbers.next_back().flatten()) {
                self.add("huge_pages", total * kib * 1024);
            }
            return;
        }
        if let Some(rest) = line.strip_suffix(" pages RAM") {
            self.add("present", rest.parse().unwrap_or(0) * PAGE);
        } else if let Some(rest) = line.strip_suffix(" pages reserved") {
            self.add("reserved", rest.parse().unwrap_or(0) * PAGE);
        }
        let of_a_node = line.starts_with("Node ");
        if of_a_node && !line.contains(" active_anon:") {
            return;
        }
        // A zone's line begins with its name and its free memory.
        let of_a_zone = of_a_node && line.contains(" free:");
        for (name, value) in line.split_whitespace().filter_map(|word| word.split_once(':')) {
            match (of_a_node, value.strip_suffix("kB"), value.parse::<u64>()) {
                (false, _, Ok(pages)) => self.add(name, pages * PAGE),
                (true, Some(kib), _) if !of_a_zone && name == "kernel_stack" => {
                    self.add(name, kib.parse().unwrap_or(0) * 1024);
                }
                _ => {}
            }
        }
    }

    /// `anon 19902464`
    fn memcg_stat(&mut self, line: &str) {
        if let Some((name, number)) = line.split_once(' ')
            && let Ok(number) = number.parse()
        {
            self.add(name, number);
        }
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.bytes.get(name).copied()
    }
}

/// The message of a record of `/dev/kmsg`: `6,1234,5678,-;text`, in which bytes that are no plain text are `\xNN`; a line that begins
/// with a blank has a key and a value.
pub fn of_record(record: &str) -> Option<String> {
    let text = record.split_once(';')?.1.lines().next()?;
    Some(text.replace("\\x0a", "\n").replace("\\x5c", "\\"))
}

/// The faults of a report whose decision the kernel has logged. `slack` is by how much, in bytes, a counter that is kept on each CPU
/// may be off.
pub fn faults(log: &[Decision], line: &Value, slack: u64) -> Vec<String> {
    let account = &line["memory"]["account"];
    // Of a group the largest comes first, and not the one that was chosen.
    let victims = line["victims"].as_array().map_or(&[][..], Vec::as_slice);
    let same = |decision: &&Decision| {
        decision.killed.is_some_and(|killed| victims.iter().any(|victim| victim["pid"] == killed))
    };
    let (false, Some(decision)) = (account.is_null(), log.iter().find(same)) else { return Vec::new() };
    let total = account["total_bytes"].as_u64().unwrap_or(0);
    let error = total / 50 + slack;
    let entry = |kinds: &[&str]| {
        let entries = account["entries"].as_array().into_iter().flatten();
        let of = |entry: &&Value| entry["kind"].as_str().is_some_and(|kind| kinds.contains(&kind));
        entries.filter(of).filter_map(|entry| entry["bytes"].as_u64()).sum::<u64>()
    };
    let mut faults = Vec::new();
    let mut compare = |what: &str, told: u64, logged: Option<u64>, at_most: bool| {
        let Some(logged) = logged else { return };
        if told > logged + error || !at_most && told + error < logged {
            faults.push(format!("{what}: the report has {told} bytes, the kernel's log {logged}"));
        }
    };
    match &decision.memcg {
        None => {
            let managed = decision.get("present").zip(decision.get("reserved"));
            let managed = managed.map(|(present, reserved)| present.saturating_sub(reserved));
            // The whole machine's, where the allocation was not bound to a part of it.
            if line["constraint"] == "none" {
                compare("total", total, managed, false);
                compare("free", entry(&["free", "free_ineligible"]), decision.get("free"), false);
                compare("huge pages", entry(&["huge_pages"]), decision.get("huge_pages"), false);
            }
            // Of these the account has what is charged to no cgroup, and the log all.
            for (kind, name) in [
                ("slab_unreclaimable", "slab_unreclaimable"),
                ("slab_reclaimable", "slab_reclaimable"),
                ("page_tables", "pagetables"),
                ("kernel_stacks", "kernel_stack"),
                ("root_shmem", "shmem"),
            ] {
                compare(kind, entry(&[kind]), decision.get(name), true);
            }
        }
        Some(path) => {
            if line["limit"]["cgroup"] != path.as_str() {
                faults.push(format!("the kernel's log has the limit of {path}"));
                return faults;
            }
            let files = ["file", "shmem", "swap_cache"];
            // Pages of a process that exits are unmapped, and no longer in this statistic, a while before they are given back: what
            // the log leaves of the usage may be theirs.
            let others = [
                "file",
                "slab_unreclaimable",
                "slab_reclaimable",
                "pagetables",
                "kernel_stack",
                "percpu",
                "sock",
            ];
            let others: u64 = others.into_iter().filter_map(|name| decision.get(name)).sum();
            let (told, logged) = (entry(&["anon"]), decision.get("anon"));
            let most = logged.map(|logged| logged.max(total.saturating_sub(others)));
            compare("anon", told, most, true);
            compare("anon", told.min(logged.unwrap_or(told)), logged, false);
            for (what, kinds, name) in [
                ("files and shmem", &files[..], "file"),
                ("shmem", &["shmem"][..], "shmem"),
                ("unreclaimable slab", &["slab_unreclaimable"][..], "slab_unreclaimable"),
                ("reclaimable slab", &["slab_reclaimable"][..], "slab_reclaimable"),
                ("page tables", &["page_tables"][..], "pagetables"),
                ("kernel stacks", &["kernel_stacks"][..], "kernel_stack"),
                ("per-CPU memory", &["percpu"][..], "percpu"),
                ("sockets", &["sockets"][..], "sock"),
            ] {
                compare(what, entry(kinds), decision.get(name), false);
            }
        }
    }
    faults
}
