//! Names that guests and files bring with them: they cannot act on a terminal, nor forge a line of ours.

use crate::sandbox::{Run, Sandbox};
use ruzstd::{
    decoding::StreamingDecoder,
    encoding::{CompressionLevel, compress_to_vec},
};
use std::{
    fs::{self, File},
    io::Read,
};

/// Something that a name holds and no output may: an escape sequence, a C1 control, a direction, and a line
/// that looks like ours.
const BAD: &str = "\u{1b}[2J\u{9b}1m\u{202e}\r\nexecutor: error: forged";

/// The same in a text module.
const BAD_WAT: &str = r"\1b[2J\c2\9b1m\e2\80\ae\0d\0aexecutor: error: forged";

/// What a text holds of that, and what is before it.
fn wild(text: &str) -> Option<&str> {
    let control = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    let at = text.find(control).or_else(|| text.find("\nexecutor: error: forged"))?;
    Some(&text[..at])
}

#[track_caller]
fn is_tame(run: &Run) {
    assert_eq!(wild(&run.stdout).or(wild(&run.stderr)), None, "{run:?}");
    assert!(
        (run.stdout.clone() + &run.stderr).contains(r"\u{1b}[2J\u{9b}1m\u{202e}\r\nexec"),
        "{run:?}"
    );
}

#[test]
fn names_of_guests_are_escaped() {
    let sandbox = Sandbox::new();
    let module = |name: &str, text: &str| {
        sandbox.file(name, text.replace("BAD", BAD_WAT));
    };
    let run = |line: &[&str]| {
        let run = sandbox.run(line);
        is_tame(&run);
        run
    };
    module("trap.wat", r#"(module $"BAD" (func $"BAD" (export "_start") unreachable))"#);
    assert_eq!(run(&["run", "trap.wat"]).code, 134);
    module("import.wat", r#"(module (import "BAD" "BAD" (func)))"#);
    run(&["run", "import.wat"]).failed(1, &["unknown import"]);
    module("export.wat", r#"(module $"BAD" (memory (export "BAD") 1) (func (export "\"BAD")))"#);
    run(&["run", "--invoke", "zz", "export.wat"]).failed(1, &["it exports the functions"]);
    run(&["run", "--invoke", BAD, "export.wat"]).failed(1, &["memory"]);
    let named = sandbox.run(&["snapshot", "create", "--name", "e", "export.wat"]);
    assert_eq!(named.code, 0, "{named:?}");
    run(&["snapshot", "inspect", "e"]);
    module("twice.wat", r#"(module (func (export "BAD")) (func (export "BAD")))"#);
    let twice = sandbox.run(&["run", "twice.wat"]);
    twice.failed(1, &["duplicate export"]);
    assert!(!twice.stderr.contains('\u{1b}'), "{twice:?}");
    module("tag.wat", r#"(module (tag $"BAD" (export "BAD")) (func (export "_start") (throw 0)))"#);
    run(&["run", "tag.wat"]);
}

/// Every item has a bad name, and the fourth export changes all of them.
const NAMED: &str = r#"(module $"BAD"
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (memory $"BAD" (export "memory") 3)
  (memory $"BAD2" (export "BAD") 1)
  (table $"BAD" 4 funcref)
  (global $"BAD" (export "BAD3") (mut i32) (i32.const 7))
  (data $"BAD" "abc")
  (func $"BAD" (param $"BAD" i32)
    (i32.store8 (local.get 0) (i32.const 1))
    (i32.store8 1 (local.get 0) (i32.const 1))
    (global.set 0 (local.get 0))
    (table.set (i32.const 1) (ref.func $"BAD"))
    (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 3))
    (data.drop 0))
  (elem declare func $"BAD")
  (func $"BAD2" (export "BAD4") (call $"BAD" (i32.const 5000)))
  (func $"BAD3" (export "_start") (local $"BAD" i64)
    (local.set 0 (i64.const 5))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (local.get 0))))"#;

#[test]
fn names_in_snapshots_are_escaped() {
    let sandbox = Sandbox::new();
    sandbox.file("m.wat", NAMED.replace("BAD", BAD_WAT));
    let create = |args: &[&str]| sandbox.ok(&[&["snapshot", "create"], args, &["m.wat"]].concat());
    create(&["--name", "plain"]);
    let bad4 = format!("{BAD}4");
    create(&["--name", "init", "--init", &bad4]);
    create(&["--name", "inside", "--at", "stdin"]);
    let mut show = Vec::new();
    for name in ["plain", "init", "inside"] {
        for option in ["--full", "--json"] {
            show.push(vec!["inspect", option, name]);
        }
        show.push(vec!["inspect", name]);
    }
    for option in ["--full", "--json"] {
        show.push(vec!["diff", option, "plain", "init"]);
        show.push(vec!["diff", option, "init", "inside"]);
        show.push(vec!["explain", option, "init"]);
    }
    show.push(vec!["explain", "--pages", "init"]);
    show.push(vec!["explain", "--init", &bad4, "m.wat"]);
    show.push(vec!["verify", "--deep", "init"]);
    show.push(vec!["create", "--name", "none", "--init", BAD, "m.wat"]);
    for line in &show {
        let run = sandbox.run(&[&["snapshot"], &line[..]].concat());
        assert_eq!(wild(&run.stdout).or(wild(&run.stderr)), None, "{line:?}: {run:?}");
        assert!(!run.stdout.is_empty() || !run.stderr.is_empty(), "{line:?}: {run:?}");
        match line[1] {
            "--json" => assert!(run.stdout.contains(r"\u001b[2J\u009b1m\u202e"), "{run:?}"),
            _ if line[0] != "verify" => is_tame(&run),
            _ => {}
        }
    }
    for name in ["plain", "init", "inside"] {
        sandbox.ok(&["snapshot", "inspect", "--html", "page.html", name]);
        let page = fs::read_to_string(sandbox.path().join("page.html")).unwrap();
        assert_eq!(wild(&page), None);
        assert!(page.contains(r"\u{1b}[2J"), "{page}");
    }
}

#[test]
fn names_in_the_store_are_escaped() {
    let sandbox = Sandbox::new();
    sandbox.file("m.wat", NAMED.replace("BAD", BAD_WAT));
    sandbox.ok(&["snapshot", "create", "--name", "f", "m.wat"]);
    for folder in ["functions", "snapshots", "modules", "code"] {
        fs::write(sandbox.store().join(folder).join(BAD), "x").unwrap();
    }
    for line in [
        &["snapshot", "list"][..],
        &["snapshot", "verify"],
        &["snapshot", "inspect", BAD],
        &["snapshot", "rm", BAD],
        &["run", BAD],
        &["store", "du"],
        &["store", "check"],
        &["store", "gc", "--dry-run"],
        &["store", "gc"],
    ] {
        let run = sandbox.run(line);
        assert_eq!(wild(&run.stdout).or(wild(&run.stderr)), None, "{line:?}: {run:?}");
    }
}

#[test]
fn the_name_of_an_archive_and_in_it_is_escaped() {
    let sandbox = Sandbox::new();
    sandbox.file("m.wat", NAMED.replace("BAD", BAD_WAT));
    // As long as the bad name is in JSON, so that it fits in its place.
    let json = serde_json::to_string(BAD).unwrap();
    let json = json.trim_matches('"');
    let name = "a".repeat(json.len());
    sandbox.ok(&["snapshot", "create", "--name", &name, "m.wat"]);
    sandbox.ok(&["snapshot", "export", &name, "-o", "good.tar.zst"]);
    let mut tar = Vec::new();
    let file = File::open(sandbox.path().join("good.tar.zst")).unwrap();
    StreamingDecoder::new(file).unwrap().read_to_end(&mut tar).unwrap();
    let at = tar.windows(name.len()).position(|w| w == name.as_bytes()).unwrap();
    tar[at..at + name.len()].copy_from_slice(json.as_bytes());
    sandbox.file(BAD, compress_to_vec(&tar[..], CompressionLevel::Fastest));
    let import = sandbox.run(&["snapshot", "import", BAD]);
    import.failed(1, &["name"]);
    is_tame(&import);
    sandbox.file(BAD, "no archive");
    for line in [&["import", BAD][..], &["export", BAD, "-o", "x"]] {
        let run = sandbox.run(&[&["snapshot"], line].concat());
        run.failed(1, &[r"\u{1b}[2J\u{9b}1m\u{202e}"]);
        assert_eq!(wild(&run.stderr), None, "{run:?}");
    }
}
