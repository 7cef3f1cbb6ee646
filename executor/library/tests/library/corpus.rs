//! The snapshots of every release, in tests/corpus: this release reads, verifies, restores and runs them all.
//!
//! Each folder is of one release, and its files stay as that release wrote them. A case is a file of lines:
//! `snapshot` and `modules` name files beside it; `calls` names an export, which `returns` these numbers; without it
//! the program is run with `input`, and `prints` what is said.

use executor::{Point, Runtime, Snapshot, Source, Stdin, Stdout, Val};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The first release whose formats later ones must read.
const FIRST: &str = "0.1.0";

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus")
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A case, without its name: what its lines say.
fn read(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let line = |line: &str| line.split_once(' ').map(|(key, what)| (key.into(), what.into()));
    text.lines().filter_map(line).collect()
}

/// Runs a case in a folder, and returns what it does.
fn run(dir: &Path, case: &BTreeMap<String, String>) -> String {
    let path = dir.join(&case["snapshot"]);
    Snapshot::open(&path).unwrap().verify().unwrap();
    let modules = case["modules"].split_whitespace().map(|name| Source::file(dir.join(name)));
    let modules: Vec<Source> = modules.collect();
    let runtime = Runtime::in_memory().unwrap();
    let function = runtime.open_snapshot(&path, &modules).unwrap();
    let input = case.get("input").cloned().unwrap_or_default();
    let instance = function.instance().stdin(Stdin::Bytes(input.into_bytes()));
    let mut instance = instance.stdout(Stdout::Capture).start().unwrap();
    match case.get("calls") {
        Some(export) => {
            let results = instance.call(export, &[]).unwrap();
            let number = |value: &Val| value.to_string();
            results.iter().map(number).collect::<Vec<_>>().join(" ")
        }
        None => {
            instance.run().unwrap();
            String::from_utf8(instance.take_stdout()).unwrap()
        }
    }
}

#[test]
fn the_snapshots_of_every_release_run_as_they_did() {
    let releases = entries(&corpus());
    assert!(releases.iter().any(|dir| dir.ends_with(FIRST)), "{releases:?}");
    for release in releases.iter().filter(|path| path.is_dir()) {
        // A checkout's files may be anybody's to write to, and such are refused.
        let dir = tempfile::tempdir().unwrap();
        for file in entries(release) {
            let copy = dir.path().join(file.file_name().unwrap());
            fs::copy(&file, &copy).unwrap();
            fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
        }
        let cases = entries(dir.path());
        let cases = cases.iter().filter(|path| path.extension().is_some_and(|end| end == "case"));
        let mut count = 0;
        for path in cases {
            let case = read(path);
            let expected = case.get("returns").or(case.get("prints")).unwrap();
            assert_eq!(run(dir.path(), &case), *expected, "{}", path.display());
            count += 1;
        }
        assert!(count >= 6, "{count} cases in {}", release.display());
    }
}

const PRINTER: &str = r#"(module $printer
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "hello and ")
  (func $print (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $len))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start") (local $len i32)
    (call $print (i32.const 64) (i32.const 10))
    (i32.store (i32.const 0) (i32.const 128))
    (i32.store (i32.const 4) (i32.const 64))
    (local.set $len (i32.const 5))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $len (i32.add (local.get $len) (i32.load (i32.const 8))))
    (call $print (i32.const 128) (i32.sub (local.get $len) (i32.const 5)))))"#;

/// A global, a table, dropped segments, a 64-bit memory and one that has grown.
const REACTOR: &str = r#"(module $reactor
  (type $get (func (result i32)))
  (memory $small (export "memory") 1)
  (memory $wide i64 1)
  (table $table 4 8 funcref)
  (global $count (mut i64) (i64.const 0))
  (global $function (mut funcref) (ref.null func))
  (elem $segment func $seven)
  (data $bytes "\05")
  (func $seven (type $get) (i32.const 7))
  (func (export "_initialize")
    (global.set $count (i64.const 1000))
    (global.set $function (ref.func $seven))
    (table.init $table $segment (i32.const 2) (i32.const 0) (i32.const 1))
    (elem.drop $segment)
    (memory.init $small $bytes (i32.const 9) (i32.const 0) (i32.const 1))
    (data.drop $bytes)
    (drop (memory.grow $small (i32.const 1)))
    (i32.store8 $small (i32.const 131071) (i32.const 11))
    (i64.store8 $wide (i64.const 300) (i64.const 13)))
  (func (export "get") (result i64 i32 i32 i32 i32 i32 i32)
    (global.get $count)
    (call_indirect $table (type $get) (i32.const 2))
    (ref.is_null (global.get $function))
    (i32.load8_u $small (i32.const 9))
    (i32.load8_u $small (i32.const 131071))
    (i32.load8_u $wide (i64.const 300))
    (memory.size $small)))"#;

const LIBRARY: &str = r#"(module $library
  (memory (export "memory") 1)
  (global $own (mut i32) (i32.const 0))
  (func (export "bump") (result i32)
    (global.set $own (i32.add (global.get $own) (i32.const 1)))
    (global.get $own)))"#;
const MAIN: &str = r#"(module $main
  (import "library" "memory" (memory 1))
  (import "library" "bump" (func $bump (result i32)))
  (func (export "setup") (i32.store (i32.const 16) (call $bump)))
  (func (export "get") (result i32 i32) (i32.load (i32.const 16)) (call $bump)))"#;

const FILLED: &str = r#"(module $filled
  (memory 1)
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 16384)))
  (func (export "change") (memory.fill (i32.const 4096) (i32.const 2) (i32.const 4096)))
  (func (export "get") (result i32 i32 i32)
    (i32.load8_u (i32.const 4095)) (i32.load8_u (i32.const 4096)) (i32.load8_u (i32.const 8192))))"#;

/// Writes the folder of this release; see CONTRIBUTING.md.
#[test]
#[ignore = "it writes to tests/corpus, once for each release"]
fn write_the_corpus_of_this_release() {
    let dir = corpus().join(env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(corpus()).unwrap();
    fs::create_dir(&dir).expect("the files of a release are never written again");
    let module = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        Source::file(path)
    };
    let case = |name: &str, lines: &str| {
        let text = format!("snapshot {name}.snap\n{lines}\n");
        fs::write(dir.join(format!("{name}.case")), text).unwrap();
    };
    let runtime = Runtime::in_memory().unwrap();
    let path = |name: &str| dir.join(name);

    let printer = module("printer.wasm", PRINTER);
    runtime.snapshot(printer.clone()).output(path("command.snap")).save().unwrap();
    case("command", "modules printer.wasm\ninput more\nprints hello and more");
    let stdin = Point::Stdin;
    runtime.snapshot(printer).at(stdin).output(path("call.snap")).save().unwrap();
    case("call", "modules printer.wasm\ninput rest\nprints rest");
    let reactor = module("reactor.wasm", REACTOR);
    runtime.snapshot(reactor).output(path("reactor.snap")).save().unwrap();
    case("reactor", "modules reactor.wasm\ncalls get\nreturns 1000 7 0 5 11 13 2");
    let (library, main) = (module("library.wasm", LIBRARY), module("main.wasm", MAIN));
    let linked = runtime.snapshot(main).preload("library", library).init("setup");
    linked.output(path("linked.snap")).save().unwrap();
    case("linked", "modules library.wasm main.wasm\ncalls get\nreturns 1 2");
    let filled = module("filled.wasm", FILLED);
    let base = runtime.snapshot(filled.clone()).init("fill");
    base.output(path("base.snap")).save().unwrap();
    case("base", "modules filled.wasm\ncalls get\nreturns 1 1 1");
    let layered = runtime.snapshot(filled).init("fill").init("change");
    let over = executor::Base::Snapshot(path("base.snap"));
    layered.over(over).output(path("layered.snap")).save().unwrap();
    case("layered", "modules filled.wasm\ncalls get\nreturns 1 2 1");
}
