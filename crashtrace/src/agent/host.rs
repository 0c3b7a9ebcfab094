//! The host as inspected at the start: all that must be known before anything can be loaded.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use rustix::process::{Resource, getrlimit};
use thiserror::Error;

use super::cgroupfs::{CgroupFs, node_root};
use super::clock::{Hidden, Wall};
use super::kallsyms::Unread;
use crate::cgroup::NodeRoot;
use crate::decode::Machine;
use crate::gfp::GfpNames;
use crate::kernel::host::{self, HostFacts, KernelVersion, MemoryCgroup, counts_locked_memory};
use crate::kernel::layout::Layout;
use crate::kernel::load::{self, Attached, Kernel, LoadError};
use crate::kernel::pins::Wanted;
use crate::kernel::plan::{Functions, KernelView, Plan, Refusal};
use crate::kernel::types::{self, FunctionIds, Told};
use crate::report::Context;
use crate::schema::BtfInUse;
use crate::self_test::{self, SelfTestError, SelfTestReport};
use crate::symbols::Symbols;

/// The node cannot be watched, for a reason on the node.
#[derive(Debug, Error)]
pub enum Unusable {
    /// The plan refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel refuses.
    #[error("cannot watch this kernel: {0}; `crashtrace doctor` says what works here and what to do")]
    Load(#[source] LoadError),
    /// Its time is unknown.
    #[error(transparent)]
    Time(#[from] Hidden),
    /// A limit of this process or of the node prevents it, or signals that do not stop.
    #[error(transparent)]
    Hindered(LoadError),
}

impl From<LoadError> for Unusable {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Scarce { .. } | LoadError::Interrupted { .. } => Self::Hindered(error),
            LoadError::Object(_) | LoadError::Map { .. } | LoadError::Refused(_) => Self::Load(error),
        }
    }
}

/// The limit of locked memory, if there is one and the kernel counts maps and programs against it.
fn locked_memory_bytes(version: Option<KernelVersion>) -> Option<u64> {
    let limit = getrlimit(Resource::Memlock).current;
    limit.filter(|_| counts_locked_memory(version))
}

/// The kernel's symbols.
#[derive(Debug)]
enum KernelSymbols {
    Read(Symbols),
    /// They are read later: the list itself, or nothing while another thread has it.
    Unread(Option<Unread>),
}

/// Results of the inspection.
pub(super) struct Host {
    pub(super) facts: HostFacts,
    pub(super) view: KernelView,
    symbols: KernelSymbols,
    /// `None` where there is no BTF.
    pub(super) layout: Option<Layout>,
    functions: FunctionIds,
    gfp: GfpNames,
}

impl Host {
    /// Inspects this host, with the BTF in `btf` or the kernel's own.
    pub(super) fn inspect(btf: Option<&Path>) -> Self {
        let mut host = Self::inspect_without_symbols(btf);
        host.read_symbols();
        host
    }

    /// The same, without reading the kernel's symbols: of functions to hook it knows what BTF says.
    pub(super) fn inspect_without_symbols(btf: Option<&Path>) -> Self {
        let types = types::read(Path::new(host::KERNEL_BTF), btf);
        let facts = host::gather(Path::new("/"), &types);
        let symbols = match Unread::open() {
            Ok(list) => KernelSymbols::Unread(Some(list)),
            Err(symbols) => KernelSymbols::Read(symbols),
        };
        let Told { layout, mark_victim_arg, gfp_bits } = types.told;
        let view = KernelView {
            kallsyms_functions: match &symbols {
                KernelSymbols::Read(symbols) => Functions::in_kallsyms(symbols),
                KernelSymbols::Unread(_) => None,
            },
            btf_functions: Functions::by(|name| types.functions.id(name).is_some()),
            mark_victim_arg,
        };
        let gfp = gfp_bits.map(GfpNames::from_bits);
        let gfp = gfp.unwrap_or_else(|| match facts.version() {
            Some(version) if version >= KernelVersion(6, 3) => GfpNames::fallback_without_atomic(),
            _ => GfpNames::fallback(),
        });
        Self { facts, view, symbols, layout, functions: types.functions, gfp }
    }

    /// Reads the kernel's symbols, if that was left for later.
    pub(super) fn read_symbols(&mut self) {
        if let KernelSymbols::Unread(list) = &mut self.symbols
            && let Some(list) = list.take()
        {
            self.know(list.read());
        }
    }

    /// The list, to be read by another thread.
    pub(super) fn take_unread(&mut self) -> Option<Unread> {
        let KernelSymbols::Unread(list) = &mut self.symbols else { return None };
        list.take()
    }

    /// Takes the symbols that were read.
    pub(super) fn know(&mut self, symbols: Symbols) {
        self.view.kallsyms_functions = Functions::in_kallsyms(&symbols);
        self.symbols = KernelSymbols::Read(symbols);
    }

    /// The kernel's symbols; `None` until they are read.
    pub(super) fn symbols(&self) -> Option<&Symbols> {
        let KernelSymbols::Read(symbols) = &self.symbols else { return None };
        Some(symbols)
    }

    /// Tests on this process what the kernel side reads. The outer error: the plan was not checked first.
    pub(super) fn self_test(&self) -> Result<Result<SelfTestReport, SelfTestError>> {
        let kernel = self.kernel(false)?;
        Ok(load::object(&kernel)
            .map_err(SelfTestError::Load)
            .and_then(|mut ebpf| self.self_test_with(&mut ebpf, &kernel)))
    }

    fn self_test_with(&self, ebpf: &mut Ebpf, kernel: &Kernel<'_>) -> Result<SelfTestReport, SelfTestError> {
        self_test::run(ebpf, kernel, &self.facts, &self.machine(), Path::new("/proc"))
    }

    /// [`Self::self_test`], and if the kernel side reads the right values, [`Self::load`] of the same object.
    ///
    /// # Errors
    /// The kernel side reads wrong values, or as for [`Self::load`].
    pub(super) fn believe_and_load(&self, plan: &Plan, include_nowarn: bool) -> Result<Attached> {
        let kernel = self.kernel(include_nowarn)?;
        let mut ebpf = load::object(&kernel).map_err(Unusable::from)?;
        self.believe(&mut ebpf, &kernel)?;
        Ok(load::load(plan, &kernel, ebpf).map_err(Unusable::from)?)
    }

    fn believe(&self, ebpf: &mut Ebpf, kernel: &Kernel<'_>) -> Result<()> {
        let report = self.self_test_with(ebpf, kernel).map_err(|error| match error {
            // The kernel object itself cannot be loaded, for which there are other reasons and remedies.
            SelfTestError::Load(error) => Unusable::from(error),
            error => self_test::untried(&error, &self.facts).into(),
        })?;
        if let Some(refusal) = self_test::misread(&report, &self.facts) {
            return Err(Unusable::from(refusal).into());
        }
        for skipped in &report.not_compared {
            tracing::debug!(fact = skipped.field, reason = skipped.reason, "the self-test could not compare");
        }
        let (right, instructions) = (report.right.join(", "), report.verified_instructions);
        tracing::info!(right, instructions, took_ms = report.took_ms, "the self-test passed");
        Ok(())
    }

    /// What a kernel side by this plan would be made for. The plan was checked first.
    pub(super) fn wanted(&self, plan: &Plan, include_nowarn: bool) -> Result<Wanted> {
        let boot = self.facts.boot_id.as_deref().unwrap_or_default();
        Ok(load::wanted(plan, &self.kernel(include_nowarn)?, boot))
    }

    /// Loads and attaches, without the self-test.
    pub(super) fn load(&self, plan: &Plan) -> Result<Attached> {
        let kernel = self.kernel(false)?;
        let ebpf = load::object(&kernel).map_err(Unusable::from)?;
        Ok(load::load(plan, &kernel, ebpf).map_err(Unusable::from)?)
    }

    fn kernel(&self, include_nowarn: bool) -> Result<Kernel<'_>> {
        // The plan refuses a kernel without these.
        let layout = self.layout.as_ref().context("there is no BTF to resolve the kernel's fields by")?;
        let mark_victim_arg = self.view.mark_victim_arg.context("BTF does not describe oom:mark_victim")?;
        let debug = tracing::enabled!(tracing::Level::DEBUG);
        Ok(Kernel {
            layout,
            functions: &self.functions,
            mark_victim_arg,
            cgroup_v1: self.node_root().v1,
            node_root: self.node_root().cgroup_id.unwrap_or(0),
            gfp: self.gfp.kernel_bits(),
            locked_memory_bytes: locked_memory_bytes(self.facts.version()),
            include_nowarn,
            debug,
        })
    }

    /// The BTF in use.
    pub(super) fn btf(&self) -> BtfInUse {
        BtfInUse { path: self.facts.btf.path.clone(), source: self.facts.btf_source }
    }

    /// Facts needed to read this kernel's records.
    pub(super) fn machine(&self) -> Machine {
        let symbols = self.symbols().filter(|symbols| symbols.unusable().is_none()).cloned();
        Machine { page_size_bytes: self.facts.page_size_bytes, symbols }
    }

    /// The cgroups of the memory controller, where they are mounted.
    pub(super) fn cgroup_files(&self) -> CgroupFs {
        let mount = self.facts.memory_cgroup_mount.clone().map(PathBuf::from);
        CgroupFs { mount, v1: self.node_root().v1, ..CgroupFs::default() }
    }

    /// Where the node's cgroups begin.
    pub(super) fn node_root(&self) -> NodeRoot {
        let mount = self.facts.memory_cgroup_mount.as_ref().map(Path::new);
        let v1 = self.facts.memory_cgroup == Some(MemoryCgroup::V1);
        let no_controller = self.facts.memory_cgroup == Some(MemoryCgroup::Disabled);
        NodeRoot { no_controller, ..node_root(mount, self.facts.memory_cgroup_whole, v1) }
    }

    /// Facts needed to report on them.
    pub(super) fn context(&self, wall: Wall) -> Context {
        Context {
            boot_id: self.facts.boot_id.clone().unwrap_or_default(),
            page_size_bytes: self.facts.page_size_bytes,
            memory_cgroup_v1: self.facts.memory_cgroup.as_ref().map(|version| *version == MemoryCgroup::V1),
            realtime_offset_ns: wall.offset_ns,
            gfp: self.gfp.clone(),
        }
    }
}
