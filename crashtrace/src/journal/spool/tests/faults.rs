use super::*;

/// A journal of one segment with these lines, of which the first two are delivered.
fn written(lines: u64) -> Arc<Files<Memory>> {
    let files = files();
    let mut spool = session(&files, LARGE);
    for number in 1..=lines {
        spool.put(&line(number), at(0));
    }
    for _ in 0..2 {
        spool.take(at(0)).unwrap();
        spool.done();
    }
    files
}

fn content_of(files: &Files<Memory>) -> Vec<u8> {
    files.slots[0].bytes.lock().unwrap().clone()
}

/// Of this content, by a session that has a line of its own: what it delivers, and what it counts.
fn after(content: Vec<u8>, cursor: &[u8]) -> (Vec<(u64, bool)>, Lost) {
    let files = files();
    *files.slots[0].bytes.lock().unwrap() = content;
    *files.cursor.bytes.lock().unwrap() = cursor.to_vec();
    let mut spool = session(&files, LARGE);
    spool.put(&line(99), at(0));
    // And the one after it: the file is as good as new.
    let first = all(&mut spool);
    let lost = spool.state().lost;
    spool.put(&line(100), at(0));
    assert_eq!(all(&mut session(&files, LARGE)), [(100, true)]);
    (first, lost)
}

fn ends(content: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while let Some(found) = frame::find(&content[at..]) {
        at += found.line.end;
        ends.push(at);
    }
    ends
}

#[test]
fn a_journal_that_is_cut_at_any_byte_gives_what_is_whole_and_goes_on() {
    let files = written(6);
    let (content, cursor) = (content_of(&files), files.cursor.bytes.lock().unwrap().clone());
    let ends = ends(&content);
    assert_eq!(ends.len(), 6);
    for cut in 0..=content.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
        let expected: Vec<_> = (3..=whole).map(|number| (number, true)).chain([(99, false)]).collect();
        let (delivered, lost) = after(content[..cut].to_vec(), &cursor);
        assert_eq!(delivered, expected, "{cut}");
        // A line that is cut off shows. Those of which nothing is left do not, nor those that were delivered.
        let torn = whole >= 2 && !ends.contains(&cut);
        assert_eq!(lost, Lost { dropped: 0, damaged: u64::from(torn) }, "{cut}");
    }
}

#[test]
fn a_flipped_bit_costs_one_line_which_is_counted() {
    let files = written(6);
    let (content, cursor) = (content_of(&files), files.cursor.bytes.lock().unwrap().clone());
    let ends = ends(&content);
    for at in 0..content.len() {
        let mut content = content.clone();
        content[at] ^= 1 << (at % 8);
        let hit = 1 + ends.iter().filter(|end| **end <= at).count() as u64;
        let is_hit = |number: u64| number == hit && at >= frame::PROLOGUE_BYTES;
        let expected = (3..=6).filter(|number| !is_hit(*number)).map(|number| (number, true));
        let (delivered, lost) = after(content, &cursor);
        assert_eq!(delivered, expected.chain([(99, false)]).collect::<Vec<_>>(), "{at}");
        assert_eq!(lost, Lost { dropped: 0, damaged: u64::from((3..=6).any(is_hit)) }, "{at}");
    }
}

#[test]
fn without_a_cursor_all_lines_are_delivered_and_none_is_missing() {
    let files = written(4);
    for cursor in [Vec::new(), vec![0; cursor::BYTES], vec![0xff; 700]] {
        let (delivered, lost) = after(content_of(&files), &cursor);
        assert_eq!(delivered, [(1, true), (2, true), (3, true), (4, true), (99, false)]);
        assert_eq!(lost, Lost::default());
    }
}

proptest! {
    #[test]
    fn any_content_is_read_without_a_panic_and_lines_follow_it(
        content in prop::collection::vec(any::<u8>(), 0..300),
        cursor in prop::collection::vec(any::<u8>(), 0..cursor::BYTES),
        splice in 0_usize..400,
    ) {
        let mut mixed = content_of(&written(3));
        mixed.truncate(splice);
        mixed.extend(content);
        let (delivered, _) = after(mixed, &cursor);
        prop_assert_eq!(delivered.last(), Some(&(99, false)));
    }
}

#[test]
fn a_newer_version_is_refused_and_stays_as_it_is() {
    let newer = frame::prologue_of(2);
    for of_cursor in [true, false] {
        let files = written(3);
        let file = if of_cursor { &files.cursor } else { &files.slots[0] };
        file.write_at(&newer, 0).unwrap();
        let before = (content_of(&files), files.cursor.bytes.lock().unwrap().clone());
        let error = Spool::open(files.clone(), LARGE, at(0)).unwrap_err();
        assert!(matches!(error, OpenError::Version(2)), "{error:?}");
        assert_eq!((content_of(&files), files.cursor.bytes.lock().unwrap().clone()), before);
    }
}

#[test]
fn a_full_disk_leaves_lines_to_memory_and_they_are_written_when_it_has_room() {
    let files = files();
    let disk = files.cursor.disk.clone();
    let mut spool = session(&files, LARGE);
    spool.put(&line(1), at(0));
    disk.full.store(true, Ordering::Relaxed);
    for number in 2..=4 {
        // It is tried again once a second, and is one failure.
        assert_eq!(spool.put(&line(number), at(number)), Put::Taken);
    }
    let state = spool.state();
    assert_eq!((state.failures, state.lines, state.unwritten), (1, 4, 3));
    // The stream goes on.
    assert_eq!(spool.take(at(5)).unwrap().line, line(1));
    spool.done();
    assert_eq!(spool.take(at(5)).unwrap().line, line(2));
    spool.done();
    disk.full.store(false, Ordering::Relaxed);
    // Not tried so soon again.
    spool.put(&line(5), at(4));
    assert_eq!(spool.state().unwritten, 3);
    spool.put(&line(6), at(6));
    let state = spool.state();
    assert_eq!((state.failures, state.lines, state.unwritten, state.lost), (1, 4, 0, Lost::default()));
    // All of them are in the files.
    assert_eq!(numbers(&mut session(&files, LARGE)), [3, 4, 5, 6]);
    assert_eq!(numbers(&mut spool), [3, 4, 5, 6]);
}

/// A small disk that the journal alone has filled is not full for good.
#[test]
fn delivered_lines_give_their_room_back_to_a_full_disk() {
    let files = files();
    let mut spool = session(&files, LARGE);
    spool.put(&line(1), at(0));
    files.cursor.disk.full.store(true, Ordering::Relaxed);
    spool.put(&line(2), at(2));
    assert_eq!(numbers(&mut spool), [1, 2]);
    assert_eq!(files.slots.iter().map(|file| file.bytes().unwrap()).sum::<u64>(), 0);
    files.cursor.disk.full.store(false, Ordering::Relaxed);
    spool.put(&line(3), at(4));
    assert_eq!(spool.state().unwritten, 0);
    assert_eq!(numbers(&mut session(&files, LARGE)), [3]);
}

#[test]
fn while_the_disk_is_full_memory_has_a_bound_and_room_comes_back() {
    let files = files();
    files.cursor.disk.full.store(true, Ordering::Relaxed);
    let mut spool = session(&files, LARGE);
    let long = vec![b'x'; 10_000];
    let mut taken = 0;
    while spool.put(&long, at(0)) == Put::Taken {
        taken += 1;
        assert!(taken < 100);
    }
    assert_eq!(taken, MOST_BYTES / long.len());
    assert_eq!(spool.put(&long, at(9)), Put::Full);
    assert_eq!(spool.take(at(9)).unwrap().line, long);
    spool.done();
    assert_eq!(spool.put(&line(1), at(9)), Put::Taken);
    // A session that is killed now loses what is in memory, and the next one counts it, once it has a line behind it.
    drop(spool);
    files.cursor.disk.full.store(false, Ordering::Relaxed);
    assert_eq!(session(&files, LARGE).state().lines, 0);
}

#[test]
fn a_line_that_a_full_disk_kept_out_is_counted_by_the_next_session() {
    let files = files();
    let mut spool = session(&files, LARGE);
    spool.put(&line(1), at(0));
    files.cursor.disk.full.store(true, Ordering::Relaxed);
    spool.put(&line(2), at(2));
    // A part of it is there: the disk took it, and did not take that it was cut.
    files.slots[0].bytes.lock().unwrap().push(0xc7);
    drop(spool);
    files.cursor.disk.full.store(false, Ordering::Relaxed);
    let mut next = session(&files, LARGE);
    next.put(&line(3), at(0));
    assert_eq!(all(&mut next), [(1, true), (3, false)]);
    assert_eq!(next.state().lost, Lost { dropped: 0, damaged: 1 });
}

#[test]
fn files_that_cannot_be_read_cost_their_lines_and_no_more() {
    let files = files();
    let mut spool = session(&files, LARGE);
    let long = vec![b'7'; 10_000];
    for _ in 0..50 {
        spool.put(&long, at(0));
    }
    let held = spool.held.len() as u64;
    files.cursor.disk.unreadable.store(true, Ordering::Relaxed);
    let mut delivered = 0;
    while spool.take(at(0)).is_some() {
        spool.done();
        delivered += 1;
    }
    assert_eq!(delivered, held);
    assert_eq!(spool.state().lost, Lost { dropped: 0, damaged: 50 - held });
    spool.put(&line(51), at(0));
    assert_eq!(numbers(&mut spool), [51]);
}
