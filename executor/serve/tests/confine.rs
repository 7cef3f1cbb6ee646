//! What a worker is kept from, by trying it: this program runs itself once more, and that one confines itself.
#![forbid(unsafe_code)]

use nix::{
    errno::Errno,
    sys::{ptrace, signal},
    unistd::{Pid, getppid},
};
use rustix::fs::{AtFlags, CWD, linkat, renameat, symlinkat, unlinkat};
use std::{
    env, fs,
    io::{self, ErrorKind::PermissionDenied},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// The variable that names the directory of the one that tries.
const TRY: &str = "EXECUTOR_TRY_CONFINED";

#[test]
fn a_worker_reaches_what_it_needs_and_nothing_else() {
    if let Some(dir) = env::var_os(TRY) {
        return try_all(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["store", "changed", "read", "other"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("file"), "text").unwrap();
    }
    let mut again = Command::new(env::current_exe().unwrap());
    again.env(TRY, dir.path()).args(["--exact", "a_worker_reaches_what_it_needs_and_nothing_else"]);
    let output = again.arg("--nocapture").output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[track_caller]
fn refused<T>(what: &str, result: io::Result<T>) {
    let error = result.err().unwrap_or_else(|| panic!("{what} is not refused"));
    assert_eq!(error.kind(), PermissionDenied, "{what}: {error}");
}

fn try_all(dir: &Path) {
    let of = |name: &str| -> PathBuf { dir.join(name).join("file") };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // The thread that confines itself is not the one of the test harness.
    let confined =
        executor_serve::confine(&dir.join("store"), &dir.join("changed"), &dir.join("read"));
    assert_eq!(confined, Ok(()));

    // What it needs.
    assert_eq!(fs::read_to_string(of("store")).unwrap(), "text");
    assert_eq!(fs::read_to_string(of("read")).unwrap(), "text");
    fs::write(of("changed"), "new").unwrap();
    // As WASI's functions do it.
    renameat(CWD, of("changed"), CWD, dir.join("changed/renamed")).unwrap();
    unlinkat(CWD, dir.join("changed/renamed"), AtFlags::empty()).unwrap();
    assert!(!fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().is_empty());
    thread::spawn(|| ()).join().unwrap();

    // Files.
    refused("another directory", fs::read(of("other")));
    refused("a file of the system", fs::read("/etc/passwd"));
    refused("memory", fs::read("/proc/self/mem"));
    refused("the environment", fs::read("/proc/self/environ"));
    refused("a list of files", fs::read_dir("/"));
    refused("writing to the store", fs::write(of("store"), ""));
    refused("a new file of the store", fs::write(dir.join("store/new"), ""));
    let removed = unlinkat(CWD, of("store"), AtFlags::empty());
    refused("removing a file of the store", removed.map_err(io::Error::from));
    let taken = renameat(CWD, of("store"), CWD, dir.join("changed/taken"));
    assert!(taken.is_err(), "moving a file of the store");
    refused("writing to what is read", fs::write(of("read"), ""));
    let linked = linkat(CWD, of("other"), CWD, dir.join("changed/link"), AtFlags::empty());
    assert!(linked.is_err(), "a way out by a link");
    let link = dir.join("changed/symbolic");
    symlinkat(of("other"), CWD, &link).unwrap();
    refused("another directory, by a symbolic link", fs::read(&link));

    // The network.
    refused("connecting", TcpStream::connect(addr));
    refused("listening", TcpListener::bind("127.0.0.1:0"));
    refused("a datagram", UdpSocket::bind("127.0.0.1:0"));
    refused("a socket of the file system", UnixStream::connect(dir.join("socket")));

    // Other processes.
    refused("starting a program", Command::new("/bin/true").status());
    assert_eq!(signal::kill(getppid(), None), Err(Errno::EPERM));
    assert_eq!(signal::kill(Pid::this(), None), Err(Errno::EPERM));
    assert_eq!(ptrace::attach(getppid()), Err(Errno::EPERM));
}
