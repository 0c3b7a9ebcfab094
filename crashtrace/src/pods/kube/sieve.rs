//! Takes the wanted fields out of a JSON text, as it comes in chunks: the rest is passed over byte by byte and never held.
//! PURE.
//!
//! A pod's object is up to 1.5 MiB in the server's database and more as JSON, nearly all of it fields that are not wanted here:
//! `env`, annotations, `managedFields`, `volumes`. A list has one such object for each pod. A bound on the bytes that come would
//! lose the names of pods whose unwanted fields are large, and without a bound memory would have none. So the bounds are on the
//! bytes that are kept:
//!
//! | what | at most | what is more |
//! |---|---|---|
//! | text and numbers, as they are written | [`LONGEST_TEXT`] | `null`; of a [`Shape::Start`] the beginning stays |
//! | the elements of a list | as its [`Shape`] says | passed over |
//! | all that is kept of one object | [`MOST_KEPT`] | the object is [`Piece::TooLarge`] |
//! | the bytes of one object, kept or not | [`LONGEST_OBJECT`] | an error: it has no end |
//!
//! Serde reads the kept text afterwards, so here only so much of the grammar is checked as it takes to tell where each value
//! begins and ends. A value that is passed over is not checked at all but for its quotes and brackets.
//!
//! `serde_json` was rejected for this: it wants all of a text at once, or a reader that blocks; of a text that it skips it
//! keeps a byte for each open bracket, and of a text that it takes all of it. Parsers that are fed (`actson`, `jiter`) hold each
//! text whole.

use super::problem::{Problem, clean};

/// The longest text or number that is kept, as it is written. The longest that a pod uses is an image's name
/// ([`crate::pods::object::MAX_IMAGE_BYTES`]), and six bytes may stand for one.
pub(crate) const LONGEST_TEXT: usize = 4 << 10;
/// The most that is kept of one object. A hundred containers come to 150 KiB.
pub(crate) const MOST_KEPT: usize = 256 << 10;
/// The longest object. An API server takes none of more than a few MiB, unless its database is set up otherwise.
pub const LONGEST_OBJECT: u64 = 32 << 20;
/// The longest name of a field that is kept.
const LONGEST_KEY: usize = 64;
/// Of a text that is none, this much is shown.
const HEAD: usize = 60;

/// The parts of a value that are kept. Where another kind of value comes, `null` is kept in its place.
#[derive(Debug)]
pub(super) enum Shape {
    /// Text, a number or a truth value.
    Scalar,
    /// The same; of a text that is too long, the beginning.
    Start,
    /// Of an object, these fields.
    Object(&'static [(&'static str, Self)]),
    /// Of a list, so many elements.
    List(&'static Self, usize),
    /// A list whose elements become separate pieces.
    Items(&'static Self),
}

/// A part of the text that has come to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The kept part of an element of [`Shape::Items`].
    Item(Vec<u8>),
    /// The kept part of the whole text.
    Whole(Vec<u8>),
    /// Of an element, or of the whole text, too much would be kept.
    TooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value is due; of a list that has just begun, or its end.
    Value {
        or_end: bool,
    },
    /// A key is due; of an object that has just begun, or its end.
    Key {
        or_end: bool,
    },
    InKey {
        escaped: bool,
    },
    Colon,
    /// A comma is due, or the end of the open object or list.
    After,
    InText {
        escaped: bool,
    },
    InNumber,
    /// In a value that is not kept, so many brackets deep.
    Skip {
        depth: u64,
    },
    SkipText {
        depth: u64,
        escaped: bool,
    },
    SkipNumber,
    Done,
}

/// An object or a list that is kept and not at its end.
#[derive(Debug)]
struct Level {
    shape: &'static Shape,
    /// Elements of it that came.
    elements: usize,
    /// One of them was kept: the next takes a comma.
    written: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sieve {
    root: &'static Shape,
    /// Each line is a text.
    lines: bool,
    what: &'static str,
    state: State,
    levels: Vec<Level>,
    /// The shape of the next value; none if it is not kept.
    due: Option<&'static Shape>,
    key: Vec<u8>,
    kept: Vec<u8>,
    /// Where in it the value begins that is being read.
    begun: usize,
    full: bool,
    /// The kept part of the text around the element that is being read.
    around: Option<Vec<u8>>,
    /// Bytes of the object so far.
    bytes: u64,
    head: Vec<u8>,
}

impl Sieve {
    /// One text.
    pub(super) fn whole(root: &'static Shape, what: &'static str) -> Self {
        Self {
            root,
            lines: false,
            what,
            state: State::Value { or_end: false },
            levels: Vec::new(),
            due: Some(root),
            key: Vec::new(),
            kept: Vec::new(),
            begun: 0,
            full: false,
            around: None,
            bytes: 0,
            head: Vec::new(),
        }
    }

    /// Many, one a line.
    pub(super) fn lines(root: &'static Shape, what: &'static str) -> Self {
        Self { lines: true, ..Self::whole(root, what) }
    }

    /// Nothing of a text has come that is not at its end.
    pub(super) fn is_between(&self) -> bool {
        match self.state {
            State::Done => true,
            State::Value { .. } => self.lines && self.levels.is_empty(),
            _ => false,
        }
    }

    /// Takes bytes until a part of the text ends. Gives the number of bytes taken.
    ///
    /// # Errors
    /// It is no JSON, or has no end.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Piece>), Problem> {
        for (at, byte) in bytes.iter().enumerate() {
            // Only the byte after a number ends it, and that byte is not the number's.
            if matches!(self.state, State::InNumber | State::SkipNumber)
                && !is_of_number(*byte)
                && let Some(piece) = self.value_ends()
            {
                return Ok((at, Some(piece)));
            }
            if self.head.len() < HEAD {
                self.head.push(*byte);
            }
            self.bytes += 1;
            if self.bytes > LONGEST_OBJECT {
                return Err(Problem::Nonsense(format!("{} of more than {LONGEST_OBJECT} bytes", self.what)));
            }
            if let Some(piece) = self.byte(*byte)? {
                return Ok((at + 1, Some(piece)));
            }
        }
        Ok((bytes.len(), None))
    }

    fn nonsense(&self) -> Problem {
        let head = String::from_utf8_lossy(&self.head);
        Problem::Nonsense(format!(
            "no {} (JSON breaks off at byte {}): {}",
            self.what,
            self.bytes,
            clean(&head)
        ))
    }

    fn byte(&mut self, byte: u8) -> Result<Option<Piece>, Problem> {
        if byte == b'\n' && self.lines {
            return self.line_ends();
        }
        match self.state {
            // Text in quotes.
            State::InText { escaped } => {
                let escapes = byte == b'\\' && !escaped;
                let kept = self.keep_of_value(byte);
                if byte == b'"' && !escaped {
                    return Ok(self.value_ends());
                }
                self.state = if kept {
                    State::InText { escaped: escapes }
                } else {
                    State::SkipText { depth: 0, escaped: escapes }
                };
            }
            State::SkipText { depth, escaped } => match (byte, escaped) {
                (b'"', false) if depth == 0 => return Ok(self.value_ends()),
                (b'"', false) => self.state = State::Skip { depth },
                _ => self.state = State::SkipText { depth, escaped: byte == b'\\' && !escaped },
            },
            State::InKey { escaped: false } if byte == b'"' => self.state = State::Colon,
            State::InKey { escaped } => {
                if self.key.len() <= LONGEST_KEY {
                    self.key.push(byte);
                }
                self.state = State::InKey { escaped: byte == b'\\' && !escaped };
            }
            State::Skip { depth } => match byte {
                b'"' => self.state = State::SkipText { depth, escaped: false },
                b'{' | b'[' => self.state = State::Skip { depth: depth + 1 },
                b'}' | b']' if depth == 1 => return Ok(self.value_ends()),
                b'}' | b']' => self.state = State::Skip { depth: depth - 1 },
                _ => {}
            },
            State::InNumber => {
                if !self.keep_of_value(byte) {
                    self.state = State::SkipNumber;
                }
            }
            State::SkipNumber => {}
            _ if byte.is_ascii_whitespace() => {}
            State::Value { or_end: true } if byte == b']' => return self.closes(byte),
            State::Value { .. } => return self.value_begins(byte),
            State::Key { or_end: true } if byte == b'}' => return self.closes(byte),
            State::Key { .. } if byte == b'"' => {
                self.key.clear();
                self.state = State::InKey { escaped: false };
            }
            State::Colon if byte == b':' => self.key_ends(),
            State::After if byte == b',' => self.state = self.next_state(false),
            State::After => return self.closes(byte),
            State::Key { .. } | State::Colon | State::Done => return Err(self.nonsense()),
        }
        Ok(None)
    }

    fn line_ends(&mut self) -> Result<Option<Piece>, Problem> {
        if !self.is_between() {
            return Err(self.nonsense());
        }
        self.state = State::Value { or_end: false };
        self.due = Some(self.root);
        self.bytes = 0;
        self.head.clear();
        Ok(None)
    }

    /// The state at the next key or value of the object or list that is open.
    fn next_state(&mut self, or_end: bool) -> State {
        let Some(level) = self.levels.last_mut() else { return State::Done };
        match level.shape {
            Shape::Object(_) => State::Key { or_end },
            Shape::List(shape, most) => {
                self.due = (level.elements < *most).then_some(*shape);
                State::Value { or_end }
            }
            Shape::Items(shape) => {
                self.due = Some(shape);
                State::Value { or_end }
            }
            Shape::Scalar | Shape::Start => State::Done,
        }
    }

    fn key_ends(&mut self) {
        self.due = None;
        if let Some(Level { shape: Shape::Object(fields), .. }) = self.levels.last() {
            let field = fields.iter().find(|(name, _)| name.as_bytes() == self.key);
            if let Some((name, shape)) = field {
                self.comma();
                self.keep(b"\"");
                self.keep(name.as_bytes());
                self.keep(b"\":");
                self.due = Some(shape);
            }
        }
        self.state = State::Value { or_end: false };
    }

    fn value_begins(&mut self, byte: u8) -> Result<Option<Piece>, Problem> {
        if !matches!(byte, b'{' | b'[' | b'"') && !is_of_number(byte) {
            return Err(self.nonsense());
        }
        match self.levels.last_mut() {
            Some(Level { shape: Shape::Items(_), .. }) => {
                self.around = Some(std::mem::take(&mut self.kept));
                // The texts between the elements count for none of them.
                self.bytes = 1;
            }
            Some(level @ Level { shape: Shape::List(..), .. }) => {
                level.elements += 1;
                if self.due.is_some() {
                    self.comma();
                }
            }
            _ => {}
        }
        self.begun = self.kept.len();
        match (self.due, byte) {
            (Some(shape @ Shape::Object(_)), b'{')
            | (Some(shape @ (Shape::List(..) | Shape::Items(_))), b'[') => {
                self.keep(&[byte]);
                self.levels.push(Level { shape, elements: 0, written: false });
                self.state = self.next_state(true);
            }
            (Some(Shape::Scalar | Shape::Start), b'"') => {
                self.keep(&[byte]);
                self.state = State::InText { escaped: false };
            }
            (Some(Shape::Scalar | Shape::Start), byte) if is_of_number(byte) => {
                self.keep(&[byte]);
                self.state = State::InNumber;
            }
            (due, byte) => {
                if due.is_some() {
                    self.keep(b"null");
                }
                self.state = match byte {
                    b'{' | b'[' => State::Skip { depth: 1 },
                    b'"' => State::SkipText { depth: 0, escaped: false },
                    _ => State::SkipNumber,
                };
            }
        }
        Ok(None)
    }

    /// A byte of a text or a number that is kept. `false` if it is too long, and not kept any more.
    fn keep_of_value(&mut self, byte: u8) -> bool {
        self.keep(&[byte]);
        if self.full || self.kept.len().saturating_sub(self.begun) <= LONGEST_TEXT {
            return true;
        }
        if !matches!(self.due, Some(Shape::Start)) || !self.cut_text() {
            self.kept.truncate(self.begun);
            self.keep(b"null");
        }
        false
    }

    /// Ends the text that is being read before what may be half a letter. `false` if it is none.
    fn cut_text(&mut self) -> bool {
        /// A letter beyond the first 65,536, as two halves: `\ud83d\ude00`.
        const LONGEST_LETTER: usize = 12;
        for _ in 0..LONGEST_LETTER {
            self.kept.pop();
            self.kept.push(b'"');
            let text = self.kept.get(self.begun..).unwrap_or_default();
            if serde_json::from_slice::<String>(text).is_ok() {
                return true;
            }
            self.kept.pop();
        }
        false
    }

    /// A comma before an element or a field, but for the first.
    fn comma(&mut self) {
        let first = self.levels.last_mut().is_none_or(|level| !std::mem::replace(&mut level.written, true));
        if !first {
            self.keep(b",");
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.full |= self.kept.len() + bytes.len() > MOST_KEPT;
        if self.full {
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    fn closes(&mut self, byte: u8) -> Result<Option<Piece>, Problem> {
        let due = match self.levels.pop().map(|level| level.shape) {
            Some(Shape::Object(_)) => b'}',
            _ => b']',
        };
        if byte != due {
            return Err(self.nonsense());
        }
        self.keep(&[byte]);
        Ok(self.value_ends())
    }

    fn value_ends(&mut self) -> Option<Piece> {
        let of_items = matches!(self.levels.last(), Some(Level { shape: Shape::Items(_), .. }));
        self.state = if self.levels.is_empty() { State::Done } else { State::After };
        if !of_items && self.state == State::After {
            return None;
        }
        let kept = std::mem::replace(&mut self.kept, self.around.take().unwrap_or_default());
        Some(match (std::mem::take(&mut self.full), of_items) {
            (true, _) => Piece::TooLarge,
            (false, true) => Piece::Item(kept),
            (false, false) => Piece::Whole(kept),
        })
    }
}

/// Also the letters of `true`, `false` and `null`.
fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

#[cfg(test)]
mod tests;
