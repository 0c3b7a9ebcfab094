//! Answers of the API server that are at hand as bytes, read as those that come over a connection. PURE: for recorded answers, and
//! for tests with bytes that no server would send.

use super::events::Latest;
use super::message::{Event, List};
use super::problem::Problem;
use super::shapes;
use super::sieve::{Piece, Sieve};
use crate::names::PodEvent;
use crate::pods::object::pod;
use crate::pods::pod::Pod;

/// The pods of a watch, as they were added, changed and removed.
///
/// # Errors
/// The answer is none, or ends in the middle of a line.
pub fn pods_of_watch<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Pod>, Problem> {
    let mut pods = Vec::new();
    read(Sieve::lines(&shapes::EVENT, "event"), pieces, |piece| {
        if let Piece::Whole(line) = piece
            && let Event::There(object) | Event::Gone(object) = Event::parse(&line)?
        {
            pods.extend(pod(&object));
        }
        Ok(())
    })?;
    Ok(pods)
}

/// The Events of the object with this UID in a list, if they are credible for a kubelet of this node.
///
/// # Errors
/// The answer is none, or ends in the middle.
pub fn events_of_list<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    uid: &str,
    node: &str,
) -> Result<Vec<PodEvent>, Problem> {
    let mut events = Latest::default();
    read(Sieve::whole(&shapes::EVENTS, "list of Events"), pieces, |piece| {
        match piece {
            Piece::Item(kept) => events.take(&kept, uid, node),
            Piece::Whole(kept) => _ = List::parse(&kept)?,
            Piece::TooLarge => events.left_out += 1,
        }
        Ok(())
    })?;
    Ok(events.list)
}

fn read<'a>(
    mut sieve: Sieve,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut take: impl FnMut(Piece) -> Result<(), Problem>,
) -> Result<(), Problem> {
    for mut piece in pieces {
        while !piece.is_empty() {
            let (taken, ended) = sieve.take(piece)?;
            piece = &piece[taken..];
            if let Some(ended) = ended {
                take(ended)?;
            }
        }
    }
    if sieve.is_between() { Ok(()) } else { Err(Problem::Broken("the answer ends in the middle".to_owned())) }
}
