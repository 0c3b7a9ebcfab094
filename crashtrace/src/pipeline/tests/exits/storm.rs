//! Ends that come too fast, and any number of them.

use super::*;
use crate::pipeline::ends::MOST;

/// Of another pod each.
fn of_pod(pod: u32, ktime_ns: u64) -> ContainerExit {
    let path = format!("/kubepods/pod1f6cbd1e-0d5a-4a4f-8f5c-2b8f{pod:08x}/{}", build::API);
    ContainerExit { cgroups: Some(lineage(&path)), ..at(ktime_ns, code(1)) }
}

fn repeats(lines: &[Value]) -> u64 {
    lines.iter().map(|line| 1 + line["repeats"].as_u64().expect("a number")).sum()
}

#[test]
fn a_crash_loop_and_a_burst_have_all_of_their_lines() {
    let mut desk = Desk::alone(Exits::Failed);
    let burst = (0..256).flat_map(|at| desk.push(of_pod(7, END + at))).count();
    assert_eq!(burst, 256);
    let mut desk = Desk::alone(Exits::Failed);
    let steady = (0..1000).flat_map(|at| desk.push(of_pod(7, END + at * SECOND / 10))).count();
    assert_eq!(steady, 1000);
    assert_eq!(desk.stages.deadline_ns(), None);
}

#[test]
fn in_a_storm_the_ends_of_a_pod_are_one_line_a_second() {
    let mut desk = Desk::alone(Exits::Failed);
    let mut lines: Vec<_> = (0..20_000)
        .flat_map(|number| {
            let now_ns = END + number * SECOND / 1000;
            let mut lines = desk.tick(now_ns);
            lines.extend(desk.push(of_pod(7, now_ns)));
            lines
        })
        .collect();
    assert!((256 + 15..=256 + 25).contains(&lines.len()), "{}", lines.len());
    lines.extend(desk.rest().into_iter().map(|(_, line)| line));
    assert_eq!(repeats(&lines), 20_000);
    assert_eq!(desk.stages.ends().ends.values().sum::<u64>(), 20_000);
    assert_eq!(desk.stages.stats.lost(), 0);
}

#[test]
fn a_storm_of_many_pods_takes_turns_and_what_has_no_room_is_a_loss() {
    let mut desk = Desk::alone(Exits::Failed);
    let mut lines: Vec<_> = (0..600).flat_map(|pod| desk.push(of_pod(pod, END + u64::from(pod)))).collect();
    assert_eq!(lines.len(), 256);
    assert_eq!(desk.count(Counter::EndsUntold), 600 - 256 - 256);
    let rest = desk.rest();
    let times: Vec<_> = rest.iter().map(|(at_ns, _)| *at_ns).collect();
    assert!(times.is_sorted() && times.last() < Some(&(END + 40 * SECOND)));
    lines.extend(rest.into_iter().map(|(_, line)| line));
    assert_eq!(repeats(&lines) + desk.stages.stats.lost(), 600);
}

#[test]
fn the_ends_that_wait_are_bounded() {
    let mut desk = Desk::new(Filter::default(), soon());
    for pod in 0..1000 {
        desk.push(of_pod(pod, END + u64::from(pod)));
    }
    assert_eq!(desk.stages.ends.waiting.len(), MOST);
    assert_eq!(desk.stages.ends().ends.values().sum::<u64>(), 1000 - MOST as u64, "the others are done with");
    desk.rest();
    assert_eq!(desk.stages.ends().ends.values().sum::<u64>(), 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever ends, in whatever order, each is counted once, and told, folded, filtered or counted as not reported.
    #[test]
    fn each_end_is_accounted_for_once(
        steps in prop::collection::vec((0_u32..3, 0_u64..20, any::<u8>(), any::<bool>(), 0_u8..4), 0..80),
        exits in prop_oneof![Just(Exits::Failed), Just(Exits::All), Just(Exits::None)],
    ) {
        let mut desk = Desk::new(Filter { exits, ..Filter::default() }, soon());
        let mut lines = Vec::new();
        for (number, (pod, step, status, asked, answer)) in (0..).zip(&steps) {
            let answer = match answer {
                0 => soon(),
                1 => known(named(RestartPolicy::Always)),
                2 => known(with_status(named(RestartPolicy::Never), "Error", 1)),
                _ => Answer::default(),
            };
            desk.api.borrow_mut().answer = answer;
            let mut end = of_pod(*pod, END + step * SECOND / 4 + number);
            end.status = Some(WaitStatus::Exited { code: status % 3 });
            end.asked = asked.then(|| runc(15, SECOND));
            lines.extend(desk.push(end));
            lines.extend(desk.tick(END + step * SECOND / 4));
        }
        lines.extend(desk.rest().into_iter().map(|(_, line)| line));
        let first: Vec<_> = lines.iter().filter(|line| line["revision"] == 1).cloned().collect();
        let silent = [Counter::EndsWell, Counter::EndsStopped, Counter::EndsUnwanted];
        let silent: u64 = silent.iter().map(|counter| desk.count(*counter)).sum();
        prop_assert_eq!(desk.stages.ends().ends.values().sum::<u64>(), steps.len() as u64);
        prop_assert_eq!(repeats(&first) + silent, steps.len() as u64);
        prop_assert_eq!(desk.stages.deadline_ns(), None);
    }
}
