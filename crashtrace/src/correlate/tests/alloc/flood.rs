//! Any mix of records and readings of the counts reports each failure once.

use proptest::prelude::*;

use super::*;

/// The kernel side's counts, and its records that are still in the ring.
#[derive(Default)]
struct KernelSide {
    now_ns: u64,
    counts: BTreeMap<u64, Counted>,
    ring: Vec<Event>,
    /// Failures that it forgot before they were seen.
    forgotten: u64,
    failures: u64,
}

#[derive(Clone, Debug)]
enum Step {
    /// This many failures of a kind; the last one with a record, or none.
    Fail(u64, u64, bool),
    /// The user side takes the ring, in the order in which CPUs wrote.
    Drain(bool),
    /// It takes the ring and then reads the counts; this many of a kind fail in between.
    Count(u64, u64, bool),
    /// Time passes.
    Pass(u64),
    Forget(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u64..4, 1_u64..500, any::<bool>()).prop_map(|(kind, times, recorded)| Step::Fail(kind, times, recorded)),
        3 => any::<bool>().prop_map(Step::Drain),
        3 => (0_u64..4, 0_u64..50, any::<bool>()).prop_map(|(kind, times, recorded)| Step::Count(kind, times, recorded)),
        2 => prop_oneof![0_u64..1000, 0_u64..2 * FOLD_NS].prop_map(Step::Pass),
    ]
}

impl KernelSide {
    fn fail(&mut self, kind: u64, times: u64, recorded: bool) {
        self.failures += times;
        let new = Counted { since_ns: self.now_ns, total: 0, sent_ns: 0 };
        let counted = self.counts.entry(kind).or_insert(new);
        counted.total += times;
        if recorded {
            counted.sent_ns = self.now_ns;
            let record = failure(self.now_ns, kind, counted.total);
            self.ring.push(changed(record, |failure| failure.counted = *counted));
        }
    }
}

/// Plays the steps. Gives the incidents of the user side, and the final state of the kernel side.
fn play(steps: Vec<Step>) -> (Desk, Vec<Incident>, KernelSide) {
    let (mut kernel, mut desk, mut done) = (KernelSide::default(), Desk::default(), Vec::new());
    let drain = |kernel: &mut KernelSide, desk: &mut Desk, swapped: bool| {
        let mut records = std::mem::take(&mut kernel.ring);
        if swapped && records.len() > 1 {
            let last = records.len() - 1;
            records.swap(last - 1, last);
        }
        let mut done = desk.all(records);
        done.extend(desk.correlator.tick(kernel.now_ns));
        done
    };
    let counts = |kernel: &KernelSide| -> Vec<_> {
        kernel.counts.iter().map(|(kind, counted)| (key(*kind), *counted)).collect()
    };
    for step in steps {
        // No two records have the same nanosecond.
        kernel.now_ns += 1;
        match step {
            Step::Fail(kind, times, recorded) => kernel.fail(kind, times, recorded),
            Step::Drain(swapped) => done.extend(drain(&mut kernel, &mut desk, swapped)),
            Step::Count(kind, times, recorded) => {
                done.extend(drain(&mut kernel, &mut desk, false));
                if times > 0 {
                    kernel.now_ns += 1;
                    kernel.fail(kind, times, recorded);
                }
                desk.correlator.alloc_counts(&counts(&kernel));
            }
            Step::Pass(ns) => kernel.now_ns += ns,
            Step::Forget(kind) => {
                kernel.forgotten += kernel.counts.remove(&kind).map_or(0, |counted| counted.total);
            }
        }
    }
    done.extend(drain(&mut kernel, &mut desk, false));
    desk.correlator.alloc_counts(&counts(&kernel));
    done.extend(desk.correlator.finish());
    let untold = desk.correlator.alloc_untold();
    kernel.failures -= untold;
    (desk, done, kernel)
}

#[test]
fn ten_thousand_at_once_are_counted_to_the_last() {
    let steps = (0..10_000_u64).map(|number| match number % 97 {
        0 => Step::Drain(true),
        13 => Step::Count(1, 5, true),
        number => Step::Fail(number % 3, 1, number % 7 == 0),
    });
    let steps: Vec<_> = steps.collect();
    let of = |step: &Step| match step {
        Step::Fail(_, times, _) | Step::Count(_, times, _) => *times,
        _ => 0,
    };
    let failures: u64 = steps.iter().map(of).sum();
    let (_, done, kernel) = play(steps);
    assert_eq!((sum(&done), kernel.failures), (failures, failures));
    assert!(done.len() < 12, "{} incidents within a second", done.len());
}

proptest! {
    #[test]
    fn each_failure_is_told_once_or_known_to_be_untold(steps in prop::collection::vec(step(), 0..80)) {
        let (mut desk, done, kernel) = play(steps);
        prop_assert_eq!(sum(&done), kernel.failures);
        prop_assert_eq!((desk.correlator.deadline_ns(), desk.correlator.finish()), (None, vec![]));
    }

    #[test]
    fn nothing_is_told_twice_where_the_kernel_forgets(
        steps in prop::collection::vec(prop_oneof![9 => step(), 1 => (0_u64..4).prop_map(Step::Forget)], 0..80),
    ) {
        let (_, done, kernel) = play(steps);
        prop_assert!(sum(&done) <= kernel.failures, "{} told of {}", sum(&done), kernel.failures);
        // Forgotten failures may have been seen before, or not.
        prop_assert!(sum(&done) + kernel.forgotten >= kernel.failures.saturating_sub(kernel.forgotten));
    }
}
