//! `executor deploy`, `rollback`, `alias` and `versions`.

use crate::sandbox::Sandbox;
use serde_json::Value;
use std::fs;

/// A sandbox with modules whose `get` is 7 and 9 once `init` has been called.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for answer in [7, 9] {
        let text = format!(
            r#"(module (memory (export "memory") 1)
                 (func (export "init") (i32.store (i32.const 0) (i32.const {answer})))
                 (func (export "get") (result i32) (i32.load (i32.const 0))))"#
        );
        sandbox.file(&format!("{answer}.wat"), text);
    }
    sandbox
}

fn deploy(sandbox: &Sandbox, file: &str) -> String {
    sandbox.ok(&["deploy", "--name", "f", "--init", "init", file]).stdout
}

#[track_caller]
fn gets(sandbox: &Sandbox, name: &str, answer: &str) {
    sandbox.run(&["run", "--invoke", "get", name]).succeeded(answer);
}

#[test]
fn a_function_is_deployed_and_goes_back() {
    let sandbox = sandbox();
    assert!(deploy(&sandbox, "7.wat").starts_with("f@1 "));
    assert!(deploy(&sandbox, "7.wat").ends_with(" (unchanged)\n"));
    assert!(deploy(&sandbox, "9.wat").starts_with("f@2 "));
    gets(&sandbox, "f", "9\n");
    gets(&sandbox, "f@1", "7\n");
    sandbox.run(&["alias", "f@prod", "2"]).succeeded("f@2\n");
    sandbox.run(&["rollback", "f"]).succeeded("f@1\n");
    gets(&sandbox, "f", "7\n");
    gets(&sandbox, "f@prod", "9\n");
    sandbox.run(&["alias", "f@prod"]).succeeded("f@2\n");
    let versions: Value =
        serde_json::from_str(&sandbox.ok(&["versions", "--json", "f"]).stdout).unwrap();
    assert_eq!(versions[0]["current"], true);
    assert_eq!(versions[1]["aliases"][0], "prod");
    let table = sandbox.ok(&["versions", "f"]).stdout;
    assert!(table.contains("f@prod\n") && table.lines().count() == 3, "{table}");
    let listed = sandbox.ok(&["snapshot", "list"]).stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    sandbox.run(&["snapshot", "verify"]).succeeded("f: ok\nf@2: ok\n");
    sandbox.run(&["snapshot", "verify", "f@prod"]).succeeded("f@prod: ok\n");
    sandbox.ok(&["snapshot", "inspect", "f@2"]);
    sandbox.run(&["snapshot", "rm", "f@2"]).failed(1, &["f@2", "in use by f@prod"]);
    sandbox.run(&["alias", "--remove", "f@prod"]).succeeded("removed f@prod\n");
    sandbox.ok(&["snapshot", "rm", "f@2"]);
    sandbox.ok(&["snapshot", "rm", "f"]);
    assert_eq!(fs::read_dir(sandbox.store().join("functions")).unwrap().count(), 0);
}

#[test]
fn settings_are_laid_over_those_that_there_are() {
    let sandbox = sandbox();
    let line = ["deploy", "--name", "f", "--route", "/a", "--protocol", "export:get", "7.wat"];
    sandbox.ok(&line);
    sandbox.ok(&["deploy", "--name", "f", "--route", "/b", "7.wat"]);
    let settings = fs::read(sandbox.store().join("settings/f.json")).unwrap();
    let settings: Value = serde_json::from_slice(&settings).unwrap();
    assert_eq!((&settings["route"], &settings["protocol"]), (&"/b".into(), &"export:get".into()));
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    let sandbox = sandbox();
    sandbox.run(&["deploy", "--name", "f@1", "7.wat"]).failed(1, &["f@1", "cannot name"]);
    let long = "x".repeat(201);
    sandbox.run(&["deploy", "--name", &long, "7.wat"]).failed(1, &["cannot name"]);
    sandbox.run(&["deploy", "7.wat"]).failed(2, &["--name"]);
    sandbox.run(&["deploy", "--name", "f", "--route", "x", "7.wat"]).failed(2, &["--route"]);
    sandbox.run(&["deploy", "--name", "f", "--protocol", "x", "7.wat"]).failed(2, &["--protocol"]);
    for line in [&["rollback", "g"][..], &["versions", "g"], &["alias", "g@prod", "1"]] {
        sandbox.run(line).failed(1, &["no function `g`"]);
    }
    sandbox.ok(&["snapshot", "create", "--name", "g", "7.wat"]);
    sandbox.run(&["rollback", "g"]).failed(1, &["`g` has no versions", "executor deploy"]);
    deploy(&sandbox, "7.wat");
    sandbox.run(&["rollback", "f"]).failed(1, &["no version before", "executor versions f"]);
    sandbox.run(&["rollback", "--to", "5", "f"]).failed(1, &["no `f@5`", "executor versions f"]);
    sandbox.run(&["alias", "f@prod", "5"]).failed(1, &["no `f@5`"]);
    sandbox.run(&["alias", "f@prod"]).failed(1, &["no `f@prod`"]);
    sandbox.run(&["alias", "f@Prod", "1"]).failed(1, &["`@Prod`", "alias"]);
    sandbox.run(&["alias", "f", "1"]).failed(2, &["f@prod"]);
    sandbox.run(&["run", "f@9"]).failed(1, &["no `f@9`"]);
    sandbox.run(&["run", "f@01"]).failed(1, &["`@01`"]);
    let create = ["snapshot", "create", "--name", "f", "7.wat"];
    sandbox.run(&create).failed(1, &["is deployed", "executor deploy --name f"]);
    for line in [&["rollback", "f"][..], &["deploy", "--name", "f", "--init", "init", "9.wat"]] {
        let mut trusted = line.to_vec();
        trusted.insert(1, "--trust-store");
        sandbox.run(&trusted).failed(1, &["store"]);
    }
    gets(&sandbox, "f", "7\n");
}

#[test]
fn what_a_stored_function_lacks_is_compiled_ahead() {
    let sandbox = sandbox();
    deploy(&sandbox, "7.wat");
    let code = sandbox.stored("code", "elf");
    assert_eq!(code.len(), 1);
    sandbox.ok(&["compile", "f"]);
    fs::remove_file(&code[0]).unwrap();
    let both = sandbox.ok(&["compile", "f@1", "9.wat"]).stdout;
    assert!(both.starts_with("f@1: compiled, ") && both.contains("\n9.wat: compiled, "), "{both}");
    sandbox.report(&["--invoke", "get", "f"]).succeeded("7\n");
    assert_eq!(sandbox.stored("code", "elf").len(), 2);
    sandbox.run(&["compile", "absent"]).failed(1, &["absent"]);
}
