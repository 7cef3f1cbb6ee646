//! Calls: by value and typed, what they cost, and memory between them.

use executor::{Error, ExternType, FuncType, Runtime, TrapCode, Val, ValType};

const NUMBERS: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "swap") (param i64 f64) (result f64 i64) (local.get 1) (local.get 0))
    (func (export "half") (param f32) (result f32) (f32.div (local.get 0) (f32.const 2)))
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "function") (param funcref))
    (func (export "crash") unreachable)
    (global (export "answer") i32 (i32.const 42)))"#;

#[test]
fn typed_calls_take_and_return_numbers_and_tuples() {
    let function = Runtime::in_memory().unwrap().compile(NUMBERS).unwrap();
    let mut instance = function.instantiate().unwrap();
    let add = instance.typed::<(i32, i32), i32>("add").unwrap();
    assert_eq!(add.call(&mut instance, (-3, 5)).unwrap(), 2);
    let unsigned = instance.typed::<(u32, u32), u32>("add").unwrap();
    assert_eq!(unsigned.call(&mut instance, (u32::MAX, 0)).unwrap(), u32::MAX);
    let swap = instance.typed::<(u64, f64), (f64, u64)>("swap").unwrap();
    assert_eq!(swap.call(&mut instance, (7, 0.5)).unwrap(), (0.5, 7));
    let half = instance.typed::<f32, f32>("half").unwrap();
    assert_eq!(half.call(&mut instance, 3.0).unwrap().to_bits(), 1.5f32.to_bits());
    let crash = instance.typed::<(), ()>("crash").unwrap();
    let error = crash.call(&mut instance, ()).unwrap_err();
    assert_eq!(error.trap().map(|trap| trap.code), Some(TrapCode::Unreachable));
}

#[test]
fn a_function_of_another_type_is_an_error_that_says_which() {
    let function = Runtime::in_memory().unwrap().compile(NUMBERS).unwrap();
    let mut instance = function.instantiate().unwrap();
    let error = instance.typed::<(i32, i64), i32>("add").unwrap_err();
    assert_eq!(
        error.to_string(),
        "export `add` is of type (i32, i32) -> (i32), not (i32, i64) -> (i32)"
    );
    assert!(matches!(instance.typed::<i64, ()>("function"), Err(Error::Type { .. })));
    assert!(matches!(instance.typed::<(), i32>("answer"), Err(Error::NotAFunction { .. })));
    let error = instance.call("subtract", &[]).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "the module has no export `subtract`; it exports the functions add, crash"
        )
    );
    assert!(instance.call("add", &[Val::I32(1)]).unwrap_err().to_string().contains("(i32, i32)"));
}

#[test]
fn a_typed_function_of_one_instance_is_an_error_in_another() {
    let runtime = Runtime::in_memory().unwrap();
    let one = runtime.compile(NUMBERS).unwrap().instantiate().unwrap();
    let add = one.typed::<(i32, i32), i32>("add").unwrap();
    let other = r#"(module (func (export "f") (param externref externref) (result funcref)
        (ref.null func)))"#;
    let mut other = runtime.compile(other).unwrap().instantiate().unwrap();
    assert!(matches!(add.call(&mut other, (1, 2)), Err(Error::Call(_))));
    let mut same = runtime.compile(NUMBERS).unwrap().instantiate().unwrap();
    assert!(matches!(add.call(&mut same, (1, 2)), Err(Error::Call(_))));
}

#[test]
fn a_typed_call_allocates_nothing() {
    let function = Runtime::in_memory().unwrap().compile(NUMBERS).unwrap();
    let mut instance = function.instantiate().unwrap();
    let add = instance.typed::<(i32, i32), i32>("add").unwrap();
    let swap = instance.typed::<(u64, f64), (f64, u64)>("swap").unwrap();
    // The first call makes the stack.
    add.call(&mut instance, (1, 2)).unwrap();
    let counted = allocation_counter::measure(|| {
        for n in 0..100 {
            assert_eq!(add.call(&mut instance, (n, 1)).unwrap(), n + 1);
            assert_eq!(swap.call(&mut instance, (1, 2.0)).unwrap(), (2.0, 1));
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn memory_is_read_and_written_within_its_bounds() {
    let function = Runtime::in_memory().unwrap().compile(NUMBERS).unwrap();
    let mut instance = function.instantiate().unwrap();
    instance.write(65534, &[1, 2]).unwrap();
    assert_eq!(instance.read(65534, 2).unwrap(), [1, 2]);
    assert_eq!(instance.call("load", &[Val::I32(65535)]).unwrap(), [Val::I32(2)]);
    for (at, len) in [(65535, 2), (u64::MAX, 1), (65537, 0)] {
        assert!(matches!(instance.read(at, len), Err(Error::OutOfBounds(_))), "{at}, {len}");
    }
    assert!(matches!(instance.write(65535, &[9, 9]), Err(Error::OutOfBounds(_))));
    assert_eq!(instance.read(65535, 1).unwrap(), [2], "nothing was written");
    let without = Runtime::in_memory().unwrap().compile("(module)").unwrap();
    assert!(matches!(without.instantiate().unwrap().memory(), Err(Error::NoMemory)));
}

#[test]
fn exports_are_listed_with_their_types() {
    let function = Runtime::in_memory().unwrap().compile(NUMBERS).unwrap();
    let exports = function.exports().unwrap();
    let (names, types): (Vec<_>, Vec<_>) = exports.into_iter().unzip();
    assert_eq!(names, ["add", "answer", "crash", "function", "half", "load", "memory", "swap"]);
    let add = FuncType { params: vec![ValType::I32; 2], results: vec![ValType::I32] };
    assert_eq!(types[0], ExternType::Func(add.clone()));
    assert_eq!(function.function_type("add").unwrap(), add);
    let shown = |at: usize| types[at].to_string();
    assert_eq!(shown(0), "func (i32, i32) -> (i32)");
    assert_eq!((shown(1), shown(6)), ("global i32".to_owned(), "memory of 1 pages".to_owned()));
}
