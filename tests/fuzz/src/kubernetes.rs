//! Answers of a container runtime and of the API server, in pieces of any size.

use crashtrace::pods::cri::Listing;
use crashtrace::pods::cri::decode::{Items, MOST, MOST_BYTES, Of};
use crashtrace::pods::cri::wire::Reader;
use crashtrace::pods::kube::answer;

use crate::pieces;

/// `ListContainersResponse`.
pub(crate) fn containers(message: &[u8]) -> bool {
    list(Of::Containers, message)
}

/// `ListPodSandboxResponse`.
pub(crate) fn sandboxes(message: &[u8]) -> bool {
    list(Of::Sandboxes, message)
}

fn list(of: Of, message: &[u8]) -> bool {
    let read = |mut pieces: std::slice::Chunks<'_, u8>| {
        let mut listing = Listing::default();
        let mut items = Items::new(of, &mut listing);
        let mut reader = Reader::new(message.len() as u64);
        let read = pieces.all(|piece| reader.feed(piece, &mut items).is_ok()) && reader.is_done();
        (read, listing)
    };
    let (read_whole, whole) = read(message.chunks(message.len().max(1)));
    let (read_in_pieces, in_pieces) = read(pieces(message));
    assert_eq!((read_whole, &whole), (read_in_pieces, &in_pieces), "pieces make no difference");
    assert!(whole.containers.len() <= MOST && whole.sandboxes.len() <= MOST && message.len() <= MOST_BYTES);
    read_whole && !(whole.containers.is_empty() && whole.sandboxes.is_empty())
}

/// A watch of pods.
pub(crate) fn pods(answer: &[u8]) -> bool {
    let whole = answer::pods_of_watch([answer]);
    let in_pieces = answer::pods_of_watch(pieces(answer));
    assert_eq!(whole.as_ref().ok(), in_pieces.as_ref().ok(), "pieces make no difference");
    whole.is_ok_and(|pods| !pods.is_empty())
}

/// A list of Events.
pub(crate) fn events(answer: &[u8]) -> bool {
    let read = |uid| answer::events_of_list(pieces(answer), uid, "node1");
    read(crate::seeds::EVENTS_OF).is_ok_and(|events| !events.is_empty())
}
