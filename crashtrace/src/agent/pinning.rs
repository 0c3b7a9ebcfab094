//! `--pin`: what an earlier agent has pinned is taken over or replaced, and this one's is pinned for the next.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use crashtrace_ebpf::FailureKey;
use crashtrace_ebpf::counter::Counts;

use super::clock;
use super::host::Host;
use crate::event::Counted;
use crate::kernel::load::{self, Attached, Found, Keeper};
use crate::kernel::pins::{Held, Misfit, Phase, Pins, Wanted};
use crate::kernel::plan::Plan;
use crate::pipeline::{Before, Pipeline};
use crate::schema::{PinnedHooks, Text};

/// The pins, and what was found there.
pub(super) struct Pinning {
    pins: Pins,
    wanted: Wanted,
    found: Found,
}

/// The hooks are on.
pub(super) struct Begun {
    /// Since when this session watches.
    pub(super) started_ns: u64,
    /// Records of hooks that were replaced.
    pub(super) records: Vec<Bytes>,
    /// What was before this session, if it goes on with that.
    pub(super) before: Option<Before>,
    /// What `agent_started` says of it.
    pub(super) said: Option<PinnedHooks>,
    /// Where the next session reads what this one has told; `None` if the hooks end with this process.
    pub(super) kept: Option<Kept>,
}

/// Opens the directory of pins, if one is wanted.
///
/// # Errors
/// It cannot be used.
pub(super) fn open(directory: Option<&Path>) -> Result<Option<Pins>> {
    Ok(directory.map(Pins::open).transpose()?)
}

impl Pinning {
    /// Looks at what is pinned.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn look(pins: Pins, host: &Host, plan: &Plan, include_nowarn: bool) -> Result<Self> {
        let wanted = host.wanted(plan, include_nowarn)?;
        let debug = tracing::enabled!(tracing::Level::DEBUG);
        let found = load::find(plan, &wanted, debug, &pins)?;
        Ok(Self { pins, wanted, found })
    }

    /// The hooks that are pinned, if they fit, and what the session before says of them.
    pub(super) fn take_over(&mut self) -> Option<(Attached, Held)> {
        match std::mem::replace(&mut self.found, Found::Nothing) {
            Found::Fits(attached, held) => Some((*attached, held)),
            other => {
                self.found = other;
                None
            }
        }
    }
}

/// Switches the hooks on. Those of an earlier agent are switched off just before, so that nothing is seen twice, and are removed.
///
/// # Errors
/// A map cannot be used, or something cannot be pinned or removed.
pub(super) fn begin(
    pinning: Option<Pinning>,
    taken_over: Option<Held>,
    attached: &mut Attached,
) -> Result<Begun> {
    let Some(Pinning { pins, wanted, found }) = pinning else {
        attached.arm()?;
        return Ok(Begun {
            started_ns: clock::boottime_ns(),
            records: Vec::new(),
            before: None,
            said: None,
            kept: None,
        });
    };
    if let Some(earlier) = taken_over {
        return go_on(pins, &earlier, attached);
    }
    let mut said = PinnedHooks::default();
    let misfit = match found {
        Found::Replaced(misfit, held) => Some((misfit, held)),
        Found::Nothing | Found::Fits(..) => None,
    };
    if misfit.is_some() {
        load::switch_off(&pins);
    }
    attached.arm()?;
    let started_ns = clock::boottime_ns();
    let (mut records, mut before) = (Vec::new(), None);
    let (mut told, mut carried) = (Counts::default(), Counts::default());
    if let Some((misfit, held)) = misfit {
        let rest = load::rest(&pins, held.is_some());
        pins.remove()?;
        said.gap = Some(gap(&misfit));
        tracing::info!(why = %misfit, records = rest.records.len(), "the hooks of an earlier session are replaced");
        let mut accepts_ns = 0;
        if let Some(held) = held {
            if held.phase != Phase::Begun {
                said.from_session = Some(Text::from(held.session.as_str()));
                said.from_in_order = Some(held.phase == Phase::Ended);
            }
            told = held.told;
            carried = sum(&held.carried, &rest.counters.unwrap_or_default());
            accepts_ns = held.since_ns;
        }
        // Each record says of which layout it is, so those of hooks that say nothing can be tried.
        let adopts = !rest.records.is_empty();
        before = Some(Before { accepts_ns, told, carried, failures: rest.told, adopts });
        records = rest.records;
    }
    let kept = match attached.can_be_pinned() {
        Ok(()) => {
            attached.pin(&pins)?;
            let held = Held {
                made_for: wanted,
                phase: Phase::Begun,
                since_ns: started_ns,
                session: String::new(),
                told,
                carried,
            };
            let mut keeper = attached.keeper(held)?;
            keeper.write().context("cannot write what the next session needs")?;
            Some(Kept { keeper, pins })
        }
        Err(why) => {
            tracing::warn!(%why, "the hooks end with this process: a restart is a gap");
            said.not_pinned = Some(why.to_string());
            None
        }
    };
    Ok(Begun { started_ns, records, before, said: Some(said), kept })
}

/// Goes on with the hooks of an earlier session, which are on.
fn go_on(pins: Pins, earlier: &Held, attached: &mut Attached) -> Result<Begun> {
    let said = PinnedHooks {
        from_session: Some(Text::from(earlier.session.as_str())),
        from_in_order: Some(earlier.phase == Phase::Ended),
        ..PinnedHooks::default()
    };
    tracing::info!(session = earlier.session, "the hooks of an earlier session are taken over");
    let mut keeper = attached.keeper(earlier.clone())?;
    let failures = keeper.earlier().context("cannot read which failures the earlier session has told")?;
    let Held { since_ns, told, carried, .. } = *earlier;
    let before = Some(Before { accepts_ns: since_ns, told, carried, failures, adopts: true });
    let started_ns = clock::boottime_ns();
    Ok(Begun { started_ns, records: Vec::new(), before, said: Some(said), kept: Some(Kept { keeper, pins }) })
}

fn gap(misfit: &Misfit) -> String {
    format!("the hooks of an earlier session were replaced by new ones, because {misfit}")
}

fn sum(one: &Counts, other: &Counts) -> Counts {
    let mut sums = *one;
    sums.iter_mut().zip(other).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
    sums
}

/// Hooks that stay when this process ends.
pub(super) struct Kept {
    keeper: Keeper,
    /// Locked as long as the process lives.
    #[expect(dead_code, reason = "it holds the lock")]
    pins: Pins,
}

impl Kept {
    /// From here on the next session can take the hooks over.
    ///
    /// # Errors
    /// The map cannot be written.
    pub(super) fn watching(&mut self, session: &str) -> Result<()> {
        let held = Held { phase: Phase::Watching, session: session.to_owned(), ..self.keeper.held().clone() };
        self.keeper.hold(held).context("cannot write what the next session needs")
    }

    /// Writes what has been told. The stream goes on without: then the next session tells it again.
    pub(super) fn told(&mut self, pipeline: &Pipeline) {
        let held = Held { told: *pipeline.kernel_told(), ..self.keeper.held().clone() };
        let failures: BTreeMap<FailureKey, Counted> = pipeline.failures_told().collect();
        if let Err(error) = self.keeper.hold(held).and_then(|()| self.keeper.told(failures)) {
            tracing::warn!(%error, "cannot write what was told: after a restart it may be told again");
        }
    }

    /// Notes that all that was taken from the ring is told.
    pub(super) fn ended(&mut self) {
        let held = Held { phase: Phase::Ended, ..self.keeper.held().clone() };
        if let Err(error) = self.keeper.hold(held) {
            tracing::warn!(%error, "cannot note for the next session that this one ended well");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_over_hooks_that_are_replaced() {
        let (mut one, mut other) = (Counts::default(), Counts::default());
        (one[0], one[1], other[0]) = (1, u64::MAX, 2);
        other[1] = 1;
        assert_eq!(sum(&one, &other)[..3], [3, u64::MAX, 0]);
    }

    #[test]
    fn a_gap_has_its_reason() {
        assert_eq!(
            gap(&Misfit::Options),
            "the hooks of an earlier session were replaced by new ones, because other hooks or options were wanted"
        );
    }
}
