//! The documents: their links and paths lead somewhere, README stays short, and fields and exit codes are the program's.
//! `cargo xtask docs --check` compares their generated parts with the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod documents {
    pub(crate) mod fields;
    pub(crate) mod metrics;
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace")
}

/// A document, by its path from the root.
#[derive(Debug)]
struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.into(), text }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Its lines outside of blocks of code.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut in_code = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            in_code ^= fence;
            !in_code && !fence && !line.starts_with("    ")
        })
    }

    /// Where its links lead, but for those to other sites.
    fn links(&self) -> Vec<String> {
        let links = self.prose().flat_map(|line| line.split("](").skip(1));
        let links = links.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
        links.filter(|link| !link.contains("://")).collect()
    }

    /// Its words between backticks.
    fn words(&self) -> Vec<&str> {
        self.prose().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
    }

    /// By which names its headings can be linked to.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        let name = |heading: &str| -> String {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(name).collect()
    }

    /// The first cells of the table with this head.
    fn column(&self, head: &str) -> BTreeSet<String> {
        let rows = self.prose().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
        let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(1));
        cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    }
}

/// All but those of fixtures, which tell where these come from.
fn all() -> Vec<Document> {
    fn find(folder: &Path, found: &mut Vec<String>) {
        for entry in
            fs::read_dir(root().join(folder)).expect("a folder").map(|entry| entry.expect("an entry"))
        {
            let name = entry.file_name().into_string().expect("UTF-8");
            let path = folder.join(&name);
            let is_folder = entry.file_type().expect("a type").is_dir();
            if is_folder && !name.starts_with('.') && !matches!(name.as_str(), "target" | "fixtures" | "src")
            {
                find(&path, found);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path.into_os_string().into_string().expect("UTF-8"));
            }
        }
    }
    let mut found = Vec::new();
    find(Path::new(""), &mut found);
    assert!(found.len() >= 10, "{found:?}");
    found.iter().map(|path| Document::read(path)).collect()
}

/// The links of this document that lead nowhere.
fn broken(document: &Document) -> Vec<String> {
    let mut broken = document.links();
    broken.retain(|link| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let to = document.folder().join(path);
        let anchors = match path {
            "" => Some(document.anchors()),
            _ => fs::read_to_string(root().join(&to))
                .ok()
                .map(|text| Document { path: to.clone(), text }.anchors()),
        };
        let leads = if anchor.is_empty() {
            root().join(&to).exists()
        } else {
            anchors.is_some_and(|it| it.contains(anchor))
        };
        !leads
    });
    broken
}

/// The words of this document that look like a path of this repository and are none. A part in `<` and `>` is to be filled in.
fn lost(document: &Document) -> Vec<String> {
    let folders = ["crashtrace/", "crashtrace-ebpf/", "xtask/", "tests/", "deploy/"];
    let mut lost: Vec<_> = document.words().into_iter().map(str::to_owned).collect();
    lost.retain(|word| {
        let path = word.split('<').next().unwrap_or_default();
        let path =
            if path.len() < word.len() { path.rsplit_once('/').map_or("", |(path, _)| path) } else { path };
        let is_path = folders.iter().any(|folder| word.starts_with(folder)) && !word.contains(' ');
        is_path
            && !matches!(word.as_str(), "crashtrace/v1" | "crashtrace/why/v1")
            && !root().join(path).exists()
            && !root().join(document.folder()).join(path).exists()
    });
    lost
}

#[test]
fn links_and_paths_lead_somewhere() {
    for document in all() {
        assert_eq!(broken(&document), [""; 0], "links of {}", document.path.display());
        assert_eq!(lost(&document), [""; 0], "paths in {}", document.path.display());
    }
    let document = Document {
        path: "tests/x.md".into(),
        text: "# A Heading, `tests`\n[a](../README.md) [b](#a-heading-tests) [c](https://c/) [d](no.md) [e](#no) \
               [f](../README.md#no)\n\n    [code](no.md)\n\n`tests/documents.rs` `tests/no.rs` `deploy/<x>.yaml` \
               `tests/no/<x>` `no/x`\n"
            .to_owned(),
    };
    assert_eq!(broken(&document), ["no.md", "#no", "../README.md#no"]);
    assert_eq!(lost(&document), ["tests/no.rs", "tests/no/<x>"]);
}

#[test]
fn readme_is_short_and_leads_to_all_others() {
    let readme = Document::read("README.md");
    let length = readme.text.lines().count();
    assert!(length <= 200, "README.md has {length} lines");
    let links: BTreeSet<_> = readme.links().into_iter().map(PathBuf::from).collect();
    for document in all().iter().filter(|document| document.path != readme.path) {
        assert!(links.contains(&document.path), "README.md has no link to {}", document.path.display());
    }
}

/// Compares a generated document with the file. `cargo xtask docs` runs these tests so that they write it.
fn generated(path: &str, made: &str) {
    let path = root().join(path);
    if std::env::var_os("CRASHTRACE_BLESS").is_some() {
        fs::write(&path, made).expect("it can be written");
    }
    let stands = fs::read_to_string(&path).expect("it can be read");
    let differ = stands.lines().zip(made.lines()).find(|(stands, made)| stands != made);
    assert_eq!(differ, None, "run `cargo xtask docs`");
    assert_eq!(stands.len(), made.len());
}

#[test]
fn generated_reference_of_fields() {
    generated("crashtrace/docs/fields.md", &documents::fields::page(&crashtrace::schema::json_schema()));
}

#[test]
fn generated_table_of_metrics() {
    let path = "deploy/monitoring/README.md";
    let text = Document::read(path).text;
    let (begin, end) =
        ("<!-- metrics: begin, written by cargo xtask docs -->\n\n", "\n<!-- metrics: end -->\n");
    let (before, rest) = text.split_once(begin).expect("it begins");
    let (_, after) = rest.split_once(end).expect("it ends");
    let table = documents::metrics::table();
    let rows: Vec<_> = table.lines().skip(2).collect();
    assert!(rows.len() > 20 && rows.iter().all(|row| row.matches(" | ").count() == 3), "{table}");
    generated(path, &format!("{before}{begin}{table}{end}{after}"));
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let page = Document::read("crashtrace/docs/commands.md");
    let help = <crashtrace::cli::Args as clap::CommandFactory>::command().render_long_help().to_string();
    let (_, codes) = help.split_once("Exit codes:").expect("they are in the help");
    let codes = codes.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    assert_eq!(page.column("exit code"), codes.collect());
}

#[test]
fn each_cause_of_why_is_explained() {
    use crashtrace::why::cause::Cause;
    let page = Document::read("crashtrace/docs/commands.md");
    let words = page.words();
    for cause in <Cause as strum::VariantArray>::VARIANTS {
        assert!(words.contains(&cause.name()), "{}", cause.name());
    }
}

/// The texts for readers: documents, manifests and their files, reports as text, and the help. By name.
fn readings() -> Vec<(String, String)> {
    fn find(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                find(&entry, found);
            } else {
                found.push((entry.display().to_string(), fs::read_to_string(&entry).expect("text")));
            }
        }
    }
    let mut found: Vec<_> =
        all().into_iter().map(|document| (document.path.display().to_string(), document.text)).collect();
    find(&root().join("deploy"), &mut found);
    find(&root().join("tests/fixtures/report"), &mut found);
    find(&root().join("tests/fixtures/why"), &mut found);
    let mut command = <crashtrace::cli::Args as clap::CommandFactory>::command();
    command.build();
    found.push(("--help".to_owned(), command.render_long_help().to_string()));
    for command in command.get_subcommands_mut() {
        found.push((command.get_name().to_owned(), command.render_long_help().to_string()));
    }
    // The first has the list. The other has blind spots from a recording, and so in the words of the agent that made it.
    found.retain(|(name, _)| name != "CONTRIBUTING.md" && !name.contains("report/agent_started."));
    found
}

#[test]
fn the_glossary_holds() {
    let glossary = Document::read("CONTRIBUTING.md");
    let rows = glossary.prose().skip_while(|line| !line.starts_with("| say | for | never |")).skip(2);
    let never: Vec<_> = rows
        .filter_map(|row| row.split('|').nth(3))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(never.len() > 10, "{never:?}");
    let said = |text: &str| -> Vec<&str> {
        let text = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        never.iter().copied().filter(|phrase| text.contains(phrase)).collect()
    };
    assert_eq!(said("Nobody got 4 MiB\n  in one piece."), ["in one piece", "nobody"]);
    let faults: Vec<_> = readings()
        .iter()
        .map(|(name, text)| (name.clone(), said(text)))
        .filter(|(_, said)| !said.is_empty())
        .map(|(name, said)| format!("{name}: {}", said.join(", ")))
        .collect();
    assert!(faults.is_empty(), "CONTRIBUTING's glossary has better words for these:\n{}", faults.join("\n"));
}
