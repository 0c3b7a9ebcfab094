//! Readers of bytes that crashtrace did not write, each as a function that takes any bytes: a table for libFuzzer (`main.rs`), and for
//! the tests that read the committed inputs.
//!
//! A reader may refuse its input, and says whether it did; it must not panic, run long or take much memory. What else must hold of a
//! reader it asserts itself.

mod journal;
mod kubernetes;
mod node;
mod records;
pub mod seeds;

/// A reader under test.
#[derive(Debug)]
pub struct Reader {
    pub name: &'static str,
    /// Reads the bytes; whether they were what it reads.
    pub read: fn(&[u8]) -> bool,
    /// Inputs to begin with, which it must take.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The longest input that is worth a try.
    pub most_bytes: usize,
}

/// All of them.
pub const READERS: &[Reader] = &[
    Reader { name: "record", read: records::record, seeds: seeds::records, most_bytes: 16 << 10 },
    Reader { name: "recording", read: records::recording, seeds: seeds::recordings, most_bytes: 64 << 10 },
    Reader { name: "cgroup", read: node::cgroup, seeds: seeds::cgroups, most_bytes: 4 << 10 },
    Reader { name: "btf", read: node::btf, seeds: seeds::btf, most_bytes: 256 << 10 },
    Reader { name: "kallsyms", read: node::kallsyms, seeds: seeds::kallsyms, most_bytes: 16 << 10 },
    Reader { name: "proc", read: node::proc, seeds: seeds::proc, most_bytes: 16 << 10 },
    Reader {
        name: "containers",
        read: kubernetes::containers,
        seeds: seeds::containers,
        most_bytes: 32 << 10,
    },
    Reader { name: "sandboxes", read: kubernetes::sandboxes, seeds: seeds::sandboxes, most_bytes: 32 << 10 },
    Reader { name: "pods", read: kubernetes::pods, seeds: seeds::pods, most_bytes: 64 << 10 },
    Reader { name: "events", read: kubernetes::events, seeds: seeds::events, most_bytes: 32 << 10 },
    Reader { name: "journal", read: journal::journal, seeds: seeds::journals, most_bytes: 32 << 10 },
];

/// The reader of this name.
#[must_use]
pub fn reader(name: &str) -> Option<&'static Reader> {
    READERS.iter().find(|reader| reader.name == name)
}

/// The names of all.
#[must_use]
pub fn names() -> Vec<&'static str> {
    READERS.iter().map(|reader| reader.name).collect()
}

/// Pieces of the bytes, as they may come over a connection: their length is taken from the bytes, so that it varies too.
fn pieces(bytes: &[u8]) -> std::slice::Chunks<'_, u8> {
    let length = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_add(usize::from(*byte))) % 61 + 1;
    bytes.chunks(length)
}
