use super::*;
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: super::super::Args,
}

/// The guests that a command line leads to, and the turns in the first.
fn guests(line: &str) -> Result<(Vec<String>, usize)> {
    let args = Cli::try_parse_from(line.split(' '))?.args;
    let boots = args.scenarios.boots(&args.kernels, &Catalogue::read()?.scenarios)?;
    Ok((boots.iter().map(ToString::to_string).collect(), boots[0].turns.len()))
}

#[test]
fn a_scenario_is_played_once_unless_more_is_asked_for() {
    let guests = |line| guests(line).expect(line);
    assert_eq!(guests("vm --scenario own_limit"), (vec!["6.1 v2".to_owned()], 1));
    assert_eq!(guests("vm --scenario own_limit --kernel 5.10,sid").0, ["5.10 v2", "sid v2"]);
    assert_eq!(guests("vm --scenario own_limit,system --shape v1,v2").0, ["6.1 v2", "6.1 v1"]);
    assert_eq!(guests("vm --scenario own_limit --alone").1, 4);
    assert_eq!(guests("vm --scenario own_limit --alone --hooks kprobe").1, 1);
    assert_eq!(guests("vm --scenario own_limit --kernel all").0.len(), kernel::labels().len());
}

#[test]
fn all_is_everything_unless_limited() {
    let (all, turns) = guests("vm --all").expect("everything");
    assert!(all.iter().any(|guest| guest == "5.10 v1") && all.iter().any(|guest| guest == "sid numa"));
    assert_eq!(turns, 4);
    assert_eq!(
        guests("vm --all --kernel sid").expect("one").0,
        ["sid v2", "sid numa", "sid movable", "sid nomemcg"]
    );
    assert_eq!(guests("vm --all --shape v1").expect("some").0, ["5.10 v1", "6.1 v1"]);
}

#[test]
fn the_agent_as_it_is_deployed_can_be_asked_for_alone() {
    let guests = |line| guests(line).expect(line);
    assert_eq!(guests("vm --deployed"), (vec!["6.1 v2".to_owned()], 0));
    assert_eq!(guests("vm --deployed --shape v1,v2 --kernel 5.10").0, ["5.10 v2", "5.10 v1"]);
    assert_eq!(guests("vm --deployed --scenario own_limit").1, 1);
}

#[test]
fn refuses_what_does_not_go_together_or_does_not_exist() {
    for line in [
        "vm",
        "vm --scenario nothing",
        "vm --scenario own_limit --shape v1 --kernel sid",
        "vm --scenario own_limit --shell true",
        "vm --scenario own_limit --cgroup-v1",
        "vm --gate --kernel 6.1",
        "vm --gate --deployed",
        "vm --deployed --kernel arm64-6.1",
        "vm --shell true --shape v1",
    ] {
        guests(line).expect_err(line);
    }
}
