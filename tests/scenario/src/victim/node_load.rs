//! The load of a busy node: memory, page cache, programs, sockets and pipes, all far below any limit.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// How much of each kind at a time: far less than any guest has.
const BYTES: usize = 4 << 20;

pub fn for_seconds(seconds: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let file = std::env::temp_dir().join(format!("busy-{}", std::process::id()));
    let mut rounds = 0_u64;
    while Instant::now() < end {
        memory();
        page_cache(&file)?;
        program()?;
        tcp()?;
        pipe()?;
        rounds += 1;
    }
    ensure!(rounds > 0, "not a single round in {seconds} s");
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
}

fn memory() {
    // So large a block is a separate mapping, which goes back to the kernel.
    black_box(&mut vec![1_u8; BYTES]);
}

fn page_cache(file: &std::path::Path) -> Result<()> {
    let what = || format!("cannot write and read {}", file.display());
    fs::write(file, vec![2; BYTES]).with_context(what)?;
    let length =
        File::open(file).and_then(|mut file| file.read_to_end(&mut Vec::new())).with_context(what)?;
    ensure!(length == BYTES, "{length} bytes of {BYTES} came back from {}", file.display());
    Ok(())
}

fn program() -> Result<()> {
    let mut program = Command::new("/proc/self/exe");
    let status = program.arg("list").stdin(Stdio::null()).stdout(Stdio::null()).status();
    ensure!(status.context("cannot start a program")?.success(), "a program failed");
    Ok(())
}

fn tcp() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let address = listener.local_addr().context("a listener has an address")?;
    through(move || Ok(TcpStream::connect(address)?), move || Ok(listener.accept()?.0))
}

fn pipe() -> Result<()> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    through(move || Ok(writer), move || Ok(reader))
}

/// Sends bytes from one thread to another.
fn through<W: std::io::Write, R: std::io::Read>(
    writer: impl FnOnce() -> Result<W> + Send,
    reader: impl FnOnce() -> Result<R>,
) -> Result<()> {
    let received = std::thread::scope(|scope| {
        let write = scope.spawn(|| -> Result<()> { Ok(writer()?.write_all(&vec![3; BYTES])?) });
        let received = std::io::copy(&mut reader()?, &mut std::io::sink())?;
        match write.join() {
            Ok(result) => result.map(|()| received),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let received = received.context("cannot send bytes from one thread to another")?;
    ensure!(received == BYTES as u64, "{received} bytes of {BYTES} arrived");
    Ok(())
}
