//! `executor snapshot inspect`: the state of a snapshot, with the names that its module gives to its items.

use crate::{diff::PAIR, guests, sandbox::Sandbox};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Its state after initialisation can be told from its text.
pub const SEEN: &str = r#"(module $seen
  (memory $heap 3)
  (table $dispatch 4 funcref)
  (elem (i32.const 1) $answer)
  (data (i32.const 8192) "x")
  (data $once "abc")
  (data $kept "abc")
  (global $counter (mut i32) (i32.const 7))
  (global (export "ratio") f64 (f64.const 1.5))
  (global $callback (mut funcref) (ref.null func))
  (global $nan (mut f32) (f32.const nan:0x200001))
  (func $answer (result i32) (i32.const 42))
  (func $_ZN3app4initE (export "_initialize")
    (global.set $counter (i32.const -3))
    (global.set $callback (ref.func $answer))
    (table.set (i32.const 3) (ref.func $_ZN3app4initE))
    (memory.fill (i32.const 100000) (i32.const 7) (i32.const 4096))
    (data.drop $once)))"#;

/// It waits for its input inside a call, with values of its own.
pub const WAITS: &str = r#"(module $waits
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $work (param $n i32) (result i32) (local $sum i64)
    (local.set $sum (i64.const 5000000000))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.add (local.get $n) (i32.wrap_i64 (local.get $sum))))
  (func (export "_start") (drop (call $work (i32.const 11)))))"#;

fn inspect(sandbox: &Sandbox, options: &[&str], target: &str) -> Value {
    let run = sandbox.run(&[&["snapshot", "inspect", "--json"], options, &[target]].concat());
    assert_eq!(run.code, 0, "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn the_state_of_an_instance_is_told_with_the_names_of_its_items() {
    let sandbox = Sandbox::new();
    sandbox.file("seen.wat", SEEN);
    sandbox.ok(&["snapshot", "create", "--name", "seen", "seen.wat"]);
    let json = inspect(&sandbox, &[], "seen");
    let instance = &json["instances"][0];
    assert_eq!(
        (&instance["module_name"], &instance["module_found"]),
        (&json!("seen"), &json!(true))
    );
    assert_eq!(
        instance["memories"],
        json!([{
            "index": 0, "name": "heap", "objects": false, "bytes": 3 << 16, "stored_bytes": 3 << 12, "base_bytes": 0,
            "pages": 48, "stored_pages": 3, "zero_pages": 45,
            "extents": [
                {"at": 2 << 12, "bytes": 1 << 12, "source": 0},
                {"at": 24 << 12, "bytes": 2 << 12, "source": 0},
            ],
            "working_set": [],
        }])
    );
    assert_eq!(
        instance["tables"],
        json!([{
            "index": 0, "name": "dispatch", "bytes": 32, "stored_bytes": 1 << 12, "base_bytes": 0, "elements": 4,
            "non_null": 2,
        }])
    );
    let global = |index: u32, name: &str, ty: &str, mutable: bool, value: &str| json!({"index": index, "name": name, "type": ty, "mutable": mutable, "value": value});
    assert_eq!(
        instance["globals"],
        json!([
            global(0, "counter", "i32", true, "-3"),
            global(1, "ratio", "f64", false, "1.5"),
            global(2, "callback", "funcref", true, "answer"),
            {"index": 3, "name": "nan", "type": "f32", "mutable": true, "value": "NaN (0x7fa00001)"},
        ])
    );
    assert_eq!(
        instance["dropped_data"],
        json!([0, 1]),
        "the active one and the one that was dropped"
    );
    assert_eq!(instance["dropped_elements"], json!([0]));
    assert_eq!((&json["frames"], &json["stack"]), (&json!(0), &json!([])));
    let phases: Vec<&str> =
        json["timeline"].as_array().unwrap().iter().map(|p| p["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["load", "decode", "compile", "instantiate", "initialise"]);
    assert!(json["timeline"][2]["seconds"].as_f64() > Some(0.0), "{json}");
}

#[test]
fn elements_and_pages_are_listed_where_all_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.file("seen.wat", SEEN);
    sandbox.ok(&["snapshot", "create", "--name", "seen", "seen.wat"]);
    let json = inspect(&sandbox, &["--full"], "seen");
    let instance = &json["instances"][0];
    assert_eq!(
        instance["tables"][0]["entries"],
        json!([
            {"index": 1, "value": "answer", "function": 0, "instance": 1},
            {"index": 3, "value": "app::init", "function": 1, "instance": 1},
        ])
    );
    assert_eq!(
        instance["memories"][0]["nonzero"],
        json!([{"at": 2 << 12, "bytes": 1 << 12}, {"at": 24 << 12, "bytes": 2 << 12}])
    );
    let text = sandbox.ok(&["snapshot", "inspect", "--full", "seen"]).stdout;
    for line in [
        "  memory 0 (heap): 192.0 KiB, of which 12.0 KiB in the file; 3 of 48 pages are not zero\n",
        "  table 0 (dispatch): 4 elements, of which 2 are not null; 4.0 KiB in the file\n",
        "    3: app::init\n",
        "  global 0 (counter): i32 = -3\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn the_frames_of_a_call_are_told_with_their_values() {
    let sandbox = Sandbox::new();
    sandbox.file("waits.wat", WAITS);
    sandbox.ok(&["snapshot", "create", "--name", "w", "--at", "stdin", "waits.wat"]);
    let json = inspect(&sandbox, &[], "w");
    let stack = json["stack"].as_array().unwrap();
    let names: Vec<&str> = stack.iter().map(|frame| frame["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["_start", "work", "wasi_snapshot_preview1.fd_read"]);
    let value = |place: &str, name: Option<&str>, ty: &str, value: &str| json!({"place": place, "name": name, "type": ty, "value": value});
    assert_eq!(
        stack[1]["values"],
        json!([
            value("local 0", Some("n"), "i32", "11"),
            value("local 1", Some("sum"), "i64", "5000000000"),
        ])
    );
    let arguments = ["0", "0", "1", "8"].iter().enumerate();
    let arguments: Vec<Value> =
        arguments.map(|(i, n)| value(&format!("operand {i}"), None, "i32", n)).collect();
    assert_eq!((&stack[2]["values"], &stack[2]["offset"]), (&json!(arguments), &json!(null)));
    assert!(stack[1]["offset"].as_u64().is_some(), "{json}");
}

#[test]
fn a_file_is_told_of_also_where_its_module_is_not_known() {
    let sandbox = Sandbox::new();
    sandbox.file("seen.wat", SEEN);
    sandbox.ok(&["snapshot", "create", "-o", "seen.snap", "seen.wat"]);
    let json = inspect(&sandbox, &["--store", "other"], "seen.snap");
    let instance = &json["instances"][0];
    assert_eq!((&instance["module_found"], &instance["globals"]), (&json!(false), &json!([])));
    assert_eq!(instance["memories"][0]["zero_pages"], 45);
    let text = sandbox.ok(&["snapshot", "inspect", "--store", "other", "seen.snap"]).stdout;
    assert!(text.contains("globals and names are not known"), "{text}");
}

/// The names of fields in JSON.
fn fields(json: &Value, names: &mut BTreeSet<String>) {
    match json {
        Value::Object(fields_of) => fields_of.iter().for_each(|(name, value)| {
            names.insert(name.clone());
            fields(value, names);
        }),
        Value::Array(list) => list.iter().for_each(|value| fields(value, names)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_json_is_documented() {
    let sandbox = Sandbox::new();
    sandbox.file("pair.wat", PAIR);
    sandbox.file("draws.wat", guests::DRAWS);
    sandbox.file("waits.wat", WAITS);
    let create = ["snapshot", "create", "--name"];
    sandbox.ok(&[&create[..], &["p", "--init", "set", "pair.wat"]].concat());
    sandbox.ok(&[&create[..], &["q", "--init", "change", "pair.wat"]].concat());
    sandbox.ok(&[&create[..], &["d", "draws.wat"]].concat());
    sandbox.ok(&[&create[..], &["w", "--at", "stdin", "waits.wat"]].concat());
    let mut names = BTreeSet::new();
    for command in [
        &["inspect", "--full", "p"][..],
        &["inspect", "d"],
        &["inspect", "w"],
        &["diff", "p", "q"],
        &["diff", "w", "d"],
        &["explain", "d"],
    ] {
        let run = sandbox.run(&[&["snapshot", command[0], "--json"], &command[1..]].concat());
        fields(&serde_json::from_str(&run.stdout).unwrap(), &mut names);
    }
    let page = include_str!("../../docs/inspect.md");
    let documented = |name: &&String| page.contains(&format!("`{name}`"));
    let missing: Vec<&String> = names.iter().filter(|name| !documented(name)).collect();
    assert!(missing.is_empty() && names.len() > 80, "{missing:?} of {}", names.len());
}
