//! The mark of a line that a later session delivers.

const NO: &[u8] = br#""redelivered":false"#;
const YES: &[u8] = br#""redelivered":true"#;

/// This line of JSON with `redelivered` true, and all else as it is.
#[must_use]
pub fn redelivered(line: &[u8]) -> Vec<u8> {
    // The bytes cannot stand in a text: JSON escapes its quotes.
    match line.windows(NO.len()).position(|bytes| bytes == NO) {
        Some(at) => [&line[..at], YES, &line[at + NO.len()..]].concat(),
        None => line.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::schema::json::to_vec;

    proptest! {
        #[test]
        fn nothing_else_changes(node in r#"[a-z"\\:,]{0,20}("redelivered":false)?.{0,20}"#, before: bool) {
            let mut line = json!({ "node": node, "redelivered": before, "kind": "loss", "text": node });
            let marked = redelivered(&to_vec(&line));
            line["redelivered"] = true.into();
            prop_assert_eq!(marked, to_vec(&line));
        }
    }

    #[test]
    fn a_line_without_the_field_stays_as_it_is() {
        assert_eq!(redelivered(b"{\"a\":1}\n"), b"{\"a\":1}\n");
    }
}
