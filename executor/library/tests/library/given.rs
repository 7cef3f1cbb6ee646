//! What instances are given, and that they have nothing else.

use executor::{DirAccess, Error, Outcome, Runtime, Stdin, Stdout, Val};
use std::fs;

/// Answers with the sizes of what it is given.
const SEES: &str = r#"(module
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $dir (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_create_directory"
        (func $make (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\10\00\00\00")
    (data (i32.const 32) "made")
    (func (export "arguments") (result i32)
      (drop (call $args (i32.const 8) (i32.const 12))) (i32.load (i32.const 8)))
    (func (export "variables") (result i32)
      (drop (call $env (i32.const 8) (i32.const 12))) (i32.load (i32.const 8)))
    (func (export "directory") (result i32) (call $dir (i32.const 3) (i32.const 8)))
    (func (export "make") (result i32) (call $make (i32.const 3) (i32.const 32) (i32.const 4)))
    (func (export "input") (result i32)
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i32.load (i32.const 8))))"#;

#[test]
fn an_instance_that_is_given_nothing_has_nothing() {
    let function = Runtime::in_memory().unwrap().compile(SEES).unwrap();
    let mut instance = function.instantiate().unwrap();
    let mut answer = |export| instance.call(export, &[]).unwrap()[0];
    assert_eq!(answer("arguments"), Val::I32(1), "only its name");
    assert_eq!(answer("variables"), Val::I32(0));
    assert_ne!(answer("directory"), Val::I32(0));
    assert_eq!(answer("input"), Val::I32(0));
}

#[test]
fn an_instance_has_what_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let function = Runtime::in_memory().unwrap().compile(SEES).unwrap();
    let given = |access| {
        let builder = function.instance().args(["a", "b"]).env("A", "1").env("A", "2");
        builder.dir(dir.path(), "/", access).stdin(Stdin::Bytes(b"four".to_vec())).start().unwrap()
    };
    let mut instance = given(DirAccess::ReadOnly);
    let mut answer = |export| instance.call(export, &[]).unwrap()[0];
    assert_eq!(answer("arguments"), Val::I32(3));
    assert_eq!(answer("variables"), Val::I32(1));
    assert_eq!(answer("directory"), Val::I32(0));
    assert_eq!(answer("input"), Val::I32(4));
    assert_ne!(answer("make"), Val::I32(0), "it is read only");
    assert_eq!(given(DirAccess::ReadWrite).call("make", &[]).unwrap(), [Val::I32(0)]);
    assert!(dir.path().join("made").is_dir());
    let missing = function.instance().dir(dir.path().join("x"), "/", DirAccess::ReadOnly).start();
    assert!(matches!(missing, Err(Error::Wasi(_))));
}

#[test]
fn output_goes_where_it_is_to_go() {
    let dir = tempfile::tempdir().unwrap();
    let function = Runtime::in_memory().unwrap().compile(super::functions::READER).unwrap();
    let run = |stdout| {
        let instance = function.instance().stdin(Stdin::Bytes(b"again\n".to_vec()));
        let mut instance = instance.stdout(stdout).start().unwrap();
        assert_eq!(instance.run().unwrap(), Outcome::Returned(Vec::new()));
        instance.take_stdout()
    };
    assert_eq!(run(Stdout::Capture), b"hello\nagain\n");
    assert_eq!(run(Stdout::Discard), b"");
    let path = dir.path().join("out");
    run(Stdout::File(fs::File::create(&path).unwrap()));
    assert_eq!(fs::read(path).unwrap(), b"hello\nagain\n");
}

#[test]
fn a_function_that_needs_a_directory_gives_it_to_instances_that_are_given_none() {
    let (made, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = Runtime::in_memory().unwrap();
    let access = DirAccess::ReadWrite;
    let function = runtime.create("f", SEES).dir(made.path(), "/", access).build().unwrap();
    assert_eq!(function.instantiate().unwrap().call("make", &[]).unwrap(), [Val::I32(0)]);
    assert!(made.path().join("made").is_dir());
    let mut instance = function.instance().dir(other.path(), "/", access).start().unwrap();
    assert_eq!(instance.call("make", &[]).unwrap(), [Val::I32(0)]);
    assert!(other.path().join("made").is_dir());
}
