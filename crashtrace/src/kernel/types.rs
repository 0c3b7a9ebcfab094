//! Which BTF is used: the running kernel's own, or a file that the user names in its place.
//!
//! A file of another kernel, even of the same series, has other offsets, and the bytes at those look like facts. So a file is
//! compared with the kernel's own BTF wherever that can be read: in all that is looked up, not as a whole, since another tool may
//! have described the same kernel. Functions to attach to are always taken from the kernel's own BTF.

use std::path::Path;

use super::host::BtfFile;
use super::layout::{KernelBtf, Layout, OpenError};
use super::plan::HOOKED;
use crate::schema::BtfSource;

/// Facts from BTF about the running kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Offsets of the kernel's fields; `None` where there is no BTF.
    pub layout: Option<Layout>,
    /// How `oom:mark_victim` passes its victim.
    pub mark_victim_arg: Option<u32>,
    /// Names of allocation flags, where BTF has them.
    pub gfp_bits: Option<Vec<(u8, String)>>,
}

/// Functions in the running kernel's own BTF, of those whose existence matters here, and their ids. A trampoline's target is such
/// an id: in another kernel's BTF, even of the same series, it is another function, and the kernel does not notice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionIds(Vec<(&'static str, u32)>);

impl FunctionIds {
    fn by(btf: &KernelBtf) -> Self {
        let ids = HOOKED.into_iter().zip(btf.function_ids(HOOKED));
        Self(ids.filter_map(|(name, id)| Some((name, id?))).collect())
    }

    #[cfg(test)]
    pub(crate) fn of(ids: &[(&'static str, u32)]) -> Self {
        Self(ids.to_vec())
    }

    /// The id of the function of exactly this name.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.0.iter().copied()
    }
}

/// The running kernel's types and functions.
#[derive(Clone, Debug)]
pub struct Types {
    /// From the BTF in use.
    pub told: Told,
    /// From the kernel's own BTF.
    pub functions: FunctionIds,
    /// The BTF in use.
    pub btf: BtfFile,
    /// The kernel's own BTF.
    pub kernel_btf: BtfFile,
}

impl Told {
    fn by(btf: &KernelBtf) -> Self {
        Self {
            layout: Some(Layout::resolve(btf)),
            mark_victim_arg: btf.mark_victim_arg(),
            gfp_bits: btf.gfp_bits(),
        }
    }

    /// Differences to the kernel's own BTF.
    fn differences(&self, own: &Self) -> Vec<String> {
        let mut found = match (&self.layout, &own.layout) {
            (Some(layout), Some(own)) => layout.differences(own),
            _ => Vec::new(),
        };
        if self.mark_victim_arg != own.mark_victim_arg {
            found.push("the argument of tracepoint oom:mark_victim is another".to_owned());
        }
        if self.gfp_bits != own.gfp_bits {
            found.push("the names of allocation flags (___GFP_*) are others".to_owned());
        }
        found
    }
}

impl Types {
    /// Evidence for the BTF in use.
    #[must_use]
    pub fn source(&self) -> BtfSource {
        if self.btf.path == self.kernel_btf.path {
            BtfSource::Kernel
        } else if self.kernel_btf.error.is_some() {
            BtfSource::FileAlone
        } else if self.btf.differs.is_empty() {
            BtfSource::FileThatAgrees
        } else {
            BtfSource::FileThatDiffers
        }
    }
}

/// Reads the kernel's own BTF at `own`, and the file that the user names, if any.
#[must_use]
pub fn read(own: &Path, named: Option<&Path>) -> Types {
    let own_opened = KernelBtf::open(own);
    let (own_told, functions) =
        own_opened.as_ref().map_or_else(|_| Default::default(), |btf| (Told::by(btf), FunctionIds::by(btf)));
    let kernel_btf = file(own, &own_opened);
    // It takes some MiB, so the two are not held at the same time.
    drop(own_opened);
    let Some(named) = named else {
        return Types { told: own_told, functions, btf: kernel_btf.clone(), kernel_btf };
    };
    let opened = KernelBtf::open(named);
    let mut btf = file(named, &opened);
    let told = opened.as_ref().map_or_else(|_| Told::default(), Told::by);
    if btf.error.is_none() && kernel_btf.error.is_none() {
        btf.differs = told.differences(&own_told);
    }
    Types { told, functions, btf, kernel_btf }
}

fn file(path: &Path, opened: &Result<KernelBtf, OpenError>) -> BtfFile {
    BtfFile {
        path: path.to_string_lossy().into_owned(),
        error: opened.as_ref().err().map(ToString::to_string),
        differs: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
