//! Suspended calls in snapshot files: they go on in another engine as they would have, and a forged
//! frame is refused or leads to a call that ends as calls do.

use crate::forged::Numbers;
use executor_code::{Compiler, CpuFeatures, OptLevel};
use executor_compiler::NativeCompiler;
use executor_model::{CallError, Features, InstanceId, Listeners, Module, ModuleHash, Val};
use executor_runtime::{
    Caller, CompiledModule, EngineConfig, Linker, NativeEngine, Reached, Store, StoreConfig,
};
use executor_snapshot::{
    Capture, EntryKind, Manifest, SnapshotError, SnapshotFile,
    format::{Section, reseal},
};
use std::{fs, path::Path, sync::Arc};

/// Frames with values of every kind that a file can hold, of two functions and of a tail call.
const GUEST: &str = r#"(module
    (type $unary (func (param i32) (result i32)))
    (type $pair (func (result i32 funcref)))
    (import "host" "times_ten" (func $times_ten (type $unary)))
    (memory (export "m") 1)
    (table $t 3 funcref) (elem (table $t) (i32.const 0) func $middle $times_ten $other)
    (elem declare func $other $pair)
    (global $g (mut i32) (i32.const 3))
    (func $other (type $unary) (i32.mul (local.get 0) (i32.const 3)))
    (func $pair (type $pair) (call $times_ten (i32.const 2)) (ref.func $other))
    (func $middle (type $unary) (local $v v128) (local $typed (ref null $unary)) (local $d f64)
      (local.set $v (v128.const i64x2 3 4)) (local.set $typed (ref.func $other))
      (local.set $d (f64.const 0.5))
      (i32.add
        (call_ref $unary (call $times_ten (local.get 0)) (local.get $typed))
        (i32.add (i32x4.extract_lane 2 (local.get $v)) (i32.trunc_f64_s (local.get $d)))))
    (func (export "f") (param $n i32) (result i32) (local $r funcref) (local $i i64)
      (local.set $r (ref.func $pair))
      (table.set $t (i32.const 2) (local.get $r))
      (i32.const 1000)
      (loop $again (param i32) (result i32)
        (i32.add (call_indirect $t (type $unary) (local.get $n) (i32.const 0)))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br_if $again (i64.lt_u (local.get $i) (i64.const 2))))
      (table.set $t (i32.const 2) (local.get $r))
      (i32.add (call_indirect $t (type $unary) (i32.const 1) (i32.const 1)))
      (global.set $g)
      (i32.add (global.get $g) (drop_second))))"#;

fn linker() -> Linker {
    let mut linker = Linker::new();
    linker.func("host", "times_ten", |_: &mut Caller<'_>, n: i32| Ok(n.wrapping_mul(10)));
    linker
}

fn engine(frame_maps: bool) -> NativeEngine {
    engine_of(NativeCompiler::new().unwrap(), OptLevel::default(), frame_maps)
}

fn engine_of(compiler: NativeCompiler, opt_level: OptLevel, frame_maps: bool) -> NativeEngine {
    let compiler: Arc<dyn Compiler> = Arc::new(compiler);
    let config = EngineConfig {
        compiler: Some(compiler),
        features: Features::ALL,
        opt_level: Some(opt_level),
        frame_maps,
        ..EngineConfig::default()
    };
    NativeEngine::new(config).unwrap()
}

/// Engines whose code is another: of every level, and for a processor that has only what code needs.
fn other_engines() -> Vec<NativeEngine> {
    let needed = ["has_sse3", "has_ssse3", "has_sse41"];
    let least = CpuFeatures::NAMES.iter().filter(|(_, name)| needed.contains(name));
    let least = CpuFeatures::from_bits(least.map(|(bit, _)| 1 << bit).sum());
    let least = NativeCompiler::with_features(least).unwrap();
    let mut engines = vec![engine_of(least, OptLevel::default(), false)];
    for level in OptLevel::ALL {
        engines.push(engine_of(NativeCompiler::new().unwrap(), level, false));
    }
    engines
}

fn decode() -> Module {
    let wat = GUEST.replace("(drop_second)", "(i32.const 5)");
    let wasm = wat::parse_str(wat).unwrap();
    engine(false).decode(&wasm, ModuleHash::of(&wasm)).unwrap()
}

fn compile(engine: &NativeEngine, module: &Module) -> Arc<CompiledModule> {
    engine.compile(module, &Listeners::none(), true, &|_| {}).unwrap().0
}

/// Writes a snapshot of the guest before its call number `n` of the host; false when there is none.
fn suspend(module: &Module, mut n: u32, path: &Path) -> bool {
    let engine = engine(true);
    let mut store = Store::new(&engine, linker(), StoreConfig::default()).unwrap();
    let id = store.instantiate(&compile(&engine, module)).unwrap();
    let func = store.exported_func(id, "f").unwrap();
    let point = move |_: &mut Caller<'_>, _: &executor_runtime::HostCall<'_>| {
        n -= 1;
        n == 0
    };
    if store.call_until(func, &[Val::I32(7)], point).unwrap() != Reached::Point {
        return false;
    }
    let manifest = Manifest::new(id, EntryKind::Call, vec![Default::default()]);
    let state = store.capture().unwrap();
    Capture::new(&state, manifest, &|_, _| {}).unwrap().publish(path, &|_, _| {}).unwrap();
    true
}

/// Restores a file of anyone's and goes on with its call.
fn go_on(engine: &NativeEngine, module: &Module, path: &Path) -> Result<Vec<Val>, String> {
    let file = SnapshotFile::open(path).map_err(|e| e.to_string())?;
    let code = |hash| match hash == module.hash {
        true => Ok(compile(engine, module)),
        false => Err(SnapshotError::Misfit { path: path.to_owned(), instance: 1, module: hash }),
    };
    let config = StoreConfig::default();
    let mut store = executor_snapshot::restore_untrusted(engine, linker(), config, &file, code)
        .map_err(|e: SnapshotError| e.to_string())?;
    let mut continuations = Vec::new();
    for (hash, sites) in store.suspended_sites() {
        let none = Listeners::none();
        let made = engine.compile_continuations(&module.bytes, hash, &sites, &none);
        continuations.push(made.map_err(|e| e.to_string())?);
    }
    match store.resume(continuations) {
        Ok(values) => {
            // A reference that came out can be called.
            for at in 0..3 {
                let element = store.table_get(InstanceId::from_position(0), 0, at);
                let Some(Val::FuncRef(Some(func))) = element else { continue };
                let params = store.func_type(func).unwrap().params.len();
                let _ = store.call(func, &vec![Val::I32(1); params]);
            }
            Ok(values)
        }
        Err(CallError::Trap(trap)) => Ok(vec![Val::I32(trap.code as i32)]),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_call_goes_on_from_a_file_at_every_point() {
    let module = decode();
    let plain = engine(false);
    let mut store = Store::new(&plain, linker(), StoreConfig::default()).unwrap();
    let id = store.instantiate(&compile(&plain, &module)).unwrap();
    let func = store.exported_func(id, "f").unwrap();
    let expected = store.call(func, &[Val::I32(7)]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    let mut points = 0;
    while suspend(&module, points + 1, &path) {
        points += 1;
        assert_eq!(go_on(&plain, &module, &path), Ok(expected.clone()), "point {points}");
        for (i, other) in other_engines().iter().enumerate() {
            let result = go_on(other, &module, &path);
            assert_eq!(result, Ok(expected.clone()), "point {points}, engine {i}");
        }
        let file = SnapshotFile::open(&path).unwrap();
        assert_eq!(file.call().unwrap().frames.last().unwrap().site.func, 0);
    }
    assert_eq!(points, 3);
}

#[test]
fn a_forged_frame_is_refused_or_its_call_ends_as_calls_do() {
    let module = decode();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    assert!(suspend(&module, 2, &path));
    let engine = engine(false);
    let good = fs::read(&path).unwrap();
    let call = SnapshotFile::open(&path).unwrap();
    let section = |section| call.head().section(section);
    let records = [section(Section::Frames), section(Section::Values)].into_iter().flatten();
    let bytes: Vec<usize> = records.map(|at| at as usize).collect();
    assert!(call.call_len() > 200, "{}", call.call_len());
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let (mut refused, mut ended) = (0, 0);
    let mut reasons = std::collections::BTreeSet::new();
    for _ in 0..1500 {
        let mut forged = good.clone();
        for _ in 0..1 + numbers.below(3) {
            let at = bytes[numbers.below(bytes.len())];
            forged[at] = match numbers.below(4) {
                0 => numbers.below(256) as u8,
                1 => forged[at] ^ 1 << numbers.below(8),
                2 => forged[at].wrapping_add(1),
                _ => good[bytes[numbers.below(bytes.len())]],
            };
        }
        reseal(&mut forged);
        fs::write(&path, &forged).unwrap();
        match go_on(&engine, &module, &path) {
            Ok(_) => ended += 1,
            Err(reason) => {
                refused += 1;
                let words: Vec<&str> = reason.split_whitespace().rev().take(5).collect();
                reasons.insert(words.join(" "));
            }
        }
    }
    println!("{refused} refused, {ended} ended; {} reasons", reasons.len());
    assert!(refused > 300 && ended > 100, "{refused} refused, {ended} ended");
    let all = reasons.into_iter().collect::<String>();
    assert!(all.contains("reference"), "no reference was forged: {all}");
}
