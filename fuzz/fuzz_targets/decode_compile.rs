//! Modules, valid and not: see `executor_oracles::decode_compile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| executor_oracles::decode_compile(bytes));
