//! What makes containers in guests: Debian's runc, and the libraries that it is linked with.

use super::arch::Arch;
use super::initramfs::GuestFile;
use super::kernel;
use crate::cache::cached;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The packages that it takes.
const PACKAGES: [&str; 3] = ["runc", "libseccomp2", "libc6"];

/// Its files for guests with this processor, fetched if they are not here.
pub(super) fn files(dir: &Path, arch: Arch) -> Result<Vec<GuestFile>> {
    let home = cached(&dir.join(format!("runc-{}", arch.debian())), dir, |staging| {
        let release = kernel::bookworm(dir, arch)?;
        let unpacked = PACKAGES.map(|package| Ok(format!("{package} {}", release.unpack(package, staging)?)));
        Ok(unpacked.into_iter().collect::<Result<Vec<_>>>()?.join(", "))
    })
    .context("no runc for the guest")?;
    let loader = match arch {
        Arch::X86_64 => "/lib64/ld-linux-x86-64.so.2",
        Arch::Aarch64 => "/lib/ld-linux-aarch64.so.1",
    };
    let program = find(&home, &["usr/sbin"], "runc")?;
    // The loader's own path in the package is a link to an absolute one.
    let libraries = [("libseccomp.so.2", None), ("libc.so.6", None), (file_name(loader), Some(loader))];
    let mut files = vec![GuestFile { guest: "/bin/runc".to_owned(), host: program, mode: 0o755 }];
    for (name, guest) in libraries {
        let folder = format!("lib/{}-linux-gnu", arch.target().split('-').next().unwrap_or_default());
        let host = find(&home, &[&folder, &format!("usr/{folder}")], name)?;
        let guest = guest.map_or_else(|| format!("/{folder}/{name}"), str::to_owned);
        files.push(GuestFile { guest, host, mode: 0o755 });
    }
    Ok(files)
}

fn find(home: &Path, folders: &[&str], name: &str) -> Result<PathBuf> {
    let found = folders.iter().map(|folder| home.join(folder).join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{} has no {name}: remove it to fetch it anew", home.display()))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
