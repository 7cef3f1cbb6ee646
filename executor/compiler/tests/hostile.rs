//! What the memory that a function takes is made of: whatever of it grows with the product of two things is counted
//! before there is too much of it.

use executor_code::{CompileError, CompileOptions, Compiler};
use executor_compiler::NativeCompiler;
use executor_model::{Features, ModuleHash};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Compiles a module with so much memory.
fn compile(module: &str, memory: u64, frame_maps: bool) -> Result<(), CompileError> {
    let wasm = wat::parse_str(module).unwrap_or_else(|_| panic!("the text is wrong"));
    let compiler = NativeCompiler::new().unwrap().with_max_memory(memory);
    let module = compiler.decode(&wasm, ModuleHash::of(&wasm), Features::default())?;
    let options = CompileOptions { frame_maps, ..CompileOptions::default() };
    compiler.compile(&module, options, &|_| {}).map(drop)
}

/// What `large` has is too much for `memory`, and what `small` has is not.
#[track_caller]
fn counted(small: &str, large: &str, memory: u64, frame_maps: bool) {
    compile(small, memory, frame_maps).unwrap();
    let error = compile(large, memory, frame_maps).unwrap_err();
    assert!(matches!(error, CompileError::TooLarge { limit, .. } if limit == memory), "{error}");
}

/// A function with `locals` locals, which it changes in turn in 3,000 decisions.
fn decisions(locals: usize) -> String {
    let decision =
        |i| format!("(if (local.get 0) (then (local.set {} (i32.const 1))))", i % locals);
    let body: String = (0..3000).map(decision).collect();
    format!("(module (func (local {}) {body}))", "i32 ".repeat(locals))
}

#[test]
fn locals_are_counted_for_each_block() {
    counted(&decisions(1), &decisions(1000), 32 * MIB, false);
}

#[test]
fn what_a_loop_takes_is_counted_for_each_block_in_it() {
    // Where the loop begins again, each local is looked for in all that comes before.
    let read = |locals| -> String {
        let read: String = (0..locals).map(|i| format!("(drop (local.get {i}))")).collect();
        let decisions = "(if (local.get 0) (then))".repeat(3000);
        let locals = "i32 ".repeat(locals);
        format!(
            "(module (func (local {locals}) (loop {read} {decisions} (br_if 0 (local.get 0)))))"
        )
    };
    counted(&read(1), &read(1000), 32 * MIB, false);
}

#[test]
fn blocks_are_counted() {
    let blocks = |n| format!("(module (func {}))", "(block (br_if 0 (i32.const 1)))".repeat(n));
    counted(&blocks(100), &blocks(3000), 2 * MIB, false);
}

#[test]
fn handlers_of_calls_are_counted() {
    let tries = |n| {
        let (begin, end) = ("try_table (catch $t 0) ".repeat(n), "end ".repeat(n));
        let calls = "call $f ".repeat(100);
        format!("(module (tag $t) (func $f) (func {begin} {calls} {end}))")
    };
    counted(&tries(1), &tries(100), 4 * MIB, false);
}

#[test]
fn what_the_frames_of_calls_hold_is_counted() {
    let calls = |operands| {
        let (push, pop) = ("i32.const 1 ".repeat(operands), "drop ".repeat(operands));
        let calls = "call $f ".repeat(500);
        format!(r#"(module (import "m" "f" (func $f)) (func {push} {calls} {pop}))"#)
    };
    compile(&calls(2000), 8 * MIB, false).unwrap();
    counted(&calls(1), &calls(2000), 8 * MIB, true);
}

#[test]
fn what_lives_in_loops_and_blocks_is_counted() {
    let nested = |n, locals| {
        let (begin, end) = ("loop block ".repeat(n), "end end ".repeat(n));
        let locals = "i32 ".repeat(locals);
        format!(
            r#"(module (import "m" "f" (func $f)) (func (local {locals}) {begin} call $f {end}))"#
        )
    };
    compile(&nested(500, 20_000), 8 * MIB, false).unwrap();
    counted(&nested(500, 1), &nested(500, 20_000), 8 * MIB, true);
}

#[test]
fn what_refers_to_objects_is_counted_for_each_block_and_call_that_it_is_alive_in() {
    let objects = "(type $box (struct)) (type $row (array anyref)) (func $f)";
    let operands = |n| {
        let made = "struct.new_default $box ".repeat(n);
        format!("(module {objects} (func {made} array.new_fixed $row {n} drop))")
    };
    counted(&operands(10), &operands(2000), 64 * MIB, false);
    // Each is made before the calls and read behind them, or in each round of a loop.
    let locals = |n: usize, begin: &str, end: &str| {
        let made = |i| format!("(local.set {i} (struct.new_default $box))");
        let made: String = (0..n).map(made).collect();
        let read: String = (0..n).map(|i| format!("(drop (local.get {i}))")).collect();
        let (locals, calls) = ("eqref ".repeat(n), "call $f ".repeat(1000));
        format!("(module {objects} (func (local {locals}) {made} {begin} {calls} {end} {read}))")
    };
    counted(&locals(10, "", ""), &locals(1000, "", ""), 24 * MIB, false);
    let read: String = (0..1000).map(|i| format!("(drop (local.get {i}))")).collect();
    let begin = format!("loop {read}");
    counted(&locals(1000, "", "return"), &locals(1000, &begin, "br 0 end"), 24 * MIB, false);
}

#[test]
fn the_time_is_looked_at_while_functions_are_validated() {
    let wasm = wat::parse_str("(module (func))").unwrap();
    let compiler = NativeCompiler::new().unwrap().with_max_time(Duration::ZERO);
    let error = compiler.decode(&wasm, ModuleHash::of(&wasm), Features::default()).unwrap_err();
    assert!(matches!(error, CompileError::TooSlow { limit: Duration::ZERO }), "{error}");
}
