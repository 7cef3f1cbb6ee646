//! Which code files a store trusts: those with a MAC under its key, read whole once a boot.

use super::damage::Cached;
use crate::*;
use executor_code::Check;
use executor_model::EngineError;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

fn marker(cached: &Cached) -> PathBuf {
    cached.path.with_extension("checked")
}

/// Opens the code until a marker says that it was checked: at first the file has only just changed.
fn check(cached: &Cached) -> Vec<u8> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        cached.load(&cached.engine()).unwrap().unwrap();
        if let Ok(marker) = fs::read(marker(cached)) {
            return marker;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no marker came");
}

fn key(cached: &Cached) -> PathBuf {
    cached.dir.path().join("key")
}

/// What the marker of a file holds under a key, as `executor_code` describes it.
fn forge(path: &Path, key: [u8; 32]) -> [u8; 32] {
    let file = fs::metadata(path).unwrap();
    let bytes = fs::read(path).unwrap();
    let (offset, len) = (64, size_of::<executor_code::file::CodeHeader>());
    let root = &bytes[offset + len - 32..offset + len];
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(b"executor checked v1").update(root);
    for number in [file.dev(), file.ino(), file.size()] {
        hasher.update(&number.to_le_bytes());
    }
    for number in [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&fs::read("/proc/sys/kernel/random/boot_id").unwrap()[..36]);
    *hasher.finalize().as_bytes()
}

/// Changes the last byte of the machine code's first page.
fn damage(cached: &Cached) {
    let mut bytes = cached.whole.clone();
    bytes[4096] ^= 1;
    fs::write(&cached.path, bytes).unwrap();
}

fn whole_is_damaged(cached: &Cached) -> bool {
    let hash = executor_code::file::CodeFile::new(&cached.whole[..]).unwrap().module();
    let found = cached.engine().load_checked(&hash, Check::Whole);
    matches!(found, Err(EngineError::DamagedCode { .. }))
}

#[test]
fn a_file_is_checked_once_and_again_when_it_has_changed() {
    let cached = Cached::new();
    let first = check(&cached);
    let secret = fs::read(key(&cached)).unwrap().try_into().unwrap();
    assert_eq!(first, forge(&cached.path, secret));
    // It is not written again where it is right.
    let made = fs::metadata(marker(&cached)).unwrap().ino();
    cached.load(&cached.engine()).unwrap().unwrap();
    assert_eq!(fs::metadata(marker(&cached)).unwrap().ino(), made);
    // That nothing is read then shows where it lies.
    damage(&cached);
    cached.assert_damaged("the marker is of an older content");
    fs::write(marker(&cached), forge(&cached.path, secret)).unwrap();
    cached.load(&cached.engine()).unwrap().unwrap();
    // Whoever reads all finds it, and the marker goes.
    assert!(whole_is_damaged(&cached));
    assert!(!marker(&cached).exists());
    cached.assert_damaged("there is no marker");
    fs::write(marker(&cached), forge(&cached.path, secret)).unwrap();
    cached.assert_healed();
    assert!(!whole_is_damaged(&cached));
}

#[test]
fn a_file_that_has_just_changed_gets_no_marker() {
    let cached = Cached::new();
    let file = fs::File::options().write(true).open(&cached.path).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < until, "nothing was ever checked within 40 ms of a change");
        let _ = fs::remove_file(marker(&cached));
        let changed = Instant::now();
        file.set_modified(std::time::SystemTime::now()).unwrap();
        cached.load(&cached.engine()).unwrap().unwrap();
        let marked = marker(&cached).exists();
        if changed.elapsed() < Duration::from_millis(40) {
            assert!(!marked);
            return;
        }
    }
}

#[test]
fn no_marker_but_the_right_one_spares_a_file_its_check() {
    let cached = Cached::new();
    let right = check(&cached);
    let other = Cached::of(
        tempfile::tempdir_in(cached.dir.path()).unwrap(),
        "(module (func (export \"f\")))",
    );
    let of_another = check(&other);
    damage(&cached);
    let unkeyed = forge(&cached.path, [0; 32]);
    for wrong in [&right[..], &of_another, &unkeyed, &right[..31], b""] {
        fs::write(marker(&cached), wrong).unwrap();
        cached.assert_damaged("the marker is wrong");
    }
    fs::remove_file(marker(&cached)).ok();
    std::os::unix::fs::symlink("/dev/zero", marker(&cached)).unwrap();
    cached.assert_damaged("the marker is no file");
    cached.assert_healed();
}

#[test]
fn without_its_key_a_store_trusts_no_code_and_gets_another() {
    let cached = Cached::new();
    let old = fs::read(key(&cached)).unwrap();
    assert_eq!(old.len(), 32);
    assert_eq!(fs::metadata(key(&cached)).unwrap().mode() & 0o777, 0o600);
    let mut changed = old.clone();
    changed[7] ^= 1;
    for (what, bad) in
        [("changed", Some(&changed[..])), ("short", Some(&old[..31])), ("removed", None)]
    {
        match bad {
            Some(bad) => fs::write(key(&cached), bad).unwrap(),
            None => fs::remove_file(key(&cached)).unwrap(),
        }
        cached.assert_damaged(what);
        // Reading makes none.
        assert_eq!(fs::read(key(&cached)).ok().as_deref(), bad);
        let engine = cached.engine();
        cached.compile(&engine).unwrap();
        let now = fs::read(key(&cached)).unwrap();
        assert_eq!(now.len(), 32);
        // One that could be is used.
        assert_eq!(now == changed, what == "changed");
        assert!(cached.load(&cached.engine()).unwrap().is_some());
    }
}

#[test]
fn all_who_make_the_key_at_once_have_the_same() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let engine = || {
            let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
            let cache = Some(executor_code::CodeCache::new(dir.path().to_owned()));
            let config =
                EngineConfig { compiler: Some(compiler), cache, ..EngineConfig::default() };
            NativeEngine::new(config).unwrap()
        };
        let insert =
            |i: u8| compile(&engine(), &format!("(module (func (export \"f{i}\")))")).hash();
        let hashes: Vec<ModuleHash> = std::thread::scope(|scope| {
            let insert = &insert;
            let all: Vec<_> = (0..3).map(|i| scope.spawn(move || insert(i))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for hash in hashes {
            assert!(engine().load(&hash).unwrap().is_some());
        }
    }
}
