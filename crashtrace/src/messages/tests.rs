//! Standard error in each of its possible states.

use std::fs::File;
use std::io::{BufRead as _, PipeReader, Read as _};
use std::sync::mpsc;

use super::*;

const SOON: Duration = Duration::from_mins(1);

fn full_pipe() -> (PipeReader, Messages) {
    let (reader, writer) = io::pipe().unwrap();
    let mut filler = Descriptor(writer.try_clone().unwrap());
    while filler.is_writable(Some(Duration::ZERO)) {
        filler.write_all(&[b'.'; 4096]).unwrap();
    }
    (reader, Messages::new(Box::new(writer), false))
}

fn to_full_disk() -> Messages {
    Messages::new(Box::new(File::options().write(true).open("/dev/full").unwrap()), false)
}

/// Reads this many lines: the thread that writes keeps the pipe open.
fn read_lines_in_background(reader: PipeReader, count: u64) -> mpsc::Receiver<Vec<String>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = io::BufReader::new(reader).lines().take(usize::try_from(count).unwrap());
        let lines = lines.map(|line| line.unwrap().trim_start_matches('.').to_owned());
        sender.send(lines.collect()).unwrap();
    });
    receiver
}

fn read_in_background(mut reader: PipeReader) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        sender.send(text.trim_start_matches('.').to_owned()).unwrap();
    });
    receiver
}

#[test]
fn a_full_disk_drops_messages_and_counts_them() {
    for threaded in [false, true] {
        let messages = to_full_disk();
        if threaded {
            messages.on_a_thread().unwrap();
        }
        messages.say("a\n");
        messages.say("b\n");
        assert!(messages.finish(SOON));
        assert_eq!(messages.unsaid(), Unsaid { dropped: 2, kept_back: 0 }, "{threaded}");
    }
}

#[test]
fn a_closed_pipe_drops_messages_and_counts_them() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let messages = Messages::new(Box::new(writer), false);
    messages.say("a\n");
    messages.on_a_thread().unwrap();
    messages.say("b\n");
    assert!(messages.finish(SOON));
    assert_eq!(messages.unsaid().dropped, 2);
}

#[test]
fn a_pipe_that_is_not_read_blocks_no_thread_and_holds_what_it_can() {
    for threaded in [false, true] {
        let (reader, messages) = full_pipe();
        if threaded {
            messages.on_a_thread().unwrap();
        }
        // Would never return if it waited.
        for at in 0..10_000 {
            messages.say(&format!("{at:>99}\n"));
        }
        assert!(!messages.finish(Duration::ZERO));
        let dropped = messages.unsaid().dropped;
        assert!((7_000..8_000).contains(&dropped), "{dropped}");
        // When the pipe is read at last, the waiting messages come, in order and whole.
        let text = read_lines_in_background(reader, 10_000 - dropped);
        assert!(messages.finish(SOON), "{threaded}");
        let lines = text.recv_timeout(SOON).unwrap();
        let lines: Vec<u64> = lines.iter().map(|line| line.trim().parse().unwrap()).collect();
        assert_eq!(lines, (0..10_000 - dropped).collect::<Vec<_>>());
    }
}

#[test]
fn harmful_characters_are_escaped_and_a_message_has_an_end() {
    let (reader, writer) = io::pipe().unwrap();
    let messages = Messages::new(Box::new(writer), false);
    messages.say("a\x1b[2J\u{9b}\u{202e}b\n");
    messages.say(&"é".repeat(MESSAGE_BYTES));
    assert!(messages.finish(SOON));
    drop(messages);
    let text = read_in_background(reader).recv_timeout(SOON).unwrap();
    assert!(text.starts_with("a\\x1b[2J\\u{9b}\\u{202e}b\né"), "{}", &text[..40]);
    assert!(text.ends_with("é… (16384 bytes more)\n"), "{}", &text[text.len() - 40..]);
}

#[test]
fn a_flood_of_one_kind_is_a_few_messages_and_a_count() {
    let (reader, writer) = io::pipe().unwrap();
    let messages = Messages::new(Box::new(writer), false);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(messages.clone())
        .with_ansi(false)
        .with_filter(Kinds { level: LevelFilter::WARN, messages: messages.clone() });
    let text = read_in_background(reader);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        for at in 0..100_000 {
            tracing::warn!(at, "a record could not be read");
            tracing::info!("below the level");
        }
        tracing::warn!("another kind");
    });
    assert!(messages.finish(SOON));
    assert_eq!(messages.unsaid(), Unsaid { dropped: 0, kept_back: 100_000 - u64::from(throttle::BURST) });
    drop(messages);
    let text = text.recv_timeout(SOON).unwrap();
    assert_eq!(text.matches("a record could not be read at=").count(), throttle::BURST as usize, "{text}");
    assert_eq!(text.matches("another kind").count(), 1, "{text}");
    assert!(
        text.contains("99980 more messages like this one were kept back: a record could not be read\n"),
        "{text}"
    );
}

/// A message that was cut off ends its line before the next begins.
#[test]
fn a_message_that_was_cut_ends_its_line() {
    for threaded in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stderr");
        let messages = Messages::new(Box::new(File::create(&path).unwrap()), false);
        {
            let mut queue = messages.0.queue();
            queue.cut = true;
        }
        if threaded {
            messages.on_a_thread().unwrap();
        }
        messages.say("next\n");
        messages.say("last\n");
        assert!(messages.finish(SOON));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\nnext\nlast\n", "{threaded}");
    }
}
