//! Times, to the nanosecond.

use crate::guest::*;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::tempdir;

const ATIM: u64 = 1;
const ATIM_NOW: u64 = 2;
const MTIM: u64 = 4;
const MTIM_NOW: u64 = 8;
const TIME: u64 = 1_600_000_000_123_456_789;

fn set(guest: &mut Guest, fd: u32, accessed: u64, modified: u64, which: u64) -> Answer<()> {
    guest.call("fd_filestat_set_times", &[fd.into(), accessed, modified, which])
}

fn set_path(guest: &mut Guest, lookup: u64, path: &str, time: u64, which: u64) -> Answer<()> {
    let [at, len] = guest.path(path);
    guest.call("path_filestat_set_times", &[3, lookup, at, len, time, time + 1, which])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

#[test]
fn times_are_set_one_or_both_or_to_now() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", CREAT, READ | WRITE, 0).unwrap();
    let before = guest.fstat(fd).unwrap();
    set(&mut guest, fd, 7, TIME, MTIM).unwrap();
    let stat = guest.fstat(fd).unwrap();
    assert_eq!((stat.accessed, stat.modified), (before.accessed, TIME));
    set(&mut guest, fd, TIME + 1, 7, ATIM).unwrap();
    let stat = guest.fstat(fd).unwrap();
    assert_eq!((stat.accessed, stat.modified), (TIME + 1, TIME));
    set(&mut guest, fd, 0, 0, ATIM_NOW | MTIM_NOW).unwrap();
    let stat = guest.fstat(fd).unwrap();
    // The file system's clock is a little behind.
    let second = 1_000_000_000;
    assert!(
        now().abs_diff(stat.accessed) < 10 * second && now().abs_diff(stat.modified) < 10 * second
    );
    set(&mut guest, fd, TIME, 9, ATIM | MTIM_NOW).unwrap();
    assert_eq!(guest.fstat(fd).unwrap().accessed, TIME);
    let stat = guest.fstat(fd).unwrap();
    assert_eq!(set(&mut guest, fd, 1, 1, 0), Ok(()));
    assert_eq!(guest.fstat(fd), Ok(stat));
}

#[test]
fn contradictions_are_refused_and_change_nothing() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", CREAT, READ | WRITE, 0).unwrap();
    let stat = guest.fstat(fd).unwrap();
    for which in [ATIM | ATIM_NOW, MTIM | MTIM_NOW, 16, 1 << 31] {
        assert_eq!(set(&mut guest, fd, TIME, TIME, which), Err(INVAL), "{which}");
        assert_eq!(set_path(&mut guest, 1, "f", TIME, which), Err(INVAL), "{which}");
    }
    assert_eq!(guest.fstat(fd), Ok(stat));
    assert_eq!(set(&mut guest, 1, TIME, TIME, ATIM), Err(SPIPE));
    assert_eq!(set(&mut guest, 99, TIME, TIME, ATIM), Err(BADF));
    assert_eq!(set_path(&mut guest, 1, "none", TIME, ATIM), Err(NOENT));
    assert_eq!(set_path(&mut guest, 2, "f", TIME, ATIM), Err(INVAL));
}

#[test]
fn times_of_directories_paths_and_links_are_set() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "").unwrap();
    std::os::unix::fs::symlink("f", dir.path().join("link")).unwrap();
    let mut guest = Guest::at(&dir);
    set(&mut guest, 3, TIME, TIME, ATIM | MTIM).unwrap();
    assert_eq!(guest.fstat(3).unwrap().modified, TIME);
    set_path(&mut guest, 1, "link", TIME, ATIM | MTIM).unwrap();
    let (file, link) = (guest.stat(0, "f").unwrap(), guest.stat(0, "link").unwrap());
    assert_eq!((file.accessed, file.modified), (TIME, TIME + 1));
    assert_ne!(link.modified, TIME + 1);
    set_path(&mut guest, 0, "link", TIME + 50, MTIM).unwrap();
    assert_eq!(guest.stat(0, "link").unwrap().modified, TIME + 51);
    assert_eq!(guest.stat(0, "f").unwrap(), file);
}
