//! Typed references to functions: within and across modules, whose types are equal or declared to
//! be subtypes, and in the host's hands.

use crate::*;
use executor_model::{CallError, TrapCode, Val::I32};
use executor_runtime::{Caller, HostError, InstantiateError};

/// A function type in a recursion group, and a subtype of it.
const TYPES: &str = r#"
    (rec (type $super (sub (func (param i32) (result i32)))) (type $self (func (param (ref null $self)))))
    (type $sub (sub $super (func (param i32) (result i32))))"#;

fn trap(result: Result<Vec<Val>, CallError>) -> TrapCode {
    match result {
        Err(CallError::Trap(trap)) => trap.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn references_are_called_within_and_across_instances_and_to_the_host() {
    let engine = engine();
    let other = compile(
        &engine,
        r#"(module (type $unused (func)) (type $f (func (param i32) (result i32)))
             (func $double (export "double") (type $f) (i32.mul (local.get 0) (i32.const 2)))
             (elem declare func $double)
             (func (export "give") (result (ref $f)) (ref.func $double)))"#,
    );
    let main = compile(
        &engine,
        r#"(module (type $f (func (param i32) (result i32)))
             (import "other" "give" (func $give (result (ref $f))))
             (import "env" "negate" (func $negate (type $f)))
             (elem declare func $one $negate)
             (func $one (type $f) (i32.add (local.get 0) (i32.const 1)))
             (func (export "own") (type $f) (call_ref $f (local.get 0) (ref.func $one)))
             (func (export "theirs") (type $f) (call_ref $f (local.get 0) (call $give)))
             (func (export "host") (type $f) (call_ref $f (local.get 0) (ref.func $negate)))
             (func (export "null") (type $f) (call_ref $f (local.get 0) (ref.null $f)))
             (func (export "tail") (type $f)
               (return_call_ref $f (i32.add (local.get 0) (i32.const 1)) (call $give)))
             (func (export "given") (param i32 (ref null $f)) (result i32)
               (block $none
                 (return (call_ref $f (local.get 0) (br_on_null $none (local.get 1)))))
               (i32.const -1))
             (func (export "as") (param (ref null $f)) (drop (ref.as_non_null (local.get 0))))
             (func (export "non") (param (ref null $f)) (result i32)
               (call_ref $f (i32.const 5)
                 (block $some (result (ref $f)) (br_on_non_null $some (local.get 0))
                   (return (i32.const 0))))))"#,
    );
    let mut linker = Linker::new();
    linker.func("env", "negate", |_: &mut Caller<'_>, n: i32| -> Result<i32, HostError> { Ok(-n) });
    let mut store = Store::new(&engine, linker, StoreConfig::default()).unwrap();
    let other = store.instantiate(&other).unwrap();
    store.linker_mut().instance("other", other);
    let main = store.instantiate(&main).unwrap();
    for (export, result) in [("own", 11), ("theirs", 20), ("host", -10), ("tail", 22)] {
        assert_eq!(call(&mut store, main, export, &[I32(10)]).unwrap(), [I32(result)], "{export}");
    }
    assert_eq!(trap(call(&mut store, main, "null", &[I32(1)])), TrapCode::NullFunctionReference);
    let double = Val::FuncRef(store.exported_func(other, "double"));
    let null = Val::FuncRef(None);
    assert_eq!(call(&mut store, main, "given", &[I32(4), double]).unwrap(), [I32(8)]);
    assert_eq!(call(&mut store, main, "given", &[I32(4), null]).unwrap(), [I32(-1)]);
    assert_eq!(call(&mut store, main, "non", &[double]).unwrap(), [I32(10)]);
    assert_eq!(call(&mut store, main, "non", &[null]).unwrap(), [I32(0)]);
    assert_eq!(trap(call(&mut store, main, "as", &[null])), TrapCode::NullReference);
    // The host may not pass off one type as another.
    let give = Val::FuncRef(store.exported_func(other, "give"));
    let wrong = call(&mut store, main, "given", &[I32(4), give]);
    assert!(matches!(wrong, Err(CallError::Usage(_))), "{wrong:?}");
}

#[test]
fn a_subtype_may_stand_where_its_supertype_is_asked_for_and_no_other_may() {
    let engine = engine();
    let exporter = compile(
        &engine,
        &format!(
            r#"(module {TYPES} (type $same (func (param i32) (result i32)))
                 (func (export "sub") (type $sub) (i32.add (local.get 0) (i32.const 1)))
                 (func (export "super") (type $super) (i32.add (local.get 0) (i32.const 2)))
                 (func (export "same") (type $same) (i32.add (local.get 0) (i32.const 3))))"#
        ),
    );
    let importer = |ty: &str, name: &str| {
        compile(
            &engine,
            &format!(
                r#"(module (type $shift (func)) {TYPES}
                     (import "e" "{name}" (func $f (type {ty}))) (table funcref (elem $f))
                     (func (export "super") (param i32) (result i32)
                       (call_indirect (type $super) (local.get 0) (i32.const 0)))
                     (func (export "sub") (param i32) (result i32)
                       (call_indirect (type $sub) (local.get 0) (i32.const 0))))"#
            ),
        )
    };
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let exporter = store.instantiate(&exporter).unwrap();
    store.linker_mut().instance("e", exporter);
    let sub = store.instantiate(&importer("$sub", "sub")).unwrap();
    assert_eq!(call(&mut store, sub, "sub", &[I32(1)]).unwrap(), [I32(2)]);
    assert_eq!(call(&mut store, sub, "super", &[I32(1)]).unwrap(), [I32(2)]);
    let wide = store.instantiate(&importer("$super", "sub")).unwrap();
    assert_eq!(call(&mut store, wide, "super", &[I32(1)]).unwrap(), [I32(2)]);
    // It was imported as the supertype, and is no more than that to this module.
    assert_eq!(trap(call(&mut store, wide, "sub", &[I32(1)])), TrapCode::IndirectCallTypeMismatch);
    for (ty, name) in [("$sub", "super"), ("$super", "same"), ("$sub", "same")] {
        let result = store.instantiate(&importer(ty, name));
        assert!(matches!(result, Err(InstantiateError::Link(_))), "{ty} {name}: {result:?}");
    }
}
