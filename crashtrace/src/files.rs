//! Files whose paths come from outside: a token, a CA, a kubeconfig, BTF. A user who names or replaces such a file must not be able
//! to stop the agent with it, so only regular files are read, each up to a bound, and a read that takes too long is abandoned.
//!
//! A path may lead to a FIFO (whose `open` waits for a writer), a device (whose `open` may have an effect), a hung network mount
//! (whose `open`, `stat` and `read` all wait uninterruptibly) or a file of a terabyte. No flag prevents a wait on a hung mount:
//! the read is left alone on a separate thread, and at most `MOST_STUCK` of those may be left.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::sync::oneshot;

/// Abandoned reads that have not returned. With so many left, no other is started.
const MOST_STUCK: usize = 16;

/// Number of threads that read.
static READING: AtomicUsize = AtomicUsize::new(0);

/// Opens a regular file for reading; never waits for a FIFO's writer.
///
/// # Errors
/// It cannot be opened, or it is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Before the open as well: opening a device may have an effect.
    regular(&std::fs::metadata(path)?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `most_bytes`.
///
/// # Errors
/// It cannot be read, is no regular file, or is larger.
pub fn read_regular(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    // Files of /proc and /sys report a size of 0 or of a page: only reading tells.
    file.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        let error = format!("it is larger than {most_bytes} bytes, the most that is read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(bytes)
}

/// The most that is read of a kernel's file: `/proc/zoneinfo` of the largest machines has a third of it.
const KERNEL_FILE_MOST_BYTES: u64 = 1 << 20;
/// What nearly all of them have.
const KERNEL_FILE_BYTES: usize = 8 << 10;

/// Reads a file of `/proc` or of a cgroup, which says nothing of its size: the kernel makes it anew for a read at its beginning and
/// gives no more than there is room for, so that `std::fs::read`, which begins with 32 bytes, makes eight calls where two do. The room
/// is on the stack: musl maps pages for so large an allocation and unmaps them at its end.
///
/// # Errors
/// It cannot be read.
pub fn read_of_kernel(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let (mut room, mut length) = ([0; KERNEL_FILE_BYTES], 0);
    while let Some(rest) = room.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => return Ok(room[..length].to_vec()),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut bytes = room.to_vec();
    file.take(KERNEL_FILE_MOST_BYTES - length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// [`read_regular`], abandoned after `deadline`. For use before there is a loop.
///
/// # Errors
/// As there; also [`io::ErrorKind::TimedOut`].
pub fn read_within(path: &Path, most_bytes: u64, deadline: Duration) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    within(deadline, move || read_regular(&path, most_bytes))
}

/// Runs `work`, which may hang, and abandons it after `deadline`. For use before there is a loop.
///
/// # Errors
/// As those of [`off_loop`].
pub fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    begin(work)?.recv_timeout(deadline).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(timed_out(deadline)),
        RecvTimeoutError::Disconnected => Err(panicked()),
    })
}

/// Begins `work`, which takes a while or may hang, on a thread: what it gives comes to the receiver.
///
/// # Errors
/// It cannot be begun.
pub fn begin<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<mpsc::Receiver<io::Result<T>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    on_a_thread(work, move |done| drop(sender.send(done)))?;
    Ok(receiver)
}

/// [`read_regular`], off the loop and abandoned after `deadline`.
///
/// # Errors
/// As there; also [`io::ErrorKind::TimedOut`].
pub async fn read_off_loop(path: &Path, most_bytes: u64, deadline: Duration) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    off_loop(deadline, move || read_regular(&path, most_bytes)).await
}

/// Runs `work`, which may hang, off the loop, and abandons it after `deadline`.
///
/// # Errors
/// Those of `work`; [`io::ErrorKind::TimedOut`]; [`io::ErrorKind::Other`] where it panics.
pub async fn off_loop<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    on_a_thread(work, move |done| drop(sender.send(done)))?;
    match tokio::time::timeout(deadline, receiver).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(panicked()),
        Err(_) => Err(timed_out(deadline)),
    }
}

/// Not `spawn_blocking`: a runtime waits for those when it shuts down, and a hung read does not end.
fn on_a_thread<T>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
    done: impl FnOnce(io::Result<T>) + Send + 'static,
) -> io::Result<()> {
    /// Dropped also where the work panics.
    struct Reading;
    impl Drop for Reading {
        fn drop(&mut self) {
            READING.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let stuck = READING.fetch_add(1, Ordering::Relaxed);
    let reading = Reading;
    if stuck >= MOST_STUCK {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "too many earlier reads of files hang"));
    }
    let begun = thread::Builder::new().name("read-file".to_owned()).spawn(move || {
        let worked = work();
        drop(reading);
        done(worked);
    });
    begun.map(drop)
}

fn panicked() -> io::Error {
    io::Error::other("a fault of crashtrace stopped the reading; please report it")
}

fn timed_out(deadline: Duration) -> io::Error {
    let error = format!("it could not be had within {} s; is its mount hung?", deadline.as_secs_f32());
    io::Error::new(io::ErrorKind::TimedOut, error)
}

/// Refuses a file that is not regular.
///
/// # Errors
/// The error names its type.
pub fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let error = format!("it is {}, not a regular file", named(metadata.file_type()));
    Err(io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn named(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "of an unknown kind"
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_regular_file_is_read_up_to_its_bound_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        let error = read_regular(&path, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "it is larger than 4 bytes, the most that is read");
        assert_eq!(read_within(&path, 5, SOON).unwrap(), b"12345");
        assert_eq!(read_regular(&dir.path().join("none"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn files_that_do_not_report_their_size_are_read_whole() {
        assert!(read_regular(Path::new("/proc/self/status"), 1 << 16).unwrap().len() > 100);
    }

    #[test]
    fn a_file_of_the_kernel_is_read_whole_whatever_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.stat");
        for size in [0, 1, KERNEL_FILE_BYTES - 1, KERNEL_FILE_BYTES, KERNEL_FILE_BYTES + 1, 1 << 18] {
            let bytes: Vec<_> = (0..=250).cycle().take(size).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert!(read_of_kernel(&path).unwrap() == bytes, "{size}");
        }
    }

    #[test]
    fn a_file_that_is_not_regular_is_refused_without_a_wait() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mknodat(CWD, &fifo, Kind::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for (path, is) in [
            (fifo.as_path(), "a FIFO"),
            (&link, "a FIFO"),
            (dir.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = read_regular(path, 1).unwrap_err();
            assert_eq!(error.to_string(), format!("it is {is}, not a regular file"), "{}", path.display());
        }
    }

    #[tokio::test]
    async fn off_the_loop_it_is_the_same() {
        let read = read_off_loop(Path::new("/proc/self/status"), 1 << 16, SOON).await.unwrap();
        assert!(read.len() > 100);
        let panic = off_loop(SOON, || -> io::Result<()> { panic!("this is a test") }).await.unwrap_err();
        assert_eq!(panic.kind(), io::ErrorKind::Other);
        let hung = off_loop(Duration::from_millis(1), || {
            thread::sleep(Duration::from_millis(500));
            Ok(())
        });
        assert_eq!(hung.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let error = read_off_loop(Path::new("/dev/zero"), 1, SOON).await.unwrap_err();
        assert_eq!(error.to_string(), "it is a device, not a regular file");
    }
}
