//! What cannot be captured or restored is refused, and the refusal says what it is.
//!
//! A call in progress is refused too (`CaptureError::Running`), but cannot be brought about from
//! outside: a call borrows its store mutably, and a host function is given a `Caller`, which does
//! not capture.

use crate::scene::{Failure, Guest, Scene, Trust, host, load, restore};
use executor_model::{
    CallError, Engine, EngineError, InstanceId, Listeners, ModuleEngine,
    Val::{self, ExternRef, I32},
};
use executor_runtime::{Caller, CaptureError, Linker, RestoreError, StoreConfig};
use executor_snapshot::{SnapshotError, SnapshotFile};
use std::fs;

const KEEPS: &str = r#"(module
    (table $hidden 3 externref) (table (export "refs") 3 externref)
    (global $last (export "last") (mut externref) (ref.null extern))
    (global $own (mut externref) (ref.null extern))
    (func (export "hidden") (param externref) (table.set $hidden (i32.const 2) (local.get 0)))
    (func (export "refs of") (param externref) (table.set 1 (i32.const 1) (local.get 0)))
    (func (export "last of") (param externref) (global.set $last (local.get 0)))
    (func (export "own") (param externref) (global.set $own (local.get 0))))"#;

#[test]
fn a_live_host_reference_is_named_with_its_instance_and_place() {
    let mut scene = Scene::new();
    scene.add("first", KEEPS);
    scene.add("second", KEEPS);
    let id = scene.guest.snapshot_id();
    let handle = scene.guest.store.new_extern("of this process");
    let handle = ExternRef(Some(executor_model::ExternRef::Host(handle)));
    for (instance, export, item) in [
        ("first", "hidden", "element 2 of table 0 "),
        ("second", "refs of", "element 1 of table 1 (\"refs\")"),
        ("second", "last of", "global 0 (\"last\")"),
        ("first", "own", "global 1 "),
    ] {
        scene.guest.call(instance, export, &[handle]).unwrap();
        let refusal = scene.guest.store.capture().unwrap_err();
        let CaptureError::HostReference { instance: named, .. } = refusal else {
            panic!("{refusal}")
        };
        assert_eq!(named, scene.guest.id(instance));
        assert!(refusal.to_string().contains(item), "{refusal}");
        scene.guest.call(instance, export, &[ExternRef(None)]).unwrap();
    }
    assert_eq!(scene.guest.snapshot_id(), id, "set to null, they are no obstacle");
}

#[test]
fn a_closed_instance_is_not_captured() {
    let mut scene = Scene::new();
    scene.add("first", KEEPS);
    let second = scene.add("second", KEEPS);
    scene.guest.store.interrupter().close(second, 3);
    let refusal = scene.guest.store.capture().unwrap_err();
    assert_eq!(refusal, CaptureError::Closed { instance: second });
}

#[test]
fn an_instance_whose_imports_are_not_resolved_is_not_captured() {
    for import in ["(memory 1)", "(table 1 funcref)", "(global i32)"] {
        let mut scene = Scene::new();
        scene.add("first", KEEPS);
        let module = crate::scene::decode(&format!(r#"(module (import "a" "b" {import}))"#));
        scene.engine.compile_module(&module, &Listeners::none(), true).unwrap();
        let store = &mut scene.guest.store;
        let id = scene.engine.new_module_engine(&module, store).unwrap().instance();
        let captured = store.capture().map(|state| state.instances.len());
        let Err(CaptureError::Instance { instance, .. }) = captured else {
            panic!("{import}: {captured:?}")
        };
        assert_eq!(instance, id);
    }
}

/// A store with a memory of 3 pages and a table of 100, and its snapshot in `s.snap`.
fn sized() -> Scene {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (import "host" "times_ten" (func $times_ten (param i32) (result i32)))
             (memory 3) (table 100 funcref)
             (func (export "call") (param i32) (result i32) (call $times_ten (local.get 0)))
             (func (export "size") (result i32) (memory.size)))"#,
    );
    scene.guest.write(&scene.path("s.snap"));
    scene
}

fn restore_within(scene: &Scene, config: StoreConfig) -> Result<Guest, Failure> {
    let engine = scene.other_engine();
    restore(&engine, &scene.path("s.snap"), Trust::Own, config, |hash| load(&engine, hash))
}

#[test]
fn state_beyond_the_limits_of_the_new_store_is_refused() {
    let scene = sized();
    let limits =
        |max_memory, max_table| StoreConfig { max_memory, max_table, ..StoreConfig::default() };
    // The table's elements take 8 bytes each.
    let fits = (3 << 16) + 800;
    let mut restored = restore_within(&scene, limits(fits, 100)).unwrap();
    assert_eq!(restored.call("a", "size", &[]).unwrap(), [I32(3)]);
    for (limits, what) in [
        (limits((3 << 16) - 1, 100), "memory 0 has 196608 bytes"),
        (limits(fits - 1, 100), "197408 bytes"),
        (limits(fits, 99), "table 0 has 100 elements"),
    ] {
        let Err(refusal) = restore_within(&scene, limits) else { panic!("{what} is restored") };
        assert!(refusal.to_string().contains(what), "{refusal}");
        assert!(refusal.to_string().contains("s.snap"), "{refusal}");
    }
}

#[test]
fn a_snapshot_without_its_code_names_the_module() {
    let scene = sized();
    fs::remove_dir_all(scene.path("code")).unwrap();
    let Err(Failure::Engine(EngineError::NotCompiled(hash))) =
        restore_within(&scene, StoreConfig::default())
    else {
        panic!("there is no code")
    };
    let module = scene.guest.store.module(InstanceId::from_position(0)).unwrap();
    assert_eq!(hash, module.hash());
}

#[test]
fn a_closed_engine_restores_nothing() {
    let scene = sized();
    let engine = scene.other_engine();
    let module = scene.guest.store.module(InstanceId::from_position(0)).unwrap();
    engine.close().unwrap();
    let file = SnapshotFile::open(scene.path("s.snap")).unwrap();
    let (linker, _) = host();
    let code = |_| Ok::<_, SnapshotError>(module.clone());
    let restored = executor_snapshot::restore(&engine, linker, StoreConfig::default(), &file, code);
    let Err(SnapshotError::Restore { source: RestoreError::Engine(EngineError::Closed), .. }) =
        restored
    else {
        panic!("{restored:?}")
    };
}

/// Restores the snapshot of [`sized`] with another host.
fn with_host(scene: &Scene, linker: Linker) -> Result<Vec<Val>, CallError> {
    let engine = scene.other_engine();
    let file = SnapshotFile::open(scene.path("s.snap")).unwrap();
    let code = |hash| load(&engine, hash);
    let mut store =
        executor_snapshot::restore(&engine, linker, StoreConfig::default(), &file, code).unwrap();
    let call = store.exported_func(InstanceId::from_position(0), "call").unwrap();
    store.call(call, &[I32(4)])
}

#[test]
fn a_host_function_that_is_missing_after_restore_is_named_by_its_call() {
    let scene = sized();
    assert_eq!(with_host(&scene, host().0).unwrap(), [I32(40)]);
    let mut other = Linker::new();
    other.func("host", "times_ten", |_: &mut Caller<'_>, n: i64| Ok(n));
    for linker in [Linker::new(), other] {
        let error = with_host(&scene, linker).unwrap_err();
        let CallError::Host { source, .. } = error else { panic!("{error}") };
        let message = source.to_string();
        assert!(message.contains("`host` `times_ten`"), "{message}");
    }
}
