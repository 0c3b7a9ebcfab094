//! The stages in a row, from the bytes of a record to the lines of the stream. The same for records from the ring and from a
//! recording; time is an argument, and no file is written here.

use std::collections::BTreeMap;

use bytes::Bytes;
use crashtrace_ebpf::FailureKey;
use crashtrace_ebpf::counter::Counts;

use crate::classify::classify;
use crate::correlate::{Correlator, Incident};
use crate::decode::{self, Machine};
use crate::describe::describe;
use crate::enrich::{Case, enrich};
use crate::event::{Counted, Event};
use crate::filter::Filter;
use crate::fold::KillFolds;
use crate::kernel::plan;
use crate::messages::Unsaid;
use crate::names::NamesStatus;
use crate::node::Node;
use crate::observe::observe;
use crate::report::{self, Context};
use crate::schema::{
    self, AgentStarted, AgentStartedKind, AgentStopping, AgentStoppingKind, BlindSpot, BtfInUse,
    ClockChanged, ClockChangedKind, Envelope, Line, Loss, LossKind, NameSource, PinnedHooks, SCHEMA, Text,
};
use crate::stats::{Counter, EndCounts, Stats};
use crate::symbols::Symbols;
pub use counts::Before;
use ends::Ends;
use revisions::Revisions;

mod counts;
mod ends;
mod revisions;

/// Streams of CPUs that a machine can have (the kernel's largest `NR_CPUS` is 8192). A recording can claim more.
const STREAMS: usize = 3 * 8192;

/// Identity of this session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Name of the node.
    pub node: String,
    /// Id of this run.
    pub session: String,
    /// Release of the kernel.
    pub kernel: String,
    /// The hooks in use.
    pub hooks: Vec<String>,
    /// The BTF by which the kernel's structures are read.
    pub btf: Option<BtfInUse>,
    /// The sources of pods' names.
    pub names_from: Vec<NameSource>,
    /// Blind spots of these hooks.
    pub blind: Vec<BlindSpot>,
    /// The records come from a recording.
    pub replay: bool,
    /// What became of pinned hooks, where some are wanted.
    pub pin: Option<PinnedHooks>,
}

/// The stages, with their state.
#[derive(Debug)]
pub struct Pipeline {
    session: Session,
    machine: Machine,
    context: Context,
    filter: Filter,
    node: Node,
    correlator: Correlator,
    folds: KillFolds,
    revisions: Revisions,
    ends: Ends,
    /// When the session began.
    since_ns: u64,
    /// Before that, if hooks recorded for this session then.
    accepts_ns: Option<u64>,
    /// Counters of hooks before those in use.
    carried: Counts,
    /// The kernel side's counters as read last, with these, and as the latest line told them.
    counted: Counts,
    kernel_told: Counts,
    /// The latest time that was passed in.
    now_ns: u64,
    stats: Stats,
    /// The number that the next record of each CPU and stream must have.
    next: BTreeMap<(u32, u8), u64>,
    /// The first record of a stream need not be number 0.
    adopts: bool,
    /// Records missing between those seen.
    gaps: u64,
    /// When it was last noticed that records were lost.
    lost_ns: Option<u64>,
    /// Losses that the latest line has reported.
    told: Stats,
    seq: u64,
}

impl Pipeline {
    /// Stages for the records of one session of one machine.
    #[must_use]
    pub fn new(session: Session, machine: Machine, context: Context, filter: Filter, node: Node) -> Self {
        let decisions_hooked = plan::sees_decisions(&session.hooks);
        let Machine { page_size_bytes, symbols } = machine;
        let mut pipeline = Self {
            session,
            machine: Machine { page_size_bytes, symbols: None },
            context,
            filter,
            correlator: Correlator::new(decisions_hooked, node.root),
            node,
            folds: KillFolds::default(),
            since_ns: 0,
            accepts_ns: None,
            carried: Counts::default(),
            counted: Counts::default(),
            kernel_told: Counts::default(),
            revisions: Revisions::default(),
            ends: Ends::default(),
            now_ns: 0,
            stats: Stats::default(),
            next: BTreeMap::new(),
            adopts: false,
            gaps: 0,
            lost_ns: None,
            told: Stats::default(),
            seq: 0,
        };
        pipeline.symbols(symbols);
        pipeline
    }

    /// The first line. The hooks were switched on just before `ktime_ns`: records from in between are skipped, and incidents
    /// that they began are incomplete.
    pub fn started(&mut self, ktime_ns: u64) -> Line {
        self.since_ns = ktime_ns;
        let line = AgentStarted {
            envelope: Envelope::default(),
            redelivered: false,
            kind: AgentStartedKind::AgentStarted,
            time: self.context.time(ktime_ns),
            ktime_ns,
            kernel: Text::from(self.session.kernel.as_str()),
            hooks: self.session.hooks.clone(),
            btf: self.session.btf.clone(),
            names_from: self.session.names_from.clone(),
            blind: self.session.blind.clone(),
            replay: self.session.replay,
            pin: self.session.pin.clone(),
        };
        self.line(Line::AgentStarted(Box::new(line)))
    }

    /// What the first line says is not seen.
    #[must_use]
    pub fn blind(&self) -> &[BlindSpot] {
        &self.session.blind
    }

    /// Takes the kernel's symbols. They may be read after the first record has come; but where no hook sees decisions, they have to be
    /// there from the beginning: the stack is all that tells one then.
    pub fn symbols(&mut self, symbols: Option<Symbols>) {
        self.correlator
            .kills_show(symbols.as_ref().is_some_and(|symbols| symbols.covers("oom_kill_process")));
        self.machine.symbols = symbols;
    }

    /// Takes the new value of `CLOCK_REALTIME` less `CLOCK_BOOTTIME`, at this time of the latter: all lines from here on use
    /// it. Gives the line that reports it.
    pub fn clock(&mut self, ktime_ns: u64, realtime_offset_ns: i64) -> Line {
        let time_before = self.context.time(ktime_ns);
        let old_ns = std::mem::replace(&mut self.context.realtime_offset_ns, realtime_offset_ns);
        let changed = ClockChanged {
            envelope: Envelope::default(),
            redelivered: false,
            kind: ClockChangedKind::ClockChanged,
            time: self.context.time(ktime_ns),
            time_before,
            ktime_ns,
            step_ns: realtime_offset_ns.saturating_sub(old_ns),
        };
        self.line(Line::ClockChanged(Box::new(changed)))
    }

    /// Takes a record; gives the lines that it completes.
    pub fn record(&mut self, record: &Bytes) -> Vec<Line> {
        let at_ns = decode::ktime_ns(record).unwrap_or_default();
        if let Ok((cpu, stream, seq)) = decode::position(record)
            && (self.next.len() < STREAMS || self.next.contains_key(&(cpu, stream)))
        {
            let first = if self.adopts { seq } else { 0 };
            let next = self.next.entry((cpu, stream)).or_insert(first);
            let mut lost = false;
            if seq > *next {
                self.gaps = self.gaps.saturating_add(seq - *next);
                lost = true;
            }
            *next = seq.saturating_add(1).max(*next);
            if lost {
                self.gap(at_ns);
            }
            self.stats.set(Counter::RecordsLost, self.stats.get(Counter::RecordsLost).max(self.gaps));
        }
        match decode::decode(record, &self.machine) {
            Ok(event) => self.event(event),
            Err(error) => {
                tracing::warn!(%error, "a record could not be read and is counted as lost");
                self.stats.add(error.counter(), 1);
                self.gap(at_ns);
                Vec::new()
            }
        }
    }

    /// Takes what a record says; gives the lines that it completes.
    pub fn event(&mut self, mut event: Event) -> Vec<Line> {
        let ktime_ns = event.stamp().ktime_ns;
        if ktime_ns < self.accepts_ns.unwrap_or(self.since_ns) {
            return Vec::new();
        }
        tracing::trace!(?event, "decoded");
        observe(&mut event, self.node.proc.as_mut());
        let incidents = self.correlator.push(event, &mut self.stats);
        self.fold(incidents, ktime_ns)
    }

    /// Notes that bytes of the source are no record.
    pub fn malformed(&mut self) {
        self.gap(self.now_ns);
        self.stats.add(Counter::RecordsMalformed, 1);
    }

    /// Notes that records were lost before this time.
    fn gap(&mut self, at_ns: u64) {
        self.correlator.gap();
        self.lost_ns = self.lost_ns.max(Some(at_ns.max(self.now_ns)));
    }

    /// Takes the numbers of messages about the agent that were dropped or suppressed so far.
    pub fn unsaid(&mut self, unsaid: Unsaid) {
        self.stats.set(Counter::MessagesDropped, unsaid.dropped);
        self.stats.set(Counter::MessagesKeptBack, unsaid.kept_back);
    }

    /// Takes how often a sink other than standard output has failed so far.
    pub fn sink_failures(&mut self, total: u64) {
        self.stats.set(Counter::SinkFailures, total);
    }

    /// Takes how many lines were lost in the journal so far. Returns whether there are more.
    pub fn journal_lost(&mut self, dropped: u64, damaged: u64) -> bool {
        let counts = [(Counter::JournalDropped, dropped), (Counter::JournalDamaged, damaged)];
        counts.into_iter().fold(false, |more, (counter, total)| {
            let rises = total > self.stats.get(counter);
            self.stats.set(counter, total);
            more | rises
        })
    }

    /// When a decision of the kernel is seen to be open: the time until which its next record is waited for.
    #[must_use]
    pub fn deciding_until_ns(&self) -> Option<u64> {
        self.correlator.deciding_until_ns()
    }

    /// Takes its counts of failed allocations, by kind. [`Self::tick`] gives the resulting lines.
    pub fn alloc_counts(&mut self, counts: &[(FailureKey, Counted)]) {
        let untold = self.correlator.alloc_counts(counts);
        self.alloc_untold(untold);
    }

    /// Failures that were lost for a while and reported later stay counted: a counter does not go back.
    fn alloc_untold(&mut self, untold: u64) {
        self.stats.set(Counter::AllocUntold, self.stats.get(Counter::AllocUntold).max(untold));
    }

    /// Advances the time; gives the lines that are due.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Line> {
        self.now_ns = now_ns;
        let incidents = self.correlator.tick(now_ns);
        let mut lines = self.fold(incidents, now_ns);
        lines.extend(self.revised(now_ns));
        lines.extend(self.ends_due(now_ns));
        lines
    }

    /// Lines whose pods have become known.
    fn revised(&mut self, now_ns: u64) -> Vec<Line> {
        let (pods, cgroups) = (self.node.pods.as_mut(), self.node.cgroups.as_mut());
        let cases = self.revisions.due(now_ns, pods, cgroups);
        cases.iter().filter_map(|case| self.line_of(case)).collect()
    }

    /// When the next [`Self::tick`] is due.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let deadlines = [
            self.correlator.deadline_ns(),
            self.folds.deadline_ns(),
            self.revisions.deadline_ns(),
            self.ends.deadline_ns(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The counters so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The ends of containers so far, reported or not.
    #[must_use]
    pub fn ends(&self) -> &EndCounts {
        &self.ends.counts
    }

    /// The sources of pods' names, with their states.
    #[must_use]
    pub fn names(&self) -> Vec<NamesStatus> {
        self.node.pods.status()
    }

    /// A line with the losses that no line has reported yet, if there are any. To be called after a batch of records.
    pub fn losses(&mut self, now_ns: u64) -> Option<Line> {
        let counters = self.stats.losses_since(&self.told);
        if counters.is_empty() {
            return None;
        }
        let loss = Loss {
            envelope: Envelope::default(),
            redelivered: false,
            kind: LossKind::Loss,
            time: self.context.time(now_ns),
            counters,
        };
        Some(self.line(Line::Loss(Box::new(loss))))
    }

    /// The last lines: open incidents, and the end.
    pub fn stopping(&mut self, ktime_ns: u64, reason: &str) -> Vec<Line> {
        self.alloc_untold(self.correlator.alloc_untold());
        let incidents = self.correlator.finish();
        let mut lines = self.fold(incidents, ktime_ns);
        let folded = self.folds.finish();
        lines.extend(self.lines(folded, ktime_ns));
        lines.extend(self.revised(u64::MAX));
        lines.extend(self.ends_due(u64::MAX));
        let stopping = AgentStopping {
            envelope: Envelope::default(),
            redelivered: false,
            kind: AgentStoppingKind::AgentStopping,
            time: self.context.time(ktime_ns),
            ktime_ns,
            reason: reason.to_owned(),
            counters: self.stats.by_name(),
        };
        lines.push(self.line(Line::AgentStopping(Box::new(stopping))));
        lines
    }

    /// Advances the time for folds, and takes more incidents; gives the lines that are due.
    fn fold(&mut self, incidents: Vec<Incident>, now_ns: u64) -> Vec<Line> {
        let due = self.folds.tick(now_ns);
        let mut lines = self.lines(due, now_ns);
        for incident in incidents {
            let due = self.folds.push(incident, self.node.root, now_ns);
            lines.extend(self.lines(due, now_ns));
        }
        lines
    }

    fn lines(&mut self, incidents: Vec<Incident>, now_ns: u64) -> Vec<Line> {
        let mut lines = Vec::new();
        for incident in incidents {
            if let Incident::ContainerExit(end) = incident {
                lines.extend(self.end(end, now_ns));
                continue;
            }
            let case = enrich(incident, &mut self.node);
            lines.extend(self.report(&case));
        }
        lines
    }

    /// The line of a case; if names may still come, the case waits for them.
    fn report(&mut self, case: &Case) -> Option<Line> {
        let line = self.line_of(case)?;
        if let Line::Incident(incident) = &line {
            // In a burst, records are read before the time is.
            let now_ns = self.now_ns.max(incident.ktime_ns);
            self.revisions.wait(&incident.id, incident.revision, case, now_ns);
        }
        Some(line)
    }

    fn line_of(&mut self, case: &Case) -> Option<Line> {
        let verdict = classify(case);
        let description = describe(case, &verdict);
        if let Incident::OomKill(kill) = &case.incident {
            self.ends.oom(kill.id(), &verdict, &description);
        }
        tracing::debug!(cause = ?verdict.cause, level = ?verdict.level, "an incident");
        if !self.filter.lets_through(case, &verdict) {
            self.stats.add(Counter::IncidentsFiltered, 1);
            return None;
        }
        Some(self.told_incident(report::incident(case, &verdict, &description, &self.context)))
    }

    /// The line of a report.
    fn told_incident(&mut self, mut incident: schema::Incident) -> Line {
        self.stats.add(Counter::IncidentsReported, 1);
        incident.redelivered = self.session.replay;
        incident.revision = self.revisions.number(&incident.id, incident.revision);
        self.line(Line::Incident(Box::new(incident)))
    }

    /// Numbers a line and adds the session.
    fn line(&mut self, mut line: Line) -> Line {
        self.seq = self.seq.saturating_add(1);
        self.told = self.stats.clone();
        self.kernel_told = self.counted;
        *line.envelope_mut() = Envelope {
            schema: SCHEMA.to_owned(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            node: Text::from(self.session.node.as_str()),
            boot_id: self.context.boot_id.clone(),
            session: self.session.session.clone(),
            seq: self.seq,
            lost: self.stats.lost(),
        };
        line
    }
}

#[cfg(test)]
mod tests;
