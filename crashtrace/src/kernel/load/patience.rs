//! Retries steps that signals interrupt, for a bounded time.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::interrupted;

/// How long to retry: an emulated machine's verifier takes a second for a program, and may be interrupted any number of times.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs `step`, again if a signal interrupts it.
pub(crate) fn patiently<T, E: Error + 'static>(step: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let begun = Instant::now();
    again_while(step, || {
        sleep(PAUSE);
        begun.elapsed() < PATIENCE
    })
}

fn again_while<T, E: Error + 'static>(
    mut step: impl FnMut() -> Result<T, E>,
    mut patient: impl FnMut() -> bool,
) -> Result<T, E> {
    loop {
        match step() {
            Err(error) if interrupted(&error) && patient() => {
                tracing::debug!(%error, "interrupted by a signal, and tried again");
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::*;

    /// Number of tries until success, with a kernel that first returns these errors.
    fn tries(says: &[Errno], patience: usize) -> (usize, Result<(), io::Error>) {
        let (mut tries, mut left) = (0, patience);
        let result = again_while(
            || {
                tries += 1;
                says.get(tries - 1).map_or(Ok(()), |errno| Err(io::Error::from(*errno)))
            },
            || {
                left = left.saturating_sub(1);
                left > 0
            },
        );
        (tries, result)
    }

    #[test]
    fn a_signal_is_no_refusal_and_a_refusal_is_final() {
        assert!(matches!(tries(&[Errno::AGAIN, Errno::INTR, Errno::AGAIN], 10), (4, Ok(()))));
        let (made, result) = tries(&[Errno::AGAIN, Errno::ACCESS, Errno::AGAIN], 10);
        assert_eq!(
            (made, result.map_err(|error| Errno::from_io_error(&error))),
            (2, Err(Some(Errno::ACCESS)))
        );
    }

    #[test]
    fn patience_ends() {
        let (made, result) = tries(&[Errno::AGAIN; 100], 10);
        assert_eq!((made, result.is_err()), (10, true));
    }
}
