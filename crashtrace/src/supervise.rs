//! Tasks that must run as long as the agent does. They are not awaited, so without this a panic would go unnoticed: names would
//! stay unchanged for ever, metrics would not answer. Here the end of a task, by a panic or by a return, is reported to its owner,
//! logged, and followed by a restart after a pause that grows while the task keeps failing.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::backoff::{Backoff, Pauses};
use crate::harmless::one_line;

/// The longest text of a panic that is passed on.
const LONGEST_TEXT: usize = 240;

/// Why a task is not running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub task: &'static str,
    /// Text of the panic. `None`: the task returned, which it must not.
    pub panic: Option<String>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, panic } = self;
        match panic {
            Some(panic) => write!(f, "a fault of crashtrace stopped {task}, which is started anew: {panic}"),
            None => write!(f, "a fault of crashtrace ended {task}, which is started anew"),
        }
    }
}

/// A supervised task. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the task ends when this is dropped"]
pub struct Supervised(JoinHandle<()>);

impl Drop for Supervised {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs the future that `start` makes of `shared`, the state that it shares with its owner, again each time that it ends, after one
/// of `pauses`. `ended` gets the reason before each pause. Must be called within a tokio runtime.
pub fn keep<S, F>(
    task: &'static str,
    pauses: Pauses,
    shared: Arc<S>,
    start: impl Fn(Arc<S>) -> F + Send + 'static,
    ended: impl Fn(&S, &Ended) + Send + 'static,
) -> Supervised
where
    S: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    Supervised(tokio::spawn(async move {
        let mut backoff = Backoff::new(pauses, fastrand::Rng::new());
        loop {
            let begun = Instant::now();
            // In a separate task, so that a panic ends only that one; in a set, so that it ends with this one.
            let mut set = JoinSet::new();
            set.spawn(start(Arc::clone(&shared)));
            let panic = match set.join_next().await {
                Some(Err(error)) => Some(text(error)),
                Some(Ok(())) | None => None,
            };
            let reason = Ended { task, panic };
            // For a panic, the panic hook has logged where it was, and that it should be reported.
            let please = if reason.panic.is_some() { "" } else { "; please report it" };
            tracing::error!("{reason}{please}");
            ended(&shared, &reason);
            backoff.went_well(begun.elapsed());
            tokio::time::sleep(backoff.pause(None)).await;
        }
    }))
}

/// Text of a panic.
fn text(error: JoinError) -> String {
    error.try_into_panic().map_or_else(|error| error.to_string(), |panic| said(&*panic))
}

/// Text of a panic, in one line of bounded length.
pub(crate) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    one_line(text.unwrap_or("a panic without words"), LONGEST_TEXT)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read as _;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// Starts tasks of which the first panics, and each other does this to its shared state once the gate is open. No way to make
    /// the agent panic is known (it would be fixed), so this makes one.
    pub(crate) fn panics_once<S: Send + Sync + 'static>(
        gate: &Arc<Semaphore>,
        then: fn(&S),
    ) -> impl Fn(Arc<S>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + use<S> {
        let (gate, runs) = (Arc::clone(gate), AtomicUsize::new(0));
        move |shared| {
            let (gate, run) = (Arc::clone(&gate), runs.fetch_add(1, Ordering::SeqCst));
            Box::pin(async move {
                assert!(run > 0, "index out of bounds");
                let _permit = gate.acquire().await;
                then(&shared);
                std::future::pending::<()>().await;
            })
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    fn short() -> Pauses {
        let moment = Duration::from_millis(1);
        Pauses { first: moment, longest: moment, health: LONG }
    }

    #[tokio::test]
    async fn a_task_that_panics_or_returns_is_reported_and_restarted() {
        let (mut log, to) = std::io::pipe().expect("a pipe");
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(to)).finish();
        let logged = tracing::subscriber::set_default(subscriber);
        let (send, mut told) = unbounded_channel();
        let (runs, mut started) = unbounded_channel();
        let start = move |count: Arc<AtomicUsize>| {
            let (run, runs) = (count.fetch_add(1, Ordering::SeqCst) + 1, runs.clone());
            async move {
                runs.send(run).expect("the test waits");
                match run {
                    1 => panic!("index {run}\nout of bounds"),
                    2 => {}
                    _ => std::future::pending().await,
                }
            }
        };
        let ended = move |count: &AtomicUsize, ended: &Ended| {
            assert!(count.load(Ordering::SeqCst) > 0);
            send.send(ended.clone()).expect("the test waits");
        };
        let task = keep("the task", short(), Arc::default(), start, ended);
        let next = tokio::time::timeout(LONG, told.recv()).await.expect("in time").expect("it is told");
        assert_eq!(next, Ended { task: "the task", panic: Some("index 1 out of bounds".to_owned()) });
        let next = tokio::time::timeout(LONG, told.recv()).await.expect("in time").expect("it is told");
        assert_eq!(next.to_string(), "a fault of crashtrace ended the task, which is started anew");
        for run in 1..=3 {
            assert_eq!(tokio::time::timeout(LONG, started.recv()).await.expect("in time"), Some(run));
        }
        drop((task, logged));
        let mut said = String::new();
        log.read_to_string(&mut said).expect("text");
        let errors: Vec<_> = said.lines().filter_map(|line| line.split_once("ERROR ")).collect();
        let [(_, panicked), (_, returned)] = errors[..] else { panic!("{said}") };
        let stopped = "a fault of crashtrace stopped the task, which is started anew: index 1 out of bounds";
        assert!(panicked.ends_with(stopped), "{said}");
        assert!(returned.ends_with("ended the task, which is started anew; please report it"), "{said}");
    }

    #[tokio::test]
    async fn it_ends_with_its_handle() {
        struct Alive(Arc<AtomicUsize>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let alive = Arc::new(AtomicUsize::new(0));
        let start = |alive: Arc<AtomicUsize>| {
            alive.fetch_add(1, Ordering::SeqCst);
            let guard = Alive(alive);
            async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            }
        };
        let task = keep("the task", short(), Arc::clone(&alive), start, |_, ended| panic!("{ended}"));
        while alive.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        drop(task);
        let gone = async {
            while alive.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, gone).await.expect("it goes with its handle");
    }
}
