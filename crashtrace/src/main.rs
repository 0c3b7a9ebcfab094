//! The `crashtrace` command: parse, run, print what went wrong, exit code.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use crashtrace::agent::{self, Unusable};
use crashtrace::cli::{self, Args, Command, Config, LogLevel, Process, exit};
use crashtrace::report;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let config = Config::from_args(Args::parse(), &Process).unwrap_or_else(|error| error.exit());
    log_to_stderr(config.log);
    match run(config.command) {
        Ok(code) => code.into(),
        Err(error) => {
            // A closed stderr is no reason to panic on top.
            let _ = writeln!(std::io::stderr(), "crashtrace: {error:#}");
            let unusable = error.downcast_ref::<Unusable>().is_some();
            if unusable { exit::UNUSABLE } else { exit::FAILED }.into()
        }
    }
}

fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Watch(config) => agent::watch(&config).map(|_| exit::OK),
        Command::Replay(config) => agent::replay(&config).map(|_| exit::OK),
        Command::Doctor(config) => agent::doctor(&config).map(|report| report.exit_code()),
        Command::Schema => print(format!("{:#}\n", report::schema::schema()).as_bytes()),
        Command::Completions(shell) => print(&cli::completions(shell)),
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<u8> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit::OK),
    }
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(ansi).init();
}
