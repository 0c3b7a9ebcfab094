use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/btf/{name}.btf"))
}

const KERNELS: [&str; 13] = [
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

/// Each kernel's file on each other kernel: another version, another build of the same version, another processor.
#[test]
fn a_file_of_any_other_kernel_differs_and_the_kernels_own_does_not() {
    for own in KERNELS {
        for named in KERNELS {
            let types = read(&fixture(own), Some(&fixture(named)));
            assert_eq!(types.btf.error, None);
            assert_eq!(
                types.btf.differs.is_empty(),
                own == named,
                "{named} on {own}: {:?}",
                types.btf.differs
            );
            let expected = if own == named { BtfSource::Kernel } else { BtfSource::FileThatDiffers };
            assert_eq!(types.source(), expected, "{named} on {own}");
        }
    }
}

#[test]
fn a_difference_names_the_field_and_both_places() {
    let types = read(&fixture("x86_64-6.1"), Some(&fixture("x86_64-6.12")));
    for difference in [
        "task_struct.pid is 2432, and 2416 in the kernel's own",
        "task_struct.memcg_oom_order is not there, and 5100 in the kernel's own",
        "the element size of mm_struct.rss_stat is 40, and 8 in the kernel's own",
    ] {
        assert!(types.btf.differs.iter().any(|differs| differs == difference), "{:?}", types.btf.differs);
    }
}

/// The target of a trampoline is never looked up in a file.
#[test]
fn functions_are_those_of_the_kernels_own_btf() {
    let none = Path::new("/nonexistent/btf");
    let types = read(none, Some(&fixture("x86_64-6.12")));
    assert_eq!(types.functions, FunctionIds::default());
    assert!(types.told.layout.is_some() && types.btf.differs.is_empty());
    assert_eq!(types.source(), BtfSource::FileAlone);
    let types = read(&fixture("x86_64-6.12"), Some(none));
    assert!(types.functions.id("oom_kill_process").is_some() && types.told == Told::default());
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(fixture("x86_64-6.12"), copy.path()).unwrap();
    assert_eq!(read(&fixture("x86_64-6.12"), Some(copy.path())).source(), BtfSource::FileThatAgrees);
    let types = read(&fixture("x86_64-6.12"), None);
    assert_eq!((types.source(), &types.btf), (BtfSource::Kernel, &types.kernel_btf));
}

#[test]
fn a_file_without_btf_is_named_for_its_type_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let whole = std::fs::read(fixture("x86_64-6.12")).unwrap();
    std::fs::write(at("cut"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(at("elf"), b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    std::fs::write(at("empty"), b"").unwrap();
    std::fs::File::create(at("huge")).unwrap().set_len(1 << 30).unwrap();
    for (name, reason) in [
        ("fifo", "it is a FIFO, not a regular file"),
        ("cut", "reach past its end: is it cut?"),
        ("elf", "not BTF: it begins with 0x457f"),
        ("empty", "0 bytes are too few for a BTF header"),
        ("huge", "it is larger than 67108864 bytes"),
        ("none", "No such file or directory"),
        ("", "it is a directory"),
        ("/dev/zero", "it is a device"),
    ] {
        let types = read(Path::new("/nonexistent/btf"), Some(&at(name)));
        let error = types.btf.error.unwrap_or_else(|| panic!("{name} was read"));
        assert!(error.contains(reason), "{name}: {error}");
    }
}
