//! Each reader takes its seeds, and no committed input makes one fail.

use std::fs;
use std::path::{Path, PathBuf};

use crashtrace_fuzz::{READERS, reader};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// A reader that refuses all seeds would find nothing, whatever it is given.
#[test]
fn seeds_are_read() {
    for reader in READERS {
        let seeds = (reader.seeds)();
        assert!(!seeds.is_empty(), "{}", reader.name);
        for (index, seed) in seeds.iter().enumerate() {
            assert!((reader.read)(seed), "{} refuses seed {index} of {} bytes", reader.name, seed.len());
            assert!(
                seed.len() <= reader.most_bytes,
                "{}: seed {index} has {} bytes",
                reader.name,
                seed.len()
            );
        }
    }
}

/// A journal's files are cut anywhere by a crash, a recording by a full disk, an answer by its server.
#[test]
fn seeds_that_are_cut_or_have_a_wrong_byte_fail_no_reader() {
    for reader in READERS {
        for seed in (reader.seeds)() {
            // At most some hundred places of each, spread over it.
            for at in (0..seed.len()).step_by(seed.len() / 200 + 1) {
                (reader.read)(&seed[..at]);
                for wrong in [0x00, 0x7f, 0xff, seed[at] ^ 0x01] {
                    let mut bytes = seed.clone();
                    bytes[at] = wrong;
                    (reader.read)(&bytes);
                }
            }
        }
    }
}

/// What libFuzzer found worth keeping, in a directory for each reader.
#[test]
fn committed_inputs_fail_no_reader() {
    let mut inputs = 0;
    for directory in fs::read_dir(corpus()).expect("the corpus") {
        let directory = directory.expect("an entry").path();
        let name = directory.file_name().and_then(|name| name.to_str()).expect("a name");
        let reader = reader(name).unwrap_or_else(|| panic!("{name} is no reader"));
        for input in fs::read_dir(&directory).expect("a directory") {
            (reader.read)(&fs::read(input.expect("an entry").path()).expect("a file"));
            inputs += 1;
        }
    }
    assert!(inputs > 0, "there are no inputs");
}
