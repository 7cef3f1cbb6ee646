//! Rights: what is reported, passed on, given up and asked for.

use crate::guest::*;
use std::fs;
use tempfile::tempdir;

const PATH_OPEN: u64 = 1 << 13;
const FD_READDIR: u64 = 1 << 14;

fn shrink(guest: &mut Guest, fd: u32, base: u64, inheriting: u64) -> Answer<()> {
    guest.call("fd_fdstat_set_rights", &[fd.into(), base, inheriting])
}

#[test]
fn rights_are_what_was_asked_for_as_far_as_they_apply() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let f = guest.open_at(3, 0, "f", CREAT, READ | SEEK | FD_READDIR, PATH_OPEN, 0).unwrap();
    assert_eq!(guest.fdstat(f), Ok((4, 0, READ | SEEK, 0)));
    let d = guest.open_at(3, 0, ".", DIRECTORY, READ | SEEK | FD_READDIR, READ, 0).unwrap();
    assert_eq!(guest.fdstat(d), Ok((3, 0, FD_READDIR, READ)));
    // Some guests set every bit there is.
    let all = guest.open_at(3, 0, "f", 0, !0, !0, 0).unwrap();
    assert_eq!(guest.fdstat(all), Ok((4, 0, FILE, 0)));
}

#[test]
fn rights_are_only_ever_given_up() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let f = guest.open("f", CREAT, READ | WRITE, 0).unwrap();
    assert_eq!(shrink(&mut guest, f, FILE, 0), Ok(()));
    assert_eq!(shrink(&mut guest, f, FILE & !(READ | WRITE), 0), Ok(()));
    assert_eq!(guest.fdstat(f), Ok((4, 0, FILE & !(READ | WRITE), 0)));
    assert_eq!((guest.read(f, 1), guest.write(f, b"x")), (Err(NOTCAPABLE), Err(NOTCAPABLE)));
    assert_eq!(shrink(&mut guest, f, FILE, 0), Err(NOTCAPABLE));
    assert_eq!(shrink(&mut guest, f, 0, READ), Err(NOTCAPABLE));
    assert_eq!(guest.seek(f, 0, 0), Ok(0));
    assert_eq!(shrink(&mut guest, 99, 0, 0), Err(BADF));
}

#[test]
fn a_directory_passes_on_no_more_than_it_may() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), "f").unwrap();
    let mut guest = Guest::at(&dir);
    let d = guest.open_at(3, 0, "d", DIRECTORY, PATH_OPEN, READ, 0).unwrap();
    assert_eq!(guest.open_at(d, 0, "f", 0, WRITE, 0, 0), Err(NOTCAPABLE));
    let f = guest.open_at(d, 0, "f", 0, READ, !0, 0).unwrap();
    assert_eq!(guest.fdstat(f), Ok((4, 0, READ, 0)));
    // Creating and truncating are rights of the directory.
    assert_eq!(guest.open_at(d, 0, "new", CREAT, READ, 0, 0), Err(NOTCAPABLE));
    assert_eq!(guest.open_at(d, 0, "f", TRUNC, READ, 0, 0), Err(NOTCAPABLE));
    assert_eq!(fs::read(dir.path().join("d/f")).unwrap(), b"f");
    assert_eq!(shrink(&mut guest, d, 0, READ), Ok(()));
    assert_eq!(guest.open_at(d, 0, "f", 0, READ, 0, 0), Err(NOTCAPABLE));
}

#[test]
fn every_function_of_a_file_asks_for_its_right() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let f = guest.open("f", CREAT, READ | WRITE, 0).unwrap();
    shrink(&mut guest, f, 0, 0).unwrap();
    let fd = u64::from(f);
    assert_eq!((guest.read(f, 1), guest.write(f, b"x")), (Err(NOTCAPABLE), Err(NOTCAPABLE)));
    assert_eq!((guest.pread(f, 1, 0), guest.pwrite(f, b"", 0)), (Err(NOTCAPABLE), Err(NOTCAPABLE)));
    assert_eq!((guest.seek(f, 0, 0), guest.tell(f)), (Err(NOTCAPABLE), Err(NOTCAPABLE)));
    assert_eq!(guest.fstat(f), Err(NOTCAPABLE));
    let calls: [(&str, &[u64]); 7] = [
        ("fd_advise", &[fd, 0, 0, 0]),
        ("fd_allocate", &[fd, 0, 1]),
        ("fd_datasync", &[fd]),
        ("fd_fdstat_set_flags", &[fd, 0]),
        ("fd_filestat_set_size", &[fd, 0]),
        ("fd_filestat_set_times", &[fd, 0, 0, 1]),
        ("fd_sync", &[fd]),
    ];
    for (name, args) in calls {
        assert_eq!(guest.call(name, args), Err(NOTCAPABLE), "{name}");
    }
    assert_eq!(guest.close(f), Ok(()));
}

#[test]
fn every_function_of_a_directory_asks_for_its_right() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    std::os::unix::fs::symlink("f", dir.path().join("l")).unwrap();
    let mut guest = Guest::at(&dir);
    shrink(&mut guest, 3, 0, 0).unwrap();
    for name in ["path_create_directory", "path_remove_directory", "path_unlink_file"] {
        assert_eq!(guest.on(name, "f"), Err(NOTCAPABLE), "{name}");
    }
    assert_eq!(guest.open("f", 0, 0, 0), Err(NOTCAPABLE));
    assert_eq!((guest.rename("f", "g"), guest.link("f", "g")), (Err(NOTCAPABLE), Err(NOTCAPABLE)));
    assert_eq!(guest.symlink("f", "g"), Err(NOTCAPABLE));
    assert_eq!(guest.readlink("l", 9), Err(NOTCAPABLE));
    assert_eq!((guest.stat(0, "f"), guest.fstat(3)), (Err(NOTCAPABLE), Err(NOTCAPABLE)));
    assert_eq!(guest.list(3, 100, 0), Err(NOTCAPABLE));
    let [at, len] = guest.path("f");
    let times = guest.call("path_filestat_set_times", &[3, 0, at, len, 0, 0, 1]);
    assert_eq!(times, Err(NOTCAPABLE));
    assert_eq!(guest.call("fd_filestat_set_times", &[3, 0, 0, 1]), Err(NOTCAPABLE));
    for name in ["fd_sync", "fd_datasync"] {
        assert_eq!(guest.call(name, &[3]), Err(NOTCAPABLE));
    }
}

#[test]
fn telling_needs_no_more_than_its_own_right() {
    const FD_TELL: u64 = 1 << 5;
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let f = guest.open_at(3, 0, "f", CREAT, READ | FD_TELL, 0, 0).unwrap();
    assert_eq!((guest.tell(f), guest.seek(f, 0, 1)), (Ok(0), Ok(0)));
    assert_eq!((guest.seek(f, 1, 1), guest.seek(f, 0, 0)), (Err(NOTCAPABLE), Err(NOTCAPABLE)));
    let f = guest.open_at(3, 0, "f", 0, SEEK, 0, 0).unwrap();
    assert_eq!((guest.seek(f, 1, 0), guest.tell(f)), (Ok(1), Ok(1)));
}
