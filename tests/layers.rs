//! Compares ARCHITECTURE.md's table of rooms with the paths of the code: a room (a top-level module of the agent) uses the rooms of
//! its row and nothing else, nothing below its own row, and there is no circle. The last holds for xtask's modules, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use layers::paths::{Arrow, Crate, Read};
use layers::table::{Row, rows};

mod layers {
    pub(crate) mod paths;
    pub(crate) mod table;
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace").to_owned()
}

/// The library and the program.
fn agent() -> Read {
    let folder = root().join("crashtrace/src");
    let mut read = Crate { root: &folder.join("lib.rs"), name: "crashtrace" }.read();
    assert!(read.rooms.remove("lib"), "lib.rs declares rooms and is none");
    let program = Crate { root: &folder.join("main.rs"), name: "crashtrace" }.read();
    read.rooms.extend(program.rooms);
    read.arrows.extend(program.arrows);
    read
}

fn table() -> Vec<Row> {
    rows(&fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it can be read"))
}

/// The uses in the code that the table does not allow.
fn faults(rows: &[Row], read: &Read) -> Vec<String> {
    let mut faults = Vec::new();
    let in_table: BTreeSet<_> = rows.iter().map(|row| row.room.clone()).collect();
    faults.extend(read.rooms.difference(&in_table).map(|room| format!("{room}: no row")));
    faults.extend(in_table.difference(&read.rooms).map(|room| format!("{room}: a row, and no room")));
    for (at, row) in rows.iter().enumerate() {
        let above: BTreeSet<_> = rows[..at].iter().map(|row| &row.room).collect();
        let uses = |to: &String| read.arrows.iter().any(|arrow| arrow.from == row.room && arrow.to == *to);
        for room in row.named.iter().filter(|room| !uses(room)) {
            faults.push(format!("{}: names {room}, which it does not use", row.room));
        }
        for room in row.may_use.iter().filter(|room| !above.contains(room)) {
            faults.push(format!("{}: may use {room}, which does not stand above it", row.room));
        }
    }
    for Arrow { from, to, at } in &read.arrows {
        let row = rows.iter().find(|row| row.room == *from);
        if row.is_some_and(|row| !row.may_use.contains(to)) {
            faults.push(format!("{from} uses {to}, which its row does not have: {at}"));
        }
    }
    faults
}

/// A circle of modules that use each other, if there is one.
fn circle(read: &Read) -> Option<Vec<String>> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Arrow { from, to, .. } in &read.arrows {
        uses.entry(from).or_default().insert(to);
    }
    // A room that uses none of the rooms left is in no circle.
    loop {
        let left: Vec<_> = uses.keys().copied().collect();
        let before = uses.len();
        uses.retain(|_, to| {
            to.retain(|to| left.contains(to));
            !to.is_empty()
        });
        if uses.len() == before {
            break;
        }
    }
    let mut way = vec![*uses.keys().next()?];
    loop {
        let next = *uses[way[way.len() - 1]].first()?;
        if let Some(begin) = way.iter().position(|it| *it == next) {
            return Some(way[begin..].iter().map(|it| (*it).to_owned()).collect());
        }
        way.push(next);
    }
}

#[test]
fn rooms_use_only_rooms_that_the_table_allows() {
    let read = agent();
    assert!(read.arrows.len() > 300, "{} arrows are too few to be all", read.arrows.len());
    let faults = faults(&table(), &read);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn rooms_make_no_circle() {
    assert_eq!(circle(&agent()), None);
}

#[test]
fn modules_of_xtask_make_no_circle() {
    let read = Crate { root: &root().join("xtask/src/main.rs"), name: "xtask" }.read().by_file();
    assert!(read.arrows.len() > 100, "{} arrows are too few to be all", read.arrows.len());
    assert_eq!(circle(&read), None, "{:#?}", read.arrows);
}

/// A command uses libraries and the files below its own; only main.rs uses commands.
#[test]
fn commands_of_xtask_use_no_command() {
    let read = Crate { root: &root().join("xtask/src/main.rs"), name: "xtask" }.read().by_file();
    let command = |module: &str| Some(module.strip_prefix("commands::")?.split("::").next()?.to_owned());
    let commands: BTreeSet<_> = read.rooms.iter().filter_map(|room| command(room)).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    let mut arrows = read.arrows.iter().filter(|arrow| !arrow.from.is_empty());
    let wrong = arrows.find(|arrow| command(&arrow.to).is_some_and(|to| command(&arrow.from) != Some(to)));
    assert_eq!(wrong, None);
}

fn arrow(from: &str, to: &str) -> Arrow {
    Arrow { from: from.to_owned(), to: to.to_owned(), at: String::new() }
}

fn planted(rooms: &[&str], arrows: &[(&str, &str)]) -> Read {
    Read {
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
        arrows: arrows.iter().map(|(from, to)| arrow(from, to)).collect(),
        ..Read::default()
    }
}

#[test]
fn a_use_that_the_table_does_not_have_is_found() {
    let table = |below: &str| {
        rows(&format!(
            "| layer | room | may use |\n|---|---|---|\n| words | `a` | {below} |\n| | `b` | `a` |\n| | `c` | `a` |\n"
        ))
    };
    let rooms = ["a", "b", "c"];
    let found = |below: &str, rooms: &[&str], arrows: &[(&str, &str)]| {
        let faults = faults(&table(below), &planted(rooms, arrows));
        faults
            .iter()
            .map(|fault| fault.split([':', ',']).next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let used = [("b", "a"), ("c", "a")];
    assert_eq!(found("nothing", &rooms, &used), [""; 0]);
    assert_eq!(found("nothing", &rooms, &[used[0], used[1], ("c", "b")]), ["c uses b"]);
    assert_eq!(found("nothing", &rooms, &[used[0], used[1], ("b", "*")]), ["b uses *"]);
    assert_eq!(found("nothing", &rooms, &used[..1]), ["c"], "it names a");
    assert_eq!(found("nothing", &["a", "b", "c", "d"], &used), ["d"]);
    assert_eq!(found("nothing", &["a", "b"], &used), ["c"]);
    assert_eq!(found("`c`", &rooms, &[used[0], used[1], ("a", "c")]), ["a"]);
}

#[test]
fn a_circle_is_found() {
    let found = |arrows: &[(&str, &str)]| circle(&planted(&[], arrows)).map(|circle| circle.join(" "));
    assert_eq!(found(&[("a", "b"), ("a", "c"), ("b", "c")]), None);
    assert_eq!(found(&[("a", "b"), ("b", "a")]).as_deref(), Some("a b"));
    assert_eq!(
        found(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("c", "e")]).as_deref(),
        Some("b c d")
    );
}
