//! Whether others on the loop have their turns while an answer is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::super::grpc::{Answer, Connection};
use super::super::message::ListContainersRequest;
use super::server::{Manner, Server};
use crate::pods::TURN_BYTES;

/// HTTP/2's usual frame, which is read at once.
const FRAME: usize = 16 << 10;

/// Counts the bytes that are read while no other task has a turn.
#[derive(Default)]
struct Count {
    since_turn: Arc<AtomicUsize>,
    most: usize,
    all: usize,
}

impl Answer for Count {
    fn begin(&mut self, _: u64) {}

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.all += bytes.len();
        self.most = self.most.max(self.since_turn.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len());
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test]
async fn others_have_their_turns_while_an_answer_is_read() {
    const BYTES: usize = 8 << 20;
    let mut answer = BytesMut::new();
    answer.put_u8(0);
    answer.put_u32(u32::try_from(BYTES).expect("it fits"));
    answer.put_bytes(0, BYTES);
    let server = Server::start(Manner::Says(Bytes::from(answer)));
    let mut count = Count::default();
    let since_turn = Arc::clone(&count.since_turn);
    let other = tokio::spawn(async move {
        loop {
            since_turn.store(0, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let mut connection = Connection::open(&server.socket).await.expect("a connection");
    let question = ListContainersRequest::default();
    connection.unary("/x/y", &question, &mut count).await.expect("an answer");
    other.abort();
    assert_eq!(count.all, BYTES);
    assert!(count.most <= TURN_BYTES + FRAME, "{} bytes at once", count.most);
}
