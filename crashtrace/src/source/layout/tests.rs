//! The resolver against cuttings of real kernels (`tests/fixtures/btf`), against BTF made by hand for what no
//! kernel has, and against nonsense.

use proptest::prelude::*;

use super::*;

macro_rules! kernels {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../../tests/fixtures/btf/", $name, ".btf")).as_slice())),+]
    };
}

const KERNELS: [(&str, &[u8]); 13] = kernels![
    "x86_64-5.10",
    "x86_64-6.1",
    "x86_64-6.12",
    "x86_64-6.18",
    "x86_64-6.18-custom",
    "x86_64-7.2",
    "x86_64-7.3",
    "arm64-5.10",
    "arm64-6.1",
    "arm64-6.12",
    "arm64-6.18",
    "arm64-7.2",
    "arm64-7.3",
];

const EXPECTED: &str = include_str!("../../../../tests/fixtures/btf/expected.tsv");

fn kernel(name: &str) -> KernelBtf {
    let (_, bytes) = KERNELS.into_iter().find(|(found, _)| *found == name).expect("a fixture of that name");
    KernelBtf::parse(bytes).expect("a fixture is BTF")
}

fn at(of: &'static str, member: &'static str) -> Query {
    Query::Offset { of, member }
}

fn stride(of: &'static str, member: &'static str) -> Query {
    Query::Stride { of, member }
}

fn length(of: &'static str, member: &'static str) -> Query {
    Query::Length { of, member }
}

/// One query outside of the table.
fn ask(btf: &KernelBtf, query: Query) -> Option<u32> {
    let ids = btf.0.types_of(&[Kind::Struct, Kind::Enum, Kind::Enum64]);
    agreed(ids.filter(|of| btf.0.string_is(of.name, query.of())).filter_map(|of| btf.answer(of.id, &query)))
}

#[test]
fn every_kernel_resolves_to_the_reviewed_table() {
    let layouts = KERNELS.map(|(name, _)| Layout::resolve(&kernel(name)));
    let mut actual =
        vec![["field"].into_iter().chain(KERNELS.map(|(name, _)| name)).collect::<Vec<_>>().join("\t")];
    for (index, field) in fields::TABLE.iter().enumerate() {
        let values =
            layouts.iter().map(|found| found.get(index).map_or("-".to_owned(), |value| value.to_string()));
        actual.push([field.name.to_owned()].into_iter().chain(values).collect::<Vec<_>>().join("\t"));
    }
    // The message has the lines that a new field needs in the file, once somebody has checked them.
    let new: Vec<_> = actual.iter().filter(|line| !EXPECTED.lines().any(|known| known == **line)).collect();
    assert!(new.is_empty(), "not in expected.tsv:\n{new:#?}");
    assert_eq!(actual, EXPECTED.lines().collect::<Vec<_>>(), "expected.tsv has other lines too");
}

#[test]
fn what_a_kernel_lacks_is_absent_and_not_zero() {
    for version in ["6.12", "6.18", "7.2", "7.3"] {
        for arch in ["x86_64", "arm64"] {
            let layout = Layout::resolve(&kernel(&format!("{arch}-{version}")));
            assert_eq!(layout.get(fields::MEMCG_OOM_KILL_DISABLE), None);
            assert_eq!(layout.values()[fields::MEMCG_OOM_KILL_DISABLE], fields::ABSENT);
            let absent: Vec<_> = layout.absent().map(|field| field.name).collect();
            let of_v1 =
                ["TASK_MEMCG_IN_OOM", "TASK_MEMCG_OOM_GFP", "TASK_MEMCG_OOM_ORDER", "MEMCG_OOM_KILL_DISABLE"];
            let without_cma = arch == "x86_64" && version.starts_with("6.");
            let of_cma: &[_] = if without_cma { &["MIGRATE_CMA"] } else { &[] };
            assert_eq!(absent, [&of_v1, of_cma].concat(), "{arch}-{version}");
        }
    }
    // The same version with cgroup v1 built in has it.
    let layout = Layout::resolve(&kernel("x86_64-6.18-custom"));
    let absent: Vec<_> = layout.absent().map(|field| field.name).collect();
    let gone = ["TASK_MEMCG_OOM_GFP", "TASK_MEMCG_OOM_ORDER"];
    assert_eq!(absent, [&gone[..], &["MIGRATE_CMA"]].concat(), "gone with 6.11, and built without CMA");
    assert_eq!(layout.get(fields::OC_ZONELIST), Some(0), "0 is an offset like any other");
    assert_eq!(layout.get(fields::COUNT), None);
}

#[test]
fn a_kernel_without_anything_has_only_absent_fields() {
    let layout = Layout::resolve(&Blob::default().done());
    assert_eq!(layout.values(), &[fields::ABSENT; fields::COUNT]);
    assert_eq!(layout.absent().count(), fields::COUNT);
}

#[test]
fn mark_victim_passes_a_number_or_a_task() {
    for (name, _) in KERNELS {
        let expected = if name.ends_with("-5.10") { mark_victim_arg::TID } else { mark_victim_arg::TASK };
        assert_eq!(kernel(name).mark_victim_arg(), Some(expected), "{name}");
    }
    assert_eq!(Blob::default().done().mark_victim_arg(), None);

    let task = "task_struct";
    let cases =
        [(task, 4, Some(mark_victim_arg::TASK)), ("mm_struct", 4, None), (task, 5, None), (task, 1, None)];
    for (to, last, expected) in cases {
        let mut blob = Blob::default();
        let int = blob.int(8);
        let fwd = blob.add(Kind::Fwd, to, 0, 0, &[]);
        let tag = blob.add(Kind::TypeTag, "rcu", 0, fwd, &[]);
        let pointer = blob.add(Kind::Ptr, "", 0, tag, &[]);
        // The first parameter does not count; the second is a pointer, nothing known, or a number too wide.
        let proto = blob.add(Kind::FuncProto, "", 2, 0, &[0, int, 0, last]);
        let to_proto = blob.add(Kind::Ptr, "", 0, proto, &[]);
        blob.add(Kind::Typedef, "btf_trace_mark_victim", 0, to_proto, &[]);
        assert_eq!((pointer, blob.done().mark_victim_arg()), (4, expected), "{to} {last}");
    }
}

#[test]
fn functions_are_found_by_their_exact_name() {
    let pointer = |to: &str| Param::Pointer(to.to_owned());
    for (name, _) in KERNELS {
        let btf = kernel(name);
        // The BTF of this kernel has global functions only.
        let has_static = name != "arm64-5.10";
        assert_eq!(btf.has_function("oom_kill_process"), has_static, "{name}");
        assert_eq!(btf.has_function("mem_cgroup_out_of_memory"), has_static, "{name}");
        assert!(btf.has_function("out_of_memory"), "{name}");
        assert!(!btf.has_function("oom_kill_proces") && !btf.has_function("oom_kill_process.cold"));
        assert!(!btf.has_function("oom_control"), "a struct is not a function");

        let decision = has_static.then(|| vec![pointer("oom_control"), pointer("")]);
        assert_eq!(btf.function_params("oom_kill_process"), decision, "{name}");
        let memcg = has_static.then(|| vec![pointer("mem_cgroup"), Param::Integer(4), Param::Integer(4)]);
        assert_eq!(btf.function_params("mem_cgroup_out_of_memory"), memcg, "{name}");
    }
}

#[test]
fn a_path_leads_exactly_as_it_says() {
    let (old, new) = (kernel("x86_64-6.1"), kernel("x86_64-6.12"));
    assert_eq!(ask(&old, at("mm_struct", "rss_stat.count")), Some(728));
    assert_eq!(ask(&old, at("mm_struct", "rss_stat[0].count")), None, "not an array there");
    assert_eq!(ask(&new, at("mm_struct", "rss_stat[0].count")), Some(824));
    assert_eq!(ask(&new, at("mm_struct", "rss_stat[3].count")), Some(824 + 3 * 40));
    assert_eq!(ask(&new, at("mm_struct", "rss_stat[4].count")), None, "it has four");
    assert_eq!(ask(&new, at("mm_struct", "rss_stat.count")), None, "an array there");
    assert_eq!(ask(&new, stride("mm_struct", "rss_stat")), Some(40));
    assert_eq!(ask(&old, stride("mm_struct", "rss_stat")), None);
    assert_eq!(ask(&old, at("task_struct", "mm.rss_stat")), None, "behind a pointer");
    assert_eq!(ask(&new, length("mm_struct", "rss_stat")), Some(4));
    assert_eq!(ask(&old, length("mm_struct", "rss_stat")), None, "not an array there");
    assert_eq!(ask(&new, length("pid", "numbers")), None, "of open length, which is not none");
    // An array of open length, where the length says nothing.
    assert_eq!(ask(&new, at("pid", "numbers[2].nr")), Some(112 + 2 * 16));
    for path in
        ["", ".", "pid.", ".pid", "numbers[", "numbers]", "numbers[]", "numbers[-1]", "numbers[99999999999]"]
    {
        assert_eq!(ask(&new, at("pid", path)), None, "{path}");
    }
}

/// BTF made by hand.
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Default for Blob {
    fn default() -> Self {
        Self { types: Vec::new(), strings: vec![0], count: 0 }
    }
}

const FLAG: u32 = 1 << 31;

impl Blob {
    fn string(&mut self, string: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(string.bytes().chain([0]));
        if string.is_empty() { 0 } else { at }
    }

    /// A type; `info` is flag and number of elements, `last` size or target.
    fn add(&mut self, kind: Kind, name: &str, info: u32, last: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        let common = [name, info | (kind as u32) << 24, last];
        self.types.extend(common.iter().chain(tail).flat_map(|word| word.to_le_bytes()));
        self.count += 1;
        self.count
    }

    fn int(&mut self, bytes: u32) -> u32 {
        self.add(Kind::Int, "int", 0, bytes, &[bytes * 8])
    }

    /// A struct (or union) of (name, type, bit offset).
    fn of(&mut self, kind: Kind, name: &str, bytes: u32, flag: u32, members: &[(&str, u32, u32)]) -> u32 {
        let tail: Vec<_> =
            members.iter().flat_map(|(name, of, offset)| [self.string(name), *of, *offset]).collect();
        self.add(kind, name, flag | members.len() as u32, bytes, &tail)
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let header = [24, 0, types, types, strings].map(u32::to_le_bytes).concat();
        [&[0x9f, 0xeb, 1, 0], &header[..], &self.types, &self.strings].concat()
    }

    fn done(&self) -> KernelBtf {
        KernelBtf::parse(self.bytes()).expect("it is BTF")
    }
}

#[test]
fn unnamed_members_add_their_offsets() {
    let mut blob = Blob::default();
    let int = blob.int(4);
    let inner = blob.of(Kind::Struct, "", 8, 0, &[("x", int, 0), ("y", int, 32)]);
    let choice = blob.of(Kind::Union, "", 8, 0, &[("z", int, 0), ("", inner, 0)]);
    let wrappers = [Kind::Volatile, Kind::Const, Kind::Restrict, Kind::Typedef, Kind::TypeTag];
    let wrapped = wrappers.into_iter().fold(choice, |of, kind| blob.add(kind, "rcu", 0, of, &[]));
    let row = blob.add(Kind::Array, "", 0, 0, &[int, int, 3]);
    let grid = blob.add(Kind::Array, "", 0, 0, &[row, int, 2]);
    blob.of(Kind::Struct, "outer", 64, 0, &[("first", int, 0), ("", wrapped, 128), ("grid", grid, 256)]);
    let btf = blob.done();
    assert_eq!(ask(&btf, at("outer", "y")), Some(20));
    assert_eq!(ask(&btf, at("outer", "z")), Some(16));
    assert_eq!(ask(&btf, stride("outer", "grid")), Some(12));
    assert_eq!(ask(&btf, at("outer", "grid[1]")), Some(44));
    assert_eq!(ask(&btf, Query::Size { of: "outer" }), Some(64));
}

#[test]
fn a_bit_field_has_no_offset() {
    let mut blob = Blob::default();
    let int = blob.int(4);
    let of_old = blob.add(Kind::Int, "unsigned", 0, 4, &[1 | 8 << 16]);
    blob.of(Kind::Struct, "new", 8, FLAG, &[("bit", int, 1 << 24), ("whole", int, 32), ("odd", int, 33)]);
    blob.of(Kind::Struct, "old", 8, 0, &[("bit", of_old, 0), ("whole", int, 32)]);
    let btf = blob.done();
    assert_eq!(ask(&btf, at("new", "bit")), None, "at bit 0, one bit wide");
    assert_eq!(ask(&btf, at("new", "odd")), None);
    assert_eq!(ask(&btf, at("old", "bit")), None);
    assert_eq!(ask(&btf, at("new", "whole")), Some(4));
    assert_eq!(ask(&btf, at("old", "whole")), Some(4));
}

#[test]
fn two_structs_of_one_name_must_agree() {
    let mut blob = Blob::default();
    let int = blob.int(4);
    for (x, extra) in [(32, "a"), (64, "b")] {
        blob.of(Kind::Struct, "twice", 16, 0, &[("same", int, 0), ("other", int, x), (extra, int, 96)]);
    }
    let btf = blob.done();
    assert_eq!(ask(&btf, at("twice", "same")), Some(0));
    assert_eq!(ask(&btf, at("twice", "other")), None);
    assert_eq!(ask(&btf, at("twice", "b")), Some(12), "only one of them has it");
}

#[test]
fn an_enumerator_is_a_u32_or_nothing() {
    let mut blob = Blob::default();
    let names = ["ok", "minus", "big"].map(|name| blob.string(name));
    let (ok, minus, big) = (names[0], names[1], names[2]);
    blob.add(Kind::Enum, "signed", FLAG | 2, 4, &[ok, 7, minus, u32::MAX]);
    blob.add(Kind::Enum64, "wide", 3, 8, &[ok, 1 << 31, 0, big, 0, 1, minus, u32::MAX, u32::MAX]);
    let btf = blob.done();
    let value = |of, name| ask(&btf, Query::Enumerator { of, name });
    assert_eq!(value("signed", "ok"), Some(7));
    assert_eq!(value("signed", "minus"), None);
    assert_eq!(value("wide", "ok"), Some(1 << 31));
    assert_eq!((value("wide", "big"), value("wide", "minus"), value("wide", "none")), (None, None, None));
}

#[test]
fn circles_end() {
    let mut blob = Blob::default();
    // 1 and 2 name each other, 3 is an array of itself, 4 contains itself many times over, 5 begins beyond its end.
    blob.add(Kind::Typedef, "a", 0, 2, &[]);
    blob.add(Kind::Typedef, "b", 0, 1, &[]);
    blob.add(Kind::Array, "", 0, 0, &[3, 3, u32::MAX]);
    blob.of(Kind::Struct, "oom_control", 64, 0, &[("", 4, 64); 200]);
    blob.of(
        Kind::Struct,
        "mem_cgroup",
        8,
        0,
        &[("memory", 1, 0), ("css", 1, 128), ("swap", 3, 0), ("lost", 99, 0)],
    );
    blob.add(Kind::Typedef, "btf_trace_mark_victim", 0, 1, &[]);
    blob.add(Kind::Func, "oom_kill_process", 0, 7, &[]);
    let btf = blob.done();
    assert_eq!(Layout::resolve(&btf).absent().count(), fields::COUNT);
    assert_eq!(btf.mark_victim_arg(), None);
    assert_eq!(btf.function_params("oom_kill_process"), None);
    for path in ["swap[1]", "swap[0].x", "memory.usage", "lost.x", "lost[0]"] {
        assert_eq!(ask(&btf, at("mem_cgroup", path)), None, "{path}");
    }
    assert_eq!(ask(&btf, stride("mem_cgroup", "swap")), None);
}

#[test]
fn a_name_that_is_not_in_the_strings_is_no_name() {
    let mut blob = Blob::default();
    let int = blob.int(4);
    let id = blob.of(Kind::Struct, "pid", 8, 0, &[("level", int, 32)]);
    assert_eq!(ask(&blob.done(), at("pid", "level")), Some(4));
    // The name of the member is the fourth word of the last type, that of the struct its first.
    for word in [0, 3] {
        let mut bytes = blob.bytes();
        let name = 24 + blob.types.len() - 24 + 4 * word;
        bytes[name..name + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let btf = KernelBtf::parse(bytes).expect("names are not looked at before they are needed");
        assert_eq!(ask(&btf, at("pid", "level")), None);
        assert_eq!(btf.0.get(id).map(|of| of.kind), Some(Kind::Struct));
    }
}

#[test]
fn what_is_not_btf_says_why() {
    let error = |bytes: &[u8]| KernelBtf::parse(bytes).err().expect("it is not BTF").to_string();
    let mut bytes = KERNELS[0].1.to_vec();
    assert_eq!(error(&[]), "0 bytes are too few for a BTF header");
    assert_eq!(error(&[0x7f; 24]), "not BTF: it begins with 0x7f7f, not 0xeb9f");
    for length in 0..bytes.len() {
        assert!(KernelBtf::parse(&bytes[..length]).is_err(), "cut at {length}");
    }
    bytes[..2].reverse();
    assert_eq!(error(&bytes), "BTF of a big-endian machine");
    bytes[..2].reverse();
    bytes[2] = 2;
    assert_eq!(error(&bytes), "BTF version 2 with flags 0x0 is unknown");

    let mut blob = Blob::default();
    blob.int(4);
    blob.int(8);
    let mut bytes = blob.bytes();
    bytes[24 + 16 + 7] = 20;
    assert_eq!(error(&bytes), "type 2 is of kind 20, which is unknown");
    let missing = KernelBtf::open(Path::new("/nonexistent/btf")).err().expect("there is no such file");
    assert_eq!(missing.to_string(), "cannot read /nonexistent/btf");
}

/// Asks all that can be asked.
fn exercise(bytes: &[u8]) {
    let Ok(btf) = KernelBtf::parse(bytes) else { return };
    let layout = Layout::resolve(&btf);
    assert_eq!(
        layout.absent().count(),
        layout.values().iter().filter(|value| **value == fields::ABSENT).count()
    );
    let _ = (btf.mark_victim_arg(), btf.tracepoint_params("mark_victim"));
    let _ = (btf.has_function("oom_kill_process"), btf.function_params("oom_kill_process"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), has_header: bool) {
        if has_header && bytes.len() >= 24 {
            let (types, strings) = ((bytes.len() - 24) / 8 * 4, (bytes.len() - 24) / 8 * 4);
            let header = [24, 0, types as u32, types as u32, strings as u32].map(u32::to_le_bytes).concat();
            bytes[..4].copy_from_slice(&[0x9f, 0xeb, 1, 0]);
            bytes[4..24].copy_from_slice(&header);
        }
        exercise(&bytes);
    }

    #[test]
    fn a_damaged_kernel_does_no_harm(
        which in 0..KERNELS.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        words in proptest::collection::vec((any::<prop::sample::Index>(), 0_u32..90), 0..12),
    ) {
        let mut bytes = KERNELS[which].1.to_vec();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes[24..]) = byte;
        }
        // Small words where words belong make other types of types, and circles.
        for (at, word) in words {
            let at = 24 + at.index((bytes.len() - 24) / 4 - 1) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        exercise(&bytes);
    }
}

#[test]
fn the_running_kernel_has_all_that_is_needed() {
    let path = Path::new("/sys/kernel/btf/vmlinux");
    if !path.exists() {
        eprintln!("skipped: this kernel has no BTF");
        return;
    }
    let btf = KernelBtf::open(path).expect("the kernel's own BTF is BTF");
    let absent: Vec<_> = Layout::resolve(&btf).absent().map(|field| field.name).collect();
    // Everything else is in every kernel since 5.10 that has memory cgroups.
    let may_lack = |name: &&str| {
        ["MEMCG_OOM_KILL_DISABLE", "MIGRATE_CMA", "ZONE_FREE_HIGHATOMIC"].contains(name)
            || name.starts_with("TASK_MEMCG_")
    };
    assert!(absent.iter().all(may_lack), "{absent:?}");
    assert!(btf.mark_victim_arg().is_some());
    assert!(btf.has_function("out_of_memory"));
}
