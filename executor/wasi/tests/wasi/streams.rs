//! The standard streams.

use crate::guest::*;
use crate::polling::{Event, clock, descriptor, event, poll};
use executor_wasi::{Input, Output, OutputStream};
use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::tempdir;

#[test]
fn output_arrives_at_once_and_input_ends() {
    let mut guest = Guest::new(|_| {});
    assert_eq!(guest.write(1, b"out"), Ok(3));
    assert_eq!(*guest.stdout.lock().unwrap(), b"out");
    assert_eq!(guest.write(2, b"err"), Ok(3));
    assert_eq!(*guest.stdout.lock().unwrap(), b"outerr");
    assert_eq!(guest.read(0, 3).unwrap(), b"inp");
    assert_eq!(guest.read(0, 9).unwrap(), b"ut");
    assert_eq!(guest.read(0, 9).unwrap(), b"");
}

#[test]
fn streams_go_one_way_and_have_no_positions() {
    let mut guest = Guest::new(|_| {});
    assert_eq!((guest.write(0, b"x"), guest.read(1, 1)), (Err(BADF), Err(BADF)));
    for fd in 0..3 {
        assert_eq!((guest.seek(fd, 0, 1), guest.tell(fd)), (Err(SPIPE), Err(SPIPE)));
        assert_eq!((guest.pread(fd, 1, 0), guest.pwrite(fd, b"x", 0)), (Err(SPIPE), Err(SPIPE)));
        assert_eq!(guest.call("fd_allocate", &[fd.into(), 0, 1]), Err(SPIPE));
        assert_eq!(guest.call("fd_filestat_set_size", &[fd.into(), 0]), Err(SPIPE));
        assert_eq!(guest.fstat(fd).unwrap().size, 0);
        // A guest takes what can seek for no terminal, whatever else it is told.
        let (_, flags, base, inheriting) = guest.fdstat(fd).unwrap();
        assert_eq!((flags, base & (SEEK | 1 << 5), inheriting), (0, 0, 0));
        assert_eq!(base & (READ | WRITE), if fd == 0 { READ } else { WRITE });
    }
}

#[test]
fn input_fills_several_buffers_at_once() {
    let mut guest = Guest::new(|_| {});
    let [at, count] = guest.iovecs(&[(DATA, 0), (DATA, 2), (DATA + 100, 100)]);
    guest.call("fd_read", &[0, at, count, OUT.into()]).unwrap();
    assert_eq!(guest.u32(OUT), 5);
    assert_eq!((guest.bytes(DATA, 2), guest.bytes(DATA + 100, 3)), (&b"in"[..], &b"put"[..]));
}

#[test]
fn flags_of_streams_are_the_guests_own() {
    let mut guest = Guest::new(|_| {});
    assert_eq!(guest.call("fd_fdstat_set_flags", &[0, NONBLOCK.into()]), Ok(()));
    assert_eq!(guest.fdstat(0).unwrap().1, 4);
    assert_eq!(guest.call("fd_fdstat_set_flags", &[0, SYNC.into()]), Err(NOTSUP));
}

#[test]
fn a_stream_can_be_replaced_by_a_file() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("log", CREAT, WRITE, 0).unwrap();
    guest.call("fd_renumber", &[fd.into(), 1]).unwrap();
    assert_eq!(guest.write(1, b"logged"), Ok(6));
    assert_eq!(fs::read(dir.path().join("log")).unwrap(), b"logged");
    assert!(guest.stdout.lock().unwrap().is_empty());
}

#[test]
fn a_full_guest_memory_is_read_and_written_to_the_last_byte() {
    let mut guest = Guest::new(|builder| {
        builder.stdin(Input::Bytes(vec![7; 4].into()));
        builder.stderr(Output::Capture(Default::default()));
    });
    let [at, count] = guest.iovecs(&[(END, 1)]);
    assert_eq!(guest.call("fd_read", &[0, at, count, OUT.into()]), Ok(()));
    assert_eq!(guest.bytes(END, 1), [7]);
    assert_eq!(guest.call("fd_write", &[1, at, count, (SIZE - 4).into()]), Ok(()));
    assert_eq!(*guest.stdout.lock().unwrap(), [7]);
    assert_eq!(guest.bytes(SIZE - 4, 4), [1, 0, 0, 0]);
}

/// A guest whose standard input is a pipe, and the end to write to.
fn piped() -> (Guest, std::io::PipeWriter) {
    let (read, write) = std::io::pipe().unwrap();
    let guest = Guest::new(|builder| {
        builder.stdin(Input::Fd(read.into()));
    });
    (guest, write)
}

#[test]
fn input_from_a_pipe_is_waited_for_or_not() {
    let (mut guest, mut pipe) = piped();
    let forever = clock(2, 1, u64::MAX, 0);
    let soon = clock(3, 1, 1_000_000, 0);
    assert_eq!(poll(&mut guest, &[descriptor(1, 1, 0), soon]), Ok(vec![event(3, 0, 0)]));
    guest.call("fd_fdstat_set_flags", &[0, NONBLOCK.into()]).unwrap();
    assert_eq!(guest.read(0, 9), Err(AGAIN));
    pipe.write_all(b"piped").unwrap();
    assert_eq!(poll(&mut guest, &[descriptor(1, 1, 0), forever]), Ok(vec![event(1, 1, 5)]));
    assert_eq!(guest.read(0, 2).unwrap(), b"pi");
    drop(pipe);
    let gone = |bytes| Event { flags: 1, ..event(1, 1, bytes) };
    assert_eq!(poll(&mut guest, &[descriptor(1, 1, 0), forever]), Ok(vec![gone(3)]));
    assert_eq!(guest.read(0, 9).unwrap(), b"ped");
    assert_eq!(poll(&mut guest, &[descriptor(1, 1, 0), forever]), Ok(vec![gone(0)]));
    assert_eq!(guest.read(0, 9).unwrap(), b"");
}

#[test]
fn a_guest_that_waits_for_input_is_stopped() {
    let (mut guest, mut pipe) = piped();
    let interrupter = guest.store.interrupter();
    let [at, count] = guest.iovecs(&[(DATA, 9)]);
    let args = [0, at, count, OUT.into()];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            interrupter.interrupt();
        });
        assert!(guest.try_call("fd_read", &args).is_err());
    });
    interrupter.clear();
    pipe.write_all(b"later").unwrap();
    assert_eq!(guest.read(0, 9).unwrap(), b"later");
}

#[test]
fn output_to_a_pipe_that_nobody_reads_is_an_error_number() {
    let (mut read, write) = std::io::pipe().unwrap();
    let write = Output::Fd(Arc::new(write.into()));
    let mut guest = Guest::new(|builder| {
        builder.stdout(write.clone()).stderr(write.clone());
    });
    drop(write);
    guest.write(1, b"one ").unwrap();
    guest.write(2, b"two").unwrap();
    let mut bytes = [0; 7];
    read.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"one two");
    assert_eq!(poll(&mut guest, &[descriptor(1, 2, 1)]), Ok(vec![event(1, 2, 1)]));
    drop(read);
    assert_eq!(guest.write(1, b"x"), Err(PIPE));
    assert_eq!(guest.write(2, b"x"), Err(PIPE));
    let gone = Event { flags: 1, ..event(1, 2, 1) };
    assert_eq!(poll(&mut guest, &[descriptor(1, 2, 1)]), Ok(vec![gone]));
}

#[test]
fn a_stream_is_what_its_host_is() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("in"), "from a file").unwrap();
    let input = fs::File::open(dir.path().join("in")).unwrap();
    let null = fs::File::create("/dev/null").unwrap();
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut guest = Guest::new(|builder| {
        builder.stdin(Input::Fd(input.into()));
        builder.stdout(Output::Fd(Arc::new(null.into())));
        builder.stderr(Output::Fd(Arc::new(log.into())));
    });
    assert_eq!(guest.read(0, 99).unwrap(), b"from a file");
    assert_eq!(guest.read(0, 99).unwrap(), b"");
    assert_eq!(guest.write(1, b"gone"), Ok(4));
    let types = [0, 1, 2].map(|fd| guest.fdstat(fd).unwrap().0);
    // A character device that is no terminal is not told to be one.
    assert_eq!(types, [4, 0, 4]);
    for name in ["fd_sync", "fd_datasync"] {
        assert_eq!((guest.call(name, &[2]), guest.call(name, &[1])), (Ok(()), Err(INVAL)));
    }
}

/// Keeps what it is given, and what it was told since; it takes three bytes of a write.
#[derive(Debug, Default)]
struct Kept {
    written: Mutex<Vec<u8>>,
    flushed: AtomicUsize,
}

impl OutputStream for Kept {
    fn write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = &buffers[0][..buffers[0].len().min(3)];
        self.written.lock().unwrap().extend_from_slice(first);
        Ok(first.len())
    }

    fn flush(&self) {
        self.flushed.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_stream_of_the_embedder_takes_what_it_can_and_is_flushed_before_a_wait() {
    let kept = Arc::new(Kept::default());
    let (read, mut write) = io::pipe().unwrap();
    let mut guest = Guest::new(|builder| {
        builder.stdout(Output::Stream(Arc::<Kept>::clone(&kept)));
        builder.stdin(Input::Fd(read.into()));
    });
    assert_eq!(guest.write(1, b"bytes"), Ok(3));
    assert_eq!((&kept.written.lock().unwrap()[..], kept.flushed.load(Relaxed)), (&b"byt"[..], 0));
    // Looking at what is there waits for nothing.
    assert_eq!(poll(&mut guest, &[descriptor(1, 2, 1)]), Ok(vec![event(1, 2, 1)]));
    assert_eq!(kept.flushed.load(Relaxed), 0);
    assert_eq!(poll(&mut guest, &[clock(3, 1, 1_000_000, 0)]), Ok(vec![event(3, 0, 0)]));
    assert_eq!(kept.flushed.load(Relaxed), 1);
    write.write_all(b"in").unwrap();
    assert_eq!(guest.read(0, 9).unwrap(), b"in");
    assert_eq!(kept.flushed.load(Relaxed), 2);
}
