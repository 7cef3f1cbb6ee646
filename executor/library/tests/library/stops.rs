//! Stopping guests, and their limits.

use executor::{Cancellation, DirAccess, Error, Limits, Runtime, Stdout, TrapCode, Val};
use std::{sync::mpsc, thread, time::Duration};

/// Runs on without end, or sleeps for ever.
const ENDLESS: &str = r#"(module
    (import "host" "started" (func $started))
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    ;; A subscription to the monotonic clock, in a million seconds.
    (data (i32.const 16) "\01\00\00\00\00\00\00\00\00\80\c6\a4\7e\8d\03\00")
    (func (export "spin") (call $started) (loop $l (br $l)))
    (func (export "sleep")
      (call $started)
      (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))
    (func (export "quick") (result i32) (i32.const 1)))"#;

fn endless(started: mpsc::Sender<()>) -> executor::Function {
    let started = std::sync::Mutex::new(started);
    let runtime =
        Runtime::builder().host_func("host", "started", move |_: &mut executor::Caller<'_>| {
            let _ = started.lock().unwrap().send(());
            Ok::<_, executor::HostError>(())
        });
    runtime.build().unwrap().compile(ENDLESS).unwrap()
}

#[test]
fn a_cancellation_ends_the_calls_of_every_instance_that_has_it() {
    let (started, wait) = mpsc::channel();
    let function = endless(started);
    let cancellation = Cancellation::new();
    thread::scope(|scope| {
        let calls: Vec<_> = ["spin", "sleep"]
            .map(|export| {
                let mut instance = function.instance().cancellation(&cancellation).start().unwrap();
                scope.spawn(move || instance.call(export, &[]).unwrap_err())
            })
            .into();
        for _ in &calls {
            wait.recv().unwrap();
        }
        cancellation.cancel();
        for call in calls {
            let error = call.join().unwrap();
            assert_eq!(error.trap().map(|trap| trap.code), Some(TrapCode::Interrupted), "{error}");
        }
    });
    assert!(cancellation.is_cancelled());
    // Also of one that is made after; and of no other.
    let mut late = function.instance().cancellation(&cancellation).start().unwrap();
    assert!(late.call("quick", &[]).is_err());
    assert_eq!(function.instantiate().unwrap().call("quick", &[]).unwrap(), [Val::I32(1)]);
}

#[test]
fn a_guest_whose_time_is_up_is_stopped_whatever_it_does() {
    let function = endless(mpsc::channel().0);
    let limit = Duration::from_millis(30);
    for export in ["spin", "sleep"] {
        let mut instance = function.instance().timeout(limit).start().unwrap();
        assert_eq!(instance.call("quick", &[]).unwrap(), [Val::I32(1)]);
        let error = instance.call(export, &[]).unwrap_err();
        assert!(matches!(error, Error::TimedOut { limit: l, .. } if l == limit), "{error}");
        assert_eq!(error.trap().unwrap().code, TrapCode::Interrupted);
        assert!(error.to_string().starts_with("the timeout of 30ms passed: wasm trap"));
    }
}

#[test]
fn only_the_guest_whose_time_is_up_is_stopped() {
    let (started, wait) = mpsc::channel();
    let function = endless(started);
    let (short, long) = (Duration::from_millis(20), Duration::from_secs(600));
    let cancellation = Cancellation::new();
    thread::scope(|scope| {
        let builder = function.instance().timeout(long).cancellation(&cancellation);
        let mut other = builder.start().unwrap();
        let other = scope.spawn(move || other.call("spin", &[]).unwrap_err());
        wait.recv().unwrap();
        for _ in 0..3 {
            // The stores of those that were stopped are used again.
            let mut instance = function.instance().timeout(short).start().unwrap();
            assert!(matches!(instance.call("spin", &[]), Err(Error::TimedOut { .. })));
            drop(instance);
            let mut next = function.instance().timeout(long).start().unwrap();
            assert_eq!(next.call("quick", &[]).unwrap(), [Val::I32(1)]);
        }
        assert!(!other.is_finished());
        cancellation.cancel();
        assert!(matches!(other.join().unwrap(), Error::Call(_)), "not for its time");
    });
}

#[test]
fn a_typed_call_with_a_limit_allocates_nothing() {
    let function = endless(mpsc::channel().0);
    let mut instance = function.instance().timeout(Duration::from_secs(600)).start().unwrap();
    let quick = instance.typed::<(), i32>("quick").unwrap();
    quick.call(&mut instance, ()).unwrap();
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            assert_eq!(quick.call(&mut instance, ()).unwrap(), 1);
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn limits_hold_for_memory_and_stack() {
    let module = r#"(module
        (memory (export "memory") 1)
        (func (export "grow") (result i32) (memory.grow (i32.const 4)))
        (func $deep (export "deep") (call $deep)))"#;
    let limits = Limits { memory: 128 << 10, stack: 128 << 10, ..Limits::default() };
    let runtime = Runtime::builder().limits(limits).build().unwrap();
    let function = runtime.compile(module).unwrap();
    let mut instance = function.instantiate().unwrap();
    assert_eq!(instance.call("grow", &[]).unwrap(), [Val::I32(-1)]);
    let error = instance.call("deep", &[]).unwrap_err();
    assert_eq!(error.trap().unwrap().code, TrapCode::StackOverflow);
    let mut instance = function.instance().limits(Limits::default()).start().unwrap();
    assert_eq!(instance.call("grow", &[]).unwrap(), [Val::I32(1)]);
}

#[test]
fn output_that_is_captured_counts_in_the_limit_on_memory_until_it_is_taken() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "write") (result i32)
            (i32.store (i32.const 0) (i32.const 16))
            (i32.store (i32.const 4) (i32.const 40000))
            (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#;
    let runtime = Runtime::in_memory().unwrap();
    let function = runtime.compile(module).unwrap();
    let capture = || function.instance().max_memory(128 << 10).stdout(Stdout::Capture);
    let mut instance = capture().start().unwrap();
    let mut call = |export: &str| instance.call(export, &[]).unwrap();
    // WASI's number for no space.
    let (done, full) = ([Val::I32(0)], [Val::I32(51)]);
    assert_eq!([call("write"), call("write")], [done, full]);
    assert_eq!(call("grow"), [Val::I32(-1)], "the output has taken the room");
    assert_eq!(instance.take_stdout().len(), 40_000);
    let mut call = |export: &str| instance.call(export, &[]).unwrap();
    assert_eq!(call("grow"), [Val::I32(1)]);
    assert_eq!(call("write"), full, "the memory has taken the room");
    // What the next instance in the same slot has is its own.
    drop(instance);
    let mut next = capture().start().unwrap();
    assert_eq!(next.call("write", &[]).unwrap(), done);
}

#[test]
fn the_list_of_a_directory_counts_in_the_limit_on_memory() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "fd_readdir"
            (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "list") (result i32)
            (call $readdir (i32.const 3) (i32.const 16) (i32.const 4096) (i64.const 0) (i32.const 8))))"#;
    let dir = tempfile::tempdir().unwrap();
    for i in 0..100 {
        std::fs::write(dir.path().join(format!("{i:0100}")), "").unwrap();
    }
    let function = Runtime::in_memory().unwrap().compile(module).unwrap();
    let list = |max_memory| {
        let instance = function.instance().max_memory(max_memory);
        let mut instance = instance.dir(dir.path(), "/", DirAccess::ReadOnly).start().unwrap();
        instance.call("list", &[]).unwrap()
    };
    assert_eq!(list(128 << 10), [Val::I32(0)]);
    // WASI's number for no memory.
    assert_eq!(list((64 << 10) + 8192), [Val::I32(48)]);
}
