//! An instance between the module and the host: it exports the host's functions and calls them, with
//! values that wait below the calls, so that a call has frames of two instances.
//!
//! Invariant: a function of the relay gives what the host's gives, or throws; what waited is summed
//! up in its globals, where a difference is seen.

use crate::shared::{CHECKPOINT, FUNCTIONS, OUTER};
use fastrand::Rng;
use std::fmt::Write;

/// The relay, or none: the module may call the host itself. Some relays throw now and then.
pub fn module(rng: &mut Rng) -> Option<Vec<u8>> {
    let throws = match rng.u8(..4) {
        0 | 1 => return None,
        2 => None,
        _ => Some(rng.u32(7..60)),
    };
    Some(wat::parse_str(text(throws)).expect("the relay is a module"))
}

fn text(throws: Option<u32>) -> String {
    let mut text = String::from("(module\n");
    let mut add = |line: String| writeln!(text, "{line}").expect("memory is written");
    add(format!(r#"(import "{OUTER}" "{CHECKPOINT}" (func $checkpoint))"#));
    for (name, params, results) in FUNCTIONS {
        add(format!(
            r#"(import "{OUTER}" "{name}" (func ${name} (param {params}) (result {results})))"#
        ));
    }
    add(r#"(tag $thrown (export "thrown") (param i32))
        (global $count (export "count") (mut i32) (i32.const 0))
        (global $sum (export "sum") (mut f64) (f64.const 0))
        (global $lanes (export "lanes") (mut v128) (v128.const i64x2 1 2))"#
        .to_owned());
    let throw = throws.map_or_else(String::new, |every| {
        format!(
            "(if (i32.eqz (i32.rem_u (local.get $n) (i32.const {every})))
               (then (throw $thrown (local.get $n))))"
        )
    });
    add(format!(
        r#"(func $waiting (export "{CHECKPOINT}") (local $n i32) (local $v v128) (local $x f64)
             (local.set $n (i32.add (global.get $count) (i32.const 1)))
             (global.set $count (local.get $n))
             (local.set $v (i32x4.splat (local.get $n)))
             (local.set $x (f64.convert_i32_u (local.get $n)))
             (global.get $sum)
             (i64x2.splat (i64.extend_i32_u (local.get $n)))
             (call $checkpoint)
             {throw}
             (global.set $lanes (i32x4.add (i32x4.add (local.get $v)) (global.get $lanes)))
             (global.set $sum (f64.add (local.get $x))))"#
    ));
    for (at, (name, params, results)) in FUNCTIONS.iter().enumerate() {
        let args: String =
            (0..params.split_whitespace().count()).map(|i| format!("(local.get {i}) ")).collect();
        // Each second one is gone from the stack when the host is called.
        let call = match at % 2 {
            0 => format!("{args} (call $waiting) (call ${name}) (call $waiting)"),
            _ => format!("{args} (call $waiting) (return_call ${name})"),
        };
        add(format!(r#"(func (export "{name}") (param {params}) (result {results}) {call})"#));
    }
    text + ")"
}
