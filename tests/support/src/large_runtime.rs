//! A container runtime whose answers are as large as it is told, and which holds little of them itself.

use std::path::PathBuf;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::SendStream;
use http::{HeaderMap, Response};
use prost::encoding::{WireType, encode_key, encode_varint, string};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

/// A list: chunks, and how often each is sent.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Vec<(Bytes, usize)>);

impl Body {
    fn bytes(&self) -> usize {
        self.0.iter().map(|(piece, times)| piece.len() * times).sum()
    }
}

/// A runtime, with its socket.
#[derive(Debug)]
pub struct Runtime {
    _dir: TempDir,
    pub socket: PathBuf,
}

impl Runtime {
    pub fn start(sandboxes: Body, containers: Body) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("cri.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sandboxes.clone(), containers.clone()));
            }
        });
        Self { _dir: dir, socket }
    }
}

async fn serve(stream: UnixStream, sandboxes: Body, containers: Body) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let body = match request.uri().path() {
            "/runtime.v1.RuntimeService/ListContainers" => containers.clone(),
            _ => sandboxes.clone(),
        };
        let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
        let Ok(stream) = respond.send_response(head, false) else { continue };
        tokio::spawn(send(stream, body));
    }
}

async fn send(mut stream: SendStream<Bytes>, body: Body) -> Option<()> {
    let mut prefix = BytesMut::new();
    prefix.put_u8(0);
    prefix.put_u32(u32::try_from(body.bytes()).expect("it fits"));
    let pieces = body.0.into_iter().flat_map(|(piece, times)| std::iter::repeat_n(piece, times));
    for mut piece in std::iter::once(prefix.freeze()).chain(pieces) {
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len().min(16 << 10));
            let most = std::future::poll_fn(|context| stream.poll_capacity(context)).await?.ok()?;
            let now = piece.split_to(most.min(piece.len()));
            stream.send_data(now, false).ok()?;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    stream.send_trailers(trailers).ok()
}

/// A field of bytes.
fn field(out: &mut BytesMut, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// A message of texts.
fn texts(of: &[(u32, &str)]) -> BytesMut {
    let mut out = BytesMut::new();
    for (number, text) in of {
        string::encode(*number, &(*text).to_owned(), &mut out);
    }
    out
}

/// A sandbox with so many bytes of labels and as many of annotations, in a list.
pub fn sandbox(number: usize, labels_bytes: usize) -> Bytes {
    let mut item = texts(&[(1, &format!("{number:064x}"))]);
    let (name, uid) = (format!("pod-{number}"), format!("{number:08x}-0000-4000-8000-000000000000"));
    field(&mut item, 2, &texts(&[(1, &name), (2, &uid), (3, "tenant")]));
    for map in [5, 6] {
        let begun = item.len();
        for at in 0.. {
            if item.len() - begun >= labels_bytes {
                break;
            }
            field(&mut item, map, &texts(&[(1, &format!("tenant/label-{at:020}")), (2, &"v".repeat(63))]));
        }
    }
    field(&mut item, 5, &texts(&[(1, "io.kubernetes.pod.uid"), (2, &uid)]));
    listed(&item)
}

/// A container of this sandbox, in a list.
pub fn container(number: usize) -> Bytes {
    let mut item = texts(&[(1, &format!("c{number:063x}")), (2, &format!("{number:064x}"))]);
    field(&mut item, 3, &texts(&[(1, "main")]));
    field(&mut item, 4, &texts(&[(1, &"i".repeat(1000)), (18, &"u".repeat(1000))]));
    let (name, uid) = (format!("pod-{number}"), format!("{number:08x}-0000-4000-8000-000000000000"));
    for (key, value) in [
        ("io.kubernetes.pod.name", name.as_str()),
        ("io.kubernetes.pod.namespace", "tenant"),
        ("io.kubernetes.pod.uid", &uid),
    ] {
        field(&mut item, 8, &texts(&[(1, key), (2, value)]));
    }
    listed(&item)
}

fn listed(item: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    field(&mut out, 1, item);
    out.freeze()
}

/// So many bytes of empty items.
pub fn empties(bytes: usize) -> Body {
    const PIECE: usize = 16 << 10;
    Body(vec![(Bytes::from([0x0a_u8, 0].repeat(PIECE / 2)), bytes / PIECE)])
}
