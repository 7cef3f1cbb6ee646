//! Files: opening, reading, writing, seeking, sizes.

use crate::guest::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::tempdir;

#[test]
fn a_file_is_created_written_sought_and_read() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("a.txt", CREAT | TRUNC, READ | WRITE, 0).unwrap();
    assert_eq!(fd, 4);
    assert_eq!(guest.write(fd, b"hello world"), Ok(11));
    assert_eq!(guest.seek(fd, -5, 2), Ok(6));
    assert_eq!(guest.read(fd, 100).unwrap(), b"world");
    assert_eq!((guest.tell(fd), guest.seek(fd, 0, 1)), (Ok(11), Ok(11)));
    assert_eq!(guest.seek(fd, -1, 0), Err(INVAL));
    assert_eq!(guest.seek(fd, -12, 1), Err(INVAL));
    assert_eq!(guest.seek(fd, 0, 3), Err(INVAL));
    assert_eq!(guest.seek(fd, 1 << 40, 0), Ok(1 << 40));
    assert_eq!(guest.read(fd, 1).unwrap(), b"");
    assert_eq!(fs::read(dir.path().join("a.txt")).unwrap(), b"hello world");
}

#[test]
fn several_buffers_are_filled_and_written_in_order() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd: u64 = guest.open("v", CREAT, READ | WRITE, 0).unwrap().into();
    guest.put(DATA, b"abcdefgh");
    // More buffers than one batch holds, some of them empty, some overlapping.
    let mut iovecs = vec![(DATA + 4, 2), (DATA, 0), (DATA, 4)];
    iovecs.extend([(DATA + 6, 1); 30]);
    let [at, count] = guest.iovecs(&iovecs);
    guest.call("fd_write", &[fd, at, count, OUT.into()]).unwrap();
    assert_eq!(guest.u32(OUT), 36);
    let expected = format!("efabcd{}", "g".repeat(30));
    assert_eq!(fs::read(dir.path().join("v")).unwrap(), expected.as_bytes());

    let [at, count] = guest.iovecs(&[(DATA, 0), (DATA + 100, 3), (DATA + 50, 3), (DATA + 200, 99)]);
    guest.call("fd_pread", &[fd, at, count, 1, OUT.into()]).unwrap();
    assert_eq!(guest.u32(OUT), 35);
    assert_eq!(guest.bytes(DATA + 100, 3), b"fab");
    assert_eq!(guest.bytes(DATA + 50, 3), b"cdg");
    // More than a batch to be read.
    let one_each: Vec<_> = (0..20).map(|i| (DATA + i * 2, 1)).collect();
    let [at, count] = guest.iovecs(&one_each);
    guest.call("fd_pread", &[fd, at, count, 0, OUT.into()]).unwrap();
    assert_eq!((guest.u32(OUT), guest.bytes(DATA + 38, 1)), (20, &b"g"[..]));
    // Buffers that overlap are read one at a time.
    let [at, count] = guest.iovecs(&[(DATA, 4), (DATA + 2, 4)]);
    guest.call("fd_pread", &[fd, at, count, 0, OUT.into()]).unwrap();
    assert_eq!((guest.u32(OUT), guest.bytes(DATA, 4)), (4, &b"efab"[..]));
}

#[test]
fn positions_are_read_and_written_without_moving() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", CREAT, READ | WRITE, 0).unwrap();
    guest.write(fd, b"0123456789").unwrap();
    assert_eq!(guest.pread(fd, 4, 8).unwrap(), b"89");
    assert_eq!(guest.pread(fd, 4, 10).unwrap(), b"");
    assert_eq!(guest.pread(fd, 4, 1 << 40).unwrap(), b"");
    assert_eq!(guest.pwrite(fd, b"end", 12), Ok(3));
    assert_eq!(guest.tell(fd), Ok(10));
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"0123456789\0\0end");
    for offset in [u64::MAX, 1 << 63] {
        assert_eq!(guest.pread(fd, 1, offset), Err(INVAL));
        assert_eq!(guest.pwrite(fd, b"x", offset), Err(INVAL));
    }
    assert_eq!(guest.pwrite(fd, b"x", 1 << 62), Err(FBIG));
}

#[test]
fn descriptors_do_only_what_they_were_opened_for() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("r"), "r").unwrap();
    let mut guest = Guest::at(&dir);
    let r = guest.open("r", 0, READ, 0).unwrap();
    let w = guest.open("w", CREAT, WRITE, 0).unwrap();
    assert_eq!((guest.write(r, b"x"), guest.pwrite(r, b"x", 0)), (Err(BADF), Err(BADF)));
    assert_eq!((guest.read(w, 1), guest.pread(w, 1, 0)), (Err(BADF), Err(BADF)));
    assert_eq!(guest.call("fd_filestat_set_size", &[r.into(), 0]), Err(INVAL));
    assert_eq!(guest.call("fd_allocate", &[r.into(), 0, 10]), Err(BADF));
    // Created without the right to write: the file is there and empty, and cannot be written.
    let c = guest.open("c", CREAT, READ, 0).unwrap();
    assert_eq!(guest.write(c, b"x"), Err(BADF));
    assert_eq!((guest.read(99, 1), guest.write(99, b"x")), (Err(BADF), Err(BADF)));
}

#[test]
fn open_flags_mean_what_they_say() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "old").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.open("none", 0, READ, 0), Err(NOENT));
    assert_eq!(guest.open("none/f", CREAT, READ, 0), Err(NOENT));
    assert_eq!(guest.open("f/g", CREAT, READ, 0), Err(NOTDIR));
    assert_eq!(guest.open("", CREAT, READ, 0), Err(NOENT));
    assert_eq!(guest.open("f", CREAT | EXCL, READ | WRITE, 0), Err(EXIST));
    assert_eq!(guest.open("d", CREAT | EXCL, READ, 0), Err(EXIST));
    assert_eq!(guest.open("f", DIRECTORY, READ, 0), Err(NOTDIR));
    assert_eq!(guest.open("f", DIRECTORY | CREAT, READ, 0), Err(INVAL));
    assert_eq!(guest.open("d", DIRECTORY | TRUNC, READ, 0), Err(INVAL));
    assert_eq!(guest.open("d", DIRECTORY, WRITE, 0), Err(ISDIR));
    assert_eq!(guest.open("d", 0, WRITE, 0), Err(ISDIR));
    assert_eq!(guest.open("d", TRUNC, 0, 0), Err(ISDIR));
    assert_eq!(guest.open("f", 0, READ, 1 << 7), Err(INVAL));
    assert_eq!(guest.open("f", 16, READ, 0), Err(INVAL));
    assert_eq!(guest.open_at(3, 2, "f", 0, READ, 0, 0), Err(INVAL));
    assert_eq!(guest.open("f\0", 0, READ, 0), Err(INVAL));
    assert_eq!(guest.open(&"n".repeat(256), CREAT, READ, 0), Err(NAMETOOLONG));
    assert_eq!(guest.open(&"n/".repeat(3000), 0, READ, 0), Err(NAMETOOLONG));
    // Excluding alone means nothing.
    let plain = guest.open("f", EXCL, READ, 0).unwrap();
    assert_eq!(guest.read(plain, 9).unwrap(), b"old");
    let appending = guest.open("f", 0, WRITE, APPEND).unwrap();
    guest.write(appending, b"+new").unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"old+new");
    // Truncating takes no right to write.
    let truncated = guest.open("f", TRUNC, READ, 0).unwrap();
    assert_eq!(guest.write(truncated, b"x"), Err(BADF));
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"");
    let created = guest.open("new", CREAT | EXCL | TRUNC, WRITE, 0).unwrap();
    assert_eq!(guest.write(created, b"new"), Ok(3));
    // Below an opened directory, and not below a file or a stream.
    fs::write(dir.path().join("d/g"), "deep").unwrap();
    let d = guest.open_at(3, 1, "d", 0, !WRITE, !0, 0).unwrap();
    let g = guest.open_at(d, 1, "g", 0, READ, 0, 0).unwrap();
    assert_eq!(guest.read(g, 9).unwrap(), b"deep");
    for (fd, errno) in [(g, NOTDIR), (1, NOTDIR), (99, BADF)] {
        assert_eq!(guest.open_at(fd, 1, "g", CREAT, 0, 0, 0), Err(errno));
    }
}

#[test]
fn trailing_slashes_belong_to_directories() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.open("f/", 0, READ, 0), Err(NOTDIR));
    assert_eq!(guest.open("f/.", 0, READ, 0), Err(NOTDIR));
    assert_eq!(guest.stat(1, "f/"), Err(NOTDIR));
    assert_eq!(guest.open("new/", CREAT, READ, 0), Err(ISDIR));
    assert!(guest.open("d///", 0, READ, 0).is_ok());
    assert!(guest.open("d/../d/./", DIRECTORY, READ, 0).is_ok());
    assert_eq!(guest.stat(1, "d/").unwrap().filetype, 3);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_file_that_can_only_be_read_is_opened_with_leave_to_create_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "f").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", CREAT, READ, 0).unwrap();
    assert_eq!(guest.read(fd, 9).unwrap(), b"f");
}

#[test]
fn paths_are_utf_8_and_in_memory() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    guest.put(PATH, &[0xff, b'a']);
    let mut open = |at: u32, len, out: u32| {
        let args = [3, 1, at.into(), len, CREAT.into(), WRITE, 0, 0, out.into()];
        guest.call("path_open", &args)
    };
    assert_eq!(open(PATH, 2, OUT), Err(ILSEQ));
    assert_eq!(open(END, 2, OUT), Err(FAULT));
    assert_eq!(open(u32::MAX, u32::MAX.into(), OUT), Err(FAULT));
    assert_eq!(open(PATH + 1, 1, END), Err(FAULT));
    assert_eq!(open(PATH + 1, 0, OUT), Err(NOENT));
    // What could not be reported was not created either.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn sizes_are_set_and_room_is_allocated() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", CREAT, READ | WRITE, 0).unwrap();
    let size = |guest: &mut Guest| guest.fstat(fd).unwrap().size;
    let set = |guest: &mut Guest, size| guest.call("fd_filestat_set_size", &[fd.into(), size]);
    let allocate =
        |guest: &mut Guest, offset, len| guest.call("fd_allocate", &[fd.into(), offset, len]);
    assert_eq!((set(&mut guest, 1000), size(&mut guest)), (Ok(()), 1000));
    assert_eq!((set(&mut guest, 10), size(&mut guest)), (Ok(()), 10));
    assert_eq!(set(&mut guest, u64::MAX), Err(INVAL));
    assert_eq!(set(&mut guest, i64::MAX as u64), Err(FBIG));
    assert_eq!((allocate(&mut guest, 5, 3), size(&mut guest)), (Ok(()), 10));
    assert_eq!((allocate(&mut guest, 5, 100), size(&mut guest)), (Ok(()), 105));
    assert_eq!(allocate(&mut guest, 0, 0), Err(INVAL));
    assert_eq!(allocate(&mut guest, u64::MAX, 1), Err(INVAL));
    assert_eq!(allocate(&mut guest, i64::MAX as u64, 1), Err(FBIG));
    for (advice, answer) in [(0, Ok(())), (5, Ok(())), (6, Err(INVAL))] {
        assert_eq!(guest.call("fd_advise", &[fd.into(), 0, 0, advice]), answer);
    }
    assert_eq!(guest.call("fd_advise", &[99, 0, 0, 0]), Err(BADF));
    assert_eq!(guest.call("fd_advise", &[1, 0, 0, 0]), Err(SPIPE));
    for name in ["fd_sync", "fd_datasync"] {
        assert_eq!(guest.call(name, &[fd.into()]), Ok(()));
        assert_eq!(guest.call(name, &[99]), Err(BADF));
        assert_eq!(guest.call(name, &[1]), Err(INVAL));
    }
}
