//! Memories and tables of every kind: several, 64-bit, of small pages, shared.

use crate::scene::{Scene, Trust, gives, int, load, restore, traps};
use executor_model::{
    TrapCode,
    Val::{I32, I64},
};
use executor_runtime::{CaptureError, Linker, Store, StoreConfig};
use std::fs;

#[test]
fn several_memories_of_different_kinds_keep_their_contents_sizes_and_limits() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module
             (memory $plain 1 2) (memory $wide i64 1 3) (memory $small 5 9000 (pagesize 1))
             (memory $shared 1 2 shared)
             (func $start
               (i32.store $plain (i32.const 65532) (i32.const 1))
               (drop (memory.grow $wide (i64.const 1)))
               (i32.store $wide (i64.const 131068) (i32.const 2))
               (drop (memory.grow $small (i32.const 4098)))
               (i32.store8 $small (i32.const 4102) (i32.const 3))
               (i32.atomic.store $shared (i32.const 8) (i32.const 4)))
             (start $start)
             (func (export "loads") (result i32 i32 i32 i32)
               (i32.load $plain (i32.const 65532)) (i32.load $wide (i64.const 131068))
               (i32.load8_u $small (i32.const 4102)) (i32.atomic.load $shared (i32.const 8)))
             (func (export "sizes") (result i32 i64 i32 i32)
               (memory.size $plain) (memory.size $wide) (memory.size $small)
               (memory.size $shared))
             (func (export "wide") (param i32) (result i32)
               (i32.load8_u $wide (i64.extend_i32_u (local.get 0))))
             (func (export "small") (param i32) (result i32) (i32.load8_u $small (local.get 0)))
             (func (export "shared") (param i32) (result i32)
               (i32.atomic.rmw.add $shared (local.get 0) (i32.const 10)))
             (func (export "notify") (result i32)
               (memory.atomic.notify $shared (i32.const 8) (i32.const 1)))
             (func (export "grow") (param i32) (result i32 i64 i32 i32)
               (memory.grow $plain (local.get 0))
               (memory.grow $wide (i64.extend_i32_u (local.get 0)))
               (memory.grow $small (local.get 0))
               (memory.grow $shared (local.get 0))))"#,
    );
    let outside = TrapCode::MemoryOutOfBounds;
    scene.assert_indistinguishable(&[
        gives("a", "loads", &[], [1, 2, 3, 4].map(I32)),
        gives("a", "sizes", &[], [I32(1), I64(2), I32(4103), I32(1)]),
        traps("a", "wide", &[131_072], outside),
        traps("a", "small", &[4103], outside),
        gives("a", "shared", &[8], int(4)),
        gives("a", "shared", &[8], int(14)),
        gives("a", "notify", &[], int(0)),
        gives("a", "grow", &[1], [I32(1), I64(2), I32(4103), I32(1)]),
        gives("a", "small", &[4103], int(0)),
        traps("a", "small", &[4104], outside),
        gives("a", "wide", &[196_607], int(0)),
        gives("a", "grow", &[1], [I32(-1), I64(-1), I32(4104), I32(-1)]),
        gives("a", "loads", &[], [1, 2, 3, 24].map(I32)),
    ]);
}

#[test]
fn a_table_with_64_bit_indices_is_kept() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (table $t i64 2 9 funcref) (elem (i64.const 1) func $f)
             (func $f (result i32) (i32.const 6))
             (func (export "init") (drop (table.grow $t (ref.func $f) (i64.const 2))))
             (func (export "call") (param i32) (result i32)
               (call_indirect $t (result i32) (i64.extend_i32_s (local.get 0))))
             (func (export "size") (result i64) (table.size $t)))"#,
    );
    scene.guest.expect(&[gives("a", "init", &[], [])], "before");
    scene.assert_indistinguishable(&[
        gives("a", "size", &[], [I64(4)]),
        gives("a", "call", &[3], int(6)),
        traps("a", "call", &[0], TrapCode::IndirectCallToNull),
        traps("a", "call", &[-1], TrapCode::UndefinedElement),
    ]);
}

#[test]
fn a_linked_memory_stays_of_its_kind() {
    let mut scene = Scene::new();
    scene.add(
        "owner",
        r#"(module (memory (export "wide") i64 1 2)
             (memory (export "small") 10 20 (pagesize 1))
             (memory (export "shared") 1 2 shared))"#,
    );
    scene.add(
        "user",
        r#"(module (memory $wide (import "owner" "wide") i64 1)
             (memory $small (import "owner" "small") 10 (pagesize 1))
             (memory $shared (import "owner" "shared") 1 2 shared)
             (data (memory $wide) (i64.const 7) "\01") (data (memory $small) (i32.const 9) "\02")
             (data (memory $shared) (i32.const 3) "\03")
             (func (export "loads") (param i32) (result i32 i32 i32)
               (i32.load8_u $wide (i64.extend_i32_u (i32.add (local.get 0) (i32.const 7))))
               (i32.load8_u $small (i32.add (local.get 0) (i32.const 9)))
               (i32.load8_u $shared (i32.add (local.get 0) (i32.const 3)))))"#,
    );
    scene.assert_indistinguishable(&[
        gives("user", "loads", &[0], [1, 2, 3].map(I32)),
        traps("user", "loads", &[1], TrapCode::MemoryOutOfBounds),
    ]);
}

#[test]
fn a_link_to_a_memory_of_another_kind_is_refused() {
    let mut scene = Scene::new();
    scene.add("owner", r#"(module (memory (export "a") 1 1) (memory (export "b") i64 1 1))"#);
    let user = scene.add(
        "user",
        r#"(module (memory (import "owner" "a") 1) (memory (import "owner" "b") i64 1))"#,
    );
    let path = scene.path("s.snap");
    scene.guest.write(&path);
    let links = {
        let counts = *scene.guest.store.module(user).unwrap().code().counts();
        let state = scene.guest.store.capture().unwrap();
        let at = counts.memory_link(0) as usize;
        state.instances[1].block[at..at + 32].to_vec()
    };
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(32).position(|window| window == links).unwrap();
    bytes[at..at + 32].rotate_left(16);
    executor_snapshot::format::reseal(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let engine = scene.other_engine();
    let config = StoreConfig::default();
    let code = |hash| load(&engine, hash);
    let refusal = restore(&engine, &path, Trust::Elsewhere, config, code).err().unwrap();
    assert!(refusal.to_string().contains("imported memory 0 of instance 2"), "{refusal}");
}

const SHARED: &str = r#"(module (memory (export "memory") 1 2 shared)
    (func (export "load") (result i32) (i32.atomic.load (i32.const 0))))"#;

#[test]
fn a_memory_that_others_hold_is_refused_by_name_until_they_drop_it() {
    let mut scene = Scene::new();
    let owner = scene.add("owner", SHARED);
    let id = scene.guest.snapshot_id();
    let memory = scene.guest.store.shared_memory(owner, 0).unwrap();
    let refusal = scene.guest.store.capture().unwrap_err();
    let CaptureError::SharedMemory { instance, .. } = refusal else { panic!("{refusal}") };
    assert_eq!(instance, owner);
    assert!(refusal.to_string().contains("memory 0 (\"memory\")"), "{refusal}");

    // The other store can be captured even less: what it shares is not its own.
    let mut linker = Linker::new();
    linker.memory("m", "m", memory);
    let mut other = Store::new(&scene.engine, linker, StoreConfig::default()).unwrap();
    let user = scene.compile(
        r#"(module (memory (import "m" "m") 1 2 shared)
             (func (export "store") (i32.atomic.store (i32.const 0) (i32.const 5))))"#,
    );
    let user = other.instantiate(&user).unwrap();
    let refusal = other.capture().unwrap_err();
    assert!(matches!(refusal, CaptureError::SharedMemory { .. }), "{refusal}");
    other.call(other.exported_func(user, "store").unwrap(), &[]).unwrap();
    assert!(scene.guest.store.capture().is_err(), "the other store still holds it");

    drop(other);
    assert_ne!(scene.guest.snapshot_id(), id, "what the other store wrote is captured");
    scene.assert_indistinguishable(&[gives("owner", "load", &[], int(5))]);
}
