//! Resolving imports: what is shared stays shared, and what does not match is refused.

use crate::world::{Subject, World, trap_of};
use executor_model::{InstanceId, LinkError, ModuleEngine, TrapCode, Val};
use std::sync::Arc;

fn incompatible(result: Result<(), LinkError>) {
    let Err(LinkError::Incompatible { module, name, .. }) = result else { panic!("{result:?}") };
    assert_eq!((&*module, &*name), ("a", "b"), "the import is named");
}

fn bad_index(result: Result<(), LinkError>) {
    assert!(matches!(result, Err(LinkError::Index(_))), "{result:?}");
}

pub fn a_function_is_called_across_instances<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library = world.add(
        r#"(module (global $calls (mut i32) (i32.const 0))
             (func (param i64))
             (func (param i32) (result i32)
               (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
               (i32.add (i32.mul (local.get 0) (i32.const 10)) (global.get $calls))))"#,
    );
    let user = world.begin(
        r#"(module (type $wanted (func (param i32) (result i32)))
             (import "a" "other" (func (param i64))) (import "a" "b" (func $f (type $wanted)))
             (func (export "f") (param i32) (result i32)
               (i32.add (call $f (local.get 0)) (call $f (local.get 0)))))"#,
    );
    let types = world.module(user).info.functions.clone();
    world.view(user).resolve_imported_function(0, types[0], 0, library).unwrap();
    world.view(user).resolve_imported_function(1, types[1], 1, library).unwrap();
    world.view(user).done_instantiation().unwrap();
    assert_eq!(world.number(user, "f", &[4]), 83);
    // An imported function can be called itself: it is the other instance's.
    let mut view = world.view(user);
    let mut imported = view.new_function(1).unwrap();
    assert_eq!(imported.call(&[Val::I32(1)]).unwrap(), [Val::I32(13)]);
}

pub fn a_function_of_another_type_is_refused<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library = world.add("(module (func) (func (param i32)) (func (result i32) (i32.const 0)))");
    let user = world.begin(r#"(module (type (func (param i64))) (import "a" "b" (func)) (func))"#);
    let ty = world.module(user).info.functions[0];
    let mut view = world.view(user);
    incompatible(view.resolve_imported_function(0, ty, 1, library));
    incompatible(view.resolve_imported_function(0, ty, 2, library));
    bad_index(view.resolve_imported_function(0, 0, 0, library));
    view.resolve_imported_function(0, ty, 0, library).unwrap();
    view.done_instantiation().unwrap();
}

pub fn a_memory_is_shared<E: Subject>(engine: &Arc<E>) {
    let text = |declaration: &str, size: i32| {
        format!(
            r#"(module {declaration}
                 (func (export "load") (result i32) (i32.load (i32.const {size})))
                 (func (export "store") (param i32) (i32.store (i32.const {size}) (local.get 0)))
                 (func (export "size") (result i32) (memory.size))
                 (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#
        )
    };
    let mut world = World::new(engine);
    let owner = world.add(&text("(memory 1 3)", 65536));
    let user = world.begin(&text(r#"(import "a" "b" (memory 1 4))"#, 65536));
    world.view(user).resolve_imported_memory(0, 0, owner).unwrap();
    world.view(user).done_instantiation().unwrap();
    for id in [owner, user] {
        assert_eq!(trap_of(world.call(id, "load", &[])), TrapCode::MemoryOutOfBounds);
    }
    assert_eq!(world.number(user, "grow", &[1]), 1);
    assert_eq!(world.number(owner, "size", &[]), 2);
    world.call(owner, "store", &[Val::I32(7)]).unwrap();
    assert_eq!(world.number(user, "load", &[]), 7);
    // The owner's own maximum holds, not the importer's.
    assert_eq!(world.number(user, "grow", &[2]), -1);
    assert_eq!(world.number(owner, "grow", &[1]), 2);
    assert_eq!(world.number(user, "size", &[]), 3);
}

pub fn a_memory_of_other_limits_is_refused<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library = world.add(r#"(module (memory 2 5))"#);
    let unlimited = world.add("(module (memory 2))");
    let mut ask = |limits: &str, of: InstanceId| {
        let user = world.begin(&format!(r#"(module (import "a" "b" (memory {limits})))"#));
        world.view(user).resolve_imported_memory(0, 0, of)
    };
    for fits in ["0", "2", "2 5", "1 9"] {
        assert_eq!(ask(fits, library), Ok(()), "{fits}");
    }
    incompatible(ask("3", library));
    incompatible(ask("2 4", library));
    incompatible(ask("2 9", unlimited));
}

const TABLE: &str = r#"
    (type $answer (func (result i32)))
    (func (export "call") (param i32) (result i32)
      (call_indirect (type $answer) (local.get 0)))
    (func (export "set") (param i32 funcref) (table.set 0 (local.get 0) (local.get 1)))
    (func (export "get") (param i32) (result funcref) (table.get 0 (local.get 0)))"#;

pub fn a_table_is_shared<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let owner = world.add(&format!(
        r#"(module (table 3 funcref) {TABLE} (func $own (result i32) (i32.const 1))
             (elem (i32.const 0) $own))"#
    ));
    // Another type before, so that the same type has another index.
    let user = world.begin(&format!(
        r#"(module (type (func (param f32))) (import "a" "b" (table 2 funcref)) {TABLE}
             (global $n i32 (i32.const 2))
             (func $mine (result i32) (global.get $n)) (func $unfit (param i32))
             (elem (i32.const 1) $mine $unfit))"#
    ));
    world.view(user).resolve_imported_table(0, 0, owner).unwrap();
    world.view(user).done_instantiation().unwrap();
    for id in [owner, user] {
        assert_eq!(world.number(id, "call", &[0]), 1);
        assert_eq!(world.number(id, "call", &[1]), 2);
        let mismatch = trap_of(world.call(id, "call", &[Val::I32(2)]));
        assert_eq!(mismatch, TrapCode::IndirectCallTypeMismatch);
    }
    let mine = world.call(owner, "get", &[Val::I32(1)]).unwrap();
    world.call(owner, "set", &[Val::I32(0), mine[0]]).unwrap();
    assert_eq!(world.number(user, "call", &[0]), 2);
}

pub fn a_table_of_another_type_is_refused<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library = world.add("(module (table 2 5 funcref) (table 2 5 externref))");
    let mut ask = |ty: &str, index: u32| {
        let user = world.begin(&format!(r#"(module (import "a" "b" (table {ty})))"#));
        world.view(user).resolve_imported_table(0, index, library)
    };
    for (fits, index) in [("2 funcref", 0), ("1 5 funcref", 0), ("0 7 externref", 1)] {
        assert_eq!(ask(fits, index), Ok(()), "{fits}");
    }
    incompatible(ask("2 funcref", 1));
    incompatible(ask("2 externref", 0));
    incompatible(ask("3 funcref", 0));
    incompatible(ask("2 4 funcref", 0));
}

pub fn a_global_is_shared<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let owner = world.add(
        r#"(module (global $m (mut i32) (i32.const 5)) (global i64 (i64.const 1))
             (func (export "add") (global.set $m (i32.add (global.get $m) (i32.const 1)))))"#,
    );
    let user = world.begin(
        r#"(module (import "a" "c" (global $i i64)) (import "a" "b" (global $m (mut i32)))
             (global $copy i64 (global.get $i))
             (func (export "add") (global.set $m (i32.mul (global.get $m) (i32.const 2)))))"#,
    );
    let mut view = world.view(user);
    view.resolve_imported_global(0, 1, owner).unwrap();
    view.resolve_imported_global(1, 0, owner).unwrap();
    view.done_instantiation().unwrap();
    assert_eq!(view.get_global_value(2), Some((1, 0)), "initialised from an imported global");
    drop(view);
    world.call(owner, "add", &[]).unwrap();
    world.call(user, "add", &[]).unwrap();
    assert_eq!(world.view(owner).get_global_value(0), Some((12, 0)));
    assert!(world.view(user).set_global_value(1, 20, 0));
    world.call(owner, "add", &[]).unwrap();
    assert_eq!(world.view(user).get_global_value(1), Some((21, 0)));
}

pub fn a_global_of_another_type_is_refused<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library = world.add("(module (global i32 (i32.const 1)) (global (mut i32) (i32.const 2)))");
    let mut ask = |ty: &str, index: u32| {
        let user = world.begin(&format!(r#"(module (import "a" "b" (global {ty})))"#));
        world.view(user).resolve_imported_global(0, index, library)
    };
    assert_eq!(ask("i32", 0), Ok(()));
    assert_eq!(ask("(mut i32)", 1), Ok(()));
    incompatible(ask("i32", 1));
    incompatible(ask("(mut i32)", 0));
    incompatible(ask("i64", 0));
}

pub fn indices_and_instances_that_do_not_exist_are_refused<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library =
        world.add("(module (func) (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0)))");
    // What a module defines itself is not to be resolved.
    let own = world
        .begin("(module (func) (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0)))");
    let user = world.begin(
        r#"(module (import "a" "b" (func)) (import "a" "b" (table 1 funcref))
             (import "a" "b" (memory 1)) (import "a" "b" (global (mut i32))))"#,
    );
    let nobody = InstanceId::from_position(9);
    let ty = world.module(user).info.functions[0];
    for (id, index, at, imported) in
        [(user, 1, 0, library), (user, 0, 1, library), (user, 0, 0, nobody), (own, 0, 0, library)]
    {
        let mut view = world.view(id);
        bad_index(view.resolve_imported_function(index, ty, at, imported));
        bad_index(view.resolve_imported_memory(index, at, imported));
        bad_index(view.resolve_imported_table(index, at, imported));
        bad_index(view.resolve_imported_global(index, at, imported));
    }
    assert!(engine.module_engine(&mut world.store, nobody).is_none());
}

pub fn what_is_imported_is_passed_on<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let owner = world.add(
        r#"(module (memory 1) (table 1 funcref) (global (mut i32) (i32.const 3))
             (func (result i32) (i32.load (i32.const 8)))
             (elem (i32.const 0) 0) (data (i32.const 8) "\09"))"#,
    );
    let imports = r#"(import "a" "f" (func (result i32))) (import "a" "m" (memory 1))
        (import "a" "t" (table 1 funcref)) (import "a" "g" (global (mut i32)))"#;
    let link = |world: &mut World<E>, id, to, func| {
        let ty = world.module(id).info.functions[0];
        let mut view = world.view(id);
        view.resolve_imported_function(0, ty, func, to).unwrap();
        view.resolve_imported_memory(0, 0, to).unwrap();
        view.resolve_imported_table(0, 0, to).unwrap();
        view.resolve_imported_global(0, 0, to).unwrap();
        view.done_instantiation().unwrap();
    };
    let middle = world.begin(&format!("(module {imports})"));
    link(&mut world, middle, owner, 0);
    let last = world.begin(&format!(
        r#"(module {imports} (func (export "all") (result i32 i32 i32 i32)
             (call 0) (i32.load (i32.const 8)) (call_indirect (result i32) (i32.const 0))
             (global.get 0)))"#
    ));
    link(&mut world, last, middle, 0);
    let all = [9, 9, 9, 3].map(Val::I32);
    assert_eq!(world.call(last, "all", &[]).unwrap(), all);
}

pub fn imports_are_not_resolved_again_once_instantiated<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library =
        world.add("(module (func) (memory 1) (table 1 funcref) (global (mut i32) (i32.const 3)))");
    let user = world.begin(
        r#"(module (import "a" "b" (func)) (import "a" "b" (table 1 funcref))
             (import "a" "b" (memory 1)) (import "a" "b" (global (mut i32))))"#,
    );
    let ty = world.module(user).info.functions[0];
    let mut view = world.view(user);
    // Until then, the last resolution holds.
    for _ in 0..2 {
        view.resolve_imported_function(0, ty, 0, library).unwrap();
        view.resolve_imported_memory(0, 0, library).unwrap();
        view.resolve_imported_table(0, 0, library).unwrap();
        view.resolve_imported_global(0, 0, library).unwrap();
    }
    view.done_instantiation().unwrap();
    // Its own import, say: a call would never arrive anywhere.
    bad_index(view.resolve_imported_function(0, ty, 0, user));
    bad_index(view.resolve_imported_function(0, ty, 0, library));
    bad_index(view.resolve_imported_memory(0, 0, library));
    bad_index(view.resolve_imported_table(0, 0, library));
    bad_index(view.resolve_imported_global(0, 0, library));
}
