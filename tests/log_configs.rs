//! The collectors' configurations in `deploy/pipelines`, for collectors that cannot be run here: each option must be one that the
//! collector has, sizes must have room for a report, and all must read the paths and formats of `deploy/` and of the page.
//! `tests/log_pipeline` runs rsyslog's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crashtrace::schema::MAX_LINE_BYTES;
use serde_json::{Map, Value};

/// A runtime splits longer lines; before each part stand time, stream and tag.
const PART_BYTES: usize = 16 * 1024 + 64;

/// Options of Fluent Bit 5.1.1, by section or plugin, as `src/flb_config.c`, `src/flb_parser.c` and the plugins' tables of
/// options have them.
const FLUENT_BIT: [(&str, &[&str]); 5] = [
    ("service", &["flush", "multiline_buffer_limit"]),
    ("parser", &["name", "format", "time_key", "time_format", "time_keep"]),
    ("tail", &["name", "tag", "path", "multiline.parser", "read_from_head", "buffer_max_size", "db"]),
    (
        "kubernetes",
        &[
            "name",
            "match",
            "kube_tag_prefix",
            "merge_log",
            "merge_log_key",
            "merge_parser",
            "keep_log",
            "labels",
            "annotations",
        ],
    ),
    ("stdout", &["name", "match", "format", "json_date_format"]),
];

/// Options of Vector 0.58, by type of component, as `src/sources/kubernetes_logs/mod.rs` and the like have them.
const VECTOR: [(&str, &[&str]); 3] = [
    (
        "kubernetes_logs",
        &["type", "extra_label_selector", "auto_partial_merge", "max_line_bytes", "max_merged_line_bytes"],
    ),
    ("remap", &["type", "inputs", "source"]),
    ("console", &["type", "inputs", "encoding"]),
];

/// Components, blocks and arguments of Grafana Alloy 1.18 that are used, as `docs/sources/reference/components` has them. Keys of
/// maps (fields taken of a report) are not listed.
const ALLOY: [&str; 34] = [
    "discovery.kubernetes",
    "role",
    "namespaces",
    "names",
    "selectors",
    "label",
    "field",
    "discovery.relabel",
    "targets",
    "rule",
    "source_labels",
    "separator",
    "regex",
    "target_label",
    "replacement",
    "local.file_match",
    "path_targets",
    "loki.source.file",
    "forward_to",
    "loki.process",
    "stage.cri",
    "stage.match",
    "selector",
    "stage.json",
    "stage.timestamp",
    "source",
    "format",
    "action_on_failure",
    "action_on_duplicate_timestamp",
    "stage.labels",
    "stage.structured_metadata",
    "loki.write",
    "endpoint",
    "url",
];

fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/pipelines");
    fs::read_to_string(folder.join(name)).expect("a file of deploy/pipelines")
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).expect("YAML")
}

fn options<'a>(known: &[(&str, &'a [&'a str])], of: &str) -> &'a [&'a str] {
    known.iter().find(|(name, _)| *name == of).unwrap_or_else(|| panic!("no {of} is known")).1
}

/// Checks the options that are set against the known ones.
fn check(set: &Value, known: &[(&str, &[&str])], of: &str) {
    let known = options(known, of);
    for option in set.as_object().unwrap_or(&Map::new()).keys() {
        assert!(known.contains(&option.as_str()), "{of} has no option {option}");
    }
}

/// `64k` and the like, in bytes.
fn bytes(size: &str) -> usize {
    let digits = size.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &size[digits.len()..] {
        "" => 1,
        "k" => 1 << 10,
        "M" => 1 << 20,
        other => panic!("no unit: {other}"),
    };
    digits.parse::<usize>().expect("a number") * unit
}

#[test]
fn fluent_bit_has_these_options_and_room_for_a_report() {
    let config = yaml("fluent-bit.yaml");
    check(&config["service"], &FLUENT_BIT, "service");
    let list = |value: &Value| value.as_array().cloned().expect("a list");
    for parser in list(&config["parsers"]) {
        check(&parser, &FLUENT_BIT, "parser");
    }
    let pipeline = config["pipeline"].as_object().expect("a pipeline");
    assert_eq!(pipeline.keys().collect::<BTreeSet<_>>().len(), 3);
    for plugin in ["inputs", "filters", "outputs"].into_iter().flat_map(|stage| list(&pipeline[stage])) {
        check(&plugin, &FLUENT_BIT, plugin["name"].as_str().expect("a name"));
    }
    let (tail, filter) = (&pipeline["inputs"][0], &pipeline["filters"][0]);
    assert!(bytes(tail["buffer_max_size"].as_str().expect("a size")) > PART_BYTES);
    assert!(bytes(config["service"]["multiline_buffer_limit"].as_str().expect("a size")) > MAX_LINE_BYTES);
    assert_eq!(tail["multiline.parser"], "cri");
    assert_eq!(filter["merge_parser"], config["parsers"][0]["name"]);
    assert_eq!(config["parsers"][0]["time_format"], "%Y-%m-%dT%H:%M:%S.%LZ");
    // The pod's names are read off the tag, which is the path.
    let folder = tail["path"].as_str().and_then(|path| path.rsplit_once('/')).expect("a path").0;
    assert_eq!(filter["kube_tag_prefix"], format!("kube{}.", folder.replace('/', ".")));
    assert!(tail["path"].as_str().expect("a path").ends_with("/crashtrace-*_crashtrace_crashtrace-*.log"));
}

#[test]
fn vector_has_these_options_and_room_for_a_report() {
    let config = yaml("vector.yaml");
    for stage in ["sources", "transforms", "sinks"] {
        for component in config[stage].as_object().expect("components").values() {
            check(component, &VECTOR, component["type"].as_str().expect("a type"));
        }
    }
    let (source, transform, sink) =
        (&config["sources"]["pods"], &config["transforms"]["reports"], &config["sinks"]["out"]);
    assert_eq!((&transform["inputs"][0], &sink["inputs"][0]), (&"pods".into(), &"reports".into()));
    assert!(source["max_line_bytes"].as_u64().expect("a number") as usize > PART_BYTES);
    assert!(source["max_merged_line_bytes"].as_u64().expect("a number") as usize > MAX_LINE_BYTES);
    assert_eq!(source["auto_partial_merge"], true);
    assert_eq!(source["extra_label_selector"], "app.kubernetes.io/name=crashtrace");
    assert!(transform["source"].as_str().expect("a program").contains("report.schema == \"crashtrace/v1\""));
}

/// Names that stand before `{` or `=`, but for the keys of maps.
fn alloy_names(config: &str) -> Vec<String> {
    let (mut names, mut in_map) = (Vec::new(), false);
    for line in config.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let name = line.split([' ', '"', '=', '{']).next().unwrap_or_default();
        if line.starts_with('}') {
            in_map = false;
        } else if line.ends_with("= {") {
            // `expressions` of `stage.json`, `values` of the others.
            assert!(["expressions", "values"].contains(&name), "{line}");
            in_map = true;
        } else if !in_map && !name.is_empty() {
            names.push(name.to_owned());
        }
    }
    names
}

#[test]
fn alloy_has_these_components_and_arguments() {
    let config = text("alloy.alloy");
    let names = alloy_names(&config);
    for name in &names {
        assert!(ALLOY.contains(&name.as_str()), "Alloy has no {name}");
    }
    let unused: Vec<_> = ALLOY.iter().filter(|known| !names.iter().any(|name| name == *known)).collect();
    assert_eq!(unused, [&""; 0]);
    for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
        assert_eq!(config.matches(open).count(), config.matches(close).count(), "{open}");
    }
    // Each component that is referred to exists, and each is referred to but the first, which reads and hands on.
    let mut components = BTreeSet::new();
    for line in config.lines().filter(|line| !line.starts_with([' ', '/', '}']) && !line.is_empty()) {
        let (component, label) = line.split_once(" \"").expect("a component with a label");
        components.insert(format!("{component}.{}", label.split('"').next().unwrap_or_default()));
    }
    let exports = [".targets", ".output", ".receiver"];
    let referred: BTreeSet<String> = config
        .split([' ', '[', ']', '\n'])
        .filter_map(|word| exports.iter().find_map(|export| word.strip_suffix(export)))
        .map(str::to_owned)
        .collect();
    assert!(components.remove("loki.source.file.crashtrace"));
    assert_eq!(referred, components);
    assert!(config.contains("label = \"app.kubernetes.io/name=crashtrace\""));
}

#[test]
fn the_page_has_the_values_of_the_configurations_and_the_code() {
    let page = text("README.md");
    for file in ["rsyslog.conf", "fluent-bit.yaml", "vector.yaml", "alloy.alloy"] {
        assert!(page.contains(&format!("({file})")), "{file}");
    }
    assert!(page.contains(&format!("A line has at most {} KiB", MAX_LINE_BYTES / 1024)));
    let schema = serde_json::to_string(&crashtrace::schema::json_schema()).expect("JSON");
    for field in ["id", "revision", "redelivered", "session", "seq", "lost", "kind"] {
        assert!(page.contains(&format!("`{field}`")), "the page says nothing of {field}");
        assert!(schema.contains(&format!("\"{field}\"")), "no line has a {field}");
    }
    let rsyslog = text("rsyslog.conf");
    let (_, size) = rsyslog.split_once("maxMessageSize=\"").expect("it is set");
    assert!(bytes(size.split('"').next().expect("a size")) > PART_BYTES);
}
