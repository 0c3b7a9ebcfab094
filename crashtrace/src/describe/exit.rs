//! Ends of containers' first processes.

use super::Description;
use crate::classify::{ExitFacts, Verdict};
use crate::correlate::ContainerEnd;
use crate::enrich::Case;
use crate::phrase;

pub(super) fn end(_case: &Case, end: &ContainerEnd, _verdict: &Verdict, _facts: &ExitFacts) -> Description {
    Description { summary: format!("{} ended", phrase::process(&end.event.task)), ..Description::default() }
}
