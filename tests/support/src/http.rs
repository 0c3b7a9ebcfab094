//! Clients of HTTP, and where servers listen.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_mins(1);
const TICK: Duration = Duration::from_millis(50);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Gets this path, on a new connection.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(ANSWER))?;
    // An answer to HTTP/1.0 ends with its connection, and is not chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(|| format!("no answer to {path}"))?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no head in: {text}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status in: {head}"))?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Waits until this process listens on a port of IPv4, and says on which: the kernel has chosen one.
pub fn listening(pid: u32, deadline: Duration) -> Result<SocketAddr> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(address) = listens(pid)? {
            return Ok(address);
        }
        ensure!(Instant::now() < end, "process {pid} does not listen after {deadline:?}");
        std::thread::sleep(TICK);
    }
}

fn listens(pid: u32) -> Result<Option<SocketAddr>> {
    const LISTEN: &str = "0A";
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { bail!("process {pid} has ended") };
    let sockets: Vec<_> = descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).context("no table of sockets")?;
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let mut own = rows.filter(|row| {
        row.get(3) == Some(&LISTEN) && row.get(9).is_some_and(|inode| sockets.iter().any(|it| it == inode))
    });
    own.next().map(|row| parse(row[1]).with_context(|| format!("no address: {}", row[1]))).transpose()
}

/// As the kernel writes it: the address in the order of this machine.
fn parse(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address.to_ne_bytes())), port))
}
