//! Bytes that are no message, and fields that are passed over.

use super::super::wire::{Malformed, Reader, Visit, Want};

/// Wants the texts of field 1, numbers of field 2, messages in field 3; notes each.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Visit for Notes {
    fn want(&mut self, path: &[u32]) -> Want {
        match path.last() {
            Some(1) => Want::Text(4),
            Some(2) => Want::Number,
            Some(3) if path.len() < 3 => Want::Message,
            _ => Want::Nothing,
        }
    }

    fn text(&mut self, path: &[u32], text: Option<&str>) {
        self.0.push(format!("{path:?} {text:?}"));
    }

    fn number(&mut self, path: &[u32], value: u64) {
        self.0.push(format!("{path:?} {value}"));
    }

    fn end(&mut self, path: &[u32]) {
        self.0.push(format!("{path:?} is over"));
    }
}

/// The notes on a message, and whether it was read to its end.
fn read(bytes: &[u8]) -> (Vec<String>, Result<bool, Malformed>) {
    let (mut notes, mut reader) = (Notes::default(), Reader::new(bytes.len() as u64));
    let fed = bytes.chunks(1).try_for_each(|piece| reader.feed(piece, &mut notes));
    (notes.0, fed.map(|()| reader.is_done()))
}

#[test]
fn fields_are_handed_out_as_they_end() {
    let (notes, done) = read(b"\x0a\x02ab\x10\x96\x01\x1a\x07\x0a\x00\x1a\x02\x10\x05\x10\x01\x0a\x05abcde");
    assert_eq!(done, Err(Malformed::TooLong), "the inner message says that it is longer than the outer");
    assert_eq!(notes[..2], ["[1] Some(\"ab\")", "[2] 150"]);
    let (notes, done) = read(b"\x1a\x08\x0a\x00\x1a\x02\x10\x05\x10\x01\x0a\x05abcde\x0a\x01\xff");
    assert_eq!(done, Ok(true));
    let expected = [
        "[3, 1] Some(\"\")",
        "[3, 3, 2] 5",
        "[3, 3] is over",
        "[3, 2] 1",
        "[3] is over",
        "[1] None",
        "[1] None",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn unwanted_fields_and_other_types_are_passed_over() {
    // Fixed numbers, a number in place of a text, a text in place of a number, a message too deep, unknown fields.
    for bytes in [
        &b"\x09abcdefgh\x0dabcd"[..],
        b"\x08\x01\x12\x02ab\x12\x00",
        b"\x22\x03abc\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert_eq!(read(bytes), (Vec::new(), Ok(true)), "{bytes:?}");
    }
    assert_eq!(read(b"\x1a\x04\x1a\x02\x1a\x00").0, ["[3, 3] is over", "[3] is over"]);
}

#[test]
fn bytes_that_are_no_message_are_malformed_or_not_done() {
    for (bytes, wrong) in [
        (&b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"[..], Malformed::Number),
        (b"\x02a", Malformed::Key(2)),
        (b"\x0b\x0c", Malformed::Key(11)),
        (b"\x80\x80\x80\x80\x80\x01", Malformed::Key(1 << 35)),
        (b"\x0a\x03ab", Malformed::TooLong),
        (b"\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a", Malformed::TooLong),
        // An inner message that ends within a number.
        (b"\x1a\x01\x10\x01", Malformed::TooLong),
    ] {
        assert_eq!(read(bytes).1, Err(wrong), "{bytes:?}");
    }
    for bytes in [&b"\x0a"[..], b"\x10\x80", b"\x0a\x80"] {
        assert_eq!(read(bytes).1, Ok(false), "{bytes:?}");
    }
    let mut reader = Reader::new(1);
    assert_eq!(reader.feed(b"\x0a\x00", &mut Notes::default()), Err(Malformed::TooLong), "behind the end");
}
