//! Text that processes and containers choose: any bytes in, out comes valid UTF-8 that is harmless to whoever shows it, without loss.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::harmless::is_harmful;

/// Bytes as text. Valid UTF-8 stays as it is. Any other byte is `\xNN` (lower case), and so are the bytes of characters that a
/// terminal acts on or does not show (controls, direction of writing, no width). A `\xNN` that spells a character which would
/// stay as it is, alone or with those beside it, is the name's own text: systemd writes `\x2d` for `-`. A backslash of the name
/// is `\\` where it would be read otherwise: before another one, before an escape, and where it spells one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// Escapes `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        // Nearly every name.
        if is_plain(bytes)
            && let Ok(text) = str::from_utf8(bytes)
        {
            return Self(text.to_owned());
        }
        let mut text = String::with_capacity(bytes.len());
        let mut after_escape = false;
        for chunk in bytes.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(c) = rest.chars().next() {
                let spelled: Vec<u8> = spelled_bytes(rest).collect();
                let length = if spelled.is_empty() { c.len_utf8() } else { spelled.len() * SPELLED };
                let tail = rest.get(length..).unwrap_or_default();
                let before_escape = match tail.chars().next() {
                    Some(next) => is_harmful(next),
                    None => !chunk.invalid().is_empty(),
                };
                match c {
                    '\\' if !spelled.is_empty() => keep(&mut text, &spelled, after_escape || before_escape),
                    '\\' if before_escape || tail.starts_with('\\') => text.push_str("\\\\"),
                    c if is_harmful(c) => escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                    c => text.push(c),
                }
                after_escape = is_harmful(c);
                rest = tail;
            }
            escape(&mut text, chunk.invalid());
            after_escape |= !chunk.invalid().is_empty();
        }
        Self(text)
    }

    /// The escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether all of it is printable ASCII without a backslash: text that stays as it is.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\')
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").unwrap_or_default();
    }
}

/// Characters of `\xNN`.
const SPELLED: usize = 4;

/// The bytes that a run of `\xNN` at the beginning of a text spells.
fn spelled_bytes(text: &str) -> impl Iterator<Item = u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    text.as_bytes().chunks_exact(SPELLED).map_while(move |piece| match piece {
        [b'\\', b'x', high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    })
}

/// A run of `\xNN` that the name itself has. What could be taken for an escape gets another backslash.
fn keep(text: &mut String, spelled: &[u8], beside_an_escape: bool) {
    for chunk in spelled.utf8_chunks() {
        for c in chunk.valid().chars() {
            let own = !beside_an_escape && !is_harmful(c);
            spell(text, c.encode_utf8(&mut [0; 4]).as_bytes(), own);
        }
        spell(text, chunk.invalid(), false);
    }
}

fn spell(text: &mut String, spelled: &[u8], own: bool) {
    for byte in spelled {
        if !own {
            text.push('\\');
        }
        escape(text, &[*byte]);
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

/// Stands for what was cut out of a text.
const CUT: &str = "…";

/// `text` in no more than `max_bytes` of JSON (its quotes not counted): its beginning and its end, with `…` for what
/// was between. An escaped byte or backslash stays in one piece.
pub(crate) fn shorten(text: &str, max_bytes: usize) -> Option<String> {
    // A character has six bytes of JSON at most for each of its own.
    if text.len().saturating_mul(6) <= max_bytes || json_bytes(text) <= max_bytes {
        return None;
    }
    let units: Vec<&str> = units(text).collect();
    let budget = max_bytes.saturating_sub(CUT.len());
    // The ends of a path say most: the pod at its beginning, the cgroup itself at its end.
    let fit = |units: &mut dyn Iterator<Item = &&str>, budget: usize| {
        let mut left = budget;
        let fits = units.map_while(|unit| {
            left = left.checked_sub(json_bytes(unit))?;
            Some(unit.len())
        });
        fits.sum::<usize>()
    };
    let head = fit(&mut units.iter(), budget / 2);
    let tail = fit(&mut units.iter().rev(), budget - budget / 2);
    Some(format!("{}{CUT}{}", &text[..head], &text[text.len() - tail..]))
}

/// Bytes of `text` as [`super::json`] writes it.
fn json_bytes(text: &str) -> usize {
    let bytes = text.chars().map(|c| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..' ' => 6,
        c if is_harmful(c) => 6 * c.len_utf16(),
        c => c.len_utf8(),
    });
    bytes.sum()
}

/// The pieces of a [`Text`] that must not be taken apart.
fn units(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        // No character has more bytes.
        let spelled: Vec<u8> = spelled_bytes(rest).take(4).collect();
        let length = match rest.as_bytes() {
            [b'\\', b'\\', ..] => 2,
            _ if !spelled.is_empty() => first_bytes(&spelled) * SPELLED,
            _ => rest.chars().next()?.len_utf8(),
        };
        let (unit, tail) = rest.split_at(length);
        rest = tail;
        Some(unit)
    })
}

/// Bytes of the first character of a run, or of what is there instead of one.
fn first_bytes(spelled: &[u8]) -> usize {
    let Some(chunk) = spelled.utf8_chunks().next() else { return 0 };
    chunk.valid().chars().next().map_or(chunk.invalid().len(), char::len_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Text, shorten};

    /// Undoes the escaping, as the schema's documentation tells a consumer to.
    fn undo(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let run = rest.as_bytes().chunks(4).take_while(|it| {
                it.len() == 4
                    && it.starts_with(b"\\x")
                    && it[2..].iter().all(|digit| b"0123456789abcdef".contains(digit))
            });
            let run = run.count() * 4;
            if run > 0 {
                let (all, tail) = rest.split_at(run);
                let spelled: Vec<u8> = all
                    .split("\\x")
                    .skip(1)
                    .map(|hex| u8::from_str_radix(hex, 16).expect("hex digits"))
                    .collect();
                for chunk in spelled.utf8_chunks() {
                    for c in chunk.valid().chars() {
                        let raw = c.to_string().into_bytes();
                        if crate::harmless::is_harmful(c) {
                            bytes.extend(raw);
                        } else {
                            bytes.extend(raw.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()));
                        }
                    }
                    bytes.extend(chunk.invalid());
                }
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix("\\\\") {
                bytes.push(b'\\');
                rest = tail;
            } else {
                bytes.extend(c.to_string().into_bytes());
                rest = &rest[c.len_utf8()..];
            }
        }
        bytes
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_escaped() {
        assert_eq!(Text::new(b"a\xffb\\x00").as_str(), "a\\xffb\\\\x00");
    }

    #[test]
    fn a_backslash_is_one_backslash_unless_it_would_be_read_otherwise() {
        for same in [
            "/system.slice/hogs@dev-disk\\x2dby.service",
            "/system.slice/system-serial\\x2dgetty.slice",
            // systemd escapes each byte of what is not ASCII.
            "srv-gr\\xc3\\xb6\\xc3\\x9fe.mount",
            "a\\",
            "\\b\\xZZ\\xFF\\x1",
        ] {
            assert_eq!(Text::from(same).as_str(), same);
        }
        for (name, text) in [
            (&b"\\\\"[..], "\\\\\\"),
            (b"\\\xff", "\\\\\\xff"),
            (b"\\\\x2d", "\\\\\\x2d"),
            (b"\\x1b", "\\\\x1b"),
            (b"\\xff\\x2d", "\\\\xff\\x2d"),
            // Half of a character, and the rest of it as a raw byte.
            (b"\\xc3\xb6", "\\\\xc3\\xb6"),
            (b"\xc3\\xb6", "\\xc3\\\\xb6"),
            (b"\\xe2\\x80\\x8b", "\\\\xe2\\\\x80\\\\x8b"),
        ] {
            assert_eq!(Text::new(name).as_str(), text);
            assert_eq!(undo(text), name);
        }
    }

    #[test]
    fn what_a_terminal_acts_on_or_does_not_show_is_escaped_byte_by_byte() {
        let text = Text::from("a\x1b[2J\n\x7f\u{9b}1m\u{202e}b\u{200b}\u{2028}\u{e0041}é");
        let bytes = "a\\x1b[2J\\x0a\\x7f\\xc2\\x9b1m\\xe2\\x80\\xaeb\\xe2\\x80\\x8b\\xe2\\x80\\xa8\\xf3\\xa0\\x81\\x81é";
        assert_eq!(text.as_str(), bytes);
    }

    #[test]
    fn a_long_text_keeps_both_ends() {
        assert_eq!(shorten("/kubepods/pod1/container", 24), None);
        assert_eq!(shorten("/kubepods/pod1/container", 15).as_deref(), Some("/kubep…tainer"));
        assert_eq!(shorten("\u{1}\u{1}\u{1}abc", 15).as_deref(), Some("\u{1}…abc"));
    }

    /// Pieces out of which escapes are made, and names that have them.
    fn names() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<u8>().prop_map(|byte| format!("\\x{byte:02x}").into_bytes()),
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            any::<char>().prop_map(|c| {
                c.to_string().bytes().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).collect()
            }),
            prop::sample::select(&b"\\xabcdef0123456789-\xc3\xb6\x1b"[..]).prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn a_shortened_text_fits_and_has_no_broken_escape(
            bytes in names(),
            max in 3usize..100,
        ) {
            let text = Text::new(&bytes);
            if let Some(short) = shorten(text.as_str(), max) {
                prop_assert!(crate::schema::json::to_vec(&short).len() - 2 <= max);
                let cut = undo(&short);
                let cut = cut.windows(3).position(|window| window == "…".as_bytes()).map(|at| (at, cut));
                // The name may have a `…` of its own; without one, both ends are the name's.
                if let Some((at, cut)) = cut.filter(|_| !text.as_str().contains('…')) {
                    prop_assert!(bytes.starts_with(&cut[..at]) && bytes.ends_with(&cut[at + 3..]));
                }
            } else {
                prop_assert!(crate::schema::json::to_vec(&text).len() - 2 <= max);
            }
        }

        #[test]
        fn any_bytes_come_back_from_their_text(bytes in names()) {
            let text = Text::new(&bytes);
            prop_assert!(!text.as_str().chars().any(crate::harmless::is_harmful));
            prop_assert_eq!(undo(text.as_str()), bytes);
        }

        /// As systemd escapes the names of units: what is not plain ASCII byte by byte, backslashes too.
        #[test]
        fn the_name_of_a_unit_stays_as_it_is(words in prop::collection::vec("[a-z0-9@:_.-]|[äß数🦀]|\\\\|-", 0..40)) {
            let escaped: String = words
                .iter()
                .flat_map(|word| word.bytes())
                .map(|byte| match byte {
                    b'a'..=b'z' | b'0'..=b'9' | b'@' | b':' | b'_' | b'.' => char::from(byte).to_string(),
                    byte => format!("\\x{byte:02x}"),
                })
                .collect();
            let text = Text::from(&*escaped);
            prop_assert_eq!(text.as_str(), escaped.as_str());
        }
    }
}
