//! The kernel's log while a scenario is played: a second witness of what a report says of memory.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result};

use crashtrace_judge::kernel_log::{self, Decision};

/// Bytes of the longest record (`PRINTK_MESSAGE_MAX`), with what is escaped in it.
const RECORD_BYTES: usize = 16 << 10;

/// What the kernel logs from now on.
pub struct KernelLog {
    records: File,
}

impl KernelLog {
    pub fn follow() -> Result<Self> {
        let mut options = File::options();
        let records = options.read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
        let mut records = records.context("cannot open /dev/kmsg")?;
        records.seek(SeekFrom::End(0)).context("cannot skip what the kernel has logged before")?;
        Ok(Self { records })
    }

    /// The OOM decisions since then. A log that the kernel has overwritten meanwhile has none.
    pub fn decisions(mut self) -> Result<Vec<Decision>> {
        let mut log = String::new();
        let mut record = vec![0; RECORD_BYTES];
        loop {
            match self.records.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    log.extend(kernel_log::of_record(&text).map(|text| text + "\n"));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The oldest records are gone: the next read goes on with what is left, of which the first is no whole decision.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => log.clear(),
                Err(error) => return Err(error).context("cannot read /dev/kmsg"),
            }
        }
        Ok(kernel_log::decisions(&log))
    }
}
