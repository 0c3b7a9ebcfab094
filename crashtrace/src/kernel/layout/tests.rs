//! The resolver against cuttings of real kernels (`tests/fixtures/btf`) and the running one.

use super::*;

mod by_hand;
use by_hand::Blob;

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

/// A single query, outside of the table.
fn ask(btf: &KernelBtf, query: Query) -> Option<u32> {
    let ids = btf.0.types_of(&[TypeKind::Struct, TypeKind::Enum, TypeKind::Enum64]);
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
    // The message has the lines that a new field needs in the file, once they are reviewed.
    let new: Vec<_> = actual.iter().filter(|line| !EXPECTED.lines().any(|known| known == **line)).collect();
    assert!(new.is_empty(), "not in expected.tsv:\n{new:#?}");
    assert_eq!(actual, EXPECTED.lines().collect::<Vec<_>>(), "expected.tsv has other lines too");
}

#[test]
fn a_field_that_a_kernel_lacks_is_absent_and_not_zero() {
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
            let of_memory: &[_] = match version {
                "6.12" => &[
                    "MEMCG_KMEM_USAGE",
                    "MEMCG_TCPMEM_USAGE",
                    "MEMCG_STAT_HUGETLB",
                    "NODE_STAT_VMALLOC",
                    "NODE_STAT_HUGETLB",
                    "NODE_STAT_BALLOON",
                    "NODE_STAT_GPU_ACTIVE",
                    "NODE_STAT_GPU_RECLAIM",
                ],
                "6.18" => &[
                    "MEMCG_KMEM_USAGE",
                    "MEMCG_TCPMEM_USAGE",
                    "NODE_STAT_VMALLOC",
                    "NODE_STAT_GPU_ACTIVE",
                    "NODE_STAT_GPU_RECLAIM",
                ],
                _ => &["MEMCG_KMEM_USAGE", "MEMCG_TCPMEM_USAGE"],
            };
            let unaccepted: &[_] = if arch == "x86_64" { &[] } else { &["ZONE_STAT_UNACCEPTED"] };
            let of_zones = &["ZONE_STAT_PAGE_TABLES"][..];
            assert_eq!(
                absent,
                [&of_v1, of_cma, of_memory, unaccepted, of_zones].concat(),
                "{arch}-{version}"
            );
        }
    }
    // The same version with cgroup v1 built in has it.
    let layout = Layout::resolve(&kernel("x86_64-6.18-custom"));
    let absent: Vec<_> = layout.absent().map(|field| field.name).collect();
    let gone = ["TASK_MEMCG_OOM_GFP", "TASK_MEMCG_OOM_ORDER"];
    let of_memory = [
        "MIGRATE_CMA",
        "PER_NODE_GENERATIONS",
        "NODE_STAT_VMALLOC",
        "NODE_STAT_GPU_ACTIVE",
        "NODE_STAT_GPU_RECLAIM",
        "ZONE_STAT_UNACCEPTED",
        "ZONE_STAT_PAGE_TABLES",
    ];
    assert_eq!(absent, [&gone[..], &of_memory].concat(), "gone with 6.11, and built without CMA");
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
fn a_field_that_this_kernel_lacks_is_nowhere_for_the_programs() {
    let mut values = [fields::ABSENT; fields::COUNT];
    values[1] = 0;
    values[2] = fields::ABSENT - 1;
    let offsets = fields::offsets(&values);
    assert_eq!(offsets[..4], [fields::NOWHERE, 0, u64::from(fields::ABSENT) - 1, fields::NOWHERE]);
    // Null, an image and mapped memory on x86, the same on arm64: bits from 48 on are neither all clear nor all set.
    for base in
        [0_u64, 0xffff_ffff_8100_0000, 0xffff_8880_0000_0000, 0xffff_8000_0800_0000, 0xffff_0000_0000_0000]
    {
        for far in [fields::NOWHERE, 8 * fields::NOWHERE, 5 * fields::NOWHERE + 8] {
            let above = base.wrapping_add(far) >> 48;
            assert!(above != 0 && above != 0xffff, "{base:x} and {far:x}");
        }
    }
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
        let fwd = blob.add(TypeKind::Fwd, to, 0, 0, &[]);
        let tag = blob.add(TypeKind::TypeTag, "rcu", 0, fwd, &[]);
        let pointer = blob.add(TypeKind::Ptr, "", 0, tag, &[]);
        // The first parameter does not count; the second is a pointer, an unknown type, or a number that is too wide.
        let proto = blob.add(TypeKind::FuncProto, "", 2, 0, &[0, int, 0, last]);
        let to_proto = blob.add(TypeKind::Ptr, "", 0, proto, &[]);
        blob.add(TypeKind::Typedef, "btf_trace_mark_victim", 0, to_proto, &[]);
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
        let [kill, memcg, out] =
            btf.function_ids(["oom_kill_process", "mem_cgroup_out_of_memory", "out_of_memory"]);
        assert_eq!(
            (kill.is_some(), memcg.is_some(), out.is_some()),
            (has_static, has_static, true),
            "{name}"
        );
        // A part of a name, a name that is longer, a struct.
        let none = btf.function_ids(["oom_kill_proces", "oom_kill_process.cold", "oom_control"]);
        assert_eq!(none, [None; 3], "{name}");

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
    // An array of open length, whose length is unknown.
    assert_eq!(ask(&new, at("pid", "numbers[2].nr")), Some(112 + 2 * 16));
    for path in
        ["", ".", "pid.", ".pid", "numbers[", "numbers]", "numbers[]", "numbers[-1]", "numbers[99999999999]"]
    {
        assert_eq!(ask(&new, at("pid", path)), None, "{path}");
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
            || ["MEMCG_KMEM_USAGE", "MEMCG_TCPMEM_USAGE", "PER_NODE_GENERATIONS"].contains(name)
            || ["TASK_MEMCG_", "MEMCG_STAT_", "NODE_STAT_", "ZONE_STAT_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    assert!(absent.iter().all(may_lack), "{absent:?}");
    assert!(btf.mark_victim_arg().is_some());
    assert!(btf.function_ids(["out_of_memory"])[0].is_some());
}
