//! What an attacker in the agent can do. A stand-in for the exploit tries it in threads that are confined as the agent is, after it
//! has tried the same unconfined, which shows that it would work, or fail for another reason.
//!
//! Needs root, as the agent does; `CRASHTRACE_SKIP_LIVE=1` leaves it out.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crashtrace::confine::{self, Confinement, Needs, Whom};

use crashtrace_test_support::skipped;

/// Targets on the node: a file and a process.
struct Targets {
    dir: tempfile::TempDir,
    child: Child,
}

impl Targets {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("file"), "secret").expect("a file");
        let child = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().expect("it starts");
        Self { dir, child }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn pid(&self) -> i64 {
        self.child.id().into()
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.child.kill().expect("it is a child");
        self.child.wait().expect("it ends");
    }
}

/// An action that an attacker would try. Where it would go through, its arguments do no harm: the kernel then answers with another
/// error than that of a right that is missing.
type Attack = fn(&Targets) -> io::Result<()>;

fn call(number: libc::c_long, arguments: [i64; 5]) -> io::Result<()> {
    let [first, second, third, fourth, fifth] = arguments;
    // SAFETY: No argument is an address that the kernel writes to.
    let done = unsafe { libc::syscall(number, first, second, third, fourth, fifth) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn text(path: &Path) -> CString {
    CString::new(path.to_str().expect("UTF-8")).expect("no NUL")
}

const ATTACKS: &[(&str, Attack)] = &[
    ("start a program", |_| Command::new("true").status().map(drop)),
    ("become another program", |_| call(libc::SYS_execve, [0; 5])),
    ("become one that is in memory", |_| call(libc::SYS_execveat, [-1, 0, 0, 0, 0])),
    ("have a file in memory", |_| call(libc::SYS_memfd_create, [c"x".as_ptr() as i64, 0, 0, 0, 0])),
    ("trace a process", |targets| {
        // PTRACE_SEIZE, of an existing process.
        call(libc::SYS_ptrace, [0x4206, targets.pid(), 0, 0, 0])
    }),
    ("read its memory", |targets| call(libc::SYS_process_vm_readv, [targets.pid(), 0, 0, 0, 0])),
    ("write to its memory", |targets| call(libc::SYS_process_vm_writev, [targets.pid(), 0, 0, 0, 0])),
    ("open its memory", |targets| fs::File::open(format!("/proc/{}/mem", targets.pid())).map(drop)),
    ("read its variables", |targets| fs::read(format!("/proc/{}/environ", targets.pid())).map(drop)),
    ("have a handle on it, to take its descriptors by", |targets| {
        call(libc::SYS_pidfd_open, [targets.pid(), 0, 0, 0, 0])
    }),
    ("kill it", |targets| call(libc::SYS_kill, [targets.pid(), 0, 0, 0, 0])),
    ("kill its thread", |targets| call(libc::SYS_tgkill, [targets.pid(), targets.pid(), 0, 0, 0])),
    ("mount", |targets| {
        let nowhere = text(&targets.path("nowhere"));
        call(libc::SYS_mount, [0, nowhere.as_ptr() as i64, 0, libc::MS_BIND.cast_signed(), 0])
    }),
    ("mount the new way", |_| call(libc::SYS_fsopen, [0; 5])),
    ("move to another root", |_| call(libc::SYS_pivot_root, [0; 5])),
    ("have a namespace of its own", |_| call(libc::SYS_unshare, [0; 5])),
    ("have another's namespace", |_| call(libc::SYS_setns, [-1, 0, 0, 0, 0])),
    ("write to a file", |targets| fs::OpenOptions::new().write(true).open(targets.path("file")).map(drop)),
    ("add to a file", |targets| fs::OpenOptions::new().append(true).open(targets.path("file")).map(drop)),
    ("make a file", |targets| fs::write(targets.path("new"), "x")),
    ("cut a file", |targets| {
        let file = text(&targets.path("file"));
        call(libc::SYS_truncate, [file.as_ptr() as i64, 6, 0, 0, 0])
    }),
    ("make a folder", |targets| fs::create_dir(targets.path("folder"))),
    ("remove a file", |targets| fs::remove_file(targets.path("new"))),
    ("make a link", |targets| std::os::unix::fs::symlink("/", targets.path("link"))),
    ("rename a file", |targets| fs::rename(targets.path("link"), targets.path("other"))),
    ("give a file away", |targets| std::os::unix::fs::chown(targets.path("file"), Some(0), Some(0))),
    ("read a file of the node", |targets| fs::read(targets.path("file")).map(drop)),
    ("open a file by its handle", |_| call(libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0])),
    // BPF_PROG_LOAD, BPF_MAP_CREATE, BPF_PROG_GET_FD_BY_ID, of nothing.
    ("load a BPF program", |_| call(libc::SYS_bpf, [5, 0, 0, 0, 0])),
    ("make a BPF map", |_| call(libc::SYS_bpf, [0, 0, 0, 0, 0])),
    ("take a BPF program of another process", |_| call(libc::SYS_bpf, [13, 0, 0, 0, 0])),
    ("watch by perf events", |_| call(libc::SYS_perf_event_open, [0; 5])),
    ("load a module", |_| call(libc::SYS_init_module, [0; 5])),
    ("read the kernel's log", |_| call(libc::SYS_syslog, [10, 0, 0, 0, 0])),
    ("send raw packets", |_| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
    ("see all packets", |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("talk to the kernel's network", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)),
    ("listen", |_| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        call(libc::SYS_listen, [std::os::fd::AsRawFd::as_raw_fd(&socket).into(), 1, 0, 0, 0])
    }),
    ("map code", |_| {
        let (size, code) = (4096, i64::from(libc::PROT_READ | libc::PROT_EXEC));
        call(libc::SYS_mmap, [0, size, code, i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS), -1])
    }),
    ("be another user", |_| call(libc::SYS_setuid, [0; 5])),
    ("have its rights back", |_| call(libc::SYS_capset, [0; 5])),
    ("ask the kernel by a ring", |_| call(libc::SYS_io_uring_setup, [0; 5])),
    ("lay hands on faults", |_| call(libc::SYS_userfaultfd, [0; 5])),
    ("have keys", |_| call(libc::SYS_keyctl, [0; 5])),
];

/// Attempts that a machine may refuse to root, too: `kernel.yama.ptrace_scope`, `kernel.modules_disabled`,
/// `kernel.io_uring_disabled` and lockdown do. All else must work without confinement, or this test shows nothing.
const MAY_BE_REFUSED: &[&str] = &[
    "trace a process",
    "read its memory",
    "write to its memory",
    "open its memory",
    "load a module",
    "watch by perf events",
    "ask the kernel by a ring",
];

fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<()> {
    call(libc::SYS_socket, [domain.into(), kind.into(), protocol.into(), 0, 0])
}

fn is_refused(result: &io::Result<()>) -> bool {
    let code = result.as_ref().err().and_then(io::Error::raw_os_error);
    code.is_some_and(|code| [libc::EPERM, libc::EACCES].contains(&code))
}

/// The version of landlock that the kernel has; none where it has no landlock, or it is not switched on.
fn landlock_abi() -> Option<i32> {
    const VERSION: i64 = 1; // LANDLOCK_CREATE_RULESET_VERSION
    // SAFETY: The kernel gives a number, and reads and writes nothing.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_i64, 0_i64, VERSION) };
    i32::try_from(abi).ok().filter(|abi| *abi > 0)
}

/// In a separate thread, confined to this.
fn confined<T: Send>(needs: &Needs, then: impl FnOnce(&Confinement) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| then(&confine::apply(Whom::Thread, needs, || true)));
        thread.join().expect("it does not panic")
    })
}

fn agent() -> Needs {
    Needs::kernel_only(Some("/sys/fs/cgroup".into()))
}

/// One in a pod, with all sources of names.
fn agent_in_a_pod() -> Needs {
    agent().in_cluster(Some(6443)).runtime([Path::new("/run/containerd/containerd.sock")])
}

#[test]
fn an_attacker_is_refused_each_attack() {
    if skipped() {
        return;
    }
    let (targets, abi) = (Targets::new(), landlock_abi());
    let open: Vec<_> = ATTACKS
        .iter()
        .map(|(what, attack)| (what, attack(&targets)))
        .filter(|(_, done)| is_refused(done))
        .collect();
    eprintln!("refused by this machine without any confinement: {open:?}");
    let missing: Vec<_> = open.iter().map(|(what, _)| **what).collect();
    let silent: Vec<_> = missing.iter().filter(|what| !MAY_BE_REFUSED.contains(what)).collect();
    assert!(silent.is_empty(), "nothing shows here of: {silent:?}");
    // Only landlock denies files that the same user may read.
    let by_landlock = ["read a file of the node", "read its variables"];
    for needs in [agent(), agent_in_a_pod()] {
        let (state, done) = confined(&needs, |state| {
            let done: Vec<_> = ATTACKS.iter().map(|(what, attack)| (*what, attack(&targets))).collect();
            (state.clone(), done)
        });
        eprintln!("{state:#?}");
        assert_eq!(state.landlock_abi, abi);
        for (what, done) in &done {
            let excused = abi.is_none() && by_landlock.contains(what);
            assert!(is_refused(done) || excused, "{what}: {done:?}, with {needs:?}");
        }
    }
}

/// The agent itself keeps the operations that it goes on to need, and no more of each.
#[test]
fn the_agent_can_do_its_work() {
    if skipped() {
        return;
    }
    let targets = Targets::new();
    let tokens = targets.path("tokens");
    fs::create_dir(&tokens).expect("a folder");
    fs::write(tokens.join("token"), "first").expect("a file");
    let sockets = targets.path("run");
    fs::create_dir(&sockets).expect("a folder");
    let _runtime = UnixListener::bind(sockets.join("runtime.sock")).expect("a socket");
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (server_at, other_at) =
        (server.local_addr().expect("it has one"), other.local_addr().expect("it has one"));
    let mut report = fs::File::create(targets.path("report")).expect("a file");
    let journal = fs::File::options().read(true).write(true).create_new(true).open(targets.path("journal"));
    let journal = journal.expect("a file");

    let mut needs = agent().in_cluster(Some(server_at.port()));
    needs.reads.push(tokens.clone());
    let socket = sockets.join("runtime.sock");
    let needs = needs.runtime([socket.as_path()]);
    // Landlock confines ports from its version 4 on. The version is read here, since seccomp has no call for it.
    let ports = landlock_abi().is_some_and(|abi| abi >= 4);
    confined(&needs, |_| {
        assert!(fs::read_to_string("/proc/meminfo").is_ok_and(|text| text.contains("MemFree")));
        fs::read("/proc/zoneinfo").expect("of root, and for root");
        fs::read("/proc/pagetypeinfo").expect("of root, and for root");
        fs::read("/sys/devices/system/cpu/possible").expect("maps have a value for each");
        fs::read_dir("/sys/fs/cgroup").expect("cgroups").for_each(drop);
        // Kubelet puts another file in place of a token.
        fs::read(tokens.join("token")).expect("the token");
        report.write_all(b"a line").expect("what is open is written to");
        journal.write_all_at(b"a line", 2).expect("the journal too");
        journal.read_exact_at(&mut [0; 6], 2).expect("and read");
        journal.sync_data().expect("it is on the disk");
        journal.set_len(0).expect("lines that are delivered are cut");
        let read = std::thread::spawn(move || fs::read(tokens.join("token"))).join();
        read.expect("a thread of its own").expect("which reads");
        UnixStream::connect(&socket).expect("the runtime");
        TcpStream::connect(server_at).expect("the API server");
        let refused = |result: io::Result<TcpStream>| is_refused(&result.map(drop));
        assert_eq!(refused(TcpStream::connect(other_at)), ports, "another port");
        let (mut client, _) = server.accept().expect("a client's connection is accepted");
        client.write_all(b"ok").expect("it is");
        ("localhost", 80).to_socket_addrs().expect("a name").for_each(drop);
        UdpSocket::bind("0.0.0.0:0").expect("a socket to ask name servers by");
    });
}

/// A kubeconfig may name a program that makes credentials: that program can be run, and has no more rights than the agent, which
/// says so.
#[test]
fn a_program_that_makes_credentials_can_be_run() {
    if skipped() {
        return;
    }
    let needs = agent().kubeconfig(false, true);
    let (state, status) = confined(&needs, |state| (state.clone(), program_status()));
    let status = status.expect("it is run");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(state.landlock_abi, None);
    assert!(state.not_applied.iter().any(|why| why.contains("names a program")), "{state:?}");
}

/// Of a program that is started: the rights that it has.
fn program_status() -> io::Result<String> {
    let output = Command::new("cat").arg("/proc/self/status").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
