//! A case, its verdict and its description as a line of the public schema ([`crate::schema`]), and that line as bytes. Pure:
//! the clocks, the page size and the names of flags are passed in.
//!
//! Nothing is decided here: the findings of the earlier stages are only put into the schema's words. One thing is added: the
//! order of the victims, the largest first. Each kind of incident has its file.

use crate::classify::Verdict;
use crate::correlate::Incident;
use crate::describe::Description;
use crate::enrich::Case;
use crate::schema;

mod account;
mod alloc;
mod context;
mod exit;
mod fit;
mod memory;
mod oom;
mod parts;

pub use context::Context;
pub use fit::to_json_line;

/// The verdict on an incident, and its description.
#[derive(Clone, Copy, Debug)]
struct Told<'a> {
    verdict: &'a Verdict,
    description: &'a Description,
}

/// The report on a case. Its envelope is empty: the sender fills that in.
#[must_use]
pub fn incident(
    case: &Case,
    verdict: &Verdict,
    description: &Description,
    context: &Context,
) -> schema::Incident {
    let told = Told { verdict, description };
    match &case.incident {
        Incident::OomKill(kill) => oom::kill(case, kill, told, context),
        Incident::OomNoKill(no_kill) => oom::no_kill(case, no_kill, told, context),
        Incident::AllocFailure(failures) => alloc::failure(case, failures, told, context),
        Incident::ContainerExit(end) => exit::end(case, end, told, context),
    }
}
