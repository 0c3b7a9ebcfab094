//! The body of an answer, piece by piece: its memory, its silence and its time on the loop are bounded.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::time::timeout;

use super::problem::Problem;
use super::shapes;
use super::sieve::{Piece, Sieve};
use crate::pods::TURN_BYTES;

/// The result of a read.
pub(super) enum Read {
    /// A piece.
    Piece(Piece),
    /// No piece within the time. The bytes that came of it are kept.
    Nothing,
    /// The end of the body.
    End,
}

/// Pieces of a body.
///
/// kube's own reader of events has no bound on a line, and says nothing of the silence between lines; its reader of lists has all
/// of the text at once, twice.
pub(super) struct Pieces {
    body: Body,
    sieve: Sieve,
    /// Bytes that came and were not taken yet.
    left: Bytes,
    /// Bytes that were taken since others had their turn.
    step: usize,
    received: u64,
}

impl Pieces {
    /// Of a watch: its lines.
    pub(super) fn of_watch(body: Body) -> Self {
        Self::new(body, Sieve::lines(&shapes::EVENT, "event"))
    }

    /// Of a list: its items, then the text around them.
    pub(super) fn of_list(body: Body) -> Self {
        Self::new(body, Sieve::whole(&shapes::LIST, "list"))
    }

    /// Of a list of Events: the same.
    pub(super) fn of_events(body: Body) -> Self {
        Self::new(body, Sieve::whole(&shapes::EVENTS, "list of Events"))
    }

    fn new(body: Body, sieve: Sieve) -> Self {
        Self { body, sieve, left: Bytes::new(), step: 0, received: 0 }
    }

    /// The next piece. Whole ones count: a server that drips bytes is as good as dead.
    ///
    /// # Errors
    /// The connection breaks, or the body is no JSON or has no end.
    pub(super) async fn next_within(&mut self, within: Duration) -> Result<Read, Problem> {
        match timeout(within, self.next()).await {
            Ok(Ok(Some(piece))) => Ok(Read::Piece(piece)),
            Ok(Ok(None)) => Ok(Read::End),
            Ok(Err(problem)) => Err(problem),
            Err(_) => Ok(Read::Nothing),
        }
    }

    /// Bytes that came since this was last called.
    pub(super) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }

    /// The next piece, or the end. May be dropped while it waits.
    ///
    /// # Errors
    /// As [`Self::next_within`].
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Problem> {
        loop {
            while !self.left.is_empty() {
                if self.step >= TURN_BYTES {
                    self.step = 0;
                    tokio::task::yield_now().await;
                }
                let end = self.left.len().min(TURN_BYTES - self.step);
                let (taken, piece) = self.sieve.take(&self.left[..end])?;
                self.left.advance(taken);
                self.step += taken;
                if piece.is_some() {
                    return Ok(piece);
                }
            }
            match self.body.frame().await {
                None if self.sieve.is_between() => return Ok(None),
                // A last line without an end may be half of one.
                None => return Err(Problem::Broken("the answer ends in the middle".to_owned())),
                Some(Err(error)) => return Err(Problem::of_body(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len() as u64;
                        self.left = data;
                    }
                }
            }
        }
    }
}

/// A whole body of at most so many bytes.
pub(super) async fn whole(mut body: Body, longest: usize) -> Result<BytesMut, Problem> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::of_body(&error))?;
        if let Some(data) = frame.data_ref() {
            if all.len() + data.len() > longest {
                return Err(Problem::Nonsense(format!("an answer of more than {longest} bytes")));
            }
            all.extend_from_slice(data);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The whole body is ready at once, so there is nothing to wait for.
    #[tokio::test]
    async fn others_have_their_turns_while_an_answer_is_read() {
        let turns = Arc::new(AtomicUsize::new(0));
        let other = {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        };
        let item = format!(r#"{{"metadata":{{"uid":"u","labels":{{"tenant":"{}"}}}}}}"#, "l".repeat(100_000));
        let list =
            format!(r#"{{"items":[{}],"metadata":{{"resourceVersion":"7"}}}}"#, vec![item; 50].join(","));
        let steps = list.len() / TURN_BYTES;
        let mut pieces = Pieces::of_list(Body::from(list.into_bytes()));
        let mut read = 0;
        while pieces.next().await.expect("a list").is_some() {
            read += 1;
        }
        other.abort();
        let turns = turns.load(Ordering::Relaxed);
        assert!(
            read == 51 && turns + 1 >= steps,
            "{turns} turns while {steps} steps of {read} pieces were read"
        );
    }
}
