//! Hooks in place: the node is inspected, the plan is made, and programs are loaded, or those that an earlier session has pinned are
//! taken over.

use anyhow::Result;

use super::host::{Host, Unusable};
use super::pinning::Pinning;
use super::signals::Signals;
use super::{loading, rights};
use crate::cli::{Allocations, Watch};
use crate::confine::Needs;
use crate::kernel::host::{KernelVersion, NO_MEMLOCK_SINCE, counts_locked_memory};
use crate::kernel::load::Attached;
use crate::kernel::pins::{Held, Pins};
use crate::kernel::plan::plan;

/// Hooks in place, which are not switched on yet unless an earlier session did.
pub(super) struct Hooks {
    pub(super) host: Host,
    pub(super) attached: Attached,
    /// The rights that are needed from then on.
    pub(super) needs: Needs,
    pub(super) pinning: Option<Pinning>,
    /// What the session before has left with the hooks, if they are its hooks.
    pub(super) earlier: Option<Held>,
}

impl Hooks {
    /// Inspects the node, and puts hooks in place or takes over those that are pinned. `None` if a signal came first.
    pub(super) async fn put(
        config: &Watch,
        pins: Option<Pins>,
        signals: &mut Signals,
    ) -> Result<Option<Self>> {
        let host = Host::inspect_without_symbols(config.btf.as_deref());
        let plan = plan(&host.facts, &host.view, config.hooks, config.beside()).map_err(Unusable::from)?;
        for skipped in &plan.skipped {
            tracing::info!(hook = %skipped.hook, reason = skipped.reason, "not tried");
        }
        survive(host.facts.version());
        // Before the hooks are in place, because a file on a hung mount takes seconds.
        let needs = rights::needs(&config.pods, &host);
        let all_failures = config.allocations == Allocations::All;
        let mut pinning = pins.map(|pins| Pinning::look(pins, &host, &plan, all_failures)).transpose()?;
        let (earlier, loaded) = match pinning.as_mut().and_then(Pinning::take_over) {
            Some((attached, earlier)) => (Some(earlier), Some((host, attached))),
            None => (None, loading::load(host, plan, all_failures, signals).await?),
        };
        let Some((host, attached)) = loaded else { return Ok(None) };
        log_hooks(&attached);
        Ok(Some(Self { host, attached, needs, pinning, earlier }))
    }

    /// Reads the kernel's symbols before the programs are switched on, where they are needed at once.
    pub(super) fn know_early(&mut self, recording: bool) -> Result<()> {
        // Where no hook sees decisions, a stack is all that tells them; and a recording begins with the symbols.
        if self.attached.tier.decision.is_empty() || recording {
            self.host.read_symbols();
        }
        if let Some(symbols) = self.host.symbols() {
            self.attached.know(symbols.addresses())?;
        }
        Ok(())
    }
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
