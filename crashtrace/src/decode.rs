//! Records to events: bytes in, values out. Total: any bytes give an event or an error, never a panic.
//!
//! A record is read field by field in the order of the ABI's types, after the words that were left out have been put back. A record
//! that is longer than its body is refused like a shorter one: a writer with another layout has another [`LAYOUT_VERSION`].

use bytes::{Buf, Bytes, TryGetError};
use crashtrace_ebpf::{
    GROUP_WORDS, Header, LAYOUT_VERSION, OLDEST_LAYOUT, RECORD_MAX_BYTES, hook, kind, missing,
};
use thiserror::Error;

use crate::event::{Event, Hook, Name, NoKill, Stack, Stamp};
use crate::stats::Counter;
use crate::symbols::Symbols;

mod alloc;
mod exit;
mod lineage;
mod memory;
mod oom;
mod possible;
mod self_test;
mod task;
mod zones;

pub use self_test::{SelfTest, self_test};

/// Facts about a machine that its records need.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Bytes of a page.
    pub page_size_bytes: u64,
    /// Function names for the addresses of a kernel stack; `None` if `/proc/kallsyms` could not be read.
    pub symbols: Option<Symbols>,
}

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not even a header.
    #[error("a record of {0} bytes is shorter than what it holds")]
    Truncated(usize),
    /// Its length differs from its header's, or is more than any record has.
    #[error("a record of {actual} bytes says that it has {stated}")]
    Length {
        /// The length in the header.
        stated: usize,
        /// The real length.
        actual: usize,
    },
    /// Written by another version.
    #[error(
        "a record of layout {0}, not {OLDEST_LAYOUT} to {LAYOUT_VERSION}: it was written by another version of crashtrace"
    )]
    Layout(u16),
    /// Of a kind that this version does not know.
    #[error("a record of unknown kind {0}")]
    Kind(u16),
    /// An impossible hook, section or level.
    #[error("a record with an impossible {what}: {value}")]
    Impossible {
        /// Its kind.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

impl DecodeError {
    /// The counter that it goes to.
    #[must_use]
    pub fn counter(&self) -> Counter {
        match self {
            Self::Kind(_) => Counter::RecordsOfUnknownKind,
            Self::Layout(_) => Counter::RecordsOfAnotherLayout,
            Self::Truncated(_) | Self::Length { .. } | Self::Impossible { .. } => Counter::RecordsMalformed,
        }
    }
}

/// A record's bytes while they are read; running out of them is [`DecodeError::Truncated`].
pub(crate) struct Reader {
    bytes: Bytes,
    total: usize,
}

impl Reader {
    fn new(bytes: Bytes) -> Self {
        let total = bytes.len();
        Self { bytes, total }
    }

    fn get<T>(&mut self, read: impl FnOnce(&mut Bytes) -> Result<T, TryGetError>) -> Result<T, DecodeError> {
        read(&mut self.bytes).map_err(|_| DecodeError::Truncated(self.total))
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.get(Buf::try_get_u8)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.get(Buf::try_get_u16_le)
    }

    fn i16(&mut self) -> Result<i16, DecodeError> {
        self.get(Buf::try_get_i16_le)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.get(Buf::try_get_u32_le)
    }

    fn i32(&mut self) -> Result<i32, DecodeError> {
        self.get(Buf::try_get_i32_le)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.get(Buf::try_get_u64_le)
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.get(Buf::try_get_i64_le)
    }

    fn take(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        if count > self.bytes.len() {
            return Err(DecodeError::Truncated(self.total));
        }
        Ok(self.bytes.split_to(count))
    }

    fn sub_reader(&mut self, count: usize) -> Result<Self, DecodeError> {
        Ok(Self { bytes: self.take(count)?, total: self.total })
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// CPU, stream and number of a record, which show a gap even if the rest cannot be read.
///
/// # Errors
/// The bytes are no record of this layout.
pub fn position(record: &Bytes) -> Result<(u32, u8, u64), DecodeError> {
    let (_, header) = header(record)?;
    Ok((header.cpu, header.stream, header.seq))
}

/// When a record was begun.
///
/// # Errors
/// The bytes are no record of this layout.
pub fn ktime_ns(record: &Bytes) -> Result<u64, DecodeError> {
    header(record).map(|(_, header)| header.ktime_ns)
}

/// The event in `record`.
///
/// # Errors
/// The bytes are no record that this version knows.
pub fn decode(record: &Bytes, machine: &Machine) -> Result<Event, DecodeError> {
    let (reader, header) = header(record)?;
    let mut reader = unpacked(reader, &header)?;
    let stamp = Stamp {
        ktime_ns: header.ktime_ns,
        cpu: header.cpu,
        seq: header.seq,
        hook: match header.hook {
            hook::FENTRY => Hook::Fentry,
            hook::KPROBE => Hook::Kprobe,
            hook::RAW_TRACEPOINT => Hook::RawTracepoint,
            other => return Err(DecodeError::Impossible { what: "hook", value: other.into() }),
        },
        decision_ns: Some(header.decision_ns).filter(|&ns| ns != 0),
    };
    let event = match header.kind {
        kind::OOM_DECISION => {
            oom::decision(&mut reader, stamp, header.missing, machine).map(Event::OomDecision)
        }
        kind::OOM_DECISION_END => Ok(Event::OomDecisionEnd(stamp)),
        kind::OOM_VICTIM => oom::victim(&mut reader, stamp, machine).map(Event::OomVictim),
        kind::OOM_NO_VICTIM => {
            oom::no_victim(&mut reader, stamp, NoKill::NobodyFound, header.missing, machine)
                .map(Event::OomNoVictim)
        }
        kind::OOM_WAIT => oom::no_victim(&mut reader, stamp, NoKill::SwitchedOff, header.missing, machine)
            .map(Event::OomNoVictim),
        kind::OOM_HOLDERS => oom::holders(&mut reader, stamp, machine).map(Event::OomHolders),
        kind::OOM_ZONES => {
            alloc::zones(&mut reader, machine).map(|(zones, node)| Event::OomZones(stamp, zones, node))
        }
        kind::OOM_MEMORY => oom::memory(&mut reader, machine).map(|memory| Event::OomMemory(stamp, memory)),
        kind::ALLOC_FAILURE => {
            alloc::failure(&mut reader, stamp, header.missing, machine).map(Event::AllocFailure)
        }
        kind::CONTAINER_EXIT => exit::end(&mut reader, stamp, machine).map(Event::ContainerExit),
        other => return Err(DecodeError::Kind(other)),
    }?;
    if reader.is_empty() {
        possible::check(&event)?;
        Ok(event)
    } else {
        Err(DecodeError::Impossible { what: "rest, in bytes", value: reader.bytes.len() as u64 })
    }
}

fn header(record: &Bytes) -> Result<(Reader, Header), DecodeError> {
    let mut reader = Reader::new(record.clone());
    let layout = reader.u16()?;
    if !(OLDEST_LAYOUT..=LAYOUT_VERSION).contains(&layout) {
        return Err(DecodeError::Layout(layout));
    }
    let header = Header {
        layout,
        kind: reader.u16()?,
        length: reader.u32()?,
        seq: reader.u64()?,
        ktime_ns: reader.u64()?,
        decision_ns: reader.u64()?,
        missing: reader.u32()?,
        cpu: reader.u32()?,
        hook: reader.u8()?,
        stream: reader.u8()?,
        pad: [reader.u8()?, reader.u8()?],
        unpacked: reader.u32()?,
    };
    let (stated, actual) = (header.length as usize, record.len());
    if stated != actual || actual > RECORD_MAX_BYTES {
        return Err(DecodeError::Length { stated, actual });
    }
    Ok((reader, header))
}

/// What is behind the header, with the words that were left out: see [`Header::unpacked`].
fn unpacked(mut reader: Reader, header: &Header) -> Result<Reader, DecodeError> {
    let total = header.unpacked as usize;
    if total == 0 {
        return Ok(reader);
    }
    let impossible =
        || DecodeError::Impossible { what: "length without words left out", value: total as u64 };
    let length = total.checked_sub(size_of::<Header>()).filter(|length| length.is_multiple_of(8));
    let words = length.filter(|_| total <= RECORD_MAX_BYTES).ok_or_else(impossible)? / 8;
    let bitmaps = words.div_ceil(GROUP_WORDS) * 8;
    let kept = reader.bytes.len().checked_sub(bitmaps).ok_or_else(impossible)?;
    let mut kept = reader.sub_reader(kept)?;
    let mut all = vec![0; 8 * words];
    for group in all.chunks_mut(8 * GROUP_WORDS) {
        let mut bitmap = reader.u64()?;
        while bitmap != 0 {
            let at = 8 * bitmap.trailing_zeros() as usize;
            // None for a bit behind the last word.
            let word = group.get_mut(at..at + 8).ok_or_else(impossible)?;
            word.copy_from_slice(&kept.u64()?.to_le_bytes());
            bitmap &= bitmap - 1;
        }
    }
    // A word without a bit.
    if !kept.is_empty() {
        return Err(impossible());
    }
    Ok(Reader { bytes: all.into(), total })
}

/// The bytes before the first NUL.
fn name(bytes: &[u8]) -> Name {
    Name(bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec())
}

/// The functions of interest on the stack; `None` if there is no stack or there are no symbols.
fn stack<const FRAMES: usize>(
    reader: &mut Reader,
    lacks: u32,
    machine: &Machine,
) -> Result<Option<Stack>, DecodeError> {
    let mut addresses = [0; FRAMES];
    for address in &mut addresses {
        *address = reader.u64()?;
    }
    let Some(symbols) = machine.symbols.as_ref().filter(|_| lacks & missing::STACK == 0) else {
        return Ok(None);
    };
    let names = addresses.into_iter().filter(|&address| address != 0);
    Ok(Some(Stack(names.filter_map(|address| symbols.name_of(address).map(str::to_owned)).collect())))
}

#[cfg(test)]
mod tests;
