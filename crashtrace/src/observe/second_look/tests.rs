use std::collections::BTreeMap;

use super::*;

const MIB: u64 = 1 << 20;

/// Cgroups by their paths, with MiB of memory and of swap; their inodes are in the order of the list.
struct Cgroups {
    all: Vec<(&'static str, u64, u64)>,
    /// Those whose memory was read.
    read: Vec<String>,
    /// These have gone since they were listed.
    gone: Vec<&'static str>,
}

fn cgroups(all: &[(&'static str, u64, u64)]) -> Cgroups {
    Cgroups { all: all.to_vec(), read: Vec::new(), gone: Vec::new() }
}

impl Tree for Cgroups {
    fn children(&mut self, path: &[u8], most: usize) -> Result<Vec<Child>, String> {
        let path = String::from_utf8(path.to_vec()).expect("a name of a test");
        if self.gone.contains(&path.as_str()) {
            return Err("it is gone".to_owned());
        }
        let below = |other: &str| Some(other.strip_prefix(&path)?.strip_prefix('/')?.to_owned());
        let children = self.all.iter().enumerate().filter_map(|(at, (other, ..))| {
            let name = below(other).filter(|name| !name.contains('/'))?;
            Some(Child { cgroup_id: at as u64, name: name.into_bytes() })
        });
        // The file system has an order of its own.
        let mut children: Vec<_> = children.collect();
        children.reverse();
        children.truncate(most);
        Ok(children)
    }

    fn usage(&mut self, path: &[u8]) -> Option<Usage> {
        let path = String::from_utf8(path.to_vec()).expect("a name of a test");
        let (.., mib, swap) = *self.all.iter().find(|(other, ..)| *other == path)?;
        if self.gone.contains(&path.as_str()) {
            return None;
        }
        self.read.push(path);
        Some(Usage { bytes: mib * MIB, swap_bytes: Some(swap * MIB) })
    }

    fn limit(&mut self, path: &[u8]) -> Option<Limit> {
        (path == b"/kubepods").then_some(Limit::Bytes(99 * MIB))
    }
}

const ALL: Bounds = Bounds { cgroups: 1000, time: Duration::from_secs(1) };

fn look_at(tree: &mut Cgroups, v1: bool, bounds: Bounds) -> Looked {
    look(10 * MIB, v1, tree, bounds, &mut || Duration::ZERO).expect("a root")
}

/// Names and parents, as the owners are found from.
fn names(looked: &Looked) -> Vec<(Option<usize>, String)> {
    let name = |holder: &Holder| {
        let name = holder.level.name.as_ref().map(|name| String::from_utf8_lossy(&name.0).into_owned());
        (holder.parent, name.unwrap_or_default())
    };
    looked.holders.iter().map(name).collect()
}

#[test]
fn goes_down_into_large_cgroups_only() {
    let mut tree = cgroups(&[
        ("/system.slice", 9, 0),
        ("/kubepods", 60, 0),
        ("/system.slice/a.service", 9, 0),
        ("/kubepods/pod1", 40, 0),
        ("/kubepods/pod2", 9, 2),
        ("/kubepods/pod3", 9, 0),
        ("/kubepods/pod1/c1", 39, 0),
    ]);
    let looked = look_at(&mut tree, false, ALL);
    let expected = [(None, "kubepods"), (Some(0), "pod1"), (Some(0), "pod2"), (Some(1), "c1")];
    assert_eq!(names(&looked), expected.map(|(parent, name)| (parent, name.to_owned())));
    assert_eq!((looked.looked_at, looked.unfinished), (6, false));
    let first = &looked.holders[0].level;
    assert_eq!((first.cgroup_id, first.usage_bytes), (Some(1), Some(60 * MIB)));
    assert_eq!((first.limit, looked.holders[1].level.limit), (Some(Limit::Bytes(99 * MIB)), None));
}

/// On v1 the second figure is memory and swap together.
#[test]
fn swap_counts_once() {
    let all = [("/a", 6, 6), ("/b", 6, 10), ("/c", 10, 0)];
    let of = |v1| names(&look_at(&mut cgroups(&all), v1, ALL)).into_iter().map(|(_, name)| name);
    assert_eq!(of(false).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(of(true).collect::<Vec<_>>(), ["b", "c"]);
}

/// The oldest come first, since the kernel side begins with the newest.
#[test]
fn ends_at_a_number_of_cgroups() {
    let mut tree = cgroups(&[("/a", 20, 0), ("/b", 20, 0), ("/c", 20, 0)]);
    let looked = look_at(&mut tree, false, Bounds { cgroups: 2, ..ALL });
    assert_eq!((looked.looked_at, looked.unfinished), (2, true));
    let mut whole = cgroups(&[("/a", 20, 0), ("/b", 20, 0), ("/c", 20, 0)]);
    assert!(!look_at(&mut whole, false, Bounds { cgroups: 3, ..ALL }).unfinished, "exactly as many");
    assert_eq!(whole.read, ["/a", "/b", "/c"]);
}

#[test]
fn ends_when_its_time_is_up() {
    let mut tree = cgroups(&[("/a", 20, 0), ("/b", 20, 0), ("/c", 20, 0)]);
    let mut now = Duration::ZERO;
    let mut clock = || {
        now += Duration::from_millis(400);
        now
    };
    let looked = look(10 * MIB, false, &mut tree, ALL, &mut clock).expect("a root");
    assert_eq!((looked.looked_at, looked.unfinished), (2, true));
    assert_eq!(tree.read, ["/a", "/b"]);
}

#[test]
fn what_is_removed_meanwhile_is_left_out() {
    let all = [("/a", 20, 0), ("/b", 20, 0), ("/b/c", 20, 0)];
    let mut tree = Cgroups { gone: vec!["/a"], ..cgroups(&all) };
    assert_eq!(names(&look_at(&mut tree, false, ALL)).len(), 2);
    let mut tree = Cgroups { gone: vec![""], ..cgroups(&all) };
    let none = look(10 * MIB, false, &mut tree, ALL, &mut || Duration::ZERO);
    assert_eq!(none, Err("it is gone".to_owned()), "without its root there is no look");
}

/// No figure of a clock or a bound makes it go on for ever, or read more than it may.
#[test]
fn many_cgroups_are_read_within_the_bounds() {
    struct Wide(BTreeMap<Vec<u8>, u32>);
    impl Tree for Wide {
        fn children(&mut self, path: &[u8], most: usize) -> Result<Vec<Child>, String> {
            assert!(most <= 501, "{most} at {}", path.len());
            Ok((0..most as u64).map(|cgroup_id| Child { cgroup_id, name: b"x".to_vec() }).collect())
        }
        fn usage(&mut self, path: &[u8]) -> Option<Usage> {
            *self.0.entry(path.to_vec()).or_default() += 1;
            Some(Usage { bytes: u64::MAX, swap_bytes: Some(u64::MAX) })
        }
        fn limit(&mut self, _: &[u8]) -> Option<Limit> {
            None
        }
    }
    let mut tree = Wide(BTreeMap::new());
    let bounds = Bounds { cgroups: 500, ..ALL };
    let looked = look(1, false, &mut tree, bounds, &mut || Duration::ZERO).expect("a root");
    assert_eq!((looked.looked_at, looked.unfinished, tree.0.values().sum::<u32>()), (500, true, 500));
}
