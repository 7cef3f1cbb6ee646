//! Files and directories.

use super::{DATA, END, Guest, IOVS, OUT, PATH, PATH2};
use crate::{Errno, fd, io, path, readdir};
use std::fs;
use tempfile::tempdir;

const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const CREAT: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCL: u32 = 4;
const TRUNC: u32 = 8;

#[test]
fn a_file_is_created_written_sought_and_read() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::with_dir(&dir);
    let fd = guest.open("a.txt", CREAT | TRUNC, READ | WRITE, 0).unwrap();
    assert_eq!(fd, 4);
    assert_eq!(guest.write(fd, b"hello world"), Ok(11));
    assert_eq!(guest.call(|c, m| io::fd_seek(c, m, fd, -5, 2, OUT)), Ok(()));
    assert_eq!(guest.u64(OUT), 6);
    assert_eq!(guest.read(fd, 100).unwrap(), b"world");
    assert_eq!(guest.call(|c, m| io::fd_tell(c, m, fd, OUT)), Ok(()));
    assert_eq!(guest.u64(OUT), 11);
    assert_eq!(guest.call(|c, m| io::fd_seek(c, m, fd, -1, 0, OUT)), Err(Errno::INVAL));
    assert_eq!(guest.call(|c, m| io::fd_seek(c, m, fd, 0, 3, OUT)), Err(Errno::INVAL));
    guest.close(fd).unwrap();
    assert_eq!(guest.close(fd), Err(Errno::BADF));
    assert_eq!(fs::read(dir.path().join("a.txt")).unwrap(), b"hello world");
}

#[test]
fn several_buffers_are_filled_and_written_in_order() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::with_dir(&dir);
    let fd = guest.open("v", CREAT, READ | WRITE, 0).unwrap();
    guest.put(DATA, b"abcdefgh");
    // More buffers than one batch holds, some of them empty, some overlapping.
    let mut iovecs = vec![(DATA + 4, 2), (DATA, 0), (DATA, 4)];
    iovecs.extend([(DATA + 6, 1); 30]);
    let count = guest.iovecs(&iovecs);
    guest.call(|c, m| io::fd_write(c, m, fd, IOVS, count, OUT)).unwrap();
    assert_eq!(guest.u32(OUT), 36);
    let expected = format!("efabcd{}", "g".repeat(30));
    assert_eq!(fs::read(dir.path().join("v")).unwrap(), expected.as_bytes());

    let count = guest.iovecs(&[(DATA, 0), (DATA + 100, 3), (DATA + 50, 3), (DATA + 200, 99)]);
    guest.call(|c, m| io::fd_pread(c, m, fd, IOVS, count, 1, OUT)).unwrap();
    assert_eq!(guest.u32(OUT), 35);
    assert_eq!(guest.at(DATA + 100, 3), b"fab");
    assert_eq!(guest.at(DATA + 50, 3), b"cdg");
    guest.put(DATA, b"XY");
    let count = guest.iovecs(&[(DATA, 2)]);
    guest.call(|c, m| io::fd_pwrite(c, m, fd, IOVS, count, 2, OUT)).unwrap();
    assert!(fs::read(dir.path().join("v")).unwrap().starts_with(b"efXYcd"));
}

#[test]
fn descriptors_do_only_what_they_were_opened_for() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("r"), "r").unwrap();
    let mut guest = Guest::with_dir(&dir);
    let r = guest.open("r", 0, READ, 0).unwrap();
    let w = guest.open("w", CREAT, WRITE, 0).unwrap();
    assert_eq!(guest.write(r, b"x"), Err(Errno::BADF));
    assert_eq!(guest.read(w, 1), Err(Errno::BADF));
    // Created without the right to write: the file is there and empty, and cannot be written.
    let c = guest.open("c", CREAT, READ, 0).unwrap();
    assert_eq!(guest.write(c, b"x"), Err(Errno::BADF));
    assert_eq!(guest.read(3, 1), Err(Errno::ISDIR));
    assert_eq!(guest.write(3, b"x"), Err(Errno::BADF));
    assert_eq!(guest.read(99, 1), Err(Errno::BADF));
}

#[test]
fn no_path_leads_out_of_the_directory() {
    let outer = tempdir().unwrap();
    fs::write(outer.path().join("secret"), "s").unwrap();
    fs::create_dir(outer.path().join("inner")).unwrap();
    std::os::unix::fs::symlink("../secret", outer.path().join("inner/link")).unwrap();
    std::os::unix::fs::symlink("/etc", outer.path().join("inner/etc")).unwrap();
    let mut guest = Guest::new(|builder| {
        builder.preopen(outer.path().join("inner"), ".").unwrap();
    });
    for path in ["../secret", "/etc/passwd", "link", "etc/passwd", "x/../../secret", ".."] {
        let result = guest.open(path, 0, READ, 0);
        let refused = [Err(Errno::PERM), Err(Errno::NOENT)];
        assert!(refused.contains(&result), "{path}: {result:?}");
    }
    assert_eq!(guest.open("../new", CREAT, WRITE, 0), Err(Errno::PERM));
    let old = guest.put(PATH, b"link");
    let new = guest.put(PATH2, b"../moved");
    let rename = guest.call(|c, m| path::path_rename(c, m, 3, PATH, old, 3, PATH2, new));
    assert_eq!(rename, Err(Errno::PERM));
    let text = guest.put(PATH, b"/etc/passwd");
    let link = guest.put(PATH2, b"own");
    let made = guest.call(|c, m| path::path_symlink(c, m, PATH, text, 3, PATH2, link));
    assert_eq!(made, Err(Errno::PERM));
}

#[test]
fn open_flags_mean_what_they_say() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "old").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let mut guest = Guest::with_dir(&dir);
    assert_eq!(guest.open("none", 0, READ, 0), Err(Errno::NOENT));
    assert_eq!(guest.open("f", CREAT | EXCL, READ | WRITE, 0), Err(Errno::EXIST));
    assert_eq!(guest.open("f", DIRECTORY, READ, 0), Err(Errno::NOTDIR));
    assert_eq!(guest.open("f", DIRECTORY | CREAT, READ, 0), Err(Errno::INVAL));
    assert_eq!(guest.open("d", 0, WRITE, 0), Err(Errno::ISDIR));
    assert_eq!(guest.open("f", 0, READ, 1 << 7), Err(Errno::INVAL));
    let d = guest.open("d", DIRECTORY, !0, 0).unwrap();
    assert_eq!(guest.read(d, 1), Err(Errno::ISDIR));
    let appending = guest.open("f", 0, WRITE, 1).unwrap();
    guest.write(appending, b"+new").unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"old+new");
    let truncated = guest.open("f", TRUNC, WRITE, 0).unwrap();
    guest.close(truncated).unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"");
    // Below an opened directory.
    fs::write(dir.path().join("d/g"), "deep").unwrap();
    let len = guest.put(PATH, b"g");
    guest.call(|c, m| path::path_open(c, m, d, 1, PATH, len, 0, READ, 0, 0, OUT)).unwrap();
    let g = guest.u32(OUT);
    assert_eq!(guest.read(g, 9).unwrap(), b"deep");
}

#[test]
fn paths_are_utf_8_and_in_memory() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::with_dir(&dir);
    guest.put(PATH, &[0xff, b'a']);
    let mut open = |at, len, out| {
        guest.call(|c, m| path::path_open(c, m, 3, 1, at, len, CREAT, WRITE, 0, 0, out))
    };
    assert_eq!(open(PATH, 2, OUT), Err(Errno::ILSEQ));
    assert_eq!(open(END, 2, OUT), Err(Errno::FAULT));
    assert_eq!(open(PATH + 1, 1, END), Err(Errno::FAULT));
    assert_eq!(open(PATH + 1, 0, OUT), Err(Errno::NOENT));
    // What could not be reported was not created either.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_listing_comes_in_pieces_and_has_each_entry_once() {
    let dir = tempdir().unwrap();
    for i in 0..20 {
        fs::write(dir.path().join(format!("file-{i}")), "").unwrap();
    }
    fs::create_dir(dir.path().join("sub")).unwrap();
    let mut guest = Guest::with_dir(&dir);
    let (mut names, mut cookie, len) = (Vec::new(), 0, 100);
    loop {
        guest.call(|c, m| readdir::fd_readdir(c, m, 3, DATA, len, cookie, OUT)).unwrap();
        let used = guest.u32(OUT);
        let mut at = 0;
        while at + 24 <= used {
            let next = guest.u64(DATA + at);
            let size = guest.u32(DATA + at + 16);
            if at + 24 + size > used {
                break;
            }
            let name = String::from_utf8(guest.at(DATA + at + 24, size).to_vec()).unwrap();
            let filetype = guest.at(DATA + at + 20, 1)[0];
            assert_eq!(filetype, if name.starts_with("file") { 4 } else { 3 }, "{name}");
            assert_ne!(guest.u64(DATA + at + 8), 0, "{name}");
            names.push(name);
            cookie = next;
            at += 24 + size;
            // Entries that are removed while they are listed are listed all the same.
            let _ = fs::remove_file(dir.path().join("file-7"));
        }
        if used < len {
            break;
        }
    }
    names.sort();
    let mut expected: Vec<_> = (0..20).map(|i| format!("file-{i}")).collect();
    expected.extend([".".into(), "..".into(), "sub".into()]);
    expected.sort();
    assert_eq!(names, expected);
    let past = guest.call(|c, m| readdir::fd_readdir(c, m, 3, DATA, len, u64::MAX, OUT));
    assert_eq!((past, guest.u32(OUT)), (Ok(()), 0));
    let fault = guest.call(|c, m| readdir::fd_readdir(c, m, 3, END, len, 0, OUT));
    assert_eq!(fault, Err(Errno::FAULT));
}

#[test]
fn status_sizes_and_times() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::with_dir(&dir);
    let fd = guest.open("f", CREAT, READ | WRITE, 0).unwrap();
    guest.call(|c, m| fd::fd_filestat_set_size(c, m, fd, 1000)).unwrap();
    let time = 1_600_000_000_123_456_789;
    guest.call(|c, m| fd::fd_filestat_set_times(c, m, fd, 7, time, 4)).unwrap();
    guest.call(|c, m| fd::fd_filestat_get(c, m, fd, DATA)).unwrap();
    assert_eq!(guest.at(DATA + 16, 1), [4]);
    assert_eq!((guest.u64(DATA + 24), guest.u64(DATA + 32)), (1, 1000));
    assert_eq!(guest.u64(DATA + 48), time);
    assert_ne!(guest.u64(DATA + 40), 7);
    let both = guest.call(|c, m| fd::fd_filestat_set_times(c, m, fd, 0, 0, 3));
    assert_eq!(both, Err(Errno::INVAL));

    let len = guest.put(PATH, b"f");
    let (a, b) = (time + 1, time + 2);
    guest.call(|c, m| path::path_filestat_set_times(c, m, 3, 1, PATH, len, a, b, 5)).unwrap();
    guest.call(|c, m| path::path_filestat_get(c, m, 3, 1, PATH, len, DATA)).unwrap();
    assert_eq!((guest.u64(DATA + 40), guest.u64(DATA + 48)), (a, b));
    guest.call(|c, m| fd::fd_filestat_set_times(c, m, 3, time, time, 5)).unwrap();
    guest.call(|c, m| fd::fd_filestat_get(c, m, 3, DATA)).unwrap();
    assert_eq!((guest.at(DATA + 16, 1), guest.u64(DATA + 48)), (&[3][..], time));

    for fd in [fd, 3] {
        assert_eq!(guest.call(|c, m| fd::fd_sync(c, m, fd)), Ok(()));
        assert_eq!(guest.call(|c, m| fd::fd_datasync(c, m, fd)), Ok(()));
    }
    assert_eq!(guest.call(|c, m| fd::fd_allocate(c, m, fd, 0, 5000)), Ok(()));
    assert_eq!(fs::metadata(dir.path().join("f")).unwrap().len(), 5000);
    assert_eq!(guest.call(|c, m| fd::fd_advise(c, m, fd, 0, 0, 3)), Ok(()));
    assert_eq!(guest.call(|c, m| fd::fd_advise(c, m, fd, 0, 0, 6)), Err(Errno::INVAL));
    assert_eq!(guest.call(|c, m| fd::fd_filestat_set_size(c, m, fd, u64::MAX)), Err(Errno::INVAL));
}

#[test]
fn directories_links_and_names_change() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::with_dir(&dir);
    let len = guest.put(PATH, b"d");
    guest.call(|c, m| path::path_create_directory(c, m, 3, PATH, len)).unwrap();
    assert!(dir.path().join("d").is_dir());
    let again = guest.call(|c, m| path::path_create_directory(c, m, 3, PATH, len));
    assert_eq!(again, Err(Errno::EXIST));
    assert_eq!(guest.call(|c, m| path::path_unlink_file(c, m, 3, PATH, len)), Err(Errno::ISDIR));

    fs::write(dir.path().join("f"), "f").unwrap();
    let (old, new) = (guest.put(PATH, b"f"), guest.put(PATH2, b"d/g"));
    guest.call(|c, m| path::path_link(c, m, 3, 0, PATH, old, 3, PATH2, new)).unwrap();
    let followed = guest.call(|c, m| path::path_link(c, m, 3, 1, PATH, old, 3, PATH2, new));
    assert_eq!(followed, Err(Errno::INVAL));
    assert_eq!(guest.call(|c, m| path::path_unlink_file(c, m, 3, PATH, old)), Ok(()));
    guest.call(|c, m| path::path_rename(c, m, 3, PATH2, new, 3, PATH, old)).unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"f");
    let len = guest.put(PATH, b"d");
    assert_eq!(guest.call(|c, m| path::path_remove_directory(c, m, 3, PATH, len)), Ok(()));

    let (text, link) = (guest.put(PATH, b"f"), guest.put(PATH2, b"to-f"));
    guest.call(|c, m| path::path_symlink(c, m, PATH, text, 3, PATH2, link)).unwrap();
    guest.call(|c, m| path::path_readlink(c, m, 3, PATH2, link, DATA, 64, OUT)).unwrap();
    assert_eq!((guest.u32(OUT), guest.at(DATA, 1)), (1, &b"f"[..]));
    for (lookup, filetype) in [(0, 7), (1, 4)] {
        guest.call(|c, m| path::path_filestat_get(c, m, 3, lookup, PATH2, link, DATA)).unwrap();
        assert_eq!(guest.at(DATA + 16, 1), [filetype]);
    }
    let nofollow = guest.call(|c, m| path::path_open(c, m, 3, 0, PATH2, link, 0, READ, 0, 0, OUT));
    assert_eq!(nofollow, Err(Errno::LOOP));
}

#[test]
fn descriptors_are_renumbered_onto_open_ones_only() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    let mut guest = Guest::with_dir(&dir);
    let fd = guest.open("f", 0, READ, 0).unwrap();
    assert_eq!(guest.call(|c, m| fd::fd_renumber(c, m, fd, 4_000_000_000)), Err(Errno::BADF));
    assert_eq!(guest.call(|c, m| fd::fd_renumber(c, m, 99, 0)), Err(Errno::BADF));
    assert_eq!(guest.call(|c, m| fd::fd_renumber(c, m, fd, fd)), Ok(()));
    assert_eq!(guest.call(|c, m| fd::fd_renumber(c, m, fd, 0)), Ok(()));
    assert_eq!(guest.read(0, 9).unwrap(), b"f");
    assert_eq!(guest.read(fd, 9), Err(Errno::BADF));
    // The number is free again.
    assert_eq!(guest.open("f", 0, READ, 0), Ok(fd));
}

#[test]
fn flags_of_files_are_kept_and_changed() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::with_dir(&dir);
    let fd = guest.open("f", CREAT, READ | WRITE, 1).unwrap();
    guest.call(|c, m| fd::fd_fdstat_get(c, m, fd, DATA)).unwrap();
    assert_eq!(guest.at(DATA, 4), [4, 0, 1, 0]);
    assert_eq!(guest.u64(DATA + 8) & (READ | WRITE), READ | WRITE);
    guest.call(|c, m| fd::fd_fdstat_set_flags(c, m, fd, 0)).unwrap();
    guest.write(fd, b"abc").unwrap();
    guest.call(|c, m| io::fd_seek(c, m, fd, 0, 0, OUT)).unwrap();
    guest.write(fd, b"A").unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"Abc");
    let sync = guest.call(|c, m| fd::fd_fdstat_set_flags(c, m, fd, 16));
    assert_eq!(sync, Err(Errno::NOTSUP));
    assert_eq!(guest.call(|c, m| fd::fd_fdstat_set_flags(c, m, fd, 32)), Err(Errno::INVAL));
    assert_eq!(guest.call(|c, m| fd::fd_fdstat_set_flags(c, m, 3, 0)), Err(Errno::BADF));
}
