//! Containers in guests: Debian's runc, and the libraries that it is linked with.

use super::initramfs::GuestFile;
use crate::arch::Arch;
use crate::{debian, files};
use anyhow::{Context as _, Result, ensure};

/// The processor of guests with runc: the recordings of what containerd tells runc are of this one.
pub(crate) const ARCH: Arch = Arch::X86_64;

const PACKAGES: &[&str] = &["runc", "libseccomp2", "libc6"];

/// Paths in the packages and in the guest.
const FILES: [(&str, &str); 4] = [
    ("usr/sbin/runc", "/bin/runc"),
    ("usr/lib/x86_64-linux-gnu/libseccomp.so.2", "/lib/x86_64-linux-gnu/libseccomp.so.2"),
    ("lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
    // The file of the path in the guest is a link to an absolute path there.
    ("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2"),
];

/// Its files, which are fetched where they are missing.
pub(crate) fn files() -> Result<Vec<GuestFile>> {
    let home = files::vm_dir().join(format!("runc-{}", ARCH.debian()));
    let home = debian::unpacked(&home, ARCH, PACKAGES).context("no runc for the guest")?;
    let files = FILES.into_iter().map(|(place, guest)| {
        let host = home.join(place);
        ensure!(host.is_file(), "{} has no {place}: remove it to fetch it again", home.display());
        Ok(GuestFile { guest: guest.to_owned(), host, mode: 0o755 })
    });
    files.collect()
}
