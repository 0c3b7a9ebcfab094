//! Puts one tier in place, or finds that the kernel refuses it.

use aya::programs::fentry::FEntryLinkId;
use aya::programs::fexit::FExitLinkId;
use aya::programs::kprobe::KProbeLinkId;
use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::programs::{FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint};
use aya::{Btf, Ebpf};

use super::error::{LoadError, Refused, Scarce, explain, interrupted};
use super::patience::{PATIENCE, patiently};
use super::{Kernel, with_functions};
use crate::event::Hook;
use crate::kernel::plan::{Attach, AttachKind, Plan, Tier};

/// A tier in place, and which of its optional hooks are.
pub(super) struct Placed {
    pub(super) ebpf: Ebpf,
    pub(super) memcg: bool,
    pub(super) wait: bool,
    pub(super) alloc: Option<Attach>,
    pub(super) exits: Vec<Attach>,
    pub(super) links: Vec<(Attach, LinkId)>,
}

/// A program's link to its hook.
#[derive(Debug)]
pub(super) enum LinkId {
    Fentry(FEntryLinkId),
    Fexit(FExitLinkId),
    Kprobe(KProbeLinkId),
    RawTracepoint(RawTracePointLinkId),
}

/// Loads all programs of `ebpf` that the tier needs, and then attaches them: no program runs while the verifier is at work.
pub(super) fn place(
    tier: &Tier,
    plan: &Plan,
    kernel: &Kernel<'_>,
    ebpf: Ebpf,
    refused: &mut Vec<Refused>,
) -> Result<Option<Placed>, LoadError> {
    let btf = (tier.hook == Hook::Fentry).then(|| with_functions(kernel.functions));
    let locked_bytes = kernel.locked_memory_bytes;
    let mut placing = Placing { ebpf, btf, tier: tier.hook, locked_bytes, links: Vec::new(), refused };
    // Returns before entries: of probes in one place the kernel runs the latest first, and `memcg_oom_kprobe` depends on that.
    let decision: Vec<_> = tier.decision.iter().rev().chain([&tier.victims]).collect();
    let memcg: Vec<_> = tier.memcg.iter().rev().collect();
    let wait: Vec<_> = tier.wait.iter().collect();
    if !placing.load(&decision)? {
        return Ok(None);
    }
    let memcg = Some(memcg).filter(|memcg| !memcg.is_empty());
    let memcg = placing.loaded(memcg)?;
    let wait = placing.loaded(Some(wait).filter(|wait| !wait.is_empty()))?;
    // No trampoline is loaded after these, and it takes some MB.
    placing.btf = None;
    let mut candidates = plan.alloc.iter();
    let mut in_place = placing.first_loaded(&mut candidates)?;
    let mut exits = Vec::new();
    for exit in &plan.exits {
        // Without the ends the signals before them are of no use.
        if !placing.load(&[exit])? {
            break;
        }
        exits.push(exit);
    }

    if !placing.attach(&decision)? {
        return Ok(None);
    }
    let memcg = memcg.map(|memcg| placing.attach(&memcg)).transpose()?.unwrap_or(false);
    let wait = wait.map(|wait| placing.attach(&wait)).transpose()?.unwrap_or(false);
    while let Some(attach) = in_place
        && !placing.attach(&[attach])?
    {
        in_place = placing.first_loaded(&mut candidates)?;
    }
    let mut exits_in_place = Vec::new();
    for exit in exits {
        if !placing.attach(&[exit])? {
            break;
        }
        // Two programs may be on one hook.
        if exits_in_place.iter().all(|known: &Attach| known.target != exit.target) {
            exits_in_place.push(*exit);
        }
    }
    let alloc = in_place.copied();
    let Placing { ebpf, links, .. } = placing;
    Ok(Some(Placed { ebpf, memcg, wait, alloc, exits: exits_in_place, links }))
}

/// A tier that is being put in place.
struct Placing<'a> {
    ebpf: Ebpf,
    btf: Option<Btf>,
    tier: Hook,
    locked_bytes: Option<u64>,
    links: Vec<(Attach, LinkId)>,
    refused: &'a mut Vec<Refused>,
}

impl Placing<'_> {
    /// Loads these programs; false if the kernel refuses one.
    fn load(&mut self, attaches: &[&Attach]) -> Result<bool, LoadError> {
        for attach in attaches {
            let result = patiently(|| load_one(&mut self.ebpf, attach, self.btf.as_ref()));
            if !self.taken(attach, result, self.locked_bytes)? {
                self.unload(attaches);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same for optional programs.
    fn loaded<'b>(
        &mut self,
        attaches: Option<Vec<&'b Attach>>,
    ) -> Result<Option<Vec<&'b Attach>>, LoadError> {
        let Some(attaches) = attaches else { return Ok(None) };
        Ok(self.load(&attaches)?.then_some(attaches))
    }

    /// Loads the first of these that the kernel accepts.
    fn first_loaded<'b>(
        &mut self,
        candidates: &mut impl Iterator<Item = &'b Attach>,
    ) -> Result<Option<&'b Attach>, LoadError> {
        for attach in candidates {
            if self.load(&[attach])? {
                return Ok(Some(attach));
            }
        }
        Ok(None)
    }

    /// Attaches these programs, all or none.
    fn attach(&mut self, attaches: &[&Attach]) -> Result<bool, LoadError> {
        for attach in attaches {
            let linked = patiently(|| attach_one(&mut self.ebpf, attach));
            let result = linked.map(|link| self.links.push((**attach, link)));
            if !self.taken(attach, result, None)? {
                self.unload(attaches);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a step succeeded. If not, notes the refusal; fails if no other step would succeed.
    fn taken(
        &mut self,
        attach: &Attach,
        result: Result<(), ProgramError>,
        locked_bytes: Option<u64>,
    ) -> Result<bool, LoadError> {
        let Err(error) = result else { return Ok(true) };
        if let Some(hopeless) = hopeless(&attach.to_string(), &error, locked_bytes) {
            return Err(hopeless);
        }
        self.refused.push(Refused { tier: self.tier, hook: *attach, error: explain(&error) });
        Ok(false)
    }

    /// Removes these programs from the kernel again, if they are loaded.
    fn unload(&mut self, attaches: &[&Attach]) {
        for attach in attaches {
            self.links.retain(|(linked, _)| linked.program != attach.program);
            if let Some(program) = self.ebpf.program_mut(attach.program)
                && let Err(error) = unload_one(program)
            {
                tracing::debug!(%error, hook = %attach, "was not loaded");
            }
        }
    }
}

/// An error that is not about the program.
pub(crate) fn hopeless(
    what: &str,
    error: &(dyn std::error::Error + 'static),
    locked_bytes: Option<u64>,
) -> Option<LoadError> {
    let what = what.to_owned();
    if interrupted(error) {
        return Some(LoadError::Interrupted { what, patience: PATIENCE });
    }
    Scarce::of(error, locked_bytes).map(|scarce| LoadError::Scarce { what, scarce })
}

fn load_one(ebpf: &mut Ebpf, attach: &Attach, btf: Option<&Btf>) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(attach.program).ok_or(ProgramError::NotLoaded)?;
    match (attach.kind, btf) {
        (AttachKind::Fentry, Some(btf)) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(attach.target, btf)
        }
        (AttachKind::Fexit, Some(btf)) => {
            let program: &mut FExit = program.try_into()?;
            program.load(attach.target, btf)
        }
        (AttachKind::Fentry | AttachKind::Fexit, None) => Err(ProgramError::NotLoaded),
        (AttachKind::Kprobe | AttachKind::Kretprobe, _) => {
            let program: &mut KProbe = program.try_into()?;
            program.load()
        }
        (AttachKind::RawTracepoint, _) => {
            let program: &mut RawTracePoint = program.try_into()?;
            program.load()
        }
    }
}

fn attach_one(ebpf: &mut Ebpf, attach: &Attach) -> Result<LinkId, ProgramError> {
    match ebpf.program_mut(attach.program).ok_or(ProgramError::NotLoaded)? {
        Program::FEntry(program) => program.attach().map(LinkId::Fentry),
        Program::FExit(program) => program.attach().map(LinkId::Fexit),
        Program::KProbe(program) => program.attach(attach.target, 0).map(LinkId::Kprobe),
        Program::RawTracePoint(program) => program.attach(attach.target).map(LinkId::RawTracepoint),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn unload_one(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
