//! Ends of containers: which make a line, and when.
//!
//! The first line goes out at once, unless what Kubernetes knows decides whether there is one: an end that the runtime caused,
//! for a reason that is not known yet, and an exit with code 0 of a container whose restart policy is not. Such an end waits
//! without a line, [`WAIT_NS`] at most; so does one whose line has gone out, if more may become known of it, and then goes out as
//! another revision if that changed anything. What was stopped on purpose is in the watch before its SIGTERM is sent
//! (`deletionTimestamp`), so a rollout waits for nothing and makes no line.
//!
//! Every end is counted once, when no more is awaited of it, whether it has a line or not.
//!
//! | what | bound |
//! |---|---|
//! | waiting ends | [`MOST`]; above that an end is decided by what is known at once |
//! | lines | [`storm`] |
//! | names that are remembered to count ends by | [`hours`] |

use std::collections::VecDeque;

use super::Pipeline;
use super::revisions::{AGAIN_NS, SOON_NS};
use crate::classify::exit::Row;
use crate::classify::{ExitFacts, Facts, Verdict, classify};
use crate::correlate::{ContainerEnd, Incident, KillId, KilledBy};
use crate::describe::{Description, describe};
use crate::enrich::{Case, OomVerdict, ask_events, enrich, name};
use crate::event::{Outcome, WaitStatus};
use crate::filter::{Ending, Exits, ending};
use crate::names::{ContainerLife, MemoryBounds, Names, PodLife};
use crate::report;
use crate::schema::{self, ContainerRole, Field, Line, NameSource, OwnerKind, VerdictField};
use crate::stats::{Counter, EndCounts, EndedHow, Term};
use hours::Hours;
use storm::Storm;

mod hours;
mod storm;

/// How long an end waits: without a line, or for another.
pub(super) const WAIT_NS: u64 = SOON_NS;
/// Ends that wait at one time.
pub(super) const MOST: usize = 256;
/// Verdicts on OOM kills that are remembered.
const VERDICTS: usize = 1024;

/// Ends, with what is remembered to tell of them.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) waiting: VecDeque<Waiting>,
    storm: Storm,
    hours: Hours,
    /// On recent OOM kills, by the incidents of their lines.
    verdicts: VecDeque<OomVerdict>,
    pub(super) counts: EndCounts,
}

/// An end by what is known now.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) case: Case,
    verdict: Verdict,
    description: Description,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) known: Known,
    /// What its latest line says.
    sent: Option<Said>,
    until_ns: u64,
    next_ns: u64,
}

/// What a line says, without what changes all the time.
#[derive(Debug, PartialEq)]
struct Said {
    verdict: Verdict,
    description: Description,
    names: Option<Names>,
}

impl Ends {
    /// When the next [`Pipeline::ends_due`] is due.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.next_ns).chain(self.storm.deadline_ns()).min()
    }

    /// Takes the verdict on an OOM kill, when its line is made.
    pub(super) fn oom(&mut self, kill: KillId, verdict: &Verdict, description: &Description) {
        self.verdicts.retain(|known| (known.ktime_ns, known.cpu) != kill);
        if self.verdicts.len() >= VERDICTS {
            self.verdicts.pop_front();
        }
        self.verdicts.push_back(oom_verdict(kill, verdict, description));
    }
}

fn oom_verdict((ktime_ns, cpu): KillId, verdict: &Verdict, description: &Description) -> OomVerdict {
    OomVerdict {
        ktime_ns,
        cpu,
        cause: verdict.cause,
        level: verdict.level,
        certainty: verdict.certainty,
        level_is_inferred: verdict.inferred == [Field::Verdict(VerdictField::Level)],
        summary: description.summary.clone(),
        remedy: description.remedy.clone(),
    }
}

impl Known {
    fn of(case: Case) -> Self {
        let verdict = classify(&case);
        let description = describe(&case, &verdict);
        Self { case, verdict, description }
    }

    fn end(&self) -> Option<&ContainerEnd> {
        end(&self.case)
    }

    fn said(&self) -> Said {
        let mut names = names(&self.case).cloned();
        if let Some(names) = &mut names {
            (names.stale_seconds, names.pod_memory, names.life) =
                (None, MemoryBounds::default(), PodLife::default());
            if let Some(container) = &mut names.container {
                container.memory = MemoryBounds::default();
                container.life =
                    ContainerLife { ended: container.life.ended.take(), ..ContainerLife::default() };
            }
        }
        Said { verdict: self.verdict.clone(), description: self.description.clone(), names }
    }

    /// More names or Events may be known in a moment.
    fn may_grow(&self) -> bool {
        let events = self.case.exit.as_ref().and_then(|exit| exit.events.as_ref());
        self.case.names.may_grow() || wants_events(&self.verdict) && events.is_some_and(|events| events.soon)
    }

    /// The status of this run is still to come: kubelet reports it after its next look at the runtime, a second or two after the
    /// end. A source that is not reachable has no news.
    fn awaits_status(&self) -> bool {
        names(&self.case).is_some_and(|names| {
            let container = names.container.as_ref();
            names.source == NameSource::Kube
                && names.stale_seconds.is_none()
                && container.is_some_and(|container| container.life.ended.is_none())
        })
    }

    /// Kubernetes ended it, and why is not known.
    fn is_unexplained(&self) -> bool {
        self.facts().is_some_and(|facts| facts.row == Row::Runtime)
    }

    fn facts(&self) -> Option<&ExitFacts> {
        match &self.verdict.facts {
            Facts::Exit(facts) => Some(facts),
            Facts::Oom(_) | Facts::Alloc(_) => None,
        }
    }
}

impl Pipeline {
    /// Takes an end; gives its line, if it has one now.
    pub(super) fn end(&mut self, mut end: Box<ContainerEnd>, now_ns: u64) -> Option<Line> {
        for killed in end.oom.iter_mut().chain(&mut end.oom_before) {
            (killed.ktime_ns, killed.cpu) = self.folds.line_of(killed.kill());
        }
        let oom = end.oom.as_ref().map(KilledBy::kill).and_then(|kill| self.oom_verdict(kill));
        let oom_before_is_whole = end.oom_before_is_whole;
        let (started_ns, ended_ns) = (end.event.task.start_boottime_ns, end.event.stamp.ktime_ns);
        let mut case = enrich(Incident::ContainerExit(end), &mut self.node);
        let may_wait = self.ends.waiting.len() < MOST;
        if let Some(counter) = no_incident(&case, may_wait) {
            self.stats.add(counter, 1);
            return None;
        }
        let ends_last_hour = self.ends.hours.add(hours::key(&case), ended_ns);
        let pod_went_on = names(&case).is_some_and(|names| {
            names.source == NameSource::Kube && names.stale_seconds.is_none() && !names.life.is_ending()
        });
        let context = case.exit.get_or_insert_default();
        context.pod_went_on = pod_went_on;
        (context.oom, context.ends_last_hour) = (oom, ends_last_hour);
        context.oom_watched = started_ns.is_some_and(|started_ns| {
            self.since_ns <= started_ns && self.lost_ns.is_none_or(|lost_ns| lost_ns < started_ns)
        }) && oom_before_is_whole;
        // In a burst, records are read before the time is.
        let now_ns = now_ns.max(ended_ns);
        let known = self.look(case, false);
        let (until_ns, next_ns) = (now_ns.saturating_add(WAIT_NS), now_ns.saturating_add(AGAIN_NS));
        self.decide(Waiting { known, sent: None, until_ns, next_ns }, now_ns)
    }

    /// Looks again at the ends that wait; gives the lines that are due.
    pub(super) fn ends_due(&mut self, now_ns: u64) -> Vec<Line> {
        let mut lines = Vec::new();
        for mut waiting in std::mem::take(&mut self.ends.waiting) {
            if waiting.next_ns > now_ns {
                self.ends.waiting.push_back(waiting);
                continue;
            }
            name(&mut waiting.known.case, self.node.pods.as_mut());
            if waiting.sent.is_none()
                && let Some(counter) = no_incident(&waiting.known.case, now_ns < waiting.until_ns)
            {
                self.stats.add(counter, 1);
                continue;
            }
            waiting.known = self.look(waiting.known.case, now_ns >= waiting.until_ns);
            waiting.next_ns = now_ns.saturating_add(AGAIN_NS);
            lines.extend(self.decide(waiting, now_ns));
        }
        for (known, repeats) in self.ends.storm.due(now_ns) {
            lines.push(self.told_end(&known, repeats));
        }
        lines
    }

    /// The verdict on an end, with the pod's Events if they decide. After its `last` look nothing more is waited for, whatever the
    /// source of Events says.
    fn look(&mut self, mut case: Case, last: bool) -> Known {
        let context = case.exit.get_or_insert_default();
        context.realtime_offset_ns = self.context.realtime_offset_ns;
        context.memory_cgroup_v1 = self.context.memory_cgroup_v1;
        let may_come = context.events.as_ref().is_none_or(|events| events.soon);
        // A sandbox has none that decide, and its name may come in a moment.
        if may_come && !may_be_sandbox(&case) && wants_events(&classify(&case)) {
            ask_events(&mut case, self.node.pods.as_mut());
            if let Some(events) = case.exit.as_mut().and_then(|exit| exit.events.as_mut()) {
                events.soon &= !last;
            }
        }
        Known::of(case)
    }

    /// Whether an end has a line now, waits, or is done with.
    fn decide(&mut self, mut it: Waiting, now_ns: u64) -> Option<Line> {
        let ending = it.known.end().map(|end| ending(&it.known.case, end, &it.known.verdict))?;
        let is_wanted = self.filter.reports(ending);
        // A status alone makes no failure of what was stopped or done, so such an end has no line that it could change.
        let concerns_status = is_wanted || it.sent.is_some() || it.known.is_unexplained();
        let may_grow = it.known.may_grow() || concerns_status && it.known.awaits_status();
        let may_wait = may_grow && now_ns < it.until_ns && self.ends.waiting.len() < MOST;
        let is_unexplained = it.known.is_unexplained() && self.filter.exits != Exits::All;
        let is_open = may_wait && (is_unexplained || may_be_sandbox(&it.known.case));
        let passes = self.filter.lets_through(&it.known.case, &it.known.verdict);
        let mut line = None;
        if it.sent.is_none() && is_wanted && passes && !is_open {
            if !self.ends.storm.lets_through(&it.known, now_ns) {
                let has_room = self.ends.storm.take(it.known.clone(), now_ns);
                self.stats.add(Counter::EndsUntold, u64::from(!has_room));
                self.count(&it.known);
                return None;
            }
            line = Some(self.told_end(&it.known, 0));
            it.sent = Some(it.known.said());
        }
        if may_wait {
            self.ends.waiting.push_back(it);
            return line;
        }
        match &it.sent {
            // A line once sent is corrected, also if the end would make none now.
            Some(sent) if *sent != it.known.said() => {
                if self.filter.is_in_namespace(&it.known.case, &it.known.verdict) {
                    line = Some(self.told_end(&it.known, 0));
                } else {
                    self.stats.add(Counter::IncidentsFiltered, 1);
                }
            }
            Some(_) => {}
            None if is_wanted => self.stats.add(Counter::IncidentsFiltered, 1),
            None => self.stats.add(not_reported(ending), 1),
        }
        self.count(&it.known);
        line
    }

    fn told_end(&mut self, known: &Known, repeats: u64) -> Line {
        let incident = report::incident(&known.case, &known.verdict, &known.description, &self.context);
        self.told_incident(schema::Incident { repeats, ..incident })
    }

    /// Counts an end for the metrics.
    fn count(&mut self, known: &Known) {
        let (Some(end), Some(facts)) = (known.end(), known.facts()) else { return };
        let status = end.event.status;
        let how = EndedHow::of(status.map(WaitStatus::exit_code), status.and_then(WaitStatus::signal));
        self.ends.counts.ended(known.verdict.cause.into(), how);
        if let Some(probe) = &facts.probe {
            self.ends.counts.probe_killed(probe.kind.into());
        }
        if facts.ignored_term {
            let ignored = end.event.asked.as_ref().is_some_and(|asked| asked.outcome == Outcome::Ignored);
            self.ends.counts.term_in_vain(if ignored { Term::Ignored } else { Term::Handled });
        }
    }

    /// The verdict on the OOM kill of this line. If that waits in a fold, it is not made yet.
    fn oom_verdict(&mut self, line: KillId) -> Option<OomVerdict> {
        let known = self.ends.verdicts.iter().rev().find(|known| (known.ktime_ns, known.cpu) == line);
        if let Some(known) = known {
            return Some(known.clone());
        }
        let kill = self.folds.waiting_as(line)?.clone();
        let Known { verdict, description, .. } =
            Known::of(enrich(Incident::OomKill(Box::new(kill)), &mut self.node));
        Some(oom_verdict(line, &verdict, &description))
    }
}

fn wants_events(verdict: &Verdict) -> bool {
    matches!(&verdict.facts, Facts::Exit(facts) if facts.wants_events)
}

fn end(case: &Case) -> Option<&ContainerEnd> {
    match &case.incident {
        Incident::ContainerExit(end) => Some(end),
        _ => None,
    }
}

fn names(case: &Case) -> Option<&Names> {
    case.exited()?.owner.names.as_deref()
}

/// Why an end is no incident at all. The runtime's own process in each pod ends with each pod. While names may still come, a name
/// of a process does not decide.
fn no_incident(case: &Case, may_wait: bool) -> Option<Counter> {
    let party = case.exited()?;
    if party.owner.kind != OwnerKind::Container {
        return Some(Counter::ExitsOfNoContainer);
    }
    let is_sandbox = match names(case).and_then(|names| names.container.as_ref()) {
        Some(container) => container.role == Some(ContainerRole::Sandbox),
        None => may_be_sandbox(case) && !(may_wait && case.names.may_grow()),
    };
    is_sandbox.then_some(Counter::ExitsOfSandboxes)
}

/// Its names are not known, and its process has the name of the runtime's own in a pod.
fn may_be_sandbox(case: &Case) -> bool {
    let is_known = names(case).is_some_and(|names| names.container.is_some());
    let comm = end(case).and_then(|end| end.event.task.comm.as_ref());
    let in_pod = case.exited().is_some_and(|party| party.placement.is_in_pod());
    !is_known && in_pod && comm.is_some_and(|comm| comm.0 == b"pause")
}

/// Where an end is counted that the filter of ends drops.
fn not_reported(ending: Ending) -> Counter {
    match ending {
        Ending::Stopped => Counter::EndsStopped,
        Ending::Well => Counter::EndsWell,
        Ending::Failed => Counter::EndsUnwanted,
    }
}
