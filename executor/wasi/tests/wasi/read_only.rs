//! Directories that the host gives to be read only.

use crate::guest::*;
use std::fs;
use tempfile::{TempDir, tempdir};

fn guest() -> (Guest, TempDir) {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), "deep").unwrap();
    fs::write(dir.path().join("f"), "file").unwrap();
    std::os::unix::fs::symlink("f", dir.path().join("l")).unwrap();
    let guest = Guest::new(|builder| {
        builder.preopen_read_only(dir.path(), "/").unwrap();
    });
    (guest, dir)
}

#[test]
fn everything_can_be_read() {
    let (mut guest, _dir) = guest();
    let f = guest.open("f", 0, READ, 0).unwrap();
    assert_eq!(guest.read(f, 9).unwrap(), b"file");
    assert_eq!(guest.fstat(f).unwrap().size, 4);
    assert_eq!(guest.readlink("l", 9).unwrap(), "f");
    assert_eq!(guest.list(3, 4096, 0).unwrap().0.len(), 5);
    let d = guest.open_at(3, 0, "d", DIRECTORY, !WRITE, !0, 0).unwrap();
    let deep = guest.open_at(d, 0, "f", 0, READ, 0, 0).unwrap();
    assert_eq!(guest.read(deep, 9).unwrap(), b"deep");
    // Userlands look here before they ask for anything, and expect to find all.
    assert_eq!(guest.fdstat(3).unwrap().3 & FILE, FILE);
}

#[test]
fn nothing_can_be_changed_in_it_or_below() {
    let (mut guest, dir) = guest();
    let times = fs::metadata(dir.path().join("f")).unwrap().modified().unwrap();
    let d = guest.open_at(3, 0, "d", DIRECTORY, !WRITE, !0, 0).unwrap();
    for fd in [3, d] {
        assert_eq!(guest.open_at(fd, 0, "f", 0, WRITE, 0, 0), Err(PERM));
        assert_eq!(guest.open_at(fd, 0, "f", 0, READ | WRITE, 0, APPEND), Err(PERM));
        assert_eq!(guest.open_at(fd, 0, "f", TRUNC, READ, 0, 0), Err(PERM));
        assert_eq!(guest.open_at(fd, 0, "new", CREAT, READ, 0, 0), Err(PERM));
        let [at, len] = guest.path("f");
        let fd = u64::from(fd);
        for name in ["path_create_directory", "path_remove_directory", "path_unlink_file"] {
            assert_eq!(guest.call(name, &[fd, at, len]), Err(PERM), "{name}");
        }
        assert_eq!(guest.call("path_rename", &[fd, at, len, fd, at, len]), Err(PERM));
        assert_eq!(guest.call("path_link", &[fd, 0, at, len, fd, at, len]), Err(PERM));
        assert_eq!(guest.call("path_symlink", &[at, len, fd, at, len]), Err(PERM));
        let set = guest.call("path_filestat_set_times", &[fd, 0, at, len, 0, 0, 10]);
        assert_eq!(set, Err(PERM));
        assert_eq!(guest.call("fd_filestat_set_times", &[fd, 0, 0, 10]), Err(PERM));
    }
    // The host would let its owner set the times of a file that is open for reading.
    let f: u64 = guest.open("f", 0, READ, 0).unwrap().into();
    assert_eq!(guest.call("fd_filestat_set_times", &[f, 0, 0, 10]), Err(PERM));
    assert_eq!(guest.call("fd_filestat_set_size", &[f, 0]), Err(PERM));
    assert_eq!(guest.call("fd_allocate", &[f, 0, 100]), Err(PERM));
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"file");
    assert_eq!(fs::metadata(dir.path().join("f")).unwrap().modified().unwrap(), times);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn nothing_moves_between_it_and_a_directory_that_can_be_written() {
    let (fixed, free) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(fixed.path().join("f"), "fixed").unwrap();
    fs::write(free.path().join("g"), "free").unwrap();
    let mut guest = Guest::new(|builder| {
        builder.preopen_read_only(fixed.path(), "/fixed").unwrap();
        builder.preopen(free.path(), "/free").unwrap();
    });
    let ([f, len], g) = (guest.path("f"), u64::from(PATH2));
    guest.put(PATH2, b"g");
    assert_eq!(guest.call("path_rename", &[3, f, len, 4, f, len]), Err(PERM));
    assert_eq!(guest.call("path_rename", &[4, g, 1, 3, g, 1]), Err(PERM));
    // A second name below the other directory would be a way to write it.
    assert_eq!(guest.call("path_link", &[3, 0, f, len, 4, f, len]), Err(PERM));
    assert_eq!(guest.call("path_link", &[4, 0, g, 1, 3, g, 1]), Err(PERM));
    assert!(fixed.path().join("f").exists() && free.path().join("g").exists());
}
