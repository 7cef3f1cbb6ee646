//! Directories: making, listing, renaming and removing them and what is in them.

use crate::guest::*;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use tempfile::tempdir;

#[test]
fn directories_are_made_and_removed() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.on("path_create_directory", "d"), Ok(()));
    assert_eq!(guest.on("path_create_directory", "d/e/"), Ok(()));
    assert_eq!(guest.on("path_create_directory", "d"), Err(EXIST));
    assert_eq!(guest.on("path_create_directory", "f"), Err(EXIST));
    assert_eq!(guest.on("path_create_directory", "."), Err(EXIST));
    assert_eq!(guest.on("path_create_directory", "x/y"), Err(NOENT));
    assert_eq!(guest.on("path_create_directory", "f/y"), Err(NOTDIR));
    assert_eq!(guest.on("path_create_directory", ""), Err(NOENT));
    assert_eq!(guest.on("path_create_directory", &"n".repeat(256)), Err(NAMETOOLONG));
    assert_eq!(guest.on("path_remove_directory", "d"), Err(NOTEMPTY));
    assert_eq!(guest.on("path_remove_directory", "f"), Err(NOTDIR));
    assert_eq!(guest.on("path_remove_directory", "f/"), Err(NOTDIR));
    assert_eq!(guest.on("path_remove_directory", "none"), Err(NOENT));
    assert_eq!(guest.on("path_remove_directory", "d/e/."), Err(INVAL));
    assert_eq!(guest.on("path_remove_directory", "d/e//"), Ok(()));
    assert_eq!(guest.on("path_remove_directory", "d"), Ok(()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn files_and_directories_are_renamed() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut guest = Guest::at(&dir);
    fs::write(at("f"), "f").unwrap();
    fs::write(at("g"), "g").unwrap();
    fs::create_dir_all(at("full/sub")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    assert_eq!(guest.rename("f", "g"), Ok(()));
    assert_eq!((fs::read(at("g")).unwrap(), at("f").exists()), (b"f".to_vec(), false));
    assert_eq!(guest.rename("g", "g"), Ok(()));
    assert_eq!(guest.rename("none", "h"), Err(NOENT));
    assert_eq!(guest.rename("g", "none/h"), Err(NOENT));
    assert_eq!(guest.rename("g", "empty"), Err(ISDIR));
    assert_eq!(guest.rename("empty", "g"), Err(NOTDIR));
    assert_eq!(guest.rename("empty", "full"), Err(NOTEMPTY));
    assert_eq!(guest.rename("full", "full/sub/deeper"), Err(INVAL));
    assert_eq!(guest.rename("g/", "h"), Err(NOTDIR));
    assert_eq!(guest.rename("g", "h/"), Err(NOTDIR));
    // Over an empty directory; trailing slashes belong to directories.
    assert_eq!(guest.rename("full", "empty"), Ok(()));
    assert!(at("empty/sub").is_dir() && !at("full").exists());
    assert_eq!(guest.rename("empty/", "other/"), Ok(()));
    assert!(at("other/sub").is_dir());
    // From one descriptor to another.
    let fd: u64 = guest.open_at(3, 0, "other", DIRECTORY, !WRITE, !0, 0).unwrap().into();
    let [old, len] = guest.path("g");
    assert_eq!(guest.call("path_rename", &[3, old, len, fd, old, len]), Ok(()));
    assert!(at("other/g").is_file());
    assert_eq!(guest.call("path_rename", &[3, old, len, 99, old, len]), Err(BADF));
    assert_eq!(guest.call("path_rename", &[1, old, len, fd, old, len]), Err(NOTDIR));
}

#[test]
fn files_are_removed_and_directories_are_not() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    std::os::unix::fs::symlink("d", dir.path().join("to-d")).unwrap();
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.on("path_unlink_file", "d"), Err(ISDIR));
    assert_eq!(guest.on("path_unlink_file", "d/"), Err(ISDIR));
    assert_eq!(guest.on("path_unlink_file", "f/"), Err(NOTDIR));
    assert_eq!(guest.on("path_unlink_file", "none"), Err(NOENT));
    assert_eq!(guest.on("path_unlink_file", "f"), Ok(()));
    // A link is removed and not what it leads to.
    assert_eq!(guest.on("path_unlink_file", "dangling"), Ok(()));
    assert_eq!(guest.on("path_remove_directory", "to-d"), Err(NOTDIR));
    assert_eq!(guest.on("path_unlink_file", "to-d"), Ok(()));
    assert!(dir.path().join("d").is_dir());
}

#[test]
fn a_listing_comes_in_pieces_and_has_each_entry_once() {
    let dir = tempdir().unwrap();
    for i in 0..20 {
        fs::write(dir.path().join(format!("file-{i}")), "").unwrap();
    }
    fs::create_dir(dir.path().join("sub")).unwrap();
    std::os::unix::fs::symlink("sub", dir.path().join("link")).unwrap();
    let mut guest = Guest::at(&dir);
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let (entries, end) = guest.list(3, 100, cookie).unwrap();
        for entry in entries {
            let filetype = match entry.name.as_str() {
                "link" => 7,
                name if name.starts_with("file") => 4,
                _ => 3,
            };
            assert_eq!(entry.filetype, filetype, "{}", entry.name);
            assert_ne!(entry.inode, 0, "{}", entry.name);
            names.push(entry.name);
            cookie = entry.next;
            // Entries that are removed while they are listed are listed all the same.
            let _ = fs::remove_file(dir.path().join("file-7"));
        }
        if end {
            break;
        }
    }
    assert_eq!(names[..2], [".", ".."]);
    names.sort();
    let mut expected: Vec<_> = (0..20).map(|i| format!("file-{i}")).collect();
    expected.extend([".", "..", "sub", "link"].map(str::to_owned));
    expected.sort();
    assert_eq!(names, expected);
    // From the beginning it is made anew.
    let (entries, _) = guest.list(3, 4096, 0).unwrap();
    assert_eq!(entries.len(), expected.len() - 1);
    // A cookie means the same place again and again.
    let (again, _) = guest.list(3, 4096, entries[4].next).unwrap();
    assert_eq!(again, entries[5..]);
    assert_eq!(guest.stat(0, ".").unwrap().inode, entries[0].inode);
}

#[test]
fn tiny_buffers_are_filled_to_the_end() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    for room in [0, 1, 23, 24] {
        assert_eq!(guest.list(3, room, 0), Ok((Vec::new(), false)));
        assert_eq!(guest.u32(OUT), room);
    }
    let (entries, end) = guest.list(3, 25, 0).unwrap();
    assert_eq!((entries.len(), end), (1, false));
    assert_eq!(guest.list(3, 100, u64::MAX), Ok((Vec::new(), true)));
    assert_eq!(guest.list(3, 100, 2), Ok((Vec::new(), true)));
    let args = [3, END.into(), 100, 0, OUT.into()];
    assert_eq!(guest.call("fd_readdir", &args), Err(FAULT));
    let fd = guest.open("f", CREAT, READ, 0).unwrap();
    assert_eq!((guest.list(fd, 100, 0), guest.list(1, 100, 0)), (Err(NOTDIR), Err(NOTDIR)));
}

#[test]
fn a_name_that_is_not_utf8_is_not_hidden() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "file").unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.list(3, 100, 0), Err(ILSEQ));
    // What is beside it is there.
    let fd = guest.open("f", 0, READ, 0).unwrap();
    assert_eq!(guest.read(fd, 9).unwrap(), b"file");
}
