//! Damaged code files: see `executor_oracles::code_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| executor_oracles::code_file(bytes));
