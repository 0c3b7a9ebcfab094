//! A container's end with its parts at hand: whose signal it ended by, and within which times.

use super::HANDLES_WITHIN_NS;
use super::sender;
use crate::correlate::ContainerEnd;
use crate::enrich::{Case, ExitContext, Party};
use crate::event::signals::{SIGINT, SIGKILL, SIGQUIT, SIGRTMIN, SIGTERM, SIGWINCH};
use crate::event::{ContainerExit, Outcome, Signal};
use crate::names::{ContainerLife, EndedStatus, Names, PodLife, Probe};
use crate::schema::{EndedBy, ProbeKind};

/// Longer than that hardly any program shuts down.
const UNKNOWN_GRACE_NS: u64 = 600 * 1_000_000_000;
/// From the end of the grace period to the runtime's SIGKILL and the process's end, at most.
const AFTER_GRACE_NS: u64 = 15_000_000_000;

/// A case with its parts at hand.
pub(in crate::classify::exit) struct Scene<'a> {
    pub(super) case: &'a Case,
    pub(super) end: &'a ContainerEnd,
    pub(super) event: &'a ContainerExit,
    pub(super) owner: Option<&'a Party>,
    pub(super) asked_by: Option<EndedBy>,
    pub(super) killed_by: Option<EndedBy>,
}

impl<'a> Scene<'a> {
    pub(super) fn of(case: &'a Case, end: &'a ContainerEnd) -> Self {
        let event = &*end.event;
        let owner = case.exited();
        let by = |signal: &Option<Signal>, owned| sender::of(event, owner, signal.as_ref()?, owned);
        let asked_by = by(&event.asked, case.owners.asked());
        let killed_by = by(&event.killed, case.owners.killed());
        Self { case, end, event, owner, asked_by, killed_by }
    }

    pub(super) fn context(&self) -> Option<&'a ExitContext> {
        self.case.exit.as_ref()
    }

    pub(super) fn names(&self) -> Option<&'a Names> {
        self.owner?.owner.names.as_deref()
    }

    pub(super) fn life(&self) -> Option<&'a ContainerLife> {
        Some(&self.names()?.container.as_ref()?.life)
    }

    /// The container's name.
    pub(super) fn container(&self) -> Option<&'a str> {
        self.names()?.container.as_ref()?.name.as_deref()
    }

    pub(super) fn status(&self) -> Option<&'a EndedStatus> {
        self.life()?.ended.as_ref()
    }

    pub(super) fn probe(&self, kind: ProbeKind) -> Option<&'a Probe> {
        match kind {
            ProbeKind::Liveness => self.life()?.liveness.as_ref(),
            ProbeKind::Startup => self.life()?.startup.as_ref(),
            ProbeKind::Unknown => None,
        }
    }

    /// A time of `CLOCK_BOOTTIME` in whole seconds since 1970, as Kubernetes has them.
    pub(super) fn second(&self, ktime_ns: u64) -> i64 {
        let offset = self.context().map_or(0, |context| context.realtime_offset_ns);
        let second = (i128::from(ktime_ns) + i128::from(offset)).div_euclid(1_000_000_000);
        i64::try_from(second).unwrap_or(i64::MAX)
    }

    pub(super) fn signal(&self) -> Option<u8> {
        self.event.status?.signal()
    }

    /// The SIGKILL that it ended by.
    pub(super) fn kill(&self) -> Option<&'a Signal> {
        let kill = self.event.killed.as_ref().filter(|kill| kill.outcome != Outcome::Ignored)?;
        (self.signal() == Some(SIGKILL)).then_some(kill)
    }

    pub(super) fn since(&self, signal: &Signal) -> u64 {
        self.event.stamp.ktime_ns.saturating_sub(signal.ktime_ns)
    }

    /// The runtime's signal for which it ended, if that is not SIGKILL.
    pub(super) fn told(&self) -> Option<&'a Signal> {
        let asked = self.event.asked.as_ref().filter(|_| self.asked_by == Some(EndedBy::Runtime))?;
        let since = self.since(asked);
        let within = self.grace_ns().map(|grace| grace.saturating_add(AFTER_GRACE_NS));
        let within = within.unwrap_or(match asked.number {
            // httpd's image has SIGWINCH as its STOPSIGNAL, and systemd in a container SIGRTMIN+3.
            SIGTERM | SIGINT | SIGQUIT | SIGWINCH | SIGRTMIN.. => UNKNOWN_GRACE_NS,
            _ => HANDLES_WITHIN_NS,
        });
        let stops =
            since <= within && (!self.crashed() || self.grace_ns().is_some_and(|grace| since <= grace));
        stops.then_some(asked)
    }

    /// It ended by a fault that the kernel saw.
    fn crashed(&self) -> bool {
        self.event.raised.as_ref().is_some_and(|it| it.code > 0 && Some(it.number) == self.signal())
    }

    /// The longest grace period that may hold.
    pub(super) fn grace_ns(&self) -> Option<u64> {
        let life: &PodLife = &self.names()?.life;
        let probes = [ProbeKind::Liveness, ProbeKind::Startup].map(|kind| self.probe(kind)?.grace_seconds);
        let grace = life.grace_seconds.max(life.deletion_grace_seconds);
        let grace = probes.into_iter().fold(grace, Option::max)?;
        Some(u64::from(grace) * 1_000_000_000)
    }

    pub(super) fn ignored_term(&self) -> bool {
        self.told().is_some() && self.kill().is_some() && self.killed_by == Some(EndedBy::Runtime)
    }

    /// The runtime's first signal of those for which it ended.
    pub(super) fn runtimes_signal(&self) -> Option<&'a Signal> {
        let (told, kill) = (self.told(), self.kill());
        match (kill, self.killed_by) {
            (Some(kill), Some(EndedBy::Runtime)) => Some(told.unwrap_or(kill)),
            // The end of the pid namespace is part of the end of a pod.
            (Some(_), Some(EndedBy::PidNamespace | EndedBy::Kernel)) | (None, _) => told,
            (Some(_), _) => None,
        }
    }
}
