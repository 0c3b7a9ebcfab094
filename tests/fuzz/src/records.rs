//! Records of the kernel side, and recordings of them: through all stages up to the lines.

use bytes::Bytes;
use crashtrace::agent::{Next, Played};
use crashtrace::decode::{self, Machine};
use crashtrace::filter::{Exits, Filter};
use crashtrace::messages::Unsaid;
use crashtrace::report::to_json_line;
use crashtrace::schema::{Line, MAX_LINE_BYTES};
use crashtrace::sinks::text::render;

/// A record by itself.
pub(crate) fn record(bytes: &[u8]) -> bool {
    let machine = Machine { page_size_bytes: 4096, symbols: None };
    decode::decode(&Bytes::copy_from_slice(bytes), &machine).is_ok()
}

/// A recording, as `crashtrace replay` reports it: each line has a bound, and is one line.
pub(crate) fn recording(bytes: &[u8]) -> bool {
    let filter = Filter { exits: Exits::All, ..Filter::default() };
    let Ok(mut played) = Played::open(bytes, 1, filter) else { return false };
    let mut whole = true;
    check([played.started()]);
    while let Ok(Some(next)) = played.frame() {
        match next {
            Next::Lines(lines) => check(lines),
            Next::Broken(_) => whole = false,
        }
    }
    check(played.losses());
    check(played.stopping(Unsaid::default()));
    whole
}

fn check(lines: impl IntoIterator<Item = Line>) {
    for line in lines {
        let json = to_json_line(&line);
        assert!(json.len() <= MAX_LINE_BYTES, "a line of {} bytes", json.len());
        assert_eq!(json.iter().position(|byte| *byte == b'\n'), Some(json.len() - 1), "one line");
        let text = render(&line, false);
        assert!(!text.contains('\x1b'), "a text with an escape: {text:?}");
    }
}
