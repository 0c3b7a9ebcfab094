//! Foreign text, where it is shown: which of its characters are harmful, and how much of it is passed on. PURE.

/// Whether a terminal would act on this character or not show it: controls (C0, DEL, C1), characters that change the direction of
/// writing, line separators, and characters without width.
pub(crate) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Direction of writing.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separator.
            | '\u{2028}' | '\u{2029}'
            // No width: joiners, fillers, selectors of variants, tags.
            | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Text in one line of at most `most_chars` characters, and `...` where it was longer. Harmful characters become blanks.
pub(crate) fn one_line(text: &str, most_chars: usize) -> String {
    let plain = |c: char| if is_harmful(c) { ' ' } else { c };
    let text = text.trim();
    let mut line: String = text.chars().take(most_chars).map(plain).collect();
    if text.chars().nth(most_chars).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_has_nothing_harmful_and_an_end() {
        assert_eq!(one_line(" etcd\u{202e}is\x1b[2J\ngone\t\n", 240), "etcd is [2J gone");
        assert_eq!(one_line("größe", 5), "größe");
        assert_eq!(one_line("größer", 5), "größe...");
        assert_eq!(one_line("", 0), "");
    }
}
