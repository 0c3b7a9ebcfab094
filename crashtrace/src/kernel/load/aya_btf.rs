//! What aya wants of BTF, without the kernel's whole BTF in aya's form.
//!
//! aya parses BTF into an enum and allocations for each of its types: 20 MB and 68 million instructions for a current kernel's. It
//! does so twice, once when a loader is made, which no setting prevents (`EbpfLoader::new`, 0.14), and once for the id of a
//! trampoline's target, which crashtrace knows by its own reader ([`crate::kernel::btf`]).

use std::thread;

use aya::{Btf, EbpfLoader};
use aya_obj::btf::{BtfType, Func, FuncLinkage};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::kernel::types::FunctionIds;

/// A loader without the kernel's BTF: the object has no relocations against it.
///
/// aya reads it where it can open the file, and goes on without where it cannot. So the loader is made on a thread that can open
/// nothing, and ends at once. The alternatives were a limit of open files (of the process, not of a thread) and another root folder
/// (needs `CAP_SYS_CHROOT`). Where seccomp is not to be had, aya reads the BTF: slower, and nothing else.
pub(super) fn loader<'a>() -> EbpfLoader<'a> {
    let made = thread::scope(|scope| {
        let without_files = || {
            if let Err(error) = open_nothing() {
                tracing::debug!(error, "aya reads the kernel's BTF once more");
            }
            EbpfLoader::new()
        };
        let thread = thread::Builder::new().name("loader".to_owned()).spawn_scoped(scope, without_files);
        thread.ok().and_then(|thread| thread.join().ok())
    });
    let mut loader = made.unwrap_or_default();
    loader.btf(None);
    loader
}

/// Makes every later attempt of this thread to open a file fail.
fn open_nothing() -> Result<(), String> {
    let calls = [
        libc::SYS_openat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
    ];
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let architecture = std::env::consts::ARCH.try_into().map_err(said)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture).map_err(said)?;
    let program: BpfProgram = filter.try_into().map_err(said)?;
    seccompiler::apply_filter(&program).map_err(said)
}

fn said(error: impl std::error::Error) -> String {
    error.to_string()
}

/// BTF in which these functions have these ids, which is all that aya looks up in it for a trampoline. aya numbers types as they come
/// and has no other way to give an id, so those before a function are filled with the shortest type that it knows: 6 MB for a moment,
/// and 4 million instructions.
#[must_use]
pub fn with_functions(functions: &FunctionIds) -> Btf {
    let mut btf = Btf::new();
    let mut functions: Vec<_> = functions.all().collect();
    functions.sort_unstable_by_key(|(_, id)| *id);
    // 0 is `void`, which aya adds by itself.
    let mut next = 1;
    for (name, id) in functions {
        for _ in next..id {
            btf.add_type(BtfType::Unknown);
        }
        let name = btf.add_string(name);
        next = btf.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Static))) + 1;
    }
    btf
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::BtfKind;

    use super::*;

    #[test]
    fn a_function_has_its_id_of_the_kernels_btf() {
        let functions = FunctionIds::of(&[("warn_alloc", 7), ("oom_kill_process", 3), ("other", 8)]);
        let btf = with_functions(&functions);
        for (name, id) in functions.all() {
            assert_eq!(btf.id_by_type_name_kind(name, BtfKind::Func).ok(), Some(id), "{name}");
        }
        assert!(btf.id_by_type_name_kind("out_of_memory", BtfKind::Func).is_err());
        assert!(with_functions(&FunctionIds::default()).id_by_type_name_kind("x", BtfKind::Func).is_err());
    }

    #[test]
    fn a_thread_that_opens_nothing_is_the_only_one() {
        let open = || std::fs::File::open("/proc/self/status").map(drop).map_err(|error| error.kind());
        let inside = thread::spawn(move || (open_nothing(), open())).join().expect("it does not panic");
        assert_eq!(inside, (Ok(()), Err(std::io::ErrorKind::PermissionDenied)));
        assert_eq!(open(), Ok(()));
    }
}
