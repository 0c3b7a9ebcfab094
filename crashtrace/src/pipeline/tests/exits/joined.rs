//! Ends that OOM kills caused, and the end of the session.

use super::*;

/// A kill's line comes before that of the end that it caused, which has its id and its verdict.
#[test]
fn the_end_of_a_victim_has_the_kills_id_and_verdict() {
    for filter in [Filter::default(), Filter { causes: vec![Cause::CgroupOom], ..Filter::default() }] {
        let mut desk = Desk::new(filter, Answer::default());
        let records = numbered(memcg_kill(1000, 0, super::super::POD, b"java"));
        let first: Vec<_> =
            records[..2].iter().map(|record| desk.stages.record(&record.bytes().into())).collect();
        assert!(first.iter().all(Vec::is_empty));
        let end = end_of(&records[1], &desk);
        assert_eq!(desk.push(end), [Value::Null; 0], "the decision is open");
        let lines: Vec<_> = desk.stages.record(&records[2].bytes().into()).iter().map(json).collect();
        assert_eq!(kinds(&lines), ["oom_kill", "container_exit"]);
        assert_eq!(lines[1]["verdict"]["cause"], "cgroup_oom");
        assert_eq!(lines[1]["verdict"]["level"], lines[0]["verdict"]["level"]);
        assert_eq!(lines[1]["exit"]["oom"]["id"], lines[0]["id"]);
        assert_eq!(desk.counted(Cause::CgroupOom, EndedHow::Kill), 1);
    }
}

/// The process of this mark ends just after it.
fn end_of(mark: &Record, desk: &Desk) -> ContainerExit {
    let Ok(Event::OomVictim(victim)) = decode::decode(&mark.bytes().into(), &desk.stages.machine) else {
        panic!("no mark")
    };
    ContainerExit {
        status: Some(WaitStatus::Signaled { signal: 9, core_dumped: false }),
        task: victim.task,
        cgroups: victim.cgroups,
        ..at(victim.stamp.ktime_ns + 1, code(0))
    }
}

/// Only the line of the fold has an id in the stream.
#[test]
fn the_end_of_a_victim_whose_kill_was_folded_names_the_line_of_the_fold() {
    let mut desk = Desk::new(Filter::default(), Answer::default());
    let kills = (0..70).map(|at| memcg_kill(SECOND + at * 1_000_000, 0, super::super::POD, b"java"));
    let records = numbered(kills.collect::<Vec<_>>().concat());
    let told: Vec<_> = records.iter().flat_map(|it| desk.stages.record(&it.bytes().into())).collect();
    assert!((60..70).contains(&told.len()), "{}", told.len());
    let end = end_of(&records[records.len() - 2], &desk);
    let [line] = desk.push(end).try_into().expect("one line at once");
    assert_eq!(line["verdict"]["cause"], "cgroup_oom", "though the line of the kill is still to come");
    let [(_, fold)] = desk.rest().try_into().expect("the fold");
    assert_eq!((&fold["kind"], &line["exit"]["oom"]["id"]), (&"oom_kill".into(), &fold["id"]));
}

#[test]
fn what_waits_goes_out_when_the_agent_stops() {
    let mut desk = Desk::new(Filter::default(), soon());
    desk.push(code(1));
    desk.push(at(END + 1, code(0)));
    desk.set(named(RestartPolicy::Always));
    let last: Vec<_> = desk.stages.stopping(NOW, "signal").iter().map(json).collect();
    assert_eq!(kinds(&last), ["container_exit", "container_exit", "agent_stopping"]);
    assert_eq!((&last[0]["revision"], &last[1]["revision"]), (&2.into(), &1.into()));
    assert_eq!(desk.stages.deadline_ns(), None);
}
