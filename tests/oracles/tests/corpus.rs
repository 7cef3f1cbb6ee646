//! The oracles over the saved inputs, and over generated ones.
#![forbid(unsafe_code)]

use executor_oracles::{ALL, Oracle};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// A generator of numbers that is the same on every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ n >> 31
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}

fn check(oracle: Oracle, what: &str, bytes: &[u8]) {
    let held = catch_unwind(AssertUnwindSafe(|| oracle(bytes)));
    assert!(held.is_ok(), "{what}: a property does not hold of {bytes:02x?}");
}

fn oracle(name: &str) -> Oracle {
    ALL.iter().find(|(known, _)| *known == name).expect("a known oracle").1
}

/// `count` generated inputs of up to `longest` bytes.
fn generated(name: &str, count: u64, longest: u64) {
    for seed in 0..count {
        let mut numbers = Numbers(seed);
        let len = numbers.next() % longest;
        let bytes = numbers.bytes(len as usize);
        check(oracle(name), &format!("{name}, seed {seed}"), &bytes);
    }
}

#[test]
fn what_was_found_once() {
    for (name, oracle) in ALL {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no inputs", corpus.display());
        for file in files {
            check(*oracle, &file.display().to_string(), &fs::read(&file).unwrap());
        }
    }
}

#[test]
fn generated_modules() {
    generated("decode_compile", 1000, 1200);
}

#[test]
fn generated_damage_to_code() {
    generated("code_file", 5000, 200);
}

#[test]
fn generated_snapshots() {
    generated("snapshot_file", 2000, 200);
}

#[test]
fn generated_guests() {
    generated("wasi_hostile", 2000, 600);
}

#[test]
fn generated_bytes_for_a_server() {
    generated("serve_bytes", 4000, 400);
}
