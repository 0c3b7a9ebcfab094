//! The program that `cargo xtask fuzz` runs: libFuzzer with the reader that `CRASHTRACE_READER` names. With `CRASHTRACE_FUZZ_SEEDS`
//! it writes the seeds of each reader there, and lists the readers with the longest input of each.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs, process};

use crashtrace_fuzz::{READERS, Reader};
use libfuzzer_sys::fuzz_target;

static READER: LazyLock<&Reader> = LazyLock::new(|| {
    let name = env::var("CRASHTRACE_READER").unwrap_or_default();
    crashtrace_fuzz::reader(&name).unwrap_or_else(|| {
        panic!("CRASHTRACE_READER must name a reader, not {name:?}: {}", crashtrace_fuzz::names().join(", "))
    })
});

fuzz_target!(
    init: {
        if let Some(directory) = env::var_os("CRASHTRACE_FUZZ_SEEDS") {
            for reader in READERS {
                write_seeds(reader, &Path::new(&directory).join(reader.name));
                println!("{} {}", reader.name, reader.most_bytes);
            }
            process::exit(0);
        }
        // A wrong name ends it here, and is no finding.
        LazyLock::force(&READER);
    },
    |bytes: &[u8]| {
        (READER.read)(bytes);
    }
);

fn write_seeds(reader: &Reader, directory: &Path) {
    let failed = |error| panic!("cannot write seeds to {}: {error}", directory.display());
    fs::create_dir_all(directory).unwrap_or_else(failed);
    for (index, seed) in (reader.seeds)().iter().enumerate() {
        fs::write(directory.join(format!("seed-{index}")), seed).unwrap_or_else(failed);
    }
}
