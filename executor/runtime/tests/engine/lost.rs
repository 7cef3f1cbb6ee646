//! Pages that are lost: a snapshot's file is cut while a store uses it, and whoever meets the page, machine
//! code or the host, the call ends with a trap, and who captures the state is told.
//!
//! Here these are pages of memories and tables. Those of the state block are in `lost_block`, those of code and
//! its function table in `lost_code`.

use crate::*;
use executor_model::{CallError, TrapCode};
use executor_runtime::{Caller, Image, RestorePlan};
use std::{fs::File, os::unix::fs::FileExt};

const WAT: &str = r#"(module
  (import "host" "read" (func $read (param i32) (result i32)))
  (import "host" "cut" (func $cut))
  (memory (export "memory") 4)
  (table $t 2000 funcref)
  (table $empty 2000 funcref)
  (data $passive "0123456789")
  (elem $e func $f)
  (func $f (result i32) (i32.const 7))
  (func (export "init")
    (memory.fill (i32.const 0) (i32.const 65) (i32.const 200000))
    (table.fill $t (i32.const 0) (ref.func $f) (i32.const 2000)))
  (func (export "load") (result i32) (call $cut) (i32.load (i32.const 100000)))
  (func (export "store") (result i32)
    (call $cut) (i32.store (i32.const 100000) (i32.const 1)) (i32.const 1))
  (func (export "host read") (result i32) (call $cut) (call $read (i32.const 100000)))
  (func (export "memory.copy") (result i32)
    (call $cut) (memory.copy (i32.const 0) (i32.const 100000) (i32.const 10000)) (i32.const 1))
  (func (export "memory.fill") (result i32)
    (call $cut) (memory.fill (i32.const 100001) (i32.const 1) (i32.const 10000)) (i32.const 1))
  (func (export "memory.init") (result i32)
    (call $cut) (memory.init $passive (i32.const 100001) (i32.const 0) (i32.const 10))
    (i32.const 1))
  (func (export "call_indirect") (result i32)
    (call $cut) (call_indirect $t (result i32) (i32.const 1000)))
  (func (export "table.copy") (result i32)
    (call $cut) (table.copy $empty $t (i32.const 0) (i32.const 900) (i32.const 1000))
    (i32.const 1))
  (func (export "table.fill") (result i32)
    (call $cut) (table.fill $t (i32.const 900) (ref.null func) (i32.const 1000)) (i32.const 1))
  (func (export "table.init") (result i32)
    (call $cut) (table.init $t $e (i32.const 1000) (i32.const 0) (i32.const 1)) (i32.const 1))
  (func (export "nothing") (result i32) (i32.const 2)))"#;

/// The calls that meet a page which is gone.
const MEET: [&str; 10] = [
    "load",
    "store",
    "host read",
    "memory.copy",
    "memory.fill",
    "memory.init",
    "call_indirect",
    "table.copy",
    "table.fill",
    "table.init",
];

/// An image of an initialised instance, and its file. The guest cuts the file by a call.
fn image(engine: &NativeEngine) -> (Image, Arc<File>) {
    let module = compile(engine, WAT);
    let file = tempfile::tempfile().unwrap();
    let cut = file.try_clone().unwrap();
    let mut linker = Linker::new();
    linker.func("host", "cut", move |_: &mut Caller<'_>| {
        cut.set_len(4096).unwrap();
        Ok(())
    });
    linker.func("host", "read", |caller: &mut Caller<'_>, at: u32| {
        // Whatever the host makes of it, the guest does not see it.
        let byte = caller.memory().unwrap()[at as usize];
        Ok(u32::from(byte))
    });
    let mut store = Store::new(engine, linker.clone(), StoreConfig::default()).unwrap();
    let id = store.instantiate(&module).unwrap();
    call(&mut store, id, "init", &[]).unwrap();
    let mut dense = tempfile::tempfile().unwrap();
    let mut instances = state::write(&mut dense, &store.capture().unwrap(), &[module]);
    // The state block comes first, so that it alone is left.
    let mut bytes = vec![0; dense.metadata().unwrap().len() as usize];
    dense.read_exact_at(&mut bytes, 0).unwrap();
    let block = instances[0].block as usize;
    bytes.rotate_left(block);
    file.write_all_at(&bytes, 0).unwrap();
    let instance = &mut instances[0];
    instance.block = 0;
    for extent in instance.tables.iter_mut().chain(&mut instance.memories).flatten() {
        extent.offset += (bytes.len() - block) as u64;
    }
    assert_eq!(bytes.len() - block, 4096, "what is left when the file is cut");
    let file = Arc::new(file);
    let plan = RestorePlan {
        trust: executor_files::Trust::Own,
        files: vec![Arc::clone(&file)],
        instances,
        call: None,
    };
    (Image::new(engine, linker, StoreConfig::default(), plan).unwrap(), file)
}

fn assert_lost<T: std::fmt::Debug>(result: Result<T, CallError>, what: &str) {
    match result {
        Err(CallError::Trap(trap)) => assert_eq!(trap.code, TrapCode::PageLost, "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn whoever_meets_a_lost_page_the_call_traps_and_the_store_runs_no_other() {
    for kept in [false, true] {
        for name in MEET {
            let engine = engine();
            let (image, _) = image(&engine);
            let mut store = if kept { image.acquire() } else { image.restore() }.unwrap();
            let id = store.instance_at(0).unwrap();
            assert_lost(call(&mut store, id, name, &[]), name);
            assert_lost(call(&mut store, id, "nothing", &[]), name);
            assert!(store.ensure_intact().is_err(), "{name}");
            drop(store);
            assert_eq!(engine.pool_stats().idle, 0, "{name}: it is not kept");
        }
    }
}

#[test]
fn a_store_that_met_no_lost_page_goes_on() {
    let engine = engine();
    let (image, file) = image(&engine);
    let mut store = image.restore().unwrap();
    let mut other = image.restore().unwrap();
    let id = store.instance_at(0).unwrap();
    let other_id = other.instance_at(0).unwrap();
    file.set_len(4096).unwrap();
    assert_lost(call(&mut store, id, "load", &[]), "load");
    assert!(other.ensure_intact().is_ok());
    let nothing = call(&mut other, other_id, "nothing", &[]).unwrap();
    assert_eq!(nothing, [Val::I32(2)], "it needs none of the pages");
    assert_lost(call(&mut other, other_id, "host read", &[]), "host read");
}

#[test]
fn what_the_host_reads_between_calls_is_known_to_be_void() {
    let engine = engine();
    let (image, file) = image(&engine);
    let store = image.restore().unwrap();
    let id = store.instance_at(0).unwrap();
    file.set_len(4096).unwrap();
    assert!(store.ensure_intact().is_ok());
    let state = store.capture().unwrap();
    assert_eq!(state.instances[0].memories[0][100_000], 0);
    assert!(store.ensure_intact().is_err());
    drop(state);
    let mut store = store;
    assert_lost(call(&mut store, id, "nothing", &[]), "nothing");
}

#[test]
fn a_table_that_is_captured_without_its_pages_is_known_to_be_void() {
    let engine = engine();
    let (image, file) = image(&engine);
    let captured = |store: &Store| {
        let state = store.capture().unwrap();
        (state.instances[0].tables[0].to_vec(), store.ensure_intact().is_ok())
    };
    let (whole, intact) = captured(&image.restore().unwrap());
    assert!(intact && whole[8000..8008] != [0; 8]);
    let store = image.restore().unwrap();
    file.set_len(4096).unwrap();
    let (cut, intact) = captured(&store);
    assert!(!intact && cut[8000..8008] == [0; 8]);
}

#[test]
fn a_kept_slot_is_not_reset_from_an_image_that_lost_a_page() {
    let engine = engine();
    let (image, file) = image(&engine);
    let mut store = image.acquire().unwrap();
    let id = store.instance_at(0).unwrap();
    // The page belongs to the slot alone from here on, and is copied back from the image at the end.
    store.memory_mut(id, 0).unwrap().get_mut(100_000..100_001).unwrap()[0] = 1;
    file.set_len(4096).unwrap();
    drop(store);
    assert_eq!(engine.pool_stats().idle, 0);
}

#[test]
fn sizes_that_are_lost_make_nothing_accessible() {
    let engine = engine();
    let (image, file) = image(&engine);
    let mut kept = image.acquire().unwrap();
    let mut once = image.restore().unwrap();
    for store in [&mut kept, &mut once] {
        let id = store.instance_at(0).unwrap();
        assert_eq!(call(store, id, "nothing", &[]).unwrap(), [Val::I32(2)]);
    }
    file.set_len(0).unwrap();
    drop(kept);
    assert_eq!(engine.pool_stats().idle, 0);
    // The host function panics, because it finds a memory without a byte.
    let id = once.instance_at(0).unwrap();
    assert_lost(call(&mut once, id, "host read", &[]), "host read");
    assert!(image.acquire().is_err(), "no slot is made of it any more");
}
