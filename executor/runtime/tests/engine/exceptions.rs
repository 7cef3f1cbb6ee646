//! Exceptions: thrown, caught and passed on, by guests and hosts, within and across instances.

use crate::{listeners::Log, *};
use executor_model::{CallError, ExternRef, FunctionListener, Thrown, TrapCode};
use executor_runtime::{Caller, CaptureError, HostError, InstantiateError};
use std::num::NonZeroU64;

fn one(store: &mut Store, id: InstanceId, name: &str, params: &[Val]) -> Val {
    call(store, id, name, params).unwrap()[0]
}

fn thrown(result: Result<Vec<Val>, CallError>) -> Thrown {
    match result {
        Err(CallError::Exception(thrown)) => thrown,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_payload_of_every_type_arrives_and_so_does_the_reference() {
    let (mut store, id) = instantiate(
        r#"(module
             (tag $t (param i32 i64 f32 f64 v128 funcref externref))
             (func $throw (param externref)
               (throw $t (i32.const -3) (i64.const 0x123456789abcdef) (f32.const 1.5) (f64.const -2.5)
                 (v128.const i64x2 7 8) (ref.func $throw) (local.get 0)))
             (elem declare func $throw)
             (func (export "catch") (param externref)
                 (result i32 i64 f32 f64 v128 funcref externref)
               (block $h (result i32 i64 f32 f64 v128 funcref externref)
                 (try_table (catch $t $h) (call $throw (local.get 0)))
                 unreachable))
             (func (export "again") (param externref)
                 (result i32 i64 f32 f64 v128 funcref externref)
               (block $h (result i32 i64 f32 f64 v128 funcref externref exnref)
                 (try_table (catch_ref $t $h)
                   (block $all (result exnref)
                     (try_table (catch_all_ref $all) (call $throw (local.get 0)))
                     unreachable)
                   throw_ref)
                 unreachable)
               drop))"#,
    );
    let extern_ref = Val::ExternRef(Some(ExternRef::Host(store.new_extern("host"))));
    let expected = [
        Val::I32(-3),
        Val::I64(0x0123_4567_89ab_cdef),
        Val::F32(1.5f32.to_bits()),
        Val::F64((-2.5f64).to_bits()),
        Val::V128(8 << 64 | 7),
        Val::FuncRef(store.func(id, 0)),
        extern_ref,
    ];
    assert_eq!(call(&mut store, id, "catch", &[extern_ref]).unwrap(), expected);
    assert_eq!(call(&mut store, id, "again", &[extern_ref]).unwrap(), expected);
}

#[test]
fn many_results_arguments_and_locals_survive_a_call_that_may_throw() {
    let (mut store, id) = instantiate(
        r#"(module
             (tag $t (param i64))
             (func $many (param i32 i64 i64 i64 i64 i64 i64 i64 f64)
                 (result i64 i64 i64 i64 i64 i64 f64)
               (if (local.get 0) (then (throw $t (local.get 7))))
               (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6)
               (local.get 8))
             (func (export "f") (param i32) (result i64) (local $a i64) (local $b f64)
               (local.set $a (i64.const 1000)) (local.set $b (f64.const 5))
               (block $h (result i64)
                 (i64.const 10000)
                 (try_table (result i64 i64 i64 i64 i64 i64 f64) (catch $t $h)
                   (local.set $a (i64.const 2000))
                   (call $many (local.get 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
                     (i64.const 5) (i64.const 6) (i64.const 70) (f64.const 8))
                   (local.set $a (i64.const 3000)))
                 (local.set $b)
                 i64.add i64.add i64.add i64.add i64.add i64.add)
               (i64.add (local.get $a))
               (i64.add (i64.trunc_f64_s (local.get $b)))))"#,
    );
    assert_eq!(one(&mut store, id, "f", &[Val::I32(0)]), Val::I64(10_000 + 21 + 3000 + 8));
    assert_eq!(one(&mut store, id, "f", &[Val::I32(1)]), Val::I64(70 + 2000 + 5));
}

#[test]
fn an_exception_that_nothing_catches_names_its_tag_payload_and_functions() {
    let (mut store, id) = instantiate(
        r#"(module
             (tag $t (export "error") (param i32))
             (tag $u)
             (func $inner (param i32) (throw $t (local.get 0)))
             (func $outer (export "f") (param i32)
               (block $h (try_table (catch $u $h) (call $inner (local.get 0))))))"#,
    );
    let error = thrown(call(&mut store, id, "f", &[Val::I32(5)]));
    let names: Vec<_> = error.backtrace.frames.iter().map(|f| f.name.as_deref()).collect();
    assert_eq!(names, [Some("inner"), Some("outer")]);
    assert!(error.backtrace.frames.iter().all(|f| f.offset.is_some()));
    let text = error.to_string();
    let first = "uncaught exception t(5)\n";
    assert!(text.starts_with(first), "{text}");
    let tag = store.exported_tag(id, "error").unwrap();
    assert_eq!(store.exception(error.exception), Some((tag, vec![Val::I32(5)])));
    // The instance goes on working.
    let next = thrown(call(&mut store, id, "f", &[Val::I32(6)]));
    assert_ne!(next.exception, error.exception);
}

#[test]
fn a_tag_is_the_same_wherever_it_is_imported_and_no_other() {
    let engine = engine();
    let owner = compile(
        &engine,
        r#"(module (tag $a (export "a") (param i32)) (tag $b (export "b") (param i32))
             (func (export "throw_a") (param i32) (throw $a (local.get 0)))
             (func (export "throw_b") (param i32) (throw $b (local.get 0))))"#,
    );
    let user = compile(
        &engine,
        r#"(module
             (import "o" "b" (tag $b (param i32))) (import "o" "a" (tag $a (param i32)))
             (import "o" "b" (tag $b2 (param i32)))
             (tag $own (param i32))
             (import "o" "throw_a" (func $throw_a (param i32)))
             (import "o" "throw_b" (func $throw_b (param i32)))
             (func (export "f") (param i32 i32) (result i32)
               (block $h1 (result i32)
                 (block $h2 (result i32)
                   (block $h0 (result i32)
                     (try_table (catch $own $h0) (catch $a $h1) (catch $b2 $h2) (catch $b $h0)
                       (if (local.get 0)
                         (then (call $throw_a (local.get 1)))
                         (else (call $throw_b (local.get 1)))))
                     (i32.const 0))
                   (return (i32.const -1)))
                 (return (i32.add (i32.const 200)))
                 unreachable)
               (i32.add (i32.const 100))))"#,
    );
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let mut users = Vec::new();
    for _ in 0..2 {
        let owner = store.instantiate(&owner).unwrap();
        store.linker_mut().instance("o", owner);
        users.push((owner, store.instantiate(&user).unwrap()));
    }
    for (_, user) in &users {
        assert_eq!(one(&mut store, *user, "f", &[Val::I32(1), Val::I32(7)]), Val::I32(107));
        assert_eq!(one(&mut store, *user, "f", &[Val::I32(0), Val::I32(8)]), Val::I32(208));
    }
    // The same tag of another instance of the module is another tag.
    let [(first, _), (second, _)] = users[..] else { panic!() };
    assert_ne!(store.exported_tag(first, "a"), store.exported_tag(second, "a"));
    let wrong = compile(&engine, r#"(module (import "o" "a" (tag (param i64))))"#);
    assert!(matches!(store.instantiate(&wrong), Err(InstantiateError::Link(_))));
}

const HOST: &str = r#"(module
    (import "env" "call" (func $call (param i32) (result i32)))
    (import "env" "throw" (func $throw (param i32)))
    (tag $t (export "t") (param i32))
    (tag $u (export "u"))
    (func $leaf (export "leaf") (param i32) (result i32)
      (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 42))))
      (i32.add (i32.const 1) (call $call (i32.sub (local.get 0) (i32.const 1)))))
    (func (export "through") (param i32) (result i32)
      (block $h (result i32) (try_table (catch $t $h) (return (call $leaf (local.get 0))))
        unreachable))
    (func (export "host") (param i32) (result i32)
      (block $h (result i32)
        (block $u
          (try_table (catch $t $h) (catch $u $u) (call $throw (local.get 0)))
          (return (i32.const -1)))
        (return (i32.const -2))))
    (func (export "uncaught") (param i32) (call $throw (local.get 0))))"#;

fn host_linker() -> Linker {
    let mut linker = Linker::new();
    linker.func("env", "call", |caller: &mut Caller<'_>, n: i32| -> Result<i32, HostError> {
        let func = caller.exported_func("leaf").unwrap();
        match caller.call(func, &[Val::I32(n)]) {
            Ok(values) => match values[..] {
                [Val::I32(value)] => Ok(value),
                _ => unreachable!(),
            },
            Err(error) => {
                let CallError::Exception(thrown) = &error else { return Err(error.into()) };
                let (_, payload) = caller.exception(thrown.exception).unwrap();
                assert_eq!(payload, [Val::I32(42)]);
                Err(error.into())
            }
        }
    });
    linker.func("env", "throw", |caller: &mut Caller<'_>, n: i32| -> Result<(), HostError> {
        let (t, u) = (caller.exported_tag("t").unwrap(), caller.exported_tag("u").unwrap());
        Err(match n {
            0 => return Ok(()),
            1 => caller.throw(t, &[Val::I32(11)]),
            2 => caller.throw(u, &[]),
            3 => caller.throw(t, &[Val::I64(11)]),
            4 => caller.throw(u, &[Val::I32(11)]),
            _ => HostError::Exception(NonZeroU64::MIN),
        })
    });
    linker
}

#[test]
fn exceptions_pass_through_host_functions_and_nested_calls() {
    let (mut store, id) = instantiate_with(HOST, host_linker());
    for depth in [0, 1, 30] {
        assert_eq!(one(&mut store, id, "through", &[Val::I32(depth)]), Val::I32(42));
    }
    let error = thrown(call(&mut store, id, "leaf", &[Val::I32(3)]));
    let tag = store.exported_tag(id, "t").unwrap();
    assert_eq!(store.exception(error.exception), Some((tag, vec![Val::I32(42)])));
}

#[test]
fn a_host_function_throws_and_its_mistakes_are_errors() {
    let (mut store, id) = instantiate_with(HOST, host_linker());
    assert_eq!(one(&mut store, id, "host", &[Val::I32(0)]), Val::I32(-1));
    assert_eq!(one(&mut store, id, "host", &[Val::I32(1)]), Val::I32(11));
    assert_eq!(one(&mut store, id, "host", &[Val::I32(2)]), Val::I32(-2));
    for wrong in [3, 4, 5] {
        let error = call(&mut store, id, "host", &[Val::I32(wrong)]).unwrap_err();
        assert!(matches!(error, CallError::Host { .. }), "{error}");
    }
    let error = thrown(call(&mut store, id, "uncaught", &[Val::I32(2)]));
    assert_eq!(error.backtrace.frames[0].name.as_deref(), Some("throw"));
}

#[test]
fn ten_thousand_frames_are_left_at_once() {
    let (mut store, id) = instantiate(
        r#"(module
             (tag $t (param i32)) (tag $u)
             (func $down (param i32) (result i32)
               (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 9))))
               (block $h
                 (return (try_table (result i32) (catch $u $h)
                   (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))))
               (i32.const -1))
             (func (export "f") (param i32) (result i32)
               (block $h (result i32)
                 (try_table (result i32) (catch $t $h) (call $down (local.get 0))))))"#,
    );
    assert_eq!(one(&mut store, id, "f", &[Val::I32(10_000)]), Val::I32(9));
}

#[test]
fn functions_too_large_to_optimise_catch_too() {
    let step = "(local.set $n (i32.add (local.get $n) (call $step (local.get $n))))\n";
    let (mut store, id) = instantiate(&format!(
        r#"(module
             (tag $t (param i32 i64))
             (func $step (param i32) (result i32)
               (if (i32.eq (local.get 0) (i32.const 20000))
                 (then (throw $t (i32.const 7) (i64.const 9))))
               (i32.const 1))
             (func (export "f") (param $n i32) (result i32 i64 i32)
               (block $h (result i32 i64)
                 (try_table (catch $t $h)
                   {}
                   (return (i32.const 0) (i64.const 0) (local.get $n)))
                 unreachable)
               (local.get $n)))"#,
        step.repeat(28_000)
    ));
    let caught = call(&mut store, id, "f", &[Val::I32(100)]).unwrap();
    assert_eq!(caught, [Val::I32(7), Val::I64(9), Val::I32(20_000)]);
    let returned = call(&mut store, id, "f", &[Val::I32(20_001)]).unwrap();
    assert_eq!(returned, [Val::I32(0), Val::I64(0), Val::I32(48_001)]);
}

#[test]
fn a_tail_call_leaves_the_try_that_it_is_in() {
    let (mut store, id) = instantiate(
        r#"(module
             (tag $t)
             (func $throw (result i32) (throw $t))
             (func $inner (result i32)
               (block $h (try_table (catch_all $h) (return_call $throw))) (i32.const 1))
             (func (export "f") (result i32)
               (block $h (try_table (catch_all $h) (return (call $inner)))) (i32.const 2)))"#,
    );
    assert_eq!(one(&mut store, id, "f", &[]), Val::I32(2));
}

#[test]
fn traps_and_interrupts_are_not_caught() {
    let (mut store, id) = instantiate(
        r#"(module
             (tag $t (param i32))
             (func $div (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
             (func (export "trap") (result i32)
               (block $h (return (try_table (result i32) (catch_all $h) (call $div (i32.const 0)))))
               (i32.const 2))
             (func (export "null") (block $h (try_table (catch_all $h) (throw_ref (ref.null exn)))))
             (func $step (param i32) (throw $t (local.get 0)))
             (func (export "spin") (param i32)
               (loop $l
                 (block $h (result i32)
                   (try_table (catch $t $h) (call $step (local.get 0))) (unreachable))
                 drop
                 (br $l))))"#,
    );
    let trap = |result: Result<Vec<Val>, CallError>| match result {
        Err(CallError::Trap(trap)) => trap.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(trap(call(&mut store, id, "trap", &[])), TrapCode::IntegerDivideByZero);
    assert_eq!(trap(call(&mut store, id, "null", &[])), TrapCode::NullExceptionReference);
    for delay in 0..50u64 {
        let interrupter = store.interrupter();
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_micros(delay * 37));
            interrupter.interrupt();
        });
        let ended = trap(call(&mut store, id, "spin", &[Val::I32(1)]));
        assert_eq!(ended, TrapCode::Interrupted);
        stopper.join().unwrap();
    }
}

#[test]
fn a_start_function_that_throws_ends_the_instantiation() {
    let engine = engine();
    let module = compile(&engine, "(module (tag $t) (func $s (throw $t)) (start $s))");
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let error = store.instantiate(&module).unwrap_err();
    assert!(matches!(error, InstantiateError::Call(CallError::Exception(_))), "{error}");
}

#[test]
fn listeners_are_told_of_the_functions_that_an_exception_leaves() {
    let engine = engine();
    let wasm = wat::parse_str(
        r#"(module
             (tag $t)
             (func $inner (throw $t))
             (func $middle (call $inner))
             (func $outer (export "f") (block $h (try_table (catch $t $h) (call $middle)))))"#,
    )
    .unwrap();
    let module = engine.decode(&wasm, ModuleHash::of(&wasm)).unwrap();
    let log = Arc::new(Log::default());
    let listeners = Listeners::all(Arc::clone(&log) as Arc<dyn FunctionListener>);
    let (module, _) = engine.compile(&module, &listeners, true, QUIET).unwrap();
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let id = store.instantiate(&module).unwrap();
    call(&mut store, id, "f", &[]).unwrap();
    let expected = [
        "> outer []",
        "> middle []",
        "> inner []",
        "! inner uncaught exception t()",
        "! middle uncaught exception t()",
        "< outer []",
    ];
    assert_eq!(log.take(), expected);
}

#[test]
fn the_older_try_catches_delegates_and_rethrows() {
    let (mut store, id) = instantiate(
        r#"(module
             (tag $a (param i32)) (tag $b)
             (func $throw (param i32)
               (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $a (i32.const 10))))
               (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $b))))
             (func (export "catch") (param i32) (result i32)
               try (result i32) (call $throw (local.get 0)) (i32.const 1)
               catch $a (i32.add (i32.const 100))
               catch_all (i32.const 2)
               end)
             (func (export "rethrow") (param i32) (result i32)
               try (result i32)
                 try (result i32) (call $throw (local.get 0)) (i32.const 1)
                 catch $a drop rethrow 0
                 catch_all
                   try (throw $a (i32.const 3))
                   catch $a drop rethrow 1
                   end
                   (i32.const 4)
                 end
               catch $a (i32.add (i32.const 1000))
               catch $b (i32.const 5)
               end)
             (func (export "delegate") (param i32) (result i32)
               try $outer (result i32)
                 try (result i32)
                   try (result i32) (call $throw (local.get 0)) (i32.const 1)
                   delegate $outer
                 catch_all (i32.const -1)
                 end
               catch $a (i32.add (i32.const 2000))
               catch_all (i32.const 6)
               end)
             (func $out (param i32) (result i32)
               try (result i32)
                 try (result i32) (call $throw (local.get 0)) (i32.const 1)
                 delegate 1
               catch_all (i32.const -1)
               end)
             (func (export "to_caller") (param i32) (result i32)
               try (result i32) (call $out (local.get 0)) catch_all (i32.const 7) end)
             (func (export "none") (result i32)
               try (result i32) (i32.const 8) catch $b (i32.const 9) catch_all (i32.const 10) end)
             (func (export "unreached") (result i32)
               (return (i32.const 11))
               try (throw $b) catch $b rethrow 0 end
               try delegate 0
               (i32.const 12)))"#,
    );
    for (name, expected) in [
        ("catch", [1, 110, 2]),
        ("rethrow", [1, 1010, 5]),
        ("delegate", [1, 2010, 6]),
        ("to_caller", [1, 7, 7]),
    ] {
        for (n, expected) in expected.into_iter().enumerate() {
            let result = one(&mut store, id, name, &[Val::I32(n as i32)]);
            assert_eq!(result, Val::I32(expected), "{name} {n}");
        }
    }
    assert_eq!(one(&mut store, id, "none", &[]), Val::I32(8));
    assert_eq!(one(&mut store, id, "unreached", &[]), Val::I32(11));
}

/// Keeps exceptions in every place that can hold one, and makes a million others.
const KEEPER: &str = r#"(module
    (import "env" "nest" (func $nest))
    (tag $t (param i64)) (tag $r (param exnref))
    (table $table (export "table") 2 exnref)
    (global $global (export "global") (mut exnref) (ref.null exn))
    (func $make (export "make") (param i64) (result exnref)
      (block $h (result i64 exnref)
        (try_table (catch_ref $t $h) (throw $t (local.get 0))) unreachable)
      (return))
    (func $wrap (param exnref) (result exnref)
      (block $h (result exnref exnref)
        (try_table (catch_ref $r $h) (throw $r (local.get 0))) unreachable)
      (return))
    (func $value (param exnref) (result i64)
      (block $r (result exnref)
        (block $t (result i64)
          (try_table (catch $t $t) (catch $r $r) (throw_ref (local.get 0))) unreachable)
        (return))
      (return_call $value))
    (func $churn (export "churn") (param i32)
      (loop $l
        (drop (call $make (i64.extend_i32_u (local.get 0))))
        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "keep") (param $n i32) (result i64)
      (local $local exnref) (local $nested exnref)
      (global.set $global (call $make (i64.const 1)))
      (table.set $table (i32.const 1) (call $wrap (call $make (i64.const 10))))
      (local.set $local (call $make (i64.const 100)))
      (local.set $nested (call $wrap (call $wrap (call $make (i64.const 1000)))))
      (call $churn (local.get $n))
      (call $nest)
      (i64.add (i64.add (call $value (global.get $global))
                        (call $value (table.get $table (i32.const 1))))
               (i64.add (call $value (local.get $local)) (call $value (local.get $nested))))))"#;

fn keeper() -> (Store, InstanceId) {
    let mut linker = Linker::new();
    linker.func("env", "nest", |caller: &mut Caller<'_>| -> Result<(), HostError> {
        let func = caller.exported_func("churn").unwrap();
        caller.call(func, &[Val::I32(10_000)])?;
        Ok(())
    });
    instantiate_with(KEEPER, linker)
}

#[test]
fn a_million_exceptions_need_little_memory_and_none_in_use_is_lost() {
    let (mut store, id) = keeper();
    assert_eq!(one(&mut store, id, "keep", &[Val::I32(1_000_000)]), Val::I64(1111));
    assert!(store.kept_exceptions() <= 4096, "{}", store.kept_exceptions());
}

#[test]
fn the_handle_of_an_exception_that_is_gone_finds_nothing() {
    let (mut store, id) = keeper();
    let old @ Val::ExnRef(Some(handle)) = one(&mut store, id, "make", &[Val::I64(5)]) else {
        panic!()
    };
    assert_eq!(store.exception(handle).unwrap().1, [Val::I64(5)]);
    call(&mut store, id, "churn", &[Val::I32(10_000)]).unwrap();
    assert_eq!(store.exception(handle), None);
    assert!(!store.set_global(id, 0, old), "a reference to nothing is refused");
    let new = one(&mut store, id, "make", &[Val::I64(6)]);
    assert!(store.set_global(id, 0, new));
    call(&mut store, id, "churn", &[Val::I32(10_000)]).unwrap();
    let Val::ExnRef(Some(handle)) = new else { panic!() };
    assert_eq!(store.exception(handle).unwrap().1, [Val::I64(6)]);
}

#[test]
fn exceptions_in_globals_and_tables_are_refused_by_name() {
    let (mut store, id) = keeper();
    store.capture().unwrap();
    let exception = one(&mut store, id, "make", &[Val::I64(5)]);
    store.capture().unwrap();
    assert!(store.set_global(id, 0, exception));
    let error = store.capture().unwrap_err();
    assert!(matches!(error, CaptureError::HostReference { .. }));
    assert!(error.to_string().contains("global 0 (\"global\")"), "{error}");
    assert!(error.to_string().contains("an exception (exnref)"), "{error}");
    assert!(store.set_global(id, 0, Val::ExnRef(None)));
    call(&mut store, id, "keep", &[Val::I32(1)]).unwrap();
    assert!(store.set_global(id, 0, Val::ExnRef(None)));
    let error = store.capture().unwrap_err().to_string();
    assert!(error.contains("element 1 of table 0 (\"table\")"), "{error}");
}

#[test]
fn a_try_costs_nothing_until_something_is_thrown() {
    let engine = engine();
    let size = |body: &str| {
        let module = format!(
            r#"(module (tag $t) (import "e" "f" (func $f (param i32) (result i32)))
                 (func (export "g") (param i32) (result i32) {body}))"#
        );
        let module = compile(&engine, &module);
        let start = module.code().function_offset(1).unwrap();
        let wasm_offsets = (start..).take_while(|at| module.code().function_at(*at) == Some(1));
        wasm_offsets.count()
    };
    let plain = size("(call $f (call $f (local.get 0)))");
    let caught = size(
        "(block $h (return (try_table (result i32) (catch_all $h) \
           (call $f (call $f (local.get 0)))))) (i32.const 0)",
    );
    // The handler itself, callee-saved registers of the caller that a handler needs saved, and
    // padding; nothing for each call.
    let more = size(
        "(block $h (return (try_table (result i32) (catch_all $h) \
           (call $f (call $f (call $f (local.get 0))))))) (i32.const 0)",
    );
    let plain_more = size("(call $f (call $f (call $f (local.get 0))))");
    assert!(more - caught <= plain_more - plain + 16, "{plain} {plain_more} {caught} {more}");
}
