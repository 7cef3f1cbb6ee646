//! State that instances share: it is kept once, and stays shared after restore.

use crate::scene::{Scene, Trust, gives, int, traps};
use executor_model::{
    CallError, FuncRef, TrapCode,
    Val::{self, I32, I64},
};
use executor_runtime::InstantiateError;

/// Owns one of everything, and imports nothing.
const OWNER: &str = r#"(module
    (memory (export "memory") 1 4) (table (export "table") 2 6 funcref)
    (global $g (export "global") (mut i64) (i64.const 5))
    (global $hidden (mut i32) (i32.const 100))
    (func (export "next") (result i32)
      (global.set $hidden (i32.add (global.get $hidden) (i32.const 1))) (global.get $hidden))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
    (func (export "sizes") (result i32 i32) (memory.size) (table.size 0))
    (func (export "global of") (result i64) (global.get $g))
    (func (export "call") (param i32) (result i32) (call_indirect (result i32) (local.get 0))))"#;

/// Imports all that [`OWNER`] exports, from `from`, and exports it again.
fn user(from: &str) -> String {
    format!(
        r#"(module (type (func (param i64 i64)))
             (import "{from}" "next" (func $next (result i32)))
             (import "{from}" "memory" (memory 1)) (import "{from}" "table" (table 2 funcref))
             (import "{from}" "global" (global $g (mut i64)))
             (export "next" (func $next)) (export "memory" (memory 0))
             (export "table" (table 0)) (export "global" (global $g))
             (global $mine (mut i32) (i32.const 40))
             (func $own (result i32)
               (global.set $mine (i32.add (global.get $mine) (i32.const 1))) (global.get $mine))
             (func (export "fill")
               (i32.store (i32.const 8) (i32.const 9)) (drop (memory.grow (i32.const 1)))
               (i32.store (i32.const 70000) (i32.const 10))
               (table.set 0 (i32.const 0) (ref.func $own))
               (drop (table.grow 0 (ref.func $next) (i32.const 1)))
               (global.set $g (i64.const 6)))
             (elem declare func $own $next)
             (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
             (func (export "grow") (result i32 i32)
               (memory.grow (i32.const 1)) (table.grow 0 (ref.func $own) (i32.const 1)))
             (func (export "sizes") (result i32 i32) (memory.size) (table.size 0))
             (func (export "bump") (global.set $g (i64.add (global.get $g) (i64.const 1))))
             (func (export "global of") (result i64) (global.get $g))
             (func (export "call next") (result i32) (call $next))
             (func (export "call") (param i32) (result i32)
               (call_indirect (result i32) (local.get 0))))"#
    )
}

#[test]
fn what_instances_share_stays_shared() {
    let mut scene = Scene::new();
    scene.add("owner", OWNER);
    scene.add("user", &user("owner"));
    let before = [gives("user", "fill", &[], []), gives("user", "call next", &[], int(101))];
    scene.guest.expect(&before, "before");
    scene.assert_indistinguishable(&[
        gives("owner", "load", &[8], int(9)),
        gives("owner", "load", &[70_000], int(10)),
        gives("owner", "sizes", &[], [2, 3].map(I32)),
        gives("owner", "global of", &[], [I64(6)]),
        // The owner calls the user's function, with the user's own global, and its own through
        // the user's reference to an import.
        gives("owner", "call", &[0], int(41)),
        gives("owner", "call", &[2], int(102)),
        traps("owner", "call", &[1], TrapCode::IndirectCallToNull),
        gives("user", "call next", &[], int(103)),
        gives("owner", "next", &[], int(104)),
        // What one writes or grows, the other sees.
        gives("owner", "store", &[12, 77], []),
        gives("user", "load", &[12], int(77)),
        gives("user", "grow", &[], [2, 3].map(I32)),
        gives("owner", "sizes", &[], [3, 4].map(I32)),
        gives("owner", "call", &[3], int(42)),
        gives("user", "call", &[0], int(43)),
        gives("user", "bump", &[], []),
        gives("owner", "global of", &[], [I64(7)]),
        traps("user", "load", &[196_608], TrapCode::MemoryOutOfBounds),
    ]);
}

#[test]
fn what_is_imported_and_exported_again_leads_to_its_owner() {
    let mut scene = Scene::new();
    scene.add("owner", OWNER);
    scene.add("middle", &user("owner"));
    scene.add("last", &user("middle"));
    scene.guest.expect(&[gives("last", "fill", &[], [])], "before");
    scene.assert_indistinguishable(&[
        gives("owner", "load", &[8], int(9)),
        gives("middle", "load", &[70_000], int(10)),
        gives("last", "call next", &[], int(101)),
        gives("middle", "call next", &[], int(102)),
        gives("owner", "call", &[2], int(103)),
        gives("owner", "call", &[0], int(41)),
        gives("last", "bump", &[], []),
        gives("owner", "global of", &[], [I64(7)]),
        gives("middle", "grow", &[], [2, 3].map(I32)),
        gives("last", "sizes", &[], [3, 4].map(I32)),
        gives("last", "call", &[3], int(41)),
    ]);
}

#[test]
fn globals_hold_functions_of_other_instances_and_of_the_host() {
    let mut scene = Scene::new();
    scene.add("owner", OWNER);
    scene.add(
        "user",
        r#"(module (type $unary (func (param i32) (result i32)))
             (import "owner" "next" (func $next (result i32)))
             (import "host" "times_ten" (func $times_ten (type $unary)))
             (global $other (mut funcref) (ref.func $next))
             (global $host (mut funcref) (ref.null func))
             (table 2 funcref) (elem declare func $times_ten)
             (func (export "init") (global.set $host (ref.func $times_ten)))
             (func (export "both") (param i32) (result i32 i32)
               (table.set 0 (i32.const 0) (global.get $other))
               (table.set 0 (i32.const 1) (global.get $host))
               (call_indirect (result i32) (i32.const 0))
               (call_indirect (type $unary) (local.get 0) (i32.const 1)))
             (func (export "references") (result funcref funcref)
               (global.get $other) (global.get $host)))"#,
    );
    scene.guest.expect(&[gives("user", "init", &[], [])], "before");
    // References to imports are references to the importing instance's functions.
    let id = scene.guest.id("user");
    let references = [FuncRef::new(id, 1, 0), FuncRef::new(id, 0, 1)];
    scene.assert_indistinguishable(&[
        gives("user", "references", &[], references.map(|f| Val::FuncRef(Some(f)))),
        gives("user", "both", &[4], [101, 40].map(I32)),
        gives("owner", "next", &[], int(102)),
        gives("user", "both", &[5], [103, 50].map(I32)),
    ]);
}

#[test]
fn the_functions_of_a_failed_instance_live_on_in_a_shared_table() {
    let mut scene = Scene::new();
    scene.add("owner", OWNER);
    let failed = scene.try_add(
        "failed",
        r#"(module (import "owner" "table" (table 2 funcref)) (memory 1)
             (global $n (mut i32) (i32.const 10))
             (func $f (result i32)
               (global.set $n (i32.add (global.get $n) (i32.const 1)))
               (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (global.get $n)))
               (i32.load (i32.const 0)))
             (elem (i32.const 1) $f) (data (i32.const 0) "\e8\03\00\00")
             (data (i32.const 65536) "does not fit"))"#,
    );
    let Err(InstantiateError::Call(CallError::Trap(trap))) = failed else { panic!("{failed:?}") };
    assert_eq!(trap.code, TrapCode::MemoryOutOfBounds);
    scene.add("user", &user("owner"));
    scene.guest.expect(&[gives("owner", "call", &[1], int(1011))], "before");
    scene.assert_indistinguishable(&[
        gives("owner", "call", &[1], int(1023)),
        gives("user", "call", &[1], int(1036)),
        traps("user", "call", &[0], TrapCode::IndirectCallToNull),
    ]);
}

#[test]
fn instances_of_one_module_keep_their_own_state() {
    let mut scene = Scene::new();
    scene.add("first", OWNER);
    scene.add("second", OWNER);
    scene.add("user", &user("second"));
    let before = [
        gives("first", "next", &[], int(101)),
        gives("first", "store", &[8, 1], []),
        gives("user", "fill", &[], []),
    ];
    scene.guest.expect(&before, "before");
    scene.assert_indistinguishable(&[
        gives("first", "next", &[], int(102)),
        gives("second", "next", &[], int(101)),
        gives("first", "load", &[8], int(1)),
        gives("second", "load", &[8], int(9)),
        gives("first", "sizes", &[], [1, 2].map(I32)),
        gives("second", "sizes", &[], [2, 3].map(I32)),
        gives("second", "call", &[0], int(41)),
        traps("first", "call", &[0], TrapCode::IndirectCallToNull),
    ]);
}

#[test]
fn a_restored_store_takes_further_instances() {
    let mut scene = Scene::new();
    scene.add("owner", OWNER);
    let late = user("owner");
    scene.compile(&late);
    let path = scene.path("s.snap");
    let id = scene.guest.write(&path);
    let restored = scene.restore(&path, Trust::Own);
    assert_eq!(restored.snapshot_id(), id);

    let engine = scene.other_engine();
    let hash = crate::scene::decode(&late).hash;
    let mut store = restored.store;
    let module = crate::scene::load(&engine, hash).unwrap();
    let user = store.instantiate(&module).unwrap();
    let func =
        |store: &executor_runtime::Store, id, name: &str| store.exported_func(id, name).unwrap();
    store.call(func(&store, user, "fill"), &[]).unwrap();
    let owner = scene.guest.id("owner");
    let loaded = store.call(func(&store, owner, "load"), &[I32(8)]).unwrap();
    assert_eq!(loaded, int(9));
    let called = store.call(func(&store, owner, "call"), &[I32(0)]).unwrap();
    assert_eq!(called, int(41));
    // Such a store, partly restored and partly new, is captured as any other.
    assert_eq!(store.capture().unwrap().instances.len(), 2);
}
