//! Modules and arguments from a seed.
//!
//! Invariant: the same seed gives the same module and arguments, as long as wasm-smith and the
//! generator of random numbers stay the same.

use crate::{
    checkpoints, objects, operators,
    shared::{FUEL, imports, of_bits},
    structured,
};
use arbitrary::Unstructured;
use executor_model::{Val, ValType};
use fastrand::Rng;
use wasm_smith::{Config, MemoryOffsetChoices};

/// From how many random bytes a module is made.
const BYTES: std::ops::Range<usize> = 512..12_000;

/// The features that we have, without those whose results may differ from machine to machine, and
/// sizes at which many modules can be run.
fn config(rng: &mut Rng) -> Config {
    Config {
        available_imports: Some(imports()),
        max_imports: if rng.bool() { 0 } else { 5 },
        export_everything: true,
        canonicalize_nans: true,
        // Half of the modules run deep without trapping, the others trap in every way.
        disallow_traps: rng.bool(),
        min_funcs: 1,
        max_funcs: 12,
        max_instructions: *rng.choice(&[50, 200, 600]).expect("three sizes"),
        min_memories: 1,
        max_memories: 3,
        max_memory32_bytes: 10 << 16,
        max_memory64_bytes: 10 << 16,
        memory_offset_choices: MemoryOffsetChoices(90, 9, 1),
        min_globals: 1,
        max_globals: 12,
        max_tables: 4,
        max_table_elements: 1000,
        max_data_segments: 8,
        max_element_segments: 8,
        max_type_size: 200,
        max_types: 20,
        compact_imports_enabled: false,
        custom_page_sizes_enabled: true,
        exceptions_enabled: true,
        gc_enabled: rng.u8(..4) > 0,
        // Each engine limits sizes in its own way.
        memory_max_size_required: true,
        memory64_enabled: true,
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: true,
        ..Config::default()
    }
}

/// The module of a seed: one of single operators, one of functions in which everything matters, one of functions
/// that make objects, or one of wasm-smith's. The latter have fuel. All export what they have, and call the host
/// between operators.
pub fn module(seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    match seed % 6 {
        1 => {
            let module = operators::module(&mut rng);
            return checkpoints::insert(&module, None, &mut rng);
        }
        2 | 3 => {
            let module = structured::module(&mut rng);
            return checkpoints::insert(&module, Some(0), &mut rng);
        }
        4 | 5 => {
            let module = objects::module(&mut rng);
            return checkpoints::insert(&module, Some(0), &mut rng);
        }
        _ => {}
    }
    let config = config(&mut rng);
    let mut bytes = vec![0; rng.usize(BYTES)];
    rng.fill(&mut bytes);
    let mut module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes))
        .expect("wasm-smith goes on with zeroes where bytes end");
    let fuel = module.ensure_termination(FUEL as u32).expect("no body is of arbitrary bytes");
    checkpoints::insert(&module.to_bytes(), Some(fuel), &mut rng)
}

/// The source of the arguments of a seed.
pub fn arguments(seed: u64) -> Rng {
    Rng::with_seed(!seed)
}

/// A number, often one at a limit.
pub fn number(rng: &mut Rng, ty: ValType) -> Val {
    let random = rng.u128(..);
    let bits = match ty {
        ValType::F32 => {
            let special = [0.0, -0.0, 1.5, -1.0, f32::MAX, f32::INFINITY, f32::NAN, 2147483648.0];
            match rng.choice(special) {
                Some(float) if rng.bool() => u128::from(float.to_bits()),
                _ => random,
            }
        }
        ValType::F64 => {
            let special = [0.0, -0.0, 1.5, -1.0, f64::MAX, f64::INFINITY, f64::NAN, 4294967296.0];
            match rng.choice(special) {
                Some(float) if rng.bool() => u128::from(float.to_bits()),
                _ => random,
            }
        }
        _ => match rng.u8(..8) {
            0 => 0,
            1 => 1,
            2 => u128::MAX,
            3 => 1 << 31 | 1 << 63 | 1 << 127,
            4 => (1 << 31) - 1,
            5 => random & 0xff,
            6 => random & 0xffff,
            _ => random,
        },
    };
    of_bits(bits, ty)
}
