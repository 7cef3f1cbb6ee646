//! Every kind of state that one instance has.

use crate::scene::{Scene, gives, int, traps};
use executor_model::{
    FuncRef, TrapCode,
    Val::{self, F32, F64, I32, I64},
};

#[test]
fn a_memory_keeps_its_contents_its_size_and_its_limit() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (memory 2 6) (data (i32.const 10) "\01\02\03\04")
             (func $start (i32.store (i32.const 65536) (i32.const 11))
               (drop (memory.grow (i32.const 2))) (i32.store (i32.const 262140) (i32.const 12)))
             (start $start)
             (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
             (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
             (func (export "fill") (param i32 i32 i32)
               (memory.fill (local.get 0) (local.get 1) (local.get 2)))
             (func (export "copy") (param i32 i32 i32)
               (memory.copy (local.get 0) (local.get 1) (local.get 2)))
             (func (export "size") (result i32) (memory.size))
             (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#,
    );
    let outside = TrapCode::MemoryOutOfBounds;
    scene.assert_indistinguishable(&[
        gives("a", "load", &[10], int(0x0403_0201)),
        gives("a", "load", &[65536], int(11)),
        gives("a", "load", &[262_140], int(12)),
        // Pages that nothing wrote to, in both parts of the memory.
        gives("a", "load", &[40_000], int(0)),
        gives("a", "load", &[200_000], int(0)),
        gives("a", "store", &[200_000, 7], []),
        gives("a", "load", &[200_000], int(7)),
        gives("a", "load", &[200_004], int(0)),
        traps("a", "load", &[262_141], outside),
        traps("a", "store", &[-1, 1], outside),
        gives("a", "size", &[], int(4)),
        gives("a", "grow", &[3], int(-1)),
        gives("a", "grow", &[1], int(4)),
        gives("a", "load", &[327_676], int(0)),
        gives("a", "fill", &[262_144, 0x55, 65536], []),
        gives("a", "load", &[327_676], int(0x5555_5555)),
        traps("a", "load", &[327_677], outside),
        gives("a", "copy", &[0, 10, 4], []),
        gives("a", "load", &[0], int(0x0403_0201)),
        traps("a", "copy", &[327_679, 0, 2], outside),
        gives("a", "grow", &[1], int(5)),
        gives("a", "grow", &[1], int(-1)),
    ]);
}

#[test]
fn scattered_pages_of_a_large_memory_are_all_kept() {
    let mut scene = Scene::new();
    // 200 pages of 4 KiB, each 128 KiB after the one before: more pieces than a file lists.
    scene.add(
        "a",
        r#"(module (memory 400)
             (func $start (local i32)
               (loop
                 (i32.store (i32.add (i32.mul (local.get 0) (i32.const 131072)) (i32.const 4092))
                   (i32.add (local.get 0) (i32.const 1)))
                 (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1)))
                   (i32.const 200)))))
             (start $start)
             (func (export "sum") (result i32) (local $at i32) (local $sum i32)
               (loop
                 (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
                 (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4)))
                   (i32.const 26214400))))
               (local.get $sum)))"#,
    );
    scene.assert_indistinguishable(&[gives("a", "sum", &[], int(200 * 201 / 2))]);
}

#[test]
fn a_memory_of_no_pages_grows_after_restore() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (memory 0 1)
             (func (export "load") (result i32) (i32.load (i32.const 0)))
             (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#,
    );
    scene.assert_indistinguishable(&[
        traps("a", "load", &[], TrapCode::MemoryOutOfBounds),
        gives("a", "grow", &[], int(0)),
        gives("a", "load", &[], int(0)),
        gives("a", "grow", &[], int(-1)),
    ]);
}

#[test]
fn globals_of_every_type_are_kept_whether_exported_or_not() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module
             (global $i32 (mut i32) (i32.const 1)) (global $i64 (mut i64) (i64.const 2))
             (global $f32 (mut f32) (f32.const 3)) (global $f64 (mut f64) (f64.const 4))
             (global $seen (export "seen") (mut i32) (i32.const 5))
             (global $fixed (export "fixed") i64 (i64.const 6))
             (global $fixed_func funcref (ref.func $double))
             (global $func (mut funcref) (ref.null func))
             (global $none (mut funcref) (ref.func $double))
             (global $extern (mut externref) (ref.null extern))
             (table $scratch 1 funcref) (elem declare func $negate)
             (type $unary (func (param i32) (result i32)))
             (func $double (type $unary) (i32.mul (local.get 0) (i32.const 2)))
             (func $negate (type $unary) (i32.sub (i32.const 0) (local.get 0)))
             (func (export "init")
               (global.set $i32 (i32.const -10)) (global.set $i64 (i64.const -20))
               (global.set $f32 (f32.reinterpret_i32 (i32.const 0xffa12345)))
               (global.set $f64 (f64.const -0)) (global.set $seen (i32.const 50))
               (global.set $func (ref.func $negate)) (global.set $none (ref.null func)))
             (func (export "numbers") (result i32 i64 f32 f64 i32 i64)
               (global.get $i32) (global.get $i64) (global.get $f32) (global.get $f64)
               (global.get $seen) (global.get $fixed))
             (func (export "references") (result funcref funcref externref)
               (global.get $func) (global.get $none) (global.get $extern))
             (func (export "through fixed") (param i32) (result i32)
               (table.set 0 (i32.const 0) (global.get $fixed_func))
               (call_indirect (type $unary) (local.get 0) (i32.const 0)))
             (func (export "through mutable") (param i32) (result i32)
               (table.set 0 (i32.const 0) (global.get $func))
               (call_indirect (type $unary) (local.get 0) (i32.const 0)))
             (func (export "swap") (global.set $func (global.get $none))
               (global.set $i32 (i32.add (global.get $i32) (i32.const 1)))))"#,
    );
    scene.guest.expect(&[gives("a", "init", &[], [])], "before");
    let negate = Some(FuncRef::new(scene.guest.id("a"), 0, 1));
    let numbers =
        |i| [I32(i), I64(-20), F32(0xffa1_2345), F64((-0f64).to_bits()), I32(50), I64(6)].to_vec();
    let nulls = [Val::FuncRef(None), Val::ExternRef(None)];
    scene.assert_indistinguishable(&[
        gives("a", "numbers", &[], numbers(-10)),
        gives("a", "references", &[], [&[Val::FuncRef(negate)], &nulls[..]].concat()),
        gives("a", "through fixed", &[21], int(42)),
        gives("a", "through mutable", &[21], int(-21)),
        gives("a", "swap", &[], []),
        gives("a", "numbers", &[], numbers(-9)),
        traps("a", "through mutable", &[21], TrapCode::IndirectCallToNull),
    ]);
}

#[test]
fn tables_keep_their_elements_their_sizes_and_their_limits() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (type $unary (func (param i32) (result i32)))
             (import "host" "times_ten" (func $imported (type $unary)))
             (table $a 3 8 funcref) (table $b (export "b") 2 3 externref) (table $c 1 funcref)
             (elem (table $a) (i32.const 0) func $double $square)
             (elem declare func $other $imported)
             (func $double (type $unary) (i32.mul (local.get 0) (i32.const 2)))
             (func $square (type $unary) (i32.mul (local.get 0) (local.get 0)))
             (func $other (result i32) (i32.const 3))
             (func (export "init")
               (table.set $a (i32.const 0) (ref.func $other))
               (drop (table.grow $a (ref.func $imported) (i32.const 3)))
               (table.set $a (i32.const 4) (ref.null func))
               (drop (table.grow $b (ref.null extern) (i32.const 1)))
               (table.copy $c $a (i32.const 0) (i32.const 1) (i32.const 1)))
             (func (export "a") (param i32 i32) (result i32)
               (call_indirect $a (type $unary) (local.get 1) (local.get 0)))
             (func (export "c") (param i32 i32) (result i32)
               (call_indirect $c (type $unary) (local.get 1) (local.get 0)))
             (func (export "null") (param i32) (result i32)
               (ref.is_null (table.get $a (local.get 0))))
             (func (export "extern") (param i32) (result externref)
               (table.get $b (local.get 0)))
             (func (export "sizes") (result i32 i32 i32)
               (table.size $a) (table.size $b) (table.size $c))
             (func (export "grow") (param i32) (result i32)
               (table.grow $a (ref.null func) (local.get 0)))
             (func (export "grow b") (result i32)
               (table.grow $b (ref.null extern) (i32.const 1)))
             (func (export "clear") (param i32) (table.set $a (local.get 0) (ref.null func)))
             (func (export "copy") (param i32 i32 i32)
               (table.copy $a $a (local.get 0) (local.get 1) (local.get 2))))"#,
    );
    scene.guest.expect(&[gives("a", "init", &[], [])], "before");
    let (null, outside) = (TrapCode::IndirectCallToNull, TrapCode::TableOutOfBounds);
    scene.assert_indistinguishable(&[
        gives("a", "sizes", &[], [6, 3, 1].map(I32)),
        traps("a", "a", &[0, 5], TrapCode::IndirectCallTypeMismatch),
        gives("a", "a", &[1, 5], int(25)),
        traps("a", "a", &[2, 5], null),
        gives("a", "a", &[3, 5], int(50)),
        traps("a", "a", &[4, 5], null),
        gives("a", "a", &[5, 5], int(50)),
        traps("a", "a", &[6, 5], TrapCode::UndefinedElement),
        gives("a", "c", &[0, 6], int(36)),
        gives("a", "null", &[0], int(0)),
        gives("a", "null", &[2], int(1)),
        traps("a", "null", &[6], outside),
        gives("a", "extern", &[2], [Val::ExternRef(None)]),
        traps("a", "extern", &[3], outside),
        gives("a", "grow b", &[], int(-1)),
        gives("a", "grow", &[3], int(-1)),
        gives("a", "grow", &[2], int(6)),
        gives("a", "null", &[7], int(1)),
        gives("a", "copy", &[5, 1, 3], []),
        gives("a", "a", &[5, 7], int(49)),
        gives("a", "a", &[7, 7], int(70)),
        gives("a", "clear", &[5], []),
        traps("a", "a", &[5, 7], null),
    ]);
}

#[test]
fn a_table_of_many_pages_keeps_its_far_elements() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (table 50000 funcref)
             (elem (i32.const 1) func $f) (elem (i32.const 49999) func $f)
             (func $f (result i32) (i32.const 9))
             (func (export "call") (param i32) (result i32)
               (call_indirect (result i32) (local.get 0)))
             (func (export "grow") (result i32)
               (table.grow 0 (ref.func $f) (i32.const 1000))))"#,
    );
    scene.assert_indistinguishable(&[
        gives("a", "call", &[1], int(9)),
        gives("a", "call", &[49_999], int(9)),
        traps("a", "call", &[25_000], TrapCode::IndirectCallToNull),
        traps("a", "call", &[50_000], TrapCode::UndefinedElement),
        gives("a", "grow", &[], int(50_000)),
        gives("a", "call", &[50_999], int(9)),
        traps("a", "call", &[51_000], TrapCode::UndefinedElement),
    ]);
}

#[test]
fn dropped_segments_stay_dropped_and_others_usable() {
    let mut scene = Scene::new();
    // More segments than one word of bits.
    let more = "(data \"z\")".repeat(70);
    scene.add(
        "a",
        &format!(
            r#"(module (memory 1) (table 4 funcref)
                 (data $active (i32.const 0) "abcd") {more} (data $kept "efgh") (data $gone "ijkl")
                 (elem $elem_active (i32.const 0) func $f) (elem $elem_kept func $f $f)
                 (elem $elem_gone func $f) (elem $declared declare func $f)
                 (func $f (result i32) (i32.const 5))
                 (func (export "init") (data.drop $gone) (elem.drop $elem_gone))
                 (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
                 (func (export "active") (param i32)
                   (memory.init $active (i32.const 8) (i32.const 0) (local.get 0)))
                 (func (export "kept") (param i32)
                   (memory.init $kept (i32.const 16) (i32.const 0) (local.get 0)))
                 (func (export "gone") (param i32)
                   (memory.init $gone (i32.const 24) (i32.const 0) (local.get 0)))
                 (func (export "drop kept") (data.drop $kept) (elem.drop $elem_kept))
                 (func (export "elem active") (param i32)
                   (table.init $elem_active (i32.const 1) (i32.const 0) (local.get 0)))
                 (func (export "elem kept") (param i32)
                   (table.init $elem_kept (i32.const 1) (i32.const 0) (local.get 0)))
                 (func (export "elem gone") (param i32)
                   (table.init $elem_gone (i32.const 1) (i32.const 0) (local.get 0)))
                 (func (export "declared") (param i32)
                   (table.init $declared (i32.const 1) (i32.const 0) (local.get 0)))
                 (func (export "call") (param i32) (result i32)
                   (call_indirect (result i32) (local.get 0))))"#
        ),
    );
    scene.guest.expect(&[gives("a", "init", &[], [])], "before");
    let (memory, table) = (TrapCode::MemoryOutOfBounds, TrapCode::TableOutOfBounds);
    scene.assert_indistinguishable(&[
        traps("a", "active", &[1], memory),
        gives("a", "active", &[0], []),
        traps("a", "gone", &[1], memory),
        gives("a", "kept", &[4], []),
        gives("a", "load", &[16], int(i32::from_le_bytes(*b"efgh"))),
        gives("a", "load", &[8], int(0)),
        traps("a", "kept", &[5], memory),
        traps("a", "elem active", &[1], table),
        traps("a", "elem gone", &[1], table),
        traps("a", "declared", &[1], table),
        traps("a", "call", &[2], TrapCode::IndirectCallToNull),
        gives("a", "elem kept", &[2], []),
        gives("a", "call", &[2], int(5)),
        gives("a", "drop kept", &[], []),
        traps("a", "kept", &[1], memory),
        traps("a", "elem kept", &[1], table),
        gives("a", "elem kept", &[0], []),
    ]);
}

#[test]
fn the_start_function_and_initialisation_do_not_run_again() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (import "host" "tick" (func $tick))
             (global $runs (mut i32) (i32.const 0))
             (func $run (global.set $runs (i32.add (global.get $runs) (i32.const 1))) (call $tick))
             (start $run) (export "init" (func $run))
             (func (export "runs") (result i32) (global.get $runs)))"#,
    );
    scene.guest.expect(&[gives("a", "init", &[], []), gives("a", "init", &[], [])], "before");
    assert_eq!(scene.guest.ticks(), 3);
    // The comparison sees that a restore makes no call of `tick`.
    scene.assert_indistinguishable(&[
        gives("a", "runs", &[], int(3)),
        gives("a", "init", &[], []),
        gives("a", "runs", &[], int(4)),
    ]);
}

#[test]
fn what_a_trapped_call_did_before_is_kept() {
    let mut scene = Scene::new();
    scene.add(
        "a",
        r#"(module (memory 1) (global $n (mut i32) (i32.const 0))
             (func $deep (export "deep") (result i32) (i32.add (call $deep) (i32.const 1)))
             (func (export "half") (global.set $n (i32.const 7))
               (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 65536) (i32.const 9)))
             (func (export "read") (result i32 i32) (global.get $n) (i32.load (i32.const 0)))
             (func (export "divide") (param i32) (result i32)
               (i32.div_s (i32.const 10) (local.get 0))))"#,
    );
    let before = [
        traps("a", "half", &[], TrapCode::MemoryOutOfBounds),
        traps("a", "deep", &[], TrapCode::StackOverflow),
    ];
    scene.guest.expect(&before, "before");
    scene.assert_indistinguishable(&[
        gives("a", "read", &[], [7, 8].map(I32)),
        traps("a", "divide", &[0], TrapCode::IntegerDivideByZero),
        traps("a", "deep", &[], TrapCode::StackOverflow),
        gives("a", "divide", &[-5], int(-2)),
    ]);
}

#[test]
fn typed_references_stay_what_they_are() {
    let mut scene = Scene::new();
    scene.add(
        "other",
        r#"(module (type $pad (func)) (type $f (func (param i32) (result i32)))
             (func $third (type $f) (i32.div_s (local.get 0) (i32.const 3)))
             (global (export "f") (ref $f) (ref.func $third)))"#,
    );
    scene.add(
        "a",
        r#"(module (type $f (func (param i32) (result i32)))
             (import "other" "f" (global $theirs (ref $f)))
             (import "host" "times_ten" (func $times_ten (type $f)))
             (table $t 3 (ref null $f)) (global $g (mut (ref $f)) (ref.func $one))
             (elem declare func $one $times_ten)
             (func $one (type $f) (i32.add (local.get 0) (i32.const 1)))
             (func $start (table.set $t (i32.const 0) (global.get $theirs))
               (table.set $t (i32.const 1) (ref.func $times_ten)) (global.set $g (ref.func $times_ten)))
             (start $start)
             (func (export "set") (table.set $t (i32.const 2) (global.get $theirs)))
             (func (export "call") (param i32 i32) (result i32)
               (call_ref $f (local.get 0) (table.get $t (local.get 1))))
             (func (export "global") (type $f) (call_ref $f (local.get 0) (global.get $g))))"#,
    );
    scene.assert_indistinguishable(&[
        gives("a", "call", &[12, 0], int(4)),
        gives("a", "call", &[12, 1], int(120)),
        traps("a", "call", &[12, 2], TrapCode::NullFunctionReference),
        gives("a", "set", &[], []),
        gives("a", "call", &[12, 2], int(4)),
        gives("a", "global", &[7], int(70)),
    ]);
}

#[test]
fn tags_stay_the_same_tag_and_exceptions_find_their_handlers() {
    let mut scene = Scene::new();
    let owner = r#"(module (tag (export "t") (param i32)) (tag $own (export "u") (param i32))
        (func (export "throw") (param i32) (throw 0 (local.get 0)))
        (func (export "throw own") (param i32) (throw $own (local.get 0))))"#;
    scene.add("other", owner);
    scene.add("owner", owner);
    scene.add(
        "a",
        r#"(module
             (import "owner" "u" (tag $u (param i32))) (import "owner" "t" (tag $t (param i32)))
             (import "other" "t" (tag $other (param i32)))
             (import "owner" "throw" (func $throw (param i32)))
             (import "other" "throw" (func $throw_other (param i32)))
             (import "owner" "throw own" (func $throw_own (param i32)))
             (global $none (mut exnref) (ref.null exn)) (table $nulls 3 exnref)
             (func $any (param i32 i32)
               (if (i32.eqz (local.get 0)) (then (return_call $throw (local.get 1))))
               (if (i32.eq (local.get 0) (i32.const 1)) (then (return_call $throw_other (local.get 1))))
               (call $throw_own (local.get 1)))
             (func (export "catch") (param i32 i32) (result i32)
               (block $h2 (result i32)
                 (block $h1 (result i32)
                   (block $h0 (result i32)
                     (try_table (catch $t $h0) (catch $other $h1) (catch $u $h2)
                       (call $any (local.get 0) (local.get 1)))
                     (unreachable))
                   (return (i32.add (i32.const 100))))
                 (return (i32.add (i32.const 200))))
               (i32.add (i32.const 300)))
             (func (export "null") (throw_ref (table.get $nulls (i32.const 2)))))"#,
    );
    scene.assert_indistinguishable(&[
        gives("a", "catch", &[0, 1], int(101)),
        gives("a", "catch", &[1, 2], int(202)),
        gives("a", "catch", &[2, 3], int(303)),
        traps("a", "null", &[], TrapCode::NullExceptionReference),
    ]);
}

#[test]
fn a_module_without_state_is_restored_too() {
    let mut scene = Scene::new();
    scene.add("a", r#"(module (func (export "f") (result i32) (i32.const 4)))"#);
    scene.assert_indistinguishable(&[gives("a", "f", &[], int(4))]);
}
