//! The `crashtrace` command: parses, runs, prints errors, sets the exit code.
// Not `forbid`, as in the library, since the macro of ctor is allowed to use some.
#![deny(unsafe_code)]

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use crashtrace::agent::{self, Unusable};
use crashtrace::cli::{self, Command, LogLevel, Process};
use crashtrace::exit;
use crashtrace::kernel::load::look_at_features;
use crashtrace::messages::Messages;
use crashtrace::{schema, stdio, why};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

/// How long the last messages may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Standard output was closed at the start of the program.
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

// Before `main` the standard library opens /dev/null in place of closed descriptors, and then it cannot be told from a /dev/null
// that the user has given: others open theirs for reading and writing, too (daemon(3), Python, start-stop-daemon).
ctor::declarative::ctor! {
    #[ctor(unsafe)]
    fn look_at_stdout() {
        let closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()) == Err(rustix::io::Errno::BADF);
        STDOUT_CLOSED.store(closed, Ordering::Relaxed);
    }
}

fn main() -> ExitCode {
    let config = match cli::parse(std::env::args_os(), &Process) {
        Ok(config) => config,
        Err(error) => return explain(&error).into(),
    };
    let color = io::stderr().is_terminal();
    let messages = match Messages::init(level(config.log), color) {
        Ok(messages) => messages,
        Err(error) => {
            let _ = writeln!(io::stderr(), "crashtrace: {error}");
            return exit::FAILED.into();
        }
    };
    // Also after a panic.
    let _last = LastWords(messages.clone());
    if let Err(error) = outlive_a_limit_of_files() {
        tracing::warn!(%error, "cannot catch SIGXFSZ: a file that grows to its limit (ulimit -f) ends the program");
    }
    match run(config.command, &messages) {
        Ok(code) => code.into(),
        Err(error) => {
            messages.say(&format!("crashtrace: {error:#}\n"));
            let unusable = error.downcast_ref::<Unusable>().is_some();
            if unusable { exit::UNUSABLE } else { exit::FAILED }.into()
        }
    }
}

/// Makes a write beyond `RLIMIT_FSIZE` an error (`EFBIG`) and not the end of the process: the stream, a recording and messages each
/// handle errors. The handler outlives the runtime.
fn outlive_a_limit_of_files() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async { signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop) })
}

struct LastWords(Messages);

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.finish(LAST_WORDS);
    }
}

fn run(command: Command, messages: &Messages) -> anyhow::Result<u8> {
    if STDOUT_CLOSED.load(Ordering::Relaxed) {
        bail!(
            "the standard output is closed, and everything would be lost: give a file or a pipe, or /dev/null to discard the output"
        );
    }
    if matches!(command, Command::Watch(_) | Command::Doctor(_)) {
        look_at_features();
    }
    match command {
        Command::Watch(config) => agent::watch(&config, messages).map(|()| exit::OK),
        Command::Replay(config) => agent::replay(&config, messages).map(|()| exit::OK),
        Command::Unpin(directory) => agent::unpin(&directory).map(|()| exit::OK),
        Command::Doctor(config) => agent::doctor(&config).map(|report| report.exit_code()),
        Command::Why(config) => why::why(&config),
        Command::Schema => print(format!("{:#}\n", schema::json_schema()).as_bytes()),
        Command::Completions(shell) => print(&cli::completions(shell)),
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<u8> {
    stdio::print(bytes).map(|()| exit::OK)
}

/// Prints help, the version, or the error in the arguments. Returns the exit code.
fn explain(error: &clap::Error) -> u8 {
    let printed = error.print();
    if error.use_stderr() {
        // A message may be lost, the exit code is not.
        return exit::USAGE;
    }
    let lost = match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Some(error.to_string()),
        _ if STDOUT_CLOSED.load(Ordering::Relaxed) => Some("it is closed".to_owned()),
        _ => None,
    };
    let Some(lost) = lost else { return exit::OK };
    let _ = writeln!(io::stderr(), "crashtrace: cannot write to the standard output: {lost}");
    exit::FAILED
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
