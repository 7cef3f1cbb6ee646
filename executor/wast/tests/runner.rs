//! The runner tells right from wrong: scripts that hold, and scripts that must not.

use executor_compiler::NativeCompiler;
use executor_model::Features;
use executor_wast::{Options, Runner, ScriptReport};
use std::sync::Arc;

fn run_with(options: Options, script: &str) -> ScriptReport {
    let compiler = Arc::new(NativeCompiler::new().expect("this machine is supported"));
    Runner::new(compiler, options).run_script("test.wast", script)
}

fn run(script: &str) -> ScriptReport {
    run_with(Options::default(), script)
}

/// Runs a script and expects failures at these lines, in order, with these words in them.
fn expect_failures(script: &str, expected: &[(usize, &str)]) {
    let report = run(script);
    let lines: Vec<_> = report.failed.iter().map(|f| f.line).collect();
    let expected_lines: Vec<_> = expected.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, expected_lines, "{:#?}", report.failed);
    for (failure, (_, words)) in report.failed.iter().zip(expected) {
        assert!(failure.message.contains(words), "{failure} does not say `{words}`");
    }
}

const ONE: &str = r#"(module (func (export "one") (result i32) i32.const 1))"#;

#[test]
fn a_wrong_result_fails_at_its_line() {
    let script = format!(
        r#"{ONE}
        (assert_return (invoke "one") (i32.const 1))
        (assert_return (invoke "one") (i32.const 2))
        (assert_return (invoke "one"))
        (assert_return (invoke "one") (i64.const 1))
        (assert_trap (invoke "one") "unreachable")"#
    );
    expect_failures(&script, &[(3, "got [I32(1)]"), (4, "got"), (5, "got"), (6, "unreachable")]);
    assert_eq!(run(&script).passed, 2);
}

#[test]
fn a_trap_of_another_kind_fails() {
    expect_failures(
        r#"(module (func (export "f") unreachable))
        (assert_trap (invoke "f") "unreachable")
        (assert_trap (invoke "f") "integer overflow")
        (assert_exhaustion (invoke "f") "call stack exhausted")
        (assert_return (invoke "f"))"#,
        &[(3, "integer overflow"), (4, "exhausted"), (5, "unreachable")],
    );
}

#[test]
fn a_module_that_is_accepted_fails_the_assertion_that_it_is_not() {
    expect_failures(
        r#"(assert_invalid (module (func (result i32))) "type mismatch")
        (assert_invalid (module) "type mismatch")
        (assert_malformed (module quote "(func") "unexpected end")
        (assert_malformed (module quote "(func)") "unexpected end")
        (assert_unlinkable (module (import "a" "b" (func))) "unknown import")
        (assert_unlinkable (module (import "spectest" "print" (func))) "unknown import")
        (assert_unlinkable (module (import "a" "b" (func))) "incompatible import type")"#,
        &[(2, "valid"), (4, "valid"), (6, "linked"), (7, "unknown import")],
    );
}

#[test]
fn after_a_module_that_fails_there_is_no_current_instance() {
    expect_failures(
        &format!(
            r#"{ONE}
            (module (func unreachable) (start 0))
            (assert_return (invoke "one") (i32.const 1))"#
        ),
        &[(2, "unreachable"), (3, "no current instance")],
    );
}

#[test]
fn a_script_that_is_not_well_formed_is_one_failure() {
    expect_failures("(module)\n  (assert_return", &[(2, "")]);
}

#[test]
fn a_restriction_that_was_lifted_holds_where_nothing_else_is_wrong() {
    let options = Options { features: Features::ALL, ..Options::default() };
    let script = r#"
        (assert_invalid (module (memory 1) (memory 1)) "multiple memories")
        (assert_invalid (module (table 1 funcref) (table 1 funcref)) "multiple tables")
        (assert_invalid (module (memory 1)) "multiple memories")
        (assert_invalid (module (memory 1) (memory 1)) "type mismatch")"#;
    let report = run_with(options, script);
    assert_eq!(report.passed, 2);
    let lines: Vec<_> = report.failed.iter().map(|failure| failure.line).collect();
    assert_eq!(lines, [4, 5]);
}

#[test]
fn what_the_engine_lacks_is_skipped_with_its_reason() {
    let report = run("(module)
(assert_suspension (invoke \"f\") \"unhandled\")
(assert_malformed_custom (module) \"x\")");
    assert_eq!(report.passed, 1);
    assert_eq!(report.failed, []);
    let skipped: Vec<_> = report.skipped.iter().map(|(line, why)| (*line, why.as_str())).collect();
    let custom = "the contents of custom sections are not validated";
    assert_eq!(skipped, [(2, "stack switching is not supported"), (3, custom)]);
}

#[test]
fn an_exception_is_asserted_by_being_thrown() {
    let script = r#"(module (tag $t) (func (export "throw") (throw $t)) (func (export "trap") unreachable)
          (func (export "none")))
        (assert_exception (invoke "throw"))
        (assert_exception (invoke "trap"))
        (assert_exception (invoke "none"))
        (assert_trap (invoke "throw") "unreachable")"#;
    let report = run(script);
    assert_eq!(report.passed, 2);
    expect_failures(
        script,
        &[(4, "got `wasm trap"), (5, "got []"), (6, "got `uncaught exception")],
    );
}

#[test]
fn instances_of_one_definition_are_apart() {
    let report = run(r#"(module definition $D
          (global $g (export "g") (mut i32) (i32.const 0))
          (func (export "inc") (global.set $g (i32.add (global.get $g) (i32.const 1)))))
        (module instance $a $D)
        (module instance $b $D)
        (invoke $a "inc")
        (assert_return (get $a "g") (i32.const 1))
        (assert_return (get $b "g") (i32.const 0))
        (assert_return (get "g") (i32.const 0))"#);
    assert_eq!((report.passed, report.failed), (7, vec![]));
}

/// State in every place that the directives of one script can reach, across several instances.
const STATE: &str = r#"
(module $lib
  (memory (export "memory") 1)
  (table (export "table") 4 funcref)
  (global $count (export "count") (mut i32) (i32.const 0))
  (func (export "count!") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (global.get $count)))
(register "lib" $lib)
(module $user
  (import "lib" "memory" (memory 1))
  (import "lib" "table" (table 4 funcref))
  (import "lib" "count!" (func $count (result i32)))
  (type $t (func (result i32)))
  (data $d "\2a")
  (func $answer (result i32) (i32.load8_u (i32.const 7)))
  (elem declare func $answer)
  (func (export "fill")
    (drop (call $count))
    (memory.init $d (i32.const 7) (i32.const 0) (i32.const 1))
    (data.drop $d)
    (table.set 0 (i32.const 2) (ref.func $answer)))
  (func (export "again") (memory.init $d (i32.const 7) (i32.const 0) (i32.const 1)))
  (func (export "call") (param i32) (result i32) (call_indirect (type $t) (local.get 0))))
(invoke "fill")
(module (import "lib" "count!" (func (result i32))) (export "count!" (func 0)))
(assert_return (invoke "count!") (i32.const 2))
(assert_return (get $lib "count") (i32.const 2))
(assert_return (invoke $user "call" (i32.const 2)) (i32.const 42))
(assert_trap (invoke $user "call" (i32.const 1)) "uninitialized element")
(assert_trap (invoke $user "again") "out of bounds memory access")
"#;

#[test]
fn a_script_answers_the_same_through_snapshots() {
    let direct = run(STATE);
    assert_eq!((direct.passed, &direct.failed, direct.restored), (10, &vec![], 0));
    let restored = run_with(Options { through_snapshots: true, ..Options::default() }, STATE);
    assert_eq!((restored.passed, &restored.failed), (10, &vec![]));
    assert_eq!((restored.restored, &restored.not_captured), (4, &vec![]));
}

#[test]
fn a_live_host_value_keeps_the_store_as_it_is() {
    let report = run_with(
        Options { through_snapshots: true, ..Options::default() },
        r#"(module
          (global $g (mut externref) (ref.null extern))
          (func (export "set") (param externref) (global.set $g (local.get 0)))
          (func (export "get") (result externref) (global.get $g)))
        (invoke "set" (ref.extern 7))
        (assert_return (invoke "get") (ref.extern 7))
        (assert_return (invoke "get") (ref.extern))
        (assert_return (invoke "get") (ref.extern 8))
        (assert_return (invoke "get") (ref.null extern))
        (invoke "set" (ref.null extern))
        (assert_return (invoke "get") (ref.null))"#,
    );
    let failed: Vec<_> = report.failed.iter().map(|f| f.line).collect();
    assert_eq!(failed, [8, 9], "{:#?}", report.failed);
    assert_eq!(report.restored, 2);
    assert_eq!(report.not_captured.len(), 1);
    assert_eq!(report.not_captured[0].0, 5);
}

#[test]
fn what_does_not_hold_in_a_thread_is_reported_at_its_line() {
    let script = r#"(module $m (memory (export "shared") 1 1 shared))
        (thread $t (shared (module $m))
          (register "m" $m)
          (module (memory (import "m" "shared") 1 1 shared)
            (func (export "set") (result i32) (i32.store (i32.const 0) (i32.const 6)) (i32.const 1)))
          (assert_return (invoke "set") (i32.const 2))
          (assert_return (invoke $m "set")))
        (wait $t)
        (wait $t)
        (register "m" $m)
        (module (memory (import "m" "shared") 1 1 shared)
          (func (export "get") (result i32) (i32.load (i32.const 0))))
        (assert_return (invoke "get") (i32.const 6))
        (thread $alone (assert_return (invoke "get")))"#;
    for through_snapshots in [false, true] {
        let report = run_with(Options { through_snapshots, ..Options::default() }, script);
        let failed: Vec<_> = report.failed.iter().map(|f| f.line).collect();
        assert_eq!(failed, [6, 7, 9, 14], "{:#?}", report.failed);
        assert!(report.failed[2].message.contains("there is no thread `$t`"));
        assert_eq!(report.passed, 9);
        // While the thread has the memory, nothing is captured.
        let refused = report.not_captured.iter();
        assert!(refused.clone().all(|(_, why)| why.contains("is shared with another store")));
        assert_eq!(report.restored > 0, through_snapshots);
    }
}
