//! Failed allocations: a wrong line, or one that does not follow from its own figures, is a fault.

use super::*;

const FILE: &str = r#"
[[scenario]]
name = "one"
about = "a process in a container makes an allocation for which there is no free block"
needs = []
[[scenario.failure]]
kind = "alloc_failure"
cause = "fragmentation"
shortage = "fragmentation"
level = "node"
order = 10
gfp = ["GFP_KERNEL"]
gfp_may = ["__GFP_COMP"]
migrate_type = "unmovable"
trigger = "eater"
count = 3
index = [0.7, 1.0]
evidence = ["room for 4 MiB"]
never = ["want of memory"]
"#;

/// 100 MiB in single pages: 25,600 of them.
fn zone() -> Value {
    json!({ "numa_node": 0, "zone": "DMA32", "eligible": true, "managed_bytes": 400 << 20, "free_bytes": 100 << 20,
        "usable_bytes": 100 << 20, "min_bytes": 1 << 20, "low_bytes": 2 << 20, "high_bytes": 3 << 20,
        "boost_bytes": 0, "lowmem_reserve_bytes": 0, "free_cma_bytes": 0, "highatomic_bytes": 0,
        "free_blocks": [25_600, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "room": true, "suitable_block": false,
        // 1000 - (1000 + 25600 * 1000 / 1024) / 25600
        "fragmentation_index": 0.999, "unusable_index": 1.0 })
}

fn failed(id: &str, revision: u64, repeats: u64) -> Value {
    let mut line = line();
    line["id"] = json!(id);
    line["kind"] = json!("alloc_failure");
    line["revision"] = json!(revision);
    line["repeats"] = json!(repeats);
    line["verdict"] = json!({ "cause": "fragmentation", "shortage": "fragmentation", "level": "node",
        "certainty": "observed", "inferred": [], "evidence": ["there was room for 4 MiB"], "remedy": "compact" });
    line["hooks"] = json!(["kprobe:warn_alloc"]);
    line["origin"] = json!("allocation");
    line["constraint"] = json!("none");
    line["limit"] = Value::Null;
    line["victims"] = json!([]);
    line["victims_total"] = json!(0);
    line["allocation"] = json!({ "order": 10, "bytes": 4 << 20, "gfp": ["GFP_KERNEL", "__GFP_COMP"],
        "migrate_type": "unmovable", "numa_nodes": [] });
    line["memory"] = json!({ "late": false, "zones_total": 1, "zones": [zone()] });
    line["unresolved"] = json!([]);
    line
}

fn judge(lines: &[&Value]) -> Vec<String> {
    judge_by(&Catalogue::parse(FILE).expect("a good file"), lines)
}

fn judge_by(catalogue: &Catalogue, lines: &[&Value]) -> Vec<String> {
    let row = |value: f64| [("DMA32".to_owned(), vec![value; 11])].into();
    let cast = Cast { kills: Some(0), extfrag: row(0.99), unusable: row(1.0), ..cast() };
    let surroundings = &Surroundings { nodes_listed: true, ..Surroundings::default() };
    let (lines, bytes, wall_ahead_ns) = (lines.to_vec(), vec![100], vec![WALL_AHEAD_NS; lines.len()]);
    let tier = Tier::Fentry;
    let (exceptions, kernel_log, clock) = (Vec::new(), &[], None);
    let said = Said {
        tier,
        failures: tier,
        surroundings,
        exceptions,
        kernel_log,
        lines,
        bytes,
        wall_ahead_ns,
        clock,
    };
    matching::faults(&catalogue.scenarios[0], &cast, &said)
}

#[test]
fn all_lines_together_count_each_failure() {
    let first = failed("a", 1, 0);
    assert_eq!(judge(&[&first, &failed("b", 1, 1)]), [""; 0]);
    // Of an incident the last revision counts, in whatever order they come.
    assert_eq!(judge(&[&failed("a", 2, 2), &first]), [""; 0]);
    for lines in [vec![], vec![&first], vec![&first, &first, &first]] {
        assert_ne!(judge(&lines), [""; 0], "{} lines", lines.len());
    }
    assert_ne!(judge(&[&failed("a", 1, 3)]), [""; 0], "four");
    let mut stranger = failed("b", 1, 0);
    stranger["allocation"]["order"] = json!(4);
    assert_ne!(judge(&[&failed("a", 1, 2), &stranger]), [""; 0], "one of another kind");
}

/// Whether it comes before the judging or after.
#[test]
fn a_report_that_chance_decides_about_may_come() {
    let mut by_chance = failed("b", 1, 0);
    by_chance["kind"] = json!("charge_failure");
    let lines = [&failed("a", 1, 2), &by_chance];
    assert_ne!(judge(&lines), [""; 0]);
    let file = FILE.replace("needs = []", "needs = []\nby_chance = \"charge_failure\"");
    assert_eq!(judge_by(&Catalogue::parse(&file).expect("a good file"), &lines), [""; 0]);
}

#[test]
fn each_field_that_is_wrong_is_a_fault() {
    let good = failed("a", 1, 2);
    assert_eq!(judge(&[&good]), [""; 0]);
    let mut paths = Vec::new();
    leaves(&good, "", &mut paths);
    // Names of the incident, which have another check, and fields that no check reads.
    let free = |path: &&String| {
        let free = [
            "/id",
            "/revision",
            "/unresolved",
            "/trigger/exiting",
            "/verdict/remedy",
            "/memory/zones/0/numa_node",
        ];
        free.contains(&path.as_str())
            || ["boost_bytes", "free_cma_bytes", "highatomic_bytes"].iter().any(|end| path.ends_with(end))
    };
    for path in paths.iter().filter(|path| !free(path)) {
        let mut line = good.clone();
        *line.pointer_mut(path).expect("it is there") = json!("something else");
        assert_ne!(judge(&[&line]), [""; 0], "{path}");
    }
}

#[test]
fn a_verdict_that_does_not_follow_from_the_figures_is_a_fault() {
    for (path, wrong) in [
        // There is no room.
        ("/memory/zones/0/usable_bytes", json!(4 << 20)),
        ("/memory/zones/0/min_bytes", json!(99 << 20)),
        // Larger blocks are said to be there, or are and are not said to be.
        ("/memory/zones/0/suitable_block", json!(true)),
        ("/memory/zones/0/free_blocks/10", json!(1)),
        ("/memory/zones/0/free_blocks/0", json!(100)),
        // No zone at all that it may use.
        ("/memory/zones/0/eligible", json!(false)),
        ("/memory/zones", json!([])),
        ("/memory", Value::Null),
        // debugfs showed something else.
        ("/memory/zones/0/fragmentation_index", json!(0.8)),
        ("/allocation/gfp", json!(["__GFP_COMP"])),
        ("/allocation/gfp", json!(["GFP_KERNEL", "__GFP_ZERO"])),
        ("/verdict/evidence/0", json!("room for 4 MiB, but want of memory")),
        ("/memory/late", json!(true)),
    ] {
        let mut line = failed("a", 1, 2);
        *line.pointer_mut(path).expect("it is there") = wrong;
        assert_ne!(judge(&[&line]), [""; 0], "{path}");
    }
}

#[test]
fn refuses_failures_that_could_not_be_told() {
    for (from, to) in [
        ("count = 3", "count = 0"),
        ("cause = \"fragmentation\"", "cause = \"unknown\""),
        ("cause = \"fragmentation\"", "cause = \"system_oom\""),
        ("kind = \"alloc_failure\"", "kind = \"oom_kill\""),
        ("migrate_type = \"unmovable\"", ""),
        ("trigger = \"eater\"", "trigger = \"\""),
        ("gfp = [\"GFP_KERNEL\"]", "gfp = []"),
        ("index = [0.7, 1.0]", "index = [1.0, 0.7]"),
        ("count = 3", "count = 3\ncharge = true"),
        ("needs = []", "needs = []\nquiet = true"),
    ] {
        let file = FILE.replace(from, to);
        assert_ne!(file, FILE, "{from}");
        Catalogue::parse(&file).expect_err(to);
    }
    Catalogue::parse("[[scenario]]\nname = \"n\"\nabout = \"a\"\nneeds = []\nquiet = true\n")
        .expect("a quiet one");
}

#[test]
fn two_lists_of_flags_may_stand_for_the_same() {
    let flags = |names: &[&'static str]| crate::gfp::flags(names.iter().copied());
    let told = flags(&["GFP_HIGHUSER", "__GFP_ACCOUNT"]);
    assert_eq!(told, flags(&["GFP_KERNEL_ACCOUNT", "__GFP_HIGHMEM", "__GFP_HARDWALL"]));
    assert_ne!(told, flags(&["GFP_KERNEL_ACCOUNT", "__GFP_HIGHMEM"]));
    assert_eq!(flags(&["GFP_ATOMIC"]), flags(&["GFP_ATOMIC", "GFP_ATOMIC"]));
    assert_ne!(flags(&["GFP_ATOMIC"]), flags(&["GFP_KERNEL"]));
}
