//! Forged snapshots: with every checksum right, a file is refused, or restored to a store in which calls end as calls
//! do, the same in every restore.

use crate::edits::edit;
use arbitrary::{Result, Unstructured};
use executor::{
    CallError, Error, Function, Instance, Outcome, Point, Runtime, Source, TrapCode, Val,
};
use executor_snapshot::{
    SnapshotFile,
    format::{HEADER_LEN, Header},
};
use std::{fs, path::PathBuf, sync::OnceLock, time::Duration};
use tempfile::TempDir;
use zerocopy::{FromBytes, IntoBytes};

/// What [`MAIN`] is linked to.
const LIBRARY: &str = r#"(module (memory (export "m") 1 3) (table (export "t") 4 9 funcref)
  (global (export "g") (mut i64) (i64.const 5))
  (func (export "f") (result i32) (i32.load (i32.const 4))))"#;

/// Uses every link, table, global, size and segment. It ends soon whatever its state is.
const MAIN: &str = r#"(module (type $none (func (result i32)))
  (import "library" "f" (func $f (type $none))) (import "library" "m" (memory 1))
  (import "library" "t" (table $t 4 funcref)) (import "library" "g" (global $g (mut i64)))
  (import "host" "times_ten" (func $times_ten (param i32) (result i32)))
  (table $own 3 8 funcref) (table $externs 2 externref) (memory $second 1 4)
  (global $r (mut funcref) (ref.func $one)) (global $e (mut externref) (ref.null extern))
  (global $n (mut i32) (i32.const 7))
  (table $typed 2 4 (ref null $none))
  (elem (table $typed) (i32.const 1) (ref null $none) (ref.func $one))
  (global $typed (mut (ref $none)) (ref.func $one)) (elem declare func $f)
  (data $d "segment") (elem $s func $one $f) (elem declare func $times_ten)
  (func $one (type $none) (i32.const 1))
  (func (export "fill") (table.set $t (i32.const 1) (ref.func $one))
    (table.set $own (i32.const 2) (ref.func $times_ten))
    (i32.store (i32.const 4) (i32.const 6)) (i32.store $second (i32.const 8) (i32.const 6)))
  (func (export "globals") (result i64)
    (global.set $g (i64.add (global.get $g) (i64.const 1)))
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (i32.store (i32.const 65532) (global.get $n)) (global.get $g))
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
  (func (export "null") (param i32) (result i32)
    (ref.is_null (table.get $externs (local.get 0))))
  (func (export "grow") (result i32 i32 i32 i32) (memory.grow (i32.const 1))
    (memory.grow $second (i32.const 1)) (table.grow $t (global.get $r) (i32.const 1))
    (table.grow $own (global.get $r) (i32.const 1)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "load second") (param i32) (result i32) (i32.load $second (local.get 0))))"#;

/// The calls of it, in order.
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
    ("null", &[0]),
    ("null", &[1]),
    ("grow", &[]),
    ("shared", &[4]),
    ("own", &[3]),
    ("load", &[65532]),
    ("load", &[131_068]),
    ("load", &[-4]),
    ("load second", &[8]),
    ("load second", &[65536]),
];

/// Looks at objects that it made before, along every reference, and makes more until they are collected.
const OBJECTS: &str = r#"(module
  (rec
    (type $node (sub (struct (field $n (mut i32)) (field $next (mut (ref null $node))))))
    (type $tall (sub final $node (struct (field (mut i32)) (field (mut (ref null $node)))
      (field $any (mut anyref)) (field $f (ref null $function)) (field $row (ref $row)) (field $v v128)
      (field $out (mut externref)) (field $i31 (ref null i31)))))
    (type $row (array (mut (ref null $node))))
    (type $function (func (result i32))))
  (type $bytes (array (mut i8)))
  (global $list (mut (ref null $node)) (ref.null $node))
  (global $any (mut anyref) (ref.null any))
  (global $out (mut externref) (ref.null extern))
  (table $nodes 3 (ref null $node)) (table $all 4 eqref)
  (elem $items (ref null $node) (item (struct.new $node (i32.const 5) (ref.null $node))) (item (ref.null $node)))
  (elem declare func $one)
  (func $one (type $function) (i32.const 1))
  (func $tall (param $n i32) (result (ref $tall)) (struct.new $tall (local.get $n) (global.get $list)
    (array.new $bytes (i32.const 7) (local.get $n)) (ref.func $one)
    (array.new_fixed $row 2 (global.get $list) (struct.new $node (i32.const 3) (ref.null $node)))
    (v128.const i64x2 1 2) (global.get $out) (ref.i31 (local.get $n))))
  (func (export "fill") (local $i i32)
    (loop $more
      (global.set $list (struct.new $node (i32.const 0x600df00d) (global.get $list)))
      (global.set $list (call $tall (local.get $i)))
      (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4))))
    (global.set $any (array.new_elem $row $items (i32.const 0) (i32.const 2)))
    (global.set $out (extern.convert_any (global.get $list)))
    (table.set $nodes (i32.const 1) (global.get $list))
    (table.set $all (i32.const 2) (ref.i31 (i32.const -1)))
    (table.set $all (i32.const 3) (global.get $list))
    ;; A circle, which is gone round until there have been enough.
    (struct.set $node $next (struct.get $node $next (global.get $list)) (global.get $list)))
  (func $walk (param $node (ref null $node)) (result i32) (local $sum i32) (local $left i32)
    (local.set $left (i32.const 20))
    (block $done (loop $more
      (br_on_null $done (local.get $node)) (drop)
      (br_if $done (i32.eqz (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (local.set $sum (i32.add (local.get $sum) (struct.get $node $n (local.get $node))))
      (local.set $node (struct.get $node $next (local.get $node)))
      (br $more)))
    (local.get $sum))
  (func $look (param $any anyref) (result i32)
    (block $node (result (ref $node)) (block $row (result (ref $row)) (block $bytes (result (ref $bytes))
      (block $i31 (result (ref i31))
        (br_on_cast $node anyref (ref $node) (local.get $any)) (br_on_cast $row anyref (ref $row))
        (br_on_cast $bytes anyref (ref $bytes)) (br_on_cast $i31 anyref (ref i31))
        (return (ref.is_null)))
      (return (i31.get_s)))
      (return (array.len)))
      (return (call $walk (array.get $row (i32.const 1)))))
    (call $walk))
  (func (export "list") (result i32) (call $walk (global.get $list)))
  (func (export "any") (result i32) (call $look (global.get $any)))
  (func (export "out") (result i32) (call $look (any.convert_extern (global.get $out))))
  (func (export "nodes") (param i32) (result i32) (call $walk (table.get $nodes (local.get 0))))
  (func (export "all") (param i32) (result i32) (call $look (table.get $all (local.get 0))))
  (func (export "tall") (result i32 i32 i32 i32 i32 v128) (local $t (ref $tall))
    (local.set $t (ref.cast (ref $tall) (global.get $list)))
    (call $look (struct.get $tall $any (local.get $t)))
    (call_ref $function (struct.get $tall $f (local.get $t)))
    (call $look (struct.get $tall $row (local.get $t)))
    (call $look (any.convert_extern (struct.get $tall $out (local.get $t))))
    (i31.get_u (struct.get $tall $i31 (local.get $t)))
    (struct.get $tall $v (local.get $t)))
  (func (export "items") (result i32)
    (table.init $nodes $items (i32.const 0) (i32.const 0) (i32.const 2))
    (call $walk (table.get $nodes (i32.const 0))))
  (func (export "write") (param i32)
    (struct.set $tall $any (ref.cast (ref $tall) (global.get $list)) (table.get $all (local.get 0)))
    (struct.set $node $next (global.get $list) (struct.new $node (local.get 0) (global.get $list))))
  (func (export "churn") (local $left i32)
    (local.set $left (i32.const 3000))
    (loop $more (drop (call $tall (i32.const 2000)))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#;

/// The calls of it, in order.
const OBJECT_CALLS: &[(&str, &[i32])] = &[
    ("list", &[]),
    ("any", &[]),
    ("out", &[]),
    ("nodes", &[0]),
    ("nodes", &[1]),
    ("all", &[2]),
    ("all", &[3]),
    ("tall", &[]),
    ("churn", &[]),
    ("tall", &[]),
    ("items", &[]),
    ("write", &[2]),
    ("write", &[3]),
    ("tall", &[]),
    ("churn", &[]),
    ("list", &[]),
    ("any", &[]),
    ("out", &[]),
    ("nodes", &[0]),
];

/// Waits in a call of the host, two frames deep, one of them inside a `try_table`.
const SUSPENDED: &str = r#"(module
  (import "host" "times_ten" (func $times_ten (param i32) (result i32)))
  (memory (export "memory") 1) (tag $tag (param i32))
  (func $inner (param $a i64) (param $b f32) (result i32) (local $v v128)
    (local.set $v (v128.const i32x4 1 2 3 4))
    (i32.store (i32.const 16) (i32.const 7))
    (i32.add (call $times_ten (i32.const 4))
      (i32.add (i32.wrap_i64 (local.get $a)) (i32x4.extract_lane 2 (local.get $v)))))
  (func (export "main") (result i32)
    (block $handler (result i32)
      (try_table (result i32) (catch $tag $handler)
        (i32.add (i32.const 100) (call $inner (i64.const 20) (f32.const 1.5)))))))"#;

/// A file that is changed, and the modules that it is of.
struct Base {
    file: Vec<u8>,
    modules: Vec<Source>,
    /// The calls that are made of it; where there are none, it is inside a call.
    calls: &'static [(&'static str, &'static [i32])],
    /// Where the page begins that is worth changing most.
    begin: usize,
}

struct Bench {
    dir: TempDir,
    runtime: Runtime,
    bases: [Base; 3],
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = Runtime::builder()
            .store(dir.path().join("store"))
            .host_func("host", "times_ten", |_: &mut executor::Caller<'_>, n: i32| {
                Ok(n.wrapping_mul(10))
            })
            .build()
            .expect("a runtime");
        let path = dir.path().join("base.snap");
        let read = || fs::read(&path).expect("the snapshot that was made");
        let linked = runtime.snapshot(MAIN).preload("library", LIBRARY).init("fill").output(&path);
        linked.save().expect("a snapshot");
        let modules = vec![Source::from(LIBRARY), Source::from(MAIN)];
        let linked = Base { file: read(), modules, calls: CALLS, begin: 0 };
        let objects = runtime.snapshot(OBJECTS).init("fill").output(&path);
        objects.save().expect("a snapshot");
        let (file, modules) = (read(), vec![Source::from(OBJECTS)]);
        let node = file.windows(4).position(|bytes| *bytes == 0x600d_f00d_u32.to_le_bytes());
        let begin = node.expect("an object in the snapshot") & !4095;
        let objects = Base { file, modules, calls: OBJECT_CALLS, begin };
        let point: Point = "import:host.times_ten".parse().expect("a point");
        let suspended = runtime.snapshot(SUSPENDED).call("main", &[]).at(point).output(&path);
        suspended.save().expect("a snapshot");
        let modules = vec![Source::from(SUSPENDED)];
        let suspended = Base { file: read(), modules, calls: &[], begin: 0 };
        Bench { dir, runtime, bases: [linked, suspended, objects] }
    })
}

/// A file that a test on this thread alone writes to.
fn path(bench: &Bench) -> PathBuf {
    bench.dir.path().join(format!("{:?}.snap", std::thread::current().id()))
}

/// Makes every checksum right, where the lengths leave something to hash.
fn reseal(bytes: &mut [u8]) {
    let Ok((header, rest)) = Header::mut_from_prefix(bytes) else { return };
    let len = usize::try_from(header.metadata_len.get()).unwrap_or(usize::MAX);
    let Some((metadata, data)) = rest.split_at_checked(len) else { return };
    header.metadata_hash = *blake3::hash(metadata).as_bytes();
    header.data_hash = *blake3::hash(data).as_bytes();
    let covered = HEADER_LEN - header.header_hash.len();
    header.header_hash = *blake3::hash(&header.as_bytes()[..covered]).as_bytes();
}

/// A forged snapshot is refused, or its instances are equal, end every call as a call ends, and are equal then.
///
/// # Panics
/// When that is not so.
pub fn snapshot_file(bytes: &[u8]) {
    // What ends early changes nothing more.
    let _ = try_it(&mut Unstructured::new(bytes));
}

fn try_it(u: &mut Unstructured<'_>) -> Result<()> {
    let bench = bench();
    let base = u.choose(&bench.bases)?;
    let mut bytes = base.file.clone();
    let forged = u.ratio(15, 16)?;
    if forged {
        let begin = if u.arbitrary()? { base.begin } else { 0 };
        edit(&mut bytes, begin, u)?;
        // Or else the file is a damaged one.
        if u.ratio(15, 16)? {
            reseal(&mut bytes);
        }
    }
    let path = path(bench);
    fs::write(&path, &bytes).expect("a file to write to");
    if let Ok(file) = SnapshotFile::open(&path) {
        assert_eq!(file.file_len(), bytes.len() as u64);
    }
    let function = match bench.runtime.open_snapshot(&path, &base.modules) {
        Ok(function) => function,
        Err(error) => {
            assert!(forged, "what was made is refused: {error}");
            check_message(&error);
            return Ok(());
        }
    };
    let first = life(&function, base.calls);
    // The second one is a kept store that was reset.
    let second = life(&function, base.calls);
    assert_eq!(first, second, "two instances of one snapshot differ");
    let other = bench.runtime.open_snapshot(&path, &base.modules).expect("it was opened before");
    assert_eq!(first, life(&other, base.calls), "two restores of one file differ");
    Ok(())
}

/// What is seen of an instance from its beginning to its end.
#[derive(Debug, PartialEq)]
struct Life {
    before: Option<blake3::Hash>,
    ended: Vec<std::result::Result<Vec<Val>, Ended>>,
    after: Option<blake3::Hash>,
}

/// How a call ended that did not return.
#[derive(Debug, PartialEq)]
enum Ended {
    Trap(TrapCode),
    Said(String),
}

fn life(function: &Function, calls: &[(&str, &[i32])]) -> Life {
    // What is restored may say that it runs an export of ours for ever: none does.
    let mut instance = match function.instance().timeout(Duration::from_secs(20)).start() {
        Ok(instance) => instance,
        Err(error) => {
            let ended = vec![Err(how(error))];
            return Life { before: None, ended, after: None };
        }
    };
    let memory = |instance: &Instance| instance.memory().ok().map(blake3::hash);
    let before = memory(&instance);
    let mut ended = Vec::new();
    if calls.is_empty() {
        ended.push(match instance.run() {
            Ok(Outcome::Returned(values)) => Ok(values),
            Ok(Outcome::Exited(code)) => Err(Ended::Said(format!("exit {code}"))),
            Err(error) => Err(how(error)),
        });
    } else {
        for (export, params) in calls {
            let params: Vec<Val> = params.iter().map(|n| Val::I32(*n)).collect();
            ended.push(instance.call(export, &params).map_err(how));
        }
    }
    Life { before, ended, after: memory(&instance) }
}

fn how(error: Error) -> Ended {
    check_message(&error);
    match error.call() {
        Some(CallError::Trap(trap)) => {
            assert_ne!(trap.code, TrapCode::Interrupted, "a call does not end");
            Ended::Trap(trap.code)
        }
        _ => Ended::Said(error.to_string()),
    }
}

/// An error says something.
fn check_message(error: &Error) {
    assert!(!error.to_string().trim().is_empty());
}
