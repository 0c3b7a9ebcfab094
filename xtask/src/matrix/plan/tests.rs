use super::*;
use Tier::{Fentry, Kprobe, Tracepoint};
use crashtrace_judge::catalogue::Need;
use crashtrace_judge::deployed::Check;

fn catalogue() -> Vec<Scenario> {
    let scenario = |(name, needs): &(&str, &[Need])| Scenario {
        name: (*name).to_owned(),
        needs: needs.to_vec(),
        ..Scenario::default()
    };
    [
        ("any", &[] as &[Need]),
        ("unified", &[Need::V2, Need::Guest]),
        ("hangs", &[Need::V1]),
        ("nodes", &[Need::Numa]),
    ]
    .iter()
    .map(scenario)
    .collect()
}

fn deployed() -> Deployed {
    let check = |name: &str| Check { name: name.to_owned(), ..Check::default() };
    Deployed { scenarios: vec!["any".to_owned()], checks: vec![check("a"), check("b")] }
}

fn select(kernels: &[&'static str], shapes: Shapes, scenarios: &[&str]) -> Selection {
    Selection {
        kernels: kernels.to_vec(),
        shapes,
        scenarios: scenarios.iter().map(|&name| name.to_owned()).collect(),
        named: true,
        tiers: vec![Fentry, Kprobe],
        alone: false,
        deployed: false,
        starts: false,
    }
}

fn shown(boots: &[Boot]) -> Vec<String> {
    boots.iter().map(|boot| format!("{boot}: {}", boot.scenarios.join(" "))).collect()
}

#[test]
fn plays_each_scenario_once_in_as_few_guests_as_that_takes() {
    let once =
        |names: &[&str]| select(&["5.10", "sid"], Shapes::Once, names).boots(&catalogue(), &deployed());
    assert_eq!(shown(&once(&["any"]).expect("it can")), ["5.10 v2: any", "sid v2: any"]);
    let all = once(&["nodes", "hangs", "unified", "any"]).expect("it can");
    assert_eq!(
        shown(&all),
        [
            "5.10 v2: any unified",
            "5.10 numa: nodes",
            "5.10 v1: hangs",
            "sid v2: any unified",
            "sid numa: nodes"
        ]
    );
}

#[test]
fn plays_in_each_shape_that_meets_the_needs() {
    let each = select(&["6.1"], Shapes::Each(Shape::ALL.to_vec()), &["any", "unified", "hangs", "nodes"]);
    let boots = each.boots(&catalogue(), &deployed()).expect("it can");
    assert_eq!(shown(&boots), ["6.1 v2: any unified", "6.1 numa: any unified nodes", "6.1 v1: any hangs"]);
}

#[test]
fn refuses_what_no_guest_can_play() {
    for (kernel, shapes, scenario) in [
        ("sid", Shapes::Once, "hangs"),
        ("arm64-6.12", Shapes::Once, "nodes"),
        ("5.10", Shapes::Each(vec![Shape::V2]), "hangs"),
    ] {
        let error = select(&[kernel], shapes, &["any", scenario])
            .boots(&catalogue(), &deployed())
            .expect_err(scenario);
        assert!(error.to_string().contains(scenario), "{error}");
    }
    // Scenarios that the user did not name may be left out.
    let unnamed = |scenarios: &[&str]| {
        Selection { named: false, ..select(&["sid"], Shapes::Once, scenarios) }
            .boots(&catalogue(), &deployed())
    };
    assert_eq!(shown(&unnamed(&["any", "hangs"]).expect("it can")), ["sid v2: any"]);
    unnamed(&["hangs"]).expect_err("nothing at all");
}

#[test]
fn everything_is_every_kernel_shape_and_scenario_together_and_alone() {
    let everything = Selection::everything(&["5.10", "6.12"], &catalogue());
    let boots = everything.boots(&catalogue(), &deployed()).expect("it can");
    let guests: Vec<_> = boots.iter().map(ToString::to_string).collect();
    assert_eq!(guests, ["5.10 v2", "5.10 numa", "5.10 v1", "6.12 v2", "6.12 numa"]);
    for boot in &boots {
        assert_eq!(
            boot.turns,
            [vec![Fentry, Kprobe, Tracepoint], vec![Fentry], vec![Kprobe], vec![Tracepoint]]
        );
    }
    // Two scenarios in four turns; the agent as it is deployed: a scenario and two checks; three checks of starts with each tier.
    assert_eq!(boots[0].plays(), 8 + 3 + 9);
    let starts: Vec<_> = boots.iter().filter(|boot| boot.starts).map(ToString::to_string).collect();
    assert_eq!(starts, ["5.10 v2", "6.12 v2"]);
    let verifiers: Vec<_> = boots.iter().filter(|boot| boot.verifier).map(ToString::to_string).collect();
    assert_eq!(verifiers, ["5.10 v2", "6.12 v2"]);
}

#[test]
fn the_agent_as_it_is_deployed_has_guests_that_can_have_it() {
    let select = |shapes, scenarios: &[&str]| {
        Selection { deployed: true, ..select(&["5.10", "arm64-6.12"], shapes, scenarios) }
            .boots(&catalogue(), &deployed())
    };
    let boots = select(Shapes::Once, &[]).expect("it can");
    assert_eq!(shown(&boots), ["5.10 v2: "]);
    assert_eq!((boots[0].turns.len(), boots[0].plays()), (0, 3));
    let boots = select(Shapes::Each(Shape::ALL.to_vec()), &["any"]).expect("it can");
    let with: Vec<_> = boots.iter().filter(|boot| boot.deployed.is_some()).map(ToString::to_string).collect();
    assert_eq!((boots.len(), with), (4, vec!["5.10 v2".to_owned(), "5.10 v1".to_owned()]));
    select(Shapes::Each(vec![Shape::Numa]), &[]).expect_err("no guest can");
}

#[test]
fn starts_alone_take_one_guest_of_each_kernel() {
    let selection = Selection { starts: true, ..select(&["5.10", "arm64-6.1"], Shapes::Once, &[]) };
    let boots = selection.boots(&catalogue(), &deployed()).expect("it can");
    assert_eq!(shown(&boots), ["5.10 v2: ", "arm64-6.1 v2: "]);
    assert_eq!(boots[0].start_tiers(), Tier::ALL);
    assert_eq!(boots[1].start_tiers(), [Kprobe, Tracepoint], "it refuses fentry");
    assert_eq!((boots[1].turns.len(), boots[1].plays()), (0, 6));
}

#[test]
fn a_single_kind_of_hooks_has_one_turn() {
    assert_eq!(turns(&[Kprobe], true), [vec![Kprobe]]);
}

#[test]
fn the_guest_takes_every_turn_and_remembers_failure() {
    let mut boot = Boot {
        kernel: "arm64-6.1",
        shape: Shape::V2,
        scenarios: vec!["any".to_owned(), "unified".to_owned()],
        turns: vec![vec![Fentry, Kprobe], vec![Kprobe]],
        verifier: false,
        deployed: None,
        starts: false,
    };
    let run = "/bin/scenario run --guest --crashtrace /bin/crashtrace --hooks";
    let expected = format!(
        "status=0\necho 'crashtrace-turn: 0'\n\
         {run} fentry,kprobe --may-lack fentry any unified || status=1\necho 'crashtrace-turn: 1'\n\
         {run} kprobe any unified || status=1\nexit $status"
    );
    assert_eq!(script(&boot), expected);
    boot.kernel = "arm64-6.12";
    assert!(!script(&boot).contains("may-lack"));
    boot.deployed = Some(DeployedTurn {
        scenarios: vec!["any".to_owned()],
        checks: vec!["a".to_owned(), "b".to_owned()],
    });
    let script_of_both = script(&boot);
    let expected = "\necho 'crashtrace-turn: 2'\n\
         /bin/scenario run --guest --crashtrace /bin/crashtrace --deployed /deploy --hooks fentry any || status=1\n\
         /bin/scenario deployed --crashtrace /bin/crashtrace --manifests /deploy a b || status=1\nexit $status";
    assert!(script_of_both.ends_with(expected), "{script_of_both}");
    boot.starts = true;
    let expected = "\necho 'crashtrace-turn: 3'\n/bin/scenario starts --guest --crashtrace /bin/crashtrace --rounds 2 \
         --hooks fentry,kprobe,tracepoint sessions wrong_btf pinned || status=1\nexit $status";
    assert!(script(&boot).ends_with(expected), "{}", script(&boot));
    boot.verifier = true;
    assert!(script(&boot).starts_with("status=0\n/bin/scenario verifier || status=1\necho"));
}

#[test]
fn chooses_kernels() {
    let chosen =
        |named: &[&str]| kernels(&named.iter().map(|&label| label.to_owned()).collect::<Vec<_>>(), "6.1");
    assert_eq!(chosen(&[]).expect("the default"), ["6.1"]);
    assert_eq!(chosen(&["sid", "5.10"]).expect("two"), ["5.10", "sid"]);
    assert_eq!(chosen(&["all"]).expect("all"), kernel::labels());
    chosen(&["6.1", "2.4"]).expect_err("there is no 2.4");
}
