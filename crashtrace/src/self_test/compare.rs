//! PURE: compares the facts that the kernel side read of this process with this process's own.
//!
//! Values that change are compared within wide bounds, which only have to detect a wrong offset, whose bytes are a pointer, a flag
//! or 0. A fact that this kernel lacks, or that this process cannot see, is no mismatch and is named.

use std::fmt::Display;

use super::this_process::{ProcSelf, ThisProcess, stat_field};
use super::{SelfTestReport, Wrong, cgroup};
use crate::decode::SelfTest;
use crate::event::Rss;
use crate::kernel::host::{HostFacts, Unresolved};
use crate::kernel::layout::Layout;

/// Inode of the init cgroup namespace (`PROC_CGROUP_INIT_INO`, `include/linux/proc_ns.h`, 5.10 to 7.3).
pub(super) const PROC_CGROUP_INIT_INO: u64 = 0xEFFF_FFFB;

/// Flags of a task that stay as they are while it lives: `PF_EXITING`, `PF_FORKNOEXEC`, `PF_KTHREAD`, `PF_RANDOMIZE`
/// (`include/linux/sched.h`, 5.10 to 7.3).
const LASTING_FLAGS: u64 = 0x4 | 0x40 | 0x20_0000 | 0x40_0000;

/// Context of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub facts: &'a HostFacts,
    /// Offsets that the kernel side used.
    pub layout: &'a Layout,
}

/// Results so far.
#[derive(Default)]
pub(super) struct Checks(SelfTestReport);

impl Checks {
    /// This fact is right.
    pub(super) fn right(&mut self, fact: &str) {
        self.0.right.push(fact.to_owned());
    }

    /// This fact cannot be compared.
    pub(super) fn skip(&mut self, fact: &str, why: &str) {
        self.0.not_compared.push(Unresolved { field: fact.to_owned(), reason: why.to_owned() });
    }

    /// One of the two values is missing.
    pub(super) fn absent(&mut self, fact: &str) {
        self.skip(fact, "this kernel does not have it, or it cannot be read");
    }

    /// This fact is right or wrong.
    pub(super) fn verdict(&mut self, fact: &str, fits: bool, read: String, is: String) {
        if fits {
            self.right(fact);
        } else {
            self.0.wrong.push(Wrong { fact: fact.to_owned(), read, is });
        }
    }

    /// The same value, or the true value of just before.
    fn same<T: PartialEq + Display>(&mut self, fact: &str, read: Option<T>, is: [Option<T>; 2]) {
        match (read, is) {
            (Some(read), [Some(before), Some(after)]) => {
                let fits = read == before || read == after;
                self.verdict(fact, fits, read.to_string(), after.to_string());
            }
            _ => self.absent(fact),
        }
    }

    /// Between half and twice the true value, give or take `slack`.
    pub(super) fn about(&mut self, fact: &str, read: Option<u64>, is: [Option<u64>; 2], slack: u64) {
        let (Some(read), [Some(before), Some(after)]) = (read, is) else {
            self.absent(fact);
            return;
        };
        let least = (before.min(after) / 2).saturating_sub(slack);
        let most = before.max(after).saturating_mul(2).saturating_add(slack);
        self.verdict(fact, (least..=most).contains(&read), read.to_string(), format!("about {after}"));
    }
}

/// Compares all facts.
#[must_use]
pub fn compare(seen: &SelfTest, own: &ThisProcess, scene: &Scene<'_>) -> SelfTestReport {
    let mut checks = Checks::default();
    let task = &seen.task;
    checks.same("process id", task.pid, [Some(seen.pid); 2]);
    checks.same("thread id", task.tid, [Some(seen.tid); 2]);
    checks.same("process id in its pid namespace", task.container_pid, [Some(own.pid); 2]);
    checks.same("thread id in its pid namespace", seen.container_tid, [Some(own.tid); 2]);
    checks.same("user id", task.uid, [Some(seen.uid); 2]);
    let shown = |name: &[u8]| name.escape_ascii().to_string();
    let both = [&own.before, &own.after];
    let comm = both.map(|files| Some(shown(files.comm.as_deref()?.trim_ascii_end())));
    let read = task.comm.as_ref().map(|name| shown(name.0.trim_ascii_end()));
    checks.same("name of the process", read, comm);
    let thread_comm = task.thread_comm.as_ref().map(|name| shown(&name.0));
    checks.same(
        "name of the thread",
        thread_comm,
        [Some(shown(&seen.thread_comm.0)), Some(shown(&seen.thread_comm.0))],
    );
    let adj =
        both.map(|files| std::str::from_utf8(files.oom_score_adj.as_deref()?).ok()?.trim().parse().ok());
    checks.same("oom_score_adj", task.oom_score_adj, adj);
    start(&mut checks, seen, own);
    let lasting = |flags: u64| flags & LASTING_FLAGS;
    let flags = both.map(|files| stat_field(files.thread_stat.as_deref()?, 9).map(lasting));
    checks.same("task flags", seen.task_flags.map(|flags| lasting(flags.into())), flags);
    checks.same("whether it is ending", task.exiting, [Some(false); 2]);
    sizes(&mut checks, seen, both, scene.facts);
    cgroup::check(&mut checks, seen, own, scene);
    checks.0
}

/// `/proc` gives it in clock ticks and in this process's time namespace. The namespace's offset shows in its clock, which was read
/// just before and just after the kernel's own.
fn start(checks: &mut Checks, seen: &SelfTest, own: &ThisProcess) {
    const START: &str = "start time";
    let ticks = own.after.stat.as_deref().and_then(|stat| stat_field(stat, 22));
    let (Some(read), Some(ticks)) = (seen.task.start_boottime_ns, ticks) else {
        checks.absent(START);
        return;
    };
    let kernel_ns = i128::from(seen.ktime_ns);
    let started_ns = i128::from(ticks) * i128::from(own.tick_ns);
    let tick_ns = i128::from(own.tick_ns);
    let least = started_ns - (i128::from(own.after_ns) - kernel_ns) - tick_ns;
    let most = started_ns - (i128::from(own.before_ns) - kernel_ns) + 2 * tick_ns;
    let fits = (least..=most).contains(&i128::from(read));
    checks.verdict(START, fits, format!("{read} ns after boot"), format!("{least} to {most}"));
}

fn sizes(checks: &mut Checks, seen: &SelfTest, both: [&ProcSelf; 2], facts: &HostFacts) {
    let task = &seen.task;
    let threads = both.map(|files| files.number("Threads:"));
    checks.about("number of threads", seen.threads.map(u64::from), threads, 8);
    checks.about("address space", task.total_vm_bytes, both.map(|files| files.size("VmSize:")), 16 << 20);
    checks.about("page tables", task.page_table_bytes, both.map(|files| files.size("VmPTE:")), 1 << 20);
    // CPUs or threads hold back a part of each counter: see `Task` in the ABI.
    let cpus = u64::from(facts.cpus.unwrap_or(1024));
    let held_back = (cpus * cpus.saturating_mul(2).max(32)).max(64 * 64) * facts.page_size_bytes;
    let resident = |rss: &Rss| rss.anon_bytes.saturating_add(rss.file_bytes).saturating_add(rss.shmem_bytes);
    let read = task.rss.as_ref().map(resident);
    checks.about("resident memory", read, both.map(|files| files.size("VmRSS:")), 3 * held_back);
    let read = task.rss.as_ref().map(|rss| rss.swap_bytes);
    checks.about("swap", read, both.map(|files| files.size("VmSwap:")), held_back);
}
