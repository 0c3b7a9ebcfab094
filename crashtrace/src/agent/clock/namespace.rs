//! Time namespaces (5.6 and later): the offset of a process's `CLOCK_BOOTTIME`, which programs read, to the kernel's.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use thiserror::Error;

/// The first time namespace, whose clocks are the kernel's (`PROC_TIME_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL: &str = "time:[4026531834]";

/// A process stays in its time namespace for life.
static AHEAD_NS: OnceLock<i64> = OnceLock::new();

/// The kernel's time is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot tell the kernel's time in this time namespace: {0}; start crashtrace outside of it")]
pub struct Hidden(String);

/// Offset of this process's clock to the kernel's; 0 where it is unknown, for which [`check`] refuses.
pub(super) fn ahead_ns() -> i64 {
    *AHEAD_NS.get_or_init(|| look(Path::new("/proc/self")).unwrap_or_default())
}

/// [`ahead_ns`], or an error.
///
/// # Errors
/// The offset is unknown.
pub(super) fn check() -> Result<i64, Hidden> {
    look(Path::new("/proc/self")).inspect(|ahead_ns| {
        // A second call gives the same value.
        let _ = AHEAD_NS.set(*ahead_ns);
    })
}

/// Reads the folder of a process in procfs.
fn look(process: &Path) -> Result<i64, Hidden> {
    let hidden = |what: &str, error: &dyn std::fmt::Display| Hidden(format!("{what}: {error}"));
    let link = |name: &str| match fs::read_link(process.join("ns").join(name)) {
        Ok(to) => Ok(Some(to.to_string_lossy().into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(hidden(&format!("/proc/self/ns/{name} cannot be read"), &error)),
    };
    let Some(own) = link("time")? else { return Ok(0) };
    if own == INITIAL {
        return Ok(0);
    }
    // The file of offsets is about the children's namespace (`proc_timens_show_offsets`, `kernel/time/namespace.c`).
    let children = link("time_for_children")?;
    if children.as_deref() != Some(own.as_str()) {
        let children = children.unwrap_or_else(|| "unknown".to_owned());
        return Err(hidden(
            "/proc/self/timens_offsets is that of another one",
            &format!("this is {own}, that {children}"),
        ));
    }
    let offsets = fs::read_to_string(process.join("timens_offsets"))
        .map_err(|error| hidden("/proc/self/timens_offsets cannot be read", &error))?;
    parse(&offsets)
        .ok_or_else(|| hidden("/proc/self/timens_offsets has no offset of the boot's clock", &offsets.trim()))
}

/// Parses `boottime <seconds> <nanoseconds>`; the kernel writes the clock's number where it does not know its name.
fn parse(offsets: &str) -> Option<i64> {
    let mut lines = offsets.lines().map(str::split_whitespace);
    let mut boottime =
        lines.find_map(|mut words| matches!(words.next()?, "boottime" | "7").then_some(words))?;
    let (seconds, nanoseconds): (i64, i64) = (boottime.next()?.parse().ok()?, boottime.next()?.parse().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Result for a process with these namespaces and offsets.
    fn looks(own: Option<&str>, children: Option<&str>, offsets: Option<&str>) -> Result<i64, String> {
        let process = tempfile::tempdir().expect("a directory");
        fs::create_dir(process.path().join("ns")).expect("a directory");
        for (name, to) in [("time", own), ("time_for_children", children)] {
            if let Some(to) = to {
                symlink(to, process.path().join("ns").join(name)).expect("a link");
            }
        }
        if let Some(offsets) = offsets {
            fs::write(process.path().join("timens_offsets"), offsets).expect("a file");
        }
        look(process.path()).map_err(|error| error.to_string())
    }

    const OTHER: Option<&str> = Some("time:[4026532500]");
    const OFFSETS: Option<&str> = Some("monotonic           0         0\nboottime       172800 500000000\n");

    #[test]
    fn a_time_namespace_is_ahead_by_its_offset() {
        assert_eq!(looks(OTHER, OTHER, OFFSETS), Ok(172_800_500_000_000));
        // The nanoseconds are never negative.
        assert_eq!(looks(OTHER, OTHER, Some("boottime -10 250000000")), Ok(-9_750_000_000));
        assert_eq!(looks(OTHER, OTHER, Some("1 0 0\n7 3 0\n")), Ok(3_000_000_000));
    }

    #[test]
    fn the_kernels_own_and_a_kernel_without_are_ahead_by_nothing() {
        // Children to come may be ahead; this process is not.
        assert_eq!(looks(Some(INITIAL), OTHER, OFFSETS), Ok(0));
        assert_eq!(looks(None, None, None), Ok(0));
    }

    #[test]
    fn an_unknown_offset_is_refused_with_the_reason() {
        for (children, offsets, reason) in [
            (Some("time:[4026532501]"), OFFSETS, "is that of another one"),
            (None, OFFSETS, "is that of another one"),
            (OTHER, None, "cannot be read"),
            (OTHER, Some("monotonic 1 0\n"), "no offset"),
            (OTHER, Some("boottime 1\n"), "no offset"),
            (OTHER, Some("boottime 9223372036854775807 0\n"), "no offset"),
        ] {
            let error = looks(OTHER, children, offsets).expect_err(reason);
            assert!(error.contains(reason) && error.ends_with("start crashtrace outside of it"), "{error}");
        }
    }
}
