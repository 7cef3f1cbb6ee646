//! Shared memories: threads are stores that share one.

use crate::*;
use executor_model::{CallError, MemoryType, TrapCode};
use executor_runtime::{Caller, HostError, SharedMemory};
use std::{thread, time::Duration};

const PAGE: u64 = 65536;

fn ty(min: u64, max: u64) -> MemoryType {
    MemoryType { min, max: Some(max), memory64: false, shared: true, page_size_log2: 16 }
}

const USER: &str = r#"(module (memory (import "m" "m") 1 4 shared) (data $d "data")
    (func (export "add") (param i32 i32) (result i32)
      (i32.atomic.rmw.add (local.get 0) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "init") (param i32) (memory.init $d (local.get 0) (i32.const 0) (i32.const 4)))
    (func (export "fill") (param i32 i32)
      (memory.fill (local.get 0) (i32.const 7) (local.get 1)))
    (func (export "wait") (param i32 i64) (result i32)
      (memory.atomic.wait32 (local.get 0) (i32.const 0) (local.get 1)))
    (func (export "notify") (param i32 i32) (result i32)
      (memory.atomic.notify (local.get 0) (local.get 1))))"#;

/// A store with an instance of [`USER`].
fn user(engine: &NativeEngine, memory: &SharedMemory, config: StoreConfig) -> (Store, InstanceId) {
    let mut linker = Linker::new();
    linker.memory("m", "m", memory.clone());
    let mut store = Store::new(engine, linker, config).unwrap();
    let id = store.instantiate(&compile(engine, USER)).unwrap();
    (store, id)
}

fn int(result: Result<Vec<Val>, CallError>) -> i32 {
    match result.unwrap()[..] {
        [Val::I32(n)] => n,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn stores_on_several_threads_see_each_others_writes_and_growth() {
    let engine = engine();
    let memory = SharedMemory::new(ty(1, 4)).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (mut store, id) = user(&engine, &memory, StoreConfig::default());
            thread::spawn(move || {
                for _ in 0..1000 {
                    call(&mut store, id, "add", &[Val::I32(8), Val::I32(1)]).unwrap();
                }
                int(call(&mut store, id, "grow", &[Val::I32(1)]))
            })
        })
        .collect();
    let mut sizes: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [-1, 1, 2, 3], "each growth is by one, and one too many");
    assert_eq!(memory.size(), 4 * PAGE);
    let mut count = [0; 4];
    memory.read(8, &mut count).unwrap();
    assert_eq!(u32::from_le_bytes(count), 4000);
}

#[test]
fn the_host_copies_in_and_out_and_grows() {
    let engine = engine();
    let memory = SharedMemory::new(ty(1, 2)).unwrap();
    let (mut store, id) = user(&engine, &memory, StoreConfig::default());
    memory.write(PAGE - 4, &[1, 2, 3, 4]).unwrap();
    assert!(memory.write(PAGE - 3, &[9; 4]).is_err());
    let mut bytes = [0; 4];
    assert!(memory.read(u64::MAX, &mut bytes).is_err());
    let last = [Val::I32(PAGE as i32 - 4), Val::I32(1)];
    assert_eq!(int(call(&mut store, id, "add", &last)), 0x0403_0201);
    memory.read(PAGE - 4, &mut bytes).unwrap();
    assert_eq!(bytes, [2, 2, 3, 4]);
    assert_eq!(memory.grow(1), Some(1));
    assert_eq!(memory.grow(1), None);
    assert_eq!(int(call(&mut store, id, "size", &[])), 2);
    call(&mut store, id, "init", &[Val::I32(PAGE as i32)]).unwrap();
    memory.read(PAGE, &mut bytes).unwrap();
    assert_eq!(&bytes, b"data");
    let beyond = call(&mut store, id, "fill", &[Val::I32(2 * PAGE as i32 - 1), Val::I32(2)]);
    assert!(matches!(beyond, Err(CallError::Trap(t)) if t.code == TrapCode::MemoryOutOfBounds));
    memory.read(2 * PAGE - 4, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 4], "nothing was written");
}

#[test]
fn the_limit_of_a_store_holds_for_its_own_growth() {
    let engine = engine();
    let memory = SharedMemory::new(ty(1, 4)).unwrap();
    let config = StoreConfig { max_memory: 2 * PAGE, ..StoreConfig::default() };
    let (mut store, id) = user(&engine, &memory, config);
    assert_eq!(int(call(&mut store, id, "grow", &[Val::I32(2)])), -1);
    assert_eq!(int(call(&mut store, id, "grow", &[Val::I32(1)])), 1);
}

#[test]
fn a_memory_is_a_slice_only_while_nobody_else_holds_it() {
    let wat = r#"(module (import "env" "look" (func $look)) (export "look" (func $look))
        (memory (export "m") 1 4 shared) (memory (export "memory") 1))"#;
    let mut linker = Linker::new();
    linker.func("env", "look", |caller: &mut Caller<'_>| -> Result<(), HostError> {
        caller.memory().map(drop).ok_or_else(|| HostError::new("no memory"))
    });
    let (mut store, id) = instantiate_with(wat, linker);
    store.memory_mut(id, 0).unwrap()[0] = 3;
    assert!(store.shared_memory(id, 1).is_none(), "not declared shared");
    let memory = store.shared_memory(id, 0).unwrap();
    assert!(store.memory(id, 0).is_none() && store.memory_mut(id, 0).is_none());
    assert!(store.memory(id, 1).is_some(), "the other memory is its own");
    call(&mut store, id, "look", &[]).unwrap();

    // Another thread goes on with it even when the store is gone.
    let (mut other, user) = user(&engine(), &memory, StoreConfig::default());
    drop(memory);
    assert!(store.memory(id, 0).is_none(), "the other store holds it");
    assert_eq!(int(call(&mut other, user, "add", &[Val::I32(0), Val::I32(4)])), 3);
    let again = store.shared_memory(id, 0).unwrap();
    drop(other);
    drop(again);
    assert_eq!(store.memory(id, 0).unwrap()[0], 7);
    let memory = store.shared_memory(id, 0).unwrap();
    drop(store);
    let (mut other, user) = self::user(&engine(), &memory, StoreConfig::default());
    assert_eq!(int(call(&mut other, user, "add", &[Val::I32(0), Val::I32(0)])), 7);
    assert_eq!(int(call(&mut other, user, "grow", &[Val::I32(3)])), 1);
}

#[test]
fn an_instantiation_that_fails_keeps_no_memory() {
    let engine = engine();
    let exporter = r#"(module (memory (export "m") 1 1 shared))"#;
    let mut owner = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let id = owner.instantiate(&compile(&engine, exporter)).unwrap();
    let mut linker = Linker::new();
    linker.memory("m", "m", owner.shared_memory(id, 0).unwrap());
    let mut store = Store::new(&engine, linker, StoreConfig::default()).unwrap();
    let importer = r#"(module (memory (import "m" "m") 1 1 shared) (import "m" "f" (func)))"#;
    assert!(store.instantiate(&compile(&engine, importer)).is_err());
    *store.linker_mut() = Linker::new();
    assert!(owner.capture().is_ok(), "the store of the failed instance holds the memory");
}

#[test]
fn a_host_function_is_not_given_a_memory_that_others_hold() {
    let wat = r#"(module (import "env" "look" (func $look (result i32)))
        (export "look" (func $look)) (memory (export "memory") 1 1 shared))"#;
    let mut linker = Linker::new();
    linker.func("env", "look", |caller: &mut Caller<'_>| -> Result<i32, HostError> {
        Ok(i32::from(caller.memory().is_some()))
    });
    let (mut store, id) = instantiate_with(wat, linker);
    assert_eq!(int(call(&mut store, id, "look", &[])), 1);
    let memory = store.shared_memory(id, 0).unwrap();
    assert_eq!(int(call(&mut store, id, "look", &[])), 0);
    drop(memory);
    assert_eq!(int(call(&mut store, id, "look", &[])), 1);
}

#[test]
fn notify_wakes_as_many_as_it_says_in_the_order_they_came() {
    let engine = engine();
    let memory = SharedMemory::new(ty(1, 4)).unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (mut store, id) = user(&engine, &memory, StoreConfig::default());
            thread::spawn(move || int(call(&mut store, id, "wait", &[Val::I32(16), Val::I64(-1)])))
        })
        .collect();
    let (mut store, id) = user(&engine, &memory, StoreConfig::default());
    let mut notify =
        |at, count| int(call(&mut store, id, "notify", &[Val::I32(at), Val::I32(count)]));
    let mut woken = 0;
    while woken < 2 {
        woken += notify(16, 2 - woken);
        thread::yield_now();
    }
    assert_eq!(notify(20, -1), 0, "nobody waits elsewhere");
    while woken < 3 {
        woken += notify(16, -1);
        thread::yield_now();
    }
    assert_eq!(waiting.into_iter().map(|t| t.join().unwrap()).sum::<i32>(), 0);
}

#[test]
fn a_waiting_thread_is_interrupted_and_closed() {
    let engine = engine();
    let memory = SharedMemory::new(ty(1, 4)).unwrap();
    for close in [false, true] {
        let (mut store, id) = user(&engine, &memory, StoreConfig::default());
        let interrupter = store.interrupter();
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            match close {
                true => interrupter.close(id, 4),
                false => assert!(interrupter.interrupt()),
            }
        });
        match call(&mut store, id, "wait", &[Val::I32(0), Val::I64(-1)]) {
            Err(CallError::Trap(trap)) if !close => assert_eq!(trap.code, TrapCode::Interrupted),
            Err(CallError::Closed(4)) if close => {}
            other => panic!("{other:?}"),
        }
        stopper.join().unwrap();
        let (mut other, id) = user(&engine, &memory, StoreConfig::default());
        let left = int(call(&mut other, id, "notify", &[Val::I32(0), Val::I32(-1)]));
        assert_eq!(left, 0, "it waits no longer");
    }
}

#[test]
fn a_type_that_cannot_be_shared_is_refused() {
    for ty in [
        MemoryType { shared: false, ..ty(1, 2) },
        MemoryType { max: None, ..ty(1, 2) },
        ty(2, 1),
        MemoryType { memory64: true, ..ty(1 << 40, 1 << 40) },
    ] {
        assert!(SharedMemory::new(ty).is_err(), "{ty:?}");
    }
    let engine = engine();
    let memory = SharedMemory::new(ty(1, 4)).unwrap();
    for wanted in ["1 3 shared", "2 4 shared", "1 4", "i64 1 4 shared"] {
        let mut linker = Linker::new();
        linker.memory("m", "m", memory.clone());
        let module = compile(&engine, &format!(r#"(module (memory (import "m" "m") {wanted}))"#));
        let mut store = Store::new(&engine, linker, StoreConfig::default()).unwrap();
        let refusal = store.instantiate(&module).unwrap_err().to_string();
        assert!(refusal.starts_with("incompatible import type"), "{refusal}");
    }
}
