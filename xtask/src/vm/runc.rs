//! What makes containers in guests: Debian's runc, and the libraries that it is linked with.

use super::arch::Arch;
use super::initramfs::GuestFile;
use super::kernel;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// The processor of the guests that can have it: what containerd tells runc is recorded for this one.
pub(super) const ARCH: Arch = Arch::X86_64;

/// The packages that it takes.
const PACKAGES: &[&str] = &["runc", "libseccomp2", "libc6"];

/// Files of theirs: where in the packages, and where in the guest.
const FILES: [(&str, &str); 4] = [
    ("usr/sbin/runc", "/bin/runc"),
    ("usr/lib/x86_64-linux-gnu/libseccomp.so.2", "/lib/x86_64-linux-gnu/libseccomp.so.2"),
    ("lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
    // By that name itself it is a link to an absolute path.
    ("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2"),
];

/// Its files for guests, fetched if they are not here.
pub(super) fn files(dir: &Path) -> Result<Vec<GuestFile>> {
    let home = dir.join(format!("runc-{}", ARCH.debian()));
    let home = kernel::unpacked(&home, dir, ARCH, PACKAGES).context("no runc for the guest")?;
    let files = FILES.into_iter().map(|(place, guest)| {
        let host = home.join(place);
        ensure!(host.is_file(), "{} has no {place}: remove it to fetch it anew", home.display());
        Ok(GuestFile { guest: guest.to_owned(), host, mode: 0o755 })
    });
    files.collect()
}
