//! Text that processes and containers choose: any bytes in, valid UTF-8 out, without loss.

use schemars::JsonSchema;
use serde::Serialize;

/// Bytes as text: valid UTF-8 as it is but for the backslash, which is doubled; any other byte as `\xNN`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// Escapes `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for part in chunk.valid().split_inclusive('\\') {
                text.push_str(part);
                if part.ends_with('\\') {
                    text.push('\\');
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        Self(text)
    }

    /// The escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Text;

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
        assert_eq!(Text::new(b"a\xffb\\x00\n").as_str(), "a\\xffb\\\\x00\n");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_from_their_text(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(undo(Text::new(&bytes).as_str()), bytes);
        }
    }
}
