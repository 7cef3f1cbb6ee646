//! Hostile guests of WASI: see `executor_oracles::wasi_hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| executor_oracles::wasi_hostile(bytes));
