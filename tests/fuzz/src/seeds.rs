//! Inputs to begin with: what the kernel, a runtime and an API server really wrote, or records in their format.

use std::fs;
use std::path::{Path, PathBuf};

use crashtrace::recording::clock_record;
use crashtrace_records::{Record, holders, memcg_kill, no_victim, numbered, wait};
use crashtrace_test_support::recording;

/// The UID whose Events are looked for.
pub(crate) const EVENTS_OF: &str = "f9344945-0893-45b6-a750-d5a5c7360d54";

const PATH: &[u8] = b"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podb2f8a1c4_0d3e_4b6a_9c57_00112233aabb.slice/cri-containerd-00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff.scope";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn fixture(name: &str) -> Vec<u8> {
    let path = fixtures().join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn some_records() -> Vec<Record> {
    let mut records = memcg_kill(1_000_000, 0, PATH, b"java");
    records.push(no_victim(2_000_000, 1, PATH, 3));
    records.push(wait(3_000_000, 1, PATH, 2));
    records.push(holders(4_000_000, 0));
    numbered(records)
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    some_records().iter().map(Record::bytes).collect()
}

pub(crate) fn recordings() -> Vec<Vec<u8>> {
    let mut with_clock = recording::bytes(&recording::preamble(), &some_records());
    let record = clock_record(0, 5_000_000, 7);
    with_clock.extend(crashtrace::recording::frame(&record).expect("a record"));
    vec![with_clock, fixture("recordings/host-own-limit.rec")]
}

/// Of each layout one that is in a pod.
pub(crate) fn cgroups() -> Vec<Vec<u8>> {
    let table = String::from_utf8(fixture("cgroup-paths.tsv")).expect("text");
    let paths = table.lines().filter(|line| !line.starts_with('#'));
    let paths = paths.filter_map(|line| line.split('\t').find(|cell| cell.starts_with('/')));
    // Without the marks of where a part ends.
    let plain = paths.map(|path| {
        ["{K}", "{Q}", "{P}", "{C}", "!!"].iter().fold(path.to_owned(), |path, mark| path.replace(mark, ""))
    });
    let in_pod = plain.filter(|path| crashtrace::cgroup::parse(path.as_bytes()).is_in_pod());
    in_pod.map(String::into_bytes).collect()
}

pub(crate) fn btf() -> Vec<Vec<u8>> {
    ["x86_64-5.10", "x86_64-7.3", "arm64-6.12"].map(|name| fixture(&format!("btf/{name}.btf"))).to_vec()
}

pub(crate) fn kallsyms() -> Vec<Vec<u8>> {
    let list = "ffffffff81000000 T _text\nffffffff812a4f10 t oom_kill_process\nffffffff812a5330 T out_of_memory\n\
                ffffffff812a5f30 t mem_cgroup_out_of_memory\nffffffff81300000 T kfree\nffffffff82a16a40 D contig_page_data\n\
                ffffffff83000000 B _end\nffffffffc0100000 t nf_init\t[nf_tables]\n";
    vec![list.as_bytes().to_vec()]
}

/// See `node::proc` for the first byte.
pub(crate) fn proc() -> Vec<Vec<u8>> {
    let meminfo = "mMemTotal:       24643520 kB\nMemFree:        20169184 kB\nMlocked:              12 kB\nUnevictable:           12 kB\n\
                   SwapTotal:             0 kB\nKernelStack:        2512 kB\nPageTables:         5512 kB\nHugePages_Total:       2\n\
                   Hugepagesize:       2048 kB\nHugetlb:            4096 kB\nPercpu:             1232 kB\n";
    let stat = "sanon 104857600\nfile 8192\nkernel 1052672\nkernel_stack 16384\npagetables 262144\nslab_reclaimable 65536\n";
    let swaps = "wFilename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/zram0                              partition\t262140\t\t1024\t\t100\n";
    let zones = [b"z".to_vec(), fixture("proc/buddyinfo"), b"\n".to_vec(), fixture("proc/zoneinfo")].concat();
    vec![meminfo.into(), stat.into(), swaps.into(), zones]
}

/// A field of Protocol Buffers with bytes; lengths and numbers are below 16 KiB and 16.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    [&[number << 3 | 2, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8], bytes].concat()
}

/// A field with a number below 128.
fn small(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn label(name: &str, value: &str, number: u8) -> Vec<u8> {
    field(number, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn labels(number: u8) -> Vec<u8> {
    [
        label("io.kubernetes.pod.uid", EVENTS_OF, number),
        label("io.kubernetes.pod.namespace", "shop", number),
        label("io.kubernetes.pod.name", "cart-0", number),
        label("io.kubernetes.container.name", "app", number),
        label("tier", "of the tenant", number),
    ]
    .concat()
}

pub(crate) fn containers() -> Vec<Vec<u8>> {
    let id = "4e43252413366c8872a793d0026e47b8d1078c681c97804e0a78caf24acb7b72";
    let container = [
        field(1, id.as_bytes()),
        field(2, id.as_bytes()),
        field(3, &[field(1, b"app"), small(2, 4)].concat()),
        field(4, &field(1, b"localhost/app:1")),
        field(5, b"sha256:ca9e738fab599297c85596b9e449269781cf7dc7b714ef4992cfc225248c4e62"),
        small(6, 2),
        small(7, 99),
        labels(8),
    ];
    vec![field(1, &container.concat()).repeat(2)]
}

pub(crate) fn sandboxes() -> Vec<Vec<u8>> {
    let metadata =
        [field(1, b"cart-0"), field(2, EVENTS_OF.as_bytes()), field(3, b"shop"), small(4, 1)].concat();
    let sandbox = [field(1, &[b'a'; 64]), field(2, &metadata), small(3, 1), small(4, 99), labels(5)];
    vec![field(1, &sandbox.concat())]
}

pub(crate) fn pods() -> Vec<Vec<u8>> {
    // Lines of a watch each by itself, since an input is cut at a bound.
    let watch = String::from_utf8(fixture("kubernetes/api/pods-watch.jsonl")).expect("text");
    let pods = watch.lines().filter(|line| line.contains("\"ADDED\"") || line.contains("\"MODIFIED\""));
    pods.take(4).map(|line| format!("{line}\n").into_bytes()).collect()
}

pub(crate) fn events() -> Vec<Vec<u8>> {
    let list: serde_json::Value =
        serde_json::from_slice(&fixture("kubernetes/api/events-list.json")).expect("JSON");
    let items = list["items"].as_array().expect("a list").iter();
    let of_pod = items.filter(|event| event["involvedObject"]["uid"] == EVENTS_OF).take(3);
    let of_pod: Vec<_> = of_pod.cloned().collect();
    let short = serde_json::json!({ "kind": "EventList", "metadata": list["metadata"], "items": of_pod });
    vec![short.to_string().into_bytes()]
}

pub(crate) fn journals() -> Vec<Vec<u8>> {
    let lines: [&[u8]; 3] =
        [b"{\"kind\":\"agent_started\"}\n", b"{\"kind\":\"incident\",\"seq\":1}\n", b"{}\n"];
    vec![crate::journal::with_lines(&lines), crate::journal::with_lines(&lines[..1])]
}
