//! Guests with code of their own: what only shows with a program around the calls.

use crate::guest::{start, start_with};
use executor_model::{CallError, TrapCode, Val};
use executor_wasi::{Input, Output, WasiCtx, WasiCtxBuilder};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn a_guest_echoes_its_input_and_exits_with_a_code() {
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 100))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $exit (i32.load (i32.const 8)))))"#;
    let captured = Arc::new(Mutex::new(Vec::new()));
    let mut builder = WasiCtxBuilder::new();
    builder.stdin(Input::Bytes(b"hello".to_vec().into()));
    builder.stdout(Output::Capture(captured.clone()));
    let (result, mut store) = start(guest, Some(builder.build().unwrap()));
    assert!(matches!(result, Err(CallError::Exit(5))), "{result:?}");
    assert_eq!(*captured.lock().unwrap(), b"hello");
    let seen = store.data_mut::<WasiCtx>().unwrap().take_observations();
    assert!(seen.stdin && seen.output);
}

#[test]
fn a_guest_without_a_memory_or_a_context_gets_a_clear_error() {
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
        (func (export "_start") (drop (call $close (i32.const 0)))))"#;
    for ctx in [None, Some(WasiCtxBuilder::new().build().unwrap())] {
        let error = start(guest, ctx).0.unwrap_err().to_string();
        assert!(error.contains("without a memory"), "{error}");
    }
}

#[test]
fn raising_no_signal_takes_neither() {
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
        (func (export "_start") (result i32) (call $raise (i32.const 0))))"#;
    assert_eq!(start(guest, None).0.unwrap(), [Val::I32(0)]);
}

#[test]
fn a_guest_asleep_is_interrupted() {
    // One subscription, all zero but for the monotonic clock and a time of centuries.
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (i32.store (i32.const 16) (i32.const 1))
            (i64.store (i32.const 24) (i64.const -1))
            (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#;
    let ctx = WasiCtxBuilder::new().build().unwrap();
    std::thread::scope(|scope| {
        let (result, _) = start_with(guest, Some(ctx), |interrupter| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                interrupter.interrupt();
            });
        });
        let Err(CallError::Trap(trap)) = result else { panic!("{result:?}") };
        assert_eq!(trap.code, TrapCode::Interrupted);
    });
}
