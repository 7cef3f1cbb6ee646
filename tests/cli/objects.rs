//! What the command line says of objects, and their limit.

use crate::{
    process::Finish,
    sandbox::{Run, Sandbox},
};
use serde_json::Value;

/// Keeps a list of as many objects as it is asked for: 16 bytes each.
const LIST: &str = r#"(module
  (type $node (struct (field (ref null $node)) (field i32)))
  (global $list (mut (ref null $node)) (ref.null $node))
  (memory (export "memory") 1)
  (func $build (export "build") (param $n i32)
    (if (local.get $n) (then
      (global.set $list (struct.new $node (global.get $list) (local.get $n)))
      (call $build (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "prepare") (call $build (i32.const 1000)))
  (func (export "first") (result i32) (struct.get $node 1 (global.get $list))))"#;

fn create(sandbox: &Sandbox, name: &str, options: &[&str]) {
    sandbox.file("list.wat", LIST);
    let line = [&["snapshot", "create", "--name", name], options, &["list.wat"]].concat();
    let run = sandbox.run(&line);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn a_stored_function_keeps_the_limit_of_objects() {
    let sandbox = Sandbox::new();
    create(&sandbox, "f", &["--init", "prepare", "--max-gc-heap", "64KiB"]);
    let shown = sandbox.run(&["snapshot", "inspect", "f"]);
    assert!(shown.stdout.contains("--max-gc-heap 65536"), "{shown:?}");
    sandbox.run(&["run", "--invoke", "build", "f", "1000"]).succeeded("");
    sandbox.run(&["run", "--invoke", "build", "f", "5000"]).failed(134, &["GC heap out of memory"]);
    let more = ["run", "--invoke", "build", "--max-gc-heap", "1MiB", "f", "5000"];
    sandbox.run(&more).succeeded("");
    // What is made from it keeps the limit; a file that is given to others does not.
    let from = sandbox.run(&["snapshot", "create", "--name", "g", "-o", "g.snap", "f"]);
    assert_eq!(from.code, 0, "{from:?}");
    sandbox.run(&["run", "--invoke", "build", "g", "5000"]).failed(134, &["GC heap out of memory"]);
    sandbox.run(&["run", "--invoke", "build", "g.snap", "5000"]).succeeded("");
}

#[test]
fn objects_are_inspected_explained_and_compared() {
    let sandbox = Sandbox::new();
    create(&sandbox, "f", &["--init", "prepare"]);
    let text = sandbox.run(&["snapshot", "inspect", "f"]).stdout;
    let objects: Vec<&str> = text.lines().filter(|line| line.contains("objects:")).collect();
    assert!(matches!(objects[..], [line] if line.contains("are not zero")), "{text}");
    assert!(text.contains("memory 0 (memory): 64.0 KiB"), "{text}");
    let json = sandbox.run(&["snapshot", "inspect", "--json", "f"]).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let memories = json["instances"][0]["memories"].as_array().unwrap();
    let of_objects: Vec<bool> = memories.iter().map(|m| m["objects"].as_bool().unwrap()).collect();
    assert_eq!(of_objects, [false, true]);

    // 16,000 bytes are in at least 4 pages.
    let explained = sandbox.run(&["snapshot", "explain", "--json", "f"]).stdout;
    let explained: Value = serde_json::from_str(&explained).unwrap();
    let runs = explained["runs"].as_array().unwrap();
    let built = runs.iter().filter(|run| run["by"] == "build" && run["objects"] == true);
    assert!(built.map(|run| run["pages"].as_u64().unwrap()).sum::<u64>() >= 3, "{explained}");
    let text = sandbox.run(&["snapshot", "explain", "--pages", "f"]).stdout;
    assert!(text.contains("objects, 0x"), "{text}");

    create(&sandbox, "g", &["--init", "prepare", "--init", "prepare"]);
    let differs = Run::from(sandbox.command(&["snapshot", "diff", "f", "g"]).finish());
    assert_eq!(differs.code, 1, "{differs:?}");
    assert!(
        differs.stdout.contains("  objects: ") && !differs.stdout.contains("memory"),
        "{differs:?}"
    );
}
