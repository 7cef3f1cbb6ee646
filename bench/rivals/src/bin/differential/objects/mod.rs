//! Modules of functions that make objects, hand them around and look at them: what is alive is referred to from
//! locals, operands that wait, handlers, globals, tables, segments and other objects, while more are made.
//!
//! Invariant: functions call those before them only, and take from the fuel; so every call ends. No operator gives
//! a NaN whose bits may differ.

mod body;
mod types;

use crate::shared::{FUNCTIONS, HOST};
use body::Body;
use fastrand::Rng;
use std::fmt::Write;
use types::{Ty, Types};

/// Parameters and results of functions, by their number modulo these. Types 0 and 1 are a structure and an array.
const SIGNATURES: &[(&[Ty], &[Ty])] = &[
    (&[Ty::I32, Ty::I64], &[Ty::I32, Ty::Ref(0)]),
    (&[Ty::I32, Ty::Any], &[Ty::I64, Ty::Eq]),
    (&[Ty::Ref(0), Ty::I32, Ty::Ref(1)], &[Ty::Ref(0), Ty::V128]),
    (&[Ty::F64, Ty::Extern, Ty::I32], &[Ty::Any, Ty::Extern, Ty::F32]),
    (&[Ty::I32], &[Ty::NonNull(1), Ty::Struct, Ty::Func]),
];
/// What the exceptions of each tag carry.
const TAGS: &[&[Ty]] = &[&[Ty::I32], &[Ty::Ref(0), Ty::F64], &[Ty::Any, Ty::Array, Ty::I64]];
/// Globals, all of which may be assigned.
const GLOBALS: &[Ty] =
    &[Ty::I64, Ty::Any, Ty::Eq, Ty::Ref(0), Ty::Ref(1), Ty::Extern, Ty::I31, Ty::Struct, Ty::V128];
/// What each table holds.
const TABLES: &[Ty] = &[Ty::Any, Ty::Ref(0), Ty::Ref(1), Ty::Extern];
/// How long the tables are.
const TABLE_SIZE: u32 = 8;
/// How many items the segments of each table's type have.
const ITEMS: u32 = 4;

/// A module of a few functions. Global 0 is its fuel.
pub fn module(rng: &mut Rng) -> Vec<u8> {
    let types = Types::new(rng);
    let mut text = String::from("(module\n");
    let mut add = |line: String| writeln!(text, "{line}").expect("memory is written");
    let mut exports = String::new();
    add(types.text());
    for (name, params, results) in FUNCTIONS {
        let ty = format!("(param {params}) (result {results})");
        add(format!(r#"(import "{HOST}" "{name}" (func ${name} {ty}))"#));
        exports += &format!(r#"(export "h{name}" (func ${name}))"#);
    }
    add(exports);
    for (i, (params, results)) in SIGNATURES.iter().enumerate() {
        add(format!("(type $t{i} (func (param {}) (result {})))", list(params), list(results)));
    }
    for (i, params) in TAGS.iter().enumerate() {
        add(format!("(tag $e{i} (export \"e{i}\") (param {}))", list(params)));
    }
    add("(global $fuel (mut i32) (i32.const 0)) (memory (export \"m\") 1)".to_owned());
    for (i, ty) in GLOBALS.iter().enumerate() {
        let zero = ty.zero().expect("they may be null");
        let init = if rng.bool() { constant(rng, &types, *ty, 3) } else { zero };
        add(format!("(global $g{i} (export \"g{i}\") (mut {ty}) {init})"));
    }
    for (i, ty) in TABLES.iter().enumerate() {
        add(format!("(table $r{i} (export \"r{i}\") {TABLE_SIZE} {ty})"));
        let items = (0..ITEMS).map(|_| format!("(item {})", constant(rng, &types, *ty, 2)));
        let items: String = items.collect();
        let mode = match rng.bool() {
            true => format!("(table $r{i}) (i32.const {})", rng.u32(..TABLE_SIZE - ITEMS)),
            false => String::new(),
        };
        add(format!("(elem {mode} {ty} {items}) (elem $p{i} {ty} {items})"));
    }
    add("(data $d \"some bytes that arrays of numbers are made from, sixty four..\")".to_owned());
    let count = rng.usize(3..8);
    let names: String = (0..count).map(|i| format!(" $f{i}")).collect();
    add(format!("(table $table (export \"t\") funcref (elem {names}))"));
    for func in 0..count {
        add(Body::new(rng, &types, func).function());
    }
    text += ")";
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn list(types: &[Ty]) -> String {
    types.iter().map(|ty| format!("{ty} ")).collect()
}

/// A constant expression.
fn constant(rng: &mut Rng, types: &Types, ty: Ty, depth: usize) -> String {
    let number = rng.i16(..);
    match ty {
        Ty::I32 | Ty::I64 | Ty::F32 | Ty::F64 => format!("({ty}.const {number})"),
        Ty::V128 => format!("(v128.const i32x4 {number} 1 2 {number})"),
        Ty::I31 => format!("(ref.i31 (i32.const {number}))"),
        Ty::Any | Ty::Eq if rng.bool() => format!("(ref.i31 (i32.const {number}))"),
        Ty::Any if rng.bool() => {
            format!("(any.convert_extern {})", constant(rng, types, Ty::Extern, depth))
        }
        Ty::Extern if depth > 0 => {
            format!("(extern.convert_any {})", constant(rng, types, Ty::Eq, depth - 1))
        }
        Ty::Any | Ty::Eq | Ty::Struct | Ty::Array if depth > 0 => {
            let array = if ty == Ty::Array { true } else { ty != Ty::Struct && rng.bool() };
            let k = types.of_kind(rng, array);
            constant(rng, types, Ty::NonNull(k), depth)
        }
        Ty::Ref(k) if depth > 0 => {
            let k = types.subtype(rng, k);
            constant(rng, types, Ty::NonNull(k), depth)
        }
        Ty::NonNull(k) => {
            let mut value = |ty| constant(rng, types, ty, depth.saturating_sub(1));
            let of = &types.all[k];
            let fields: Vec<Ty> = of.fields.iter().map(|field| field.storage.unpacked()).collect();
            match of.array {
                true => {
                    format!("(array.new_fixed $o{k} 2 {} {})", value(fields[0]), value(fields[0]))
                }
                false => {
                    let fields: String = fields.into_iter().map(value).collect();
                    format!("(struct.new $o{k} {fields})")
                }
            }
        }
        ty => ty.zero().expect("one that may be null"),
    }
}
