//! BTF made by hand, for cases that no kernel has and for nonsense.

use proptest::prelude::*;

use super::*;

/// BTF made by hand.
pub(super) struct Blob {
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
    pub(super) fn add(&mut self, kind: TypeKind, name: &str, info: u32, last: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        let common = [name, info | (kind as u32) << 24, last];
        self.types.extend(common.iter().chain(tail).flat_map(|word| word.to_le_bytes()));
        self.count += 1;
        self.count
    }

    pub(super) fn int(&mut self, bytes: u32) -> u32 {
        self.add(TypeKind::Int, "int", 0, bytes, &[bytes * 8])
    }

    /// A struct (or union) of (name, type, bit offset).
    fn of(&mut self, kind: TypeKind, name: &str, bytes: u32, flag: u32, members: &[(&str, u32, u32)]) -> u32 {
        let tail: Vec<_> =
            members.iter().flat_map(|(name, of, offset)| [self.string(name), *of, *offset]).collect();
        self.add(kind, name, flag | members.len() as u32, bytes, &tail)
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let header = [24, 0, types, types, strings].map(u32::to_le_bytes).concat();
        [&[0x9f, 0xeb, 1, 0], &header[..], &self.types, &self.strings].concat()
    }

    pub(super) fn done(&self) -> KernelBtf {
        KernelBtf::parse(self.bytes()).expect("it is BTF")
    }
}

#[test]
fn unnamed_members_add_their_offsets() {
    let mut blob = Blob::default();
    let int = blob.int(4);
    let inner = blob.of(TypeKind::Struct, "", 8, 0, &[("x", int, 0), ("y", int, 32)]);
    let choice = blob.of(TypeKind::Union, "", 8, 0, &[("z", int, 0), ("", inner, 0)]);
    let wrappers =
        [TypeKind::Volatile, TypeKind::Const, TypeKind::Restrict, TypeKind::Typedef, TypeKind::TypeTag];
    let wrapped = wrappers.into_iter().fold(choice, |of, kind| blob.add(kind, "rcu", 0, of, &[]));
    let row = blob.add(TypeKind::Array, "", 0, 0, &[int, int, 3]);
    let grid = blob.add(TypeKind::Array, "", 0, 0, &[row, int, 2]);
    blob.of(TypeKind::Struct, "outer", 64, 0, &[("first", int, 0), ("", wrapped, 128), ("grid", grid, 256)]);
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
    let of_old = blob.add(TypeKind::Int, "unsigned", 0, 4, &[1 | 8 << 16]);
    blob.of(TypeKind::Struct, "new", 8, FLAG, &[("bit", int, 1 << 24), ("whole", int, 32), ("odd", int, 33)]);
    blob.of(TypeKind::Struct, "old", 8, 0, &[("bit", of_old, 0), ("whole", int, 32)]);
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
        blob.of(TypeKind::Struct, "twice", 16, 0, &[("same", int, 0), ("other", int, x), (extra, int, 96)]);
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
    blob.add(TypeKind::Enum, "signed", FLAG | 2, 4, &[ok, 7, minus, u32::MAX]);
    blob.add(TypeKind::Enum64, "wide", 3, 8, &[ok, 1 << 31, 0, big, 0, 1, minus, u32::MAX, u32::MAX]);
    let btf = blob.done();
    let value = |of, name| ask(&btf, Query::Enumerator { of, name });
    assert_eq!(value("signed", "ok"), Some(7));
    assert_eq!(value("signed", "minus"), None);
    assert_eq!(value("wide", "ok"), Some(1 << 31));
    assert_eq!((value("wide", "big"), value("wide", "minus"), value("wide", "none")), (None, None, None));
}

#[test]
fn cycles_end() {
    let mut blob = Blob::default();
    // 1 and 2 refer to each other, 3 is an array of itself, 4 contains itself many times over, 5 begins beyond its end.
    blob.add(TypeKind::Typedef, "a", 0, 2, &[]);
    blob.add(TypeKind::Typedef, "b", 0, 1, &[]);
    blob.add(TypeKind::Array, "", 0, 0, &[3, 3, u32::MAX]);
    blob.of(TypeKind::Struct, "oom_control", 64, 0, &[("", 4, 64); 200]);
    blob.of(
        TypeKind::Struct,
        "mem_cgroup",
        8,
        0,
        &[("memory", 1, 0), ("css", 1, 128), ("swap", 3, 0), ("lost", 99, 0)],
    );
    blob.add(TypeKind::Typedef, "btf_trace_mark_victim", 0, 1, &[]);
    blob.add(TypeKind::Func, "oom_kill_process", 0, 7, &[]);
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
    let id = blob.of(TypeKind::Struct, "pid", 8, 0, &[("level", int, 32)]);
    assert_eq!(ask(&blob.done(), at("pid", "level")), Some(4));
    // The name of the member is the fourth word of the last type, that of the struct its first.
    for word in [0, 3] {
        let mut bytes = blob.bytes();
        let name = 24 + blob.types.len() - 24 + 4 * word;
        bytes[name..name + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let btf = KernelBtf::parse(bytes).expect("names are not looked at before they are needed");
        assert_eq!(ask(&btf, at("pid", "level")), None);
        assert_eq!(btf.0.get(id).map(|of| of.kind), Some(TypeKind::Struct));
    }
}

#[test]
fn bytes_that_are_no_btf_give_a_reason() {
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
    assert_eq!(missing.to_string(), "No such file or directory (os error 2)");
    let device = KernelBtf::open(Path::new("/dev/zero")).err().expect("it would have no end");
    assert_eq!(device.to_string(), "it is a device, not a regular file");
}

/// Calls every query.
fn exercise(bytes: &[u8]) {
    let Ok(btf) = KernelBtf::parse(bytes) else { return };
    let layout = Layout::resolve(&btf);
    assert_eq!(
        layout.absent().count(),
        layout.values().iter().filter(|value| **value == fields::ABSENT).count()
    );
    let _ = (btf.mark_victim_arg(), btf.tracepoint_params("mark_victim"));
    let _ = (btf.function_ids(["oom_kill_process", ""]), btf.function_params("oom_kill_process"));
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
        // Small words at word offsets turn types into other types, and make cycles.
        for (at, word) in words {
            let at = 24 + at.index((bytes.len() - 24) / 4 - 1) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        exercise(&bytes);
    }
}
