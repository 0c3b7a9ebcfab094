//! The log of trouble with the server.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Dispatch;
use tracing::dispatcher::{DefaultGuard, set_default};
use tracing::subscriber::NoSubscriber;

use super::{LONG, json, knows, options, recorded, synced, well};
use crashtrace::pods::kube::{Kube, Options};
use crashtrace_test_support::api_server::{Answer, Server};

/// The lines logged on this thread for as long as it lives.
struct Log {
    text: Text,
    _default: DefaultGuard,
    /// While there is but one, a place that logs on another thread first is switched off for all threads.
    _two: [Dispatch; 2],
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> Self {
        let text = Text::default();
        let lines = {
            let text = text.clone();
            tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || text.clone())
        };
        let two = [Dispatch::new(lines.finish()), Dispatch::new(NoSubscriber::default())];
        Self { text, _default: set_default(&two[0]), _two: two }
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.text.bytes()).lines().map(str::to_owned).collect()
    }

    async fn wait_for(&self, words: &str) {
        let end = Instant::now() + LONG;
        while !self.lines().iter().any(|line| line.contains(words)) {
            assert!(Instant::now() < end, "{words}: {:#?}", self.lines());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn each_change_of_trouble_is_logged_once() {
    let log = Log::begin();
    let mut server = Server::start(|_| json(403, recorded!("errors/403-watch-pods.json"))).await;
    let answer_deadline = Duration::from_secs(2);
    let kube = Kube::start(Options { grace: Duration::ZERO, answer_deadline, ..options(&server) });
    log.wait_for("no names of pods from the API server: the API server refuses: 403 pods is forbidden").await;
    kube.wait(LONG, |status| status.failures >= 6).await.expect("it is asked again and again");
    server.stop().await;
    log.wait_for("cannot connect to the API server").await;
    server.accept_token("another");
    server.listen().await;
    log.wait_for("the API server refuses: 401").await;
    server.answer_by(|_| Answer::Never);
    server.accept_token("good-token");
    log.wait_for("the API server gives no answer within 2000 ms").await;
    server.answer_by(well);
    synced(&kube).await;
    log.wait_for("names of pods come from the API server pods=16").await;
    server.answer_by(|_| json(403, recorded!("errors/403-watch-pods.json")));
    server.break_streams();
    log.wait_for("what was known is still used: the API server refuses: 403").await;
    knows(&kube);
    let lines = log.lines();
    assert!(lines.windows(2).all(|two| two[0] != two[1]), "one is there again: {lines:#?}");
    let mut warned = lines.iter().filter(|line| line.contains("WARN "));
    assert!(warned.all(|line| line.contains("remedy=")), "what to do: {lines:#?}");
}
