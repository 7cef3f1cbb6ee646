//! Files of hostile makers: whatever is in one, with every checksum right, it is refused, or
//! restored to a store in which calls end as calls do.

use crate::scene::{Failure, Guest, Scene, Trust, gives, load, restore};
use executor_model::{
    CallError, InstanceId,
    Val::{self, I32},
};
use executor_runtime::StoreConfig;
use executor_snapshot::{
    SnapshotError,
    format::{Head, reseal},
};
use std::fs;

/// What [`MAIN`] is linked to.
const LIBRARY: &str = r#"(module (memory (export "m") 1 3) (table (export "t") 4 9 funcref)
    (global (export "g") (mut i64) (i64.const 5))
    (func (export "f") (result i32) (i32.load (i32.const 4))))"#;

/// Its functions use every link, table, global, size and segment.
const MAIN: &str = r#"(module (type $none (func (result i32)))
    (import "library" "f" (func $f (type $none))) (import "library" "m" (memory 1))
    (import "library" "t" (table $t 4 funcref)) (import "library" "g" (global $g (mut i64)))
    (import "host" "times_ten" (func $times_ten (param i32) (result i32)))
    (table $own 3 8 funcref) (table $externs 2 externref)
    (global $r (mut funcref) (ref.func $one)) (global $e (mut externref) (ref.null extern))
    (global $n (mut i32) (i32.const 7))
    (table $typed 2 4 (ref null $none)) (elem (table $typed) (i32.const 1) (ref null $none) (ref.func $one))
    (global $typed (mut (ref $none)) (ref.func $one)) (elem declare func $f)
    (data $d "segment") (elem $s func $one $f) (elem declare func $times_ten)
    (func $one (type $none) (i32.const 1))
    (func (export "fill") (table.set $t (i32.const 1) (ref.func $one))
      (table.set $own (i32.const 2) (ref.func $times_ten))
      (i32.store (i32.const 4) (i32.const 6)))
    (func (export "globals")
      (global.set $g (i64.add (global.get $g) (i64.const 1)))
      (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (i32.store (i32.const 65532) (global.get $n)))
    (func (export "imports") (result i32) (i32.add (call $f) (call $times_ten (i32.const 3))))
    (func (export "segments")
      (table.init $own $s (i32.const 0) (i32.const 0) (i32.const 2))
      (memory.init $d (i32.const 0) (i32.const 0) (i32.const 7)))
    (func (export "shared") (param i32) (result i32)
      (call_indirect $t (type $none) (local.get 0)))
    (func (export "own") (param i32) (result i32)
      (call_indirect $own (type $none) (local.get 0)))
    (func (export "typed") (param i32) (result i32)
      (i32.add (call_ref $none (table.get $typed (local.get 0)))
        (call_ref $none (global.get $typed))))
    (func (export "retype") (global.set $typed (ref.func $f))
      (table.set $typed (i32.const 0) (global.get $typed)))
    (func (export "extern") (param i32) (result externref) (table.get $externs (local.get 0)))
    (func (export "references") (result funcref externref) (global.get $r) (global.get $e))
    (func (export "grow") (result i32 i32 i32) (memory.grow (i32.const 1))
      (table.grow $t (global.get $r) (i32.const 1)) (table.grow $own (global.get $r) (i32.const 1)))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))"#;

const CALLS: &[(&str, &[i32])] = &[
    ("globals", &[]),
    ("imports", &[]),
    ("shared", &[0]),
    ("shared", &[1]),
    ("shared", &[4]),
    ("own", &[0]),
    ("own", &[2]),
    ("typed", &[0]),
    ("typed", &[1]),
    ("retype", &[]),
    ("typed", &[0]),
    ("own", &[3]),
    ("segments", &[]),
    ("own", &[0]),
    ("extern", &[0]),
    ("extern", &[1]),
    ("references", &[]),
    ("grow", &[]),
    ("shared", &[4]),
    ("own", &[3]),
    ("load", &[65532]),
    ("load", &[131_068]),
    ("load", &[-4]),
];

/// A generator of numbers that is the same on every run (xorshift).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Changes one word to something that is worth trying there.
fn change(bytes: &mut [u8], words: &[usize], numbers: &mut Numbers) {
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let at = words[numbers.below(words.len())];
    let old = word(bytes, at);
    let new = match numbers.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => old.wrapping_add(1 + numbers.below(8) as u64),
        3 => old ^ 1 << numbers.below(64),
        4 => old.wrapping_mul(2),
        // A function reference, as likely as not to one that exists.
        5 => (numbers.below(4) as u64) << 40 | (numbers.below(4) as u64) << 20 | old & 7,
        6 => old.wrapping_add(1 << 12),
        _ => word(bytes, words[numbers.below(words.len())]),
    };
    bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
}

fn call_everything(guest: &mut Guest) {
    let main = InstanceId::from_position(1);
    for (export, params) in CALLS {
        let Some(func) = guest.store.exported_func(main, export) else { continue };
        let params: Vec<Val> = params.iter().map(|n| I32(*n)).collect();
        match guest.store.call(func, &params) {
            Ok(_) | Err(CallError::Trap(_) | CallError::Host { .. }) => {}
            Err(other) => panic!("{export}: {other}"),
        }
    }
}

#[test]
fn a_forged_file_is_refused_or_its_calls_end_as_calls_do() {
    let mut scene = Scene::new();
    scene.add("library", LIBRARY);
    scene.add("main", MAIN);
    scene.guest.expect(&[gives("main", "fill", &[], [])], "before");
    let path = scene.path("s.snap");
    scene.guest.write(&path);
    let engine = scene.other_engine();
    let try_it = || {
        let config = StoreConfig::default();
        restore(&engine, &path, Trust::Elsewhere, config, |hash| load(&engine, hash))
    };
    call_everything(&mut try_it().unwrap());

    let good = fs::read(&path).unwrap();
    let all = (0..good.len()).step_by(8);
    let nonzero: Vec<usize> = all.filter(|at| good[*at..*at + 8] != [0; 8]).collect();
    let head = Head::read(&good, good.len() as u64).unwrap();
    let data = head.data_start() as usize..(head.data_start() + head.data_len()) as usize;
    // The words of the state blocks that are zero matter as well as the others.
    let data: Vec<usize> = data.step_by(8).collect();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut restored) = (0, 0);
    for round in 0..3000 {
        let mut bytes = good.clone();
        let words = if round % 4 == 0 { &data } else { &nonzero };
        for _ in 0..1 + numbers.below(3) {
            change(&mut bytes, words, &mut numbers);
        }
        reseal(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        match try_it() {
            Err(_) => refused += 1,
            Ok(mut guest) => {
                restored += 1;
                call_everything(&mut guest);
            }
        }
    }
    println!("{refused} files refused, {restored} restored and called");
    assert!(refused > 500, "only {refused} files were refused");
    assert!(restored > 500, "only {restored} files got as far as being called");
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let mut scene = Scene::new();
    scene.add("library", LIBRARY);
    scene.add("main", MAIN);
    let path = scene.path("s.snap");
    scene.guest.write(&path);
    let engine = scene.other_engine();
    let good = fs::read(&path).unwrap();
    for len in (0..good.len()).step_by(509) {
        fs::write(&path, &good[..len]).unwrap();
        let config = StoreConfig::default();
        let cut = restore(&engine, &path, Trust::Own, config, |hash| load(&engine, hash));
        assert!(matches!(cut, Err(Failure::Snapshot(SnapshotError::Format { .. }))), "{len} bytes");
    }
}
