//! State: captured, written densely to a file by hand, restored, indistinguishable.

use crate::*;
use executor_code::layout::PAGE;
use executor_model::ExternRef;
use executor_runtime::{
    CaptureError, Extent, Image, InstancePlan, RestoreError, RestorePlan, StoreState,
};
use std::{fs::File, io::Write};

/// Writes every byte of a state and plans to map it all.
pub(crate) fn write(
    file: &mut File,
    state: &StoreState<'_>,
    modules: &[Arc<CompiledModule>],
) -> Vec<InstancePlan> {
    let mut end = 0u64;
    let mut put = |bytes: &[u8]| {
        let offset = end;
        file.write_all(bytes).unwrap();
        let padding = bytes.len().next_multiple_of(PAGE as usize) - bytes.len();
        file.write_all(&vec![0; padding]).unwrap();
        end += (bytes.len() + padding) as u64;
        let len = end - offset;
        Extent { source: 0, at: 0, offset, len }
    };
    let mut plans = Vec::new();
    for (instance, module) in state.instances.iter().zip(modules) {
        let mut extents = |items: &[&[u8]]| -> Vec<Vec<Extent>> {
            let list = items.iter().map(|bytes| vec![put(bytes)]);
            list.map(|e| e.into_iter().filter(|e| e.len > 0).collect()).collect()
        };
        let tables = extents(&instance.tables);
        let memories = extents(&instance.memories);
        let block = put(&instance.block).offset;
        let instantiated = instance.instantiated;
        plans.push(InstancePlan {
            module: Arc::clone(module),
            instantiated,
            block,
            tables,
            memories,
            working_set: Vec::new(),
        });
    }
    plans
}

pub(crate) fn round_trip(engine: &NativeEngine, store: &Store) -> Result<Store, RestoreError> {
    round_trip_changed(engine, store, |_| ())
}

/// As [`round_trip`], of memories that are changed on the way.
pub(crate) fn round_trip_changed(
    engine: &NativeEngine,
    store: &Store,
    change: impl FnOnce(&mut [Vec<u8>]),
) -> Result<Store, RestoreError> {
    let mut file = tempfile::tempfile().unwrap();
    let modules: Vec<_> = (0..store.instance_count())
        .map(|i| Arc::clone(store.module(InstanceId::from_position(i)).unwrap()))
        .collect();
    let mut state = store.capture().unwrap();
    let last = state.instances.last_mut().unwrap();
    let mut memories: Vec<Vec<u8>> = last.memories.iter().map(|memory| memory.to_vec()).collect();
    change(&mut memories);
    last.memories = memories.iter().map(Vec::as_slice).collect();
    let instances = write(&mut file, &state, &modules);
    let plan = RestorePlan {
        trust: executor_files::Trust::Own,
        files: vec![Arc::new(file)],
        instances,
        call: None,
    };
    let store = Image::new(engine, Linker::new(), StoreConfig::default(), plan)?.restore()?;
    store.validate()?;
    Ok(store)
}

#[test]
fn linked_instances_stay_linked_after_restore_and_again() {
    let engine = engine();
    let a = compile(
        &engine,
        r#"(module (memory (export "m") 1 3) (table (export "t") 2 9 funcref)
             (global (export "g") (mut i64) (i64.const 5)) (global $hidden (mut i32) (i32.const 0))
             (data $passive "xyz") (elem $e func $f)
             (func $f (result i32) (global.get $hidden))
             (func $start (global.set $hidden (i32.const 77)) (i32.store (i32.const 8) (i32.const 9))
               (drop (memory.grow (i32.const 1))) (i32.store (i32.const 70000) (i32.const 3))
               (drop (table.grow 0 (ref.func $f) (i32.const 3))) (data.drop $passive))
             (func (export "init") (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 1)))
             (start $start))"#,
    );
    let b = compile(
        &engine,
        r#"(module (import "a" "m" (memory 1)) (import "a" "t" (table 2 funcref))
             (import "a" "g" (global $g (mut i64)))
             (func (export "poke") (i32.store (i32.const 8) (i32.const 10))
               (global.set $g (i64.add (global.get $g) (i64.const 1))))
             (func (export "peek") (result i32 i32 i64 i32 i32)
               (i32.load (i32.const 8)) (i32.load (i32.const 70000)) (global.get $g)
               (call_indirect (result i32) (i32.const 4)) (table.size 0)))"#,
    );
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let a = store.instantiate(&a).unwrap();
    store.linker_mut().instance("a", a);
    let b = store.instantiate(&b).unwrap();
    call(&mut store, b, "poke", &[]).unwrap();
    let before = call(&mut store, b, "peek", &[]).unwrap();
    let expected = [Val::I32(10), Val::I32(3), Val::I64(6), Val::I32(77), Val::I32(5)];
    assert_eq!(before, expected);
    let mut restored = round_trip(&engine, &store).unwrap();
    let mut again = round_trip(&engine, &restored).unwrap();
    for store in [&mut restored, &mut again] {
        assert!(store.exported_func(a, "init").is_none(), "the ids are of another store");
        let (a, b) = (store.instance_at(0).unwrap(), store.instance_at(1).unwrap());
        assert_eq!(call(store, b, "peek", &[]).unwrap(), expected);
        assert!(call(store, a, "init", &[]).is_err(), "the segment stays dropped");
        call(store, b, "poke", &[]).unwrap();
        assert_eq!(store.global(a, 0), Some(Val::I64(7)), "the global is shared");
        assert_eq!(store.memory_grow(b, 0, 1), Some(2), "it grows from its size");
        assert_eq!(store.memory_grow(b, 0, 1), None, "up to its maximum");
    }
    assert_eq!(call(&mut store, b, "peek", &[]).unwrap(), expected, "the original is untouched");
}

#[test]
fn a_live_host_reference_is_refused_by_name() {
    let (mut store, id) = instantiate(
        r#"(module (table $t (export "refs") 4 externref) (global (export "last") (mut externref) (ref.null extern))
             (func (export "put") (param i32 externref) (table.set $t (local.get 0) (local.get 1)))
             (func (export "keep") (param externref) (global.set 0 (local.get 0))))"#,
    );
    let handle = Val::ExternRef(Some(ExternRef::Host(store.new_extern("host value"))));
    assert!(store.capture().is_ok());
    call(&mut store, id, "put", &[Val::I32(2), handle]).unwrap();
    let error = store.capture().unwrap_err();
    assert!(error.to_string().contains("element 2 of table 0 (\"refs\")"), "{error}");
    call(&mut store, id, "put", &[Val::I32(2), Val::ExternRef(None)]).unwrap();
    call(&mut store, id, "keep", &[handle]).unwrap();
    let error = store.capture().unwrap_err();
    assert!(error.to_string().contains("global 0 (\"last\")"), "{error}");
    assert!(matches!(error, CaptureError::HostReference { .. }));
}

#[test]
fn references_that_lead_nowhere_are_found() {
    let engine = engine();
    let module =
        compile(&engine, r#"(module (table 2 funcref) (func $f) (elem (i32.const 0) $f $f))"#);
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    store.instantiate(&module).unwrap();
    let forge = |bits: u64| {
        let mut state = store.capture().unwrap();
        let mut table = state.instances[0].tables[0].to_vec();
        table[8..16].copy_from_slice(&bits.to_le_bytes());
        state.instances[0].tables[0] = &table;
        let mut file = tempfile::tempfile().unwrap();
        let instances = write(&mut file, &state, &[Arc::clone(&module)]);
        let plan = RestorePlan {
            trust: executor_files::Trust::Own,
            files: vec![Arc::new(file)],
            instances,
            call: None,
        };
        let config = StoreConfig::default();
        Image::new(&engine, Linker::new(), config, plan).unwrap().restore().unwrap().validate()
    };
    let id = InstanceId::new(1).unwrap();
    assert!(forge(0).is_ok());
    assert!(forge(id.key()).is_ok(), "the function itself");
    assert!(forge(id.key() | 5).is_err(), "no such function");
    assert!(forge(id.key() | 1 << 20).is_err(), "another type");
    assert!(forge(InstanceId::new(2).unwrap().key()).is_err(), "no such instance");
    assert!(forge(7).is_err(), "no instance at all");
}
