//! The limit on a store's memory: memories, tables and exceptions that are referred to share it.

use crate::*;
use executor_model::{CallError, EngineError, LimitError};
use executor_runtime::{Image, InstantiateError, RestoreError};

const PAGE: u64 = 65536;

fn store(engine: &NativeEngine, max_memory: u64) -> Store {
    let config = StoreConfig { max_memory, ..StoreConfig::default() };
    Store::new(engine, Linker::new(), config).unwrap()
}

const GROWING: &str = r#"(module (memory 1) (memory $m 0) (table $t 0 funcref)
  (func (export "memory") (param i32) (result i32) (memory.grow $m (local.get 0)))
  (func (export "table") (param i32) (result i32)
    (table.grow $t (ref.null func) (local.get 0))))"#;

#[test]
fn memories_and_tables_of_all_instances_grow_within_one_limit() {
    let engine = engine();
    let module = compile(&engine, GROWING);
    let mut store = store(&engine, 4 * PAGE);
    let one = store.instantiate(&module).unwrap();
    let two = store.instantiate(&module).unwrap();
    let mut grow = |id, what, by| call(&mut store, id, what, &[Val::I32(by)]).unwrap()[0];
    assert_eq!(grow(one, "memory", 1), Val::I32(0));
    assert_eq!(grow(two, "memory", 2), Val::I32(-1));
    assert_eq!(grow(two, "table", 8193), Val::I32(-1));
    assert_eq!(grow(two, "table", 8191), Val::I32(0));
    assert_eq!(grow(one, "table", 2), Val::I32(-1));
    assert_eq!(grow(one, "table", 1), Val::I32(0));
    assert_eq!(grow(two, "memory", 1), Val::I32(-1));
}

#[test]
fn what_begins_above_the_limit_is_refused_as_such() {
    let engine = engine();
    let refused = |wat: &str| {
        let module = compile(&engine, wat);
        match store(&engine, PAGE).instantiate(&module) {
            Err(InstantiateError::Engine(EngineError::Limit(limit))) => limit,
            other => panic!("{other:?}"),
        }
    };
    let limit = PAGE;
    let large = refused("(module (memory 2))");
    assert_eq!(large, LimitError::Memory { index: 0, bytes: 2 * PAGE, limit });
    assert_eq!(
        large.message("--max-memory"),
        "memory 0 has 131072 bytes, more than --max-memory allows (65536)"
    );
    let both = refused("(module (memory 1) (table 1 funcref))");
    assert_eq!(both, LimitError::Store { bytes: PAGE + 8, limit });
    let tables = refused("(module (table 5000 funcref) (table 5000 externref))");
    assert_eq!(tables, LimitError::Store { bytes: 80_000, limit });
}

#[test]
fn an_image_above_the_limit_is_refused_as_such() {
    let engine = engine();
    let module = compile(&engine, "(module (memory 1) (table 8 funcref))");
    let config = |max_memory| StoreConfig { max_memory, ..StoreConfig::default() };
    assert!(Image::of_module(&engine, Linker::new(), config(PAGE + 64), &module).is_ok());

    let mut store = store(&engine, u64::MAX);
    store.instantiate(&module).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    let instances = state::write(&mut file, &store.capture().unwrap(), &[module]);
    let plan = executor_runtime::RestorePlan {
        trust: executor_files::Trust::Own,
        files: vec![Arc::new(file)],
        instances,
        call: None,
    };
    match Image::new(&engine, Linker::new(), config(PAGE), plan) {
        Err(RestoreError::Engine(EngineError::Limit(limit))) => {
            assert_eq!(limit, LimitError::Store { bytes: PAGE + 64, limit: PAGE });
        }
        other => panic!("{other:?}"),
    }
}

/// `run` keeps as many exceptions as the mask lets it; `memory` grows the memory.
const KEEPS: &str = r#"(module (memory 1) (table $kept 100000 exnref) (tag $t (param i64 i64 i64 i64))
      (func $throw (result exnref)
        (block $caught (result i64 i64 i64 i64 exnref)
          (try_table (catch_ref $t $caught)
            (throw $t (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)))
          unreachable)
        (return (; the payload stays below ;)))
      (func (export "run") (param $n i32) (param $mask i32) (local $i i32)
        (loop $more
          (table.set $kept (i32.and (local.get $i) (local.get $mask)) (call $throw))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $i) (local.get $n)))))
      (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0))))"#;

#[test]
fn exceptions_that_are_referred_to_take_of_the_limit_and_others_are_freed() {
    let engine = engine();
    let module = compile(&engine, KEEPS);
    let room = 1 << 20;
    let mut store = store(&engine, PAGE + 800_000 + room);
    let id = store.instantiate(&module).unwrap();
    let run = |store: &mut Store, n, mask| call(store, id, "run", &[Val::I32(n), Val::I32(mask)]);
    run(&mut store, 200_000, 1023).unwrap();
    match run(&mut store, 90_000, -1) {
        Err(CallError::Limit(LimitError::Exceptions { .. })) => {}
        other => panic!("{other:?}"),
    }
    let kept = store.kept_exceptions() as u64;
    assert!((4000..=room / 64).contains(&kept), "{kept}");
    // What they take, a memory can't.
    let grown = call(&mut store, id, "memory", &[Val::I32(15)]).unwrap();
    assert_eq!(grown, [Val::I32(-1)]);
}

#[test]
fn exceptions_are_kept_and_memories_grow_without_a_limit() {
    let engine = engine();
    let module = compile(&engine, KEEPS);
    let mut store = store(&engine, u64::MAX);
    let id = store.instantiate(&module).unwrap();
    call(&mut store, id, "run", &[Val::I32(5000), Val::I32(-1)]).unwrap();
    assert_eq!(store.kept_exceptions(), 5000);
    let grown = call(&mut store, id, "memory", &[Val::I32(15)]).unwrap();
    assert_eq!(grown, [Val::I32(1)]);
    call(&mut store, id, "run", &[Val::I32(5000), Val::I32(1023)]).unwrap();
}
