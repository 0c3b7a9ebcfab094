//! Messages about the agent itself, on standard error. No failure there may stop the agent: a message that cannot be written (a
//! full disk, a closed pipe) or that is not read (a full pipe) is dropped and counted.
//!
//! Until [`Messages::on_a_thread`] the thread that logs a message writes it, as far as that is possible without a wait; after it
//! a separate thread does, because only that one can block in a write without harm. It is started when the agent has dropped its
//! privileges, so that it has none. Messages that cannot be written at once wait, up to `MOST_BYTES`.
//!
//! tracing-appender (0.2.4) is not used for this: it ignores write errors without a count, its bound is in lines and not in bytes,
//! it calls `println` at shutdown (which panics), and it brings the `time` crate.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, callsite};
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::stdio::Descriptor;
use crate::terminal::harmless_but;
use throttle::{Fate, Throttle};

mod throttle;

/// Bytes that may wait.
const MOST_BYTES: usize = 256 * 1024;
/// Bytes of one message. The longest are a kernel's refusals, with the end of the verifier's log.
const MESSAGE_BYTES: usize = 16 * 1024;
/// Bytes that a writable pipe takes as a whole (`PIPE_BUF`).
const AT_ONCE_BYTES: usize = 4096;

/// A handle on standard error.
#[derive(Clone, Debug)]
pub struct Messages(Arc<Inner>);

/// Messages that were not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsaid {
    /// They could not be written.
    pub dropped: u64,
    /// There were too many of the same kind.
    pub kept_back: u64,
}

struct Inner {
    to: Box<dyn AsFd + Send + Sync>,
    color: bool,
    queue: Mutex<Queue>,
    /// A message waits.
    more: Condvar,
    /// No message waits, and none is being written.
    idle: Condvar,
    throttle: Mutex<Throttle<callsite::Identifier>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// Written bytes of the first message.
    written: usize,
    /// The thread has taken a message.
    writing: bool,
    threaded: bool,
    /// The latest message was cut off.
    cut: bool,
    dropped: u64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Messages {
    /// Writes this process's log from `level` on, and its panics, to standard error.
    ///
    /// # Errors
    /// Another subscriber is installed already.
    pub fn init(level: LevelFilter, color: bool) -> Result<Self, TryInitError> {
        let messages = Self::new(Box::new(io::stderr()), color);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(messages.clone())
            .with_ansi(color)
            // Those are written by `eprintln`.
            .log_internal_errors(false)
            .with_filter(Kinds { level, messages: messages.clone() });
        tracing_subscriber::registry().with(layer).try_init()?;
        let last_words = messages.clone();
        std::panic::set_hook(Box::new(move |panic| last_words.panicked(panic)));
        Ok(messages)
    }

    fn new(to: Box<dyn AsFd + Send + Sync>, color: bool) -> Self {
        Self(Arc::new(Inner {
            to,
            color,
            queue: Mutex::default(),
            more: Condvar::new(),
            idle: Condvar::new(),
            throttle: Mutex::new(Throttle::new()),
        }))
    }

    /// From here on a thread writes messages.
    ///
    /// # Errors
    /// The thread cannot be started; then nothing changes.
    pub fn on_a_thread(&self) -> io::Result<()> {
        let mut queue = self.0.queue();
        if queue.threaded {
            return Ok(());
        }
        let inner = self.0.clone();
        std::thread::Builder::new().name("messages".to_owned()).spawn(move || inner.write())?;
        queue.threaded = true;
        Ok(())
    }

    /// Writes this text, with harmful characters escaped.
    pub fn say(&self, text: &str) {
        self.0.put(text);
    }

    /// The messages that were not written so far.
    #[must_use]
    pub fn unsaid(&self) -> Unsaid {
        let dropped = self.0.queue().dropped;
        Unsaid { dropped, kept_back: self.0.throttle().kept_back() }
    }

    /// Waits up to `within` for all messages to be written. Returns whether they were.
    pub fn finish(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        self.0.summarize();
        let mut queue = self.0.queue();
        if !queue.threaded {
            return self.0.write_until(queue, until);
        }
        while !queue.waiting.is_empty() || queue.writing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.0.idle.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Not through `tracing`, within which the panic may have occurred.
    fn panicked(&self, panic: &PanicHookInfo<'_>) {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let what = panic.payload_as_str().unwrap_or("without a message");
        let at = panic.location().map(|at| format!(" at {at}")).unwrap_or_default();
        self.say(&format!(
            "crashtrace: a fault of crashtrace, please report it: thread {thread} panicked{at}: {what}\n"
        ));
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle<callsite::Identifier>> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes how many messages were suppressed.
    fn summarize(&self) {
        let summary = self.throttle().summary();
        if let Some(summary) = summary {
            self.put(&summary);
        }
    }

    fn put(&self, text: &str) {
        let mut text = harmless_but(text, |c| matches!(c, '\n' | '\t') || (c == '\x1b' && self.color));
        if text.len() > MESSAGE_BYTES {
            let end = text.floor_char_boundary(MESSAGE_BYTES);
            text = format!("{}… ({} bytes more)\n", &text[..end], text.len() - end).into();
        }
        let mut queue = self.queue();
        if queue.waiting_bytes + text.len() > MOST_BYTES {
            queue.dropped = queue.dropped.saturating_add(1);
            return;
        }
        queue.waiting_bytes += text.len();
        queue.waiting.push_back(text.into_owned().into_bytes());
        if queue.threaded {
            self.more.notify_one();
        } else {
            self.write_until(queue, Instant::now());
        }
    }

    /// Writes as much as possible without a wait beyond `until`. Returns whether that is all.
    fn write_until(&self, mut queue: MutexGuard<'_, Queue>, until: Instant) -> bool {
        let to = Descriptor(self.to.as_fd());
        while let Some(first) = queue.waiting.front() {
            let left = until.saturating_duration_since(Instant::now());
            if !to.is_writable(Some(left)) {
                if left.is_zero() {
                    return false;
                }
                continue;
            }
            let rest = &first[queue.written..];
            // Not by `Descriptor`, which waits: another process that shares a non-blocking pipe may have filled it meanwhile.
            let wrote = rustix::io::write(
                to.0,
                if queue.cut { b"\n" } else { &rest[..rest.len().min(AT_ONCE_BYTES)] },
            );
            match wrote {
                Err(Errno::AGAIN) if left.is_zero() => return false,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(1..) if queue.cut => queue.cut = false,
                Ok(bytes @ 1..) if bytes < rest.len() => queue.written += bytes,
                Ok(1..) => queue.pop(),
                Ok(0) | Err(_) => {
                    queue.dropped = queue.dropped.saturating_add(1);
                    queue.cut |= queue.written > 0;
                    queue.pop();
                }
            }
        }
        true
    }

    /// The writing thread.
    fn write(&self) {
        let mut to = Descriptor(self.to.as_fd());
        loop {
            let mut queue = self.queue();
            // Read while the queue is held, as it is in `event_enabled` where a count begins and wakes this thread: so no wake-up
            // is lost.
            let due = self.throttle().due();
            if due.is_some_and(|due| due <= Instant::now()) {
                drop(queue);
                self.summarize();
                continue;
            }
            let Some(message) = queue.waiting.front().map(|first| first[queue.written..].to_vec()) else {
                self.idle.notify_all();
                match due {
                    Some(due) => {
                        let left = due.saturating_duration_since(Instant::now());
                        drop(self.more.wait_timeout(queue, left));
                    }
                    None => drop(self.more.wait(queue)),
                }
                continue;
            };
            queue.pop();
            queue.writing = true;
            let cut = queue.cut;
            drop(queue);
            let begun = if cut { to.write_all(b"\n") } else { Ok(()) };
            let mut counted = Counted { to: &mut to, bytes: 0 };
            let wrote = begun.and_then(|()| counted.write_all(&message));
            let some = counted.bytes > 0;
            let mut queue = self.queue();
            queue.writing = false;
            if wrote.is_err() {
                queue.dropped = queue.dropped.saturating_add(1);
            }
            queue.cut = wrote.is_err() && (some || cut);
        }
    }
}

/// Counts the written bytes of a message.
struct Counted<'a, W> {
    to: &'a mut W,
    bytes: usize,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wrote = self.to.write(bytes)?;
        self.bytes += wrote;
        Ok(wrote)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    /// Removes the first message.
    fn pop(&mut self) {
        if let Some(first) = self.waiting.pop_front() {
            self.waiting_bytes -= first.len();
        }
        self.written = 0;
    }
}

/// One message for each call, as `tracing_subscriber` writes them.
impl Write for &Messages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Messages {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Passes messages of the level that are not too frequent.
struct Kinds {
    level: LevelFilter,
    messages: Messages,
}

impl<S: Subscriber> Filter<S> for Kinds {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        *metadata.level() <= self.level
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        // At a finer level the user gets all messages, and those that are too much for standard error are dropped.
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let kind = event.metadata().callsite();
        let inner = &self.messages.0;
        let mut first = First(String::new());
        // Formatted without the lock, because formatting may log.
        if !inner.throttle().knows(&kind) {
            event.record(&mut first);
        }
        let fate = inner.throttle().fate(kind, first.0, Instant::now());
        if fate == Fate::BeginsCount {
            // The thread now has a deadline, and reads it while it holds the queue.
            let _queue = inner.queue();
            inner.more.notify_one();
        }
        fate == Fate::Out
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }
}

/// The words of a message, without its fields.
struct First(String);

impl Visit for First {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
            self.0.truncate(self.0.floor_char_boundary(200));
        }
    }
}

#[cfg(test)]
mod tests;
