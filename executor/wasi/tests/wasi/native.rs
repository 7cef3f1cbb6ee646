//! Paths that end in slashes and dots: each function answers as the host's own does, and leaves the
//! same behind.

use crate::guest::*;
use rustix::{
    fs::{self, AtFlags, CWD, Mode, OFlags, Timespec, Timestamps},
    io::Result,
};
use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};
use tempfile::{TempDir, tempdir};

/// A file, a directory with a file, an empty one, and links to each and to nothing.
const NAMES: [&str; 9] = ["f", "d", "e", "lf", "ld", "le", "ln", "ll", "none"];
const ENDS: [&str; 5] = ["", "/", "//", "/.", "/.."];

fn tree() -> TempDir {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("f"), "file").unwrap();
    std::fs::write(at("other"), "other").unwrap();
    for name in ["d", "e"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("d/x"), "x").unwrap();
    for (link, text) in [("lf", "f"), ("ld", "d"), ("le", "e"), ("ln", "none"), ("ll", "ld")] {
        symlink(text, at(link)).unwrap();
    }
    dir
}

/// All that is below a directory: what each is, and of a link its text.
fn listed(dir: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (name, ty) = (entry.file_name().into_string().unwrap(), entry.file_type().unwrap());
        let what = match () {
            () if ty.is_symlink() => format!("-> {:?}", std::fs::read_link(entry.path()).unwrap()),
            () if ty.is_dir() => format!("{:?}", listed(&entry.path())),
            () => format!("file of {}", entry.metadata().unwrap().len()),
        };
        all.insert(name, what);
    }
    all
}

/// What is done to a path, by the guest and natively. The first is an error number of WASI's.
type Guests = fn(&mut Guest, &str) -> Answer<u64>;
type Natives = fn(&Path) -> Result<u64>;

fn opened(guest: &mut Guest, lookup: u32, path: &str, oflags: u32, rights: u64) -> Answer<u64> {
    let fd = guest.open_at(3, lookup, path, oflags, rights | 1 << 21, 0, 0)?;
    Ok(guest.fstat(fd)?.filetype.into())
}

fn native_open(path: &Path, flags: OFlags) -> Result<u64> {
    let fd = fs::open(path, flags, Mode::from(0o644))?;
    Ok(filetype(fs::fstat(&fd)?.st_mode))
}

fn filetype(mode: u32) -> u64 {
    match fs::FileType::from_raw_mode(mode) {
        fs::FileType::Directory => 3,
        fs::FileType::RegularFile => 4,
        _ => 7,
    }
}

/// Another entry beside the path's.
fn beside(path: &Path, name: &str) -> std::path::PathBuf {
    let root = path.ancestors().find(|at| at.join("other").exists()).unwrap();
    root.join(name)
}

const TIMES: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 7, tv_nsec: 0 },
    last_modification: Timespec { tv_sec: 7, tv_nsec: 0 },
};

fn set_times(guest: &mut Guest, lookup: u32, path: &str) -> Answer<u64> {
    let [at, len] = guest.path(path);
    let time = 7_000_000_000;
    guest.call("path_filestat_set_times", &[3, lookup.into(), at, len, time, time, 5])?;
    Ok(guest.stat(1, path).map_or(0, |stat| stat.modified / 1_000_000_000))
}

fn native_set_times(path: &Path, flags: AtFlags) -> Result<u64> {
    fs::utimensat(CWD, path, &TIMES, flags)?;
    Ok(std::fs::metadata(path).map_or(0, |now| now.mtime().unsigned_abs()))
}

const OPERATIONS: &[(&str, Guests, Natives)] = &[
    (
        "stat",
        |guest, path| Ok(guest.stat(1, path)?.filetype.into()),
        |path| Ok(filetype(fs::stat(path)?.st_mode)),
    ),
    (
        "lstat",
        |guest, path| Ok(guest.stat(0, path)?.filetype.into()),
        |path| Ok(filetype(fs::lstat(path)?.st_mode)),
    ),
    (
        "utimes",
        |guest, path| set_times(guest, 1, path),
        |path| native_set_times(path, AtFlags::empty()),
    ),
    (
        "lutimes",
        |guest, path| set_times(guest, 0, path),
        |path| native_set_times(path, AtFlags::SYMLINK_NOFOLLOW),
    ),
    (
        "open",
        |guest, path| opened(guest, 1, path, 0, READ),
        |path| native_open(path, OFlags::RDONLY),
    ),
    (
        "open without following",
        |guest, path| opened(guest, 0, path, 0, READ),
        |path| native_open(path, OFlags::RDONLY | OFlags::NOFOLLOW),
    ),
    (
        "open a directory",
        |guest, path| opened(guest, 1, path, DIRECTORY, READ),
        |path| native_open(path, OFlags::RDONLY | OFlags::DIRECTORY),
    ),
    (
        "open a directory without following",
        |guest, path| opened(guest, 0, path, DIRECTORY, READ),
        |path| native_open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW),
    ),
    (
        "open to write",
        |guest, path| opened(guest, 1, path, 0, READ | WRITE),
        |path| native_open(path, OFlags::RDWR),
    ),
    (
        "create",
        |guest, path| opened(guest, 1, path, CREAT, READ | WRITE),
        |path| native_open(path, OFlags::RDWR | OFlags::CREATE),
    ),
    (
        "create without following",
        |guest, path| opened(guest, 0, path, CREAT, READ | WRITE),
        |path| native_open(path, OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW),
    ),
    (
        "create new",
        |guest, path| opened(guest, 1, path, CREAT | EXCL, READ | WRITE),
        |path| native_open(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL),
    ),
    (
        "create to read",
        |guest, path| opened(guest, 1, path, CREAT, READ),
        |path| native_open(path, OFlags::RDONLY | OFlags::CREATE),
    ),
    (
        "truncate",
        |guest, path| opened(guest, 1, path, TRUNC, READ | WRITE),
        |path| native_open(path, OFlags::RDWR | OFlags::TRUNC),
    ),
    (
        "mkdir",
        |guest, path| guest.on("path_create_directory", path).map(|()| 0),
        |path| fs::mkdir(path, Mode::from(0o755)).map(|()| 0),
    ),
    (
        "rmdir",
        |guest, path| guest.on("path_remove_directory", path).map(|()| 0),
        |path| fs::rmdir(path).map(|()| 0),
    ),
    (
        "unlink",
        |guest, path| guest.on("path_unlink_file", path).map(|()| 0),
        |path| fs::unlink(path).map(|()| 0),
    ),
    (
        "readlink",
        |guest, path| guest.readlink(path, 64).map(|text| text.len() as u64),
        |path| fs::readlink(path, Vec::new()).map(|text| text.as_bytes().len() as u64),
    ),
    (
        "symlink",
        |guest, path| guest.symlink("text", path).map(|()| 0),
        |path| fs::symlink("text", path).map(|()| 0),
    ),
    (
        "link from",
        |guest, path| guest.link(path, "new").map(|()| 0),
        |path| fs::link(path, beside(path, "new")).map(|()| 0),
    ),
    (
        "link to",
        |guest, path| guest.link("other", path).map(|()| 0),
        |path| fs::link(beside(path, "other"), path).map(|()| 0),
    ),
    (
        "rename from",
        |guest, path| guest.rename(path, "new").map(|()| 0),
        |path| fs::rename(path, beside(path, "new")).map(|()| 0),
    ),
    (
        "rename from, to a name with a slash",
        |guest, path| guest.rename(path, "new/").map(|()| 0),
        |path| {
            let new = beside(path, "new").into_os_string().into_string().unwrap() + "/";
            fs::rename(path, new).map(|()| 0)
        },
    ),
    (
        "rename a file to",
        |guest, path| guest.rename("other", path).map(|()| 0),
        |path| fs::rename(beside(path, "other"), path).map(|()| 0),
    ),
    (
        "rename a directory to",
        |guest, path| guest.rename("d", path).map(|()| 0),
        |path| fs::rename(beside(path, "d"), path).map(|()| 0),
    ),
];

#[test]
fn paths_that_end_in_slashes_and_dots_mean_what_they_mean_to_the_host() {
    let mut differences = Vec::new();
    for (operation, guests, natives) in OPERATIONS {
        for path in NAMES.iter().flat_map(|name| ENDS.map(|end| format!("{name}{end}"))) {
            let (ours, theirs) = (tree(), tree());
            let answer = guests(&mut Guest::at(&ours), &path);
            // Joined as text: a path would lose its slashes.
            let native = format!("{}/{path}", theirs.path().display());
            let native = natives(Path::new(&native));
            let expected = native.map_err(|errno| executor_wasi::Errno::from(errno).raw());
            let (left, right) = (listed(ours.path()), listed(theirs.path()));
            if answer != expected || left != right {
                let left =
                    if left == right { String::new() } else { format!(", leaving {left:?}") };
                differences.push(format!("{operation} {path}: {answer:?}, not {native:?}{left}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}: {}", differences.len(), differences.join("\n"));
}
