//! Every vector operator compiles for the least processor, without a call of a library: what the
//! specification's scripts cannot see on a processor that has more.

use crate::{NativeCompiler, features};
use executor_code::{CompileOptions, Compiler, CpuFeatures};
use executor_model::{Features, Module, ModuleHash};
use std::{collections::BTreeSet, fmt::Write};
use wasmparser::{BinaryReader, FunctionBody, Operator};

/// How many vector operators the parser knows, and the name of an operator that is one.
macro_rules! known {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        const KNOWN: usize = [$(stringify!($op)),*].len();

        fn name(operator: &Operator<'_>) -> Option<&'static str> {
            match operator {
                $(Operator::$op { .. } => Some(stringify!($op)),)*
                _ => None,
            }
        }
    };
}
wasmparser::for_each_visit_simd_operator!(known);

/// SSE3, SSSE3 and SSE4.1.
fn least() -> NativeCompiler {
    let required = CpuFeatures::NAMES
        .iter()
        .filter(|(_, name)| ["has_sse3", "has_ssse3", "has_sse41"].contains(name))
        .fold(0, |bits, (bit, _)| bits | 1 << bit);
    let features = CpuFeatures::from_bits(required);
    NativeCompiler::with_features(features).expect("enough")
}

/// A module with a function for each operator, which comes after `prefix`. Its operands are
/// parameters and its result is returned: an operator whose result is not used has no code.
fn every_operator(prefix: &str) -> Module {
    let mut wat = String::from("(module (memory 1)");
    let mut function = |params: &str, results: &str, operator: String| {
        let count = params.split_whitespace().count();
        let operands: String = (0..count).map(|i| format!("local.get {i} ")).collect();
        write!(wat, "(func (param {params}) (result {results}) {prefix} {operands} {operator})")
            .expect("a string takes anything");
    };
    let mut all = |params: &str, results: &str, shapes: &str, operators: &str| {
        for shape in shapes.split(' ') {
            for operator in operators.split_whitespace() {
                function(params, results, format!("{shape}.{operator}"));
            }
        }
    };
    const V: &str = "v128";
    const VV: &str = "v128 v128";
    const VVV: &str = "v128 v128 v128";
    const INTEGERS: &str = "i8x16 i16x8 i32x4 i64x2";
    const FLOATS: &str = "f32x4 f64x2";

    let loads = "load load8x8_s load8x8_u load16x4_s load16x4_u load32x2_s load32x2_u load8_splat \
                 load16_splat load32_splat load64_splat load32_zero load64_zero";
    all("i32", V, V, loads);
    all("i32 v128", "", V, "store");
    for lane in ["8_lane", "16_lane", "32_lane", "64_lane"] {
        all("i32 v128", V, V, &format!("load{lane}#1"));
        all("i32 v128", "", V, &format!("store{lane}#1"));
    }
    all("", V, V, "const#i64x2#1#2");
    all(V, V, V, "not");
    all(VV, V, V, "and andnot or xor");
    all(VVV, V, V, "bitselect");
    all(V, "i32", V, "any_true");

    all(VV, V, "i8x16", "shuffle#0#17#2#19#4#21#6#23#8#25#10#27#12#29#14#31 swizzle");
    for (shape, lane) in [
        ("i8x16", "i32"),
        ("i16x8", "i32"),
        ("i32x4", "i32"),
        ("i64x2", "i64"),
        ("f32x4", "f32"),
        ("f64x2", "f64"),
    ] {
        all(lane, V, shape, "splat");
        all(&format!("v128 {lane}"), V, shape, "replace_lane#1");
        match shape {
            "i8x16" | "i16x8" => all(V, lane, shape, "extract_lane_s#1 extract_lane_u#1"),
            _ => all(V, lane, shape, "extract_lane#1"),
        }
    }

    all(V, V, INTEGERS, "abs neg");
    all(V, V, "i8x16", "popcnt");
    all(VV, V, INTEGERS, "add sub eq ne lt_s gt_s le_s ge_s");
    all(VV, V, "i16x8 i32x4 i64x2", "mul");
    all(VV, V, "i8x16 i16x8", "add_sat_s add_sat_u sub_sat_s sub_sat_u avgr_u");
    all(VV, V, "i8x16 i16x8 i32x4", "min_s min_u max_s max_u lt_u gt_u le_u ge_u");
    all(VV, V, "i16x8", "q15mulr_sat_s");
    all("v128 i32", V, INTEGERS, "shl shr_s shr_u");
    all(V, "i32", INTEGERS, "all_true bitmask");

    all(V, V, FLOATS, "abs neg sqrt ceil floor trunc nearest");
    all(VV, V, FLOATS, "add sub mul div min max pmin pmax eq ne lt gt le ge");

    for (wide, narrow) in [("i16x8", "i8x16"), ("i32x4", "i16x8"), ("i64x2", "i32x4")] {
        for half in ["low", "high"] {
            let tail = format!("{half}_{narrow}");
            all(V, V, wide, &format!("extend_{tail}_s extend_{tail}_u"));
            all(VV, V, wide, &format!("extmul_{tail}_s extmul_{tail}_u"));
        }
        if wide != "i64x2" {
            let tail = format!("extadd_pairwise_{narrow}");
            all(V, V, wide, &format!("{tail}_s {tail}_u"));
            all(VV, V, narrow, &format!("narrow_{wide}_s narrow_{wide}_u"));
        }
    }
    all(VV, V, "i32x4", "dot_i16x8_s");
    let truncations = "trunc_sat_f32x4_s trunc_sat_f32x4_u trunc_sat_f64x2_s_zero \
                       trunc_sat_f64x2_u_zero";
    all(V, V, "i32x4", truncations);
    all(V, V, "f32x4", "convert_i32x4_s convert_i32x4_u demote_f64x2_zero");
    all(V, V, "f64x2", "convert_low_i32x4_s convert_low_i32x4_u promote_low_f32x4");

    all(V, V, "i32x4", &truncations.replace("trunc_sat", "relaxed_trunc"));
    all(VV, V, "i8x16", "relaxed_swizzle");
    all(VVV, V, FLOATS, "relaxed_madd relaxed_nmadd");
    all(VV, V, FLOATS, "relaxed_min relaxed_max");
    all(VVV, V, INTEGERS, "relaxed_laneselect");
    all(VV, V, "i16x8", "relaxed_q15mulr_s relaxed_dot_i8x16_i7x16_s");
    all(VVV, V, "i32x4", "relaxed_dot_i8x16_i7x16_add_s");
    wat.push(')');
    // A `#` stands for the space before an immediate.
    let wasm = wat::parse_str(wat.replace('#', " ")).expect("valid text");
    least().decode(&wasm, ModuleHash::of(&wasm), Features::default()).expect("valid module")
}

#[test]
fn no_operator_is_missing() {
    let module = every_operator("");
    let mut found = BTreeSet::new();
    for body in module.bodies.iter() {
        let bytes = &module.bytes[body.clone()];
        let body = FunctionBody::new(BinaryReader::new_features(
            bytes,
            0,
            features::wasmparser(Features::ALL),
        ));
        for operator in body.get_operators_reader().expect("valid module") {
            found.extend(name(&operator.expect("valid module")));
        }
    }
    assert_eq!(found.len(), KNOWN, "{found:?}");
    assert_eq!(KNOWN, 236 + 20);
}

#[test]
fn the_least_processor_is_enough() {
    let module = every_operator("");
    let compiled = least().compile(&module, CompileOptions::default(), &|_| {});
    assert!(compiled.is_ok(), "{:?}", compiled.err());
}

#[test]
fn functions_that_are_not_optimised_compile_too() {
    // Loops this deep are compiled with the settings for large functions.
    let (begin, end) = ("loop ".repeat(200), "end ".repeat(200));
    let module = every_operator(&format!("{begin} {end}"));
    let compiled = least().compile(&module, CompileOptions::default(), &|_| {});
    assert!(compiled.is_ok(), "{:?}", compiled.err());
}
