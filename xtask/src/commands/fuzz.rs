//! `cargo xtask fuzz`: libFuzzer against the readers of untrusted bytes (`tests/fuzz`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{exec, files, toolchain};

/// Give crashtrace's readers inputs that libFuzzer makes up: records, recordings, BTF, symbols, answers of servers, the journal.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each reader is tried, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Add the inputs that reached new code to tests/fuzz/corpus, as few and as short as reach it.
    #[arg(long)]
    keep: bool,
    /// Read this file once instead, with the one reader that is named.
    #[arg(long)]
    input: Option<PathBuf>,
    /// These readers only.
    #[arg(value_name = "READER")]
    readers: Vec<String>,
}

/// A reader, as the program lists it.
struct Reader {
    name: String,
    most_bytes: String,
}

/// `cargo xtask fuzz`.
pub(crate) fn run(args: &Args) -> Result<()> {
    toolchain::ensure()?;
    let program = build()?;
    let work = files::target_dir().join("fuzz");
    let all = readers(&program, &work)?;
    let unknown: Vec<_> = args.readers.iter().filter(|name| all.iter().all(|it| it.name != **name)).collect();
    if !unknown.is_empty() {
        let known: Vec<_> = all.iter().map(|it| it.name.as_str()).collect();
        bail!("{unknown:?} is no reader: the readers are {}", known.join(", "));
    }
    let chosen = || all.iter().filter(|it| args.readers.is_empty() || args.readers.contains(&it.name));
    if let Some(input) = &args.input {
        let [reader] = chosen().collect::<Vec<_>>()[..] else { bail!("--input takes one reader: name it") };
        return exec::run(libfuzzer(&program, reader).arg(input));
    }
    let mut failed = Vec::new();
    for reader in chosen() {
        if let Err(error) = fuzz(&program, reader, &work, args) {
            eprintln!("xtask: {error:#}");
            failed.push(reader.name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "a reader failed ({}): its input is in {}; `cargo xtask fuzz READER --input FILE` reads it again",
        failed.join(", "),
        work.join("failed").display()
    )
}

/// Builds the program, with crashtrace's code instrumented.
fn build() -> Result<PathBuf> {
    let mut cargo = toolchain::command("cargo");
    cargo.args(["build", "--locked", "--package", "crashtrace-fuzz", "--features", "libfuzzer"]);
    cargo.args(["--bin", "crashtrace-fuzz"]).env("CARGO_TARGET_DIR", files::target_dir());
    cargo.env("RUSTC_WORKSPACE_WRAPPER", files::root().join("tests/fuzz/rustc.sh"));
    exec::run(&mut cargo).context("cannot build the fuzzer (it takes a C++ compiler: Debian's g++)")?;
    Ok(files::target_dir().join("debug/crashtrace-fuzz"))
}

/// Has the program write its seeds, and list its readers.
fn readers(program: &Path, work: &Path) -> Result<Vec<Reader>> {
    let mut list = std::process::Command::new(program);
    let text = exec::output(list.env("CRASHTRACE_FUZZ_SEEDS", work.join("seeds")))?;
    let mut readers = Vec::new();
    for line in text.lines() {
        let (name, most_bytes) = line.split_once(' ').with_context(|| format!("no reader: {line}"))?;
        readers.push(Reader { name: name.to_owned(), most_bytes: most_bytes.to_owned() });
    }
    Ok(readers)
}

fn libfuzzer(program: &Path, reader: &Reader) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env("CRASHTRACE_READER", &reader.name).arg(format!("-max_len={}", reader.most_bytes));
    // An input of 64 KiB is read in milliseconds, and what is kept of it has bounds.
    command.args(["-timeout=10", "-rss_limit_mb=512", "-malloc_limit_mb=64"]);
    command
}

fn fuzz(program: &Path, reader: &Reader, work: &Path, args: &Args) -> Result<()> {
    let made = |kind: &str| -> Result<PathBuf> {
        let path = work.join(kind).join(&reader.name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    };
    let (found, failed, seeds) = (made("found")?, made("failed")?, made("seeds")?);
    let kept = files::root().join("tests/fuzz/corpus").join(&reader.name);
    eprintln!("xtask: {} for {} s", reader.name, args.seconds);
    let mut command = libfuzzer(program, reader);
    command.arg(format!("-max_total_time={}", args.seconds)).arg("-print_final_stats=1");
    command.arg(format!("-artifact_prefix={}/", failed.display())).arg(&found);
    command.args([&seeds, &kept].into_iter().filter(|path| path.is_dir()));
    exec::run(&mut command)?;
    if args.keep {
        fs::create_dir_all(&kept).with_context(|| format!("cannot create {}", kept.display()))?;
        // Seeds come first, so that nothing is kept for what they reach.
        let merged = made("merged")?;
        files::remove_dir(&merged)?;
        fs::create_dir_all(&merged)?;
        exec::run(libfuzzer(program, reader).arg("-merge=1").arg(&merged).args([&kept, &found]))?;
        files::remove_dir(&kept)?;
        fs::rename(&merged, &kept).with_context(|| format!("cannot replace {}", kept.display()))?;
    }
    Ok(())
}
