//! `executor store`: what it says of a store, what it removes, and what it keeps within a quota.

use crate::{guests, sandbox::Sandbox};
use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A module with data of its own.
fn module(letter: char) -> String {
    let data = letter.to_string().repeat(30_000);
    format!(
        r#"(module (memory 1) (data (i32.const 0) "{data}")
      (func (export "got") (result i32) (i32.load8_u (i32.const 0))))"#
    )
}

/// A sandbox with the functions `one` and `two`, of one module, and the automatic snapshot of another.
fn stocked() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    sandbox.file("a.wat", module('a'));
    for (name, init) in [("one", "bump"), ("two", "fill")] {
        let create = ["snapshot", "create", "--name", name, "--init", init, "library.wat"];
        assert_eq!(sandbox.run(&create).code, 0);
    }
    sandbox.run(&["run", "--invoke", "got", "a.wat"]).succeeded("97\n");
    sandbox
}

/// Every file of the store.
fn files(sandbox: &Sandbox) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut open = vec![sandbox.store()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => drop(files.insert(entry.path())),
            }
        }
    }
    files
}

fn bytes(sandbox: &Sandbox) -> u64 {
    files(sandbox).iter().map(|path| fs::symlink_metadata(path).unwrap().len()).sum()
}

fn used(path: &Path, days_ago: u64) {
    let time = SystemTime::now() - Duration::from_secs(days_ago * 86_400);
    File::open(path).unwrap().set_modified(time).unwrap();
}

fn of_kind(sandbox: &Sandbox, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(sandbox.store().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn runs(sandbox: &Sandbox) {
    sandbox.run(&["run", "--invoke", "counter", "one"]).succeeded("101\n");
    sandbox.run(&["run", "--invoke", "peek", "two", "1001"]).succeeded("7\n");
}

#[test]
fn the_directory_is_named_whether_or_not_it_is_there() {
    let sandbox = Sandbox::new();
    let expected = format!("{}\n", sandbox.store().display());
    sandbox.run(&["store", "path"]).succeeded(&expected);
    sandbox.run(&["store", "path", "--store", "elsewhere"]).succeeded("elsewhere\n");
    sandbox.run(&["store", "gc"]).succeeded("nothing to remove\n0 B left\n");
    sandbox.run(&["store", "check"]).succeeded("0 files, all as they should be\n");
    assert!(!sandbox.store().exists());
}

#[test]
fn every_file_is_counted_once_and_functions_say_what_they_share() {
    let sandbox = stocked();
    fs::write(sandbox.store().join("snapshots/.0123456789abcdef.tmp"), "half").unwrap();
    let du = sandbox.run(&["store", "du", "--json"]);
    let usage: serde_json::Value = serde_json::from_str(&du.stdout).unwrap();
    let count = |kind: &str| {
        (usage[kind]["files"].as_u64().unwrap(), usage[kind]["bytes"].as_u64().unwrap())
    };
    let kinds = [
        "code",
        "other_code",
        "markers",
        "modules",
        "snapshots",
        "names",
        "automatic",
        "index",
        "temporary",
        "own",
    ];
    let sum = kinds.iter().map(|kind| count(kind)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert_eq!(sum, count("total"));
    assert_eq!(count("total"), (files(&sandbox).len() as u64, bytes(&sandbox)));
    assert_eq!([count("code").0, count("other_code").0, count("modules").0], [2, 0, 2]);
    assert_eq!([count("snapshots").0, count("names").0, count("temporary").0], [3, 2, 1]);
    assert_eq!(count("garbage"), (1, 4));
    let functions = usage["functions"].as_array().unwrap();
    for (function, name) in functions.iter().zip(["one", "two"]) {
        assert_eq!((&function["name"], &function["shared_with"]), (&name.into(), &1.into()));
        // The module is shared.
        assert_eq!(function["own"], function["snapshot"]);
        assert!(function["needed"].as_u64() > function["own"].as_u64(), "{function}");
    }
    let text = sandbox.run(&["store", "du"]);
    for word in ["in all", "modules", "left by crashes", "NAME", "one", "two"] {
        assert!(text.stdout.contains(word), "`{word}` is missing: {text:?}");
    }
}

#[test]
fn garbage_is_said_and_removed_and_nothing_else() {
    let sandbox = stocked();
    runs(&sandbox);
    let before = files(&sandbox);
    let left = |name: &str| sandbox.store().join(name);
    let orphans = [
        left("snapshots/.0123456789abcdef.tmp"),
        left("functions/.0123456789abcdef.tmp"),
        left("code/fedcba9876543210.tmp"),
        left(&format!("snapshots/{}.snap", "0".repeat(64))),
        left(&format!("modules/{}.wasm", "0".repeat(64))),
        left(&format!("code/{}.checked", "0".repeat(64))),
    ];
    orphans.iter().for_each(|path| fs::write(path, "12345").unwrap());
    // The code of another build: under a name that this one does not look for.
    let code = sandbox.stored("code", "elf").pop().unwrap();
    let other = code.with_file_name(format!("{}.elf", "0".repeat(64)));
    fs::copy(&code, &other).unwrap();
    let all = files(&sandbox);
    let would = sandbox.run(&["store", "gc", "--dry-run"]);
    assert!(would.code == 0 && would.stdout.contains("would remove 5 files (25 B)"), "{would:?}");
    assert!(would.stdout.contains("would remove 2 files"), "{would:?}");
    assert_eq!(files(&sandbox), all, "--dry-run removed something");
    let did = sandbox.run(&["store", "gc"]);
    did.succeeded(&would.stdout.replace("would remove", "removed"));
    assert_eq!(files(&sandbox), before);
    sandbox.run(&["store", "gc"]).succeeded(&format!(
        "nothing to remove\n{}",
        did.stdout.lines().last().unwrap().to_owned() + "\n"
    ));
    runs(&sandbox);
}

#[test]
fn code_that_another_key_vouches_for_is_of_no_use() {
    let sandbox = stocked();
    fs::remove_file(sandbox.store().join("key")).unwrap();
    let gc = sandbox.run(&["store", "gc"]);
    assert!(gc.code == 0 && gc.stdout.contains("of code that this build does not use"), "{gc:?}");
    assert!(sandbox.stored("code", "elf").is_empty());
    runs(&sandbox);
}

#[test]
fn caches_that_were_not_used_for_long_go_and_functions_stay() {
    let sandbox = stocked();
    let old = |path: PathBuf| used(&path, 40);
    of_kind(&sandbox, "code").into_iter().for_each(old);
    sandbox.run(&["store", "gc", "--older-than", "41d"]);
    assert_eq!(sandbox.stored("code", "elf").len(), 2);
    let gc = sandbox.run(&["store", "gc", "--older-than", "30d"]);
    assert!(gc.code == 0 && gc.stdout.contains("not used for so long"), "{gc:?}");
    assert!(sandbox.stored("code", "elf").is_empty());
    assert_eq!(of_kind(&sandbox, "auto").len(), 1);
    of_kind(&sandbox, "auto").into_iter().for_each(old);
    sandbox.run(&["store", "gc", "--older-than", "30d"]);
    assert!(of_kind(&sandbox, "auto").is_empty());
    assert_eq!(
        [sandbox.stored("snapshots", "snap").len(), sandbox.stored("modules", "wasm").len()],
        [2, 1]
    );
    runs(&sandbox);
    // A use is noted, so what is used stays.
    sandbox.run(&["run", "--invoke", "got", "a.wat"]).succeeded("97\n");
    of_kind(&sandbox, "auto").into_iter().for_each(old);
    sandbox.run(&["run", "--invoke", "got", "a.wat"]).succeeded("97\n");
    sandbox.run(&["store", "gc", "--older-than", "30d"]);
    assert_eq!(of_kind(&sandbox, "auto").len(), 1);
    let until = SystemTime::now() + Duration::from_secs(20);
    while sandbox.stored("code", "checked").is_empty() && SystemTime::now() < until {
        runs(&sandbox);
    }
    of_kind(&sandbox, "code")
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "checked"))
        .for_each(old);
    runs(&sandbox);
    sandbox.run(&["store", "gc", "--older-than", "30d"]);
    assert_eq!(sandbox.stored("code", "elf").len(), 2);
}

#[test]
fn what_was_not_used_for_longest_goes_first_until_the_store_is_small_enough() {
    let sandbox = stocked();
    sandbox.file("b.wat", module('b'));
    assert_eq!(sandbox.run(&["compile", "b.wat"]).code, 0);
    let mut code = sandbox.stored("code", "elf");
    code.sort();
    for (days, path) in (1..).zip(&code) {
        used(path, days);
        let marker = path.with_extension("checked");
        if marker.exists() {
            used(&marker, days);
        }
    }
    let oldest = code.last().unwrap();
    let (len, all) = (fs::metadata(oldest).unwrap().len(), bytes(&sandbox));
    let max = |bytes: u64| sandbox.run(&["store", "gc", "--max-size", &bytes.to_string()]);
    max(all).succeeded(&max(all).stdout);
    assert!(oldest.exists());
    assert_eq!(max(all - len).code, 0);
    assert!(!oldest.exists() && code[0].exists() && code[1].exists());
    // Functions never go, whatever the size.
    let failed = max(1);
    assert_eq!(failed.code, 1, "{failed:?}");
    failed.says(&["executor: error: ", "without removing functions", "--max-size is 1 B"]);
    assert!(sandbox.stored("code", "elf").is_empty() && of_kind(&sandbox, "auto").is_empty());
    runs(&sandbox);
}

#[test]
fn each_fault_is_one_line_with_what_mends_it() {
    let sandbox = stocked();
    let good = sandbox.run(&["store", "check"]);
    assert!(good.code == 0 && good.stdout.ends_with("all as they should be\n"), "{good:?}");
    let at = |name: &str| sandbox.store().join(name);
    let faults = |words: &[&str]| {
        let run = sandbox.run(&["store", "check"]);
        let lines: Vec<&str> = run.stdout.lines().collect();
        let [fault, last] = lines[..] else { panic!("{run:?}") };
        assert!(run.code == 1 && last.ends_with("1 fault"), "{run:?}");
        for word in words {
            assert!(fault.contains(word), "`{word}` is missing: {fault}");
        }
        let json = sandbox.run(&["store", "check", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(json["faults"].as_array().unwrap().len(), 1);
        assert!(!json["faults"][0]["mend"].as_str().unwrap().is_empty());
    };
    let each = [
        ("code", "does not match its hash", "compiled again"),
        ("modules", "damaged", "create"),
        ("snapshots", "", "create"),
        ("auto", "damaged", "remove it"),
    ];
    for (folder, what, mend) in each {
        let paths = of_kind(&sandbox, folder).into_iter();
        let is_code = |path: &Path| path.extension().is_some_and(|end| end == "elf");
        let path = paths.into_iter().find(|path| folder != "code" || is_code(path)).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let at = if folder == "code" { 5000 } else { bytes.len() - 1 };
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        faults(&[path.to_str().unwrap(), what, mend]);
        fs::write(&path, whole).unwrap();
    }
    fs::set_permissions(at("modules"), Permissions::from_mode(0o777)).unwrap();
    let run = sandbox.run(&["store", "check"]);
    assert!(run.code == 1 && run.stdout.contains("chmod go-w"), "{run:?}");
    fs::set_permissions(at("modules"), Permissions::from_mode(0o700)).unwrap();
    symlink(format!("../snapshots/{}.snap", "0".repeat(64)), at("functions/gone")).unwrap();
    faults(&["functions/gone", "create"]);
    fs::remove_file(at("functions/gone")).unwrap();
    fs::write(at("functions/-x\u{1b}[31m"), "").unwrap();
    faults(&["-x\\u{1b}[31m"]);
    fs::remove_file(at("functions/-x\u{1b}[31m")).unwrap();
    let module = of_kind(&sandbox, "modules").pop().unwrap();
    fs::remove_file(&module).unwrap();
    let run = sandbox.run(&["store", "check"]);
    assert!(run.code == 1 && run.stdout.contains(module.to_str().unwrap()), "{run:?}");
}

#[test]
fn a_store_stays_within_its_quota_and_functions_are_not_given_up_for_it() {
    let sandbox = stocked();
    let quota = |words: &[&str]| sandbox.run(&[&["store", "quota"], words].concat());
    quota(&[]).succeeded("none\n");
    let limit = bytes(&sandbox) + 20_000;
    quota(&[&limit.to_string()]).says(&[]);
    for letter in 'b'..'f' {
        let name = sandbox.file("x.wat", module(letter)).to_owned();
        let run = sandbox.run(&["run", "--invoke", "got", &name]);
        run.succeeded(&format!("{}\n", u32::from(letter)));
        assert_eq!(run.stderr, "", "caches make room");
        assert!(bytes(&sandbox) <= limit, "{} bytes", bytes(&sandbox));
    }
    runs(&sandbox);
    // Less than the functions take: nothing more is kept, and what is asked for fails.
    quota(&["20000"]).succeeded("19.5 KiB\n");
    sandbox.file("y.wat", module('y'));
    let run = sandbox.run(&["run", "-v", "--invoke", "got", "y.wat"]);
    run.succeeded("121\n").says(&[
        "quota of 20000",
        "nothing is kept",
        "executor store quota SIZE",
    ]);
    assert_eq!(run.stderr.matches("compiled y.wat").count(), 1, "{run:?}");
    let create = sandbox.run(&["snapshot", "create", "--name", "y", "y.wat"]);
    assert_eq!(create.code, 1, "{create:?}");
    create.says(&["executor: error: ", "quota of 20000"]);
    runs(&sandbox);
    quota(&["none"]).succeeded("none\n");
    assert_eq!(sandbox.run(&["snapshot", "create", "--name", "y", "y.wat"]).code, 0);
    sandbox.run(&["store", "check"]).says(&[]);
    assert_eq!(quota(&["much"]).code, 2);
}
