//! Sockets that listen before the guest begins, and the connections accepted from them.

use crate::guest::*;
use crate::polling::{Event, clock, descriptor, event, poll};
use executor_wasi::{WasiCtxBuilder, WasiError};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use tempfile::tempdir;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn guest() -> (Guest, SocketAddr) {
    let (listener, address) = listener();
    let guest = Guest::new(|builder| {
        builder.listener(listener);
    });
    (guest, address)
}

fn accept(guest: &mut Guest, fd: u32, flags: u32) -> Answer<u32> {
    guest.call("sock_accept", &[fd.into(), flags.into(), OUT.into()])?;
    Ok(guest.u32(OUT))
}

fn connected() -> (Guest, u32, TcpStream) {
    let (mut guest, address) = guest();
    let peer = TcpStream::connect(address).unwrap();
    let fd = accept(&mut guest, 3, 0).unwrap();
    (guest, fd, peer)
}

fn send(guest: &mut Guest, fd: u32, data: &[u8], flags: u64) -> Answer<u32> {
    let len = guest.put(DATA, data);
    let [at, count] = guest.iovecs(&[(DATA, len / 2), (DATA + len / 2, len - len / 2)]);
    guest.call("sock_send", &[fd.into(), at, count, flags, OUT.into()])?;
    Ok(guest.u32(OUT))
}

fn receive(guest: &mut Guest, fd: u32, len: u32, flags: u64) -> Answer<Vec<u8>> {
    let [at, count] = guest.iovecs(&[(DATA, 1), (DATA + 1, len - 1)]);
    let (out, out_flags) = (u64::from(OUT), u64::from(OUT + 8));
    guest.call("sock_recv", &[fd.into(), at, count, flags, out, out_flags])?;
    assert_eq!(guest.u16(OUT + 8), 0);
    Ok(guest.bytes(DATA, guest.u32(OUT)).to_vec())
}

#[test]
fn a_connection_is_accepted_and_talked_over() {
    let (mut guest, fd, mut peer) = connected();
    assert_eq!((fd, guest.fdstat(fd).unwrap().0, guest.fdstat(3).unwrap().0), (4, 6, 6));
    peer.write_all(b"hello").unwrap();
    assert_eq!(receive(&mut guest, fd, 3, 1).unwrap(), b"hel");
    assert_eq!(receive(&mut guest, fd, 9, 0).unwrap(), b"hello");
    peer.write_all(b"again").unwrap();
    assert_eq!(receive(&mut guest, fd, 5, 2).unwrap(), b"again");
    assert_eq!(send(&mut guest, fd, b"answer", 0), Ok(6));
    assert_eq!(guest.write(fd, b", more"), Ok(6));
    let mut answer = [0; 12];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer, more");
    peer.write_all(b"read").unwrap();
    assert_eq!(guest.read(fd, 9).unwrap(), b"read");
}

#[test]
fn each_direction_is_shut_down() {
    let (mut guest, fd, mut peer) = connected();
    let shutdown = |guest: &mut Guest, how| guest.call("sock_shutdown", &[fd.into(), how]);
    assert_eq!(shutdown(&mut guest, 2), Ok(()));
    assert_eq!(peer.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(send(&mut guest, fd, b"xx", 0), Err(PIPE));
    assert_eq!(shutdown(&mut guest, 1), Ok(()));
    assert_eq!(receive(&mut guest, fd, 9, 0).unwrap(), b"");
    for how in [0, 4, u64::from(u32::MAX)] {
        assert_eq!(shutdown(&mut guest, how), Err(INVAL));
    }
    drop(peer);
}

#[test]
fn what_does_not_wait_says_so() {
    let (mut guest, address) = guest();
    assert_eq!(guest.call("fd_fdstat_set_flags", &[3, NONBLOCK.into()]), Ok(()));
    assert_eq!(accept(&mut guest, 3, 0), Err(AGAIN));
    let mut peer = TcpStream::connect(address).unwrap();
    let forever = clock(2, 1, u64::MAX, 0);
    let waiting = poll(&mut guest, &[descriptor(1, 1, 3), forever]).unwrap();
    assert_eq!((waiting.len(), waiting[0].userdata, waiting[0].errno), (1, 1, 0));
    let fd = accept(&mut guest, 3, NONBLOCK).unwrap();
    assert_eq!(guest.fdstat(fd).unwrap().1, NONBLOCK as u16);
    assert_eq!((receive(&mut guest, fd, 9, 0), guest.read(fd, 9)), (Err(AGAIN), Err(AGAIN)));
    // Ready to be written; to be read once there is something; the end is a hang-up.
    assert_eq!(poll(&mut guest, &[descriptor(1, 2, fd), forever]), Ok(vec![event(1, 2, 1)]));
    peer.write_all(b"abc").unwrap();
    assert_eq!(poll(&mut guest, &[descriptor(1, 1, fd), forever]), Ok(vec![event(1, 1, 3)]));
    drop(peer);
    let gone = Event { flags: 1, ..event(1, 1, 3) };
    assert_eq!(poll(&mut guest, &[descriptor(1, 1, fd), forever]), Ok(vec![gone]));
}

#[test]
fn what_is_no_socket_says_so() {
    let dir = tempdir().unwrap();
    let (mut guest, fd, _peer) = connected();
    let [at, count] = guest.iovecs(&[(DATA, 1)]);
    let out = u64::from(OUT);
    for (fd, errno) in [(99, BADF), (1, NOTSOCK), (3, NOTCONN)] {
        assert_eq!(guest.call("sock_shutdown", &[fd, 1]), Err(errno));
        assert_eq!(guest.call("sock_send", &[fd, at, count, 0, out]), Err(errno));
        assert_eq!(guest.call("sock_recv", &[fd, at, count, 0, out, out + 8]), Err(errno));
    }
    for (fd, errno) in [(99, BADF), (1, NOTSOCK), (fd, INVAL)] {
        assert_eq!(accept(&mut guest, fd, 0), Err(errno));
    }
    assert_eq!(accept(&mut guest, 3, 1), Err(INVAL));
    assert_eq!(send(&mut guest, fd, b"xx", 1), Err(INVAL));
    assert_eq!(receive(&mut guest, fd, 9, 4), Err(INVAL));
    for fd in [3, fd] {
        assert_eq!((guest.seek(fd, 0, 1), guest.pread(fd, 1, 0)), (Err(SPIPE), Err(SPIPE)));
        assert_eq!(guest.call("fd_sync", &[fd.into()]), Err(INVAL));
    }
    assert_eq!((guest.read(3, 1), guest.write(3, b"x")), (Err(BADF), Err(BADF)));
    // A directory is no socket either.
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.call("sock_shutdown", &[3, 1]), Err(NOTSOCK));
}

#[test]
fn sockets_ask_for_their_rights() {
    let (mut guest, fd, _peer) = connected();
    guest.call("fd_fdstat_set_rights", &[fd.into(), 0, 0]).unwrap();
    assert_eq!((guest.read(fd, 1), guest.write(fd, b"x")), (Err(NOTCAPABLE), Err(NOTCAPABLE)));
    assert_eq!(send(&mut guest, fd, b"xx", 0), Err(NOTCAPABLE));
    assert_eq!(receive(&mut guest, fd, 9, 0), Err(NOTCAPABLE));
    assert_eq!(guest.call("sock_shutdown", &[fd.into(), 3]), Err(NOTCAPABLE));
    guest.call("fd_fdstat_set_rights", &[3, 0, 0]).unwrap();
    assert_eq!(accept(&mut guest, 3, 0), Err(NOTCAPABLE));
}

#[test]
fn sockets_come_after_directories() {
    let dir = tempdir().unwrap();
    let (first, _) = listener();
    let mut guest = Guest::new(|builder| {
        builder.listener(first);
        builder.preopen(dir.path(), "/").unwrap();
    });
    assert_eq!(guest.call("fd_prestat_get", &[3, OUT.into()]), Ok(()));
    // Where userlands stop looking for directories.
    assert_eq!(guest.call("fd_prestat_get", &[4, OUT.into()]), Err(BADF));
    assert_eq!(guest.fdstat(4).unwrap().0, 6);
}

#[test]
fn a_restored_guest_listens_at_the_sockets_of_its_run() {
    let (mut guest, _) = guest();
    guest.call("fd_renumber", &[3, 0]).unwrap();
    let state = guest.state().unwrap();
    let (listener, address) = listener();
    let mut restored = Guest::restored(&guest, &state, |builder| {
        builder.listener(listener);
    });
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(b"x").unwrap();
    let fd = accept(&mut restored, 0, 0).unwrap();
    assert_eq!(restored.read(fd, 9).unwrap(), b"x");
    assert_eq!(restored.fdstat(3).err(), None, "the connection has the lowest free number");
    let error = WasiCtxBuilder::new().restore(&state).unwrap_err();
    assert!(matches!(error, WasiError::MissingListener(1)), "{error}");
}

#[test]
fn an_open_connection_refuses_the_capture_by_name() {
    let (mut guest, fd, peer) = connected();
    let error = guest.state().unwrap_err().to_string();
    let address = peer.local_addr().unwrap();
    assert!(
        error.starts_with(&format!("a connection with {address} is still open as descriptor {fd}")),
        "{error}"
    );
    guest.close(fd).unwrap();
    assert!(guest.state().is_ok());
}
