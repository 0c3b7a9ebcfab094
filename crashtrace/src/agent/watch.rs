//! `crashtrace watch`: start order, the loop, shutdown.
//!
//! Everything that can fail at start does so in this order: signals and clocks, the address of metrics, the files of the recording and
//! the journal, the directory of pins, the plan, the self-test and the load, the recording's beginning, the threads that write. From the first line on, the agent runs
//! until a signal stops it or its output is closed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::clock::{self, ClockSet, Wall};
use super::flow::{Flow, STOP};
use super::hooks::Hooks;
use super::host::{Host, Unusable};
use super::kallsyms::Late;
use super::metrics::{self, Served};
use super::pinning::Kept;
use super::schedule::{CountSchedule, Heartbeat};
use super::session::{node, preamble, say_unseen, session};
use super::signals::Signals;
use super::{journal, kernel_log, memory, pinning, pods, rehearsal, rights};
use crate::cli::Watch;
use crate::kernel::load::Attached;
use crate::kernel::ring::Ring;
use crate::kube_reports::Reports;
use crate::messages::Messages;
use crate::pipeline::{Pipeline, Session};
use crate::sinks::recording::{self, Begun};
use crate::sinks::{RecordSink, Sinks};
use crate::symbols::Symbols;

/// How long the last writes to the API server may take, when the stream has ended.
const LAST_REPORTS: Duration = Duration::from_secs(2);

/// Watches this node until a signal comes or the reader closes standard output.
///
/// # Errors
/// The node cannot be watched ([`Unusable`] where the reason is on the node), or the output or the recording cannot be written.
pub fn watch(config: &Watch, messages: &Messages) -> Result<()> {
    memory::in_small_pages();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let end = runtime.block_on(watch_here(config, messages));
    // A name server that does not answer blocks the look-up of a name for half a minute, and to drop the runtime waits for it.
    runtime.shutdown_background();
    end
}

async fn watch_here(config: &Watch, messages: &Messages) -> Result<()> {
    // Signals first: one that comes while programs are being loaded must still end the agent.
    let mut signals = Signals::take()?;
    let mut clock_set = wait_for_clocks()?;
    // Before the kernel is touched: of all that can fail here, this fails fastest.
    let listener = metrics::bind(config.metrics).await?;
    let recording = config.record.as_deref().map(recording::open).transpose()?;
    let journal = journal::open(config)?;
    let pins = pinning::open(config.pin.as_deref())?;
    let Some(mut hooks) = Hooks::put(config, pins, &mut signals).await? else { return Ok(()) };
    hooks.know_early(recording.is_some())?;
    let Hooks { mut host, mut attached, needs, pinning, earlier } = hooks;
    // Earlier incidents are not reported, or as half seen: see `Pipeline::started`.
    let begun = pinning::begin(pinning, earlier, &mut attached)?;
    let (started_ns, mut pinned) = (begun.started_ns, begun.kept);
    let (ring, counters) = attached.take_maps()?;
    let mut log = kernel_log::KernelLog::start(&mut attached);
    let ring = Ring::new(ring, begun.records)?;
    let wall = Wall::now();
    let (machine, context) = (host.machine(), host.context(wall));
    let node_root = host.node_root();
    let (pods, kube) = pods::directory(&config.pods, &config.node_name);
    let (session, unseen) = session(config, &host, &attached, started_ns);
    let session = Session { names_from: pods.sources(), pin: begun.said, ..session };
    // Records of hooks that were replaced are not recorded.
    let since_ns = begun.before.as_ref().filter(|before| before.adopts && ring.is_own());
    let since_ns = since_ns.map(|before| before.accepts_ns);
    let preamble = || {
        let memory_bytes = host.facts.memory_bytes;
        preamble(&session, &machine, &context, memory_bytes, node_root, started_ns, since_ns)
    };
    let begun_recording = recording.map(|opened| opened.begin(preamble())).transpose()?;
    memory::stay();
    // All that needs rights is done. Only a thread that hangs in a file ([`crate::files`]) may still exist and keep them.
    let kept = rights::give_up(config, &needs, &counters);
    sum_up(unseen, attached.refused.len(), kept);
    messages.on_a_thread().context("cannot begin the thread that writes messages")?;
    let recording = begun_recording.map(Begun::start).transpose()?;
    let served = Served::start(listener, &attached, &session, &context.gfp);
    let reports = pods::reports(&config.pods, &config.node_name, kube, &session.session);
    let stdout = journal::stdout(config, journal, &served, reports.clone())?;
    let records = recording.into_iter().map(|recording| Box::new(recording) as Box<dyn RecordSink>);
    let sinks = Sinks::new(stdout, records.collect());
    rehearsal::rehearse(&session, &machine, &context);
    let node = node(&host, &context, node_root, pods);
    if let Some(kept) = &mut pinned {
        kept.watching(&session.session)?;
    }
    let mut pipeline = Pipeline::new(session, machine, context, config.filter.clone(), node);
    if let Some(before) = &begun.before {
        pipeline.follows(before);
    }

    let mut flow = Flow { ring, counters, pipeline, sinks, wall };
    flow.sinks.lines([flow.pipeline.started(started_ns)]);
    let mut late = Late::start(host.take_unread())?;
    // What waits there since before this session does not wake it.
    if !late.holds() {
        flow.drain(u64::MAX);
    }
    let mut counting = CountSchedule::default();
    let mut heartbeat = Heartbeat::new(served.is_asked(), started_ns);
    loop {
        // The output is not read: records wait in the ring, and no lines are made of known incidents. The rest goes on.
        let full = flow.sinks.is_full();
        let held = full || late.holds();
        let due = [flow.pipeline.deadline_ns(), counting.next_ns()].into_iter().flatten().filter(|_| !full);
        let due = due.chain(heartbeat.next_ns()).min();
        let due = due.map(|at| Duration::from_nanos(at.saturating_sub(clock::boottime_ns())));
        tokio::select! {
            ready = flow.ring.readable(), if !held => ready.context("cannot wait for the ring of records")?,
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
            changed = flow.sinks.changed() => if let Err(error) = changed {
                return flow.sinks.gone(error, Instant::now() + STOP).await;
            },
            read = late.news() => if let Some(symbols) = read {
                know(symbols, config, &mut host, &mut attached, &mut flow.pipeline);
            },
            () = log.flush() => {}
            set = clock_set.changed() => set.context("cannot wait for the wall clock to be set")?,
            _ = signals.end() => break,
        }
        let any = !late.holds() && flow.drain(u64::MAX);
        let now_ns = clock::boottime_ns();
        if any {
            counting.records(now_ns);
        }
        let full = flow.sinks.is_full();
        if !full && counting.is_due(now_ns) {
            flow.count();
            flow.sinks.lines(flow.pipeline.tick(now_ns));
            flow.sinks.lines(flow.pipeline.losses(now_ns));
        }
        flow.tell_lost(now_ns);
        if heartbeat.is_due(now_ns) {
            flow.beat(messages, now_ns);
        }
        if let Some(kept) = &mut pinned {
            kept.told(&flow.pipeline);
        }
        served.round(&flow.pipeline, reports.as_ref(), !full, now_ns);
    }
    end(flow, pinned, &mut attached, reports, messages).await
}

/// Ends the stream, and then what is written to the API server.
async fn end(
    flow: Flow,
    pinned: Option<Kept>,
    attached: &mut Attached,
    reports: Option<Reports>,
    messages: &Messages,
) -> Result<()> {
    let stopped = match pinned {
        Some(kept) => flow.hand_over(kept, messages).await,
        None => flow.stop(attached, messages).await,
    };
    if let Some(reports) = reports {
        reports.finish(LAST_REPORTS).await;
    }
    stopped
}

/// Checks whether the kernel's time is known, and starts to wait for the wall clock to be set.
fn wait_for_clocks() -> Result<ClockSet> {
    clock::check().map_err(Unusable::from)?;
    ClockSet::new().context("cannot wait for the wall clock to be set")
}

/// One warning for all that does not work as it could, whose parts are logged as information: a log's reader sees that there is
/// something, and `doctor` explains it.
fn sum_up(unseen: usize, refused: usize, kept: usize) {
    if unseen + refused + kept > 0 {
        tracing::warn!(
            unseen,
            refused_hooks = refused,
            kept_rights = kept,
            "the agent watches, but not all is as it could be here: `crashtrace doctor` says what, why and what to do"
        );
    }
}

/// Hands on the kernel's symbols, which were read while the hooks are in place.
fn know(symbols: Symbols, config: &Watch, host: &mut Host, attached: &mut Attached, pipeline: &mut Pipeline) {
    if let Err(error) = attached.know(symbols.addresses()) {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "the kernel's own figures of its memory are read from its files, and later");
    }
    host.know(symbols);
    pipeline.symbols(host.machine().symbols);
    say_unseen(config, host, attached, pipeline.blind());
}
