//! What is written, and which files are overwritten.

use std::fs;
use std::io::PipeReader;
use std::os::unix::fs::symlink;

use crashtrace_ebpf::LAYOUT_VERSION;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::cgroup::NodeRoot;
use crate::gfp::GfpNames;
use crate::recording::{FORMAT, Frame, Reader};

const SOON: Duration = Duration::from_mins(1);

fn begun(opened: Opened) -> Result<Begun> {
    opened.begin(Preamble {
        format: FORMAT.to_owned(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        layout: LAYOUT_VERSION,
        node: "n1".to_owned(),
        kernel: "6.12".to_owned(),
        boot_id: "b".to_owned(),
        page_size_bytes: 4096,
        memory_bytes: Some(1 << 30),
        node_root: NodeRoot::default(),
        memory_cgroup_v1: Some(false),
        realtime_offset_ns: 7,
        hooks: Vec::new(),
        blind: Vec::new(),
        gfp: GfpNames::fallback(),
        symbols: None,
        started_ktime_ns: 9,
        since_ktime_ns: None,
    })
}

fn recorded(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).expect("a file");
    let (preamble, mut reader) = Reader::open(file.as_slice()).expect("a recording");
    assert_eq!((preamble.node.as_str(), preamble.started_ktime_ns), ("n1", 9));
    let frames = std::iter::from_fn(|| match reader.frame().expect("memory")? {
        Frame::Record(record) => Some(record.to_vec()),
        Frame::Broken(why) => panic!("{why}"),
        Frame::Clock { .. } => panic!("nobody has set the clock"),
    });
    frames.collect()
}

#[tokio::test]
async fn a_recording_is_for_its_owner_alone_even_over_an_older_one_that_was_not() {
    let folder = tempfile::tempdir().expect("a directory");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    let of = |name| folder.path().join(name);
    let (new, old, empty) = (of("new"), of("old"), of("empty"));
    // Of any version.
    fs::write(&old, "{\"format\":\"crashtrace-recording/v0\"}\n and more".repeat(100)).expect("a file");
    fs::write(&empty, "").expect("a file");
    for path in [&new, &old, &empty] {
        if path.exists() {
            fs::set_permissions(path, Permissions::from_mode(0o644)).expect("permissions");
        }
        let begun = begun(open(path).expect("a file")).expect("a recording");
        let mut recording = begun.start().expect("a thread");
        assert_eq!(mode(path), 0o600);
        assert_eq!((recording.record(b"abc"), recording.record(b"d")), (Taken::Whole, Taken::Whole));
        Box::new(recording).finish(Instant::now() + SOON).await;
        assert_eq!(recorded(path), [b"abc".to_vec(), b"d".to_vec()]);
    }
}

#[test]
fn other_files_are_left_alone_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a directory");
    let of = |name| folder.path().join(name);
    let (text, fifo, link, dangling, others) =
        (of("text"), of("fifo"), of("link"), of("dangling"), of("others"));
    fs::write(&text, "what somebody needs\n").expect("a file");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    let recording = of("recording");
    fs::write(&recording, "{\"format\":\"crashtrace-recording/v1\"").expect("a file");
    symlink(&recording, &link).expect("a link");
    symlink(of("nothing"), &dangling).expect("a link");
    let mut refusals: Vec<(PathBuf, &str)> = vec![
        (text.clone(), "no recording, and is not overwritten"),
        (fifo, "it is a FIFO"),
        (link, "it is a symbolic link"),
        (dangling, "it is a symbolic link"),
        (folder.path().to_owned(), "it is a directory"),
        ("/dev/null".into(), "it is a device"),
        (of("no-folder/file"), "No such file"),
    ];
    fs::copy(&recording, &others).expect("a file");
    std::os::unix::fs::chown(&others, Some(65_534), None).expect("root may");
    refusals.push((others, "it belongs to another user"));
    for (path, says) in refusals {
        let error = format!("{:#}", open(&path).expect_err("it is refused"));
        assert!(error.contains(says) && error.contains(&path.display().to_string()), "{error}");
    }
    assert_eq!(fs::read_to_string(&text).expect("a file"), "what somebody needs\n");
    assert!(!of("nothing").exists(), "no link is followed");
}

#[tokio::test]
async fn a_recording_that_fails_ends_and_the_agent_goes_on() {
    let full = Path::new("/dev/full");
    let file = || File::options().write(true).open(full).expect("the device");
    let opened = Opened { file: file(), path: full.to_owned() };
    let error = begun(opened).expect_err("a full disk is an error at the start");
    assert!(format!("{error:#}").contains("/dev/full"), "{error:#}");
    // This disk fills up later.
    let mut recording = Recording::start(file(), full).expect("a thread");
    let until = std::time::Instant::now() + SOON;
    while recording.record(b"abc") != Taken::Failed {
        assert!(std::time::Instant::now() < until, "it has not ended");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_file_that_is_too_slow_lacks_records_and_does_not_block_the_agent() {
    let (reader, to): (PipeReader, _) = io::pipe().expect("a pipe");
    let mut recording = Recording::start(to, Path::new("slow")).expect("a thread");
    for _ in 0..2_000 {
        // The pipe is not read.
        assert_ne!(recording.record(&[0; 10_000]), Taken::Failed);
    }
    assert!(recording.left_out > 1_800, "{}", recording.left_out);
    drop(reader);
}
