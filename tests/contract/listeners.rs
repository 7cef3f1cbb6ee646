//! Listeners: told of the calls of a module's own functions, and of how they end.

use crate::world::{Subject, World, module};
use executor_model::{
    CallError, FunctionListener, InstanceId, ListenerContext, Listeners, ModuleEngine, TrapCode,
    Val,
};
use std::sync::{Arc, Mutex};

#[derive(Debug, PartialEq)]
enum Event {
    Before(u32, Vec<Val>),
    After(u32, Vec<Val>),
    Abort(u32, TrapCode),
}
use Event::{Abort, After, Before};

#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl Log {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl FunctionListener for Log {
    fn before(&self, context: &ListenerContext<'_>, params: &[Val]) {
        self.0.lock().unwrap().push(Before(context.func, params.to_vec()));
    }
    fn after(&self, context: &ListenerContext<'_>, results: &[Val]) {
        self.0.lock().unwrap().push(After(context.func, results.to_vec()));
    }
    fn abort(&self, context: &ListenerContext<'_>, error: &CallError) {
        let CallError::Trap(trap) = error else { panic!("{error}") };
        self.0.lock().unwrap().push(Abort(context.func, trap.code));
    }
}

const CALLS: &str = r#"(module
    (table 1 funcref)
    (func $twice (param i32) (result i32) (i32.add (local.get 0) (local.get 0)))
    (func (export "f") (param i32 i64) (result i64 i32)
      (local.get 1) (call $twice (i32.add (local.get 0) (i32.const 1))))
    (func $fails unreachable)
    (func (export "g") (call $fails))
    (start 4) (func $start (drop (call $twice (i32.const 3)))))"#;

fn add<E: Subject>(engine: &Arc<E>, world: &mut World<E>, listeners: &Listeners) -> InstanceId {
    let module = module(CALLS);
    engine.compile_module(&module, listeners, true).unwrap();
    let id = world.allocate(&module);
    world.view(id).done_instantiation().unwrap();
    id
}

fn log() -> (Arc<Log>, Listeners) {
    let log = Arc::new(Log::default());
    (Arc::clone(&log), Listeners::all(log))
}

pub fn a_listener_sees_every_call_with_its_values<E: Subject>(engine: &Arc<E>) {
    let (log, listeners) = log();
    let mut world = World::new(engine);
    let id = add(engine, &mut world, &listeners);
    let start = [
        Before(4, vec![]),
        Before(0, vec![Val::I32(3)]),
        After(0, vec![Val::I32(6)]),
        After(4, vec![]),
    ];
    assert_eq!(log.take(), start);
    let results = world.call(id, "f", &[Val::I32(-3), Val::I64(9)]).unwrap();
    assert_eq!(results, [Val::I64(9), Val::I32(-4)]);
    let calls = [
        Before(1, vec![Val::I32(-3), Val::I64(9)]),
        Before(0, vec![Val::I32(-2)]),
        After(0, vec![Val::I32(-4)]),
        After(1, vec![Val::I64(9), Val::I32(-4)]),
    ];
    assert_eq!(log.take(), calls);
}

pub fn a_listener_sees_a_trap_innermost_first<E: Subject>(engine: &Arc<E>) {
    let (log, listeners) = log();
    let mut world = World::new(engine);
    let id = add(engine, &mut world, &listeners);
    log.take();
    world.call(id, "g", &[]).unwrap_err();
    let code = TrapCode::Unreachable;
    assert_eq!(log.take(), [Before(3, vec![]), Before(2, vec![]), Abort(2, code), Abort(3, code)]);
}

pub fn a_listener_does_not_see_imported_functions<E: Subject>(engine: &Arc<E>) {
    let (log, listeners) = log();
    let mut world = World::new(engine);
    let library = world.add(r#"(module (func (result i32) (i32.const 5)))"#);
    let module = module(
        r#"(module (import "a" "b" (func $imported (result i32)))
             (func (export "f") (result i32) (call $imported)))"#,
    );
    engine.compile_module(&module, &listeners, true).unwrap();
    let id = world.allocate(&module);
    let ty = module.info.functions[0];
    world.view(id).resolve_imported_function(0, ty, 0, library).unwrap();
    world.view(id).done_instantiation().unwrap();
    assert_eq!(world.number(id, "f", &[]), 5);
    assert_eq!(log.take(), [Before(1, vec![]), After(1, vec![Val::I32(5)])]);
}

pub fn the_listeners_of_the_last_compilation_hold<E: Subject>(engine: &Arc<E>) {
    let ((first, first_listeners), (second, second_listeners)) = (log(), log());
    let mut world = World::new(engine);
    add(engine, &mut world, &first_listeners);
    assert!(!first.take().is_empty());
    let id = add(engine, &mut world, &second_listeners);
    world.call(id, "f", &[Val::I32(0), Val::I64(0)]).unwrap();
    assert_eq!(first.take(), []);
    assert_eq!(second.take().len(), 8, "the start function, `f`, and `twice` in each");
    let id = add(engine, &mut world, &Listeners::none());
    world.call(id, "f", &[Val::I32(0), Val::I64(0)]).unwrap();
    assert_eq!((first.take(), second.take()), (vec![], vec![]));
}
