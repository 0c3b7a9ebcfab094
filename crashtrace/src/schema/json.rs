//! JSON that is harmless to show as it is: characters that a terminal acts on or does not show (C1, DEL, direction of writing, no
//! width) are in JSON's own escapes, as C0 is in all JSON. So the strings are what they were to whoever reads JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::harmless::is_harmful;

pub(crate) const SERIALISES: &str = "numbers, texts, and maps with texts as keys always serialise";

struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, to: &mut W, text: &str) -> io::Result<()> {
        to.write_all(harmless(text).as_bytes())
    }
}

/// Writes `value`.
pub(crate) fn to_writer(to: impl io::Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(to, Harmless))
}

/// `value` as bytes.
pub(crate) fn to_vec(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    to_writer(&mut bytes, value).expect(SERIALISES);
    bytes
}

/// Whether JSON has no harmful character as it is. Looks at eight bytes at once: of those beyond ASCII it mostly has a few `…`.
pub(crate) fn is_harmless(json: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    let Ok(text) = str::from_utf8(json) else { return false };
    let from_del = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        // A carry can only make it look closer than it must.
        (word | word.wrapping_add(ONES)) & (ONES << 7) != 0
    };
    let harms = |at: usize| {
        let c = text.get(at..).and_then(|text| text.chars().next());
        c.is_some_and(|c| c >= '\x7f' && is_harmful(c))
    };
    let (words, rest) = json.as_chunks::<8>();
    let close = words.iter().enumerate().filter(|(_, word)| from_del(word)).map(|(at, _)| at * 8..at * 8 + 8);
    let tail = json.len() - rest.len()..json.len();
    !close.chain(std::iter::once(tail)).any(|mut range| range.any(harms))
}

/// JSON made harmless. Outside of strings it has nothing but ASCII, and line ends are its own.
#[must_use]
pub fn harmless(json: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c >= '\x7f' && is_harmful(c);
    if is_harmless(json.as_bytes()) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(text, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_in_jsons_own_escapes() {
        let json = to_vec(&"a\x7f\u{9b}\u{202e}\u{e0041}é\n");
        assert_eq!(String::from_utf8(json).unwrap(), r#""a\u007f\u009b\u202e\udb40\udc41é\n""#);
        let pretty = serde_json::to_string_pretty(&["\u{2028}"]).unwrap();
        assert_eq!(harmless(&pretty), "[\n  \"\\u2028\"\n]");
    }

    #[test]
    fn what_is_harmful_is_found_wherever_it_stands() {
        for harmful in ["\u{7f}", "\u{9b}", "\u{202e}", "\u{e0041}"] {
            for before in 0..20 {
                let text = format!("{}{harmful}{}", "…a".repeat(before), "b".repeat(20 - before));
                assert!(!is_harmless(text.as_bytes()), "{text:?}");
                assert!(is_harmless(text.replace(harmful, "é").as_bytes()));
            }
        }
        assert!(is_harmless(b"") && !is_harmless(b"\xff"));
    }

    proptest! {
        #[test]
        fn a_string_comes_back_and_nothing_harmful_stands_in_its_json(
            text in prop::collection::vec(prop_oneof![any::<char>(), prop::char::range('\u{7f}', '\u{a0}'), prop::char::range('\u{2000}', '\u{2070}')], 0..50),
        ) {
            let text: String = text.into_iter().collect();
            let json = to_vec(&text);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
            prop_assert!(!std::str::from_utf8(&json).unwrap().chars().any(is_harmful));
        }
    }
}
