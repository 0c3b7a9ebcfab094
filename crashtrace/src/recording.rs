//! Recordings: the records of one session in a file, with the facts needed to read them elsewhere.
//!
//! A line of JSON (the [`Preamble`]) comes first, then frames: a little-endian u32 with the length, and that many bytes of record.
//! The preamble describes the machine; records are as the kernel side wrote them. A file that ends in the middle of a frame is read
//! up to there, and the rest is counted as lost.

use std::borrow::Cow;
use std::io::{self, BufRead, Read, Write};

use bytes::Bytes;
use crashtrace_ebpf::{Header, LAYOUT_VERSION, OLDEST_LAYOUT, RECORD_MAX_BYTES, hook, kind};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cgroup::NodeRoot;
use crate::decode;
use crate::gfp::GfpNames;
use crate::schema::BlindSpot;
use crate::symbols::Symbols;

/// Value of [`Preamble::format`].
pub const FORMAT: &str = "crashtrace-recording/v1";

/// Bytes that a preamble may have: its largest part, the symbols, takes about 2 KiB.
const PREAMBLE_MAX_BYTES: u64 = 1024 * 1024;

/// Bytes of a record of [`kind::CLOCK`].
const CLOCK_BYTES: usize = size_of::<Header>() + size_of::<i64>();

/// The machine and the session of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preamble {
    /// Always [`FORMAT`].
    pub format: String,
    /// Version of the agent.
    pub agent: String,
    /// Layout of the records.
    pub layout: u16,
    /// Name of the node.
    pub node: String,
    /// Release of the kernel.
    pub kernel: String,
    /// The kernel's id of the boot.
    pub boot_id: String,
    /// Bytes of a page.
    pub page_size_bytes: u64,
    /// Memory of the machine.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Where the node's cgroups began.
    #[serde(default)]
    pub node_root: NodeRoot,
    /// The memory controller is on cgroup v1; `None` where that is not known.
    pub memory_cgroup_v1: Option<bool>,
    /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME` at the beginning.
    pub realtime_offset_ns: i64,
    /// The hooks in use.
    pub hooks: Vec<String>,
    /// Their blind spots.
    #[serde(default)]
    pub blind: Vec<BlindSpot>,
    /// Names of the kernel's gfp bits.
    pub gfp: GfpNames,
    /// Where the functions of interest are in that kernel.
    pub symbols: Option<Symbols>,
    /// When it began, in nanoseconds of `CLOCK_BOOTTIME`.
    pub started_ktime_ns: u64,
    /// Since when its hooks were on, if an earlier session had switched them on: the first records may be older than the session.
    #[serde(default)]
    pub since_ktime_ns: Option<u64>,
}

/// Why a recording cannot be read.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// Reading failed.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// It does not begin like a recording.
    #[error("it is no recording of crashtrace (the first line is not a preamble: {0})")]
    NoRecording(String),
    /// Another version wrote it.
    #[error(
        "its records have layout {0}, and this version reads {OLDEST_LAYOUT} to {LAYOUT_VERSION}: replay it with the version that wrote it ({1})"
    )]
    Layout(u16, String),
}

/// Beginning of each recording, of any version.
const MAGIC: &str = "{\"format\":\"crashtrace-recording/";

/// Whether a file that begins like this is a recording. Takes 64 bytes.
#[must_use]
pub fn begins_like_a_recording(start: &[u8]) -> bool {
    start.starts_with(MAGIC.as_bytes())
}

impl Preamble {
    /// Writes the preamble, with which a recording begins.
    ///
    /// # Errors
    /// Writing failed.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *to, self)?;
        to.write_all(b"\n")?;
        to.flush()
    }
}

/// A record as a frame. `None` if it is larger than any record.
#[must_use]
pub fn frame(record: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(record.len()).ok().filter(|_| record.len() <= RECORD_MAX_BYTES)?;
    Some([&length.to_le_bytes(), record].concat())
}

/// A record that says: from here on `CLOCK_REALTIME` minus `CLOCK_BOOTTIME` is this. `seq` counts such records from 0. It has the
/// kernel side's format, so that other versions skip it: its CPU number is that of no CPU, with a separate sequence.
#[must_use]
pub fn clock_record(seq: u64, ktime_ns: u64, realtime_offset_ns: i64) -> Vec<u8> {
    let mut record = Vec::with_capacity(CLOCK_BYTES);
    record.extend(LAYOUT_VERSION.to_le_bytes());
    record.extend(kind::CLOCK.to_le_bytes());
    record.extend((CLOCK_BYTES as u32).to_le_bytes());
    record.extend([seq, ktime_ns, 0].map(u64::to_le_bytes).concat());
    record.extend([0, u32::MAX].map(u32::to_le_bytes).concat());
    record.push(hook::RAW_TRACEPOINT);
    record.extend([0; 7]);
    record.extend(realtime_offset_ns.to_le_bytes());
    record
}

/// The part of the preamble that all versions have.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    format: Cow<'a, str>,
    layout: Option<u64>,
    #[serde(borrow)]
    agent: Option<Cow<'a, str>>,
}

/// The next part of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Record(Bytes),
    /// The wall clock was set.
    Clock {
        /// When the agent noticed.
        ktime_ns: u64,
        /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME` from here on.
        realtime_offset_ns: i64,
    },
    /// The file ends in the middle of a record, or with bytes that are no record: nothing after this can be read.
    Broken(String),
}

#[derive(Debug)]
pub struct Reader<R: BufRead> {
    from: R,
    broken: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the preamble.
    ///
    /// # Errors
    /// It cannot be read, is no preamble, or has another layout.
    pub fn open(mut from: R) -> Result<(Preamble, Self), RecordingError> {
        let mut line = Vec::new();
        from.by_ref().take(PREAMBLE_MAX_BYTES).read_until(b'\n', &mut line)?;
        let no_recording = |error: serde_json::Error| RecordingError::NoRecording(error.to_string());
        // A preamble of another version may differ in more than these two fields. Parsed as these types and not as any JSON: a
        // megabyte of that can take a hundred times its size.
        let head: Head<'_> = serde_json::from_slice(&line).map_err(no_recording)?;
        if head.format != FORMAT {
            return Err(RecordingError::NoRecording(format!("its format is not {FORMAT}")));
        }
        let known = u64::from(OLDEST_LAYOUT)..=u64::from(LAYOUT_VERSION);
        if let Some(layout) = head.layout.filter(|layout| !known.contains(layout)) {
            let agent = head.agent.map_or_else(|| "unknown".to_owned(), Cow::into_owned);
            return Err(RecordingError::Layout(u16::try_from(layout).unwrap_or(u16::MAX), agent));
        }
        let preamble = serde_json::from_slice(&line).map_err(no_recording)?;
        Ok((preamble, Self { from, broken: false }))
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// Reading failed.
    pub fn frame(&mut self) -> io::Result<Option<Frame>> {
        if self.broken {
            return Ok(None);
        }
        let mut length = Vec::with_capacity(4);
        self.from.by_ref().take(4).read_to_end(&mut length)?;
        let broken = |what: String| Ok(Some(Frame::Broken(what)));
        let length = match <[u8; 4]>::try_from(length.as_slice()) {
            Ok(length) => u32::from_le_bytes(length) as usize,
            Err(_) if length.is_empty() => return Ok(None),
            Err(_) => {
                self.broken = true;
                return broken("it ends within the length of a record".to_owned());
            }
        };
        if length > RECORD_MAX_BYTES {
            self.broken = true;
            return broken(format!("it has a record of {length} bytes, more than any record can have"));
        }
        let mut record = Vec::with_capacity(length);
        self.from.by_ref().take(length as u64).read_to_end(&mut record)?;
        if record.len() < length {
            self.broken = true;
            return broken(format!("it ends {} bytes into a record of {length}", record.len()));
        }
        let record = Bytes::from(record);
        Ok(Some(clock(&record).unwrap_or(Frame::Record(record))))
    }
}

/// The clock step in a record, if it is about that.
fn clock(record: &Bytes) -> Option<Frame> {
    let body = record.get(size_of::<Header>()..CLOCK_BYTES)?;
    let about = record.len() == CLOCK_BYTES && record.get(2..4)? == kind::CLOCK.to_le_bytes();
    let realtime_offset_ns = i64::from_le_bytes(body.try_into().ok()?);
    let ktime_ns = decode::ktime_ns(record).ok()?;
    about.then_some(Frame::Clock { ktime_ns, realtime_offset_ns })
}
