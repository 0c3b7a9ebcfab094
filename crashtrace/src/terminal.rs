//! Text for a terminal, harmless by construction: every text is escaped when it is added, and only [`Page`] itself writes line ends
//! and colours.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::harmless::is_harmful;

pub(crate) mod bars;
pub(crate) mod zones;

/// How a text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// No emphasis.
    Plain,
    /// The subject of the line.
    Alarm,
    /// A warning.
    Caution,
    /// A success.
    Good,
    Heading,
    /// A minor detail.
    Faint,
}

impl Style {
    /// Parameters of the terminal's SGR sequence.
    fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Alarm => Some("1;31"),
            Self::Caution => Some("33"),
            Self::Good => Some("32"),
            Self::Heading => Some("1"),
            Self::Faint => Some("2"),
        }
    }
}

/// Text under construction.
pub(crate) struct Page {
    text: String,
    color: bool,
}

impl Page {
    pub(crate) fn new(color: bool) -> Self {
        Self { text: String::new(), color }
    }

    /// Adds `text`, made harmless.
    pub(crate) fn put(&mut self, style: Style, text: &str) -> &mut Self {
        let text = harmless(text);
        match style.sgr().filter(|_| self.color && !text.is_empty()) {
            Some(sgr) => write!(self.text, "\x1b[{sgr}m{text}\x1b[0m").unwrap_or_default(),
            None => self.text.push_str(&text),
        }
        self
    }

    /// Adds `text` without emphasis.
    pub(crate) fn plain(&mut self, text: &str) -> &mut Self {
        self.put(Style::Plain, text)
    }

    pub(crate) fn end(&mut self) {
        self.text.push('\n');
    }

    /// Adds rows of cells in columns. Numbers are right-aligned; the last column has no bound.
    pub(crate) fn table<const N: usize>(&mut self, rows: &[(Style, [String; N])], right: [bool; N]) {
        /// One long name must not push all other rows off the screen.
        const WIDEST: usize = 28;
        let width = |cell: &str| harmless(cell).width();
        let widths: [usize; N] = std::array::from_fn(|column| {
            rows.iter().map(|(_, row)| width(&row[column])).max().unwrap_or(0).min(WIDEST)
        });
        for (style, row) in rows {
            for (column, cell) in row.iter().enumerate() {
                let blank = " ".repeat(widths[column].saturating_sub(width(cell)));
                self.plain("  ");
                if right[column] {
                    self.plain(&blank).put(*style, cell);
                } else {
                    self.put(*style, cell);
                    if column + 1 < N {
                        self.plain(&blank);
                    }
                }
            }
            self.end();
        }
    }

    pub(crate) fn into_string(self) -> String {
        self.text
    }
}

/// `text` with all harmful characters made visible: control characters (C0, DEL, C1), those that change the direction of writing,
/// and those without width. Harmless text is returned unchanged.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    harmless_but(text, |_| false)
}

/// The same, except for characters that are `meant`.
pub(crate) fn harmless_but(text: &str, meant: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_harmful = |c| is_harmful(c) && !meant(c);
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_harmful(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Below 0x80 `\xNN` cannot be mistaken for a byte that was not UTF-8.
            '\0'..=' ' | '\u{7f}' => write!(shown, "\\x{:02x}", u32::from(c)).unwrap_or_default(),
            c => write!(shown, "\\u{{{:x}}}", u32::from(c)).unwrap_or_default(),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn harmful_characters_are_made_visible() {
        assert_eq!(
            harmless("a\x1b[2J\x07\u{9b}1m\u{202e}b\u{200b}\u{2066}\n\t\r\x7f\0").as_ref(),
            "a\\x1b[2J\\x07\\u{9b}1m\\u{202e}b\\u{200b}\\u{2066}\\n\\t\\r\\x7f\\x00"
        );
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in ["java", "\\xff\\\\", "数据库", "größe", "данные", "עברית", "é"] {
            assert_eq!(harmless(text), text);
        }
    }
}
