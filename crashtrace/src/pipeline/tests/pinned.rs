//! A session that goes on with hooks of an earlier one.

use super::*;

fn before(lost: u64, carried: u64) -> Before {
    Before {
        accepts_ns: 50,
        told: counts(lost, 0, 0),
        carried: counts(carried, 0, 0),
        failures: Vec::new(),
        adopts: true,
    }
}

/// The records of a kill on a CPU, numbered from there on.
fn kill(ktime_ns: u64, cpu: u32, seq: u64) -> Vec<Record> {
    let mut records = numbered(memcg_kill(ktime_ns, cpu, POD, b"java"));
    for record in &mut records {
        record.header.seq += seq;
    }
    records
}

#[test]
fn what_was_recorded_before_the_session_is_told_and_its_numbers_are_no_loss() {
    let mut pipeline = pipeline(Filter::default());
    pipeline.follows(&Before { accepts_ns: 10_000, ..before(0, 0) });
    let started = json(&pipeline.started(30_000));
    assert_eq!((&started["kind"], &started["lost"]), (&"agent_started".into(), &0.into()));
    assert_eq!(kinds(&lines(&mut pipeline, &kill(20_000, 0, 70))), ["oom_kill"]);
    assert_eq!(kinds(&lines(&mut pipeline, &kill(40_000, 1, 7))), ["oom_kill"]);
    assert_eq!((pipeline.stats.lost(), pipeline.losses(1).is_none()), (0, true));
    // Before the hooks were on there can be none.
    assert_eq!(lines(&mut pipeline, &kill(10, 2, 0)).len(), 0);
    // Three records are missing.
    let count = kill(0, 0, 0).len() as u64;
    assert_eq!(lines(&mut pipeline, &kill(60_000, 0, 70 + count + 3))[0]["lost"], 3);
}

#[test]
fn a_loss_that_was_told_is_not_told_again_and_one_that_was_not_is() {
    let mut pipeline = pipeline(Filter::default());
    pipeline.follows(&before(7, 5));
    assert_eq!(json(&pipeline.started(1000))["lost"], 7, "it goes on");
    assert_eq!(pipeline.kernel_told(), &counts(7, 0, 0));
    // Two since the hooks in use were on, five before: all of them were told.
    pipeline.kernel_counts(&counts(2, 0, 0));
    assert!(pipeline.losses(1).is_none());
    pipeline.kernel_counts(&counts(6, 0, 0));
    let loss = json(&pipeline.losses(1).expect("four more"));
    assert_eq!((&loss["counters"]["records_lost"], &loss["lost"]), (&4.into(), &11.into()));
    assert_eq!(pipeline.kernel_told(), &counts(11, 0, 0));
}

#[test]
fn records_of_hooks_that_were_replaced_have_their_own_numbers() {
    let mut pipeline = pipeline(Filter::default());
    pipeline.follows(&before(0, 0));
    pipeline.started(1000);
    assert_eq!(lines(&mut pipeline, &kill(100, 0, 70)).len(), 1);
    pipeline.numbers_anew();
    assert_eq!(lines(&mut pipeline, &kill(2000, 0, 0)).len(), 1);
    assert_eq!(pipeline.stats.lost(), 0);
    // From here on they begin at 0, so these are lost.
    assert_eq!(lines(&mut pipeline, &kill(3000, 1, 2))[0]["lost"], 2);
}

/// The earlier session took the beginning.
#[test]
fn a_decision_whose_beginning_an_earlier_session_took_is_not_whole() {
    let mut pipeline = pipeline(Filter::default());
    pipeline.follows(&before(0, 0));
    pipeline.started(1000);
    let told = lines(&mut pipeline, &kill(2000, 0, 9)[1..]);
    assert_eq!(kinds(&told), ["oom_kill"]);
    assert_eq!((&told[0]["complete"], &told[0]["lost"]), (&false.into(), &0.into()));
    assert_eq!(told[0]["victims_total"], 1);
}

#[test]
fn an_open_decision_has_a_time_until_which_it_is_waited_for() {
    let mut pipeline = pipeline(Filter::default());
    pipeline.started(1);
    assert_eq!(pipeline.deciding_until_ns(), None);
    let records = kill(100, 0, 0);
    lines(&mut pipeline, &records[..1]);
    assert!(pipeline.deciding_until_ns() > Some(100));
    lines(&mut pipeline, &records[1..]);
    assert_eq!(pipeline.deciding_until_ns(), None);
}
