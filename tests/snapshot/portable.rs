//! A snapshot is bound to its modules and not to their machine code.

use crate::process::Finish;
use crate::scene::{Failure, Guest, Scene, Trust, compiler, decode, gives, int, restore, traps};
use executor_code::file::Section;
use executor_model::{
    CallError, FunctionListener, ListenerContext, Listeners, ModuleHash, TrapCode,
    Val::{self, I32},
};
use executor_runtime::{CompiledModule, EngineConfig, NativeEngine, StoreConfig};
use std::{
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

const COUNTER: &str = r#"(module (memory 1) (table 1 funcref) (elem (i32.const 0) $add)
    (global $n (mut i32) (i32.const 0)) (type $unary (func (param i32) (result i32)))
    (func $add (type $unary)
      (global.set $n (i32.add (global.get $n) (local.get 0)))
      (i32.store (i32.const 0) (global.get $n)) (global.get $n))
    (func (export "add") (param i32) (result i32)
      (call_indirect (type $unary) (local.get 0) (i32.const 0)))
    (func (export "read") (result i32) (i32.load (i32.const 0)))
    (func (export "spin") (loop (br 0)))
    (func (export "trap") unreachable))"#;

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl FunctionListener for Log {
    fn before(&self, context: &ListenerContext<'_>, params: &[Val]) {
        self.0.lock().unwrap().push(format!("before {} {params:?}", context.func));
    }
    fn after(&self, context: &ListenerContext<'_>, results: &[Val]) {
        self.0.lock().unwrap().push(format!("after {} {results:?}", context.func));
    }
    fn abort(&self, context: &ListenerContext<'_>, _: &CallError) {
        self.0.lock().unwrap().push(format!("abort {}", context.func));
    }
}

/// A store of [`COUNTER`] at 5, and its snapshot in `s.snap`.
fn counted() -> Scene {
    let mut scene = Scene::new();
    scene.add("a", COUNTER);
    scene.guest.expect(&[gives("a", "add", &[5], int(5))], "before");
    scene.guest.write(&scene.path("s.snap"));
    scene
}

/// Restores the scene's snapshot with code compiled anew, in an engine that never saw it.
fn restore_with(
    scene: &Scene,
    listeners: &Listeners,
    ensure_termination: bool,
) -> (Guest, Arc<CompiledModule>) {
    let config = EngineConfig { compiler: Some(compiler()), ..EngineConfig::default() };
    let engine = NativeEngine::new(config).unwrap();
    let module = decode(COUNTER);
    let (code, _) = engine.compile(&module, listeners, ensure_termination, &|_| ()).unwrap();
    let find = |hash: ModuleHash| -> Result<_, Failure> {
        assert_eq!(hash, module.hash);
        Ok(Arc::clone(&code))
    };
    let path = scene.path("s.snap");
    let guest = restore(&engine, &path, Trust::Own, StoreConfig::default(), find).unwrap();
    (guest, code)
}

#[test]
fn a_snapshot_runs_with_other_machine_code_of_its_module() {
    let mut scene = counted();
    let log = Arc::new(Log::default());
    let listeners = Listeners::all(Arc::clone(&log) as Arc<dyn FunctionListener>);
    let (mut restored, code) = restore_with(&scene, &listeners, true);
    let first = scene.guest.store.module(scene.guest.id("a")).unwrap();
    let text = |code: &CompiledModule| code.code().section(Section::Text).to_vec();
    assert_ne!(text(first), text(&code), "listeners are compiled in");

    assert_eq!(restored.pictures(), scene.guest.pictures());
    assert_eq!(restored.snapshot_id(), scene.guest.snapshot_id());
    for guest in [&mut scene.guest, &mut restored] {
        guest.expect(
            &[
                gives("a", "read", &[], int(5)),
                gives("a", "add", &[2], int(7)),
                traps("a", "trap", &[], TrapCode::Unreachable),
            ],
            "after",
        );
    }
    let told = [
        "before 2 []",
        "after 2 [I32(5)]",
        "before 1 [I32(2)]",
        "before 0 [I32(2)]",
        "after 0 [I32(7)]",
        "after 1 [I32(7)]",
        "before 4 []",
        "abort 4",
    ];
    assert_eq!(*log.0.lock().unwrap(), told);
    assert_eq!(restored.snapshot_id(), scene.guest.snapshot_id(), "still the same state");
}

#[test]
fn another_process_unwinds_by_the_tables_of_the_cached_code() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (tag $t (param i32)) (global $n (mut i32) (i32.const 0))
             (func $deep (param i32)
               (if (i32.eqz (local.get 0)) (then (throw $t (global.get $n))))
               (call $deep (i32.sub (local.get 0) (i32.const 1))))
             (func (export "set") (global.set $n (i32.const 42)))
             (func (export "get") (result i32)
               (block $h (result i32) (try_table (catch $t $h) (call $deep (i32.const 100)))
                 (i32.const -1))))"#,
    );
    scene.guest.expect(&[gives("a", "set", &[], [])], "before");
    scene.guest.write(&scene.path("s.snap"));
    let mut restorer = Command::new(env!("CARGO_BIN_EXE_restorer"));
    let output = restorer.arg(scene.path("code")).arg(scene.path("s.snap")).arg("2").finish();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[I32(42)]\n", "{output:?}");
}

#[test]
fn a_restored_store_can_be_interrupted() {
    let scene = counted();
    let mut restored = scene.restore(&scene.path("s.snap"), Trust::Own);
    let interrupter = restored.store.interrupter();
    let stopper = thread::spawn(move || {
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(interrupter.interrupt());
        interrupter
    });
    restored.expect(&[traps("a", "spin", &[], TrapCode::Interrupted)], "restored");
    stopper.join().unwrap().clear();
    restored.expect(&[gives("a", "add", &[1], int(6))], "restored");
}

#[test]
fn code_that_cannot_be_interrupted_runs_the_same_snapshot() {
    let scene = counted();
    let (mut restored, _) = restore_with(&scene, &Listeners::none(), false);
    assert!(!restored.store.interrupter().interrupt(), "this code cannot be");
    assert_eq!(restored.call("a", "add", &[I32(4)]).unwrap(), int(9));
}

#[test]
fn a_store_restored_on_one_thread_runs_on_another() {
    let scene = counted();
    let mut restored = scene.restore(&scene.path("s.snap"), Trust::Own);
    let answer = thread::spawn(move || {
        restored.expect(&[traps("a", "trap", &[], TrapCode::Unreachable)], "on its own thread");
        restored.call("a", "add", &[I32(3)]).unwrap()
    });
    assert_eq!(answer.join().unwrap(), int(8));
}
