//! What modules may use and how they are compiled: `-W` and `-O`.

use crate::sandbox::Sandbox;

/// Needs vectors and nothing else that is new.
const VECTORS: &str = r#"(module (func (export "lanes") (result i32)
    (i32x4.extract_lane 2 (v128.const i32x4 1 2 3 4))))"#;

#[test]
fn a_feature_that_is_off_is_named_with_its_switch_whether_or_not_code_is_cached() {
    let sandbox = Sandbox::new();
    sandbox.file("vectors.wat", VECTORS);
    let off = ["run", "-W", "simd=n,relaxed-simd=n", "--invoke", "lanes", "vectors.wat"];
    sandbox.run(&off).failed(1, &["vectors.wat", "needs simd", "-W simd"]);
    sandbox.run(&["run", "--invoke", "lanes", "vectors.wat"]).succeeded("3\n");
    sandbox
        .run(&[&off[..1], &["--snapshot", "never"], &off[1..]].concat())
        .failed(1, &["needs simd", "-W simd"]);
    // What is cached serves all who may use it.
    let run = sandbox.report(&["-W", "all-proposals", "--invoke", "lanes", "vectors.wat"]);
    assert_eq!(run.report["code"]["outcome"], "code-cache", "{run:?}");
}

#[test]
fn code_of_a_module_that_was_allowed_more_is_replaced_once() {
    let sandbox = Sandbox::new();
    sandbox.file("vectors.wat", VECTORS);
    let compile = |switches: &[&str]| {
        let run = sandbox.run(&[&["compile", "vectors.wat"], switches].concat());
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout.contains(": compiled,")
    };
    assert!(compile(&["-W", "all-proposals"]));
    assert!(compile(&[]));
    assert!(!compile(&[]));
    assert!(!compile(&["-W", "all-proposals"]));
}

#[test]
fn features_that_are_off_at_first_can_be_switched_on() {
    let sandbox = Sandbox::new();
    let wide = r#"(module (func (export "high") (result i64)
        (i64.mul_wide_u (i64.const -1) (i64.const 3)) (return) ))"#;
    sandbox.file("wide.wat", wide);
    sandbox
        .run(&["run", "--invoke", "high", "wide.wat"])
        .failed(1, &["needs wide-arithmetic", "-W wide-arithmetic"]);
    sandbox.run(&["run", "-W", "wide-arithmetic", "--invoke", "high", "wide.wat"]).succeeded("2\n");
}

#[test]
fn what_is_not_supported_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file("cont.wat", "(module (type $f (func)) (type (cont $f)))");
    sandbox.run(&["compile", "cont.wat"]).failed(1, &["cont.wat", "stack switching"]);
    let refused = sandbox.run(&["compile", "-W", "stack-switching", "cont.wat"]);
    refused.failed(2, &["stack-switching is not supported"]);
}

#[test]
fn code_is_compiled_again_for_another_level_and_kept_otherwise() {
    let sandbox = Sandbox::new();
    sandbox.file("vectors.wat", VECTORS);
    let compile = |level: &[&str]| {
        let run = sandbox.run(&[&["compile", "vectors.wat"], level].concat());
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout.contains(": compiled,")
    };
    assert!(compile(&["-O", "0"]));
    assert!(!compile(&[]), "what is there is good enough");
    assert!(!compile(&["-O", "0"]));
    for level in ["1", "2", "s"] {
        assert!(compile(&["-O", level]), "{level}");
        let run = sandbox.report(&["--invoke", "lanes", "vectors.wat"]);
        assert_eq!(
            (run.stdout.as_str(), &run.report["code"]["outcome"]),
            ("3\n", &"code-cache".into())
        );
    }
    sandbox.run(&["compile", "-O", "3", "vectors.wat"]).failed(2, &["0, 1, 2 or s"]);
}
