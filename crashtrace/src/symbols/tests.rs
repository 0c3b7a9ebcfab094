use std::fmt::Write as _;
use std::io::{self, BufReader, Read};

use proptest::prelude::*;

use super::*;

/// Lines of a 6.1 kernel, cut to those of interest.
const KERNEL: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff812a0f00 t __pfx_oom_kill_process
ffffffff812a0f10 t oom_kill_process
ffffffff812a1200 T out_of_memory
ffffffff812a1200 T out_of_memory_alias
ffffffff812a16a0 T pagefault_out_of_memory
ffffffff812a1720 t oom_reaper
ffffffff812e0000 t __alloc_pages_slowpath.constprop.0
ffffffff812e0f00 T __alloc_pages_bulk
ffffffff81320000 t mem_cgroup_out_of_memory
ffffffff81320150 t memory_max_write
ffffffff81320300 t mem_cgroup_oom_control_write
ffffffff81c00000 t oom_kill_process.cold
ffffffff81c00020 t __oom_kill_process.cold
ffffffff81c00090 T __noinstr_text_start
";
const MODULES: &str = "\
ffffffffc0401000 t out_of_memory\t[nf_tables]
ffffffffc0402000 t kswapd\t[nf_tables]
";

/// A kernel that lists every function, 64 bytes each.
pub(crate) fn every_function() -> Symbols {
    let mut text = String::new();
    for (index, name) in FUNCTIONS.iter().enumerate() {
        writeln!(text, "{:016x} t {name}", 0x1000 + index * 64).unwrap();
    }
    Symbols::parse(text.as_bytes())
}

fn sample() -> Symbols {
    Symbols::parse(format!("{KERNEL}{MODULES}").as_bytes())
}

#[test]
fn of_a_recording_only_functions_that_are_looked_for_are_taken_and_not_too_many() {
    let range = |start: usize, function: &str| {
        format!(r#"{{"start":{},"end":{},"function":"{function}"}}"#, start * 10, start * 10 + 9)
    };
    let mut ranges: Vec<_> = (1..=MOST_RANGES + 9).map(|start| range(start, "out_of_memory")).collect();
    ranges.insert(0, range(0, &"x".repeat(100_000)));
    let json = format!(
        r#"{{"ranges":[{}],"exact":["kswapd","{}"],"listed":true,"unusable":null}}"#,
        ranges.join(","),
        "y".repeat(100_000)
    );
    let symbols: Symbols = serde_json::from_str(&json).expect("symbols");
    assert_eq!((symbols.name_of(5), symbols.name_of(15)), (None, Some("out_of_memory")));
    assert_eq!(symbols.ranges.len(), MOST_RANGES);
    assert_eq!(symbols.exact.iter().collect::<Vec<_>>(), ["kswapd"]);
}

#[test]
fn a_return_address_names_the_function_that_it_returns_to() {
    let symbols = sample();
    assert_eq!(symbols.unusable(), None);
    assert_eq!(symbols.name_of(0xffff_ffff_8132_0042), Some("mem_cgroup_out_of_memory"));
    assert_eq!(symbols.name_of(0xffff_ffff_812a_1201), Some("out_of_memory"));
    assert_eq!(symbols.name_of(0xffff_ffff_812a_1730), None);
    assert_eq!(symbols.name_of(0), None);
    assert_eq!(symbols.name_of(u64::MAX), None);
}

/// A call of a function that never returns may be the caller's last instruction: the return address is then
/// the next function's first.
#[test]
fn the_address_after_a_functions_last_call_is_still_that_functions() {
    let symbols = sample();
    assert_eq!(symbols.name_of(0xffff_ffff_8132_0150), Some("mem_cgroup_out_of_memory"));
    assert_eq!(symbols.name_of(0xffff_ffff_8132_0151), Some("memory_max_write"));
    assert_eq!(symbols.name_of(0xffff_ffff_8132_0301), None);
    // No call returns to the first address of a function.
    assert_eq!(symbols.name_of(0xffff_ffff_812a_0f10), None);
}

#[test]
fn variants_and_moved_out_parts_have_the_name_of_their_function() {
    let symbols = sample();
    assert_eq!(symbols.name_of(0xffff_ffff_812e_0100), Some("__alloc_pages_slowpath"));
    assert_eq!(symbols.name_of(0xffff_ffff_81c0_0010), Some("oom_kill_process"));
    assert_eq!(symbols.name_of(0xffff_ffff_81c0_0030), Some("__oom_kill_process"));
    for suffix in [".isra.0", ".part.0", ".constprop.0.isra.0", ".llvm.1234"] {
        let text = format!("ffffffff81000010 t try_charge{suffix}\nffffffff81000090 t next\n");
        assert_eq!(Symbols::parse(text.as_bytes()).name_of(0xffff_ffff_8100_0020), Some("try_charge"));
    }
}

#[test]
fn only_an_exact_name_can_be_hooked() {
    let symbols = sample();
    assert!(symbols.has("oom_kill_process") && symbols.has("mem_cgroup_out_of_memory"));
    assert!(!symbols.has("__alloc_pages_slowpath") && symbols.covers("__alloc_pages_slowpath"));
    assert!(!symbols.has("__oom_kill_process"), "only its cold part is listed");
    assert!(!symbols.has("mark_oom_victim") && !symbols.covers("mark_oom_victim"));
}

#[test]
fn symbols_of_modules_are_ignored() {
    let symbols = sample();
    assert!(!symbols.has("kswapd"));
    assert_eq!(symbols.name_of(0xffff_ffff_c040_1100), None);
}

/// What follows costs the kernel some thousand instructions a line.
#[test]
fn nothing_is_read_after_the_first_symbol_of_a_module() {
    let list = format!("{KERNEL}{MODULES}ffffffffc0403000 t bpf_prog_1\t[bpf]\n");
    let mut rest = list.as_bytes();
    assert_eq!(Symbols::parse(&mut rest), sample());
    let unread = &list[KERNEL.len()..].split_once('\n').expect("lines").1;
    assert_eq!(rest, unread.as_bytes());
}

/// Every name that is looked for, among as many that differ from one in a letter.
#[test]
fn each_name_is_found_and_none_beside_it() {
    let names = || FUNCTIONS.into_iter().chain(address::NAMES);
    let mut text = String::new();
    for (index, name) in names().enumerate() {
        let at = 0x1000 + index * 64;
        writeln!(text, "{at:016x} t {name}\n{:016x} t {name}x\n{:016x} t x{name}", at + 8, at + 16).unwrap();
    }
    let symbols = Symbols::parse(text.as_bytes());
    for (index, name) in names().enumerate() {
        let at = 0x1000 + index as u64 * 64;
        if FUNCTIONS.contains(&name) {
            assert!(symbols.has(name), "{name}");
            assert_eq!((symbols.name_of(at + 8), symbols.name_of(at + 9)), (Some(name), None));
        } else {
            let place = address::NAMES.iter().position(|it| *it == name).expect("data");
            assert_eq!(symbols.addresses()[place], at, "{name}");
        }
    }
}

#[test]
fn without_addresses_names_are_known_and_nothing_is_named() {
    let hidden = |line: &str| format!("{:016x}{}", 0, &line[16..]);
    let text = KERNEL.lines().map(hidden).collect::<Vec<_>>().join("\n");
    let symbols = Symbols::parse(text.as_bytes());
    assert!(symbols.unusable().is_some_and(|reason| reason.contains("kptr_restrict")));
    assert!(symbols.listed() && symbols.has("oom_kill_process") && !symbols.covers("oom_kill_process"));
    assert_eq!(symbols.name_of(1), None);
}

#[test]
fn a_list_without_the_functions_or_without_symbols_has_a_reason() {
    let other = Symbols::parse("ffffffff81000000 T _text\n".as_bytes());
    assert!(
        other.listed() && other.unusable().is_some_and(|reason| reason.contains("none of the functions"))
    );
    let empty = Symbols::parse(io::empty());
    assert!(!empty.listed() && empty.unusable().is_some_and(|reason| reason.contains("no symbols")));
}

/// A reader that fails in the middle of the list.
#[test]
fn an_incomplete_list_is_not_used() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let symbols = Symbols::parse(BufReader::new(KERNEL.as_bytes().chain(Failing)));
    assert!(symbols.unusable().is_some_and(|reason| reason.contains("gone")));
    assert_eq!(symbols.name_of(0xffff_ffff_8132_0042), None);
    assert!(!symbols.listed());
}

#[test]
fn the_last_symbol_of_the_list_has_an_end_too() {
    let symbols = Symbols::parse("ffffffff81000000 t kswapd\n".as_bytes());
    assert_eq!(symbols.name_of(0xffff_ffff_8100_0100), Some("kswapd"));
    assert_eq!(symbols.name_of(0xffff_ffff_8200_0000), None);
    let symbols = Symbols::parse("ffffffffffffffff t kswapd\n".as_bytes());
    assert_eq!(symbols.name_of(u64::MAX), None);
}

#[test]
fn symbols_of_a_recording_give_the_same_names() {
    let json = serde_json::to_string(&sample()).unwrap();
    assert_eq!(serde_json::from_str::<Symbols>(&json).unwrap(), sample());
}

#[test]
fn lines_that_are_no_symbols_are_skipped() {
    for line in [
        "",
        " ",
        "oom_kill_process",
        "ffffffff81000000",
        "ffffffff81000000 t",
        "ffffffff81000000 t ",
        "ffffffff81000000  oom_kill_process",
        "0xffffff81000000 t oom_kill_process",
        "fffffffff81000000 t oom_kill_process",
        " t oom_kill_process",
        "+fffffff81000000 t oom_kill_process",
    ] {
        let symbols = Symbols::parse(format!("{line}\nffffffff81000010 t next\n").as_bytes());
        assert!(!symbols.has("oom_kill_process") && !symbols.covers("oom_kill_process"), "{line:?}");
    }
}

/// The running kernel's own list: any content is accepted, and its functions are found if they are shown.
#[test]
fn the_list_of_the_running_kernel_is_understood() {
    let Ok(file) = std::fs::File::open("/proc/kallsyms") else { return };
    let symbols = Symbols::parse(BufReader::new(file));
    if symbols.unusable().is_none() {
        assert!(symbols.covers("out_of_memory"), "{symbols:?}");
        for range in &symbols.ranges {
            assert_eq!(symbols.name_of(range.start + 1), Some(range.function.as_str()), "{range:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512), at in any::<u64>()) {
        let symbols = Symbols::parse(bytes.as_slice());
        let _ = symbols.name_of(at);
    }

    #[test]
    fn a_named_address_lies_behind_the_start_of_its_function(
        mut symbols in proptest::collection::vec((1_u64..0x4000, 0..FUNCTIONS.len() + 2), 1..40),
        at in 0_u64..0x4100,
    ) {
        symbols.sort_unstable();
        let name = |index: usize| FUNCTIONS.get(index).copied().unwrap_or("other");
        let line = |(address, index): &(u64, usize)| format!("{address:016x} t {}", name(*index));
        let text = symbols.iter().map(line).collect::<Vec<_>>().join("
");
        let parsed = Symbols::parse(text.as_bytes());
        // By definition: the nearest symbol at or before the call.
        let nearest = symbols.iter().map(|(address, _)| *address).filter(|address| *address < at).max();
        let here: Vec<_> =
            symbols.iter().filter(|(address, _)| Some(*address) == nearest).map(|(_, index)| name(*index)).collect();
        match parsed.name_of(at) {
            Some(found) => prop_assert!(here.contains(&found)),
            None => prop_assert!(here.iter().all(|name| *name == "other")),
        }
    }
}

/// The address of data that two files have is that of one of them, and the list does not say of which.
#[test]
fn the_nodes_are_found_if_they_are_listed_once() {
    let of = |symbols: &Symbols| {
        let all = symbols.addresses();
        (all[address::NODE_DATA], all[address::CONTIG_PAGE_DATA])
    };
    let nodes = |lines: &str| of(&Symbols::parse(format!("{KERNEL}{lines}{MODULES}").as_bytes()));
    let (array, only) = (0xffff_ffff_8276_e0c0, 0xffff_ffff_8266_4a40);
    // With each letter: some kernels list data that is read-only after the start with the code.
    for letter in ["D", "B", "T", "d"] {
        assert_eq!(nodes(&format!("ffffffff8276e0c0 {letter} node_data\n")), (array, 0), "{letter}");
    }
    assert_eq!(nodes("ffffffff82664a40 D contig_page_data\n"), (0, only));
    assert_eq!(nodes(""), (0, 0), "many kernels list functions only");
    assert_eq!(nodes("0000000000000000 D node_data\n"), (0, 0), "hidden");
    for (first, second) in [("node_data", "node_data"), ("contig_page_data", "contig_page_data")] {
        let twice = format!("ffffffff8276e0c0 D {first}\nffffffff8276f0c0 d {second}\n");
        assert_eq!(nodes(&twice), (0, 0), "{first}");
    }
    let near = "ffffffff8276e0c0 D node_data.0\nffffffff8276e0d0 D my_node_data\nffffffffc0400000 d node_data\t[my]\n";
    assert_eq!(nodes(near), (0, 0), "other names, and a module's");
    assert_eq!(of(&Symbols::without("denied".to_owned())), (0, 0));
    // They are no functions, and do not end one.
    let symbols = Symbols::parse(format!("{KERNEL}ffffffff8276e0c0 D node_data\n").as_bytes());
    assert_eq!((symbols.has("node_data"), symbols.name_of(0xffff_ffff_8276_e0c8)), (false, None));
    let stored = serde_json::to_string(&symbols).expect("JSON");
    let read: Symbols = serde_json::from_str(&stored).expect("symbols");
    assert_eq!(of(&read), (0, 0), "of no use to another machine");
}
