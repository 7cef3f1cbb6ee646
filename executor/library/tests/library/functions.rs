//! Functions: made, kept, found again, gone on from, listed and removed.

use executor::{
    CodeOrigin, EntryKind, Error, Outcome, Point, Runtime, Snapshot, Source, Stdin, Stdout, Val,
};

/// Counts from where it is initialised; `_start` copies a line of its input after a greeting.
const COUNTER: &str = r#"(module
    (memory (export "memory") 1)
    (global $n (mut i32) (i32.const 0))
    (func (export "setup") (global.set $n (i32.const 100)))
    (func (export "next") (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
    (func (export "add") (param i32) (result i32)
      (global.set $n (i32.add (global.get $n) (local.get 0))) (global.get $n)))"#;

pub const READER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\06\00\00\00")
    (data (i32.const 64) "hello\n")
    (func (export "_start")
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

fn next(function: &executor::Function) -> Vec<Val> {
    function.instantiate().unwrap().call("next", &[]).unwrap()
}

#[test]
fn instances_begin_where_initialisation_ended_and_share_nothing() {
    let runtime = Runtime::in_memory().unwrap();
    let function = runtime.create("counter", COUNTER).init("setup").build().unwrap();
    let mut one = function.instantiate().unwrap();
    let mut two = function.instantiate().unwrap();
    for expected in [101, 102] {
        assert_eq!(one.call("next", &[]).unwrap(), [Val::I32(expected)]);
    }
    assert_eq!(two.call("next", &[]).unwrap(), [Val::I32(101)]);
    let start = two.report().start.as_ref().unwrap();
    assert_eq!(start.restored.as_ref().unwrap().id(), function.snapshot().unwrap().id());
    assert_eq!(next(&runtime.function("counter").unwrap()), [Val::I32(101)]);
    // A module without a snapshot is fresh each time.
    let fresh = runtime.compile(COUNTER).unwrap();
    assert_eq!(next(&fresh), [Val::I32(1)]);
    assert!(fresh.instantiate().unwrap().report().start.as_ref().unwrap().restored.is_none());
}

#[test]
fn threads_make_instances_of_one_function_at_the_same_time() {
    let runtime = Runtime::in_memory().unwrap();
    let function = runtime.create("counter", COUNTER).init("setup").build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..50 {
                    let mut instance = function.instantiate().unwrap();
                    let add = instance.typed::<i32, i32>("add").unwrap();
                    assert_eq!(add.call(&mut instance, n).unwrap(), 100 + n);
                    assert_eq!(add.call(&mut instance, 1).unwrap(), 101 + n);
                }
            });
        }
    });
}

#[test]
fn a_function_in_a_store_is_found_by_another_runtime_and_compiled_by_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let runtime = Runtime::open(&store).unwrap();
    let created = runtime.create("counter", COUNTER).init("setup").save().unwrap();

    let later = Runtime::builder().store(&store).compiler(false).build().unwrap();
    let function = later.function("counter").unwrap();
    assert_eq!(next(&function), [Val::I32(101)]);
    assert_eq!(function.code()[0].origin, CodeOrigin::Cache);
    assert_eq!(function.kind(), EntryKind::Reactor);
    let (name, info) = later.functions().unwrap().pop().unwrap();
    assert_eq!((name.as_str(), info.unwrap().snapshot), ("counter", created.id));
    later.snapshot_of("counter").unwrap().verify().unwrap();

    later.remove("counter").unwrap();
    assert!(matches!(runtime.function("counter"), Err(Error::Store(_))));
    assert_eq!(next(&function), [Val::I32(101)], "what is open stays");
    assert!(matches!(
        runtime.create("no/name", COUNTER).build(),
        Err(Error::Store(executor::CatalogueError::Name { .. }))
    ));
}

#[test]
fn what_a_function_is_made_from_can_be_a_function() {
    for store in [None, Some(tempfile::tempdir().unwrap())] {
        let builder = Runtime::builder();
        let runtime = match &store {
            Some(dir) => builder.store(dir.path().join("store")).build().unwrap(),
            None => builder.build().unwrap(),
        };
        runtime.create("one", COUNTER).init("setup").save().unwrap();
        let base = executor::Base::Function("one".to_owned());
        let two = runtime.create("two", base).init("next").build().unwrap();
        assert_eq!(next(&two), [Val::I32(102)]);
        assert_eq!(next(&runtime.function("one").unwrap()), [Val::I32(101)]);
        assert_eq!(runtime.functions().unwrap().len(), 2);
    }
}

#[test]
fn a_snapshot_file_is_opened_with_the_modules_that_the_store_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counter.snap");
    let maker = Runtime::in_memory().unwrap();
    let created = maker.snapshot(COUNTER).init("setup").output(&path).save().unwrap();
    let snapshot = Snapshot::open(&path).unwrap();
    assert_eq!(snapshot.id(), created.id);

    let runtime = Runtime::in_memory().unwrap();
    assert!(matches!(runtime.open_snapshot(&path, &[]), Err(Error::UnknownModule(_))));
    let function = runtime.open_snapshot(&path, &[Source::from(COUNTER)]).unwrap();
    assert_eq!(next(&function), [Val::I32(101)]);

    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = runtime.open_snapshot(&path, &[Source::from(COUNTER)]).unwrap();
    assert!(matches!(damaged.instantiate(), Err(Error::Snapshot(_))));
}

#[test]
fn a_program_is_kept_inside_its_call_and_every_instance_goes_on_from_there() {
    for store in [None, Some(tempfile::tempdir().unwrap())] {
        let builder = Runtime::builder();
        let runtime = match &store {
            Some(dir) => builder.store(dir.path().join("store")).build().unwrap(),
            None => builder.build().unwrap(),
        };
        let reader = runtime.create("reader", READER).at(Point::Stdin).build().unwrap();
        assert_eq!(reader.kind(), EntryKind::Call);
        for input in ["one\n", "another\n", "one\n", "the third\n"] {
            let instance = reader.instance().stdin(Stdin::Bytes(input.into()));
            let mut instance = instance.stdout(Stdout::Capture).start().unwrap();
            assert_eq!(instance.run().unwrap(), Outcome::Returned(Vec::new()));
            let output = String::from_utf8(instance.take_stdout()).unwrap();
            assert_eq!(output, &input[..6.min(input.len())], "the greeting came before");
            assert!(matches!(instance.run(), Err(Error::NothingToCall { .. })));
        }
        let call = reader.instance().call("_start", &[]).start();
        assert!(matches!(call, Err(Error::InsideCall)));
        let again = executor::Base::Function("reader".to_owned());
        assert!(matches!(runtime.create("r", again).build(), Err(Error::NoPoint)));
    }
}

#[test]
fn a_guest_that_does_not_get_ready_is_an_error_that_says_what_it_did() {
    let runtime = Runtime::in_memory().unwrap();
    let module = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "crash") unreachable)
        (func (export "leave") (call $exit (i32.const 7)))
        (func (export "_start")))"#;
    let error = |init: &str| runtime.create("x", module).init(init).build().unwrap_err();
    assert!(error("crash").to_string().starts_with("the initialisation: wasm trap: unreachable"));
    assert!(error("crash").trap().is_some());
    assert!(error("leave").to_string().contains("by exiting with code 7"));
    let never = runtime.create("x", module).at(Point::Stdin).build();
    assert!(matches!(never, Err(Error::PointNotReached(Point::Stdin))));
    assert!(runtime.functions().unwrap().is_empty());
}

#[test]
fn a_launch_initialises_once_and_restores_after() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path().join("store")).unwrap();
    let launch = |by: i32| {
        let launch = runtime.launch(COUNTER).init("setup").call("add", &[Val::I32(by)]);
        let mut instance = launch.start().unwrap();
        let restored = instance.report().start.as_ref().unwrap().restored.is_some();
        (restored, instance.report().capture.id.is_some(), instance.run().unwrap())
    };
    let returned = |n| Outcome::Returned(vec![Val::I32(n)]);
    assert_eq!(launch(1), (false, true, returned(101)));
    assert_eq!(launch(2), (true, false, returned(102)));
}
