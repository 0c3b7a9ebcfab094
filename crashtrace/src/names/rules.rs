//! Which names the API server gives: a name that is one of these changes nothing in the path or selector that it is put into. PURE.

/// A name of a pod, a workload or another object: an RFC 1123 subdomain.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && has_edges(name)
        && name.bytes().all(|byte| is_edge(byte) || matches!(byte, b'-' | b'.'))
}

/// A name of a namespace: an RFC 1123 label.
#[must_use]
pub fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && has_edges(name)
        && name.bytes().all(|byte| is_edge(byte) || byte == b'-')
}

fn has_edges(name: &str) -> bool {
    let [first, last] = [name.bytes().next(), name.bytes().last()];
    first.is_some_and(is_edge) && last.is_some_and(is_edge)
}

fn is_edge(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_api_server_gives() {
        let long = "a".repeat(254);
        for (name, of_object, of_namespace) in [
            ("api-7f9c4d8b6-x2x7q", true, true),
            ("0", true, true),
            ("web.example", true, false),
            (&long[..253], true, false),
            (&long[..63], true, true),
            (&long, false, false),
            ("", false, false),
            ("..", false, false),
            ("-a", false, false),
            ("a-", false, false),
            (".a", false, false),
            ("a/b", false, false),
            ("a?b", false, false),
            ("A", false, false),
            ("\u{e9}", false, false),
        ] {
            assert_eq!((is_name(name), is_label(name)), (of_object, of_namespace), "{name}");
        }
    }
}
