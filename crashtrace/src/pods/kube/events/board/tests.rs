use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A board, and its first instant.
fn board() -> (Board, Instant) {
    (Board::new(EventOptions::default()), Instant::now())
}

fn outcome(message: &str) -> Outcome {
    let event = PodEvent { message: message.to_owned(), ..PodEvent::default() };
    Outcome { list: vec![event], missing: None }
}

/// The answer's messages, whether all is known, and whether there may be more.
fn told(events: &Events) -> (Vec<&str>, bool, bool) {
    let messages = events.list.iter().map(|event| event.message.as_str());
    (messages.collect(), events.missing.is_none(), events.soon)
}

fn lists(board: &mut Board, now: Instant) -> Option<String> {
    if let Next::List { uid, .. } = board.next(now) { Some(uid.into()) } else { None }
}

fn refused(code: u16) -> Problem {
    Problem::refused(code, "no")
}

#[test]
fn a_pod_is_listed_when_it_is_first_asked_about_and_again_while_events_may_come() {
    let (mut board, start) = board();
    let at = |tenths: u32| start + SECOND * tenths / 10;
    assert_eq!(board.next(start), Next::Idle);
    let first = board.ask("n", "u", Some("a"), at(0));
    assert_eq!(told(&first), (vec![], false, true));
    assert_eq!(board.next(at(0)), Next::List { namespace: "n".into(), uid: "u".into() });
    assert_eq!(board.got("u", outcome("one")), None);
    assert_eq!(told(&board.ask("n", "u", Some("a"), at(2))), (vec!["one"], true, true));
    assert_eq!(board.next(at(2)), Next::At(at(10)), "at most once a second");
    assert_eq!(lists(&mut board, at(10)).as_deref(), Some("u"));
    board.got("u", outcome("two"));
    assert!(matches!(board.next(at(30)), Next::At(when) if when > at(60)), "nobody has asked since");
    assert_eq!(told(&board.ask("n", "u", Some("a"), at(49))), (vec!["two"], true, true));
    assert_eq!(lists(&mut board, at(49)).as_deref(), Some("u"));
    board.got("u", outcome("three"));
    assert_eq!(told(&board.ask("n", "u", Some("a"), at(50))), (vec!["three"], true, false), "it is over");
    assert_eq!(lists(&mut board, at(70)), None);
    // Another run of it, and the same list is older than its end.
    assert_eq!(told(&board.ask("n", "u", Some("b"), at(80))), (vec![], false, true));
    assert_eq!(lists(&mut board, at(80)).as_deref(), Some("u"));
    board.got("u", outcome("four"));
    assert_eq!(told(&board.ask("n", "u", Some("b"), at(81))), (vec!["four"], true, true));
    assert_eq!(told(&board.ask("n", "u", Some("a"), at(81))), (vec!["four"], true, false));
    let last = at(81) + Duration::from_mins(1);
    assert_eq!(board.next(at(140)), Next::At(last));
    assert_eq!((board.next(last), board.pods.len()), (Next::Idle, 0), "it is forgotten");
}

/// The answer is late: it is taken all the same.
#[test]
fn a_list_that_takes_long_is_still_an_answer() {
    let (mut board, start) = board();
    board.ask("n", "u", None, start);
    assert!(lists(&mut board, start).is_some());
    let late = board.ask("n", "u", None, start + 6 * SECOND);
    assert_eq!(told(&late), (vec![], false, false));
    board.got("u", outcome("late"));
    assert_eq!(told(&board.ask("n", "u", None, start + 7 * SECOND)), (vec!["late"], true, false));
    assert_eq!(lists(&mut board, start + 8 * SECOND), None);
}

#[test]
fn there_are_so_many_pods_and_no_more() {
    let (mut board, start) = board();
    for number in 0..MOST_PODS {
        assert!(board.ask("n", &number.to_string(), None, start).soon);
    }
    let more = board.ask("n", "more", None, start);
    assert!(!more.soon && more.missing.is_some_and(|it| it.contains("64 other pods")));
    assert!(board.ask("n", "7", None, start).soon, "one that is known may be asked about");
    let over = start + EventOptions::default().soon;
    assert!(board.ask("n", "new", None, over).soon, "it has the place of one of which nothing is awaited");
    assert_eq!((board.pods.len(), board.pods.contains_key("new")), (MOST_PODS, true));
    let later = start + Duration::from_mins(1);
    assert!(board.ask("n", "more", None, later).soon, "the others are forgotten");
    assert_eq!(board.pods.len(), 2, "but for the new one");
    for run in 0..100 {
        board.ask("n", "more", Some(&run.to_string()), later);
    }
    assert_eq!(board.pods["more"].runs.len(), MOST_RUNS);
}

/// The most lists in any ten seconds, whatever is asked.
#[test]
fn a_node_lists_eight_at_once_and_then_two_a_second() {
    let (mut board, start) = board();
    let mut listed = Vec::new();
    for tick in 0..1000_u32 {
        let now = start + Duration::from_millis(10) * tick;
        for pod in 0..MOST_PODS {
            board.ask("n", &pod.to_string(), Some(&tick.to_string()), now);
        }
        if let Some(uid) = lists(&mut board, now) {
            board.got(&uid, Outcome::default());
            listed.push((now, uid));
        }
    }
    let within = |seconds| listed.iter().filter(|(at, _)| *at < start + seconds * SECOND).count();
    assert!((BURST as usize..=BURST as usize + 2).contains(&within(1)), "{}", within(1));
    assert!((26..=28).contains(&within(10)), "{}", within(10));
    let pods: std::collections::BTreeSet<_> = listed.iter().map(|(_, uid)| uid).collect();
    assert_eq!(pods.len(), listed.len(), "each has its turn before any has another");
}

#[test]
fn trouble_is_answered_and_waited_for() {
    let (mut board, start) = board();
    let at = |seconds: u32| start + seconds * SECOND;
    board.ask("n", "u", None, at(0));
    assert!(lists(&mut board, at(0)).is_some());
    assert_eq!(board.fails(&refused(500), at(0), at(2)), None, "it may be of a moment");
    let answer = board.ask("n", "u", None, at(1));
    assert_eq!(answer.missing.as_deref(), Some("the pod's Events: the API server refuses: 500 no"));
    assert!(answer.soon && board.problem().is_none());
    assert_eq!(board.next(at(1)), Next::At(at(2)));
    assert!(lists(&mut board, at(2)).is_some(), "nobody has asked again, and it is still unknown");
    let said = board.fails(&refused(500), at(2), at(9));
    assert!(matches!(said, Some(Told::Trouble { .. })), "{said:?}");
    assert!(!board.ask("n", "u", None, at(3)).soon, "the pause is longer than it waits");
    assert_eq!(board.fails(&refused(500), at(3), at(9)), None, "it is said once");
    assert!(board.problem().is_some());
    assert_eq!(lists(&mut board, at(10)), None, "nobody wants it any more");
    board.ask("n", "u", None, at(10));
    assert!(lists(&mut board, at(10)).is_some());
    assert_eq!(board.got("u", outcome("one")), Some(Told::Well));
    assert_eq!((board.problem(), board.got("u", outcome("two"))), (None, None));
}

#[test]
fn a_refused_right_is_named_and_another_problem_is_another_message() {
    let (mut board, start) = board();
    let later = start + Duration::from_mins(5);
    board.ask("n", "u", None, start);
    assert_eq!(board.fails(&refused(403), start, start), None);
    assert!(board.is_forbidden());
    let Some(Told::Trouble { said, remedy }) = board.fails(&refused(403), start, later) else {
        panic!("it is said")
    };
    assert_eq!(said, "the API server refuses the pod's Events: 403 no; grant list on events");
    assert!(remedy.ends_with("a ClusterRole with list on events"), "{remedy}");
    let answer = board.ask("n", "u", None, start);
    assert_eq!((answer.missing, answer.soon), (Some(said), false));
    assert_eq!(board.next(start), Next::At(later));
    for (times, is_said) in [(1, false), (2, true), (3, false)] {
        assert_eq!(board.fails(&refused(404), start, start).is_some(), is_said, "{times}");
    }
    assert_eq!(board.fails(&Problem::Fault("a".into()), start, start), None);
    assert_eq!(board.fails(&Problem::Fault("a".into()), start, start), None, "it is in the log");
    assert_eq!(board.got("u", Outcome::default()), Some(Told::Well));
}
