//! Stores: verified, mended, and what of them is left when they cannot be written.

use executor::{CatalogueError, Collect, Error, Runtime, Source, Val};
use std::{fs, path::Path};

const COUNTER: &str = r#"(module
    (global $n (mut i32) (i32.const 0))
    (func (export "setup") (global.set $n (i32.const 100)))
    (func (export "next") (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"#;

fn only(directory: &Path) -> std::path::PathBuf {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths.remove(0)
}

#[test]
fn a_function_is_verified_with_its_modules_and_mended_by_making_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path()).unwrap();
    let make = || runtime.create("f", COUNTER).init("setup").save().unwrap();
    make();
    runtime.verify("f").unwrap();
    let module = only(&dir.path().join("modules"));
    let whole = fs::read(&module).unwrap();
    fs::write(&module, vec![0; whole.len()]).unwrap();
    let damaged = runtime.verify("f");
    assert!(matches!(damaged, Err(Error::Store(CatalogueError::DamagedModule { .. }))));
    make();
    assert_eq!(fs::read(&module).unwrap(), whole);
    fs::remove_file(&module).unwrap();
    let missing = runtime.verify("f");
    assert!(matches!(missing, Err(Error::Store(CatalogueError::MissingModule { .. }))));
    make();
    runtime.verify("f").unwrap();
    let unknown = runtime.verify("g");
    assert!(matches!(unknown, Err(Error::Store(CatalogueError::UnknownFunction { .. }))));
    let memory = Runtime::in_memory().unwrap();
    memory.create("f", COUNTER).save().unwrap();
    memory.verify("f").unwrap();
}

#[test]
fn automatic_snapshots_are_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path()).unwrap();
    assert!(runtime.automatic().unwrap().is_empty());
    let launch = |init| runtime.launch(COUNTER).init(init).start().unwrap();
    launch("setup");
    launch("next");
    let listed = runtime.automatic().unwrap();
    assert_eq!(listed.len(), 2);
    let key = listed[0].key.to_string();
    assert_eq!(listed[0].info.as_ref().unwrap().modules.len(), 1);
    assert!(runtime.remove_automatic(&["no key"]).is_err());
    assert!(runtime.remove_automatic(&[&key[..16]]).unwrap().files >= 2);
    assert_eq!(runtime.automatic().unwrap()[0].key, listed[1].key);
    runtime.remove_automatic::<&str>(&[]).unwrap();
    assert!(runtime.automatic().unwrap().is_empty());
}

#[test]
fn an_output_that_is_no_file_is_refused_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::in_memory().unwrap();
    for output in [dir.path().to_owned(), dir.path().join("absent/f.snap"), "/dev/null".into()] {
        // The module is not looked at.
        let save = runtime.snapshot(Source::file("absent.wasm")).output(&output).save();
        let Err(Error::Output { path, .. }) = save else { panic!("{save:?}") };
        assert_eq!(path, output);
    }
}

#[test]
fn what_a_store_has_is_read_also_when_nothing_can_be_kept_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path()).unwrap();
    runtime.create("f", COUNTER).init("setup").save().unwrap();
    let code = dir.path().join("code");
    fs::remove_dir_all(&code).unwrap();
    fs::write(&code, "no directory").unwrap();
    let runtime = Runtime::open(dir.path()).unwrap();
    for _ in 0..2 {
        let function = runtime.function("f").unwrap();
        assert_eq!(function.instantiate().unwrap().call("next", &[]).unwrap(), [Val::I32(101)]);
        assert!(!runtime.has_store());
        assert_eq!(runtime.functions().unwrap().len(), 1);
    }
}

#[test]
fn damaged_code_is_an_error_where_there_is_no_compiler() {
    let dir = tempfile::tempdir().unwrap();
    Runtime::open(dir.path()).unwrap().create("f", COUNTER).save().unwrap();
    let code = fs::read_dir(dir.path().join("code")).unwrap().map(|e| e.unwrap().path());
    let code =
        code.into_iter().find(|path| path.extension().is_some_and(|end| end == "elf")).unwrap();
    let mut bytes = fs::read(&code).unwrap();
    bytes[4096] ^= 1;
    fs::write(&code, bytes).unwrap();
    let runtime = Runtime::builder().store(dir.path()).compiler(false).build().unwrap();
    match runtime.function("f") {
        Err(Error::DamagedCode { path, .. }) => assert_eq!(path, code),
        other => panic!("{other:?}"),
    }
    assert!(Runtime::open(dir.path()).unwrap().function("f").is_ok());
}

#[test]
fn a_runtime_looks_after_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path()).unwrap();
    runtime.create("f", COUNTER).save().unwrap();
    runtime.launch(COUNTER).start().unwrap();
    let store = runtime.store().unwrap();
    assert_eq!(store.path(), dir.path());
    assert!(store.check().unwrap().faults.is_empty());
    let usage = store.usage().unwrap();
    assert_eq!((usage.functions.len(), usage.garbage.files), (1, 0));
    let all = Collect { max_size: Some(0), ..Collect::default() };
    let would = store.collect(Collect { dry_run: true, ..all }).unwrap();
    assert_eq!(store.usage().unwrap(), usage);
    assert_eq!(store.collect(all).unwrap(), would);
    assert_eq!(store.usage().unwrap().total.bytes, would.left);
    store.set_quota(Some(would.left + 10)).unwrap();
    assert_eq!(store.quota().unwrap(), Some(would.left + 10));
    assert!(runtime.create("g", "(module (func (export \"h\")))").save().is_err());
    runtime.function("f").unwrap();
    assert!(Runtime::in_memory().unwrap().store().is_none());
}
