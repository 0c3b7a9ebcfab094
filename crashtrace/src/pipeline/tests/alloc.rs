//! Failed allocations through all stages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::node::{ProcFile, ProcFiles};
use crashtrace_records::alloc_failure;

/// A machine whose memory is fragmented, and which counts how often it was read.
#[derive(Debug)]
struct Proc(Arc<AtomicUsize>);

impl ProcFiles for Proc {
    fn read(&mut self, file: ProcFile) -> Result<Vec<u8>, String> {
        let reading = self.0.fetch_add(usize::from(file == ProcFile::Zoneinfo), SeqCst);
        Ok(match file {
            ProcFile::Zoneinfo => format!(
                "Node 0, zone Normal\n  pages free {}\n        min 1000\n        low 1250\n        high 1500\n        managed 262144\n        protection: (0)\n",
                9000 + reading
            )
            .into_bytes(),
            ProcFile::Buddyinfo => b"Node 0, zone Normal 9000 0 0 0 0 0 0 0 0 0 0\n".to_vec(),
            ProcFile::Pagetypeinfo | ProcFile::Swaps => return Err("a test has none".to_owned()),
            ProcFile::Meminfo => b"SUnreclaim: 204800 kB\n".to_vec(),
        })
    }
}

fn with_proc() -> (Pipeline, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut pipeline = pipeline(Filter::default());
    pipeline.node =
        Node { proc: Box::new(Proc(asked.clone())), gfp: GfpNames::fallback(), ..Node::unseen("a test") };
    (pipeline, asked)
}

/// A record of a kernel side that could not reach the zones.
fn without_zones(ktime_ns: u64, total: u64) -> Record {
    Record { zones: None, ..alloc_failure(ktime_ns, 0, POD, total) }
}

fn key_of(record: &Record) -> FailureKey {
    match &record.body {
        Body::Failure(body) => body.key,
        other => panic!("no failure: {other:?}"),
    }
}

/// The kernel side's count of a kind whose only record is that of [`alloc_failure`] at 100.
fn of_kind(total: u64) -> Counted {
    Counted { since_ns: 50, total, sent_ns: 100 }
}

fn counted(alloc: [u64; 3]) -> Counts {
    let mut counts = counts(0, 0, 0);
    for (index, count) in
        [counter::ALLOC_FAILED, counter::ALLOC_NOWARN, counter::ALLOC_OF_VICTIM].into_iter().zip(alloc)
    {
        counts[index as usize] = count;
    }
    counts
}

#[test]
fn zones_that_came_with_the_record_are_not_read_again() {
    let (mut pipeline, asked) = with_proc();
    let told = lines(&mut pipeline, &numbered(vec![alloc_failure(100, 0, POD, 1)]));
    assert_eq!(kinds(&told), ["alloc_failure"]);
    assert_eq!(
        (&told[0]["verdict"]["cause"], &told[0]["memory"]["late"]),
        (&"fragmentation".into(), &false.into())
    );
    assert_eq!(told[0]["memory"]["unmovable"]["slab_unreclaimable_bytes"], 200 << 20);
    assert_eq!(asked.load(SeqCst), 0);
}

/// A revision adds a count; the figures are those of the first moment.
#[test]
fn zones_are_read_once_if_the_kernel_side_could_not_read_them() {
    let (mut pipeline, asked) = with_proc();
    let first = without_zones(100, 1);
    let key = key_of(&first);
    let told = lines(&mut pipeline, &numbered(vec![first]));
    assert_eq!((&told[0]["revision"], &told[0]["repeats"]), (&1.into(), &0.into()));
    assert_eq!(
        (&told[0]["verdict"]["cause"], &told[0]["verdict"]["certainty"]),
        (&"fragmentation".into(), &"inferred".into())
    );
    assert_eq!(
        (&told[0]["memory"]["late"], &told[0]["memory"]["zones"][0]["free_bytes"]),
        (&true.into(), &(9000 * 4096).into())
    );
    assert_eq!(asked.load(SeqCst), 1);

    pipeline.alloc_counts(&[(key, of_kind(8))]);
    let again: Vec<_> = pipeline.tick(100 + SECOND).iter().map(json).collect();
    assert_eq!(
        (&again[0]["id"], &again[0]["revision"], &again[0]["repeats"]),
        (&told[0]["id"], &2.into(), &7.into())
    );
    assert_eq!(again[0]["memory"], told[0]["memory"]);
    assert_eq!(asked.load(SeqCst), 1, "not again");
}

#[test]
fn a_flood_is_one_line_a_second_and_each_failure_is_in_one() {
    let (mut pipeline, _) = with_proc();
    let records = (1..=500_u64).map(|total| alloc_failure(total * SECOND / 100, 0, POD, total)).collect();
    let mut told = lines(&mut pipeline, &numbered(records));
    told.extend(pipeline.stopping(6 * SECOND, "signal").iter().map(json));
    let failures = told.iter().filter(|line| line["kind"] == "alloc_failure");
    let of: Vec<_> = failures.map(|line| 1 + line["repeats"].as_u64().expect("a number")).collect();
    assert_eq!(of.iter().sum::<u64>(), 500);
    assert!((5..=7).contains(&of.len()), "{of:?}");
}

#[test]
fn the_kernel_sides_counts_of_failures_are_counters_and_no_loss() {
    let mut pipeline = pipeline(Filter::default());
    pipeline.kernel_counts(&counted([9, 1000, 3]));
    let of = |name| pipeline.stats.get(name);
    assert_eq!(
        (of(Counter::AllocFailed), of(Counter::AllocNowarn), of(Counter::AllocOfVictim)),
        (9, 1000, 3)
    );
    assert!(pipeline.losses(1).is_none());
    let stopping = json(&pipeline.stopping(2, "signal")[0]);
    assert_eq!(
        (&stopping["counters"]["alloc_nowarn"], &stopping["counters"]["alloc_untold"]),
        (&1000.into(), &0.into())
    );
}

#[test]
fn failures_without_a_record_are_a_loss() {
    let mut pipeline = pipeline(Filter::default());
    let record = alloc_failure(100, 0, POD, 1);
    let unknown = FailureKey { cgroup_id: 77, ..key_of(&record) };
    pipeline.alloc_counts(&[(unknown, of_kind(5))]);
    assert!(pipeline.losses(1).is_none(), "its record may be on its way");
    pipeline.alloc_counts(&[(unknown, of_kind(6))]);
    let loss = json(&pipeline.losses(2).expect("a loss"));
    assert_eq!(
        (&loss["kind"], &loss["lost"], &loss["counters"]["alloc_untold"]),
        (&"loss".into(), &6.into(), &6.into())
    );
    // Counters do not go back.
    pipeline.alloc_counts(&[]);
    pipeline.alloc_counts(&[(key_of(&record), of_kind(1))]);
    let stopping = json(&pipeline.stopping(3, "signal")[0]);
    assert_eq!(stopping["counters"]["alloc_untold"], 6 + 1, "no record of this one will come any more");
}

#[test]
fn a_filter_by_cause_knows_the_causes_of_failures() {
    for (causes, through) in [(vec![Cause::Fragmentation], 1), (vec![Cause::LowMemory, Cause::CgroupOom], 0)]
    {
        let mut pipeline = pipeline(Filter { causes, ..Filter::default() });
        assert_eq!(lines(&mut pipeline, &numbered(vec![alloc_failure(100, 0, POD, 1)])).len(), through);
    }
}
