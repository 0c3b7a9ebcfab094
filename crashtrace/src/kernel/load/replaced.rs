//! What is found pinned: it is taken over if it fits, and is read to its end and removed if not.

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use bytes::Bytes;
use crashtrace_ebpf::FailureKey;
use crashtrace_ebpf::counter::Counts;
use crashtrace_ebpf::map::{self, HELD_WORDS};

use super::keep::failures_told;
use super::{Attached, KernelCounters, all_ended};
use crate::event::Counted;
use crate::kernel::pins::{Held, Misfit, Pins, PinsError, Wanted};
use crate::kernel::plan::Plan;

/// What there is in a directory of pins.
#[derive(Debug)]
pub enum Found {
    Nothing,
    /// It fits.
    Fits(Box<Attached>, Held),
    /// It does not: why, and what it says of itself, if that can be read.
    Replaced(Misfit, Option<Held>),
}

/// What a kernel side that is replaced has recorded.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// Records, of any layout.
    pub records: Vec<Bytes>,
    /// Its counters, where they can be read.
    pub counters: Option<Counts>,
    /// Failures that its sessions have told.
    pub told: Vec<(FailureKey, Counted)>,
}

/// Looks at what is pinned. `debug`: the programs are to write messages, which only their loader can read.
///
/// # Errors
/// The directory cannot be read.
pub fn find(plan: &Plan, wanted: &Wanted, debug: bool, pins: &Pins) -> Result<Found, PinsError> {
    let names = pins.names()?;
    if names.links.is_empty() && names.maps.is_empty() {
        return Ok(Found::Nothing);
    }
    let held = held(pins);
    let fits = match &held {
        None => Err(Misfit::Format),
        Some(_) if debug => Err(Misfit::Debug),
        Some(held) => held.fits(wanted).and_then(|()| Attached::pinned(plan, pins)),
    };
    Ok(match (fits, held) {
        (Ok(attached), Some(held)) => Found::Fits(Box::new(attached), held),
        (Err(misfit), held) => Found::Replaced(misfit, held),
        (Ok(_), None) => Found::Replaced(Misfit::Format, None),
    })
}

fn opened(pins: &Pins, name: &str) -> Option<Map> {
    MapData::from_pin(pins.map(name)).and_then(Map::from_map_data).ok()
}

fn held(pins: &Pins) -> Option<Held> {
    let words: Array<_, [u64; HELD_WORDS]> = opened(pins, map::HELD)?.try_into().ok()?;
    Held::read(&words.get(&0, 0).ok()?)
}

/// Switches a kernel side off that is to be replaced: programs that begin from here on record nothing. It does not wait for those that
/// are running, for so long nothing would be seen at all.
pub fn switch_off(pins: &Pins) {
    let switch = opened(pins, map::SWITCH).and_then(|map| Array::<_, u64>::try_from(map).ok());
    // Without a switch that is known its links, which are removed in a moment, are what ends it.
    if let Some(mut switch) = switch
        && let Err(error) = switch.set(0, 0, 0)
    {
        tracing::warn!(%error, "cannot switch the earlier hooks off");
    }
}

/// Reads what it has recorded, once its last program has ended. Nothing is decoded here.
#[must_use]
pub fn rest(pins: &Pins, known: bool) -> Rest {
    all_ended();
    let mut rest = Rest::default();
    let ring = opened(pins, map::RECORDS).and_then(|map| RingBuf::try_from(map).ok());
    if let Some(mut ring) = ring {
        while let Some(record) = ring.next() {
            rest.records.push(Bytes::copy_from_slice(&record));
        }
    }
    // What the counters mean is known only of what says what it is.
    if known {
        rest.counters = counters(pins).and_then(|counters| counters.read().ok());
        let told = opened(pins, map::TOLD).and_then(|map| HashMap::try_from(map).ok());
        rest.told = told.and_then(|told| failures_told(&told).ok()).unwrap_or_default();
    }
    rest
}

fn counters(pins: &Pins) -> Option<KernelCounters> {
    Some(KernelCounters {
        counters: PerCpuArray::try_from(opened(pins, map::COUNTERS)?).ok()?,
        failures: HashMap::try_from(opened(pins, map::FAILURES)?).ok()?,
    })
}
