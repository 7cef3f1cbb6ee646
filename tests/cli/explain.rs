//! `executor snapshot explain`: which functions wrote the pages that a snapshot holds.

use crate::{inspect::WAITS, sandbox::Sandbox};
use serde_json::{Value, json};

/// Who writes to which page of it first can be told from its text.
const WRITES: &str = r#"(module $writes
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1 4)
  (data (i32.const 0) "x")
  (func $_ZN3app5storeE (i32.store8 (i32.const 20480) (i32.const 1)))
  (func $fill (param $at i32)
    (memory.fill (local.get $at) (i32.const 1) (i32.const 8192)))
  (func $init (export "_initialize")
    (call $_ZN3app5storeE)
    (call $fill (i32.const 32768))
    (drop (memory.grow (i32.const 1)))
    (i32.store (i32.const 69632) (i32.const 7))
    (drop (call $random (i32.const 12288) (i32.const 16)))
    (i32.store8 (i32.const 1) (i32.const 1))
    (i32.store8 (i32.const 20481) (i32.const 1))
    (i32.store8 (i32.const 24576) (i32.const 1))
    (i32.store8 (i32.const 24576) (i32.const 0))
    (i64.store (i32.const 45052) (i64.const -1))))"#;

fn explain(sandbox: &Sandbox, target: &[&str]) -> Value {
    let run = sandbox.ok(&[&["snapshot", "explain", "--json"], target].concat());
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn every_page_is_its_first_writers() {
    let sandbox = Sandbox::new();
    sandbox.file("writes.wat", WRITES);
    let json = explain(&sandbox, &["writes.wat"]);
    assert_eq!((&json["pages"], &json["bytes"]), (&json!(8), &json!(8 << 12)));
    assert_eq!(json["zero_again"], 1);
    let function = |name: &str, index: Option<u32>, own: u32, total: u32| {
        let percent = |pages: u32| f64::from(pages) * 12.5;
        json!({
            "name": name, "module": index.map(|_| "writes"), "function": index,
            "self_pages": own, "total_pages": total,
            "self_percent": percent(own), "total_percent": percent(total),
        })
    };
    assert_eq!(
        json["functions"],
        json!([
            function("init", Some(3), 3, 7),
            function("fill", Some(2), 2, 2),
            function("(data segments)", None, 1, 1),
            function("random", Some(0), 1, 1),
            function("app::store", Some(1), 1, 1),
        ])
    );
    let runs: Vec<(u64, u64, &str, &Value)> = json["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            let by = run["by"].as_str().unwrap();
            (run["at"].as_u64().unwrap() >> 12, run["pages"].as_u64().unwrap(), by, &run["from"])
        })
        .collect();
    let (none, init) = (json!([]), json!(["init"]));
    assert_eq!(
        runs,
        [
            (0, 1, "(data segments)", &none),
            (3, 1, "random", &init),
            (5, 1, "app::store", &init),
            (8, 2, "fill", &init),
            (10, 2, "init", &none),
            (17, 1, "init", &none),
        ]
    );
}

#[test]
fn a_stored_function_is_explained_as_its_module_is() {
    let sandbox = Sandbox::new();
    sandbox.file("writes.wat", WRITES);
    sandbox.ok(&["snapshot", "create", "--name", "f", "writes.wat"]);
    assert_eq!(explain(&sandbox, &["f"]), explain(&sandbox, &["writes.wat"]));
    let text = sandbox.ok(&["snapshot", "explain", "--pages", "f"]).stdout;
    for line in [
        "8 pages are not zero (32.0 KiB); who wrote to each of them first:\n",
        "       3  37.5%        7  87.5%  writes!init\n",
        "1 more pages were written to and are zero\n",
        "0x8000..0xa000 fill at 0x",
        ", from init\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    sandbox.run(&["snapshot", "explain", "f", "x"]).failed(2, &["arguments"]);
}

#[test]
fn a_call_up_to_a_point_is_explained_and_what_it_prints_is_not_in_the_way() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "calls.wat",
        r#"(module $calls
          (import "wasi_snapshot_preview1" "fd_write"
            (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read"
            (func $fd_read (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\06\00\00\00")
          (data (i32.const 16) "hello\n")
          (func $deep (param $n i32)
            (if (local.get $n)
              (then (call $deep (i32.sub (local.get $n) (i32.const 1))))
              (else (i32.store (i32.const 8192) (i32.const 1)))))
          (func $main (export "_start")
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $deep (i32.const 100))
            (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.store (i32.const 16384) (i32.const 1))))"#,
    );
    sandbox.file("waits.wat", WAITS);
    let json = explain(&sandbox, &["--at", "stdin", "calls.wat"]);
    let functions = json["functions"].as_array().unwrap();
    let of = |name: &str| functions.iter().find(|function| function["name"] == name);
    assert_eq!(
        (&json["pages"], of("deep").map(|f| &f["total_pages"])),
        (&json!(2), Some(&json!(1)))
    );
    assert!(of("main").is_none(), "it is more than 64 calls away: {json}");
    let json = explain(&sandbox, &["--at", "stdin", "waits.wat"]);
    assert_eq!((&json["pages"], &json["functions"]), (&json!(0), &json!([])));
}

#[test]
fn a_memory_that_threads_share_is_told_of_without_its_writers() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "shared.wat",
        r#"(module (memory 1 1 shared)
             (func (export "_initialize") (i32.store (i32.const 8192) (i32.const 1))))"#,
    );
    let json = explain(&sandbox, &["shared.wat"]);
    let functions = json["functions"].as_array().unwrap();
    assert_eq!((&json["pages"], functions.len()), (&json!(1), 1));
    assert_eq!(functions[0]["name"], "(not known)", "{json}");
}

#[test]
fn a_snapshot_file_does_not_tell_who_wrote_it() {
    let sandbox = Sandbox::new();
    sandbox.file("writes.wat", WRITES);
    sandbox.ok(&["snapshot", "create", "-o", "f.snap", "writes.wat"]);
    sandbox.run(&["snapshot", "explain", "f.snap"]).failed(1, &["does not tell who wrote"]);
}
