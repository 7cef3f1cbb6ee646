//! Calls: values, traps and their backtraces, host functions, nesting, stack exhaustion.

use crate::*;
use executor_model::{CallError, Engine, ExternRef, ModuleEngine, Trap, TrapCode};
use executor_runtime::{Caller, HostError};

fn trap(result: Result<Vec<Val>, CallError>) -> Trap {
    match result {
        Err(CallError::Trap(trap)) => trap,
        other => panic!("expected a trap, got {other:?}"),
    }
}

#[test]
fn a_function_returns_many_values_of_every_type() {
    let (mut store, id) = instantiate(
        r#"(module (func (export "f") (param i32 i64 f32 f64 funcref externref)
              (result f64 i32 f32 i64 externref funcref i32 i64 f64)
              local.get 3 local.get 0 local.get 2 local.get 1 local.get 5 local.get 4
              i32.const -7 i64.const 8 f64.const 9.5))"#,
    );
    let params = [
        Val::I32(-1),
        Val::I64(i64::MIN),
        Val::F32(1.5f32.to_bits()),
        Val::F64(0x7ff8_dead_beef_0001),
        Val::FuncRef(None),
        Val::ExternRef(None),
    ];
    let results = call(&mut store, id, "f", &params).unwrap();
    let expected = [
        params[3],
        params[0],
        params[2],
        params[1],
        params[5],
        params[4],
        Val::I32(-7),
        Val::I64(8),
        Val::F64(9.5f64.to_bits()),
    ];
    assert_eq!(results, expected);
}

#[test]
fn a_trap_names_its_functions_and_offsets_innermost_first() {
    let (mut store, id) = instantiate(
        r#"(module $m
              (func $inner (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
              (func $outer (export "f") (param i32) (result i32)
                (i32.add (i32.const 1) (call $inner (local.get 0)))))"#,
    );
    let trap = trap(call(&mut store, id, "f", &[Val::I32(0)]));
    assert_eq!(trap.code, TrapCode::IntegerDivideByZero);
    let names: Vec<_> = trap.backtrace.frames.iter().map(|f| f.name.as_deref()).collect();
    assert_eq!(names, [Some("inner"), Some("outer")]);
    assert!(trap.backtrace.frames.iter().all(|f| f.offset.is_some()));
    assert!(trap.backtrace.frames.iter().all(|f| f.module.as_deref() == Some("m")));
    // The instance goes on working.
    assert_eq!(call(&mut store, id, "f", &[Val::I32(1)]).unwrap(), [Val::I32(2)]);
}

#[test]
fn stack_exhaustion_is_a_trap_also_on_a_small_thread() {
    let run = || {
        let (mut store, id) = instantiate(
            r#"(module (func $f (export "f") (param i32) (result i32)
                 (i32.add (i32.const 1) (call $f (local.get 0)))))"#,
        );
        for _ in 0..3 {
            let trap = trap(call(&mut store, id, "f", &[Val::I32(0)]));
            assert_eq!(trap.code, TrapCode::StackOverflow);
            assert!(trap.backtrace.omitted > 1000);
        }
    };
    run();
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_host_function_sees_memory_and_data_and_calls_back() {
    let mut linker = Linker::new();
    linker.func("env", "add", |_: &mut Caller<'_>, a: i32, b: i64| -> Result<i64, HostError> {
        Ok(i64::from(a) + b)
    });
    linker.func("env", "twice", |caller: &mut Caller<'_>, n: i32| -> Result<i32, HostError> {
        let (mut memory, count) = caller.memory_and_data::<u32>().unwrap();
        memory[0] += 1;
        *count += 1;
        if n == 0 {
            return Ok(0);
        }
        let func = caller.exported_func("f").unwrap();
        match caller.call(func, &[Val::I32(n - 1)])?[..] {
            [Val::I32(v)] => Ok(v + 2),
            _ => unreachable!(),
        }
    });
    let (mut store, id) = instantiate_with(
        r#"(module
             (import "env" "add" (func $add (param i32 i64) (result i64)))
             (import "env" "twice" (func $twice (param i32) (result i32)))
             (memory (export "m") 1)
             (func (export "f") (param i32) (result i32) (call $twice (local.get 0)))
             (func (export "g") (result i64) (call $add (i32.const -3) (i64.const 10))))"#,
        linker,
    );
    store.set_data(0u32);
    assert_eq!(call(&mut store, id, "g", &[]).unwrap(), [Val::I64(7)]);
    assert_eq!(call(&mut store, id, "f", &[Val::I32(20)]).unwrap(), [Val::I32(40)]);
    assert_eq!(store.data::<u32>(), Some(&21));
    assert_eq!(store.memory(id, 0).unwrap()[0], 21);
    let trap = trap(call(&mut store, id, "f", &[Val::I32(1000)]));
    assert_eq!(trap.code, TrapCode::StackOverflow, "nesting is bounded");
}

#[test]
fn vectors_pass_between_host_and_machine_code() {
    let mut linker = Linker::new();
    linker.func(
        "env",
        "swap",
        |_: &mut Caller<'_>, n: i32, x: u128, y: u128| -> Result<(u128, i32, u128), HostError> {
            Ok((y, n + 1, x))
        },
    );
    let engine = engine();
    let module = compile(
        &engine,
        r#"(module
             (import "env" "swap" (func $swap (param i32 v128 v128) (result v128 i32 v128)))
             (global $g (mut v128) (v128.const i64x2 1 2))
             (func (export "g") (result v128) (global.get $g))
             (func (export "f") (param v128 v128) (result v128 i32 v128)
               (call $swap (i32.const 4) (i8x16.add (local.get 0) (local.get 0)) (local.get 1))))"#,
    );
    let mut store = Store::new(&engine, linker, StoreConfig::default()).unwrap();
    let id = store.instantiate(&module).unwrap();
    let x = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
    let params = [Val::V128(x), Val::V128(u128::MAX - 1)];
    let results = call(&mut store, id, "f", &params).unwrap();
    assert_eq!(results, [Val::V128(u128::MAX - 1), Val::I32(5), Val::V128(2 * x)]);

    let mut view = engine.module_engine(&mut store, id).unwrap();
    assert_eq!(view.get_global_value(0), Some((1, 2)));
    assert!(view.set_global_value(0, 3, u64::MAX));
    let expected = Val::V128(u128::from(u64::MAX) << 64 | 3);
    assert_eq!(call(&mut store, id, "g", &[]).unwrap(), [expected]);
}

/// An error of an embedder's own.
#[derive(Debug)]
struct Broken(i32);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "broken by {}", self.0)
    }
}

impl std::error::Error for Broken {}

#[test]
fn a_hosts_error_passes_through_nested_calls_as_itself() {
    let mut linker = Linker::new();
    linker.func("env", "fail", |_: &mut Caller<'_>| -> Result<(), HostError> {
        Err(HostError::new(Broken(1)))
    });
    linker.func("env", "nest", |caller: &mut Caller<'_>| -> Result<(), HostError> {
        let inner = caller.exported_func("inner").unwrap();
        caller.call(inner, &[])?;
        Ok(())
    });
    let (mut store, id) = instantiate_with(
        r#"(module (import "env" "fail" (func $fail)) (import "env" "nest" (func $nest))
             (func (export "inner") (call $fail)) (func (export "outer") (call $nest)))"#,
        linker,
    );
    let error = call(&mut store, id, "outer", &[]).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.downcast_ref::<Broken>().is_some(), "{source:?}");
}

#[test]
fn a_stack_that_is_too_large_is_refused_with_the_largest() {
    let engine = engine();
    let module = compile(&engine, r#"(module (func (export "f")))"#);
    // Rounded up to whole pages, the last would be none.
    for max_stack in [(1 << 40) + 1, 1 << 60, usize::MAX] {
        let config = StoreConfig { max_stack, ..StoreConfig::default() };
        let mut store = Store::new(&engine, Linker::new(), config).unwrap();
        let id = store.instantiate(&module).unwrap();
        let error = call(&mut store, id, "f", &[]).unwrap_err();
        let expected = format!(
            "cannot make a stack: a stack has at most 1099511627776 bytes, not {max_stack}"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn host_errors_exits_and_panics_leave_through_machine_code() {
    let mut linker = Linker::new();
    linker.func("env", "f", |_: &mut Caller<'_>, n: i32| -> Result<(), HostError> {
        match n {
            0 => Ok(()),
            1 => Err(HostError::Exit(7)),
            2 => Err(HostError::new(Broken(n))),
            3 => Err(HostError::Trap(TrapCode::Unreachable)),
            _ => panic!("boom"),
        }
    });
    let (mut store, id) = instantiate_with(
        r#"(module (import "env" "f" (func $f (param i32)))
             (func (export "g") (param i32) (call $f (local.get 0))))"#,
        linker,
    );
    assert!(call(&mut store, id, "g", &[Val::I32(0)]).is_ok());
    assert!(matches!(call(&mut store, id, "g", &[Val::I32(1)]), Err(CallError::Exit(7))));
    match call(&mut store, id, "g", &[Val::I32(2)]) {
        Err(error @ CallError::Host { .. }) => {
            assert_eq!(error.to_string(), "broken by 2");
            let CallError::Host { source, backtrace } = error else { unreachable!() };
            assert_eq!(source.downcast_ref::<Broken>().map(|broken| broken.0), Some(2));
            assert_eq!(backtrace.frames[0].name.as_deref(), Some("f"));
            assert_eq!(backtrace.frames[1].name.as_deref(), Some("g"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(trap(call(&mut store, id, "g", &[Val::I32(3)])).code, TrapCode::Unreachable);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = call(&mut store, id, "g", &[Val::I32(4)]);
    }));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "boom");
    assert!(call(&mut store, id, "g", &[Val::I32(0)]).is_ok(), "the store still works");
}

#[test]
fn instances_share_functions_memories_tables_and_globals() {
    let engine = engine();
    let a = compile(
        &engine,
        r#"(module (memory (export "m") 1 3) (table (export "t") 4 funcref)
             (global (export "g") (mut i32) (i32.const 5))
             (type $t (func (param i32) (result i32)))
             (func $own (export "inc") (type $t)
               (global.set 0 (i32.add (global.get 0) (local.get 0))) (global.get 0))
             (elem (i32.const 0) $own))"#,
    );
    let b = compile(
        &engine,
        r#"(module (type (func)) (type $t (func (param i32) (result i32)))
             (import "a" "inc" (func $inc (type $t)))
             (import "a" "m" (memory 1)) (import "a" "t" (table 4 funcref))
             (import "a" "g" (global $g (mut i32)))
             (func $local (type $t) (i32.mul (local.get 0) (i32.const 3)))
             (elem (i32.const 1) $local $inc)
             (func (export "direct") (param i32) (result i32) (call $inc (local.get 0)))
             (func (export "indirect") (param i32 i32) (result i32)
               (call_indirect (type $t) (local.get 1) (local.get 0)))
             (func (export "wrong") (call_indirect (type 0) (i32.const 0)))
             (func (export "grow") (result i32) (drop (memory.grow (i32.const 1)))
               (i32.store (i32.const 65536) (i32.const 42)) (memory.size))
             (func (export "set") (param i32) (global.set $g (local.get 0))))"#,
    );
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let a = store.instantiate(&a).unwrap();
    store.linker_mut().instance("a", a);
    let b = store.instantiate(&b).unwrap();
    let one = |store: &mut Store, name, params: &[Val]| call(store, b, name, params).unwrap()[0];
    assert_eq!(one(&mut store, "direct", &[Val::I32(2)]), Val::I32(7));
    assert_eq!(one(&mut store, "indirect", &[Val::I32(0), Val::I32(1)]), Val::I32(8));
    assert_eq!(one(&mut store, "indirect", &[Val::I32(1), Val::I32(5)]), Val::I32(15));
    assert_eq!(one(&mut store, "indirect", &[Val::I32(2), Val::I32(1)]), Val::I32(9));
    let missing = trap(call(&mut store, b, "indirect", &[Val::I32(3), Val::I32(1)]));
    assert_eq!(missing.code, TrapCode::IndirectCallToNull);
    let wrong = trap(call(&mut store, b, "wrong", &[]));
    assert_eq!(wrong.code, TrapCode::IndirectCallTypeMismatch);
    assert_eq!(one(&mut store, "grow", &[]), Val::I32(2));
    assert_eq!(store.memory(a, 0).unwrap()[65536], 42);
    call(&mut store, b, "set", &[Val::I32(100)]).unwrap();
    assert_eq!(store.global(a, 0), Some(Val::I32(100)));
}

#[test]
fn handles_of_another_store_are_refused() {
    let wat = r#"(module (memory 1) (tag (export "t")) (global (export "g") (mut funcref) (ref.null func))
        (func (export "f") (result funcref) (ref.func 0)) (func (export "take") (param funcref)))"#;
    let ((mut ours, id), (mut other, theirs)) = (instantiate(wat), instantiate(wat));
    // The numbers are the same; only the stores differ.
    assert_eq!(id, theirs);
    let foreign = other.exported_func(theirs, "f").unwrap();
    assert!(matches!(ours.call(foreign, &[]), Err(CallError::Usage(_))));
    let returned = call(&mut other, theirs, "f", &[]).unwrap();
    let result = call(&mut ours, id, "take", &returned);
    assert!(matches!(result, Err(CallError::Usage(_))));
    assert!(!ours.set_global(id, 0, returned[0]));
    assert!(ours.func_type(foreign).is_none() && ours.module(theirs).is_none());
    assert!(ours.memory(theirs, 0).is_none() && ours.memory_mut(theirs, 0).is_none());
    let tag = other.exported_tag(theirs, "t").unwrap();
    assert!(ours.new_exception(tag, &[]).is_err());
    ours.interrupter().close(theirs, 1);
    let own = call(&mut ours, id, "f", &[]).unwrap();
    call(&mut ours, id, "take", &own).unwrap();
    // An id that is made of a number is the instance of that number.
    assert!(ours.memory(InstanceId::from_position(0), 0).is_some());
    assert_eq!(ours.instance_at(0), Some(id));
    assert_eq!(ours.instance_at(1), None);
}

#[test]
fn forged_references_are_refused() {
    let (mut store, id) =
        instantiate(r#"(module (func (export "f") (param funcref externref)) (func (param i32)))"#);
    let real = store.func(id, 0).unwrap();
    assert!(call(&mut store, id, "f", &[Val::FuncRef(Some(real)), Val::ExternRef(None)]).is_ok());
    let forged = executor_model::FuncRef::new(id, real.ty(), 1);
    let result = call(&mut store, id, "f", &[Val::FuncRef(Some(forged)), Val::ExternRef(None)]);
    assert!(matches!(result, Err(CallError::Usage(_))));
    let handle = std::num::NonZeroU64::new(5).map(ExternRef::Host);
    let result = call(&mut store, id, "f", &[Val::FuncRef(None), Val::ExternRef(handle)]);
    assert!(matches!(result, Err(CallError::Usage(_))));
}

#[test]
fn tail_calls_need_no_stack_within_and_across_instances_and_to_the_host() {
    let engine = engine();
    let other = compile(
        &engine,
        r#"(module (table (export "t") 2 funcref) (elem (i32.const 0) $far)
             (type $f (func (param i32 i64) (result i64)))
             (func $far (export "far") (type $f)
               (return_call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1))
                 (i64.add (local.get 1) (i64.const 2)) (i32.const 1))))"#,
    );
    let main = compile(
        &engine,
        r#"(module (type $f (func (param i32 i64) (result i64)))
             (import "other" "t" (table 2 funcref)) (import "other" "far" (func $far (type $f)))
             (import "env" "last" (func $last (param i64) (result i64)))
             (elem (i32.const 1) $near)
             (func $near (export "run") (type $f)
               (if (i32.le_s (local.get 0) (i32.const 0))
                 (then (return_call $last (local.get 1))))
               (if (i32.and (local.get 0) (i32.const 2))
                 (then (return_call $far (local.get 0) (local.get 1))))
               (return_call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1))
                 (i64.add (local.get 1) (i64.const 1)) (i32.const 0))))"#,
    );
    let mut linker = Linker::new();
    linker.func("env", "last", |_: &mut Caller<'_>, n: i64| -> Result<i64, HostError> { Ok(-n) });
    let config = StoreConfig { max_stack: 64 << 10, ..StoreConfig::default() };
    let mut store = Store::new(&engine, linker, config).unwrap();
    let other = store.instantiate(&other).unwrap();
    store.linker_mut().instance("other", other);
    let main = store.instantiate(&main).unwrap();
    let run = |n: i32| -> i64 {
        // What the module does, as a loop.
        let (mut n, mut sum, mut near) = (n, 0, true);
        while !near || n > 0 {
            match near {
                true if n & 2 != 0 => {}
                true => (n, sum) = (n - 1, sum + 1),
                false => (n, sum) = (n - 1, sum + 2),
            }
            near = !near;
        }
        -sum
    };
    for n in [0, 1, 7, 1_000_000] {
        let results = call(&mut store, main, "run", &[Val::I32(n), Val::I64(0)]).unwrap();
        assert_eq!(results, [Val::I64(run(n))], "{n}");
    }
}
