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
