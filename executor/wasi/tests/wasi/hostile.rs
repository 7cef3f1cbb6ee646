//! Addresses, lengths and counts that lead out of memory.

use crate::guest::*;
use executor_wasi::{Errno, Input, Iovecs, Memory, Span};
use tempfile::tempdir;

#[test]
fn accesses_end_at_the_end_of_memory() {
    let mut bytes = [0; 100];
    let mut memory = Memory::new(&mut bytes[..]);
    assert_eq!(memory.bytes(Span::new(100, 0)), Ok(&[][..]));
    assert_eq!(memory.bytes(Span::new(101, 0)), Err(Errno::FAULT));
    assert_eq!(memory.bytes(Span::new(1, 100)), Err(Errno::FAULT));
    assert_eq!(memory.bytes(Span::new(u32::MAX, u32::MAX)), Err(Errno::FAULT));
    assert_eq!(memory.bytes_mut(Span::new(99, 2)), Err(Errno::FAULT));
    assert_eq!(memory.read::<u64>(93), Err(Errno::FAULT));
    assert_eq!(memory.read::<[u8; 8]>(u32::MAX), Err(Errno::FAULT));
    assert_eq!(memory.check::<u64>(93), Err(Errno::FAULT));
    assert_eq!((memory.check::<u64>(92), memory.write(92, &u64::MAX)), (Ok(()), Ok(())));
    assert_eq!(memory.write(97, &0u32), Err(Errno::FAULT));
    assert_eq!(memory.read(92), Ok([0xff_u8; 8]));
    assert_eq!(memory.path(Span::new(92, 8)), Err(Errno::ILSEQ));
    assert_eq!(memory.write(98, b"abc"), Err(Errno::FAULT));
    assert_eq!(memory.bytes(Span::new(98, 2)), Ok(&[0xff; 2][..]));
    assert_eq!(memory.write(98, b"ab"), Ok(()));
    assert_eq!(memory.path(Span::new(98, 2)), Ok("ab"));
}

#[test]
fn a_path_that_no_host_takes_is_not_looked_at() {
    // Not UTF-8 either, which would be found out by reading it.
    let mut bytes = vec![0xff; 1 << 20];
    let memory = Memory::new(&mut bytes[..]);
    assert_eq!(memory.path(Span::new(0, 4095)), Err(Errno::ILSEQ));
    for len in [4096, 1 << 20] {
        assert_eq!(memory.path(Span::new(0, len)), Err(Errno::NAMETOOLONG));
    }
    assert_eq!(memory.path(Span::new(1, 1 << 20)), Err(Errno::FAULT));
}

#[test]
fn a_partial_transfer_hides_a_later_error_and_a_first_one_shows() {
    let mut bytes = vec![0; 1000];
    let mut memory = Memory::new(&mut bytes[..]);
    for i in 0..40 {
        memory.write(i * 8, &(500 + i * 10)).unwrap();
        memory.write(i * 8 + 4, &10u32).unwrap();
    }
    let all = Iovecs::new(0, 40);
    // More than one batch: the first is taken whole, the second fails.
    let (mut calls, mut first) = (0, 0);
    let taken = memory.gather(all, |buffers, _| {
        calls += 1;
        first = first.max(buffers.len() * 10);
        if calls == 1 { Ok(first) } else { Err(Errno::PIPE) }
    });
    assert_eq!((taken, calls), (Ok(first as u32), 2));
    assert_eq!(memory.gather(all, |_, _| Err(Errno::PIPE)), Err(Errno::PIPE));
    let short = memory.gather(all, |_, done| Ok(if done == 0 { 7 } else { 0 }));
    assert_eq!(short, Ok(7));

    let len = |buffers: &[std::io::IoSliceMut<'_>]| buffers.iter().map(|b| b.len()).sum();
    let filled = memory.scatter(all, true, |buffers, done| match done {
        0 => Ok(len(buffers)),
        _ => Err(Errno::IO),
    });
    assert_eq!(filled, Ok(first as u32));
    assert_eq!(memory.scatter(all, false, |buffers, _| Ok(len(buffers))), Ok(first as u32));
    assert_eq!(memory.scatter(all, true, |buffers, _| Ok(len(buffers))), Ok(400));
    assert_eq!(memory.scatter(all, true, |_, _| Err(Errno::IO)), Err(Errno::IO));
    // Nothing to be transferred is nothing to wait for.
    let none = |_: &[std::io::IoSlice<'_>], _| panic!("asked for nothing");
    assert_eq!(memory.gather(Iovecs::new(0, 0), none), Ok(0));
}

#[test]
fn lengths_that_add_up_to_more_than_a_result_can_say_are_refused() {
    let len = 1 << 23;
    let mut bytes = vec![0; len + 8192];
    let mut memory = Memory::new(&mut bytes[..]);
    for i in 0..1024 {
        memory.write(i * 8, &8192u32).unwrap();
        memory.write(i * 8 + 4, &(len as u32)).unwrap();
    }
    assert_eq!(memory.gather(Iovecs::new(0, 1024), |_, _| Ok(0)), Err(Errno::INVAL));
    assert_eq!(memory.gather(Iovecs::new(0, 511), |_, _| Ok(0)), Ok(0));
    assert_eq!(memory.gather(Iovecs::new(0, 1025), |_, _| Ok(0)), Err(Errno::INVAL));
}

#[test]
fn hostile_buffers_are_refused_before_anything_is_written() {
    let mut guest = Guest::new(|_| {});
    let mut write = |iovecs: &[(u32, u32)], at: u32, count: u32| {
        guest.iovecs(iovecs);
        guest.call("fd_write", &[1, at.into(), count.into(), OUT.into()])
    };
    assert_eq!(write(&[(DATA, 4), (END, 2)], IOVS, 2), Err(FAULT));
    assert_eq!(write(&[(u32::MAX, u32::MAX)], IOVS, 1), Err(FAULT));
    assert_eq!(write(&[(SIZE, 1)], IOVS, 1), Err(FAULT));
    assert_eq!(write(&[(DATA, 4)], END, 1), Err(FAULT));
    assert_eq!(write(&[(DATA, 4)], u32::MAX, u32::MAX), Err(INVAL));
    assert_eq!(write(&[(DATA, 4)], u32::MAX - 8, 1024), Err(FAULT));
    assert_eq!(write(&[(DATA, 0), (SIZE, 0)], IOVS, 2), Ok(()));
    let [at, count] = guest.iovecs(&[(DATA, 4)]);
    assert_eq!(guest.call("fd_write", &[1, at, count, END.into()]), Err(FAULT));
    assert!(guest.stdout.lock().unwrap().is_empty());
    // Nor is input lost whose length could not be told.
    assert_eq!(guest.call("fd_read", &[0, at, count, END.into()]), Err(FAULT));
    assert_eq!(guest.read(0, 9).unwrap(), b"input");
}

#[test]
fn input_over_its_own_buffer_list_stays_in_memory() {
    let mut guest = Guest::new(|builder| {
        builder.stdin(Input::Bytes(vec![0xff; 200].into()));
    });
    // The first buffer is the list itself, which names more buffers than are read at once.
    let mut iovecs = vec![(IOVS, 160)];
    iovecs.extend((0..19).map(|i| (DATA + i, 1)));
    let [at, count] = guest.iovecs(&iovecs);
    guest.call("fd_read", &[0, at, count, OUT.into()]).unwrap();
    assert!((160..200).contains(&guest.u32(OUT)));
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("f"), [0xff; 200]).unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", 0, READ, 0).unwrap();
    let [at, count] = guest.iovecs(&iovecs);
    guest.call("fd_read", &[fd.into(), at, count, OUT.into()]).unwrap();
    // What is left of the list leads out of memory: what came before is what was read.
    assert_eq!(guest.u32(OUT), 167);
}

#[test]
fn every_result_must_have_its_place() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd: u64 = guest.open("f", CREAT, READ | WRITE, 0).unwrap().into();
    let ([at, count], out) = (guest.iovecs(&[(DATA, 4)]), u64::from(END));
    let [path, len] = guest.path("f");
    let calls: [(&str, &[u64]); 14] = [
        ("clock_res_get", &[0, out]),
        ("fd_fdstat_get", &[fd, out]),
        ("fd_filestat_get", &[fd, out]),
        ("fd_pread", &[fd, at, count, 0, out]),
        ("fd_prestat_dir_name", &[3, SIZE.into(), 9]),
        ("fd_pwrite", &[fd, at, count, 0, out]),
        ("fd_readdir", &[3, DATA.into(), 9, 0, out]),
        ("fd_seek", &[fd, 7, 0, out]),
        ("fd_tell", &[fd, out]),
        ("path_filestat_get", &[3, 0, path, len, out]),
        ("path_readlink", &[3, path, len, DATA.into(), 9, out]),
        ("sock_accept", &[fd, 0, out]),
        ("sock_recv", &[fd, at, count, 0, OUT.into(), out]),
        ("sock_send", &[fd, at, count, 0, out]),
    ];
    for (name, args) in calls {
        assert_eq!(guest.call(name, args), Err(FAULT), "{name}");
    }
    assert_eq!(guest.tell(fd as u32), Ok(0));
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"");
    for name in ["path_create_directory", "path_remove_directory", "path_unlink_file"] {
        assert_eq!(guest.call(name, &[3, out, 2]), Err(FAULT), "{name}");
    }
}
