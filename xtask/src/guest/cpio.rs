//! The archive format of an initramfs: cpio "newc", of which the kernel needs only the few fields set here.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Dir,
    File(Vec<u8>),
    Symlink(String),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
}

/// Writes an archive, entry by entry. All owners are root and all times zero, so the same input gives the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// Adds an entry. `path` is without a leading slash; directories come before what is in them.
    pub(crate) fn add(&mut self, path: &str, permissions: u32, entry: &Entry) {
        let (file_type, content, device) = match entry {
            Entry::Dir => (0o040_000, &[][..], (0, 0)),
            Entry::File(content) => (0o100_000, content.as_slice(), (0, 0)),
            Entry::Symlink(target) => (0o120_000, target.as_bytes(), (0, 0)),
            Entry::CharDevice(major, minor) => (0o020_000, &[][..], (*major, *minor)),
        };
        // With the same inode number the kernel would take files for hard links.
        self.inode += 1;
        self.entry(self.inode, file_type | permissions, device, path, content);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(0, 0, (0, 0), "TRAILER!!!", &[]);
        self.bytes
    }

    fn entry(&mut self, inode: u32, mode: u32, device: (u32, u32), path: &str, content: &[u8]) {
        let size = u32::try_from(content.len()).expect("an initramfs file is smaller than 4 GiB");
        let name_size = path.len() as u32 + 1;
        let (uid, gid, links, mtime, dev, checksum) = (0, 0, 1, 0, (0, 0), 0);
        self.bytes.extend_from_slice(b"070701");
        let fields = [
            inode, mode, uid, gid, links, mtime, size, dev.0, dev.1, device.0, device.1, name_size, checksum,
        ];
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Header and content are padded to multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn sample() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.add("dev", 0o755, &Entry::Dir);
        archive.add("dev/console", 0o600, &Entry::CharDevice(5, 1));
        archive.add("five", 0o644, &Entry::File(b"12345".to_vec()));
        archive.add("link", 0o777, &Entry::Symlink("five".to_owned()));
        archive.finish()
    }

    #[test]
    fn lays_out_an_entry() {
        let mut archive = Archive::default();
        archive.add("ab", 0o644, &Entry::File(b"12345".to_vec()));
        let bytes = archive.finish();
        let header = "070701\
            00000001000081a40000000000000000000000010000000000000005\
            000000000000000000000000000000000000000300000000";
        assert_eq!(&bytes[..110], header.as_bytes());
        // Name and its NUL, padded from 113 to 116; content, padded from 121 to 124.
        assert_eq!(&bytes[110..124], b"ab\0\0\0\x0012345\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }

    /// Skipped where there is no `cpio`.
    #[test]
    fn cpio_reads_it() {
        let mut cpio = Command::new("cpio");
        cpio.args(["-itv", "--quiet", "--numeric-uid-gid"]);
        cpio.env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = cpio.spawn() else { return };
        child.stdin.take().expect("piped").write_all(&sample()).expect("cpio reads to the end");
        let output = child.wait_with_output().expect("cpio ends");
        assert!(output.status.success());
        let listing = String::from_utf8(output.stdout).expect("UTF-8");
        let rows: Vec<(&str, &str)> = listing
            .lines()
            .map(|line| (&line[..10], line.split("1970 ").nth(1).expect("a time of zero, then the name")))
            .collect();
        let expected = [
            ("drwxr-xr-x", "dev"),
            ("crw-------", "dev/console"),
            ("-rw-r--r--", "five"),
            ("lrwxrwxrwx", "link -> five"),
        ];
        assert_eq!(rows, expected);
    }
}
