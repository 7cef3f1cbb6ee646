//! Bytes of clients, guests, workers and users for a server: see `executor_oracles::serve_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| executor_oracles::serve_bytes(bytes));
