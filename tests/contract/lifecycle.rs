//! What becomes of compiled code: counted, deleted, closed, and kept as long as it is called.

use crate::world::{Subject, World, module};
use executor_model::{
    CallError, EngineError, FunctionListener, InstanceId, ListenerContext, Listeners, Module,
    ModuleEngine, Val,
};
use std::sync::{
    Arc, Mutex,
    mpsc::{Receiver, Sender, channel},
};

const ANSWER: &str = r#"(module (func (export "f") (result i32) (i32.const 42)))"#;
const OTHER: &str = r#"(module (func (export "f") (result i32) (i32.const 43)))"#;
/// The outer function goes on after the inner one, so it needs its code once the inner returned.
const NESTED: &str = r#"(module
    (func $inner (result i32) (i32.const 20))
    (func (export "f") (result i32) (i32.add (call $inner) (i32.add (call $inner) (i32.const 2)))))"#;

fn compile<E: Subject>(engine: &Arc<E>, text: &str) -> Module {
    let module = module(text);
    engine.compile_module(&module, &Listeners::none(), true).unwrap();
    module
}

pub fn compiling_counts_each_module_once<E: Subject>(engine: &Arc<E>) {
    assert_eq!(engine.compiled_module_count(), 0);
    compile(engine, ANSWER);
    assert_eq!(engine.compiled_module_count(), 1);
    compile(engine, ANSWER);
    assert_eq!(engine.compiled_module_count(), 1);
    compile(engine, OTHER);
    assert_eq!(engine.compiled_module_count(), 2);
}

pub fn deleting_forgets_one_module_and_no_other<E: Subject>(engine: &Arc<E>) {
    let (answer, other) = (compile(engine, ANSWER), compile(engine, OTHER));
    engine.delete_compiled_module(&answer);
    assert_eq!(engine.compiled_module_count(), 1);
    engine.delete_compiled_module(&answer);
    assert_eq!(engine.compiled_module_count(), 1, "what is not there is not deleted twice");
    let mut world = World::new(engine);
    assert!(engine.new_module_engine(&answer, &mut world.store).is_err());
    let id = world.allocate(&other);
    world.view(id).done_instantiation().unwrap();
    assert_eq!(world.number(id, "f", &[]), 43);
}

pub fn a_deleted_module_is_compiled_again<E: Subject>(engine: &Arc<E>) {
    engine.delete_compiled_module(&compile(engine, ANSWER));
    assert_eq!(engine.compiled_module_count(), 0);
    let mut world = World::new(engine);
    let id = world.add(ANSWER);
    assert_eq!(engine.compiled_module_count(), 1);
    assert_eq!(world.number(id, "f", &[]), 42);
}

pub fn a_module_that_is_not_compiled_has_no_instances<E: Subject>(engine: &Arc<E>) {
    let module = module(ANSWER);
    let mut store = engine.new_store().unwrap();
    match engine.new_module_engine(&module, &mut store) {
        Err(EngineError::NotCompiled(hash)) => assert_eq!(hash, module.hash),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("an instance without code"),
    }
    let first = InstanceId::from_position(0);
    assert!(engine.module_engine(&mut store, first).is_none(), "nothing is left behind");
}

pub fn an_instance_outlives_its_deleted_module<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(NESTED);
    engine.delete_compiled_module(&world.module(id).clone());
    assert_eq!(engine.compiled_module_count(), 0);
    assert_eq!(world.number(id, "f", &[]), 42);
}

/// Does something in the middle of every call.
struct During<F>(F);

impl<F: Fn() + Send + Sync> FunctionListener for During<F> {
    fn before(&self, _: &ListenerContext<'_>, _: &[Val]) {
        (self.0)();
    }
    fn after(&self, _: &ListenerContext<'_>, _: &[Val]) {}
    fn abort(&self, context: &ListenerContext<'_>, error: &CallError) {
        panic!("function {} ends with {error}", context.func);
    }
}

/// An instance of [`NESTED`] whose calls do `during` as each of its functions begins.
fn world_with<E: Subject>(
    engine: &Arc<E>,
    during: impl Fn() + Send + Sync + 'static,
) -> (World<E>, InstanceId) {
    let module = module(NESTED);
    let listeners = Listeners::all(Arc::new(During(during)));
    engine.compile_module(&module, &listeners, true).unwrap();
    let mut world = World::new(engine);
    let id = world.allocate(&module);
    world.view(id).done_instantiation().unwrap();
    (world, id)
}

pub fn a_call_finishes_when_its_module_is_deleted_under_it<E: Subject>(engine: &Arc<E>) {
    let (own, deleted) = (Arc::clone(engine), module(NESTED));
    let (mut world, id) = world_with(engine, move || {
        own.delete_compiled_module(&deleted);
        assert_eq!(own.compiled_module_count(), 0);
    });
    assert_eq!(world.number(id, "f", &[]), 42);
    assert_eq!(world.number(id, "f", &[]), 42);
}

pub fn a_call_finishes_when_another_thread_deletes_its_module<E: Subject>(engine: &Arc<E>) {
    let (begun, has_begun): (Sender<()>, Receiver<()>) = channel();
    let (go_on, may_go_on): (Sender<()>, Receiver<()>) = channel();
    let ends = Mutex::new((begun, may_go_on));
    let (mut world, id) = world_with(engine, move || {
        let (begun, may_go_on) = &*ends.lock().unwrap();
        begun.send(()).unwrap();
        may_go_on.recv().unwrap();
    });
    let deleted = world.module(id).clone();
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(move || world.number(id, "f", &[]));
        for call_of_three in 0..3 {
            has_begun.recv().unwrap();
            if call_of_three == 0 {
                engine.delete_compiled_module(&deleted);
                assert_eq!(engine.compiled_module_count(), 0);
            }
            go_on.send(()).unwrap();
        }
        call.join().unwrap()
    });
    assert_eq!(answer, 42);
}

pub fn a_call_finishes_when_its_engine_is_closed_under_it<E: Subject>(engine: &Arc<E>) {
    let own = Arc::clone(engine);
    let (mut world, id) = world_with(engine, move || own.close().unwrap());
    assert_eq!(world.number(id, "f", &[]), 42);
    assert!(matches!(engine.new_store(), Err(EngineError::Closed)), "it was closed meanwhile");
}

pub fn a_closed_engine_refuses_all_but_the_instances_that_exist<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(ANSWER);
    let module = world.module(id).clone();
    engine.close().unwrap();
    engine.close().unwrap();
    assert_eq!(engine.compiled_module_count(), 0);
    assert!(matches!(engine.new_store(), Err(EngineError::Closed)));
    let compiled = engine.compile_module(&module, &Listeners::none(), true);
    assert!(matches!(compiled, Err(EngineError::Closed)));
    let another = engine.new_module_engine(&module, &mut world.store).map(|view| view.instance());
    assert!(matches!(another, Err(EngineError::Closed)));
    engine.delete_compiled_module(&module);
    assert_eq!(world.number(id, "f", &[]), 42);
}

pub fn ensure_termination_changes_no_answer<E: Subject>(engine: &Arc<E>) {
    for ensure_termination in [false, true] {
        let module = module(NESTED);
        engine.compile_module(&module, &Listeners::none(), ensure_termination).unwrap();
        let mut world = World::new(engine);
        let id = world.allocate(&module);
        world.view(id).done_instantiation().unwrap();
        assert_eq!(world.number(id, "f", &[]), 42);
    }
    assert_eq!(engine.compiled_module_count(), 1);
}

pub fn instances_are_numbered_in_order_and_found_again<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    for (position, text) in [ANSWER, OTHER, ANSWER].into_iter().enumerate() {
        let id = world.add(text);
        assert_eq!(id, InstanceId::from_position(position));
        assert_eq!(world.view(id).instance(), id);
    }
    let second = InstanceId::from_position(1);
    assert_eq!(world.number(second, "f", &[]), 43);
    let beyond = InstanceId::from_position(3);
    assert!(engine.module_engine(&mut world.store, beyond).is_none());
    let mut apart = engine.new_store().unwrap();
    assert!(engine.module_engine(&mut apart, second).is_none(), "stores share no instances");
}

pub fn a_module_has_many_instances_with_state_of_their_own<E: Subject>(engine: &Arc<E>) {
    let text = r#"(module (memory 1) (global $n (mut i32) (i32.const 0))
        (func (export "add") (param i32) (result i32)
          (global.set $n (i32.add (global.get $n) (local.get 0)))
          (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get 0)))
          (i32.add (global.get $n) (i32.load (i32.const 0)))))"#;
    let mut world = World::new(engine);
    let (a, b) = (world.add(text), world.add(text));
    assert_eq!(world.number(a, "add", &[5]), 10);
    assert_eq!(world.number(b, "add", &[1]), 2);
    assert_eq!(world.number(a, "add", &[1]), 12);
}
