//! The kernel's list of symbols, `/proc/kallsyms`. To write it takes the kernel a third of all that a start takes. So it is read when the
//! hooks are in place, on a thread, unless the start itself needs it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::symbols::Symbols;

const LIST: &str = "/proc/kallsyms";

/// How long records wait for names of the functions on their stacks: some 100 ms, unless the node is out of memory already.
const PATIENCE: Duration = Duration::from_secs(2);

/// The list, open, of which nothing is read yet. The kernel decides when it is opened whether it shows addresses (`kallsyms_open`), so
/// that it can be read when the rights to open it are gone.
#[derive(Debug)]
pub(super) struct Unread(BufReader<File>);

impl Unread {
    /// `Err` where there is nothing to read later: the list cannot be read, or shows no addresses.
    pub(super) fn open() -> Result<Self, Symbols> {
        let unreadable = |error| Symbols::without(format!("{LIST} cannot be read: {error}"));
        let mut list = BufReader::with_capacity(64 * 1024, File::open(LIST).map_err(unreadable)?);
        if shows_addresses(list.fill_buf().map_err(unreadable)?) {
            Ok(Self(list))
        } else {
            Err(Symbols::parse(list))
        }
    }

    pub(super) fn read(self) -> Symbols {
        Symbols::parse(self.0)
    }
}

/// Whether the first lines of the list have an address. Where the kernel hides them all are 0, and else only those of the first
/// symbols of each CPU's data.
fn shows_addresses(lines: &[u8]) -> bool {
    lines
        .split(|byte| *byte == b'\n')
        .any(|line| line.iter().take(16).any(|digit| matches!(digit, b'1'..=b'9' | b'a'..=b'f')))
}

/// The list while it is being read.
#[derive(Debug)]
pub(super) struct Late {
    symbols: Option<oneshot::Receiver<Symbols>>,
    until: Instant,
}

impl Late {
    /// Reads it on a thread; without one, there is nothing to wait for.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(list: Option<Unread>) -> Result<Self> {
        let symbols = list.map(|list| {
            let (sender, receiver) = oneshot::channel();
            let thread = thread::Builder::new().name("kallsyms".to_owned());
            thread
                .spawn(move || drop(sender.send(list.read())))
                .context("cannot begin the thread that reads the kernel's symbols")?;
            Ok::<_, anyhow::Error>(receiver)
        });
        Ok(Self { symbols: symbols.transpose()?, until: Instant::now() + PATIENCE })
    }

    /// Whether records should wait for it.
    pub(super) fn holds(&self) -> bool {
        self.symbols.is_some() && Instant::now() < self.until
    }

    /// The symbols when they are read, once; `None` when records wait no longer. Cancel-safe.
    pub(super) async fn news(&mut self) -> Option<Symbols> {
        let Some(symbols) = &mut self.symbols else { return std::future::pending().await };
        let waits = Instant::now() < self.until;
        tokio::select! {
            read = symbols => {
                self.symbols = None;
                Some(read.unwrap_or_else(|_| Symbols::without(format!("the thread that reads {LIST} has panicked"))))
            }
            () = sleep_until(self.until), if waits => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_show_in_the_first_lines() {
        let shown = b"0000000000000000 A fixed_percpu_data\n0000000000001000 A cpu_debug_store\n0000000000002000 A irq_st";
        assert!(shows_addresses(shown));
        // Digits of names and types do not count, nor an empty list.
        let hidden = b"0000000000000000 A fixed_percpu_data\n0000000000000000 A cpu_1\n0000000000000000 A f1";
        assert!(!shows_addresses(hidden) && !shows_addresses(b""));
    }

    #[tokio::test]
    async fn what_is_read_on_the_thread_is_given_once() {
        let symbols = |list: Result<Unread, Symbols>| list.map_or_else(|symbols| symbols, Unread::read);
        let expected = symbols(Unread::open());
        let mut late = Late::start(Unread::open().ok()).expect("a thread");
        assert_eq!(late.holds(), expected.unusable().is_none(), "hidden addresses are known at once");
        if late.holds() {
            assert_eq!(late.news().await, Some(expected));
        }
        assert!(!late.holds());
        let again = tokio::time::timeout(Duration::ZERO, late.news()).await;
        assert!(again.is_err(), "{again:?}");
    }

    #[tokio::test]
    async fn records_wait_no_longer_than_the_bound() {
        let (sender, receiver) = oneshot::channel();
        let mut late = Late { symbols: Some(receiver), until: Instant::now() + Duration::from_millis(20) };
        assert_eq!(late.news().await, None);
        assert!(!late.holds(), "but they are still taken when they come");
        sender.send(Symbols::default()).expect("a receiver");
        assert_eq!(late.news().await, Some(Symbols::default()));
    }
}
