//! The cost of each program of the kernel object for the running kernel's verifier, in the verifier's own numbers.
//!
//! A kernel from 5.16 on tells of a loaded program how many instructions were verified; the stack, and all figures on
//! older kernels, are only in the verifier's log, which aya hands over with an error alone. So the programs are made
//! to fail, by the last step of the load: with no file descriptor left, the kernel verifies the program, and
//! then cannot give it out (`bpf_prog_load` in `kernel/bpf/syscall.c`, 5.10 to 7.2). Nothing is left in the kernel,
//! and the measured programs are those that `crashtrace watch` loads, by the same loader with the same globals.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::Btf;
use aya::programs::{Program, ProgramError};
use crashtrace::gfp::GfpNames;
use crashtrace::kernel::host::{self, KERNEL_BTF};
use crashtrace::kernel::layout::{KernelBtf, Layout};
use crashtrace::kernel::load::{self, Kernel};
use crashtrace::kernel::plan::{Beside, Functions, HooksWanted, KernelView, plan};
use crashtrace::kernel::types;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::verifier_log::{self, Cost};

/// Lines of the verifier's log that tell why it refused a program.
const REASON_LINES: usize = 4;

/// The printed figures of a program.
#[derive(Serialize)]
struct Line<'a> {
    program: &'a str,
    instructions: Option<u64>,
    stack_bytes: Option<u64>,
    stack: Option<String>,
    states: Option<u64>,
    peak_states: Option<u64>,
    error: Option<String>,
}

/// Prints one JSON object for each program of the kernel object.
pub fn run() -> Result<()> {
    let btf = KernelBtf::open(Path::new(KERNEL_BTF))?;
    let mark_victim_arg = btf.mark_victim_arg().context("BTF does not describe oom:mark_victim")?;
    // Every program is to be tried: the kernel decides which it refuses, not the plan.
    let all = Functions::by(|_| true);
    let view = KernelView {
        btf_functions: all,
        kallsyms_functions: Some(all),
        mark_victim_arg: Some(mark_victim_arg),
    };
    let types = types::read(Path::new(KERNEL_BTF), None);
    let facts = host::gather(Path::new("/"), &types);
    let plan = plan(&facts, &view, HooksWanted::Auto, Beside::ALL)?;
    let tiers = plan.tiers.iter().flat_map(|tier| tier.decision.iter().chain(&tier.memcg).chain(&tier.wait));
    let attaches = tiers.chain(&plan.alloc).chain(&plan.exits);
    let targets: HashMap<_, _> = attaches.map(|attach| (attach.program, attach.target)).collect();

    let layout = Layout::resolve(&btf);
    // Code behind a flag that is not set is dead code to the verifier.
    let kernel = Kernel {
        layout: &layout,
        functions: &types.functions,
        mark_victim_arg,
        cgroup_v1: false,
        // Some id, because without one the comparison with it is dead code.
        node_root: 1,
        gfp: GfpNames::fallback().kernel_bits(),
        locked_memory_bytes: None,
        include_nowarn: false,
        debug: false,
    };
    let btf = load::with_functions(&types.functions);
    // Kernels before 5.11 count maps and programs against it.
    if let Err(error) = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }) {
        eprintln!("verifier: the limit of locked memory stays: {error}");
    }
    let mut ebpf = load::object(&kernel)?;
    let mut programs: Vec<_> = ebpf.programs_mut().collect();
    programs.sort_by_key(|(name, _)| *name);
    for (name, program) in programs {
        let (cost, error) = match verify(program, targets.get(name).copied(), &btf) {
            Ok(cost) => (Some(cost), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let line = Line {
            program: name,
            instructions: cost.as_ref().map(|cost| cost.instructions),
            stack_bytes: cost.as_ref().map(|cost| cost.stack_bytes),
            states: cost.as_ref().map(|cost| cost.states),
            peak_states: cost.as_ref().map(|cost| cost.peak_states),
            stack: cost.map(|cost| cost.stack),
            error,
        };
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}

/// Has the kernel verify a program that hooks `target`.
fn verify(program: &mut Program, target: Option<&str>, btf: &Btf) -> Result<Cost> {
    let target = || target.context("no tier of hooks has this program");
    let result = {
        let _no_new_files = NoNewFiles::from_now()?;
        match program {
            Program::FEntry(program) => program.load(target()?, btf),
            Program::FExit(program) => program.load(target()?, btf),
            Program::KProbe(program) => program.load(),
            Program::RawTracePoint(program) => program.load(),
            other => anyhow::bail!("no tier of hooks has a program of type {:?}", other.prog_type()),
        }
    };
    let Err(error) = result else { anyhow::bail!("the kernel gave out a file descriptor beyond the limit") };
    let ProgramError::LoadError { io_error, verifier_log } = error else { return Err(error.into()) };
    let log = verifier_log.to_string();
    if Errno::from_io_error(&io_error) == Some(Errno::MFILE) {
        return verifier_log::parse(&log)
            .with_context(|| format!("no statistics in the verifier's log: {log}"));
    }
    let lines: Vec<_> = log.lines().collect();
    let reason = lines[lines.len().saturating_sub(REASON_LINES)..].join(" | ");
    let refused = anyhow::Error::from(io_error).context("the kernel refuses it");
    Err(if reason.is_empty() { refused } else { refused.context(reason) })
}

/// While this exists, the process can open nothing more; open files stay open.
struct NoNewFiles(Rlimit);

impl NoNewFiles {
    fn from_now() -> Result<Self> {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before })?;
        Ok(Self(before))
    }
}

impl Drop for NoNewFiles {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("a limit may be raised to what it was");
    }
}
