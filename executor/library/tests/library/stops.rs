//! Stopping guests, and their limits.

use executor::{Cancellation, Error, Limits, Runtime, TrapCode, Val};
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
