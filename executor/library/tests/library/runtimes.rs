//! Runtimes made to measure: features, the compiler, and what they tell of.

use executor::{Error, Event, Features, OptLevel, Point, Runtime, Source, Val, Work};
use std::{
    fs,
    sync::{Arc, Mutex},
};

const VECTOR: &str = r#"(module (func (export "f") (result i32)
    (i32x4.extract_lane 1 (v128.const i32x4 1 2 3 4))))"#;

#[test]
fn a_feature_that_is_off_is_refused_by_name() {
    let without = Features::DEFAULT.without(Features::SIMD).without(Features::RELAXED_SIMD);
    let runtime = Runtime::builder().features(without).build().unwrap();
    let error = runtime.compile(VECTOR).unwrap_err();
    assert!(
        matches!(error, Error::Invalid { .. }) && error.to_string().contains("simd"),
        "{error}"
    );
    let usual = Runtime::builder().opt_level(OptLevel::None).threads(1).build().unwrap();
    let mut instance = usual.compile(VECTOR).unwrap().instantiate().unwrap();
    assert_eq!(instance.call("f", &[]).unwrap(), [Val::I32(2)]);
}

#[test]
fn a_runtime_without_a_compiler_compiles_nothing() {
    let runtime = Runtime::builder().compiler(false).build().unwrap();
    assert!(matches!(runtime.compile(VECTOR), Err(Error::NotCompiled { .. })));
}

#[test]
fn modules_are_bytes_or_text_or_files_of_either() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path().join("store")).unwrap();
    let empty = b"\0asm\x01\0\0\0";
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let module = runtime.compile(&empty[..]).unwrap().module();
    for source in [
        Source::from("(module)"),
        Source::from(empty.to_vec()),
        Source::file(file("a.wasm", empty)),
        Source::file(file("a.wat", b"(module)")),
        Source::file(file("b.wasm", b"(module)")),
        Source::file(file("b.wat", empty)),
        Source::read("c", &b"(module)"[..]).unwrap(),
    ] {
        assert_eq!(runtime.compile(source).unwrap().module(), module);
    }
    let neither = Source::file(file("d.wasm", b"module"));
    assert!(matches!(runtime.compile(neither), Err(Error::NotAModule { .. })));
    let error = runtime.compile("(module\n  (fun))").unwrap_err();
    assert!(error.to_string().starts_with("the module:2:4: "), "{error}");
    assert!(matches!(runtime.compile(Source::file("absent.wasm")), Err(Error::File { .. })));
}

#[test]
fn a_listener_is_told_of_work_and_warned() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let runtime = Runtime::builder().on_event(move |event| {
        let mut told = told.lock().unwrap();
        match event {
            Event::Began(Work::Compile { frame_maps: true }) => told.push("mapped".to_owned()),
            Event::Began(Work::Compile { frame_maps: false }) => told.push("plain".to_owned()),
            Event::Began(Work::Snapshot) => told.push("snapshot".to_owned()),
            Event::Ended => told.push("ended".to_owned()),
            Event::Compiled { functions, .. } => told.push(format!("{functions} functions")),
            Event::Warning(warning) => told.push(warning.to_owned()),
            _ => {}
        }
    });
    let runtime = runtime.build().unwrap();
    let take = || std::mem::take(&mut *events.lock().unwrap());
    let module = r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
          (drop (call $args (i32.const 0) (i32.const 4)))
          (drop (call $read (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 16)))))"#;
    let function = runtime.create("f", module).arg("a").at(Point::Stdin).build().unwrap();
    let compiled = |how: &str| [how.to_owned(), "ended".to_owned(), "3 functions".to_owned()];
    let begun = take();
    // Whether the module says where the point is, is known from its plain code.
    assert_eq!(begun[..3], compiled("mapped"));
    assert!(begun[3..].starts_with(&compiled("plain")), "{begun:?}");
    assert!(begun[6..].starts_with(&["snapshot".to_owned(), "ended".to_owned()]), "{begun:?}");

    function.instance().start().unwrap().run().unwrap();
    assert!(take().is_empty(), "it goes on with the arguments that it has read");
    function.instance().arg("b").start().unwrap().run().unwrap();
    let [warning] = &take()[..] else { panic!("one warning") };
    assert!(warning.contains(r#"read the arguments ["module", "a"]"#), "{warning}");
}
