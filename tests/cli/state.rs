//! The host's side of a guest's state across a snapshot: what is kept, refreshed and refused.

use crate::{
    guests,
    sandbox::{Run, Sandbox},
};
use serde_json::json;
use std::fs;

fn create(sandbox: &Sandbox, options: &[&str], file: &str) -> Run {
    sandbox.run(&[&["snapshot", "create", "--name", "f"], options, &[file]].concat())
}

fn inspect(sandbox: &Sandbox) -> serde_json::Value {
    let run = sandbox.run(&["snapshot", "inspect", "--json", "f"]);
    assert_eq!(run.code, 0, "{run:?}");
    serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap()["wasi"].take()
}

fn invoke(sandbox: &Sandbox, options: &[&str], export: &str) -> Run {
    sandbox.run(&[&["run"], options, &["--invoke", export, "f"]].concat())
}

#[test]
fn randomness_that_initialisation_drew_is_warned_of_shown_and_the_same_in_every_restore() {
    let sandbox = Sandbox::new();
    sandbox.file("draws.wat", guests::DRAWS);
    let run = create(&sandbox, &[], "draws.wat");
    assert_eq!(run.code, 0, "{run:?}");
    run.says(&["warning", "drew random bytes 2 times", "inspect", "--entropy"]);
    let entropy = &inspect(&sandbox)["entropy"];
    assert_eq!(entropy[0]["address"], 64, "{entropy}");
    assert_eq!((&entropy[0]["bytes"], &entropy[0]["unchanged"]), (&json!(16), &json!(true)));
    assert!(entropy[0]["backtrace"].as_str().unwrap().contains("draws!seed"), "{entropy}");
    assert_eq!((&entropy[1]["address"], &entropy[1]["unchanged"]), (&json!(128), &json!(false)));
    let text = sandbox.run(&["snapshot", "inspect", "f"]).stdout;
    assert!(text.contains("16 bytes at 0x40") && text.contains("draws!seed"), "{text}");

    let first = invoke(&sandbox, &[], "seed").stdout;
    assert_eq!(first, invoke(&sandbox, &[], "seed").stdout);
    // What is drawn now is fresh.
    assert_ne!(invoke(&sandbox, &[], "fresh").stdout, invoke(&sandbox, &[], "fresh").stdout);
}

#[test]
fn randomness_is_refused_where_that_is_asked() {
    let sandbox = Sandbox::new();
    sandbox.file("draws.wat", guests::DRAWS);
    create(&sandbox, &["--entropy", "deny"], "draws.wat").failed(1, &["draws!seed", "--entropy"]);
    sandbox.file("library.wat", guests::LIBRARY);
    assert_eq!(create(&sandbox, &["--entropy=deny"], "library.wat").code, 0);
}

#[test]
fn randomness_is_drawn_anew_at_each_restore_where_that_is_asked() {
    let sandbox = Sandbox::new();
    sandbox.file("draws.wat", guests::DRAWS);
    for option in ["--entropy=refill", "--entropy=refill=0x40"] {
        let run = create(&sandbox, &[option], "draws.wat");
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(inspect(&sandbox)["entropy"][0]["refilled"], true);
        let draws = |export| [(); 2].map(|()| invoke(&sandbox, &[], export).stdout);
        let [one, two] = draws("seed");
        assert_ne!(one, two);
        // What the guest wrote over its draw stays.
        assert_eq!(draws("overwritten"), ["7\n", "7\n"]);
    }
    create(&sandbox, &["--entropy=refill=0x80"], "draws.wat").failed(1, &["0x80"]);
    create(&sandbox, &["--entropy=shuffle"], "draws.wat").failed(2, &["refill"]);
}

#[test]
fn arguments_and_environment_are_the_runs_and_what_was_read_before_is_warned_of() {
    let sandbox = Sandbox::new();
    sandbox.file("env.wat", guests::observes_env());
    assert_eq!(create(&sandbox, &["--env", "A=1", "--env", "B=2"], "env.wat").code, 0);
    assert_eq!(inspect(&sandbox)["environment_read"], json!(["A=1", "B=2"]));
    assert_eq!(inspect(&sandbox)["arguments_read"], json!(null));
    let same = invoke(&sandbox, &["--env", "A=1", "--env", "B=2"], "got");
    assert_eq!(same.succeeded("2\n").stderr, "");
    let other = invoke(&sandbox, &["--env", "A=1", "--env", "C=3"], "got");
    other.succeeded("2\n").says(&["warning", "environment", "of which C differs"]);

    sandbox.file("args.wat", guests::observes_args());
    assert_eq!(create(&sandbox, &["--argv0", "tool"], "args.wat").code, 0);
    assert_eq!(inspect(&sandbox)["arguments_read"], json!(["tool"]));
    assert_eq!(invoke(&sandbox, &["--argv0", "tool"], "got").stderr, "");
    let other = invoke(&sandbox, &["--argv0", "other"], "got");
    other.succeeded("1\n").says(&["warning", "arguments"]);
    // A run that says nothing of them has those that the function was made with.
    assert_eq!(invoke(&sandbox, &[], "got").succeeded("1\n").stderr, "");
}

#[test]
fn arguments_reach_a_function_that_takes_none() {
    let sandbox = Sandbox::new();
    sandbox.file("args.wat", guests::ECHO_ARGS.replace("_start", "main"));
    assert_eq!(create(&sandbox, &[], "args.wat").code, 0);
    let line = ["run", "--invoke", "main", "f", "-c", "print(1)"];
    sandbox.run(&line).succeeded("f\0-c\0print(1)\0");
}

/// A sandbox with a function that keeps the file `x` open, of which it has read one byte.
fn with_open_file() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("reader.wat", guests::KEEPS_FILE_OPEN);
    sandbox.file("x", "ABC");
    let run = create(&sandbox, &["--dir", ".::/"], "reader.wat");
    assert_eq!(run.code, 0, "{run:?}");
    sandbox
}

#[test]
fn an_open_file_is_read_on_after_a_restore() {
    let sandbox = with_open_file();
    let open = &inspect(&sandbox)["open"][0];
    assert_eq!((&open["path"], &open["offset"]), (&json!("/x"), &json!(1)), "{open}");
    for _ in 0..2 {
        invoke(&sandbox, &["--dir", ".::/"], "next").succeeded("66\n");
    }
    // A function keeps its directories; a file that anyone may have made is given none.
    invoke(&sandbox, &[], "next").succeeded("66\n");
    let create = ["snapshot", "create", "-o", "f.snap", "--dir", ".::/", "reader.wat"];
    assert_eq!(sandbox.run(&create).code, 0);
    let run = sandbox.run(&["run", "--invoke", "next", "f.snap"]);
    run.failed(1, &["`/`", "not given", "--dir HOST::/"]);
}

#[test]
fn a_listening_socket_is_given_anew_by_every_run() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let listen = ["--listen", "127.0.0.1:0"];
    assert_eq!(create(&sandbox, &listen, "library.wat").code, 0);
    assert_eq!(inspect(&sandbox)["listeners"], 1);
    invoke(&sandbox, &listen, "counter").succeeded("100\n");
    invoke(&sandbox, &[], "counter").failed(1, &["listening", "--listen ADDR:PORT"]);
}

#[test]
fn an_open_file_that_is_gone_or_changed_fails_the_guests_next_use() {
    let change: [fn(&Sandbox); 3] = [
        |sandbox| fs::remove_file(sandbox.path().join("x")).unwrap(),
        |sandbox| fs::write(sandbox.path().join("x"), "A").unwrap(),
        |sandbox| {
            fs::rename(sandbox.path().join("x"), sandbox.path().join("y")).unwrap();
            fs::write(sandbox.path().join("x"), "XYZ").unwrap();
        },
    ];
    for change in change {
        let sandbox = with_open_file();
        change(&sandbox);
        // The negative of an error number, and the guest goes on.
        let run = invoke(&sandbox, &["--dir", ".::/"], "next");
        assert!(run.code == 0 && run.stdout.starts_with('-'), "{run:?}");
    }
}

#[test]
fn a_run_that_refuses_open_files_goes_on_without_a_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.file("reader.wat", guests::KEEPS_FILE_OPEN);
    sandbox.file("x", "ABC");
    let run = ["--strict", "--dir", ".::/", "--invoke", "next", "reader.wat"];
    for code in ["compiled", "code-cache"] {
        let run = sandbox.report(&run);
        run.succeeded("66\n").did(code, "instantiated").took_snapshot(false, &["still open"]);
    }
}
