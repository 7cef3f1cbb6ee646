//! Attempts to get out of a preopened directory: none may, also while the directories change.

use crate::guest::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tempfile::{TempDir, tempdir};

const SECRET: &[u8] = b"secret";

/// A directory `inner` with ways out of it, beside a secret.
fn surrounded() -> (Guest, TempDir) {
    let outer = tempdir().unwrap();
    let inner = outer.path().join("inner");
    fs::write(outer.path().join("secret"), SECRET).unwrap();
    fs::create_dir_all(inner.join("d/e")).unwrap();
    symlink("../secret", inner.join("link")).unwrap();
    symlink("..", inner.join("up")).unwrap();
    symlink("d/../../secret", inner.join("around")).unwrap();
    symlink(outer.path().join("secret"), inner.join("absolute")).unwrap();
    symlink(outer.path(), inner.join("absolute-up")).unwrap();
    symlink("up", inner.join("chain")).unwrap();
    symlink("/proc/self/cwd", inner.join("magic")).unwrap();
    let guest = Guest::new(|builder| {
        builder.preopen(&inner, "/").unwrap();
    });
    (guest, outer)
}

/// Every way out, each with what stands behind it.
fn ways_out(outer: &Path) -> Vec<String> {
    let absolute = outer.join("secret").to_str().unwrap().to_owned();
    let mut paths: Vec<String> = [
        "..",
        "../",
        "../secret",
        "../inner/../secret",
        "d/../../secret",
        "d/e/../../../secret",
        "link",
        "around",
        "up/secret",
        "absolute",
        "absolute-up/secret",
        "chain/secret",
        "chain",
        "magic/Cargo.toml",
        "/etc/passwd",
        "/",
        "//",
        "/..",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(absolute);
    paths
}

#[test]
fn no_path_leads_out_of_the_directory() {
    let (mut guest, outer) = surrounded();
    for path in ways_out(outer.path()) {
        for oflags in [0, CREAT, TRUNC, DIRECTORY] {
            for rights in [READ, READ | WRITE] {
                let opened = guest.open(&path, oflags, rights, 0);
                assert!(opened.is_err(), "{path} was opened with {oflags}: {opened:?}");
            }
        }
        assert!(guest.stat(1, &path).is_err(), "{path} has a status");
        let [at, len] = guest.path(&path);
        let set = guest.call("path_filestat_set_times", &[3, 1, at, len, 0, 0, 5]);
        assert!(set.is_err(), "{path} has times");
    }
    assert_eq!(guest.open("../secret", 0, READ, 0), Err(PERM));
    assert_eq!(guest.open("/etc/passwd", 0, READ, 0), Err(PERM));
    assert_eq!(fs::read(outer.path().join("secret")).unwrap(), SECRET);
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
}

#[test]
fn nothing_is_made_moved_linked_or_removed_outside() {
    let (mut guest, outer) = surrounded();
    fs::write(outer.path().join("inner/f"), "inside").unwrap();
    let outside = ["../new", "up/new", "absolute-up/new", "chain/new", "d/../../new", "/tmp/new"];
    for path in outside {
        assert!(guest.open(path, CREAT, WRITE, 0).is_err(), "{path}");
        assert!(guest.on("path_create_directory", path).is_err(), "{path}");
        assert!(guest.rename("f", path).is_err(), "{path}");
        assert!(guest.link("f", path).is_err(), "{path}");
        assert!(guest.symlink("f", path).is_err(), "{path}");
    }
    for path in ["../secret", "up/secret", "absolute-up/secret", "chain/secret"] {
        assert!(guest.on("path_unlink_file", path).is_err(), "{path}");
        assert!(guest.on("path_remove_directory", path).is_err(), "{path}");
        assert!(guest.rename(path, "stolen").is_err(), "{path}");
        assert!(guest.link(path, "stolen").is_err(), "{path}");
        assert!(guest.readlink(path, 99).is_err(), "{path}");
        assert!(guest.list(3, 4096, 0).is_ok());
    }
    // Links that would lead out by being absolute are not made.
    assert_eq!(guest.symlink("/etc/passwd", "own"), Err(PERM));
    assert_eq!(fs::read(outer.path().join("secret")).unwrap(), SECRET);
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
    assert_eq!(fs::read(outer.path().join("inner/f")).unwrap(), b"inside");
}

#[test]
fn a_link_that_the_guest_makes_leads_no_further_than_it() {
    let (mut guest, outer) = surrounded();
    guest.symlink("../../secret", "d/out").unwrap();
    assert_eq!(guest.open("d/out", 0, READ, 0), Err(PERM));
    // From a directory deeper down, one above it is out of reach too.
    let d = guest.open_at(3, 0, "d", DIRECTORY, !WRITE, !0, 0).unwrap();
    assert_eq!(guest.open_at(d, 1, "../link", 0, READ, 0, 0), Err(PERM));
    assert_eq!(guest.open_at(d, 1, "..", DIRECTORY, READ, 0, 0), Err(PERM));
    // Also once it has been moved elsewhere.
    fs::rename(outer.path().join("inner/d"), outer.path().join("moved")).unwrap();
    assert_eq!(guest.open_at(d, 1, "../secret", 0, READ, 0, 0), Err(PERM));
    assert!(guest.open_at(d, 1, "e", DIRECTORY, READ, 0, 0).is_ok());
}

/// Says that it is over, also when an assertion fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `attempt` while another thread does `change` again and again; both happen many times. At
/// least one attempt must reach something inside, and say so.
fn race(change: impl Fn() + Sync, mut attempt: impl FnMut() -> bool) {
    const LEAST: u32 = 2_000;
    const MOST: u32 = 100_000;
    let (over, changes) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                change();
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (mut attempts, mut reached) = (0, 0);
        while attempts < MOST {
            attempts += 1;
            reached += u32::from(attempt());
            let changed = changes.load(Ordering::Relaxed);
            if attempts >= LEAST && changed >= LEAST && reached >= LEAST / 100 {
                break;
            }
        }
        let changed = changes.load(Ordering::Relaxed);
        assert!(reached > 0 && changed > 0, "{reached} of {attempts}, {changed} changes");
    });
}

/// `inner/way` is in turn a directory with a file in it and a link to a directory outside.
struct Swapped {
    outer: TempDir,
}

impl Swapped {
    fn new() -> Self {
        let outer = tempdir().unwrap();
        fs::create_dir_all(outer.path().join("inner/way")).unwrap();
        fs::create_dir(outer.path().join("outside")).unwrap();
        fs::write(outer.path().join("inner/way/f"), "inside").unwrap();
        fs::write(outer.path().join("outside/f"), SECRET).unwrap();
        symlink("../outside", outer.path().join("inner/out")).unwrap();
        Self { outer }
    }

    fn guest(&self) -> Guest {
        Guest::new(|builder| {
            builder.preopen(self.outer.path().join("inner"), "/").unwrap();
        })
    }

    /// Puts the one in the other's place, in one step.
    fn swap(&self) {
        let inner = self.outer.path().join("inner");
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            inner.join("way"),
            rustix::fs::CWD,
            inner.join("out"),
            rustix::fs::RenameFlags::EXCHANGE,
        )
        .unwrap();
    }

    fn unharmed(&self) {
        assert_eq!(fs::read(self.outer.path().join("outside/f")).unwrap(), SECRET);
        assert_eq!(fs::read_dir(self.outer.path().join("outside")).unwrap().count(), 1);
    }
}

#[test]
fn nothing_outside_is_read_while_links_and_directories_are_swapped() {
    let scene = Swapped::new();
    let mut guest = scene.guest();
    race(
        || scene.swap(),
        || {
            let Ok(fd) = guest.open("way/f", 0, READ, 0) else { return false };
            assert_eq!(guest.read(fd, 99).unwrap(), b"inside");
            guest.close(fd).unwrap();
            true
        },
    );
    scene.unharmed();
}

#[test]
fn nothing_outside_is_written_while_links_and_directories_are_swapped() {
    let scene = Swapped::new();
    let mut guest = scene.guest();
    race(
        || scene.swap(),
        || {
            let written = match guest.open("way/f", TRUNC, WRITE, 0) {
                Ok(fd) => {
                    guest.write(fd, b"overwritten").unwrap();
                    guest.close(fd).unwrap();
                    true
                }
                Err(_) => false,
            };
            let made = guest.on("path_create_directory", "way/new");
            let linked = guest.link("way/f", "way/g");
            let renamed = guest.rename("way/g", "way/h");
            let removed = guest.on("path_unlink_file", "way/h");
            let _ = guest.on("path_remove_directory", "way/new");
            written && made.is_ok() && linked.is_ok() && renamed.is_ok() && removed.is_ok()
        },
    );
    scene.unharmed();
}

#[test]
fn nothing_outside_is_reached_while_parents_are_renamed() {
    let outer = tempdir().unwrap();
    let (inner, outside) = (outer.path().join("inner"), outer.path().join("outside"));
    fs::create_dir_all(inner.join("a/b/c")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(inner.join("f"), "inside").unwrap();
    fs::write(outer.path().join("f"), SECRET).unwrap();
    let mut guest = Guest::new(|builder| {
        builder.preopen(&inner, "/").unwrap();
    });
    // While `b` is outside, as many steps up from `c` lead past the top.
    race(
        || {
            fs::rename(inner.join("a/b"), outside.join("b")).unwrap();
            fs::rename(outside.join("b"), inner.join("a/b")).unwrap();
        },
        || {
            let Ok(fd) = guest.open("a/b/c/../../../f", 0, READ, 0) else { return false };
            assert_eq!(guest.read(fd, 99).unwrap(), b"inside");
            guest.close(fd).unwrap();
            true
        },
    );
    assert_eq!(fs::read(outer.path().join("f")).unwrap(), SECRET);
}
