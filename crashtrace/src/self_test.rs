//! The self-test: the fields that the kernel side reads by the field table are tried on this process first.
//!
//! A wrong table (BTF of another kernel, or a case that the table does not foresee) gives figures that look like facts. So the
//! kernel runs one program once, in the context of a thread of this process, which reads that thread and its cgroups with the code
//! that reads killers and victims. The values must match those that the kernel gives in ways that do not use the table: helpers,
//! which work in every namespace, and `/proc/self`.
//!
//! The program is run by `BPF_PROG_TEST_RUN` (raw tracepoints, since 5.10) and attached to nothing: it cannot run for any other
//! process. A tracepoint that only this process would hit was the alternative; it needs a filter and a second load.

use std::path::Path;
use std::thread;
use std::time::Instant;

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _};
use bytes::Bytes;
use crashtrace_ebpf::{Header, map, program};
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::Serialize;
use thiserror::Error;

use crate::decode::{Machine, self_test};
use crate::kernel::host::{HostFacts, Unresolved};
use crate::kernel::load::{self, Kernel, LoadError};

mod cgroup;
mod compare;
mod refusal;
mod this_process;

pub use compare::{Scene, compare};
pub use refusal::{misread, untried};
pub use this_process::{CgroupDir, ProcSelf, Text, ThisProcess};

/// A value may change between two readings, but a wrong table is wrong each time.
const TRIES: usize = 3;

/// Results of the self-test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SelfTestReport {
    /// The facts that were read right.
    pub right: Vec<String>,
    /// The facts that were read wrong: then no value from the kernel side is reliable.
    pub wrong: Vec<Wrong>,
    /// The facts that could not be compared, and why.
    pub not_compared: Vec<Unresolved>,
    /// Instructions that the verifier processed for it; null where the kernel does not tell (before 5.16).
    pub verified_instructions: Option<u32>,
    /// How long it took.
    pub took_ms: u64,
}

/// A fact that was read wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Wrong {
    pub fact: String,
    /// What the kernel side read.
    pub read: String,
    /// The true value.
    pub is: String,
}

/// Why the self-test could not run.
#[derive(Debug, Error)]
pub enum SelfTestError {
    /// The kernel object failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its program failed.
    #[error("cannot {what}: {}", load::explain(.error))]
    Program {
        /// The refused action.
        what: &'static str,
        error: Box<ProgramError>,
    },
    /// Another failure.
    #[error("{0}")]
    Other(String),
}

/// Runs it with the program in `ebpf`, an object for this `kernel`, and the machine's `/proc` at `proc`. The program is removed from
/// the kernel again; the object's others are untouched.
///
/// # Errors
/// It cannot be run.
pub fn run(
    ebpf: &mut Ebpf,
    kernel: &Kernel<'_>,
    facts: &HostFacts,
    machine: &Machine,
    proc: &Path,
) -> Result<SelfTestReport, SelfTestError> {
    let begun = Instant::now();
    let found = program(ebpf)?;
    load::patiently(|| found.load()).map_err(|error| {
        let hopeless = load::hopeless("the self-test", &error, kernel.locked_memory_bytes);
        hopeless.map_or_else(|| refused("load it")(error), SelfTestError::Load)
    })?;
    let verified_instructions = found.info().ok().and_then(|info| info.verified_instruction_count());
    let mut report = SelfTestReport::default();
    for _ in 0..TRIES {
        // In a separate thread, whose ids and name differ from those of the process.
        let tried = thread::scope(|scope| {
            let body = || observe(ebpf, proc, facts);
            let thread = thread::Builder::new().name("self-test".to_owned()).spawn_scoped(scope, body);
            let thread = thread.map_err(other("begin a thread"))?;
            thread.join().unwrap_or_else(|_| Err(SelfTestError::Other("its thread panicked".to_owned())))
        });
        let (record, own) = tried?;
        let seen = self_test(&record, machine).map_err(other("read its record"))?;
        report = compare(&seen, &own, &Scene { facts, layout: kernel.layout });
        if report.wrong.is_empty() {
            break;
        }
    }
    program(ebpf)?.unload().map_err(refused("remove it"))?;
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(SelfTestReport { verified_instructions, took_ms, ..report })
}

/// Makes the kernel run the program in this thread, and reads the same facts by other ways before and after it.
fn observe(ebpf: &mut Ebpf, proc: &Path, facts: &HostFacts) -> Result<(Bytes, ThisProcess), SelfTestError> {
    let mut own = ThisProcess::begin(proc, boottime_ns());
    let program = program(ebpf)?;
    let run = || program.test_run(RawTracePointRunOptions { args: [0; 12], cpu: None });
    load::patiently(run).map_err(refused("run it"))?;
    own.end(proc, boottime_ns(), facts);
    let results = ebpf.map(map::SELF_TEST).ok_or_else(|| lacks(map::SELF_TEST))?;
    let results: Array<_, [u8; map::SELF_TEST_BYTES]> =
        Array::try_from(results).map_err(other("use its map"))?;
    let bytes = results.get(&0, 0).map_err(other("read its map"))?;
    let length = length(&bytes).ok_or_else(|| SelfTestError::Other("it wrote nothing".to_owned()))?;
    Ok((Bytes::copy_from_slice(&bytes[..length]), own))
}

fn program(ebpf: &mut Ebpf) -> Result<&mut RawTracePoint, SelfTestError> {
    let found = ebpf.program_mut(program::SELF_TEST).ok_or_else(|| lacks(program::SELF_TEST))?;
    found.try_into().map_err(refused("use it"))
}

fn refused(what: &'static str) -> impl Fn(ProgramError) -> SelfTestError {
    move |error| SelfTestError::Program { what, error: Box::new(error) }
}

fn other<E: std::error::Error + 'static>(what: &str) -> impl Fn(E) -> SelfTestError {
    move |error| SelfTestError::Other(format!("cannot {what}: {}", load::chain(&error)))
}

fn lacks(name: &str) -> SelfTestError {
    SelfTestError::Other(format!("the kernel object lacks {name}"))
}

/// How long the record at the beginning of the buffer is.
fn length(bytes: &[u8]) -> Option<usize> {
    let at = std::mem::offset_of!(Header, length);
    let length = u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?) as usize;
    Some(length).filter(|length| (size_of::<Header>()..=bytes.len()).contains(length))
}

fn boottime_ns() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests;
