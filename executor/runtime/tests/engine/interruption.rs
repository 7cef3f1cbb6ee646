//! Interruption: a deadline and closing stop a call wherever it is.

use crate::*;
use executor_model::{CallError, TrapCode};
use executor_runtime::{Caller, HostError, Interrupter};
use std::{sync::OnceLock, time::Duration};

const LOOPS: &str = r#"(module (import "env" "nap" (func $nap))
    (func (export "spin") (loop br 0))
    (func (export "naps") (loop (call $nap) br 0))
    (func (export "one") (result i32) i32.const 1))"#;

fn linker() -> Linker {
    let mut linker = Linker::new();
    linker.func("env", "nap", |_: &mut Caller<'_>| -> Result<(), HostError> { Ok(()) });
    linker
}

fn is_interrupted(result: Result<Vec<Val>, CallError>) -> bool {
    matches!(result, Err(CallError::Trap(trap)) if trap.code == TrapCode::Interrupted)
}

#[test]
fn an_endless_loop_is_stopped_from_another_thread() {
    let (mut store, id) = instantiate_with(LOOPS, linker());
    for (round, name) in ["spin", "naps", "spin", "naps"].into_iter().enumerate() {
        let interrupter = store.interrupter();
        let watchdog = std::thread::spawn({
            let interrupter = interrupter.clone();
            move || {
                // Different moments, so that host code, stubs and machine code are all met.
                std::thread::sleep(Duration::from_micros(300 * (1 + round as u64 * 7)));
                assert!(interrupter.interrupt());
            }
        });
        assert!(is_interrupted(call(&mut store, id, name, &[])));
        watchdog.join().unwrap();
        assert!(is_interrupted(call(&mut store, id, "one", &[])), "until it is cleared");
        interrupter.clear();
        assert_eq!(call(&mut store, id, "one", &[]).unwrap(), [Val::I32(1)]);
    }
}

#[test]
fn many_interrupts_at_random_moments_are_never_lost() {
    let (mut store, id) = instantiate_with(LOOPS, linker());
    let interrupter = store.interrupter();
    for round in 0..400u64 {
        let watchdog = std::thread::spawn({
            let interrupter = interrupter.clone();
            move || {
                for _ in 0..(round * 37) % 500 {
                    std::hint::spin_loop();
                }
                interrupter.interrupt();
            }
        });
        let name = if round % 3 == 0 { "spin" } else { "naps" };
        assert!(is_interrupted(call(&mut store, id, name, &[])));
        watchdog.join().unwrap();
        interrupter.clear();
    }
}

#[test]
fn closing_stops_the_call_and_refuses_later_ones() {
    let (mut store, id) = instantiate_with(LOOPS, linker());
    let interrupter = store.interrupter();
    let closer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(3));
        interrupter.close(id, 9);
    });
    assert!(matches!(call(&mut store, id, "spin", &[]), Err(CallError::Closed(9))));
    closer.join().unwrap();
    assert!(matches!(call(&mut store, id, "one", &[]), Err(CallError::Closed(9))));
}

#[test]
fn closing_an_instance_whose_call_ends_by_itself_stops_no_other() {
    let closing: Arc<OnceLock<(Interrupter, InstanceId)>> = Arc::default();
    let mut linker = Linker::new();
    linker.func("env", "nap", {
        let closing = Arc::clone(&closing);
        move |_: &mut Caller<'_>| -> Result<(), HostError> {
            let (interrupter, id) = closing.get().unwrap();
            interrupter.close(*id, 9);
            Err(HostError::Exit(3))
        }
    });
    let engine = engine();
    let module = compile(&engine, LOOPS);
    let mut store = Store::new(&engine, linker, StoreConfig::default()).unwrap();
    let (id, other) = (store.instantiate(&module).unwrap(), store.instantiate(&module).unwrap());
    closing.set((store.interrupter(), id)).unwrap();
    assert!(matches!(call(&mut store, id, "naps", &[]), Err(CallError::Exit(3))));
    assert_eq!(call(&mut store, other, "one", &[]).unwrap(), [Val::I32(1)]);
    assert!(matches!(call(&mut store, id, "one", &[]), Err(CallError::Closed(9))));
}

#[test]
fn an_instantiation_that_fails_leaves_a_store_that_can_be_interrupted() {
    let engine = engine();
    let wasm = wat::parse_str(r#"(module (import "env" "missing" (func)))"#).unwrap();
    let module = engine.decode(&wasm, ModuleHash::of(&wasm)).unwrap();
    let (module, _) = engine.compile(&module, &Listeners::none(), false, QUIET).unwrap();
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    assert!(store.instantiate(&module).is_err());
    assert_eq!(store.instance_count(), 0);
    assert!(store.interrupter().interrupt());
}

#[test]
fn a_module_compiled_without_ensure_termination_is_not_interrupted() {
    let engine = engine();
    let wasm = wat::parse_str(r#"(module (func (export "f")))"#).unwrap();
    let module = engine.decode(&wasm, ModuleHash::of(&wasm)).unwrap();
    let (module, _) = engine.compile(&module, &Listeners::none(), false, QUIET).unwrap();
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let id = store.instantiate(&module).unwrap();
    assert!(!store.interrupter().interrupt());
    assert!(call(&mut store, id, "f", &[]).is_ok());
}
