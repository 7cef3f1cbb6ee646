//! What becomes of each kind of WASI state across a snapshot.

use crate::guest::*;
use executor_wasi::{
    CaptureOptions, DescriptorState, Environment, Output, Rights, StdStream, Target,
    WasiCtxBuilder, WasiError, WasiState,
};
use std::fs;
use tempfile::{TempDir, tempdir};

/// A guest with `f` open as descriptor 4, half read, and what restores it.
fn half_read() -> (Guest, WasiState, TempDir) {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "0123456789").unwrap();
    let mut guest = Guest::at(&dir);
    let fd = guest.open("f", 0, READ, 0).unwrap();
    assert_eq!(guest.read(fd, 5).unwrap(), b"01234");
    let state = guest.state().unwrap();
    (guest, state, dir)
}

fn restore(guest: &Guest, state: &WasiState, dir: &TempDir) -> Guest {
    Guest::restored(guest, state, |builder| {
        builder.preopen(dir.path(), "/").unwrap();
    })
}

#[test]
fn an_open_file_goes_on_where_it_was() {
    let (guest, state, dir) = half_read();
    let mut restored = restore(&guest, &state, &dir);
    assert_eq!(restored.read(4, 9).unwrap(), b"56789");
    // Each restore has a position of its own.
    let mut other = restore(&guest, &state, &dir);
    assert_eq!((other.tell(4), other.fdstat(4)), (Ok(5), Ok((4, 0, FILE & !WRITE, 0))));
    assert_eq!(other.fstat(4).unwrap().size, 10);
}

#[test]
fn an_open_file_is_found_in_the_directory_of_the_run() {
    let (guest, state, _) = half_read();
    // The same contents elsewhere, and more behind them.
    let elsewhere = tempdir().unwrap();
    fs::write(elsewhere.path().join("f"), "0123456789 and more").unwrap();
    let mut restored = restore(&guest, &state, &elsewhere);
    assert_eq!(restored.read(4, 99).unwrap(), b"56789 and more");
}

#[test]
fn a_file_that_is_not_what_it_was_fails_at_each_use_and_can_be_closed() {
    let (guest, state, dir) = half_read();
    let path = dir.path().join("f");
    let replaced = |make: &dyn Fn()| {
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&path);
        make();
        let mut restored = restore(&guest, &state, &dir);
        for _ in 0..2 {
            assert_eq!(restored.read(4, 9), Err(STALE));
        }
        assert_eq!((restored.fdstat(4), restored.fstat(4)), (Err(STALE), Err(STALE)));
        // Nothing else is the worse for it, and a look for directories ends there.
        assert_eq!(restored.call("fd_prestat_get", &[4, OUT.into()]), Err(BADF));
        assert_eq!(restored.write(1, b"x"), Ok(1));
        assert_eq!((restored.close(4), restored.read(4, 9)), (Ok(()), Err(BADF)));
    };
    replaced(&|| {});
    replaced(&|| fs::write(&path, "01234567").unwrap());
    replaced(&|| fs::write(&path, "012345678X").unwrap());
    replaced(&|| fs::create_dir(&path).unwrap());
    replaced(&|| std::os::unix::fs::symlink("nowhere", &path).unwrap());
    // A pipe is not waited for.
    replaced(&|| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
    });
    // It can come back.
    fs::remove_file(&path).unwrap();
    let mut restored = restore(&guest, &state, &dir);
    assert_eq!(restored.read(4, 9), Err(STALE));
    fs::write(&path, "0123456789").unwrap();
    assert_eq!(restored.read(4, 9).unwrap(), b"56789");
}

#[test]
fn files_open_for_writing_go_on_with_their_flags() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let log = guest.open("log", CREAT, WRITE, APPEND).unwrap();
    let data = guest.open("data", CREAT, READ | WRITE, 0).unwrap();
    guest.write(log, b"one\n").unwrap();
    guest.write(data, b"0123").unwrap();
    guest.seek(data, 2, 0).unwrap();
    let state = guest.state().unwrap();
    for _ in 0..2 {
        let mut restored = restore(&guest, &state, &dir);
        assert_eq!(restored.write(log, b"again\n"), Ok(6));
        assert_eq!(restored.fdstat(log).unwrap().1, APPEND as u16);
    }
    assert_eq!(fs::read(dir.path().join("log")).unwrap(), b"one\nagain\nagain\n");
    let mut restored = restore(&guest, &state, &dir);
    restored.write(data, b"XY").unwrap();
    assert_eq!(fs::read(dir.path().join("data")).unwrap(), b"01XY");
    // What the state was made with is no longer there for the next.
    assert_eq!(restore(&guest, &state, &dir).read(data, 1), Err(STALE));
    // A directory that may now only be read.
    let mut restored = Guest::restored(&guest, &state, |builder| {
        builder.preopen_read_only(dir.path(), "/").unwrap();
    });
    assert_eq!(restored.write(log, b"x"), Err(PERM));
}

#[test]
fn open_directories_go_on_with_their_lists_and_rights() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    for i in 0..10 {
        fs::write(dir.path().join(format!("d/{i}")), "").unwrap();
    }
    let mut guest = Guest::at(&dir);
    let d = guest.open_at(3, 0, "d", DIRECTORY, !WRITE, READ, 0).unwrap();
    let (first, _) = guest.list(d, 100, 0).unwrap();
    let (all, _) = guest.list(d, 4096, first[2].next).unwrap();
    guest.list(3, 4096, 0).unwrap();
    let state = guest.state().unwrap();
    fs::remove_file(dir.path().join("d/3")).unwrap();
    fs::write(dir.path().join("d/new"), "").unwrap();
    let mut restored = restore(&guest, &state, &dir);
    assert_eq!(restored.list(d, 4096, first[2].next).unwrap().0, all);
    assert_eq!(restored.fdstat(d), guest.fdstat(d));
    assert!(restored.open_at(d, 0, "4", 0, READ, 0, 0).is_ok());
    assert_eq!(restored.open_at(d, 0, "4", 0, WRITE, 0, 0), Err(NOTCAPABLE));
    // Of the preopened directory too.
    assert_eq!(restored.list(3, 4096, 1).unwrap().0.len(), 2);
    fs::remove_dir_all(dir.path().join("d")).unwrap();
    let mut restored = restore(&guest, &state, &dir);
    assert_eq!(restored.list(d, 100, 0), Err(STALE));
    assert_eq!(restored.open_at(d, 0, "4", 0, READ, 0, 0), Err(STALE));
}

#[test]
fn what_was_not_used_since_is_captured_again_as_it_was() {
    let (guest, state, dir) = half_read();
    fs::remove_file(dir.path().join("f")).unwrap();
    assert_eq!(restore(&guest, &state, &dir).state().unwrap(), state);
}

#[test]
fn open_files_are_refused_by_name_if_asked() {
    let strict = CaptureOptions { strict: true, ..CaptureOptions::default() };
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/f"), "f").unwrap();
    let mut guest = Guest::at(&dir);
    assert!(guest.capture(&strict).is_ok());
    let file = guest.open("sub/f", 0, READ, 0).unwrap();
    let expected = "file `/sub/f` is still open as descriptor 4; close it before the snapshot";
    assert_eq!(guest.capture(&strict).unwrap_err().to_string(), expected);
    let state = guest.state().unwrap();
    let restored = restore(&guest, &state, &dir);
    assert_eq!(restored.capture(&strict).unwrap_err().to_string(), expected);
    guest.close(file).unwrap();
    guest.open("sub", DIRECTORY, READ, 0).unwrap();
    let error = guest.capture(&strict).unwrap_err().to_string();
    assert!(error.starts_with("directory `/sub` is still open as descriptor 4"), "{error}");
}

#[test]
fn what_cannot_be_opened_again_refuses_the_capture_by_name() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    let refusal = |guest: &Guest| guest.state().unwrap_err().to_string();
    let fd = guest.open("gone", CREAT, READ, 0).unwrap();
    fs::remove_file(dir.path().join("gone")).unwrap();
    assert!(refusal(&guest).starts_with("`/gone` is open as descriptor 4, but was renamed"));
    fs::write(dir.path().join("gone"), "another").unwrap();
    assert!(refusal(&guest).starts_with("`/gone` is open as descriptor 4, but was renamed"));
    guest.close(fd).unwrap();
    guest.on("path_create_directory", "d").unwrap();
    guest.open("d", DIRECTORY, READ, 0).unwrap();
    guest.rename("d", "e").unwrap();
    assert!(refusal(&guest).starts_with("`/d` is open as descriptor 4, but was renamed"));
    guest.close(fd).unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    guest.open("pipe", 0, READ, NONBLOCK).unwrap();
    assert!(refusal(&guest).starts_with("`/pipe`, open as descriptor 4, is neither"));
}

#[test]
fn closed_and_moved_descriptors_are_state() {
    let (kept, closed, new) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    fs::write(kept.path().join("f"), "kept").unwrap();
    let mut guest = Guest::new(|builder| {
        builder.preopen(closed.path(), "/closed").unwrap();
        builder.preopen(kept.path(), "/kept").unwrap();
    });
    guest.call("fd_fdstat_set_flags", &[1, NONBLOCK.into()]).unwrap();
    guest.call("fd_renumber", &[1, 0]).unwrap();
    guest.close(3).unwrap();
    guest.call("fd_renumber", &[4, 2]).unwrap();

    let state = guest.state().unwrap();
    let mut restored = Guest::restored(&guest, &state, |builder| {
        builder.preopen(new.path(), "/new").unwrap();
        builder.preopen(closed.path(), "/closed").unwrap();
        builder.preopen(kept.path(), "/kept").unwrap();
    });
    assert_eq!(restored.write(0, b"moved"), Ok(5));
    assert_eq!(*restored.stdout.lock().unwrap(), b"moved");
    assert_eq!(restored.fdstat(0).unwrap().1, NONBLOCK as u16);
    assert_eq!(restored.write(1, b"x"), Err(BADF));
    let fd = restored.open_at(2, 1, "f", 0, READ, 0, 0).unwrap();
    assert_eq!(restored.read(fd, 9).unwrap(), b"kept");
    restored.call("fd_prestat_dir_name", &[3, DATA.into(), 99]).unwrap();
    assert_eq!(restored.bytes(DATA, 4), b"/new");
    assert_eq!(restored.call("fd_prestat_get", &[4, OUT.into()]), Err(BADF));
}

#[test]
fn rights_that_were_given_up_stay_given_up() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::at(&dir);
    guest.call("fd_fdstat_set_rights", &[3, 1 << 13, READ]).unwrap();
    guest.call("fd_fdstat_set_rights", &[1, 0, 0]).unwrap();
    let state = guest.state().unwrap();
    let mut restored = restore(&guest, &state, &dir);
    assert_eq!(restored.fdstat(3).unwrap(), (3, 0, 1 << 13, READ));
    assert_eq!(restored.write(1, b"x"), Err(NOTCAPABLE));
}

#[test]
fn arguments_and_environment_are_the_runs_and_differences_are_told() {
    let given = |args: [&str; 2], env: [(&str, &str); 2]| {
        let mut builder = WasiCtxBuilder::new();
        builder.args(args.map(str::to_owned));
        builder.env(Environment::of(env).unwrap());
        builder
    };
    let (args, env) = (["prog", "one"], [("HOME", "/a"), ("LANG", "C")]);
    let mut guest = Guest::new(|builder| *builder = given(args, env));
    let other = given(["prog", "two"], [("HOME", "/b"), ("NEW", "1")]);
    // One that never looked has nothing to be told of.
    assert!(other.differences(&guest.state().unwrap()).is_empty());
    guest.call("args_get", &[OUT.into(), DATA.into()]).unwrap();
    guest.call("environ_get", &[OUT.into(), DATA.into()]).unwrap();
    let state = guest.state().unwrap();
    assert_eq!(state.args.as_deref().unwrap(), args);
    assert_eq!(state.env.as_deref().unwrap(), ["HOME=/a", "LANG=C"]);
    assert!(given(args, env).differences(&state).is_empty());
    let [args, env] = &other.differences(&state)[..] else { panic!() };
    assert!(args.contains(r#"["prog", "one"]"#) && args.contains(r#"["prog", "two"]"#), "{args}");
    assert!(env.contains("HOME, LANG, NEW"), "{env}");
    // Values are not told: they may be secrets.
    assert!(!env.contains("/a") && !env.contains("/b"), "{env}");

    let mut restored = Guest::restored(&guest, &state, |builder| *builder = other);
    // What it saw last is remembered on, until it looks again.
    assert_eq!(restored.state().unwrap().args, state.args);
    restored.call("args_get", &[OUT.into(), DATA.into()]).unwrap();
    assert_eq!(restored.bytes(DATA, 9), b"prog\0two\0");
    assert_eq!(restored.state().unwrap().args.unwrap(), ["prog", "two"]);
}

#[test]
fn steady_clocks_continue_after_a_restore() {
    let mut guest = Guest::new(|_| {});
    let ahead = 1 << 62;
    let mut state = guest.state().unwrap();
    assert_eq!(state.clocks, [0; 3]);
    state.clocks = [ahead; 3];
    let mut restored = Guest::restored(&guest, &state, |_| {});
    for id in 1..4 {
        restored.call("clock_time_get", &[id, 0, DATA.into()]).unwrap();
        let now = restored.u64(DATA);
        assert!((ahead..ahead + 60_000_000_000).contains(&now), "clock {id}: {now}");
    }
    assert!(restored.state().unwrap().clocks.iter().all(|last| *last >= ahead));
    // The wall clock is the host's.
    restored.call("clock_time_get", &[0, 0, DATA.into()]).unwrap();
    guest.call("clock_time_get", &[0, 0, OUT.into()]).unwrap();
    assert!(guest.u64(OUT).abs_diff(restored.u64(DATA)) < 60_000_000_000);
}

#[test]
fn a_restored_context_has_the_state_it_was_restored_from() {
    let dir = tempdir().unwrap();
    let guest = Guest::at(&dir);
    let state = guest.state().unwrap();
    assert_eq!(restore(&guest, &state, &dir).state().unwrap(), state);
    let error = WasiCtxBuilder::new().restore(&state).unwrap_err();
    assert!(matches!(&error, WasiError::MissingPreopen(guest) if guest == "/"), "{error}");
    // A directory that something open lies below is needed as much.
    let (guest, state, dir) = half_read();
    let mut state = state;
    state.descriptors.retain(|(fd, _)| *fd != 3);
    assert!(WasiCtxBuilder::new().restore(&state).is_err());
    state.closed_preopens = vec!["/".to_owned()];
    let mut restored = restore(&guest, &state, &dir);
    assert_eq!(restored.read(4, 9).unwrap(), b"56789");
    assert_eq!(restored.fdstat(3), Err(BADF));
}

#[test]
fn made_up_state_is_refused_or_does_no_harm() {
    let stream = |flags| DescriptorState {
        target: Target::Stream(StdStream::Stdout),
        rights: Rights { base: !0, inheriting: !0 },
        flags,
    };
    let state = |descriptors| WasiState { descriptors, ..WasiState::default() };
    let refusal = |state: &WasiState| WasiCtxBuilder::new().restore(state).unwrap_err();
    let twice = state(vec![(1, stream(0)), (1, stream(0))]);
    assert!(matches!(refusal(&twice), WasiError::InvalidState(_)));
    assert!(matches!(refusal(&state(vec![(1, stream(64))])), WasiError::InvalidState(_)));
    // A number far off is only a number, and no state gives more rights than there are.
    let guest = Guest::new(|_| {});
    let mut far = Guest::restored(&guest, &state(vec![(u32::MAX, stream(0))]), |_| {});
    assert_eq!(far.fdstat(u32::MAX).unwrap().2 & (READ | SEEK), 0);
    assert_eq!((far.write(u32::MAX, b"x"), far.write(1, b"x")), (Ok(1), Err(BADF)));
    let (half, mut open, dir) = half_read();
    for (_, descriptor) in &mut open.descriptors {
        if let Target::File(file) = &mut descriptor.target {
            file.path.path = "../../../../etc/passwd".to_owned();
            file.stamp.size = 0;
        }
    }
    assert_eq!(restore(&half, &open, &dir).read(4, 9), Err(PERM));
}

#[test]
fn a_state_reads_back_from_its_bytes_and_from_nothing_else() {
    let (_, state, _) = half_read();
    let bytes = state.encode();
    assert_eq!(WasiState::decode(&bytes).unwrap(), state);
    assert!(WasiState::decode(&[]).is_err());
    assert!(WasiState::decode(&bytes[..bytes.len() - 1]).is_err());
    assert!(WasiState::decode(&[&bytes[..], &[0]].concat()).is_err());
    assert!(WasiState::decode(&[&[bytes[0] + 1], &bytes[1..]].concat()).is_err());
}

#[test]
fn a_length_that_is_not_there_is_refused_before_room_is_made_for_it() {
    // 2^61 of whatever comes next.
    let huge = [&[253][..], &(1_u64 << 61).to_le_bytes()].concat();
    let preopen = DescriptorState {
        target: Target::Preopen { guest: String::new(), listing: None },
        rights: Rights { base: 0, inheriting: 0 },
        flags: 0,
    };
    let state = WasiState { descriptors: vec![(3, preopen)], ..WasiState::default() };
    let bytes = state.encode();
    for at in 1..bytes.len() {
        let decoded = WasiState::decode(&[&bytes[..at], &huge, &bytes[at + 1..]].concat());
        // The number of descriptors, and the length of the path. Others may be numbers and no lengths.
        assert!(decoded.is_err() || ![1, 4].contains(&at), "at {at}");
    }
    // The ledger is read on its own.
    for ledger in [huge.clone(), [&[1, 1, 1, 1, 1][..], &[0; 32], &huge].concat()] {
        let state = WasiState { ledger, ..WasiState::default() };
        let state = WasiState::decode(&state.encode()).unwrap();
        assert!(state.entropy().is_err());
    }
}

#[test]
fn streams_lead_where_the_run_says() {
    let guest = Guest::new(|_| {});
    let state = guest.state().unwrap();
    let mut restored = Guest::restored(&guest, &state, |builder| {
        builder.stderr(Output::Capture(Default::default()));
    });
    restored.write(1, b"out").unwrap();
    restored.write(2, b"err").unwrap();
    assert_eq!(*restored.stdout.lock().unwrap(), b"out");
    assert!(guest.stdout.lock().unwrap().is_empty());
}
