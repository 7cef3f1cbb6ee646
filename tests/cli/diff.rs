//! `executor snapshot diff`: what differs between two snapshots, and nothing else.

use crate::sandbox::Sandbox;
use serde_json::{Value, json};

/// What `change` changes can be told from its text.
pub const PAIR: &str = r#"(module $pair
  (memory $heap 2)
  (table $dispatch 4 funcref)
  (global $counter (mut i32) (i32.const 1))
  (data $once "zz")
  (elem declare func $one $two)
  (func $one) (func $two)
  (func (export "set") (table.set (i32.const 2) (ref.func $one)))
  (func (export "change")
    (i32.store8 (i32.const 5000) (i32.const 1))
    (i32.store (i32.const 8190) (i32.const 0x04030201))
    (i32.store8 (i32.const 40960) (i32.const 9))
    (global.set $counter (i32.const -2))
    (table.set (i32.const 1) (ref.func $two))
    (table.set (i32.const 2) (ref.func $two))
    (data.drop $once)
    (drop (memory.grow (i32.const 1)))))"#;

/// Reads twice, the second time from a function of its own.
const READS_TWICE: &str = r#"(module $reads
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $read (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $work (result i32) (local $step i32)
    (local.set $step (i32.const 5))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $step (i32.add (local.get $step) (i32.const 1)))
    (call $read)
    (local.get $step))
  (func (export "_start") (drop (call $work))))"#;

pub fn diff(sandbox: &Sandbox, a: &str, b: &str, code: i32) -> Value {
    let run = sandbox.run(&["snapshot", "diff", "--json", a, b]);
    assert_eq!(run.code, code, "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

fn pair() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("pair.wat", PAIR);
    let create = |name: &str, init: &[&str]| {
        let options = ["snapshot", "create", "--name", name, "--init", "set"];
        sandbox.ok(&[&options, init, &["pair.wat"]].concat());
    };
    create("a", &[]);
    create("b", &["--init", "change"]);
    sandbox
}

#[test]
fn a_snapshot_does_not_differ_from_itself() {
    let sandbox = pair();
    sandbox.ok(&["snapshot", "create", "-o", "a.snap", "--init", "set", "pair.wat"]);
    for (a, b) in [("a", "a"), ("a", "a.snap"), ("b", "b")] {
        sandbox.run(&["snapshot", "diff", a, b]).succeeded("");
        let json = diff(&sandbox, a, b, 0);
        assert_eq!((&json["same"], &json["instances"]), (&json!(true), &json!([])));
    }
}

#[test]
fn all_that_an_initialisation_changed_is_told_and_nothing_else() {
    let sandbox = pair();
    let json = diff(&sandbox, "a", "b", 1);
    assert_eq!(json["same"], false);
    assert_eq!(json["facts"], json!([{"fact": "init[1]", "a": null, "b": "change"}]));
    assert_eq!(json["stack"], Value::Null);
    let zeroes = "00".repeat(16);
    let run = |at: u32, pages: u32, bytes: u32, first: u32, begin: &str| {
        json!({
            "at": at, "pages": pages, "bytes": bytes, "drawn_bytes": 0, "first": first,
            "a": zeroes, "b": format!("{begin}{}", "00".repeat(15)),
        })
    };
    assert_eq!(
        json["instances"],
        json!([{
            "id": 1, "module": null, "instantiated": null, "links": false, "unknown_state": false,
            "memories": [{
                "index": 0, "name": "heap", "objects": false, "size": {"a": 2 << 16, "b": 3 << 16},
                "pages": 3, "bytes": 6, "drawn_bytes": 0,
                "runs": [run(4096, 2, 5, 5000, "01"), run(40960, 1, 1, 40960, "09")],
            }],
            "tables": [{
                "index": 0, "name": "dispatch", "size": null,
                "elements": [
                    {"index": 1, "a": null, "b": "two"},
                    {"index": 2, "a": "one", "b": "two"},
                ],
            }],
            "globals": [{"index": 0, "name": "counter", "type": "i32", "a": "1", "b": "-2"}],
            "dropped_data": {"a": [], "b": [0]},
            "dropped_elements": null,
        }])
    );
    let text = sandbox.run(&["snapshot", "diff", "a", "b"]).stdout;
    for line in [
        "init[1]: null -> \"change\"\n",
        "  memory 0 (heap): 6 bytes of 3 pages differ\n",
        "    size: 128.0 KiB -> 192.0 KiB\n",
        "    0xa000..0xb000: 1 byte; at 0xa000 0000",
        "    2: one -> two\n",
        "  global 0 (counter): 1 -> -2\n",
        "  data segments dropped: [] -> [0]\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn the_text_is_short_unless_all_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "many.wat",
        r#"(module (memory 64) (func (export "many") (local $i i32)
             (loop
               (i32.store8 (i32.mul (local.get $i) (i32.const 8192)) (i32.const 1))
               (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                                  (i32.const 20))))))"#,
    );
    sandbox.ok(&["snapshot", "create", "--name", "a", "many.wat"]);
    sandbox.ok(&["snapshot", "create", "--name", "b", "--init", "many", "many.wat"]);
    let short = sandbox.run(&["snapshot", "diff", "a", "b"]);
    let full = sandbox.run(&["snapshot", "diff", "--full", "a", "b"]);
    assert!(short.stdout.contains("20 bytes of 20 pages differ"), "{short:?}");
    assert!(short.stdout.contains("and 12 more runs of pages"), "{short:?}");
    let runs = |text: &str| text.lines().filter(|line| line.contains("..0x")).count();
    assert_eq!((runs(&short.stdout), runs(&full.stdout)), (8, 20));
}

#[test]
fn frames_of_calls_are_compared_from_the_outermost() {
    let sandbox = Sandbox::new();
    sandbox.file("reads.wat", READS_TWICE);
    for (name, nth) in [("one", "1"), ("two", "2")] {
        let at = format!("import:wasi_snapshot_preview1.fd_read:{nth}");
        sandbox.ok(&["snapshot", "create", "--name", name, "--at", &at, "reads.wat"]);
    }
    let json = diff(&sandbox, "one", "two", 1);
    let stack = &json["stack"];
    assert_eq!(stack["removed"], json!(["wasi_snapshot_preview1.fd_read"]));
    assert_eq!(stack["added"], json!(["read", "wasi_snapshot_preview1.fd_read"]));
    let changed = stack["changed"].as_array().unwrap();
    assert_eq!((changed.len(), &changed[0]["name"]), (1, &json!("work")), "{json}");
    assert_eq!(
        changed[0]["values"],
        json!([{"place": "local 0", "name": "step", "a": "5", "b": "6"}])
    );
    let at = &changed[0]["offset"];
    assert!(at["a"].as_u64() < at["b"].as_u64(), "{json}");
    assert!(sandbox.run(&["snapshot", "diff", "one", "two"]).stdout.contains("+ read\n"));
}

#[test]
fn other_modules_are_said_to_be_so() {
    let sandbox = pair();
    sandbox.file("other.wat", "(module (memory 1))");
    sandbox.ok(&["snapshot", "create", "--name", "other", "other.wat"]);
    let json = diff(&sandbox, "a", "other", 1);
    assert!(json["instances"][0]["module"]["a"].is_string(), "{json}");
    let text = sandbox.run(&["snapshot", "diff", "a", "other"]).stdout;
    assert!(text.contains("is of other modules, and not compared"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_trouble() {
    let sandbox = pair();
    sandbox.run(&["snapshot", "diff", "a", "nobody"]).failed(2, &["nobody"]);
    sandbox.run(&["snapshot", "diff", "pair.wat", "a"]).failed(2, &["is a module"]);
}
