//! A state block whose file is cut: machine code reads and writes globals and sizes there, the host sizes, what was
//! dropped and globals, and a capture all of it.
//!
//! A kept store has a copy of a small block, which loses nothing; of a large one it maps the pages that nobody wrote
//! to.

use crate::*;
use executor_model::{CallError, TrapCode};
use executor_runtime::{Caller, Image, RestorePlan};
use std::{fmt::Write as _, fs::File};

/// Globals whose block takes more pages than a kept store copies.
const MANY: usize = 2000;

fn wat(globals: usize) -> String {
    let mut others = String::new();
    for _ in 0..globals {
        write!(others, "(global (mut v128) (v128.const i64x2 1 1))").unwrap();
    }
    format!(
        r#"(module
          (import "host" "cut" (func $cut))
          (memory (export "memory") 1 9) (table $t 1 9 funcref)
          {others}
          (global $g (export "global") (mut i32) (i32.const 5))
          (data $d "0123456789") (elem $e func $f)
          (func $f)
          (func (export "global.get") (result i32) (call $cut) (global.get $g))
          (func (export "global.set") (result i32)
            (call $cut) (global.set $g (i32.const 6)) (i32.const 1))
          (func (export "memory.size") (result i32) (call $cut) (memory.size))
          (func (export "table.size") (result i32) (call $cut) (table.size $t))
          (func (export "table.get") (result i32)
            (call $cut) (ref.is_null (table.get $t (i32.const 0))))
          (func (export "memory.grow") (result i32) (call $cut) (memory.grow (i32.const 1)))
          (func (export "table.grow") (result i32)
            (call $cut) (table.grow $t (ref.null func) (i32.const 1)))
          (func (export "memory.fill") (result i32) (call $cut)
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 9)) (i32.const 1))
          (func (export "memory.init") (result i32) (call $cut)
            (memory.init $d (i32.const 0) (i32.const 1) (i32.const 9)) (i32.const 1))
          (func (export "data.drop") (result i32) (call $cut) (data.drop $d) (i32.const 1))
          (func (export "table.init") (result i32) (call $cut)
            (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const 1))
          (func (export "elem.drop") (result i32) (call $cut) (elem.drop $e) (i32.const 1)))"#
    )
}

/// What machine code does by itself, and what the host does for it.
const MEET: [&str; 12] = [
    "global.get",
    "global.set",
    "memory.size",
    "memory.grow",
    "table.size",
    "data.drop",
    "elem.drop",
    // These need pages of a memory or a table as well.
    "memory.fill",
    "memory.init",
    "table.get",
    "table.grow",
    "table.init",
];
/// How many of them need the state block alone.
const OF_BLOCK: usize = 7;

/// An image, and its file, which the guest cuts by a call.
fn image(engine: &NativeEngine, globals: usize) -> (Image, Arc<File>) {
    let module = compile(engine, &wat(globals));
    let mut file = tempfile::tempfile().unwrap();
    let cut = file.try_clone().unwrap();
    let mut linker = Linker::new();
    linker.func("host", "cut", move |_: &mut Caller<'_>| {
        cut.set_len(0).unwrap();
        Ok(())
    });
    let mut store = Store::new(engine, linker.clone(), StoreConfig::default()).unwrap();
    store.instantiate(&module).unwrap();
    let instances = state::write(&mut file, &store.capture().unwrap(), &[module]);
    let file = Arc::new(file);
    let plan = RestorePlan {
        trust: executor_files::Trust::Own,
        files: vec![Arc::clone(&file)],
        instances,
        call: None,
    };
    (Image::new(engine, linker, StoreConfig::default(), plan).unwrap(), file)
}

fn is_lost<T>(result: &Result<T, CallError>) -> bool {
    matches!(result, Err(CallError::Trap(trap)) if trap.code == TrapCode::PageLost)
}

#[test]
fn whoever_meets_a_lost_state_block_the_call_traps() {
    let engine = engine();
    for name in MEET {
        let (image, _) = image(&engine, 0);
        let mut store = image.restore().unwrap();
        let id = store.instance_at(0).unwrap();
        let result = call(&mut store, id, name, &[]);
        assert!(is_lost(&result), "{name}: {result:?}");
        assert!(store.ensure_intact().is_err(), "{name}");
    }
}

#[test]
fn a_kept_store_loses_nothing_of_a_small_state_block() {
    let engine = engine();
    for name in &MEET[..OF_BLOCK] {
        let mut store = image(&engine, 0).0.acquire().unwrap();
        let id = store.instance_at(0).unwrap();
        let result = call(&mut store, id, name, &[]);
        assert!(result.is_ok(), "{name}: {result:?}");
        assert!(store.ensure_intact().is_ok(), "{name}");
        drop(store);
        assert_eq!(engine.pool_stats().idle, 0, "{name}: it can't be reset");
    }
}

#[test]
fn a_kept_store_that_meets_a_lost_page_of_a_large_state_block_is_not_kept() {
    let engine = engine();
    for name in MEET {
        let mut store = image(&engine, MANY).0.acquire().unwrap();
        let id = store.instance_at(0).unwrap();
        let result = call(&mut store, id, name, &[]);
        assert!(is_lost(&result), "{name}: {result:?}");
        drop(store);
        assert_eq!(engine.pool_stats().idle, 0, "{name}");
    }
}

#[test]
fn what_the_host_reads_of_a_lost_state_block_is_known_to_be_void() {
    let engine = engine();
    type Read = fn(&mut Store, InstanceId);
    let reads: [(&str, Read); 6] = [
        ("global", |store, id| assert_eq!(store.global(id, 0), Some(Val::I32(0)))),
        ("set_global", |store, id| assert!(store.set_global(id, 0, Val::I32(1)))),
        ("memory", |store, id| assert_eq!(store.memory(id, 0), Some(&[][..]))),
        ("memory_grow", |store, id| {
            store.memory_grow(id, 0, 1);
        }),
        ("table_size", |store, id| assert_eq!(store.table_size(id, 0), Some(0))),
        ("capture", |store, _| {
            let state = store.capture().unwrap();
            assert!(state.instances[0].memories[0].is_empty());
        }),
    ];
    for (what, read) in reads {
        let (image, file) = image(&engine, 0);
        let mut store = image.restore().unwrap();
        let id = store.instance_at(0).unwrap();
        file.set_len(0).unwrap();
        assert!(store.ensure_intact().is_ok(), "{what}: nobody has met it");
        read(&mut store, id);
        assert!(store.ensure_intact().is_err(), "{what}");
        let result = call(&mut store, id, "global.get", &[]);
        assert!(is_lost(&result), "{what}: {result:?}");
    }
}
