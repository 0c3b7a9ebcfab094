//! ARCHITECTURE.md's table of rooms.

use std::collections::BTreeSet;

/// A row: a room, and the rooms that it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) layer: String,
    pub(crate) room: String,
    pub(crate) may_use: BTreeSet<String>,
    /// Those of them that stand there by name.
    pub(crate) named: BTreeSet<String>,
}

const HEAD: &str = "| layer | room | may use |";

/// The rows, from the words down. `may use` has rooms and layers; of a layer it is the rooms above its own row; "all" is all above.
pub(crate) fn rows(page: &str) -> Vec<Row> {
    let mut lines = page.lines().skip_while(|line| !line.starts_with(HEAD)).skip(2);
    let mut rows: Vec<Row> = Vec::new();
    for line in lines.by_ref().take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [layer, room, may_use, ..] = cells.as_slice() else { panic!("{line}") };
        let layer = match *layer {
            "" => rows.last().expect("a layer").layer.clone(),
            layer => layer.to_owned(),
        };
        let words = may_use.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != "nothing");
        let (mut may_use, mut named) = (BTreeSet::new(), BTreeSet::new());
        for word in words {
            if let Some(room) = word.strip_prefix('`').and_then(|word| word.strip_suffix('`')) {
                may_use.insert(room.to_owned());
                named.insert(room.to_owned());
                continue;
            }
            let of_layer: Vec<_> = rows.iter().filter(|row| word == "all" || row.layer == word).collect();
            assert!(!of_layer.is_empty(), "{word:?} is no layer above {room}");
            may_use.extend(of_layer.iter().map(|row| row.room.clone()));
        }
        let room = room.trim_matches('`').to_owned();
        assert!(!rows.iter().any(|row| row.room == room), "{room} stands there twice");
        rows.push(Row { layer, room, may_use, named });
    }
    assert!(!rows.is_empty(), "no table {HEAD}");
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_layers_are_read() {
        let page = "x\n\n| layer | room | may use | why |\n|---|---|---|---|\n| words | `gfp` | nothing | w |\n\
                    | | `event` | `gfp` | w |\n| stages | `decode` | words | w |\n| shells | `main` | all | w |\n\n| a | b | c |\n";
        let rows = rows(page);
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                let uses: Vec<_> = row.may_use.iter().map(String::as_str).collect();
                (row.layer.as_str(), row.room.as_str(), uses.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("words", "gfp", String::new()),
                ("words", "event", "gfp".to_owned()),
                ("stages", "decode", "event gfp".to_owned()),
                ("shells", "main", "decode event gfp".to_owned()),
            ]
        );
    }
}
