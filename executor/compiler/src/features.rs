//! Which features a module may use, in wasmparser's words, and what to say of one that needs more.
//!
//! Invariant: validation accepts exactly what the features say; the search here only explains.

use crate::invalid;
use executor_code::CompileError;
use executor_model::Features;
use wasmparser::{Validator, WasmFeatures};

/// Ours and wasmparser's.
const PAIRS: &[(Features, WasmFeatures)] = &[
    (Features::MUTABLE_GLOBAL, WasmFeatures::MUTABLE_GLOBAL),
    (Features::SATURATING_FLOAT_TO_INT, WasmFeatures::SATURATING_FLOAT_TO_INT),
    (Features::SIGN_EXTENSION, WasmFeatures::SIGN_EXTENSION),
    (Features::MULTI_VALUE, WasmFeatures::MULTI_VALUE),
    (Features::BULK_MEMORY, WasmFeatures::BULK_MEMORY),
    (Features::REFERENCE_TYPES, WasmFeatures::REFERENCE_TYPES),
    (Features::SIMD, WasmFeatures::SIMD),
    (Features::RELAXED_SIMD, WasmFeatures::RELAXED_SIMD),
    (Features::TAIL_CALL, WasmFeatures::TAIL_CALL),
    (Features::EXTENDED_CONST, WasmFeatures::EXTENDED_CONST),
    (Features::MULTI_MEMORY, WasmFeatures::MULTI_MEMORY),
    (Features::MEMORY64, WasmFeatures::MEMORY64),
    (Features::FUNCTION_REFERENCES, WasmFeatures::FUNCTION_REFERENCES),
    (Features::GC, WasmFeatures::GC),
    (Features::EXCEPTIONS, WasmFeatures::EXCEPTIONS),
    (Features::LEGACY_EXCEPTIONS, WasmFeatures::LEGACY_EXCEPTIONS),
    (Features::THREADS, WasmFeatures::THREADS),
    (Features::WIDE_ARITHMETIC, WasmFeatures::WIDE_ARITHMETIC),
    (Features::CUSTOM_PAGE_SIZES, WasmFeatures::CUSTOM_PAGE_SIZES),
];

/// What wasmparser knows and we do not, with the name that a user is told.
const UNSUPPORTED: &[(&str, WasmFeatures)] = &[
    ("stack switching", WasmFeatures::STACK_SWITCHING),
    ("shared-everything threads", WasmFeatures::SHARED_EVERYTHING_THREADS),
    ("memory control", WasmFeatures::MEMORY_CONTROL),
    ("custom descriptors", WasmFeatures::CUSTOM_DESCRIPTORS),
    ("compact imports", WasmFeatures::COMPACT_IMPORTS),
];

/// The features in wasmparser's words.
pub(crate) fn wasmparser(features: Features) -> WasmFeatures {
    // Objects need typed references, which wasmparser's GC brings along.
    let features = match features.contains(Features::FUNCTION_REFERENCES) {
        true => features,
        false => features.without(Features::GC),
    };
    let on = PAIRS.iter().filter(|(ours, _)| features.contains(*ours));
    on.fold(WasmFeatures::MVP, |all, (_, theirs)| all.union(*theirs))
}

/// Why a module that is invalid with `features` is refused: for features that it needs, or for
/// `error`.
pub(crate) fn explain(wasm: &[u8], features: Features, error: &wasmparser::Error) -> CompileError {
    let valid = |features| Validator::new_with_features(features).validate_all(wasm).is_ok();
    // What can be taken away again was not needed.
    let mut all = wasmparser(Features::ALL);
    if valid(all) {
        let mut needed = Features::ALL.without(features);
        for (ours, _) in PAIRS.iter().filter(|(ours, _)| !features.contains(*ours)) {
            let fewer = needed.without(*ours);
            if valid(wasmparser(features.with(fewer))) {
                needed = fewer;
            }
        }
        return CompileError::FeatureOff { features: needed };
    }
    let known = all;
    all = UNSUPPORTED.iter().fold(all, |all, (_, theirs)| all.union(*theirs));
    if !valid(all) {
        return invalid(error);
    }
    let mut names = Vec::new();
    for (name, theirs) in UNSUPPORTED {
        let fewer = all.difference(*theirs).union(known);
        match valid(fewer) {
            true => all = fewer,
            false => names.push(*name),
        }
    }
    CompileError::Unknown(names.join(" and "))
}
