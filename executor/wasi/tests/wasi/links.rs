//! Symbolic and hard links: dangling, looping, leading to directories.

use crate::guest::*;
use std::fs;
use tempfile::tempdir;

#[test]
fn links_are_made_read_and_followed() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    fs::write(dir.path().join("f"), "file").unwrap();
    assert_eq!(guest.symlink("f", "to-f"), Ok(()));
    assert_eq!(guest.readlink("to-f", 64).unwrap(), "f");
    assert_eq!(
        (guest.stat(0, "to-f").unwrap().filetype, guest.stat(1, "to-f").unwrap().filetype),
        (7, 4)
    );
    assert_eq!(guest.open_at(3, 0, "to-f", 0, READ, 0, 0), Err(LOOP));
    let fd = guest.open("to-f", 0, READ, 0).unwrap();
    assert_eq!(guest.read(fd, 9).unwrap(), b"file");
    assert_eq!(guest.symlink("a-longer-text", "long"), Ok(()));
    assert_eq!(guest.readlink("long", 4).unwrap(), "a-lo");
    assert_eq!(guest.readlink("long", 0).unwrap(), "");
    assert_eq!(guest.readlink("f", 4), Err(INVAL));
    assert_eq!(guest.readlink("none", 4), Err(NOENT));
    assert_eq!(guest.symlink("x", "to-f"), Err(EXIST));
    assert_eq!(guest.symlink("x", "none/l"), Err(NOENT));
    assert_eq!(guest.symlink("", "l"), Err(NOENT));
    let [at, len] = guest.path("to-f");
    assert_eq!(guest.call("path_readlink", &[3, at, len, END.into(), 9, OUT.into()]), Ok(()));
    let fault = guest.call("path_readlink", &[3, at, len, SIZE.into(), 9, OUT.into()]);
    assert_eq!(fault, Err(FAULT));
    assert_eq!(guest.call("path_filestat_get", &[3, 2, at, len, DATA.into()]), Err(INVAL));
}

#[test]
fn dangling_links_lead_to_nothing_until_something_is_created() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    guest.symlink("target", "link").unwrap();
    assert_eq!(guest.open("link", 0, READ, 0), Err(NOENT));
    assert_eq!(guest.stat(1, "link"), Err(NOENT));
    assert_eq!(guest.open_at(3, 0, "link", 0, READ, 0, 0), Err(LOOP));
    let directory = guest.open_at(3, 0, "link", DIRECTORY, 0, 0, 0);
    assert!([Err(NOTDIR), Err(LOOP)].contains(&directory), "{directory:?}");
    assert_eq!(guest.open("link", CREAT | EXCL, WRITE, 0), Err(EXIST));
    assert_eq!(guest.on("path_create_directory", "link"), Err(EXIST));
    let fd = guest.open("link", CREAT, WRITE, 0).unwrap();
    guest.write(fd, b"made").unwrap();
    assert_eq!(fs::read(dir.path().join("target")).unwrap(), b"made");
}

#[test]
fn loops_of_links_are_errors_and_not_loops() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    guest.symlink("b", "a").unwrap();
    guest.symlink("a", "b").unwrap();
    guest.symlink("self/self", "self").unwrap();
    for path in ["a", "a/x", "self", "self/f"] {
        assert_eq!(guest.open(path, CREAT, READ, 0), Err(LOOP), "{path}");
        assert_eq!(guest.stat(1, path), Err(LOOP), "{path}");
    }
    assert_eq!(guest.stat(0, "a").unwrap().filetype, 7);
    // A chain that is long, but ends.
    fs::write(dir.path().join("l0"), "end").unwrap();
    for i in 1..30 {
        guest.symlink(&format!("l{}", i - 1), &format!("l{i}")).unwrap();
    }
    let fd = guest.open("l29", 0, READ, 0).unwrap();
    assert_eq!(guest.read(fd, 9).unwrap(), b"end");
}

#[test]
fn links_to_directories_are_followed_on_the_way() {
    let dir = tempdir().unwrap();
    fs::create_dir_all(dir.path().join("d/e")).unwrap();
    fs::write(dir.path().join("d/f"), "in d").unwrap();
    let mut guest = Guest::at(&dir);
    guest.symlink("d/e", "to-e").unwrap();
    // `..` is that of the directory the link leads to.
    let fd = guest.open_at(3, 0, "to-e/../f", 0, READ, 0, 0).unwrap();
    assert_eq!(guest.read(fd, 9).unwrap(), b"in d");
    assert_eq!(guest.open_at(3, 0, "to-e", 0, READ, 0, 0), Err(LOOP));
    assert!(guest.open_at(3, 1, "to-e", DIRECTORY, READ, 0, 0).is_ok());
    // What is renamed is the link.
    assert_eq!(guest.rename("to-e", "moved"), Ok(()));
    assert!(dir.path().join("moved").is_symlink() && dir.path().join("d/e").is_dir());
    // A link ends in a slash only where it leads to a directory.
    assert_eq!(guest.symlink("d", "new/"), Err(NOENT));
    assert_eq!(guest.symlink("d", "d/"), Err(EXIST));
}

#[test]
fn hard_links_are_made_to_files_and_links_and_not_to_directories() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let mut guest = Guest::at(&dir);
    assert_eq!(guest.link("f", "d/g"), Ok(()));
    let (f, g) = (guest.stat(0, "f").unwrap(), guest.stat(0, "d/g").unwrap());
    assert_eq!((f.inode, f.links), (g.inode, 2));
    assert_eq!(guest.link("f", "f"), Err(EXIST));
    assert_eq!(guest.link("f", "d"), Err(EXIST));
    assert_eq!(guest.link("none", "h"), Err(NOENT));
    assert_eq!(guest.link("d", "h"), Err(PERM));
    assert_eq!(guest.link("f", "h/"), Err(NOENT));
    assert_eq!(guest.link("f/", "h"), Err(NOTDIR));
    guest.symlink("nowhere", "dangling").unwrap();
    assert_eq!(guest.link("dangling", "h"), Ok(()));
    assert_eq!(guest.readlink("h", 64).unwrap(), "nowhere");
    let [at, len] = guest.path("f");
    assert_eq!(guest.call("path_link", &[3, 1, at, len, 3, at, len]), Err(INVAL));
}
