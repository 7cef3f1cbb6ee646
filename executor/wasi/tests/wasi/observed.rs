//! What is noted of a guest's looks at the world.

use crate::guest::*;
use executor_wasi::{DigestError, GuestPath, Observations, WasiCtxBuilder};
use std::fs;
use tempfile::tempdir;

/// What one action leaves as observations, on a guest with a file `f` in its directory.
fn observed(act: impl FnOnce(&mut Guest)) -> Observations {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    let mut guest = Guest::at(&dir);
    act(&mut guest);
    let observations = guest.ctx().take_observations();
    assert!(guest.ctx().take_observations().is_empty());
    observations
}

fn call(guest: &mut Guest, name: &str, args: &[u64]) {
    guest.call(name, args).unwrap();
}

#[test]
fn what_can_be_keyed_on_does_not_block_a_snapshot() {
    assert!(observed(|_| {}).is_empty());
    let (out, data) = (u64::from(OUT), u64::from(DATA));
    let seen = observed(|guest| call(guest, "args_get", &[out, data]));
    assert!(seen.args && !seen.env && seen.blockers().is_empty());
    let seen = observed(|guest| call(guest, "environ_sizes_get", &[out, data]));
    assert!(seen.env && !seen.args && seen.blockers().is_empty());
    assert!(observed(|guest| call(guest, "clock_res_get", &[0, out])).is_empty());
}

#[test]
fn using_a_preopened_directory_or_a_free_number_tells_of_the_preopens() {
    for fd in [3, 4] {
        let seen = observed(|guest| assert_eq!(guest.fdstat(fd).is_ok(), fd == 3));
        assert!(seen.preopens && seen.blockers().is_empty());
    }
    let seen = observed(|guest| assert_eq!(guest.call("fd_renumber", &[0, 9]), Err(BADF)));
    assert!(seen.preopens);
    assert!(!observed(|guest| call(guest, "fd_fdstat_set_flags", &[0, 0])).preopens);
}

#[test]
fn a_guest_that_looks_for_files_without_end_is_not_remembered_without_end() {
    let seen = observed(|guest| {
        for i in 0..2000 {
            assert_eq!(guest.open(&format!("missing-{i}"), 0, READ, 0), Err(NOENT));
        }
    });
    assert!(seen.files_read.len() < 2000);
    assert!(matches!(&seen.blockers()[..], [one] if one.contains("more files")));
}

#[test]
fn what_cannot_be_keyed_on_blocks_a_snapshot_by_name() {
    type Act = fn(&mut Guest);
    let cases: [(Act, &str); 9] = [
        (|g| call(g, "clock_time_get", &[0, 0, OUT.into()]), "clock"),
        (|g| call(g, "random_get", &[DATA.into(), 1]), "random"),
        (|g| _ = g.read(0, 1).unwrap(), "standard input"),
        (|g| _ = g.write(2, b"x").unwrap(), "output"),
        (|g| _ = g.open("new", CREAT, WRITE, 0).unwrap(), "opened for writing"),
        (|g| _ = g.open(".", DIRECTORY, READ, 0).unwrap(), "directory was opened"),
        (|g| _ = g.fdstat(1).unwrap(), "standard stream"),
        (|g| _ = g.stat(1, "f").unwrap(), "status"),
        (|g| _ = g.list(3, 9, 0).unwrap(), "listed"),
    ];
    for (act, word) in cases {
        let blockers = observed(act).blockers();
        assert!(matches!(&blockers[..], [one] if one.contains(word)), "{word}: {blockers:?}");
    }
}

#[test]
fn files_read_and_missing_are_told_by_digest() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("config"), "one").unwrap();
    let mut guest = Guest::at(&dir);
    for _ in 0..2 {
        let fd = guest.open("config", 0, READ, 0).unwrap();
        guest.read(fd, 100).unwrap();
        guest.close(fd).unwrap();
        assert_eq!(guest.open("no/such", 0, READ, 0), Err(NOENT));
    }
    assert_eq!(guest.stat(1, "gone"), Err(NOENT));

    let seen = guest.ctx().take_observations();
    assert!(seen.blockers().is_empty());
    let digests = guest.ctx().file_digests(&seen).unwrap();
    let told: Vec<_> = digests.iter().map(|(path, digest)| (path.to_string(), *digest)).collect();
    let one = Some(*blake3::hash(b"one").as_bytes());
    assert_eq!(told, [("/config".into(), one), ("/no/such".into(), None), ("/gone".into(), None)]);

    // A later run asks before it has a guest.
    let mut builder = WasiCtxBuilder::new();
    let path = &digests[0].0;
    assert!(matches!(builder.digest(path), Err(DigestError::NoPreopen(_))));
    builder.preopen(dir.path(), "/").unwrap();
    assert_eq!(builder.digest(path).unwrap(), one);
    fs::write(dir.path().join("config"), "two").unwrap();
    assert_ne!(builder.digest(path).unwrap(), one);
    assert!(matches!(guest.ctx().file_digests(&seen), Err(DigestError::Changed(_))));
    fs::remove_file(dir.path().join("config")).unwrap();
    assert_eq!(builder.digest(path).unwrap(), None);
}

#[test]
fn guest_paths_read_as_the_guest_wrote_them() {
    let path = |preopen: &str, path: &str| {
        GuestPath { preopen: preopen.into(), path: path.into() }.to_string()
    };
    assert_eq!(path("/", "a/b"), "/a/b");
    assert_eq!(path("/data", "a"), "/data/a");
    assert_eq!(path("/data", ""), "/data");
    assert_eq!(path(".", "a"), "./a");
}
