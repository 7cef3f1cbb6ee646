//! Descriptors as such: numbers, closing, renumbering, flags.

use crate::guest::*;
use std::fs;
use tempfile::tempdir;

#[test]
fn a_closed_number_is_free_again_and_the_lowest_free_one_is_next() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.open("f", 0, READ, 0), Ok(4));
    assert_eq!(guest.open("f", 0, READ, 0), Ok(5));
    assert_eq!((guest.close(4), guest.close(4)), (Ok(()), Err(BADF)));
    assert_eq!(guest.open("f", 0, READ, 0), Ok(4));
    assert_eq!(guest.close(3), Ok(()));
    assert_eq!(guest.fdstat(3), Err(BADF));
    assert_eq!(guest.read(5, 9).unwrap(), b"f");
    assert_eq!(guest.close(u32::MAX), Err(BADF));
}

#[test]
fn descriptors_are_renumbered_onto_open_ones_only() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    let mut guest = Guest::at(&dir);
    let fd: u64 = guest.open("f", 0, READ, 0).unwrap().into();
    assert_eq!(guest.call("fd_renumber", &[fd, 4_000_000_000]), Err(BADF));
    assert_eq!(guest.call("fd_renumber", &[99, 0]), Err(BADF));
    assert_eq!(guest.call("fd_renumber", &[99, 99]), Err(BADF));
    assert_eq!(guest.call("fd_renumber", &[fd, fd]), Ok(()));
    assert_eq!(guest.call("fd_renumber", &[fd, 0]), Ok(()));
    assert_eq!(guest.read(0, 9).unwrap(), b"f");
    assert_eq!(guest.read(fd as u32, 9), Err(BADF));
    // The number is free again.
    assert_eq!(guest.open("f", 0, READ, 0), Ok(fd as u32));
    // Onto a preopened directory: it is no longer one.
    assert_eq!(guest.call("fd_renumber", &[fd, 3]), Ok(()));
    assert_eq!(guest.call("fd_prestat_get", &[3, OUT.into()]), Err(BADF));
    assert_eq!(guest.read(3, 9).unwrap(), b"f");
}

#[test]
fn a_moved_preopened_directory_is_one_at_its_new_number() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.call("fd_renumber", &[3, 0]), Ok(()));
    assert_eq!(guest.call("fd_prestat_get", &[0, OUT.into()]), Ok(()));
    assert_eq!(guest.call("fd_prestat_get", &[3, OUT.into()]), Err(BADF));
}

#[test]
fn flags_of_files_are_kept_and_changed() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", CREAT, READ | WRITE, APPEND | SYNC).unwrap();
    assert_eq!(guest.fdstat(fd), Ok((4, 17, FILE, 0)));
    let set = |guest: &mut Guest, fd: u32, flags: u32| {
        guest.call("fd_fdstat_set_flags", &[fd.into(), flags.into()])
    };
    assert_eq!(set(&mut guest, fd, SYNC), Ok(()));
    guest.write(fd, b"abc").unwrap();
    guest.seek(fd, 0, 0).unwrap();
    guest.write(fd, b"A").unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"Abc");
    assert_eq!(set(&mut guest, fd, SYNC | APPEND | NONBLOCK), Ok(()));
    guest.seek(fd, 0, 0).unwrap();
    guest.write(fd, b"d").unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"Abcd");
    // How writes are synchronised is settled.
    assert_eq!(set(&mut guest, fd, 0), Err(NOTSUP));
    assert_eq!(set(&mut guest, fd, SYNC | 2), Err(NOTSUP));
    assert_eq!(set(&mut guest, fd, 32), Err(INVAL));
    assert_eq!(set(&mut guest, fd, 1 << 16), Err(INVAL));
    assert_eq!(set(&mut guest, 3, 0), Err(BADF));
    assert_eq!(set(&mut guest, 99, 0), Err(BADF));
}

#[test]
fn what_a_directory_does_not_have_is_an_error_number() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let (filetype, flags, base, inheriting) = guest.fdstat(3).unwrap();
    assert_eq!((filetype, flags), (3, 0));
    assert_eq!((base & (READ | WRITE | SEEK), inheriting & FILE), (0, FILE));
    assert_eq!(guest.read(3, 1), Err(BADF));
    assert_eq!(guest.write(3, b"x"), Err(BADF));
    assert_eq!((guest.pread(3, 1, 0), guest.pwrite(3, b"x", 0)), (Err(BADF), Err(BADF)));
    for whence in 0..3 {
        assert_eq!(guest.seek(3, 0, whence), Err(BADF));
    }
    assert_eq!(guest.tell(3), Err(BADF));
    assert_eq!(guest.call("fd_advise", &[3, 0, 0, 0]), Err(BADF));
    assert_eq!(guest.call("fd_allocate", &[3, 0, 1]), Err(BADF));
    assert_eq!(guest.call("fd_filestat_set_size", &[3, 0]), Err(BADF));
    assert_eq!((guest.call("fd_sync", &[3]), guest.call("fd_datasync", &[3])), (Ok(()), Ok(())));
}
