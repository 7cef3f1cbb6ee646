//! One instance: how its instantiation ends, its functions, table elements, globals and memory.

use crate::world::{Subject, World, trap_of};
use executor_model::{CallError, FuncType, LinkError, ModuleEngine, TrapCode, Val, ValType};
use std::sync::Arc;

/// Its start function can tell whether globals, table and memory were filled before it ran.
const ALL_FILLED: &str = r#"(module
    (type $answer (func (result i32)))
    (memory 1) (table 2 funcref)
    (global $seven i32 (i32.const 7)) (global $sum (mut i32) (i32.const 100))
    (func $element (result i32) (i32.load (i32.const 16)))
    (func $start
      (global.set $sum (i32.add (global.get $sum)
        (i32.add (global.get $seven) (call_indirect (type $answer) (i32.const 1))))))
    (func (export "sum") (result i32) (global.get $sum))
    (data (i32.const 16) "\05\00\00\00") (elem (i32.const 1) $element)
    (start $start))"#;

pub fn nothing_runs_before_done_instantiation<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.begin(ALL_FILLED);
    assert_eq!(world.view(id).get_global_value(1), Some((0, 0)));
    assert_eq!(
        world.view(id).lookup_function(0, 0, 1).unwrap_err().code,
        TrapCode::IndirectCallToNull
    );
}

pub fn no_function_is_called_before_done_instantiation<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library = world.add("(module (global (mut i64) (i64.const 5)))");
    let user = world.begin(
        r#"(module (import "a" "b" (global (mut i64)))
             (func (export "get") (result i64) (global.get 0)))"#,
    );
    let early = world.call(user, "get", &[]);
    assert!(matches!(early, Err(CallError::Usage(_))), "{early:?}");
    // Nor does the function get to another instance that could call it.
    let other = world.begin(
        r#"(module (import "a" "b" (func (result i64))) (func (export "get") (result i64) (call 0)))"#,
    );
    let ty = world.module(other).info.functions[0];
    let index = world.index(user, "get");
    let linked = world.view(other).resolve_imported_function(0, ty, index, user);
    assert!(matches!(linked, Err(LinkError::Index(_))), "{linked:?}");
    let mut view = world.view(user);
    assert_eq!(view.function_instance_reference(index), None);
    view.resolve_imported_global(0, 0, library).unwrap();
    view.done_instantiation().unwrap();
    drop(view);
    assert_eq!(world.call(user, "get", &[]).unwrap(), [Val::I64(5)]);
    world.view(other).resolve_imported_function(0, ty, index, user).unwrap();
    world.view(other).done_instantiation().unwrap();
    assert_eq!(world.call(other, "get", &[]).unwrap(), [Val::I64(5)]);
}

pub fn done_instantiation_fills_everything_then_runs_the_start_function<E: Subject>(
    engine: &Arc<E>,
) {
    let mut world = World::new(engine);
    let id = world.begin(ALL_FILLED);
    world.view(id).done_instantiation().unwrap();
    assert_eq!(world.view(id).get_global_value(1), Some((112, 0)));
    assert_eq!(world.number(id, "sum", &[]), 112);
}

pub fn done_instantiation_happens_once<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(ALL_FILLED);
    let again = world.view(id).done_instantiation();
    assert!(matches!(again, Err(CallError::Usage(_))), "{again:?}");
    assert_eq!(world.number(id, "sum", &[]), 112, "the start function ran once");
}

pub fn every_kind_of_unresolved_import_is_refused<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library =
        world.add("(module (func) (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0)))");
    let user = world.begin(
        r#"(module (import "lib" "first" (func)) (import "lib" "second" (memory 1))
             (import "lib" "third" (table 1 funcref)) (import "lib" "fourth" (global (mut i32))))"#,
    );
    let ty = world.module(user).info.functions[0];
    let mut view = world.view(user);
    let refused = |view: &mut E::ModuleEngine<'_>| match view.done_instantiation() {
        Err(CallError::Usage(message)) => message,
        other => panic!("{other:?}"),
    };
    // In any order, and each refusal names an import that is still missing.
    let mut missing = vec!["first", "second", "third", "fourth"];
    for step in 0..4 {
        let message = refused(&mut view);
        assert!(missing.iter().any(|name| message.contains(name)), "{message}");
        match step {
            0 => view.resolve_imported_global(0, 0, library).unwrap(),
            1 => view.resolve_imported_memory(0, 0, library).unwrap(),
            2 => view.resolve_imported_function(0, ty, 0, library).unwrap(),
            _ => view.resolve_imported_table(0, 0, library).unwrap(),
        }
        missing.retain(|name| *name != ["fourth", "second", "first", "third"][step]);
    }
    view.done_instantiation().unwrap();
}

pub fn a_trap_in_the_start_function_is_reported<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.begin(
        r#"(module (global (mut i32) (i32.const 0))
             (func $start (global.set 0 (i32.const 1)) unreachable) (start $start))"#,
    );
    assert_eq!(trap_of(world.view(id).done_instantiation()), TrapCode::Unreachable);
    assert_eq!(world.view(id).get_global_value(0), Some((1, 0)), "what it did before stays done");
}

pub fn a_segment_that_does_not_fit_is_a_trap<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let library = world.add(
        r#"(module (memory 1) (table 2 funcref)
             (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0))))"#,
    );
    let data = world.begin(
        r#"(module (import "a" "b" (memory 1)) (data (i32.const 3) "x") (data (i32.const 65535) "yz"))"#,
    );
    world.view(data).resolve_imported_memory(0, 0, library).unwrap();
    assert_eq!(trap_of(world.view(data).done_instantiation()), TrapCode::MemoryOutOfBounds);
    assert_eq!(world.number(library, "load", &[3]), i32::from(b'x'), "the first segment stays");
    assert_eq!(world.number(library, "load", &[65535]), 0, "and nothing of the second is there");
    let elements = world
        .begin(r#"(module (import "a" "b" (table 2 funcref)) (func) (elem (i32.const 1) 0 0))"#);
    world.view(elements).resolve_imported_table(0, 0, library).unwrap();
    assert_eq!(trap_of(world.view(elements).done_instantiation()), TrapCode::TableOutOfBounds);
}

const FUNCTIONS: &str = r#"(module
    (func (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
    (func (export "float") (param f32 f64) (result f64 f32) (local.get 1) (local.get 0))
    (func (export "none")))"#;

pub fn a_function_has_its_type_and_answers<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(FUNCTIONS);
    let mut view = world.view(id);
    let mut swap = view.new_function(0).unwrap();
    let (i32, i64) = (ValType::I32, ValType::I64);
    assert_eq!(swap.ty(), FuncType { params: vec![i32, i64], results: vec![i64, i32] });
    for (a, b) in [(1, 2), (i32::MIN, i64::MAX)] {
        assert_eq!(swap.call(&[Val::I32(a), Val::I64(b)]).unwrap(), [Val::I64(b), Val::I32(a)]);
    }
    drop(swap);
    let mut float = view.new_function(1).unwrap();
    // Signalling NaNs with payloads: floats are passed as bits.
    let (a, b) = (Val::F32(0xffa1_2345), Val::F64(0x7ff4_0000_dead_beef));
    assert_eq!(float.call(&[a, b]).unwrap(), [b, a]);
    drop(float);
    assert_eq!(view.new_function(2).unwrap().ty(), FuncType::default());
    assert!(view.new_function(3).is_none(), "there is no fourth");
    assert!(view.new_function(u32::MAX).is_none());
}

pub fn arguments_that_do_not_fit_are_refused<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(FUNCTIONS);
    let mut view = world.view(id);
    let mut swap = view.new_function(0).unwrap();
    let (one, two) = (Val::I32(1), Val::I64(2));
    for unfit in [&[][..], &[one], &[two, one], &[one, two, two], &[one, Val::F64(2)]] {
        let result = swap.call(unfit);
        assert!(matches!(result, Err(CallError::Usage(_))), "{unfit:?}: {result:?}");
    }
    assert_eq!(swap.call(&[one, two]).unwrap(), [two, one]);
}

pub fn traps_have_their_codes_and_leave_the_instance_usable<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(
        r#"(module (memory 1 1) (table 2 funcref) (elem (i32.const 0) $id)
             (func $id (export "id") (param i32) (result i32) (local.get 0))
             (func (export "unreachable") unreachable)
             (func (export "load") (drop (i32.load (i32.const 65533))))
             (func (export "store") (i32.store (i32.const -4) (i32.const 1)))
             (func (export "outside") (call_indirect (i32.const 2)))
             (func (export "null") (call_indirect (i32.const 1)))
             (func (export "mismatch") (call_indirect (i32.const 0)))
             (func (export "set") (table.set 0 (i32.const 2) (ref.func $id)))
             (func $deep (export "deep") (result i32) (i32.add (call $deep) (i32.const 1))))"#,
    );
    for (name, code) in [
        ("unreachable", TrapCode::Unreachable),
        ("load", TrapCode::MemoryOutOfBounds),
        ("store", TrapCode::MemoryOutOfBounds),
        ("outside", TrapCode::UndefinedElement),
        ("null", TrapCode::IndirectCallToNull),
        ("mismatch", TrapCode::IndirectCallTypeMismatch),
        ("set", TrapCode::TableOutOfBounds),
        ("deep", TrapCode::StackOverflow),
    ] {
        assert_eq!(trap_of(world.call(id, name, &[])), code, "{name}");
        assert_eq!(world.number(id, "id", &[6]), 6);
    }
}

pub fn an_element_is_looked_up_as_call_indirect_would<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let owner = world.add(
        r#"(module (type (func (param f64))) (table 4 funcref)
             (func) (func (result i32) (i32.const 8)) (elem (i32.const 0) 0 1))"#,
    );
    let user = world.begin(
        r#"(module (type $number (func (result i32))) (type $none (func))
             (import "a" "b" (table 0 funcref)) (table $own 1 funcref)
             (func $mine (type $number) (i32.const 9)) (elem (table $own) (i32.const 0) func $mine))"#,
    );
    world.view(user).resolve_imported_table(0, 0, owner).unwrap();
    world.view(user).done_instantiation().unwrap();
    let (number, none) = (0, 1);
    let view = world.view(user);
    assert_eq!(view.lookup_function(0, none, 0), Ok((owner, 0)));
    assert_eq!(view.lookup_function(0, number, 1), Ok((owner, 1)));
    assert_eq!(view.lookup_function(1, number, 0), Ok((user, 0)));
    let code = |table, ty, offset| view.lookup_function(table, ty, offset).unwrap_err().code;
    assert_eq!(code(0, number, 0), TrapCode::IndirectCallTypeMismatch);
    assert_eq!(code(1, none, 0), TrapCode::IndirectCallTypeMismatch);
    assert_eq!(code(0, number, 2), TrapCode::IndirectCallToNull);
    assert_eq!(code(0, number, 4), TrapCode::UndefinedElement);
    assert_eq!(code(1, number, u32::MAX), TrapCode::UndefinedElement);
    assert!(view.lookup_function(2, number, 0).is_err(), "there is no third table");
    drop(view);
    // What it answers is what a call goes to.
    let mut view = world.view(owner);
    assert_eq!(view.new_function(1).unwrap().call(&[]).unwrap(), [Val::I32(8)]);
}

pub fn a_function_reference_is_the_one_that_tables_hold<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(
        r#"(module (table 2 funcref)
             (func (export "set") (param i32 funcref) (table.set 0 (local.get 0) (local.get 1)))
             (func (export "get") (param i32) (result funcref) (table.get 0 (local.get 0)))
             (func (export "own") (result funcref) (ref.func 3))
             (func (result i32) (i32.const 77))
             (elem declare func 3))"#,
    );
    let ty = world.module(id).info.functions[3];
    let mut view = world.view(id);
    let reference = view.function_instance_reference(3).unwrap();
    let Val::FuncRef(Some(func)) = reference else { panic!("{reference:?}") };
    assert_eq!((func.instance(), func.func()), (id, 3));
    assert_ne!(view.function_instance_reference(2), Some(reference));
    assert_eq!(view.function_instance_reference(4), None);
    view.new_function(0).unwrap().call(&[Val::I32(1), reference]).unwrap();
    assert_eq!(view.lookup_function(0, ty, 1), Ok((id, 3)));
    drop(view);
    assert_eq!(world.call(id, "get", &[Val::I32(1)]).unwrap(), [reference]);
    assert_eq!(world.call(id, "own", &[]).unwrap(), [reference]);
}

const GLOBALS: &str = r#"(module
    (global (mut i32) (i32.const -1)) (global (mut i64) (i64.const -2))
    (global (mut f32) (f32.const 1)) (global (mut f64) (f64.const -0))
    (global i32 (i32.const 4)) (global (mut funcref) (ref.null func))
    (func (export "all") (result i32 i64 f32 f64 i32)
      (global.get 0) (global.get 1) (global.get 2) (global.get 3) (global.get 4)))"#;

pub fn globals_are_read_as_halves<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(GLOBALS);
    let view = world.view(id);
    assert!(view.owns_globals(), "values are only in the engine");
    assert_eq!(view.get_global_value(0), Some((0xffff_ffff, 0)));
    assert_eq!(view.get_global_value(1), Some((-2i64 as u64, 0)));
    assert_eq!(view.get_global_value(2), Some((u64::from(1f32.to_bits()), 0)));
    assert_eq!(view.get_global_value(3), Some(((-0f64).to_bits(), 0)));
    assert_eq!(view.get_global_value(4), Some((4, 0)));
    assert_eq!(view.get_global_value(5), Some((0, 0)), "null");
    assert_eq!(view.get_global_value(6), None);
}

pub fn globals_are_set_where_they_may_be<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(GLOBALS);
    let mut view = world.view(id);
    // What does not belong to the type is not kept.
    assert!(view.set_global_value(0, 0xaaaa_bbbb_0000_0009, 3));
    assert!(view.set_global_value(1, 1 << 40, 0));
    assert!(view.set_global_value(2, u64::from(2.5f32.to_bits()), 0));
    assert!(view.set_global_value(3, 3.5f64.to_bits(), 0));
    assert!(!view.set_global_value(4, 5, 0), "immutable");
    assert!(!view.set_global_value(5, 1 << 40, 0), "a reference");
    assert!(!view.set_global_value(6, 0, 0), "there is no seventh");
    assert_eq!(view.get_global_value(0), Some((9, 0)));
    assert_eq!(view.get_global_value(5), Some((0, 0)));
    drop(view);
    let all = world.call(id, "all", &[]).unwrap();
    let (f32, f64) = (Val::F32(2.5f32.to_bits()), Val::F64(3.5f64.to_bits()));
    assert_eq!(all, [Val::I32(9), Val::I64(1 << 40), f32, f64, Val::I32(4)]);
}

pub fn memory_grows_for_the_host_as_for_the_guest<E: Subject>(engine: &Arc<E>) {
    let mut world = World::new(engine);
    let id = world.add(
        r#"(module (memory 1 4)
             (func (export "size") (result i32) (memory.size))
             (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
             (func (export "last") (param i32) (result i32)
               (i32.load (i32.add (i32.mul (local.get 0) (i32.const 65536)) (i32.const -4)))))"#,
    );
    assert_eq!(world.view(id).memory_grown(0, 2), Some(1));
    assert_eq!(world.number(id, "size", &[]), 2);
    assert_eq!(world.number(id, "last", &[2]), 0, "the new page can be read");
    assert_eq!(trap_of(world.call(id, "last", &[Val::I32(3)])), TrapCode::MemoryOutOfBounds);
    assert_eq!(world.number(id, "grow", &[1]), 2);
    assert_eq!(world.view(id).memory_grown(0, 3), Some(3), "to the size it has");
    assert_eq!(world.view(id).memory_grown(0, 2), None, "it does not shrink");
    assert_eq!(world.view(id).memory_grown(0, 5), None, "nor grow beyond its maximum");
    assert_eq!(world.view(id).memory_grown(1, 1), None, "there is no second memory");
    assert_eq!(world.view(id).memory_grown(0, 4), Some(3));
    assert_eq!(world.number(id, "grow", &[1]), -1);
    assert_eq!(world.number(id, "last", &[4]), 0);
}
