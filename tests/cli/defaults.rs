//! What a stored function keeps of the options that it was made with, and how a run overrides it.

use crate::process::Finish;
use crate::{
    guests,
    sandbox::{Run, Sandbox},
};
use serde_json::{Value, json};
use std::fs;

fn create(sandbox: &Sandbox, args: &[&str]) {
    let line = [&["snapshot", "create", "--name", "f"], args].concat();
    let run = sandbox.run(&line);
    assert_eq!(run.code, 0, "{run:?}");
}

fn defaults(sandbox: &Sandbox) -> Value {
    let run = sandbox.run(&["snapshot", "inspect", "--json", "f"]);
    assert_eq!(run.code, 0, "{run:?}");
    serde_json::from_str::<Value>(&run.stdout).unwrap()["defaults"].clone()
}

#[test]
fn arguments_are_kept_and_replaced_as_a_whole() {
    let sandbox = Sandbox::new();
    sandbox.file("args.wat", guests::ECHO_ARGS);
    create(&sandbox, &["--argv0", "tool", "args.wat", "a", "--b"]);
    sandbox.run(&["run", "f"]).succeeded("tool\0a\0--b\0");
    sandbox.run(&["run", "f", "c"]).succeeded("tool\0c\0");
    sandbox.run(&["run", "--argv0", "other", "f"]).succeeded("other\0a\0--b\0");
    assert_eq!(defaults(&sandbox)["arguments"], json!(["a", "--b"]));
    assert_eq!(defaults(&sandbox)["arg0"], "tool");
    let text = sandbox.run(&["snapshot", "inspect", "f"]).stdout;
    assert!(text.contains("--argv0 tool; arguments \"a\" \"--b\""), "{text}");
    // What is made from it keeps them.
    let line = ["snapshot", "create", "--name", "g", "--env", "A=1", "f"];
    assert_eq!(sandbox.run(&line).code, 0);
    sandbox.run(&["run", "g"]).succeeded("tool\0a\0--b\0");
}

#[test]
fn the_export_that_is_called_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    create(&sandbox, &["--invoke", "add", "library.wat", "1", "2"]);
    sandbox.run(&["run", "f"]).succeeded("3\n");
    sandbox.run(&["run", "f", "4", "5"]).succeeded("9\n");
    sandbox.run(&["run", "f", "4"]).failed(2, &["`add` takes 2 arguments"]);
    sandbox.run(&["run", "--invoke", "counter", "f"]).succeeded("100\n");
    assert_eq!(defaults(&sandbox)["invoke"], "add");
    let line = ["snapshot", "create", "--name", "g", "--invoke", "ad", "library.wat"];
    sandbox.run(&line).failed(1, &["`ad`", "did you mean `add`?"]);
}

#[test]
fn directories_are_kept_by_their_absolute_paths() {
    let sandbox = Sandbox::new();
    let reads = guests::READS_FILE.replace("(export \"_initialize\")", "$reads");
    let reads =
        reads.replace("(result i32) (i32.load8_u", "(result i32) (call $reads) (i32.load8_u");
    sandbox.file("reads.wat", reads);
    for (dir, contents) in [("one", "A"), ("two", "B")] {
        fs::create_dir(sandbox.path().join(dir)).unwrap();
        fs::write(sandbox.path().join(dir).join("x"), contents).unwrap();
    }
    create(&sandbox, &["--dir", "one::/:ro", "--invoke", "got", "reads.wat"]);
    // Wherever it is run.
    let mut elsewhere = sandbox.command(&["run", "f"]);
    elsewhere.current_dir(sandbox.path().join("two"));
    Run::from(elsewhere.finish()).succeeded("65\n");
    sandbox.run(&["run", "--dir", "two::/", "f"]).succeeded("66\n");
    let directories = defaults(&sandbox)["directories"].clone();
    let one = fs::canonicalize(sandbox.path().join("one")).unwrap();
    assert_eq!(directories, json!([format!("{}::/:ro", one.display())]));
}

/// The environment of a run of `f`, in a process with the variables `host` and no others.
fn environment(sandbox: &Sandbox, options: &[&str], host: &[(&str, &str)]) -> Run {
    let mut command = sandbox.command(&[&["run"], options, &["f"]].concat());
    command.env_clear().env("EXECUTOR_STORE", sandbox.store()).envs(host.iter().copied());
    Run::from(command.finish())
}

#[test]
fn variables_are_kept_and_overridden_one_by_one() {
    let sandbox = Sandbox::new();
    sandbox.file("env.wat", guests::echo_env());
    create(&sandbox, &["--env", "A=1", "--env", "B=2", "env.wat"]);
    environment(&sandbox, &[], &[("A", "9")]).succeeded("A=1\0B=2\0");
    environment(&sandbox, &["--env", "A=3"], &[]).succeeded("A=3\0B=2\0");
    environment(&sandbox, &["--env", "C=4"], &[]).succeeded("C=4\0A=1\0B=2\0");
}

#[test]
fn a_variable_without_a_value_is_that_of_each_run_and_not_in_the_file() {
    let sandbox = Sandbox::new();
    sandbox.file("env.wat", guests::echo_env());
    let secret = "a-secret-that-is-nowhere-else";
    let line = ["snapshot", "create", "--name", "f", "--env", "TOKEN", "env.wat"];
    let run = Run::from(sandbox.command(&line).env("TOKEN", secret).finish());
    assert!(run.code == 0 && run.stderr.is_empty(), "{run:?}");
    assert_eq!(defaults(&sandbox)["environment"], json!(["TOKEN"]));
    environment(&sandbox, &[], &[("TOKEN", "other")]).succeeded("TOKEN=other\0");
    environment(&sandbox, &["--env", "TOKEN=x"], &[]).succeeded("TOKEN=x\0");
    environment(&sandbox, &[], &[]).failed(2, &["TOKEN", "--env TOKEN=VALUE"]);
    for folder in ["snapshots", "modules"] {
        for entry in fs::read_dir(sandbox.store().join(folder)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
    // Of a guest that has read its environment, the value is in the state, which is said.
    sandbox.file("reads.wat", guests::observes_env());
    let line = ["snapshot", "create", "--name", "g", "--env", "TOKEN", "reads.wat"];
    let run = Run::from(sandbox.command(&line).env("TOKEN", secret).finish());
    assert_eq!(run.code, 0, "{run:?}");
    run.says(&["warning", "TOKEN"]);
    assert!(!run.stderr.contains(secret), "{run:?}");
}

#[test]
fn limits_are_kept() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let limits = ["--max-memory", "1MiB", "--max-gc-heap", "512KiB", "--timeout", "500ms"];
    create(&sandbox, &[&limits[..], &["library.wat"]].concat());
    let looped = sandbox.run(&["run", "--invoke", "spin", "f"]);
    assert_eq!(looped.code, 134, "{looped:?}");
    looped.says(&["500ms"]);
    let looped = sandbox.run(&["run", "--invoke", "spin", "--timeout", "100ms", "f"]);
    looped.says(&["100ms"]);
    assert_eq!(defaults(&sandbox)["max_memory"], 1 << 20);
    assert_eq!(defaults(&sandbox)["max_heap"], 512 << 10);
    sandbox.run(&["run", "--invoke", "grow", "f", "100"]).succeeded("-1\n");
    sandbox.run(&["run", "--invoke", "grow", "--max-memory", "1GiB", "f", "100"]).succeeded("1\n");
}

#[test]
fn a_file_from_elsewhere_says_what_is_called_and_not_what_it_is_given() {
    let sandbox = Sandbox::new();
    sandbox.file("env.wat", guests::echo_env());
    let line = ["snapshot", "create", "--name", "f", "-o", "f.snap", "--env", "A=1", "env.wat"];
    assert_eq!(sandbox.run(&line).code, 0);
    sandbox.run(&["run", "f"]).succeeded("A=1\0");
    sandbox.run(&["run", "f.snap"]).succeeded("");
    sandbox.file("library.wat", guests::LIBRARY);
    let line =
        ["snapshot", "create", "--name", "g", "-o", "g.snap", "--invoke", "add", "library.wat"];
    assert_eq!(sandbox.run(&line).code, 0);
    sandbox.run(&["run", "g.snap", "1", "2"]).succeeded("3\n");
}
