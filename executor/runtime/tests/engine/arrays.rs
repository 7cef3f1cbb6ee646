//! Ranges of arrays: what `array.new`, `array.fill` and `array.copy` do is what loops over the elements do.

use crate::*;
use executor_model::{CallError, TrapCode};

/// How elements of a type are made of a number, and a number of them.
const ELEMENTS: [(&str, &str, &str, &str); 8] = [
    ("i8", "", "array.get_u", ""),
    ("i16", "", "array.get_u", ""),
    ("i32", "", "array.get", ""),
    ("i64", "i64.extend_i32_s", "array.get", "i32.wrap_i64"),
    ("f32", "f32.convert_i32_s", "array.get", "i32.trunc_f32_s"),
    ("f64", "f64.convert_i32_s", "array.get", "i32.trunc_f64_s"),
    ("i31ref", "ref.i31", "array.get", "i31.get_s"),
    ("v128", "i32x4.splat", "array.get", "i32x4.extract_lane 3"),
];

/// An array of `len` elements whose values are their indices, and the operators on a part of it. `sum` depends on
/// each element and its place, and on what lies behind the array.
fn module((storage, made, get, number): (&str, &str, &str, &str)) -> String {
    format!(
        r#"(module
  (type $t (array (mut {storage})))
  (global $a (mut (ref null $t)) (ref.null $t))
  (type $zeroes (array (mut i32)))
  (global $behind (mut (ref null $zeroes)) (ref.null $zeroes))
  (func (export "make") (param $len i32) (local $i i32)
    (global.set $a (array.new_default $t (local.get $len)))
    (global.set $behind (array.new_default $zeroes (i32.const 2)))
    (block $done (loop $each
      (br_if $done (i32.ge_u (local.get $i) (local.get $len)))
      global.get $a local.get $i local.get $i {made} array.set $t
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $each))))
  (func (export "new") (param $value i32) (param $len i32)
    local.get $value {made} local.get $len array.new $t
    global.set $a
    (global.set $behind (array.new_default $zeroes (i32.const 2))))
  (func (export "fill") (param $at i32) (param $value i32) (param $count i32)
    global.get $a local.get $at local.get $value {made} local.get $count array.fill $t)
  (func (export "copy") (param $to i32) (param $from i32) (param $count i32)
    global.get $a local.get $to global.get $a local.get $from local.get $count array.copy $t $t)
  (func $sum_of (param $a (ref null $t)) (result i32) (local $i i32) (local $sum i32)
    (block $done (loop $each
      (br_if $done (i32.ge_u (local.get $i) (array.len (local.get $a))))
      (i32.mul (local.get $sum) (i32.const 31))
      local.get $a local.get $i {get} $t {number} i32.add local.set $sum
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $each)))
    (local.get $sum))
  (func (export "sum") (result i32)
    (i32.add (call $sum_of (global.get $a))
      (i32.or (array.get $zeroes (global.get $behind) (i32.const 0))
        (array.get $zeroes (global.get $behind) (i32.const 1))))))"#
    )
}

fn sum(elements: &[i32], storage: &str) -> i32 {
    let kept = |n: i32| match storage {
        "i8" => n & 0xff,
        "i16" => n & 0xffff,
        _ => n,
    };
    elements.iter().fold(0, |sum: i32, n| sum.wrapping_mul(31).wrapping_add(kept(*n)))
}

/// Lengths around each way of doing it, those in machine code and those of the host.
const LENGTHS: [usize; 22] =
    [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127, 129, 130, 300, 1030, 2100];

#[test]
fn ranges_of_arrays_are_what_loops_make_of_them() {
    for element in ELEMENTS {
        let storage = element.0;
        let engine = engine();
        let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
        let id = store.instantiate(&compile(&engine, &module(element))).unwrap();
        let mut run = |name: &str, args: [i32; 3], count: usize| {
            let args: Vec<Val> = args[..count].iter().map(|n| Val::I32(*n)).collect();
            match call(&mut store, id, name, &args).unwrap()[..] {
                [Val::I32(n)] => n,
                _ => 0,
            }
        };
        for len in LENGTHS {
            let n = len as i32;
            run("new", [-77, n, 0], 2);
            assert_eq!(run("sum", [0; 3], 0), sum(&vec![-77; len], storage), "{storage} new {len}");
            // From the middle, and to places before, behind and at it: they overlap.
            let total = 2 * len + 9;
            for (to, from) in [(len + 4, 4), (4, len + 4), (5, 4), (4, 5), (4, 12), (12, 4), (4, 4)]
            {
                if to.max(from) + len > total {
                    continue;
                }
                run("make", [total as i32, 0, 0], 1);
                let mut model: Vec<i32> = (0..total as i32).collect();
                run("copy", [to as i32, from as i32, n], 3);
                model.copy_within(from..from + len, to);
                let what = format!("{storage} copy {len} from {from} to {to}");
                assert_eq!(run("sum", [0; 3], 0), sum(&model, storage), "{what}");
                run("fill", [to as i32, 0x5a3c, n], 3);
                model[to..to + len].fill(0x5a3c);
                assert_eq!(
                    run("sum", [0; 3], 0),
                    sum(&model, storage),
                    "{storage} fill {len} at {to}"
                );
            }
        }
    }
}

#[test]
fn nothing_of_a_range_that_is_not_inside_is_written() {
    for element in ELEMENTS {
        let engine = engine();
        let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
        let id = store.instantiate(&compile(&engine, &module(element))).unwrap();
        call(&mut store, id, "make", &[Val::I32(40)]).unwrap();
        let before = call(&mut store, id, "sum", &[]).unwrap();
        for (name, args) in [
            ("copy", [8, 0, 33]),
            ("copy", [0, 8, 33]),
            ("copy", [0, 41, 0]),
            ("copy", [-1, 0, 2]),
            ("copy", [0, -1, 2]),
            ("copy", [0, 1, -1]),
            ("fill", [8, 1, 33]),
            ("fill", [41, 1, 0]),
            ("fill", [-1, 1, 2]),
            ("fill", [1, 1, -1]),
        ] {
            let Err(CallError::Trap(trap)) = call(&mut store, id, name, &args.map(Val::I32)) else {
                panic!("{name} {args:?}")
            };
            assert_eq!(trap.code, TrapCode::ArrayOutOfBounds, "{name} {args:?}");
        }
        assert_eq!(call(&mut store, id, "sum", &[]).unwrap(), before, "{}", element.0);
        // Nothing at the end is inside.
        call(&mut store, id, "copy", &[40, 40, 0].map(Val::I32)).unwrap();
        call(&mut store, id, "fill", &[40, 1, 0].map(Val::I32)).unwrap();
    }
}
