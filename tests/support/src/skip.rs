//! Whether tests that take root are left out.

/// Says whether `CRASHTRACE_SKIP_LIVE=1` leaves them out. Without it root must be there: a test that was not run has shown nothing.
pub fn skipped() -> bool {
    if std::env::var_os("CRASHTRACE_SKIP_LIVE").is_some_and(|value| value == "1") {
        return true;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "needs root, to load BPF programs and to make cgroups and containers (CRASHTRACE_SKIP_LIVE=1 leaves these tests out)"
    );
    false
}
