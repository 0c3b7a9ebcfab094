//! How the kernel weighed the victim. PURE.
//!
//! `oom_badness` (`mm/oom_kill.c`, 5.10 to 7.3): resident memory, swap and page tables, and `oom_score_adj` times a thousandth of the
//! total, in whole pages. Only the sum is in the record, so it is taken apart by the victim's `oom_score_adj`, and the memory that is
//! left is checked against what was read of the victim.

use super::Scene;

/// The sizes of a process that other CPUs have not added up yet, for each of its counters (`percpu_counter`, 6.2 and later).
const SLACK_BYTES: u64 = 8 << 20;

/// The parts of the victim's badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Resident memory, swap and page tables.
    pub memory_bytes: u64,
    pub oom_score_adj: i16,
    /// What that added, or took off.
    pub shift_bytes: i64,
}

impl Scene<'_> {
    /// `None` if the kernel weighed no process, or if the figures do not fit together.
    #[must_use]
    pub fn weight(&self) -> Option<Weight> {
        // With vm.oom_kill_allocating_task no process is weighed.
        let control = self.control.filter(|control| control.points_bytes != 0)?;
        // The process that was chosen, at the decision, and not its first victim.
        let chosen = self.kill?.decision.as_deref()?.victim.as_ref()?;
        let oom_score_adj = chosen.oom_score_adj?;
        let page = self.page_size_bytes.max(1);
        let thousandth = (control.total_bytes / page / 1000).saturating_mul(page);
        let shift_bytes = i64::try_from(thousandth).ok()?.checked_mul(i64::from(oom_score_adj))?;
        let memory_bytes = u64::try_from(control.points_bytes.checked_sub(shift_bytes)?).ok()?;
        let (rss, tables) = (chosen.rss?, chosen.page_table_bytes?);
        let read = rss.resident_bytes().saturating_add(rss.swap_bytes).saturating_add(tables);
        let fits = read.abs_diff(memory_bytes) <= SLACK_BYTES.max(memory_bytes / 16);
        fits.then_some(Weight { memory_bytes, oom_score_adj, shift_bytes })
    }
}

#[cfg(test)]
mod tests {
    use crate::classify::tests::build::{MIB, SYSTEM, Told, api, kill, lineage, task};
    use crate::correlate::OomKill;
    use crate::event::Rss;

    /// A victim with this memory, of it 2 MiB each in swap and page tables, weighed as so much on a node of 1000 MiB.
    fn weighed(mib: u64, adj: i16, points_mib: i64) -> OomKill {
        let mut kill = kill(&lineage(&api()), None, &SYSTEM).with_control(|control| {
            (control.total_bytes, control.points_bytes) = (1000 * MIB, points_mib * (1 << 20));
        });
        if let Some(victim) = &mut kill.decision().victim {
            (victim.oom_score_adj, victim.page_table_bytes) = (Some(adj), Some(2 * MIB));
            let swap_bytes = 2 * MIB;
            victim.rss = Some(Rss { anon_bytes: (mib - 4) * MIB, file_bytes: 0, shmem_bytes: 0, swap_bytes });
        }
        kill
    }

    #[test]
    fn the_memory_and_what_oom_score_adj_added_are_told_apart() {
        for (adj, points, words) in [
            (0, 400, "the victim was weighed by its memory of 400 MiB, swap and page tables included"),
            (
                500,
                900,
                "400 MiB, swap and page tables included, and its oom_score_adj of 500, which added 500 MiB",
            ),
            (-600, -200, "and its oom_score_adj of -600, which took off 600 MiB"),
        ] {
            let told = weighed(400, adj, points).verdict();
            assert!(told.shows(&[words]), "{told:#?}");
            assert!(!told.shows(&["-200"]), "{told:#?}");
        }
        // Of figures that do not fit together, or where no process was weighed, nothing is said.
        for (adj, points) in [(0, 500), (0, -600), (500, 400), (0, 0)] {
            assert!(!weighed(400, adj, points).verdict().shows(&["weighed"]), "{adj} {points}");
        }
    }

    #[test]
    fn why_another_process_was_the_victim_is_told_by_the_numbers() {
        let by_another = |kill: OomKill| -> Told {
            kill.triggered_by(task("sshd", 9), lineage("/system.slice/sshd.service")).verdict()
        };
        for (mib, adj, points, why) in [
            (400, 0, 400, "the memory that it held"),
            (400, -100, 300, "the memory that it held"),
            (40, 900, 940, "its oom_score_adj of 900 more than the memory that it held"),
            (400, 300, 700, "the memory that it held more than its oom_score_adj of 300"),
            (400, 0, 7, "its memory and oom_score_adj"),
        ] {
            let told = by_another(weighed(mib, adj, points));
            assert!(told.shows(&[&format!("the kernel chose it by badness ({why})")]), "{told:#?}");
        }
    }
}
