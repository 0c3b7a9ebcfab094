use std::sync::mpsc::{Sender, channel};

use super::*;

type Result1 = io::Result<Result<Looked, String>>;

/// A look that the test ends.
fn started(looks: &mut Looks, about: u64) -> (Look, Option<Sender<Result1>>) {
    let (sender, receiver) = channel();
    let mut begun = None;
    let look = looks.large(about, || {
        begun = Some(sender);
        Ok(receiver)
    });
    (look, begun)
}

#[test]
fn a_look_is_begun_once_and_its_result_stays() {
    let mut looks = Looks::default();
    let (look, sender) = started(&mut looks, 7);
    assert_eq!(look, Look::Pending);
    let (again, second) = started(&mut looks, 7);
    assert_eq!((again, second.is_none()), (Look::Pending, true));
    let found = Looked { looked_at: 3, ..Looked::default() };
    sender.expect("it was begun").send(Ok(Ok(found.clone()))).expect("it is awaited");
    for _ in 0..2 {
        let (look, sender) = started(&mut looks, 7);
        assert_eq!((look, sender.is_none()), (Look::Done(found.clone()), true));
    }
    assert!(started(&mut looks, 8).1.is_some(), "another incident has its own");
}

#[test]
fn two_looks_are_not_under_way_at_once() {
    let mut looks = Looks::default();
    let (_, sender) = started(&mut looks, 7);
    let (look, second) = started(&mut looks, 8);
    assert!(matches!(look, Look::Failed(reason) if reason.contains("for another incident")));
    assert!(second.is_none());
    drop(sender);
    assert!(matches!(started(&mut looks, 7).0, Look::Failed(reason) if reason.contains("a fault")));
    assert_eq!(started(&mut looks, 8).0, Look::Pending);
}

#[test]
fn failures_are_phrases() {
    let mut looks = Looks::default();
    let failed = looks.large(1, || Err(io::Error::other("no threads")));
    assert_eq!(failed, Look::Failed("the cgroups cannot be looked at: no threads".to_owned()));
    let (_, sender) = started(&mut looks, 2);
    sender.expect("it was begun").send(Ok(Err("it is gone".to_owned()))).expect("it is awaited");
    assert_eq!(started(&mut looks, 2).0, Look::Failed("it is gone".to_owned()));
}

fn file(dir: &Path, name: &str, text: &str) {
    fs::create_dir_all(dir).expect("a cgroup");
    fs::write(dir.join(name), text).expect("a file");
}

#[test]
fn files_of_both_versions_are_read() {
    let root = tempfile::tempdir().expect("a directory");
    let pod = root.path().join("kubepods/pod 1");
    for (name, text) in [
        ("memory.current", "4096\n"),
        ("memory.swap.current", "8192\n"),
        ("memory.max", "max\n"),
        ("memory.usage_in_bytes", "12288\n"),
        ("memory.limit_in_bytes", "9223372036854771712\n"),
    ] {
        file(&pod, name, text);
    }
    file(&root.path().join("kubepods"), "memory.max", "1048576\n");
    let mut v2 = Mounted { mount: root.path().to_owned(), v1: false };
    let children = v2.children(b"", 9).expect("it is there");
    assert_eq!(children.iter().map(|child| child.name.as_slice()).collect::<Vec<_>>(), [b"kubepods"]);
    let id = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&pod).expect("it is there"));
    assert_eq!(
        v2.children(b"/kubepods", 9),
        Ok(vec![Child { cgroup_id: id, name: b"pod 1".to_vec() }]),
        "no files"
    );
    assert_eq!(v2.usage(b"/kubepods/pod 1"), Some(Usage { bytes: 4096, swap_bytes: Some(8192) }));
    assert_eq!(v2.limit(b"/kubepods/pod 1"), Some(Limit::Unlimited));
    assert_eq!(v2.limit(b"/kubepods"), Some(Limit::Bytes(1 << 20)));
    assert_eq!(v2.usage(b"/kubepods"), None, "it has no such file");
    let mut v1 = Mounted { mount: root.path().to_owned(), v1: true };
    assert_eq!(v1.usage(b"/kubepods/pod 1"), Some(Usage { bytes: 12288, swap_bytes: None }));
    assert_eq!(v1.limit(b"/kubepods/pod 1"), Some(Limit::Unlimited));
    v1.children(b"/kubepods/gone", 9).expect_err("it is not there");
}

/// Through the thread.
#[test]
fn a_look_at_a_tree_of_files() {
    let root = tempfile::tempdir().expect("a directory");
    for (name, bytes) in [("a", "100"), ("b", "99"), ("a/c", "100")] {
        file(&root.path().join(name), "memory.current", bytes);
    }
    let looked = begin(root.path().to_owned(), false, 100).expect("a thread");
    let looked = looked.recv().expect("it ends").expect("it can be read").expect("it has a root");
    let names: Vec<_> = looked.holders.iter().map(|held| (held.parent, held.level.name.clone())).collect();
    assert_eq!(names, [(None, Some("a".into())), (Some(0), Some("c".into()))]);
    assert_eq!((looked.looked_at, looked.unfinished), (3, false));
}
