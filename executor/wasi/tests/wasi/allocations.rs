//! What calls of the host cost that can be counted: allocations.

use crate::guest::start;
use executor_model::{InstanceId, Val};
use executor_wasi::{Input, Output, WasiCtxBuilder};
use std::{fs::File, os::fd::OwnedFd, sync::Arc};

/// Calls that a program makes over and over, each in a loop of its own.
const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get"
        (func $clock (param i32 i64 i32) (result i32)))
    (memory (export "memory") 1)
    ;; Two buffers of 16 bytes.
    (data (i32.const 0) "\40\00\00\00\10\00\00\00\50\00\00\00\10\00\00\00")
    (func (export "_start"))
    (func (export "write") (param $n i32) (result i32) (local $errors i32)
      (loop $again
        (local.set $errors (i32.or (local.get $errors)
          (call $write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 32))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $errors))
    (func (export "read") (param $n i32) (result i32) (local $errors i32)
      (loop $again
        (local.set $errors (i32.or (local.get $errors)
          (call $read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 32))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $errors))
    (func (export "clock") (param $n i32) (result i32) (local $errors i32)
      (loop $again
        (local.set $errors (i32.or (local.get $errors)
          (call $clock (i32.const 1) (i64.const 0) (i32.const 40))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $errors)))"#;

#[test]
fn calls_in_a_loop_allocate_nothing() {
    let null = || {
        let file = File::options().read(true).write(true).open("/dev/null").unwrap();
        OwnedFd::from(file)
    };
    let mut builder = WasiCtxBuilder::new();
    builder.stdin(Input::Fd(null()));
    builder.stdout(Output::Fd(Arc::new(null())));
    let (started, mut store) = start(GUEST, Some(builder.build().unwrap()));
    started.unwrap();
    let instance = InstanceId::from_position(0);
    for export in ["write", "read", "clock"] {
        let func = store.exported_func(instance, export).unwrap();
        let mut allocations = |n| {
            let counted = allocation_counter::measure(|| {
                assert_eq!(store.call(func, &[Val::I32(n)]).unwrap(), [Val::I32(0)], "{export}");
            });
            counted.count_total
        };
        // The first call binds imports and notes what is observed.
        allocations(1);
        let once = allocations(1);
        // The results of a call are a vector, so something is counted.
        assert!(once > 0);
        assert_eq!(allocations(1000), once, "{export}");
    }
}
