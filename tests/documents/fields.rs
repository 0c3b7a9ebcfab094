//! The reference of the report's fields, made of its JSON Schema.

use std::fmt::Write as _;

use serde_json::Value;

const HEAD: &str = "# The fields of a line

Made of the JSON Schema (`crashtrace schema`) by `cargo xtask docs`.
[report.md](report.md) has the ideas behind it.
";

/// The page.
pub(crate) fn page(schema: &Value) -> String {
    let mut page = HEAD.to_owned();
    for (name, of) in schema["$defs"].as_object().expect("definitions") {
        let description = of["description"].as_str().unwrap_or_default();
        write!(page, "\n## {name}\n\n{}\n", in_line(description)).expect("a string takes all");
        if let Some(properties) = of["properties"].as_object() {
            page += "\n| field | type | meaning |\n|---|---|---|\n";
            for (field, of) in properties {
                let meaning = in_cell(of["description"].as_str().unwrap_or_default());
                writeln!(page, "| `{field}` | {} | {meaning} |", kind(of)).expect("a string takes all");
            }
        }
        if let Some(values) = of["oneOf"].as_array() {
            page += "\n| value | meaning |\n|---|---|\n";
            for value in values {
                let (word, meaning) = (value["const"].as_str().expect("a word"), &value["description"]);
                let meaning = in_cell(meaning.as_str().unwrap_or_default());
                writeln!(page, "| `{word}` | {meaning} |").expect("a string takes all");
            }
        }
    }
    page
}

/// A value's type, with a link where it is defined here.
fn kind(of: &Value) -> String {
    if let Some(name) = of["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(any) = of["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(word) = of["const"].as_str() {
        return format!("`{word}`");
    }
    let types = match &of["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => panic!("no type: {of}"),
    };
    let shown = types.into_iter().map(|name| match name {
        "array" => format!("list of {}", kind(&of["items"])),
        name => name.to_owned(),
    });
    shown.collect::<Vec<_>>().join(" or ")
}

/// Paragraphs stay, line breaks within them go.
fn in_line(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

fn in_cell(text: &str) -> String {
    text.replace("\n\n", " ").replace('\n', " ").replace('|', "\\|")
}
