//! Forged snapshots: see `executor_oracles::snapshot_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| executor_oracles::snapshot_file(bytes));
