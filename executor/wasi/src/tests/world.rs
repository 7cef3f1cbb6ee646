//! Arguments, environment, clocks, randomness, preopened directories, and what is noted of them.

use super::{DATA, END, Guest, OUT, PATH};
use crate::{DigestError, Errno, Observations, args_environ, clock, fd, path, random};
use std::fs;
use tempfile::tempdir;

const READ: u64 = 1 << 1;

#[test]
fn arguments_and_environment_are_laid_out_with_pointers() {
    let mut guest = Guest::new(|builder| {
        builder.args(vec!["prog".into(), String::new(), "é".into()]);
        builder.env(vec![("A".into(), "b=c".into())]);
    });
    guest.call(|c, m| args_environ::args_sizes_get(c, m, OUT, OUT + 4)).unwrap();
    assert_eq!((guest.u32(OUT), guest.u32(OUT + 4)), (3, 9));
    guest.call(|c, m| args_environ::args_get(c, m, OUT, DATA)).unwrap();
    assert_eq!(guest.at(DATA, 9), "prog\0\0é\0".as_bytes());
    assert_eq!([0, 4, 8].map(|i| guest.u32(OUT + i)), [DATA, DATA + 5, DATA + 6]);
    guest.call(|c, m| args_environ::environ_sizes_get(c, m, OUT, OUT + 4)).unwrap();
    assert_eq!((guest.u32(OUT), guest.u32(OUT + 4)), (1, 6));
    guest.call(|c, m| args_environ::environ_get(c, m, OUT, DATA)).unwrap();
    assert_eq!(guest.at(DATA, 6), b"A=b=c\0");
    for (pointers, buffer) in [(OUT, END), (END, DATA), (u32::MAX - 2, DATA)] {
        let fault = guest.call(|c, m| args_environ::args_get(c, m, pointers, buffer));
        assert_eq!(fault, Err(Errno::FAULT));
    }
}

#[test]
fn clocks_go_forward_and_unknown_ones_are_refused() {
    let mut guest = Guest::new(|_| {});
    let mut time = |id| {
        guest.call(|c, m| clock::clock_time_get(c, m, id, 0, DATA))?;
        Ok(guest.u64(DATA))
    };
    for id in 0..4 {
        let first = time(id).unwrap();
        assert!(time(id).unwrap() >= first, "clock {id}");
    }
    assert_eq!((time(4), time(u32::MAX)), (Err(Errno::INVAL), Err(Errno::INVAL)));
    guest.call(|c, m| clock::clock_res_get(c, m, 1, DATA)).unwrap();
    assert_eq!(guest.u64(DATA), 1);
    assert_eq!(guest.call(|c, m| clock::clock_res_get(c, m, 4, DATA)), Err(Errno::INVAL));
}

#[test]
fn steady_clocks_continue_after_a_restore() {
    let mut guest = Guest::new(|_| {});
    let ahead = 1 << 62;
    let mut state = guest.ctx.state().unwrap();
    state.clocks = [ahead; 3];
    guest.ctx = crate::WasiCtxBuilder::new().restore(&state).unwrap();
    for id in 1..4 {
        guest.call(|c, m| clock::clock_time_get(c, m, id, 0, DATA)).unwrap();
        let now = guest.u64(DATA);
        assert!((ahead..ahead + 60_000_000_000).contains(&now), "clock {id}: {now}");
    }
    assert!(guest.ctx.state().unwrap().clocks.iter().all(|last| *last >= ahead));
}

#[test]
fn random_bytes_fill_the_buffer() {
    let mut guest = Guest::new(|_| {});
    guest.call(|c, m| random::random_get(c, m, DATA, 1000)).unwrap();
    let zeroes = guest.at(DATA, 1000).iter().filter(|byte| **byte == 0).count();
    assert!(zeroes < 100, "{zeroes} of 1000 random bytes are zero");
    assert_eq!(guest.at(DATA + 1000, 1), [0]);
    assert_eq!(guest.call(|c, m| random::random_get(c, m, END, 2)), Err(Errno::FAULT));
}

#[test]
fn preopened_directories_are_found_from_three_on() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::new(|builder| {
        builder.preopen(dir.path(), "/data").unwrap().preopen(dir.path(), ".").unwrap();
    });
    for (fd, name) in [(3, "/data"), (4, ".")] {
        let len = name.len() as u32;
        guest.call(|c, m| fd::fd_prestat_get(c, m, fd, OUT)).unwrap();
        assert_eq!((guest.u32(OUT), guest.u32(OUT + 4)), (0, len));
        let short = guest.call(|c, m| fd::fd_prestat_dir_name(c, m, fd, DATA, len - 1));
        assert_eq!(short, Err(Errno::NAMETOOLONG));
        guest.call(|c, m| fd::fd_prestat_dir_name(c, m, fd, DATA, len)).unwrap();
        assert_eq!(guest.at(DATA, len), name.as_bytes());
    }
    for fd in [0, 5] {
        let none = guest.call(|c, m| fd::fd_prestat_get(c, m, fd, OUT));
        assert_eq!(none, Err(Errno::BADF));
    }
    assert!(guest.ctx.take_observations().preopens);
}

/// What one action leaves as observations, on a guest with a file `f` in its directory.
fn observed(act: impl FnOnce(&mut Guest)) -> Observations {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    let mut guest = Guest::with_dir(&dir);
    act(&mut guest);
    let observations = guest.ctx.take_observations();
    assert!(guest.ctx.take_observations().is_empty());
    observations
}

#[test]
fn what_can_be_keyed_on_does_not_block_a_snapshot() {
    assert!(observed(|_| {}).is_empty());
    let seen = observed(|guest| {
        guest.call(|c, m| args_environ::args_get(c, m, OUT, DATA)).unwrap();
    });
    assert!(seen.args && !seen.env && seen.blockers().is_empty());
    let seen = observed(|guest| {
        guest.call(|c, m| args_environ::environ_sizes_get(c, m, OUT, DATA)).unwrap();
    });
    assert!(seen.env && !seen.args && seen.blockers().is_empty());
    let seen = observed(|guest| {
        guest.call(|c, m| clock::clock_res_get(c, m, 0, OUT)).unwrap();
    });
    assert!(seen.is_empty());
}

#[test]
fn using_a_preopened_directory_or_a_free_number_tells_of_the_preopens() {
    for fd in [3, 4] {
        let seen = observed(|guest| {
            let found = guest.call(|c, m| fd::fd_fdstat_get(c, m, fd, DATA));
            assert_eq!(found.is_ok(), fd == 3);
        });
        assert!(seen.preopens && seen.blockers().is_empty());
    }
    assert!(
        !observed(|guest| guest.call(|c, m| fd::fd_fdstat_set_flags(c, m, 0, 0)).unwrap()).preopens
    );
}

#[test]
fn a_guest_that_looks_for_files_without_end_is_not_remembered_without_end() {
    let seen = observed(|guest| {
        for i in 0..2000 {
            assert_eq!(guest.open(&format!("missing-{i}"), 0, READ, 0), Err(Errno::NOENT));
        }
    });
    assert!(seen.files_read.len() < 2000);
    assert!(matches!(&seen.blockers()[..], [one] if one.contains("more files")));
}

#[test]
fn what_cannot_be_keyed_on_blocks_a_snapshot_by_name() {
    type Act = fn(&mut Guest);
    let cases: [(Act, &str); 8] = [
        (|g| g.call(|c, m| clock::clock_time_get(c, m, 0, 0, OUT)).unwrap(), "clock"),
        (|g| g.call(|c, m| random::random_get(c, m, DATA, 1)).unwrap(), "random"),
        (|g| _ = g.read(0, 1).unwrap(), "standard input"),
        (|g| _ = g.write(2, b"x").unwrap(), "output"),
        (|g| _ = g.open("new", 1, 1 << 6, 0).unwrap(), "opened for writing"),
        (|g| _ = g.open(".", 2, READ, 0).unwrap(), "directory was opened"),
        (|g| g.call(|c, m| fd::fd_fdstat_get(c, m, 1, DATA)).unwrap(), "standard stream"),
        (
            |g| {
                let len = g.put(PATH, b"f");
                g.call(|c, m| path::path_filestat_get(c, m, 3, 1, PATH, len, DATA)).unwrap();
            },
            "status",
        ),
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
    let mut guest = Guest::with_dir(&dir);
    for _ in 0..2 {
        let fd = guest.open("config", 0, READ, 0).unwrap();
        guest.read(fd, 100).unwrap();
        guest.close(fd).unwrap();
        assert_eq!(guest.open("no/such", 0, READ, 0), Err(Errno::NOENT));
    }
    let len = guest.put(PATH, b"gone");
    let stat = guest.call(|c, m| path::path_filestat_get(c, m, 3, 1, PATH, len, DATA));
    assert_eq!(stat, Err(Errno::NOENT));

    let seen = guest.ctx.take_observations();
    assert!(seen.blockers().is_empty());
    let digests = guest.ctx.file_digests(&seen).unwrap();
    let told: Vec<_> = digests.iter().map(|(path, digest)| (path.to_string(), *digest)).collect();
    let one = Some(*blake3::hash(b"one").as_bytes());
    assert_eq!(told, [("/config".into(), one), ("/no/such".into(), None), ("/gone".into(), None)]);

    // A later run asks before it has a guest.
    let mut builder = crate::WasiCtxBuilder::new();
    let path = &digests[0].0;
    assert!(matches!(builder.digest(path), Err(DigestError::NoPreopen(_))));
    builder.preopen(dir.path(), "/").unwrap();
    assert_eq!(builder.digest(path).unwrap(), one);
    fs::write(dir.path().join("config"), "two").unwrap();
    assert_ne!(builder.digest(path).unwrap(), one);
    assert!(matches!(guest.ctx.file_digests(&seen), Err(DigestError::Changed(_))));
    fs::remove_file(dir.path().join("config")).unwrap();
    assert_eq!(builder.digest(path).unwrap(), None);
}

#[test]
fn what_is_open_refuses_the_capture_by_name() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/f"), "f").unwrap();
    let mut guest = Guest::with_dir(&dir);
    assert!(guest.ctx.state().is_ok());
    let file = guest.open("sub/f", 0, READ, 0).unwrap();
    let error = guest.ctx.state().unwrap_err().to_string();
    let expected = "file `/sub/f` is still open as descriptor 4; close it before the snapshot";
    assert_eq!(error, expected);
    guest.close(file).unwrap();
    guest.open("sub", 2, READ, 0).unwrap();
    let error = guest.ctx.state().unwrap_err().to_string();
    assert!(error.starts_with("directory `/sub` is still open as descriptor 4"), "{error}");
}

#[test]
fn closed_and_moved_descriptors_are_state() {
    let (kept, closed, new) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    fs::write(kept.path().join("f"), "kept").unwrap();
    let mut guest = Guest::new(|builder| {
        builder.preopen(closed.path(), "/closed").unwrap();
        builder.preopen(kept.path(), "/kept").unwrap();
    });
    guest.call(|c, m| fd::fd_fdstat_set_flags(c, m, 1, 4)).unwrap();
    guest.call(|c, m| fd::fd_renumber(c, m, 1, 0)).unwrap();
    guest.close(3).unwrap();
    guest.call(|c, m| fd::fd_renumber(c, m, 4, 2)).unwrap();

    let state = guest.ctx.state().unwrap();
    let json = serde_json::to_string(&state).unwrap();
    let state = serde_json::from_str(&json).unwrap();
    let mut builder = crate::WasiCtxBuilder::new();
    builder.preopen(new.path(), "/new").unwrap();
    builder.preopen(closed.path(), "/closed").unwrap();
    builder.preopen(kept.path(), "/kept").unwrap();
    builder.stdout(crate::Output::Capture(guest.stdout.clone()));
    guest.ctx = builder.restore(&state).unwrap();

    assert_eq!(guest.write(0, b"moved"), Ok(5));
    guest.call(|c, m| fd::fd_fdstat_get(c, m, 0, DATA)).unwrap();
    assert_eq!(guest.at(DATA + 2, 1), [4]);
    assert_eq!(guest.write(1, b"x"), Err(Errno::BADF));
    let len = guest.put(PATH, b"f");
    guest.call(|c, m| path::path_open(c, m, 2, 1, PATH, len, 0, READ, 0, 0, OUT)).unwrap();
    let fd = guest.u32(OUT);
    assert_eq!(guest.read(fd, 9).unwrap(), b"kept");
    guest.call(|c, m| fd::fd_prestat_dir_name(c, m, 3, DATA, 99)).unwrap();
    assert_eq!(guest.at(DATA, 4), b"/new");
    let no_more = guest.call(|c, m| fd::fd_prestat_get(c, m, 4, OUT));
    assert_eq!(no_more, Err(Errno::BADF));
}
