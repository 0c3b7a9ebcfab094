//! `crashtrace watch`: start order, the loop, shutdown.
//!
//! Everything that can fail at start does so in this order: signals and clocks, the address of metrics, the files of the recording and
//! the journal, the directory of pins, the plan, the self-test and the load, the recording's beginning, the threads that write. From the first line on, the agent runs
//! until a signal stops it or its output is closed.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::time::Instant;

use super::clock::{self, ClockSet, Wall};
use super::host::{Host, Unusable};
use super::kallsyms::Late;
use super::metrics::{self, Served};
use super::pinning::{self, Kept, Pinning};
use super::schedule::{CountSchedule, Heartbeat};
use super::session::{node, preamble, say_unseen, session};
use super::signals::Signals;
use super::{journal, kernel_log, loading, memory, pods, rehearsal, rights};
use crate::cli::{Allocations, Watch};
use crate::confine::Needs;
use crate::decode;
use crate::kernel::host::{KernelVersion, NO_MEMLOCK_SINCE, counts_locked_memory};
use crate::kernel::load::{Attached, KernelCounters};
use crate::kernel::pins::{Held, Pins};
use crate::kernel::plan::plan;
use crate::kernel::ring::{Ring, Taken};
use crate::messages::Messages;
use crate::pipeline::{Pipeline, Session};
use crate::sinks::recording::{self, Begun};
use crate::sinks::{RecordSink, Sinks};
use crate::symbols::Symbols;

/// The longest run of a program, where the kernel does not tell when all have ended.
const PROGRAM_RUNS: Duration = Duration::from_millis(100);

/// How long standard output and the recording may take to write the rest when the agent exits: half of what kubelet allows.
const STOP: Duration = Duration::from_secs(5);

/// How long the end of an open decision is waited for when the hooks stay on: it takes milliseconds, but for a slow console.
const DECISION: Duration = Duration::from_secs(1);

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
    let Some(hooks) = put_hooks(config, pins, &mut signals).await? else { return Ok(()) };
    let Hooks { mut host, mut attached, needs, pinning, earlier } = hooks;
    know_early(&mut host, &mut attached, recording.is_some())?;
    // Earlier incidents are not reported, or as half seen: see `Pipeline::started`.
    let begun = pinning::begin(pinning, earlier, &mut attached)?;
    let (started_ns, mut pinned) = (begun.started_ns, begun.kept);
    let (ring, counters) = attached.take_maps()?;
    let mut log = kernel_log::KernelLog::start(&mut attached);
    let mut ring = Ring::new(ring, begun.records)?;
    let mut wall = Wall::now();
    let (machine, context) = (host.machine(), host.context(wall));
    let node_root = host.node_root();
    let pods = pods::directory(&config.pods, &config.node_name);
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
    let stdout = journal::stdout(config, journal, &served)?;
    let records = recording.into_iter().map(|recording| Box::new(recording) as Box<dyn RecordSink>);
    let mut sinks = Sinks::new(stdout, records.collect());
    rehearsal::rehearse(&session, &machine, &context);
    let node = node(&host, &context, node_root, pods);
    if let Some(kept) = &mut pinned {
        kept.watching(&session.session)?;
    }
    let mut pipeline = Pipeline::new(session, machine, context, config.filter.clone(), node);
    if let Some(before) = &begun.before {
        pipeline.follows(before);
    }

    sinks.lines([pipeline.started(started_ns)]);
    let mut late = Late::start(host.take_unread())?;
    // What waits there since before this session does not wake it.
    if !late.holds() {
        drain(&mut ring, &mut pipeline, &mut sinks, &mut wall, u64::MAX);
    }
    let mut counting = CountSchedule::default();
    let mut heartbeat = Heartbeat::new(served.is_asked(), started_ns);
    loop {
        // The output is not read: records wait in the ring, and no lines are made of known incidents. The rest goes on.
        let full = sinks.is_full();
        let held = full || late.holds();
        let due = [pipeline.deadline_ns(), counting.next_ns()].into_iter().flatten().filter(|_| !full);
        let due = due.chain(heartbeat.next_ns()).min();
        let due = due.map(|at| Duration::from_nanos(at.saturating_sub(clock::boottime_ns())));
        tokio::select! {
            ready = ring.readable(), if !held => ready.context("cannot wait for the ring of records")?,
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
            changed = sinks.changed() => if let Err(error) = changed {
                return sinks.gone(error, Instant::now() + STOP).await;
            },
            read = late.news() => if let Some(symbols) = read {
                know(symbols, config, &mut host, &mut attached, &mut pipeline);
            },
            () = log.flush() => {}
            set = clock_set.changed() => set.context("cannot wait for the wall clock to be set")?,
            _ = signals.end() => break,
        }
        let any = !late.holds() && drain(&mut ring, &mut pipeline, &mut sinks, &mut wall, u64::MAX);
        let now_ns = clock::boottime_ns();
        if any {
            counting.records(now_ns);
        }
        let full = sinks.is_full();
        if !full && counting.is_due(now_ns) {
            count(&counters, &mut pipeline);
            sinks.lines(pipeline.tick(now_ns));
            sinks.lines(pipeline.losses(now_ns));
        }
        tell_lost(&mut pipeline, &mut sinks, now_ns);
        if heartbeat.is_due(now_ns) {
            // Not all of them: kinds of failures need two readings ([`CountSchedule`]'s), and cost two calls each.
            count_totals(&counters, &mut pipeline);
            pipeline.unsaid(messages.unsaid());
            pipeline.sink_failures(sinks.failures());
            if !full {
                sinks.lines(pipeline.losses(now_ns));
            }
        }
        if let Some(kept) = &mut pinned {
            kept.told(&pipeline);
        }
        served.round(&pipeline, !full, now_ns);
    }
    if let Some(kept) = pinned {
        return hand_over(kept, &counters, &mut ring, pipeline, sinks, wall, messages).await;
    }
    // The time is taken first, so that all that happened before it is in the ring or in the counters when the last program has
    // ended; later events are not reported.
    let stopped_ns = clock::boottime_ns();
    disarm(&mut attached).await;
    let until = Instant::now() + STOP;
    let untold = match drain_until(until, &mut ring, &mut pipeline, &mut sinks, &mut wall, stopped_ns).await {
        Ok(untold) => untold,
        Err(error) => return sinks.gone(error, Instant::now() + STOP).await,
    };
    count(&counters, &mut pipeline);
    pipeline.journal_lost(sinks.lost().dropped, sinks.lost().damaged);
    pipeline.unsaid(messages.unsaid());
    pipeline.sink_failures(sinks.failures());
    sinks.lines(pipeline.stopping(stopped_ns, "signal"));
    sinks.finish(until, untold).await
}

/// Hooks in place, which are not switched on yet unless an earlier session did.
struct Hooks {
    host: Host,
    attached: Attached,
    /// The rights that are needed from then on.
    needs: Needs,
    pinning: Option<Pinning>,
    /// What the session before has left with the hooks, if they are its hooks.
    earlier: Option<Held>,
}

/// Inspects the node, and puts hooks in place or takes over those that are pinned. `None` if a signal came first.
async fn put_hooks(config: &Watch, pins: Option<Pins>, signals: &mut Signals) -> Result<Option<Hooks>> {
    let host = Host::inspect_without_symbols(config.btf.as_deref());
    let plan = plan(&host.facts, &host.view, config.hooks, config.beside()).map_err(Unusable::from)?;
    for skipped in &plan.skipped {
        tracing::info!(hook = %skipped.hook, reason = skipped.reason, "not tried");
    }
    survive(host.facts.version());
    // Before the hooks are in place, because a file on a hung mount takes seconds.
    let needs = rights::needs(&config.pods, &host);
    let all_failures = config.allocations == Allocations::All;
    let pinning = pins.map(|pins| Pinning::look(pins, &host, &plan, all_failures)).transpose()?;
    let (pinning, taken_over) = pinning.map_or((None, None), Pinning::taken_over);
    let (earlier, loaded) = match taken_over {
        Some((attached, earlier)) => (Some(earlier), Some((host, attached))),
        None => (None, loading::load(host, plan, all_failures, signals).await?),
    };
    let Some((host, attached)) = loaded else { return Ok(None) };
    log_hooks(&attached);
    Ok(Some(Hooks { host, attached, needs, pinning, earlier }))
}

/// Checks whether the kernel's time is known, and starts to wait for the wall clock to be set.
fn wait_for_clocks() -> Result<ClockSet> {
    clock::check().map_err(Unusable::from)?;
    ClockSet::new().context("cannot wait for the wall clock to be set")
}

/// Logs which hooks the kernel refused, and which it accepted.
fn log_hooks(attached: &Attached) {
    for refused in &attached.refused {
        tracing::info!(
            hook = %refused.hook,
            error = refused.error,
            uses = %attached.tier.hook,
            "the kernel refused a hook"
        );
    }
    for (program, instructions) in attached.verified_instructions() {
        tracing::info!(program, instructions, "program verified");
    }
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

/// Reads the kernel's symbols before the programs are switched on, where they are needed at once.
fn know_early(host: &mut Host, attached: &mut Attached, recording: bool) -> Result<()> {
    // Where no hook sees decisions, a stack is all that tells them; and a recording begins with the symbols.
    if attached.tier.decision.is_empty() || recording {
        host.read_symbols();
    }
    if let Some(symbols) = host.symbols() {
        attached.know(symbols.addresses())?;
    }
    Ok(())
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

/// Switches the programs off, and waits until none is running.
async fn disarm(attached: &mut Attached) {
    match attached.disarm() {
        Ok(true) => {}
        // They take microseconds, except on a kernel that preempts them.
        Ok(false) => tokio::time::sleep(PROGRAM_RUNS).await,
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot switch the hooks off: the last events may be missing"
        ),
    }
}

/// Takes the ring's records from before `until_ns`, as long as the output has room, and advances the time. Returns whether there
/// were any.
fn drain(
    ring: &mut Ring,
    pipeline: &mut Pipeline,
    sinks: &mut Sinks,
    wall: &mut Wall,
    until_ns: u64,
) -> bool {
    let mut any = false;
    // While the output is full the step is left for later: then all that is stepped together is one line.
    if !sinks.is_full()
        && let Some(offset_ns) = wall.step()
    {
        let ktime_ns = clock::boottime_ns();
        sinks.clock(ktime_ns, offset_ns);
        sinks.lines([pipeline.clock(ktime_ns, offset_ns)]);
    }
    while !sinks.is_full()
        && let Some(taken) = ring.take()
    {
        let record = match taken {
            Taken::Own(record) => record,
            // Not for the recording, which has the records of one kernel side.
            Taken::Earlier(record) => {
                any = true;
                sinks.lines(pipeline.record(&record));
                if ring.is_own() {
                    pipeline.numbers_anew();
                }
                continue;
            }
        };
        if is_younger(&record, until_ns) {
            continue;
        }
        any = true;
        sinks.record(&record);
        sinks.lines(pipeline.record(&record));
    }
    if !sinks.is_full() {
        let now_ns = clock::boottime_ns();
        sinks.lines(pipeline.tick(now_ns));
        if any {
            sinks.lines(pipeline.losses(now_ns));
        }
    }
    any
}

/// Ends while the hooks stay on: what is in the ring is told, except for what the output does not take, which is the next session's,
/// and so is all that happens from here on. A decision that is open is waited for, so that its records are not torn apart.
async fn hand_over(
    mut kept: Kept,
    counters: &KernelCounters,
    ring: &mut Ring,
    mut pipeline: Pipeline,
    mut sinks: Sinks,
    mut wall: Wall,
    messages: &Messages,
) -> Result<()> {
    let until = Instant::now() + STOP;
    let decided = Instant::now() + DECISION;
    loop {
        drain(ring, &mut pipeline, &mut sinks, &mut wall, u64::MAX);
        let (end, open) = (if sinks.is_full() { until } else { decided }, pipeline.deciding_until_ns());
        if Instant::now() >= end || (!sinks.is_full() && open.is_none()) {
            break;
        }
        let due = open.map(|at| Duration::from_nanos(at.saturating_sub(clock::boottime_ns())));
        let due = due.filter(|_| !sinks.is_full()).map_or(end, |due| end.min(Instant::now() + due));
        let full = sinks.is_full();
        tokio::select! {
            ready = ring.readable(), if !full => ready.context("cannot wait for the ring of records")?,
            changed = sinks.changed() => if let Err(error) = changed {
                return sinks.gone(error, Instant::now() + STOP).await;
            },
            () = tokio::time::sleep_until(due) => {}
        }
    }
    let stopped_ns = clock::boottime_ns();
    count(counters, &mut pipeline);
    pipeline.journal_lost(sinks.lost().dropped, sinks.lost().damaged);
    pipeline.unsaid(messages.unsaid());
    pipeline.sink_failures(sinks.failures());
    sinks.lines(pipeline.stopping(stopped_ns, "signal"));
    kept.told(&pipeline);
    sinks.finish(until, 0).await?;
    kept.ended();
    Ok(())
}

fn is_younger(record: &Bytes, until_ns: u64) -> bool {
    decode::ktime_ns(record).is_ok_and(|at| at >= until_ns)
}

/// Takes all of the ring's records from before `until_ns`, and waits for room for them until a deadline. Returns how many records
/// are left then.
///
/// # Errors
/// As [`Sinks::changed`].
async fn drain_until(
    until: Instant,
    ring: &mut Ring,
    pipeline: &mut Pipeline,
    sinks: &mut Sinks,
    wall: &mut Wall,
    until_ns: u64,
) -> io::Result<u64> {
    loop {
        drain(ring, pipeline, sinks, wall, until_ns);
        if !sinks.is_full() {
            return Ok(0);
        }
        let Ok(changed) = tokio::time::timeout_at(until, sinks.changed()).await else {
            let left = std::iter::from_fn(|| ring.take()).filter(|taken| {
                let (Taken::Earlier(record) | Taken::Own(record)) = taken;
                !is_younger(record, until_ns)
            });
            return Ok(left.count() as u64);
        };
        changed?;
    }
}

/// Tells lines that were lost in the journal.
fn tell_lost(pipeline: &mut Pipeline, sinks: &mut Sinks, now_ns: u64) {
    let lost = sinks.lost();
    if pipeline.journal_lost(lost.dropped, lost.damaged) && !sinks.is_full() {
        sinks.lines(pipeline.losses(now_ns));
    }
}

/// Takes the kernel side's counts.
fn count(counters: &KernelCounters, pipeline: &mut Pipeline) {
    count_totals(counters, pipeline);
    match counters.failures() {
        Ok(failures) => pipeline.alloc_counts(&failures),
        Err(error) => tracing::warn!(%error, "cannot read the kernel side's counts of failed allocations"),
    }
}

/// Takes the counts that are not by kind.
fn count_totals(counters: &KernelCounters, pipeline: &mut Pipeline) {
    match counters.read() {
        Ok(counts) => pipeline.kernel_counts(&counts),
        Err(error) => tracing::warn!(%error, "cannot read the kernel side's counters"),
    }
}

/// Makes the kernel kill other processes first, and not count maps against the limit of locked memory (before 5.11). Both are
/// improvements only: the agent also runs without them.
fn survive(kernel: Option<KernelVersion>) {
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited)
        && counts_locked_memory(kernel)
    {
        tracing::warn!(
            %error,
            remedy = "give crashtrace CAP_SYS_RESOURCE",
            "cannot lift the limit of locked memory, which BPF maps count against before {NO_MEMLOCK_SINCE}"
        );
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-999") {
        tracing::info!(%error, "cannot lower the agent's own oom_score_adj; a system OOM may kill the agent");
    }
}
