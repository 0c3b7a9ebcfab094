//! Text that processes and containers choose: any bytes in, out comes valid UTF-8 that is harmless to whoever shows it, without loss.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::harmless::is_harmful;

/// Bytes as text. Valid UTF-8 stays as it is, but a backslash is doubled. Any other byte is `\xNN`, and so are the bytes of
/// characters that a terminal acts on or does not show (controls, direction of writing, no width).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// Escapes `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    c if is_harmful(c) => escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                    c => text.push(c),
                }
            }
            escape(&mut text, chunk.invalid());
        }
        Self(text)
    }

    /// The escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").unwrap_or_default();
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
    if json_bytes(text) <= max_bytes {
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
        let length = match rest.as_bytes() {
            [b'\\', b'\\', ..] => 2,
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 4,
            _ => rest.chars().next()?.len_utf8(),
        };
        let (unit, tail) = rest.split_at(length);
        rest = tail;
        Some(unit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Text, shorten};

    /// Undoes the escaping, as the schema's documentation tells a consumer to.
    fn undo(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            rest = match (first, tail) {
                (b'\\', [b'\\', tail @ ..]) => {
                    bytes.push(b'\\');
                    tail
                }
                (b'\\', [b'x', high, low, tail @ ..]) => {
                    let digits = [*high, *low];
                    let digits = std::str::from_utf8(&digits).expect("hex digits");
                    bytes.push(u8::from_str_radix(digits, 16).expect("hex digits"));
                    tail
                }
                (byte, tail) => {
                    bytes.push(byte);
                    tail
                }
            };
        }
        bytes
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_escaped_and_a_backslash_doubled() {
        assert_eq!(Text::new(b"a\xffb\\x00").as_str(), "a\\xffb\\\\x00");
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

    proptest! {
        #[test]
        fn a_shortened_text_fits_and_has_no_broken_escape(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'x')], 0..200),
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
        fn any_bytes_come_back_from_their_text(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(undo(Text::new(&bytes).as_str()), bytes);
        }
    }
}
