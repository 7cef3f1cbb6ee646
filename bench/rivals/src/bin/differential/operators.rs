//! Modules in which every function is one operator on its parameters. wasm-smith seldom finds the
//! operands of operators that take several; here each meets arguments at the limits.
//!
//! Invariant: no function calls itself, directly or through a table, so every call ends.

use fastrand::Rng;
use std::fmt::Write;

/// How many operators a module has.
const COUNT: usize = 60;

/// Parameters, results, and the operators that take and give them.
const OPERATORS: &[(&str, &str, &str)] = &[
    (
        "i32 i32",
        "i32",
        "i32.add;i32.sub;i32.mul;i32.div_s;i32.div_u;i32.rem_s;i32.rem_u;i32.and;i32.or;i32.xor;\
         i32.shl;i32.shr_s;i32.shr_u;i32.rotl;i32.rotr;i32.lt_s;i32.lt_u;i32.gt_s;i32.gt_u;\
         i32.le_s;i32.le_u;i32.ge_s;i32.ge_u",
    ),
    (
        "i64 i64",
        "i64",
        "i64.add;i64.sub;i64.mul;i64.div_s;i64.div_u;i64.rem_s;i64.rem_u;i64.and;i64.or;i64.xor;\
         i64.shl;i64.shr_s;i64.shr_u;i64.rotl;i64.rotr",
    ),
    ("i64 i64", "i32", "i64.lt_s;i64.lt_u;i64.gt_s;i64.gt_u;i64.le_s;i64.le_u;i64.ge_s;i64.ge_u"),
    ("f32 f32", "f32", "f32.add;f32.sub;f32.mul;f32.div;f32.min;f32.max;f32.copysign"),
    ("f64 f64", "f64", "f64.add;f64.sub;f64.mul;f64.div;f64.min;f64.max;f64.copysign"),
    ("f32 f32", "i32", "f32.eq;f32.ne;f32.lt;f32.gt;f32.le;f32.ge"),
    ("f64 f64", "i32", "f64.eq;f64.ne;f64.lt;f64.gt;f64.le;f64.ge"),
    (
        "v128 v128",
        "v128",
        "v128.and;v128.andnot;v128.or;v128.xor;i8x16.swizzle;i16x8.q15mulr_sat_s;\
         i32x4.dot_i16x8_s;i8x16.narrow_i16x8_s;i8x16.narrow_i16x8_u;i16x8.narrow_i32x4_s;\
         i16x8.narrow_i32x4_u;i8x16.add;i16x8.add;i32x4.add;i64x2.add;i8x16.sub;i16x8.sub;\
         i32x4.sub;i64x2.sub;i16x8.mul;i32x4.mul;i64x2.mul;i8x16.add_sat_s;i8x16.add_sat_u;\
         i16x8.add_sat_s;i16x8.add_sat_u;i8x16.sub_sat_s;i8x16.sub_sat_u;i16x8.sub_sat_s;\
         i16x8.sub_sat_u;i8x16.avgr_u;i16x8.avgr_u;i8x16.min_s;i8x16.min_u;i8x16.max_s;\
         i8x16.max_u;i16x8.min_s;i16x8.min_u;i16x8.max_s;i16x8.max_u;i32x4.min_s;i32x4.min_u;\
         i32x4.max_s;i32x4.max_u;i16x8.extmul_low_i8x16_s;i16x8.extmul_high_i8x16_u;\
         i32x4.extmul_low_i16x8_u;i32x4.extmul_high_i16x8_s;i64x2.extmul_low_i32x4_s;\
         i64x2.extmul_high_i32x4_u;i8x16.eq;i8x16.lt_s;i8x16.lt_u;i16x8.gt_s;i16x8.gt_u;\
         i32x4.le_s;i32x4.le_u;i64x2.ge_s;i64x2.lt_s;i64x2.ne;f32x4.eq;f32x4.lt;f32x4.ge;\
         f64x2.ne;f64x2.gt;f64x2.le;f32x4.add;f32x4.sub;f32x4.mul;f32x4.div;f32x4.min;f32x4.max;\
         f32x4.pmin;f32x4.pmax;f64x2.add;f64x2.sub;f64x2.mul;f64x2.div;f64x2.min;f64x2.max;\
         f64x2.pmin;f64x2.pmax;i8x16.shuffle 0 31 1 30 2 29 3 28 4 27 5 26 6 25 7 24;\
         i8x16.shuffle 3 2 1 0 3 2 1 0 3 2 1 0 3 2 1 0",
    ),
    ("v128 v128 v128", "v128", "v128.bitselect"),
    (
        "v128 i32",
        "v128",
        "i8x16.shl;i8x16.shr_s;i8x16.shr_u;i16x8.shl;i16x8.shr_s;i16x8.shr_u;i32x4.shl;\
         i32x4.shr_s;i32x4.shr_u;i64x2.shl;i64x2.shr_s;i64x2.shr_u;i8x16.replace_lane 15;\
         i16x8.replace_lane 7;i32x4.replace_lane 3",
    ),
    (
        "i32",
        "i32",
        "i32.load;i32.load offset=65535;i32.load8_s;i32.load16_u offset=4294967295;memory.grow;\
         i32.load offset=2147483648",
    ),
    ("i32", "i64", "i64.load;i64.load32_s offset=131068;i64.load16_u"),
    ("i32", "v128", "v128.load;v128.load8x8_s;v128.load32_zero;v128.load64_splat offset=65530"),
    (
        "i32 v128",
        "v128",
        "v128.load8_lane 15;v128.load16_lane 0;v128.load32_lane 2;v128.load64_lane 1",
    ),
    (
        "i32 v128",
        "",
        "v128.store;v128.store offset=65528;v128.store8_lane 15;v128.store16_lane 7;\
         v128.store32_lane 0;v128.store64_lane offset=4294967288 1",
    ),
    ("i32 i32", "", "i32.store;i32.store8;i32.store16 offset=65535;i32.store offset=4294967295"),
    ("i32 i64", "", "i64.store;i64.store8;i64.store32 offset=131070"),
    (
        "i32 i32 i32",
        "",
        "memory.copy;memory.fill;memory.init 0;memory.init 1;memory.init 2;table.init 0 0;\
         table.init 0 1;table.init 2 2;table.init 1 3;table.copy 0 0;table.copy 0 2;table.copy 2 0",
    ),
    ("i32 funcref i32", "", "table.fill 0;table.fill 2"),
    ("i32 externref i32", "", "table.fill 1"),
    ("i32 funcref", "", "table.set 0;table.set 2"),
    ("i32 externref", "", "table.set 1"),
    ("i32", "funcref", "table.get 0;table.get 2"),
    ("i32", "externref", "table.get 1"),
    ("funcref i32", "i32", "table.grow 0;table.grow 2"),
    ("externref i32", "i32", "table.grow 1"),
    ("", "i32", "table.size 0;table.size 1;memory.size"),
    ("", "", "data.drop 0;data.drop 1;data.drop 2;elem.drop 1;elem.drop 3"),
    ("funcref funcref i32", "funcref", "select (result funcref)"),
    ("v128 v128 i32", "v128", "select"),
    (
        "i32 i32 i32",
        "i32",
        "call_indirect 0 (param i32 i32) (result i32);\
         return_call_indirect 2 (param i32 i32) (result i32)",
    ),
    ("v128 v128 i32", "v128", "call_indirect 2 (param v128 v128) (result v128)"),
    ("i64 i64 i32", "i64", "call_indirect 0 (param i64 i64) (result i64)"),
    // Memory 1 is 64-bit, memory 2 has pages of one byte, table 3 is 64-bit.
    (
        "i64",
        "i32",
        "i32.load 1;i32.load 1 offset=65535;i32.load8_s 1 offset=18446744073709551615;\
         i32.load16_u 1 offset=4294967296;i32.load8_u 1 offset=33554431;\
         i32.load 1 offset=33554429",
    ),
    ("i64", "i64", "i64.load 1;i64.load32_u 1 offset=131068;memory.grow 1"),
    ("i64", "v128", "v128.load 1;v128.load 1 offset=65520;v128.load 1 offset=18446744073709551600"),
    ("i64 i32", "", "i32.store 1;i32.store8 1 offset=131071;i32.store 1 offset=33554430"),
    ("i32", "i32", "i32.load 2;i32.load8_u 2 offset=99;i32.load 2 offset=4294967295;memory.grow 2"),
    ("i32 i32", "", "i32.store 2;i32.store16 2 offset=100"),
    ("i32 v128", "", "v128.store 2;v128.store8_lane 2 offset=200 3"),
    ("", "i64", "memory.size 1;table.size 3"),
    ("", "i32", "memory.size 2"),
    ("i32 i32 i32", "", "memory.copy 0 2;memory.copy 2 0;memory.copy 2 2;memory.fill 2"),
    ("i64 i64 i64", "", "memory.copy 1 1"),
    ("i64 i32 i64", "", "memory.fill 1"),
    ("i32 i64 i32", "", "memory.copy 0 1;memory.copy 2 1;table.copy 0 3;table.copy 2 3"),
    (
        "i64 i32 i32",
        "",
        "memory.copy 1 2;memory.init 1 2;memory.init 1 0;table.copy 3 0;table.init 3 1",
    ),
    ("i64", "funcref", "table.get 3"),
    ("i64 funcref", "", "table.set 3"),
    ("i64 funcref i64", "", "table.fill 3"),
    ("funcref i64", "i64", "table.grow 3"),
    ("i64 i64 i64", "i64", "call_indirect 3 (param i64 i64) (result i64)"),
    ("i64 i64 i64 i64", "i64 i64", "i64.add128;i64.sub128"),
    ("i64 i64", "i64 i64", "i64.mul_wide_s;i64.mul_wide_u"),
];

/// A module of a few operators, and tables that hold its functions.
pub fn module(rng: &mut Rng) -> Vec<u8> {
    let each = OPERATORS.iter().flat_map(|(params, results, operators)| {
        operators.split(';').map(move |operator| (params, results, operator))
    });
    let mut text = String::from("(module\n");
    let mut add = |line: String| writeln!(text, "{line}").expect("memory is written");
    for (i, (params, results, operator)) in rng.choose_multiple(each, COUNT).iter().enumerate() {
        let operands: String =
            (0..params.split_whitespace().count()).map(|i| format!("local.get {i} ")).collect();
        add(format!(
            "(func $f{i} (export \"{i}: {operator}\") (param {params}) (result {results})
               {operands} {operator})"
        ));
    }
    let mut functions = || {
        let names = (0..rng.usize(1..60)).map(|_| format!(" $f{}", rng.usize(..COUNT)));
        names.collect::<String>()
    };
    add(format!("(table (export \"t0\") 120 funcref) (elem (table 0) (i32.const 0) func {})", {
        functions()
    }));
    add("(table (export \"t1\") 3 100 externref) (table (export \"t2\") 200 200 funcref)".into());
    add(format!("(elem func {}) (elem func {})", functions(), functions()));
    add("(elem externref (ref.null extern) (ref.null extern))".to_owned());
    add(format!("(memory (export \"m\") {} {})", rng.u8(1..3), rng.u8(3..30)));
    add(format!("(memory (export \"m64\") i64 {} {})", rng.u8(1..3), rng.u8(3..30)));
    let (min, max) = (rng.u32(0..9000), rng.u32(9000..20_000));
    add(format!("(memory (export \"m1\") {min} {max} (pagesize 1))"));
    let third = "(table (export \"t3\") i64 20 60 funcref)";
    add(format!("{third} (elem (table 3) (i64.const 3) func $f0 $f1)"));
    add("(data \"some bytes\") (data (i32.const 65530) \"across\")".to_owned());
    add(format!("(data \"{}\")", "more bytes ".repeat(rng.usize(1..600))));
    wat::parse_str(text + ")").expect("every operator is given what it takes")
}
