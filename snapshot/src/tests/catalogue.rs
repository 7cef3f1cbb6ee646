//! The store directory.

use super::*;
use crate::{
    Catalogue, CatalogueError, SnapshotError, SnapshotId,
    catalogue::{AutoEntry, AutoKey, Conditions, MAX_ENTRIES, Swept, digest},
};
use executor_code::CodeKey;
use executor_files::FileError;
use std::{
    fs::{self, Permissions},
    io::Seek,
    os::unix::{self, fs::PermissionsExt},
};

fn store() -> (tempfile::TempDir, Catalogue) {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path().join("data/store")).unwrap();
    (dir, catalogue)
}

/// Puts a snapshot that differs by `byte`.
fn put(catalogue: &Catalogue, byte: u8, name: Option<&str>) -> SnapshotId {
    let mut areas = areas();
    areas[1].memories[0][100] = byte;
    let adding = catalogue.add().unwrap();
    let id = with_capture(&areas, |capture| adding.put_snapshot(capture, &quiet).unwrap());
    if let Some(name) = name {
        adding.set_function(name, id).unwrap();
    }
    id
}

#[test]
fn reading_a_store_that_does_not_exist_finds_nothing_and_makes_nothing() {
    let (dir, catalogue) = store();
    assert!(catalogue.list().unwrap().is_empty());
    assert!(matches!(catalogue.open_function("f"), Err(CatalogueError::UnknownFunction { .. })));
    assert!(matches!(catalogue.remove("f"), Err(CatalogueError::UnknownFunction { .. })));
    assert!(catalogue.module(ModuleHash::of(b"m")).unwrap().is_none());
    assert!(catalogue.snapshot(SnapshotId([0; 32])).unwrap().is_none());
    assert_eq!(catalogue.sweep().unwrap(), Swept::default());
    assert!(names_in(dir.path()).is_empty());
}

#[test]
fn a_function_opens_the_snapshot_it_was_last_given() {
    let (_dir, catalogue) = store();
    let first = put(&catalogue, 1, Some("f"));
    assert_eq!(catalogue.open_function("f").unwrap().id(), first);
    let second = put(&catalogue, 2, Some("f"));
    assert_ne!(first, second);
    let file = catalogue.open_function("f").unwrap();
    file.verify().unwrap();
    assert_eq!(file.id(), second);
    assert_eq!(names_in(&catalogue.dir().join("functions")), ["f"]);
}

#[test]
fn names_that_could_leave_the_directory_or_look_like_flags_are_refused() {
    for name in ["q", "a.b", "A-1_2", "0"] {
        assert!(Catalogue::check_name(name).is_ok(), "{name}");
    }
    let long = "x".repeat(201);
    for name in ["", ".", "..", ".hidden", "a/b", "../f", "-f", "a b", "a\0", "é", "a\n", &long] {
        let error = Catalogue::check_name(name).unwrap_err();
        assert!(matches!(error, CatalogueError::Name { .. }), "{name}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
}

#[test]
fn an_equal_snapshot_is_stored_once_and_a_damaged_one_replaced() {
    let (_dir, catalogue) = store();
    let id = put(&catalogue, 1, None);
    let path = catalogue.snapshot_path(id);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(put(&catalogue, 1, None), id);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
    let mut damaged = fs::read(&path).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [&b"rubbish"[..], &damaged] {
        fs::write(&path, bad).unwrap();
        assert_eq!(put(&catalogue, 1, None), id);
        catalogue.snapshot(id).unwrap().unwrap().verify().unwrap();
    }
}

#[test]
fn a_damaged_module_is_replaced_when_it_is_kept_again() {
    let (_dir, catalogue) = store();
    let hash = ModuleHash::of(b"module");
    let put = || catalogue.add().unwrap().put_module(hash, b"module").unwrap();
    put();
    let path = catalogue.dir().join(format!("modules/{hash}.wasm"));
    fs::write(&path, b"modulE").unwrap();
    put();
    assert_eq!(fs::read(&path).unwrap(), b"module");
}

#[test]
fn a_snapshot_is_not_opened_under_the_name_of_another() {
    let (_dir, catalogue) = store();
    let (one, two) = (put(&catalogue, 1, Some("f")), put(&catalogue, 2, None));
    let path = catalogue.snapshot_path(one);
    fs::copy(catalogue.snapshot_path(two), &path).unwrap();
    for opened in [catalogue.snapshot(one).map(drop), catalogue.open_function("f").map(drop)] {
        let Err(CatalogueError::Misnamed { path: named, id }) = opened else {
            panic!("{opened:?}")
        };
        assert_eq!((named, id), (path.clone(), two));
    }
    assert_eq!(put(&catalogue, 1, None), one);
    assert_eq!(catalogue.open_function("f").unwrap().id(), one);
}

/// With sweeps all the while, as of other processes: every writer finds what it wrote.
#[test]
fn writers_lose_nothing_to_sweeps() {
    let (_dir, catalogue) = store();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                catalogue.sweep().unwrap();
            }
        });
        let write = |writer: u8| {
            let (catalogue, name) = (&catalogue, format!("f{writer}"));
            move || {
                for n in 0..30 {
                    let id = put(catalogue, writer * 100 + n, Some(&name));
                    assert_eq!(catalogue.open_function(&name).unwrap().id(), id);
                    let key = CodeKey([writer; 32]);
                    let mut file = catalogue.code().insert(&key, &[n; 4096]).unwrap();
                    assert_eq!(file.stream_position().unwrap(), 4096);
                    assert!(catalogue.code().open(&key).unwrap().is_some());
                }
            }
        };
        let writers: Vec<_> = (0..2).map(|writer| scope.spawn(write(writer))).collect();
        let ended = writers.into_iter().map(|writer| writer.join());
        let ended: Vec<_> = ended.collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert!(names_in(&catalogue.dir().join("code")).len() == 2);
}

#[test]
fn the_list_describes_every_function_and_says_what_is_wrong_with_the_others() {
    let (_dir, catalogue) = store();
    let a = put(&catalogue, 1, Some("a"));
    let gone = put(&catalogue, 2, Some("gone"));
    let bad = put(&catalogue, 3, Some("bad"));
    fs::remove_file(catalogue.snapshot_path(gone)).unwrap();
    fs::write(catalogue.snapshot_path(bad), b"rubbish").unwrap();
    // What a crash in the middle of `set_function` leaves.
    unix::fs::symlink("nowhere", catalogue.dir().join("functions/.b.1.0")).unwrap();

    let list = catalogue.list().unwrap();
    assert_eq!(list.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["a", "bad", "gone"]);
    let info = list[0].1.as_ref().unwrap();
    assert_eq!(info.snapshot, a);
    assert_eq!(info.size, fs::metadata(catalogue.snapshot_path(a)).unwrap().len());
    assert_eq!(info.modules, [ModuleHash::of(&[0]), ModuleHash::of(&[1])]);
    assert_eq!(info.entry, EntryKind::Reactor);
    let bad = &list[1].1;
    assert!(matches!(bad, Err(CatalogueError::Snapshot(SnapshotError::Format { .. }))), "{bad:?}");
    assert!(matches!(&list[2].1, Err(CatalogueError::Dangling { name }) if name == "gone"));
}

#[test]
fn a_removed_function_takes_with_it_only_what_nothing_else_refers_to() {
    let (_dir, catalogue) = store();
    let shared = put(&catalogue, 1, Some("a"));
    catalogue.add().unwrap().set_function("b", shared).unwrap();
    let automatic = put(&catalogue, 2, Some("c"));
    let key = AutoKey::new(ModuleHash::of(b"m"), &[], &[], b"");
    let entry = AutoEntry { conditions: Conditions::default(), snapshot: automatic };
    catalogue.add().unwrap().insert_auto(&key, entry).unwrap();
    // Modules 0 and 1 are those of the snapshots.
    for module in [[0], [1], [9]] {
        catalogue.add().unwrap().put_module(ModuleHash::of(&module), &module).unwrap();
    }

    assert_eq!(catalogue.remove("a").unwrap(), Swept { files: 1, bytes: 1 }, "module 9");
    assert_eq!(catalogue.remove("c").unwrap(), Swept::default());
    assert!(catalogue.snapshot(automatic).unwrap().is_some());
    let size = fs::metadata(catalogue.snapshot_path(shared)).unwrap().len();
    assert_eq!(catalogue.remove("b").unwrap(), Swept { files: 1, bytes: size });
    assert!(catalogue.snapshot(shared).unwrap().is_none());
    assert_eq!(catalogue.module(ModuleHash::of(&[0])).unwrap().as_deref(), Some(&[0][..]));
    assert!(catalogue.list().unwrap().is_empty());
}

#[test]
fn modules_are_kept_while_a_snapshot_cannot_be_read() {
    let (_dir, catalogue) = store();
    let id = put(&catalogue, 1, Some("a"));
    catalogue.add().unwrap().put_module(ModuleHash::of(&[0]), &[0]).unwrap();
    fs::write(catalogue.snapshot_path(id), b"of a later release").unwrap();
    assert_eq!(catalogue.sweep().unwrap(), Swept::default());
}

#[test]
fn what_crashes_left_behind_is_swept_away() {
    let (_dir, catalogue) = store();
    let id = put(&catalogue, 1, Some("a"));
    put(&catalogue, 2, None);
    let temporary = catalogue.snapshot_path(id).with_extension("snap.1.0.tmp");
    fs::write(&temporary, b"half").unwrap();
    unix::fs::symlink("nowhere", catalogue.dir().join("functions/.b.1.0")).unwrap();
    assert_eq!(catalogue.sweep().unwrap().files, 3);
    assert_eq!(names_in(&catalogue.dir().join("functions")), ["a"]);
    assert_eq!(names_in(&catalogue.dir().join("snapshots")), [format!("{id}.snap")]);
}

#[test]
fn what_is_being_added_is_not_swept_away() {
    let (_dir, catalogue) = store();
    let adding = catalogue.add().unwrap();
    let areas = areas();
    let id = with_capture(&areas, |capture| adding.put_snapshot(capture, &quiet).unwrap());
    let sweeper = std::thread::spawn({
        let catalogue = catalogue.clone();
        move || catalogue.sweep().unwrap()
    });
    // Time for the sweep to begin, were it not for the lock.
    std::thread::sleep(std::time::Duration::from_millis(50));
    adding.set_function("f", id).unwrap();
    drop(adding);
    assert_eq!(sweeper.join().unwrap(), Swept::default());
    assert_eq!(catalogue.open_function("f").unwrap().id(), id);
}

#[test]
fn a_function_needs_its_snapshot() {
    let (_dir, catalogue) = store();
    let missing = catalogue.add().unwrap().set_function("f", SnapshotId([7; 32]));
    assert!(matches!(missing, Err(CatalogueError::Dangling { .. })));
    assert!(catalogue.list().unwrap().is_empty());
}

#[test]
fn module_bytes_are_checked_when_they_are_read() {
    let (_dir, catalogue) = store();
    let hash = ModuleHash::of(b"module");
    catalogue.add().unwrap().put_module(hash, b"module").unwrap();
    assert_eq!(catalogue.module(hash).unwrap().as_deref(), Some(&b"module"[..]));
    let path = catalogue.dir().join("modules").join(format!("{hash}.wasm"));
    fs::write(&path, b"modulE").unwrap();
    let damaged = catalogue.module(hash);
    assert!(matches!(damaged, Err(CatalogueError::DamagedModule { path: p }) if p == path));
}

#[test]
fn directories_and_files_are_this_users_alone() {
    let (_dir, catalogue) = store();
    let id = put(&catalogue, 1, Some("a"));
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    for dir in ["", "snapshots", "functions"] {
        assert_eq!(mode(&catalogue.dir().join(dir)), 0o700, "{dir}");
    }
    assert_eq!(mode(&catalogue.snapshot_path(id)), 0o600);
    assert_eq!(mode(&catalogue.dir().join("lock")), 0o600);
}

#[test]
fn a_directory_that_others_may_write_to_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let error = Catalogue::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, CatalogueError::File(FileError::Untrusted { path, .. }) if path == dir.path())
    );
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
}

#[test]
fn automatic_entries_are_found_by_key_and_the_latest_are_kept() {
    let (_dir, catalogue) = store();
    let module = ModuleHash::of(b"m");
    let key = AutoKey::new(module, &["init".to_owned()], &[], b"");
    assert!(catalogue.auto(&key).unwrap().is_empty());
    let entry = |n: u8| AutoEntry {
        conditions: Conditions {
            args: Some(digest([[n]])),
            env: None,
            files: vec![("/etc/x".to_owned(), None)],
        },
        snapshot: SnapshotId([n; 32]),
    };
    for n in 0..12 {
        catalogue.add().unwrap().insert_auto(&key, entry(n)).unwrap();
    }
    let renewed = AutoEntry { snapshot: SnapshotId([99; 32]), ..entry(6) };
    catalogue.add().unwrap().insert_auto(&key, renewed.clone()).unwrap();
    let entries = catalogue.auto(&key).unwrap();
    assert_eq!(entries.len(), MAX_ENTRIES);
    assert_eq!(entries[..2], [renewed, entry(11)]);
    assert!(!entries.contains(&entry(6)));

    let others = [
        AutoKey::new(ModuleHash::of(b"n"), &["init".to_owned()], &[], b""),
        AutoKey::new(module, &["in".to_owned(), "it".to_owned()], &[], b""),
        AutoKey::new(module, &["init".to_owned()], &[("env".to_owned(), module)], b""),
        AutoKey::new(module, &["init".to_owned()], &[], b"x"),
    ];
    for other in others {
        assert_ne!(other, key);
        assert!(catalogue.auto(&other).unwrap().is_empty());
    }
}

#[test]
fn damaged_automatic_entries_are_reported_and_replaced() {
    let (_dir, catalogue) = store();
    let key = AutoKey::new(ModuleHash::of(b"m"), &[], &[], b"");
    let entry = AutoEntry { conditions: Conditions::default(), snapshot: SnapshotId([1; 32]) };
    catalogue.add().unwrap().insert_auto(&key, entry.clone()).unwrap();
    let path = catalogue.dir().join("auto").join(key.to_string());
    fs::write(&path, b"rubbish").unwrap();
    assert!(matches!(catalogue.auto(&key), Err(CatalogueError::Damaged { path: p }) if p == path));
    catalogue.add().unwrap().insert_auto(&key, entry.clone()).unwrap();
    assert_eq!(catalogue.auto(&key).unwrap(), [entry]);
}

#[test]
fn a_name_that_a_run_would_take_for_a_file_is_refused() {
    for name in ["f.wasm", "f.wat", "f.snap"] {
        let error = Catalogue::check_name(name).unwrap_err();
        assert!(matches!(error, CatalogueError::Name { .. }), "{name}");
    }
    assert!(Catalogue::check_name("f.wasm.1").is_ok());
}

#[test]
fn a_store_that_is_a_file_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Catalogue::open(file.path()).unwrap_err();
    assert!(
        matches!(&error, CatalogueError::File(FileError::Io { path, .. }) if path == file.path()),
        "{error}"
    );
}

#[test]
fn an_alias_leads_to_a_version_in_one_step_and_nowhere_else() {
    let (_dir, catalogue) = store();
    let one = put(&catalogue, 1, None);
    let adding = catalogue.add().unwrap();
    let switched = adding.deploy("f", one, || Ok(())).unwrap();
    assert_eq!((switched.version, switched.is_new), (1, true));
    adding.set_alias("f", "prod", 1).unwrap();
    drop(adding);
    let functions = catalogue.dir().join("functions");
    assert_eq!(fs::read_link(functions.join("f")).unwrap().to_str(), Some("f@1"));
    assert_eq!(catalogue.open_function("f@prod").unwrap().id(), one);
    let snapshot = format!("../snapshots/{one}.snap");
    // The snapshot's module is not here.
    let before = catalogue.check().unwrap().faults.len();
    for (name, to) in [
        ("f@dev", "f@prod"),
        ("f@dev", &*snapshot),
        ("f@dev", "./f@1"),
        ("f@dev", "g@1"),
        ("f@2", "f@1"),
        ("g", "f@1"),
        ("g", "f"),
        ("g", "g@prod"),
    ] {
        unix::fs::symlink(to, functions.join(name)).unwrap();
        let opened = catalogue.open_function(name);
        let refused = matches!(opened, Err(CatalogueError::File(FileError::Untrusted { .. })));
        assert!(refused, "{name} -> {to}: {opened:?}");
        assert_eq!(catalogue.check().unwrap().faults.len(), before + 1, "{name} -> {to}");
        fs::remove_file(functions.join(name)).unwrap();
    }
    // A version that is not there, though something leads to it.
    unix::fs::symlink("f@9", functions.join("f@dev")).unwrap();
    assert!(matches!(catalogue.open_function("f@dev"), Err(CatalogueError::Dangling { .. })));
    assert!(matches!(catalogue.current("f@dev"), Err(CatalogueError::Dangling { .. })));
    assert_eq!(catalogue.sweep().unwrap(), Swept::default());
    assert_eq!(catalogue.open_function("f").unwrap().id(), one);
}

#[test]
fn settings_without_a_function_are_what_a_crash_left() {
    let (_dir, catalogue) = store();
    put(&catalogue, 1, Some("f"));
    let adding = catalogue.add().unwrap();
    adding.put_settings("f", b"{}").unwrap();
    adding.put_settings("g", b"{}").unwrap();
    drop(adding);
    assert_eq!(catalogue.sweep().unwrap().files, 1);
    assert_eq!(catalogue.settings("f").unwrap().as_deref(), Some(&b"{}"[..]));
    assert_eq!(catalogue.settings("g").unwrap(), None);
}
