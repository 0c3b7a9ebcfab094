//! A container's log as runtimes write it: `<time> stdout|stderr P|F <text>` a line; where it is `P`, the end is on the next.

/// The parts of this stream's lines, each with its tag.
pub fn parts<'a>(log: &'a [u8], stream: &str) -> Vec<(u8, &'a [u8])> {
    let fields = log.split(|byte| *byte == b'\n').map(|line| {
        let mut fields = line.splitn(4, |byte| *byte == b' ').skip(1);
        (fields.next(), fields.next(), fields.next().unwrap_or_default())
    });
    let of_stream = fields.filter(|(of, ..)| *of == Some(stream.as_bytes()));
    of_stream.filter_map(|(_, tag, text)| Some((*tag?.first()?, text))).collect()
}

/// The lines of this stream, put together from their parts.
pub fn lines(log: &[u8], stream: &str) -> Vec<Vec<u8>> {
    let (mut lines, mut open) = (Vec::new(), Vec::new());
    for (tag, text) in parts(log, stream) {
        open.extend_from_slice(text);
        if tag == b'F' {
            lines.push(std::mem::take(&mut open));
        }
    }
    lines
}
