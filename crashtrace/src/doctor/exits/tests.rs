use super::*;
use crate::doctor::tests::{EXITS, works};
use crate::event::Hook;

fn lines(exits: &[Attach], error: Option<&str>, wanted: bool) -> String {
    let exits = exits.to_vec();
    let trial = TierTrial { exits, exits_error: error.map(str::to_owned), ..works(Hook::Fentry) };
    container_exits(Some(&trial), wanted).expect("a tier is in use").lines().join("\n")
}

#[test]
fn the_cost_of_each_hook_is_told() {
    let said = lines(&EXITS, None, true);
    assert!(said.starts_with("raw_tp:sched_process_exit, raw_tp:signal_generate\n"), "{said}");
    for cost in ["raw_tp:sched_process_exit costs some ", "raw_tp:signal_generate costs some "] {
        assert!(said.contains(cost), "{said}");
    }
}

#[test]
fn a_missing_hook_comes_with_the_reason() {
    let said = lines(&EXITS[..1], Some("raw_tp:signal_generate: EINVAL"), true);
    assert!(said.starts_with("raw_tp:sched_process_exit\n") && said.ends_with("EINVAL"), "{said}");
    assert_eq!(lines(&[], Some("EPERM"), true), "not seen\nEPERM");
    assert_eq!(lines(&[], None, false), "not seen\n--no-exits leaves them out");
    assert_eq!(container_exits(None, true), None);
}
