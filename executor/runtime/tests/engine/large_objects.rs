//! Objects at the limits that engines have agreed on: 10,000 fields, supertypes 63 deep, types and constant expressions
//! without end.

use crate::*;
use executor_model::{AnyRef, CallError, TrapCode};
use std::{fmt::Write, num::NonZeroU32};

/// The most fields of a structure, and the most elements of `array.new_fixed`.
const FIELDS: usize = 10_000;
/// The most supertypes of a type.
const DEPTH: usize = 63;

fn make(wat: &str, config: StoreConfig) -> (Store, InstanceId) {
    let engine = engine();
    let mut store = Store::new(&engine, Linker::new(), config).unwrap();
    let id = store.instantiate(&compile(&engine, wat)).unwrap();
    (store, id)
}

fn i32s(store: &mut Store, id: InstanceId, name: &str, params: &[i32]) -> Vec<i32> {
    let params: Vec<Val> = params.iter().map(|n| Val::I32(*n)).collect();
    let number = |value| match value {
        Val::I32(n) => n,
        other => panic!("{other:?}"),
    };
    call(store, id, name, &params).unwrap().into_iter().map(number).collect()
}

/// A structure of references and one of vectors, and arrays of as many elements, made in a function and before one
/// runs.
#[test]
fn the_largest_structures_and_literals_are_made_read_and_collected() {
    let mut wat = String::from("(module (type $box (struct (field i32)))\n(type $all (struct ");
    wat += &"(field (mut (ref null $box)))".repeat(FIELDS);
    wat += ")) (type $vectors (struct ";
    wat += &"(field (mut v128))".repeat(FIELDS);
    wat += ")) (type $row (array (ref null $box)))\n";
    let boxes: String = (0..FIELDS).map(|i| format!("(struct.new $box (i32.const {i}))")).collect();
    write!(
        wat,
        "(global $all (ref $all) (struct.new $all {boxes}))
         (global $row (ref $row) (array.new_fixed $row {FIELDS} {boxes}))
         (func $garbage (drop (array.new_default $row (i32.const 10))))
         (func (export \"made\") (result i32 i32 i32)
           (struct.get $box 0 (struct.get $all {last} (global.get $all)))
           (call $garbage)
           (struct.get $box 0 (struct.get $all 77 (global.get $all)))
           (struct.get $box 0 (array.get $row (global.get $row) (i32.const {last}))))
         (func (export \"row\") (result i32 i32) (local $row (ref $row))
           (local.set $row (array.new_fixed $row {FIELDS} {nulls} (struct.new $box (i32.const 5))))
           (call $garbage)
           (array.len (local.get $row))
           (struct.get $box 0 (array.get $row (local.get $row) (i32.const {last}))))
         (func (export \"vectors\") (result i32) (local $v (ref $vectors))
           (local.set $v (struct.new_default $vectors))
           (struct.set $vectors {last} (local.get $v) (v128.const i32x4 1 2 3 4))
           (call $garbage)
           (i32x4.extract_lane 3 (struct.get $vectors {last} (local.get $v)))))",
        last = FIELDS - 1,
        nulls = "(ref.null $box)".repeat(FIELDS - 1),
    )
    .unwrap();
    let collect_every = NonZeroU32::new(1000);
    let (mut store, id) = make(&wat, StoreConfig { collect_every, ..StoreConfig::default() });
    store.collect_objects();
    assert_eq!(i32s(&mut store, id, "made", &[]), [9999, 77, 9999]);
    assert_eq!(i32s(&mut store, id, "row", &[]), [10_000, 5]);
    assert_eq!(i32s(&mut store, id, "vectors", &[]), [4]);
    assert_eq!(i32s(&mut store, id, "made", &[]), [9999, 77, 9999]);
    store.collect_objects();
    // Both lists of boxes, the structure and the array.
    assert_eq!(store.object_bytes(), (2 * FIELDS as u64) * 16 + (8 + 40_000) + (16 + 40_000));
}

/// Two hierarchies, each as deep as there may be: an object of each type is of all above it and of none else.
#[test]
fn the_deepest_hierarchies_are_told_apart() {
    let mut wat = String::from("(module\n");
    for (hierarchy, field) in [("a", "i32"), ("b", "i64")] {
        for i in 0..=DEPTH {
            let supertype = if i > 0 { format!("${hierarchy}{}", i - 1) } else { String::new() };
            let fields = format!("(field {field})").repeat(1 + i / 9);
            writeln!(wat, "(type ${hierarchy}{i} (sub {supertype} (struct {fields})))").unwrap();
        }
    }
    let types: Vec<String> = ["a", "b"]
        .iter()
        .flat_map(|hierarchy| (0..=DEPTH).map(move |i| format!("{hierarchy}{i}")))
        .collect();
    for ty in &types {
        let of = &ty[..1];
        // Of how many types of its own hierarchy it is, and of how many of the other.
        let tests = |hierarchy: &str| {
            let one = |i| format!("(i32.add (ref.test (ref ${hierarchy}{i}) (local.get $o)))");
            let all: String = (0..=DEPTH).map(one).collect();
            format!("(i32.const 0) {all}")
        };
        let (own, other) = (tests(of), tests(if of == "a" { "b" } else { "a" }));
        writeln!(
            wat,
            "(func (export \"{ty}\") (result i32 i32) (local $o anyref)
               (local.set $o (struct.new_default ${ty})) {own} {other})"
        )
        .unwrap();
    }
    let (mut store, id) = make(&(wat + ")"), StoreConfig::default());
    for ty in &types {
        let depth: i32 = ty[1..].parse().unwrap();
        assert_eq!(i32s(&mut store, id, ty, &[]), [depth + 1, 0], "{ty}");
    }
}

/// What is made of the last of many types, again and again, does not take longer for there being so many.
#[test]
fn many_types_and_long_constant_expressions() {
    const TYPES: usize = 200_000;
    const DEEP: usize = 100_000;
    let mut wat = String::from("(module (rec\n");
    for i in 0..TYPES {
        writeln!(wat, "(type (struct (field (ref null {}))))", (i * 7919) % TYPES).unwrap();
    }
    let last = TYPES - 1;
    writeln!(wat, ") (type $row (array (mut anyref))) (type $bytes (array (mut i8)))").unwrap();
    for _ in 0..10_000 {
        writeln!(wat, "(global anyref (struct.new_default {last}))").unwrap();
    }
    // Many operands wait, all of them roots.
    let (mut deep, mut waiting) = (format!("struct.new_default {last} ").repeat(DEEP), DEEP);
    while waiting > 1 {
        let taken = waiting.min(FIELDS);
        write!(deep, "array.new_fixed $row {taken} ").unwrap();
        waiting -= taken - 1;
    }
    writeln!(
        wat,
        "(global $deep (export \"deep\") (mut anyref) {deep})
         (global $filled (ref $bytes) (array.new $bytes (i32.const 7) (i32.const 1000000)))
         (elem $items anyref (item (struct.new_default {last})) (item (ref.i31 (i32.const 3))))
         (data $data \"data\")
         (func (export \"again\") (param $left i32) (result i32)
           (loop $more
             (drop (array.new_data $bytes $data (i32.const 0) (i32.const 4)))
             (drop (array.new_elem $row $items (i32.const 0) (i32.const 2)))
             (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
           (ref.test (ref {last}) (array.get $row
             (array.new_elem $row $items (i32.const 0) (i32.const 2)) (i32.const 0))))
         (func (export \"filled\") (result i32)
           (array.get_u $bytes (global.get $filled) (i32.const 999999))))"
    )
    .unwrap();
    let (mut store, id) = make(&wat, StoreConfig::default());
    assert_eq!(i32s(&mut store, id, "filled", &[]), [7]);
    assert_eq!(i32s(&mut store, id, "again", &[10_000]), [1]);
    store.collect_objects();
    // Every operand is where it was put.
    let (_, global) = store.export(id, "deep").unwrap();
    let Some(Val::AnyRef(Some(AnyRef::Object(deep)))) = store.global(id, global) else {
        panic!("an array")
    };
    // The last literal takes what the others have left.
    assert_eq!(store.object_len(deep).unwrap() as usize, (DEEP - 1) % (FIELDS - 1) + 1);
    let first = store.field(deep, 0).unwrap();
    let Val::AnyRef(Some(AnyRef::Object(first))) = first else { panic!("{first:?}") };
    assert_eq!(store.object_type(first).unwrap().index as usize, last);
}

/// Lengths whose bytes do not fit an address, or the heap.
#[test]
fn arrays_too_long_for_any_heap_are_a_trap() {
    let (mut store, id) = make(
        r#"(module (type $bytes (array (mut i8))) (type $vectors (array (mut v128)))
             (type $refs (array (mut anyref)))
             (func (export "bytes") (param i32) (result i32)
               (array.len (array.new $bytes (i32.const 1) (local.get 0))))
             (func (export "vectors") (param i32) (result i32)
               (array.len (array.new $vectors (v128.const i64x2 1 1) (local.get 0))))
             (func (export "refs") (param i32) (result i32)
               (array.len (array.new $refs (ref.i31 (i32.const 1)) (local.get 0)))))"#,
        StoreConfig { max_heap: 1 << 20, ..StoreConfig::default() },
    );
    for name in ["bytes", "vectors", "refs"] {
        for len in [1 << 20, 1 << 28, (1 << 28) - 1, 1 << 30, i32::MAX, i32::MIN, -1, -2, -16] {
            match call(&mut store, id, name, &[Val::I32(len)]) {
                Err(CallError::Trap(trap)) => assert_eq!(trap.code, TrapCode::HeapExhausted),
                other => panic!("{name}, {len}: {other:?}"),
            }
        }
        assert_eq!(i32s(&mut store, id, name, &[1000]), [1000]);
    }
}
