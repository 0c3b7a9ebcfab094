//! A storm of ends: each has its own line, [`BURST`] at once and ten a second continuously, for all of the node. Above that the
//! ends of one pod are one line a second, with their number, until the rate is below that again; the lines of many pods take turns,
//! ten a second. PURE.
//!
//! A crash loop never reaches that: kubelet's pauses grow to minutes. Containers that are made anew all the time do, and a node
//! whose pods all die together.

use std::collections::VecDeque;

use super::Known;
use crate::correlate::FOLD_NS;
use crate::fold::Pace;

/// Lines about ends at any rate.
pub(in crate::pipeline) const BURST: u64 = 256;
const EVERY_NS: u64 = 100_000_000;
/// Lines that stand for several ends, at once.
const TURNS: u64 = 10;
/// Pods whose ends wait to be told; ends of further pods are only counted, as lost.
pub(in crate::pipeline) const PODS: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Storm {
    /// Of all ends.
    pace: Pace,
    /// Of the lines that stand for several.
    turns: Pace,
    /// By their pods, or containers without one, in the order of their turns.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    of: String,
    first: Box<Known>,
    repeats: u64,
    due_ns: u64,
}

impl Default for Storm {
    fn default() -> Self {
        let (pace, turns) = (Pace::new(EVERY_NS, BURST), Pace::new(EVERY_NS, TURNS));
        Self { pace, turns, waiting: VecDeque::new() }
    }
}

impl Storm {
    /// Counts an end. Gives whether it has a line of its own.
    pub(super) fn lets_through(&mut self, known: &Known, now_ns: u64) -> bool {
        let of = of(known);
        let is_over = self.pace.add(now_ns);
        !is_over && self.waiting.iter().all(|waiting| waiting.of != of)
    }

    /// Takes an end that has none; gives whether there is room for it.
    pub(super) fn take(&mut self, known: Known, now_ns: u64) -> bool {
        let of = of(&known);
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.of == of) {
            waiting.repeats = waiting.repeats.saturating_add(1);
            return true;
        }
        let has_room = self.waiting.len() < PODS;
        if has_room {
            let due_ns = now_ns.saturating_add(FOLD_NS);
            self.waiting.push_back(Waiting { of, first: Box::new(known), repeats: 0, due_ns });
        }
        has_room
    }

    /// Gives the ends whose turn it is, each with the number of those that it stands for.
    pub(super) fn due(&mut self, now_ns: u64) -> Vec<(Known, u64)> {
        let mut due = Vec::new();
        while !self.turns.is_over(now_ns)
            && let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.due_ns <= now_ns)
        {
            self.turns.add(now_ns);
            due.push((*waiting.first, waiting.repeats));
        }
        due
    }

    /// When the next [`Self::due`] is due.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.waiting.front().map(|waiting| waiting.due_ns.max(self.turns.free_ns()))
    }
}

fn of(known: &Known) -> String {
    let owner = known.case.exited().map(|party| &party.owner);
    owner.and_then(|owner| owner.pod_uid.clone().or_else(|| owner.container_id.clone())).unwrap_or_default()
}
