//! Lines full of text that means harm, and lines that are far too long.

use crashtrace::report::to_json_line;
use crashtrace::schema::{Folded, FoldedVictim, Incident, Line, MAX_LINE_BYTES, Text, ZONES, Zone};
use crashtrace::sinks::text::render;
use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};

use crate::lines::{Size, account, folded, lines_of};
use crate::{cases, faults, parsed, validator};

/// Owners go before kinds of memory, the largest owner last; and the sum comes out.
#[test]
fn an_account_that_is_cut_still_comes_out() {
    for owners in [1, 8, 40, 60] {
        let found = cases::all().into_iter().find(|(name, _)| *name == "system_oom").expect("the case").1;
        let Line::Incident(mut incident) = found else { panic!("an incident") };
        let path = format!("/kubepods.slice/kubepods-burstable.slice/{}", "x".repeat(40));
        incident.memory.as_mut().expect("its memory").account = Some(account(&path, owners));
        let object = fits(&Line::Incident(incident));
        let account = &object["memory"]["account"];
        let entries = account["entries"].as_array().expect("a list");
        let sum: u64 = entries.iter().filter_map(|entry| entry["bytes"].as_u64()).sum();
        assert_eq!(
            Some(sum + account["others_bytes"].as_u64().expect("a sum")),
            account["total_bytes"].as_u64()
        );
        assert_eq!(entries.iter().filter(|entry| entry["holder"].is_null()).count(), 3, "{owners}");
        assert!(!entries[0]["holder"].is_null(), "{owners}");
        assert_eq!(object["truncated"], owners > 8, "{owners}");
        assert_eq!(faults(&validator(), &object), [""; 0]);
    }
}

/// Checks the line and gives the object.
fn fits(line: &Line) -> serde_json::Value {
    let bytes = to_json_line(line);
    assert!(bytes.len() <= MAX_LINE_BYTES, "{} bytes", bytes.len());
    assert_eq!(
        bytes.iter().position(|&byte| byte == b'\n'),
        Some(bytes.len() - 1),
        "one newline, at the end"
    );
    parsed(&bytes)
}

/// Each on a thread, since this takes longer than all the other tests of the file.
#[test]
fn no_line_is_too_long_whatever_is_in_it() {
    let validator = validator();
    std::thread::scope(|scope| {
        for piece in ["a", "\u{1}", "\"", "\\", "\u{10ffff}", "…", "/kubepods"] {
            scope.spawn(|| lines_of_such_text_fit(piece, &validator));
        }
    });
}

fn lines_of_such_text_fit(piece: &str, validator: &jsonschema::Validator) {
    for (length, size) in [
        (10_000, Size { victims: 8, items: 3 }),
        (10_000, Size { victims: 0, items: 8 }),
        (100, Size { victims: 200, items: 200 }),
        (1, Size { victims: 500, items: 500 }),
        (30_000, Size { victims: 1, items: 1 }),
    ] {
        for line in lines_of(&piece.repeat(length / piece.len() + 1), size) {
            let object = fits(&line);
            if let Line::Incident(incident) = &line {
                assert_eq!(object["truncated"], true);
                assert_eq!(object["victims_total"], incident.victims_total);
                let kept = object["victims"].as_array().expect("a list").len();
                assert!(kept >= size.victims.min(1), "the largest victim stays");
                for gap in object["unresolved"].as_array().expect("a list") {
                    let field = gap["field"].as_str().expect("a text");
                    let of = field.strip_prefix("victims[").and_then(|rest| rest.split_once(']'));
                    let of = of.and_then(|(index, _)| index.parse::<usize>().ok());
                    assert!(of.is_none_or(|index| index < kept), "{field} is of a victim that was cut");
                }
            }
            assert_eq!(faults(validator, &object), [""; 0], "{piece:?}");
        }
    }
}

/// A machine with eight NUMA nodes and more has as many zones as a report takes.
#[test]
fn sixteen_zones_fit_a_line_as_they_are() {
    let found =
        cases::all().into_iter().find(|(name, _)| *name == "alloc_fragmentation").expect("the case").1;
    let Line::Incident(mut incident) = found else { panic!("an incident") };
    let memory = incident.memory.as_mut().expect("its zones");
    let terabytes = |zone: &mut Zone| {
        for bytes in [&mut zone.managed_bytes, &mut zone.free_bytes, &mut zone.usable_bytes] {
            *bytes = Some(987_654_321_098);
        }
        for bytes in
            [&mut zone.min_bytes, &mut zone.low_bytes, &mut zone.high_bytes, &mut zone.lowmem_reserve_bytes]
        {
            *bytes = Some(12_345_678_901);
        }
        zone.free_blocks = Some(vec![1_234_567; 11]);
    };
    let mut zone = memory.zones.remove(2);
    terabytes(&mut zone);
    memory.zones = vec![zone; ZONES];
    memory.zones_total = 40;
    let object = fits(&Line::Incident(incident));
    assert_eq!(object["truncated"], false);
    assert_eq!(
        (object["memory"]["zones"].as_array().map(Vec::len), &object["memory"]["zones_total"]),
        (Some(16), &40.into())
    );
    assert_eq!(faults(&validator(), &object), [""; 0]);
}

#[test]
fn lists_are_cut_in_order() {
    let incident = |text: &str, size| match lines_of(text, size).remove(0) {
        Line::Incident(incident) => Incident { memory: None, ..*incident },
        _ => unreachable!("the first case is an incident"),
    };
    let victims = |object: &serde_json::Value| object["victims"].as_array().expect("a list").len();

    // Ordinary names, many victims: victims go, nothing else does.
    let mut line = incident("api", Size { victims: 300, items: 2 });
    for (index, victim) in line.victims.iter_mut().enumerate() {
        victim.pid = Some(index as u32);
        // It has names, so it has no claims, and no other engine's.
        let owner = victim.owner.as_mut().expect("an owner");
        (owner.claims, owner.engine) = (None, None);
    }
    let object = fits(&Line::Incident(Box::new(line.clone())));
    assert!(victims(&object) > 8, "{} victims", victims(&object));
    assert!(to_json_line(&Line::Incident(Box::new(line))).len() > MAX_LINE_BYTES - 1000, "the room is used");
    assert_eq!(object["victims"][0]["pid"], 0);
    assert_eq!(object["victims"][victims(&object) - 1]["pid"], victims(&object) - 1);
    assert!(!object.to_string().contains('…'));

    // Of folded victims as many as there is room for, the first ones, and nothing else goes.
    let mut line = incident("api", Size { victims: 1, items: 2 });
    let victim = |pid: u32| FoldedVictim {
        pid: Some(pid),
        comm: Some(Text::from("api")),
        ktime_ns: 812_345_678_901,
        cgroup: None,
    };
    line.folded = Some(Folded { victims: (0..500).map(victim).collect(), ..folded("api", 0) });
    let whole = Line::Incident(Box::new(line));
    let object = fits(&whole);
    assert_eq!((&object["truncated"], victims(&object)), (&true.into(), 1));
    assert!(to_json_line(&whole).len() > MAX_LINE_BYTES - 100, "the room is used");
    let kept = object["folded"]["victims"].as_array().expect("a list");
    assert!(kept.len() > 100, "{}", kept.len());
    assert_eq!(kept[kept.len() - 1]["pid"], kept.len() - 1);

    // Long paths: they are cut rather than the victims down to one, and both ends stay.
    let mut line = incident("api", Size { victims: 4, items: 2 });
    for victim in &mut line.victims {
        victim.cgroup = Some(Text::from(format!("/kubepods{}/mine", "/deep".repeat(2000)).as_str()));
    }
    let object = fits(&Line::Incident(Box::new(line)));
    assert_eq!(victims(&object), 4);
    let path = object["victims"][3]["cgroup"].as_str().expect("a path");
    assert!(
        path.starts_with("/kubepods/deep") && path.ends_with("/deep/mine") && path.contains('…'),
        "{path}"
    );
    assert_eq!(object["id"], "api");
}

#[test]
fn three_hundred_hostile_victims_take_no_time() {
    let mut lines = lines_of(&"\u{1}\\".repeat(50), Size { victims: 300, items: 300 });
    if let Line::Incident(incident) = &mut lines[0] {
        for victim in &mut incident.victims {
            victim.cgroup = Some(Text::from("/\u{1}\\".repeat(3300).as_str()));
        }
    }
    let spent = || clock_gettime(ClockId::ThreadCPUTime);
    let start = spent();
    fits(&lines[0]);
    // This thread's own time, not the clock's: the machine may be busy. Ten times what a debug build needs, and far below anything
    // quadratic.
    let seconds = spent().tv_sec - start.tv_sec;
    assert!(seconds < 20, "{seconds} s");
}

/// Text with characters that terminals act on.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "\x1b[31m",
            "\x1b[0m",
            "\x1b]0;x\x07",
            "\n",
            "\r",
            "\t",
            "\0",
            "\x7f",
            "\u{85}",
            "\u{9b}2J",
            "\u{202e}",
            "\u{2066}",
            "\u{200b}",
            "\u{2028}",
            "\u{feff}",
            "\\",
            "\"",
            "数",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 1..8)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("some text", |it| !it.is_empty())
}

/// The bytes that a terminal would act on, in each line of a text.
struct Escapes {
    each: Vec<usize>,
    /// Lines are missing at its end.
    cut: bool,
}

fn escapes(text: &str) -> Escapes {
    let note = text.find("bytes more: see the JSON line");
    let whole = note.and_then(|note| text[..note].rfind('\n')).map_or(text, |end| &text[..=end]);
    Escapes { each: whole.lines().map(|line| line.matches('\x1b').count()).collect(), cut: note.is_some() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_in_a_name_reaches_the_terminal_or_adds_a_line(text in nasty(), victims in 0usize..20, items in 0usize..4) {
        let size = Size { victims, items };
        for (hostile, tame) in lines_of(&text, size).iter().zip(lines_of("a", size)) {
            let plain = render(hostile, false);
            let colored = render(hostile, true);
            let reference = render(&tame, true);
            prop_assert!(plain.len().max(colored.len()) <= MAX_LINE_BYTES);
            // With colours each line has as many escapes as it has without a nasty name, and there are as many lines; a text that
            // was cut has the first ones.
            let (colored, reference) = (escapes(&colored), escapes(&reference));
            let both = colored.each.len().min(reference.each.len());
            prop_assert_eq!(&colored.each[..both], &reference.each[..both]);
            prop_assert!(both > 0 && (colored.cut || reference.cut || colored.each.len() == reference.each.len()));
            prop_assert!(escapes(&plain).each.iter().all(|count| *count == 0));
            if !escapes(&plain).cut && !reference.cut {
                prop_assert_eq!(plain.lines().count(), reference.each.len());
            }
            for c in plain.chars().filter(|&c| c != '\n') {
                let acts = c.is_control()
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
                prop_assert!(!acts, "{:?}", c);
            }
            prop_assert!(plain.ends_with('\n'));
        }
    }

    #[test]
    fn any_text_makes_a_line_that_fits(text in nasty(), times in 1usize..40, victims in 0usize..12, items in 0usize..12) {
        for line in lines_of(&text.repeat(times), Size { victims, items }) {
            fits(&line);
        }
    }
}

#[test]
fn a_control_character_is_shown_and_not_swallowed() {
    let mut line = cases::all().into_iter().find(|(name, _)| *name == "hostile_names").expect("the case").1;
    let Line::Incident(incident) = &mut line else { panic!("an incident") };
    incident.verdict.summary = "a\u{1b}[2Jb\n\u{202e}said so".into();
    assert!(render(&line, false).contains("a\\x1b[2Jb\\n\\u{202e}said so"));
}
