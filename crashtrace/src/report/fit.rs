//! A line as bytes, never above [`MAX_LINE_BYTES`].
//!
//! Nearly all lines fit. A longer line is cut, rung after rung of a ladder, until it fits:
//!
//! 1. Victims after the largest ones go, and their entries in `unresolved`; as many stay as fit, if at least four do.
//!    `victims_total` has the full number.
//! 2. Of the holders of memory and of the entries of an account the smallest go, entries of owners before kinds of memory;
//!    `others_bytes` has what went.
//! 3. If that is not enough, long texts lose their middle (`…`), above all cgroup paths, and long lists their end;
//!    then as many victims stay as fit.
//! 4. The same again with shorter texts and lists, down to one victim. The rest is bounded by the schema, for any content of
//!    the line; names of the incident and of the session stay whole.
//!
//! Folded victims (`folded.victims`) get the remaining space: as many as fit, the first ones.
//!
//! An incident has a mark for it in `truncated`. Lines of the agent itself have no external text but the kernel's release and
//! the node's name, and lists of its own hooks and counters: they are bounded in the same way, but have no such field because
//! they are never so long.

use std::io;

use serde::Serialize;
use serde_json::{Map, Value};

use super::account;
use crate::schema::json::{self, SERIALISES};
use crate::schema::{Line, MAX_LINE_BYTES, shorten};

/// Limits on the parts of a line.
struct Rung {
    /// Victims that must fit for this rung to be enough.
    victims: usize,
    /// Bytes of a text, as JSON.
    text_bytes: usize,
    /// Entries of a list.
    items: usize,
    /// Holders of memory.
    holders: usize,
    /// Entries of an account.
    entries: usize,
}

const LADDER: [Rung; 8] = [
    Rung { victims: 4, text_bytes: usize::MAX, items: usize::MAX, holders: usize::MAX, entries: usize::MAX },
    Rung { victims: 4, text_bytes: usize::MAX, items: usize::MAX, holders: 5, entries: 14 },
    Rung { victims: 4, text_bytes: usize::MAX, items: usize::MAX, holders: 3, entries: 10 },
    Rung { victims: 4, text_bytes: 1024, items: 64, holders: 3, entries: 8 },
    Rung { victims: 2, text_bytes: 256, items: 16, holders: 2, entries: 6 },
    Rung { victims: 1, text_bytes: 128, items: 8, holders: 2, entries: 4 },
    Rung { victims: 1, text_bytes: 48, items: 4, holders: 1, entries: 3 },
    // A time is 30 bytes.
    Rung { victims: 1, text_bytes: 32, items: 2, holders: 1, entries: 2 },
];

/// A text directly in the line (`id`, `session`, `time`) is never cut below this: names must stay whole.
const NAMING_TEXT_BYTES: usize = 128;

/// `line` as one JSON object and a newline, at most [`MAX_LINE_BYTES`] together. There is no other newline in it:
/// JSON escapes control characters.
///
/// # Panics
///
/// Never: every [`Line`] can be serialised as JSON.
#[must_use]
pub fn to_json_line(line: &Line) -> Vec<u8> {
    // On the stack: musl maps pages for so large an allocation and unmaps them at its end. Serialising a line of megabytes stops where
    // the room does.
    let mut room = [0; MAX_LINE_BYTES];
    let whole = &mut room[..MAX_LINE_BYTES - 1];
    let mut rest = &mut *whole;
    // Nearly every line has nothing that must be escaped beyond JSON's own rules: to look at all of it once, at the end, takes a tenth
    // of looking at each of its strings.
    let mut fits = serde_json::to_writer(&mut rest, line).is_ok();
    let mut length = MAX_LINE_BYTES - 1 - rest.len();
    if fits && !json::is_harmless(&whole[..length]) {
        let mut rest = &mut *whole;
        fits = json::to_writer(&mut rest, line).is_ok();
        length = MAX_LINE_BYTES - 1 - rest.len();
    }
    if fits {
        room[length] = b'\n';
        return room[..=length].to_vec();
    }
    let mut value = serde_json::to_value(line).expect(SERIALISES);
    let victims_of_gaps: Vec<Option<usize>> = match line {
        Line::Incident(incident) => incident.unresolved.iter().map(|gap| gap.field.victim()).collect(),
        _ => Vec::new(),
    };
    let folded = value.get_mut("folded").and_then(Value::as_object_mut);
    let folded = folded.map_or_else(Vec::new, |folded| take_list(folded, "victims"));
    for rung in &LADDER {
        cut_memory(&mut value, rung);
        shorten_line(&mut value, rung);
        if cut_victims(&mut value, &victims_of_gaps, rung) {
            break;
        }
    }
    fill(&mut value, folded);
    let mut bytes = json::to_vec(&value);
    bytes.push(b'\n');
    bytes
}

/// Cuts holders and accounts.
fn cut_memory(line: &mut Value, rung: &Rung) {
    let Some(memory) = line.get_mut("memory").and_then(Value::as_object_mut) else { return };
    for holders in ["holders", "holders_late"] {
        if let Some(Value::Array(holders)) = memory.get_mut(holders) {
            holders.truncate(rung.holders);
        }
    }
    for of in ["account", "victim_account"] {
        let Some(account) = memory.get_mut(of).and_then(Value::as_object_mut) else { continue };
        let Some(Value::Array(entries)) = account.get_mut("entries") else { continue };
        let cut_bytes = account::cut(entries, rung.entries);
        let others_bytes = account.get("others_bytes").and_then(Value::as_u64).unwrap_or_default();
        account.insert("others_bytes".to_owned(), others_bytes.saturating_add(cut_bytes).into());
    }
}

/// Cuts texts and lists, but for the two lists that [`cut_victims`] handles.
fn shorten_line(line: &mut Value, rung: &Rung) {
    for (name, value) in line.as_object_mut().into_iter().flatten() {
        match value {
            Value::String(text) => {
                if let Some(short) = shorten(text, rung.text_bytes.max(NAMING_TEXT_BYTES)) {
                    *text = short;
                }
            }
            Value::Array(items) if name == "victims" || name == "unresolved" => {
                for item in items {
                    shorten_value(item, rung);
                }
            }
            Value::Object(entries) if name == "counters" => {
                // The only map whose keys are not the schema's.
                *entries = entries
                    .iter()
                    .take(rung.items)
                    .map(|(key, value)| {
                        (shorten(key, rung.text_bytes).unwrap_or_else(|| key.clone()), value.clone())
                    })
                    .collect();
            }
            value => shorten_value(value, rung),
        }
    }
}

fn shorten_value(value: &mut Value, rung: &Rung) {
    match value {
        Value::String(text) => {
            if let Some(short) = shorten(text, rung.text_bytes) {
                *text = short;
            }
        }
        Value::Array(items) => {
            items.truncate(rung.items);
            for item in items {
                shorten_value(item, rung);
            }
        }
        Value::Object(fields) => {
            for field in fields.values_mut() {
                shorten_value(field, rung);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Leaves as many victims as fit, if these are enough for `rung`; else leaves all for the next rung. True if the line is done.
/// Sizes are added up, so that the line is serialised once, for any number of victims. `victims_of_gaps` has the victim of each
/// entry of `unresolved`, if it is about one.
fn cut_victims(line: &mut Value, victims_of_gaps: &[Option<usize>], rung: &Rung) -> bool {
    let Some(line) = line.as_object_mut() else { return true };
    let Some(Value::Bool(truncated)) = line.get_mut("truncated") else {
        return size(line) < MAX_LINE_BYTES;
    };
    *truncated = true;
    let victims = take_list(line, "victims");
    let unresolved = take_list(line, "unresolved");

    // Gaps of a victim are removed with that victim.
    let mut of_line: Vec<Value> = Vec::new();
    let mut of_victim: Vec<Vec<Value>> = vec![Vec::new(); victims.len()];
    for (gap, victim) in unresolved.iter().zip(victims_of_gaps) {
        let list = victim.and_then(|place| of_victim.get_mut(place)).unwrap_or(&mut of_line);
        if list.len() < rung.items {
            list.push(gap.clone());
        }
    }
    // One for the newline, and one for the comma after each entry.
    let of_list = |list: &[Value]| list.iter().map(|item| size(item) + 1).sum::<usize>();
    let mut used = size(line) + 1 + of_list(&of_line);
    let fitting = victims.iter().zip(&of_victim).take_while(|(victim, gaps)| {
        used += size(victim) + 1 + of_list(gaps);
        used <= MAX_LINE_BYTES
    });
    let fitting = fitting.count();
    // Without a victim, `used` is still the size of the rest.
    if fitting < rung.victims.min(victims.len()) || (victims.is_empty() && used > MAX_LINE_BYTES) {
        line.insert("victims".to_owned(), victims.into());
        line.insert("unresolved".to_owned(), unresolved.into());
        return false;
    }
    of_line.extend(of_victim.into_iter().take(fitting).flatten());
    line.insert("victims".to_owned(), victims.into_iter().take(fitting).collect());
    line.insert("unresolved".to_owned(), of_line.into());
    true
}

/// Lists as many of the folded victims as there is room for.
fn fill(line: &mut Value, folded: Vec<Value>) {
    // One for the newline, and one for the comma after each entry.
    let mut used = size(line) + 1;
    let fitting = folded.into_iter().take_while(|victim| {
        used += size(victim) + 1;
        used <= MAX_LINE_BYTES
    });
    if let Some(place) = line.pointer_mut("/folded/victims") {
        *place = fitting.collect();
    }
}

/// Takes the list out and leaves an empty one in its place.
fn take_list(line: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match line.get_mut(name).map(|list| std::mem::replace(list, Value::Array(Vec::new()))) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// Bytes of `value` as JSON.
fn size(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    json::to_writer(&mut count, value).expect(SERIALISES);
    count.0
}
