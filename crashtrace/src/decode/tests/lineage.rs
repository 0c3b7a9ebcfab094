//! The sections of a record.

use crashtrace_ebpf::{joins, section_flag};

use super::*;

fn decision_with(sections: Vec<Cgroups>) -> Decided {
    decision_of(&Record { sections, ..each_kind().swap_remove(0) })
}

#[test]
fn sections_may_come_in_any_order_and_each_goes_to_its_own_field() {
    let of = |kind, path: &str| cgroups(kind, path.as_bytes(), 8);
    let [trigger, victim, limit] = [
        of(section::TRIGGER, "/trigger/a"),
        of(section::VICTIM, "/victim"),
        of(section::LIMIT, "/limit/b/c"),
    ];
    for order in [
        [&trigger, &victim, &limit],
        [&limit, &victim, &trigger],
        [&victim, &limit, &trigger],
        [&limit, &trigger, &victim],
    ] {
        let decision = decision_with(order.into_iter().cloned().collect());
        let path = |lineage: &Option<Lineage>| lineage.as_ref().map(Lineage::path);
        assert_eq!(path(&decision.trigger_cgroups), Some(b"/trigger/a".to_vec()));
        assert_eq!(path(&decision.victim_cgroups), Some(b"/victim".to_vec()));
        assert_eq!(path(&decision.limit_cgroups), Some(b"/limit/b/c".to_vec()));
    }
}

#[test]
fn a_record_may_have_no_sections_or_empty_ones() {
    for sections in
        [vec![], vec![Cgroups { section: Section { kind: 1, ..Section::default() }, levels: vec![] }]]
    {
        let decision = decision_with(sections);
        assert_eq!(
            (decision.trigger_cgroups, decision.victim_cgroups, decision.limit_cgroups),
            (None, None, None)
        );
    }
}

#[test]
fn of_two_sections_of_a_kind_the_first_counts_and_an_unknown_one_is_skipped() {
    let decision = decision_with(vec![
        cgroups(999, b"/later-version", 8),
        cgroups(section::VICTIM, b"/first", 8),
        cgroups(section::VICTIM, b"/second", 8),
        cgroups(section::LIMIT, b"/limit", 8),
    ]);
    assert_eq!(decision.victim_cgroups.map(|cgroups| cgroups.path()), Some(b"/first".to_vec()));
    assert_eq!(decision.limit_cgroups.map(|cgroups| cgroups.path()), Some(b"/limit".to_vec()));
    assert_eq!(decision.trigger_cgroups, None);
}

#[test]
fn flags_and_skipped_levels_of_a_section_are_decoded() {
    for (flags, incomplete, unified) in [
        (0, false, false),
        (section_flag::INCOMPLETE, true, false),
        (section_flag::UNIFIED, false, true),
        (section_flag::INCOMPLETE | section_flag::UNIFIED, true, true),
    ] {
        let mut section = cgroups(section::VICTIM, b"/a", 8);
        (section.section.flags, section.section.skipped) = (flags, 3);
        let lineage = decision_with(vec![section]).victim_cgroups.expect("cgroups");
        assert_eq!((lineage.incomplete, lineage.unified, lineage.skipped), (incomplete, unified, 3));
        assert_eq!(lineage.levels.len(), 2);
    }
}

#[test]
fn a_limit_of_the_counters_end_is_none() {
    let none = i64::MAX as u64 / PAGE;
    for (pages, limit) in [
        (0, Limit::Bytes(0)),
        (1, Limit::Bytes(PAGE)),
        (none - 1, Limit::Bytes((none - 1) * PAGE)),
        (none, Limit::Unlimited),
        (u64::MAX, Limit::Unlimited),
    ] {
        let mut section = cgroups(section::VICTIM, b"/a", pages);
        section.levels[0].0.swap_max_pages = pages;
        let lineage = decision_with(vec![section]).victim_cgroups.expect("cgroups");
        assert_eq!(
            (lineage.levels[0].limit, lineage.levels[0].swap_limit),
            (Some(limit), Some(limit)),
            "{pages}"
        );
    }
}

#[test]
fn names_of_any_length_and_bytes_are_decoded() {
    for name in [b"a".to_vec(), vec![b'n'; 8], vec![0xff; 255], b"\n\x1b[2J\"\\".to_vec()] {
        let mut section = cgroups(section::VICTIM, b"/x", 8);
        section.levels[0].1.clone_from(&name);
        let lineage = decision_with(vec![section]).victim_cgroups.expect("cgroups");
        assert_eq!(lineage.levels[0].name, Some(Name(name)));
    }
}

/// `whole` without its last levels, which are those of the section `of` from `at` on.
fn joined(whole: &Cgroups, own: usize, of: u16, at: u16) -> Cgroups {
    let section = Section { joins: of, joined_at: at, ..whole.section };
    Cgroups { section, levels: whole.levels[..own].to_vec() }
}

#[test]
fn levels_that_another_section_has_are_read_from_there() {
    let of = |kind, path: &str| cgroups(kind, path.as_bytes(), 8);
    let trigger = of(section::TRIGGER, "/kubepods/pod1/c1");
    let victim = of(section::VICTIM, "/kubepods/pod1/c2");
    let limit = of(section::LIMIT, "/kubepods/pod1");
    let whole = decision_with(vec![trigger.clone(), victim.clone(), limit.clone()]);
    // Levels begin with the nearest: the pod is the second of the trigger's, after its own.
    let short = vec![
        trigger.clone(),
        joined(&victim, 1, section::TRIGGER, 1),
        joined(&limit, 0, section::TRIGGER, 1),
    ];
    assert_eq!(decision_with(short), whole);
    let cut = Cgroups {
        section: Section { flags: section_flag::INCOMPLETE, ..trigger.section },
        levels: trigger.levels[..3].to_vec(),
    };
    let limit =
        decision_with(vec![cut, joined(&limit, 0, section::TRIGGER, 1)]).limit_cgroups.expect("levels");
    assert_eq!((limit.levels.len(), limit.incomplete), (2, true), "what it joins does not reach the root");
}

#[test]
fn a_section_that_joins_none_that_is_there_is_refused() {
    let trigger = cgroups(section::TRIGGER, b"/kubepods/pod1", 8);
    let limit = cgroups(section::LIMIT, b"/kubepods", 8);
    let decision = each_kind().swap_remove(0);
    let refused = |sections| read(&Record { sections, ..decision.clone() }).expect_err("refused");
    let deep = cgroups(section::LIMIT, "/a".repeat(15).as_bytes(), 8);
    for sections in [
        vec![joined(&limit, 0, section::TRIGGER, 0), trigger.clone()],
        vec![trigger.clone(), joined(&limit, 0, section::TRIGGER, 4)],
        vec![trigger.clone(), joined(&limit, 0, section::VICTIM, 0)],
        vec![trigger.clone(), joined(&limit, 0, section::TRIGGER | joins::DECISION, 0)],
        vec![trigger.clone(), joined(&limit, 1, section::LIMIT | joins::DECISION, 0)],
        vec![trigger.clone(), joined(&deep, 16, section::TRIGGER, 0)],
    ] {
        let error = refused(sections);
        let what = "section that another joins";
        assert!(matches!(error, DecodeError::Impossible { what: it, .. } if it == what), "{error}");
    }
}

#[test]
fn the_cgroups_of_a_victim_may_be_in_the_decision() {
    let [_, mut mark, _] =
        <[Record; 3]>::try_from(memcg_kill(1_000, 3, b"/kubepods/pod1", b"java")).expect("3");
    mark.sections = vec![joined(&mark.sections[0], 0, section::VICTIM | joins::DECISION, 0)];
    let Ok(Event::OomVictim(victim)) = read(&mark) else { panic!("no victim") };
    assert_eq!((victim.in_decision, victim.cgroups), (true, None));
    mark.sections.clear();
    let Ok(Event::OomVictim(victim)) = read(&mark) else { panic!("no victim") };
    assert!(!victim.in_decision);
}
