//! Functions of the embedder.

use executor::{CallError, Caller, Error, HostError, Runtime, TrapCode, Val};

const CALLER: &str = r#"(module
    (import "host" "double" (func $double (param i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "call") (param i32) (result i32) (call $double (local.get 0))))"#;

#[test]
fn a_guest_calls_a_closure_which_sees_its_memory() {
    let runtime = Runtime::builder()
        .host_func("host", "double", |caller: &mut Caller<'_>, n: u32| {
            let mut memory = caller.memory().ok_or(HostError::Trap(TrapCode::Unreachable))?;
            memory[0] += 1;
            Ok(n * 2)
        })
        .build()
        .unwrap();
    // It is there while the function is made, and after.
    for function in [runtime.compile(CALLER).unwrap(), runtime.create("f", CALLER).build().unwrap()]
    {
        let mut instance = function.instantiate().unwrap();
        assert_eq!(instance.call("call", &[Val::I32(21)]).unwrap(), [Val::I32(42)]);
        assert_eq!(instance.read(0, 1).unwrap(), [1]);
    }
}

#[test]
fn what_a_closure_fails_with_comes_back() {
    let runtime = Runtime::in_memory().unwrap();
    let error = runtime.compile(CALLER).unwrap().instantiate().unwrap_err();
    assert!(matches!(error, Error::Link(_)), "{error}");
    let with = runtime.with_host_func("host", "double", |_: &mut Caller<'_>, n: u32| match n {
        0 => Err(HostError::Trap(TrapCode::IntegerDivideByZero)),
        1 => Err(HostError::Exit(5)),
        n => Ok(n),
    });
    let mut instance = with.compile(CALLER).unwrap().instantiate().unwrap();
    let mut call = |n| instance.call("call", &[Val::I32(n)]);
    assert_eq!(call(0).unwrap_err().trap().unwrap().code, TrapCode::IntegerDivideByZero);
    assert!(matches!(call(1), Err(Error::Call(CallError::Exit(5)))));
    assert_eq!(call(2).unwrap(), [Val::I32(2)]);
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("no more than {0}")]
struct TooMuch(u32);

#[test]
fn an_error_of_the_embedder_comes_back_as_itself() {
    let runtime = Runtime::in_memory().unwrap();
    let runtime = runtime.with_host_func("host", "double", |_: &mut Caller<'_>, _: u32| {
        Err::<u32, _>(HostError::new(TooMuch(9)))
    });
    let mut instance = runtime.compile(CALLER).unwrap().instantiate().unwrap();
    let error = instance.call("call", &[Val::I32(1)]).unwrap_err();
    let Error::Call(CallError::Host { source, backtrace }) = &error else { panic!("{error}") };
    assert_eq!(source.downcast_ref(), Some(&TooMuch(9)));
    assert!(!backtrace.frames.is_empty());
    assert_eq!(error.to_string(), "no more than 9");
}
