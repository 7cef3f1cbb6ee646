//! `--snapshot auto` never changes a run's results; `always` does, and says so.

use crate::{
    guests,
    sandbox::{Run, Sandbox},
};

fn got(sandbox: &Sandbox, options: &[&str], args: &[&str]) -> Run {
    sandbox.report(&[options, &["--invoke", "got", "guest.wat"], args].concat())
}

#[test]
fn a_snapshot_that_observed_the_environment_is_used_for_that_environment_only() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", guests::observes_env());
    let one = || got(&sandbox, &["--env", "A=1"], &[]);
    let two = || got(&sandbox, &["--env", "A=1", "--env", "B=2"], &[]);
    one().succeeded("1\n").did("compiled", "instantiated").took_snapshot(true, &["environment"]);
    one().succeeded("1\n").did("code-cache", "restored");
    two().succeeded("2\n").did("code-cache", "instantiated").took_snapshot(true, &["environment"]);
    two().succeeded("2\n").did("code-cache", "restored");
    one().succeeded("1\n").did("code-cache", "restored");
}

#[test]
fn a_snapshot_that_observed_the_arguments_is_used_for_those_arguments_only() {
    let sandbox = Sandbox::new();
    // `got` takes no arguments, so they are counted by way of `argv[0]` and the init list.
    let guest = guests::observes_args().replace("i32.load (i32.const 0)", "i32.load (i32.const 4)");
    sandbox.file("guest.wat", guest);
    let with = |name: &str| got(&sandbox, &["--argv0", name], &[]);
    with("abc").succeeded("4\n").took_snapshot(true, &["arguments"]);
    with("abc").succeeded("4\n").did("code-cache", "restored");
    with("abcd").succeeded("5\n").did("code-cache", "instantiated");
}

#[test]
fn a_snapshot_that_observed_nothing_serves_every_environment() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = |env: &str| sandbox.report(&["--env", env, "--invoke", "counter", "library.wat"]);
    run("A=1").succeeded("100\n").took_snapshot(true, &[]);
    run("A=2").succeeded("100\n").did("code-cache", "restored");
}

#[test]
fn a_snapshot_that_read_a_file_is_used_while_the_file_is_the_same() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", guests::READS_FILE);
    let dir = ["--dir", ".::/"];
    sandbox.file("x", "A");
    got(&sandbox, &dir, &[]).succeeded("65\n").took_snapshot(true, &["x"]);
    got(&sandbox, &dir, &[]).succeeded("65\n").did("code-cache", "restored");
    sandbox.file("x", "B");
    got(&sandbox, &dir, &[]).succeeded("66\n").did("code-cache", "instantiated");
    sandbox.file("x", "A");
    got(&sandbox, &dir, &[]).succeeded("65\n").did("code-cache", "restored");
}

#[test]
fn clocks_randomness_and_output_keep_a_run_from_being_snapshotted() {
    for (guest, word, answer) in [
        (guests::observes_clock(), "clock", None),
        (guests::observes_random(), "random", None),
        // What `_initialize` writes is written by every run.
        (guests::writes_output(), "output", Some("x\n2\n")),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("guest.wat", guest);
        for code in ["compiled", "code-cache"] {
            let run = got(&sandbox, &[], &[]);
            run.did(code, "instantiated").took_snapshot(false, &[word]);
            assert!(answer.is_none_or(|answer| run.stdout == answer), "{run:?}");
        }
        assert!(sandbox.stored("snapshots", "snap").is_empty(), "{word}");
    }
}

#[test]
fn always_takes_the_snapshot_with_a_warning_and_uses_it() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", guests::observes_random());
    let always = || got(&sandbox, &["--snapshot", "always"], &[]);
    let first = always();
    first.did("compiled", "instantiated").took_snapshot(true, &["random"]);
    first.says(&["warning", "random"]);
    let second = always();
    second.did("code-cache", "restored");
    assert_eq!(first.stdout, second.stdout);
    // It is not what `auto` promises, so `auto` does not use it.
    got(&sandbox, &[], &[]).did("code-cache", "instantiated").took_snapshot(false, &["random"]);
}

#[test]
fn never_neither_takes_nor_uses_a_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.report(&["hello.wat"]).took_snapshot(true, &[]);
    let never = sandbox.report(&["--snapshot", "never", "hello.wat"]);
    never.succeeded("hello\n").did("code-cache", "instantiated").took_snapshot(false, &["never"]);
}

#[test]
fn other_initialisation_calls_are_another_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run =
        |init: &[&str]| sandbox.report(&[init, &["--invoke", "counter", "library.wat"]].concat());
    run(&["--init", "bump"]).succeeded("101\n");
    run(&["--init", "bump", "--init", "bump"]).succeeded("102\n").did("code-cache", "instantiated");
    run(&["--init", "bump"]).succeeded("101\n").did("code-cache", "restored");
    run(&[]).succeeded("100\n").did("code-cache", "instantiated");
}

#[test]
fn a_changed_module_is_another_module() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = || sandbox.report(&["--invoke", "counter", "library.wat"]);
    run().succeeded("100\n");
    sandbox.file("library.wat", guests::LIBRARY.replace("i32.const 100)", "i32.const 200)"));
    run().succeeded("200\n").did("compiled", "instantiated");
}

#[test]
fn initialisation_that_exits_or_traps_is_not_snapshotted() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    for _ in 0..2 {
        let run = sandbox.report(&["--init", "crash", "--invoke", "counter", "library.wat"]);
        assert_eq!(run.code, 134, "{run:?}");
        run.took_snapshot(false, &[]);
    }
    assert!(sandbox.stored("snapshots", "snap").is_empty());
}

#[test]
fn snapshots_of_worlds_long_past_do_not_pile_up() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", guests::observes_env());
    let variables: Vec<String> = (1..12).map(|i| format!("A{i}=1")).collect();
    let mut env = Vec::new();
    for (count, variable) in (1..).zip(&variables) {
        env.extend(["--env", variable]);
        got(&sandbox, &env, &[]).succeeded(&format!("{count}\n")).took_snapshot(true, &[]);
    }
    assert_eq!(sandbox.stored("snapshots", "snap").len(), 8);
    got(&sandbox, &env, &[]).did("code-cache", "restored");
}

#[test]
fn a_snapshot_with_a_file_open_reads_on_in_it() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", guests::KEEPS_FILE_OPEN);
    sandbox.file("x", "AB");
    let next = || sandbox.report(&["--dir", ".::/", "--invoke", "next", "guest.wat"]);
    next().succeeded("66\n").did("compiled", "instantiated").took_snapshot(true, &["x"]);
    next().succeeded("66\n").did("code-cache", "restored");
    sandbox.file("x", "XY");
    next().succeeded("89\n").did("code-cache", "instantiated");
}

#[test]
fn other_options_that_change_the_state_are_another_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", guests::LIBRARY);
    for options in [
        &[][..],
        &["--dir", "."],
        &["--dir", ".:ro"],
        &["--listen", "127.0.0.1:0"],
        &["--deterministic"],
        &["--strict"],
        &["--entropy=refill"],
    ] {
        let run = || sandbox.report(&[options, &["--invoke", "counter", "guest.wat"]].concat());
        let first = run();
        assert_eq!(first.report["instance"]["outcome"], "instantiated", "{options:?}: {first:?}");
        run().succeeded("100\n").did("code-cache", "restored");
    }
}

#[test]
fn always_refills_what_was_drawn_where_that_is_asked() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", guests::DRAWS);
    let run = |options: &[&str]| {
        let line = [&["--snapshot", "always"], options, &["--invoke", "seed", "guest.wat"]];
        sandbox.report(&line.concat())
    };
    run(&[]).took_snapshot(true, &["random"]).says(&["warning", "random bytes 2 times"]);
    assert_eq!(run(&[]).stdout, run(&[]).stdout);
    run(&["--entropy=refill"]).took_snapshot(true, &["random"]);
    let (one, two) = (run(&["--entropy=refill"]), run(&["--entropy=refill"]));
    one.did("code-cache", "restored");
    assert_ne!(one.stdout, two.stdout);
    run(&["--entropy=deny"]).took_snapshot(false, &["draws!seed"]).says(&["warning"]);
}

#[test]
fn automatic_snapshots_are_listed_and_removed_by_key_or_all() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", guests::observes_env());
    sandbox.file("library.wat", guests::LIBRARY);
    sandbox.run(&["snapshot", "list", "--auto"]).succeeded("");
    got(&sandbox, &["--env", "A=1"], &[]).succeeded("1\n");
    let library = || sandbox.report(&["--invoke", "counter", "library.wat"]);
    library().succeeded("100\n");

    let list = sandbox.run(&["snapshot", "list", "--auto"]);
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert!(list.code == 0 && lines.len() == 3 && lines[0].starts_with("KEY "), "{list:?}");
    let bound = |to: &str| lines.iter().find(|line| line.ends_with(to)).unwrap();
    let (of_guest, of_library) = (bound("  environment"), bound("  nothing"));
    let key = &of_guest[..12];

    sandbox.run(&["snapshot", "rm", "--auto", "nothing"]).failed(1, &["`nothing`", "--auto"]);
    sandbox.run(&["snapshot", "rm", "--auto", ""]).failed(1, &["more than one"]);
    let removed = sandbox.run(&["snapshot", "rm", "--auto", key]);
    assert!(removed.code == 0 && removed.stdout.contains("removed"), "{removed:?}");
    let left = sandbox.run(&["snapshot", "list", "--auto"]).stdout;
    assert!(left.contains(of_library) && !left.contains(key), "{left}");
    library().did("code-cache", "restored");

    assert_eq!(sandbox.run(&["snapshot", "rm", "--auto"]).code, 0);
    sandbox.run(&["snapshot", "list", "--auto"]).succeeded("");
    for (directory, extension) in [("snapshots", "snap"), ("modules", "wasm")] {
        assert!(sandbox.stored(directory, extension).is_empty(), "{directory}");
    }
    assert_eq!(library().report["instance"]["outcome"], "instantiated");
    sandbox.run(&["snapshot", "rm"]).failed(2, &["NAME|KEY"]);
}

/// A reactor with 2 MiB of data whose `_initialize` draws a random byte to address 16 and adds 1 to the
/// byte at address 8; `at` returns a byte.
fn large_and_random() -> String {
    format!(
        r#"(module
          (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
          (memory (export "memory") 40)
          (data (i32.const 8) "\05")
          (data (i32.const 65536) "{}")
          (func (export "_initialize")
            (drop (call $random (i32.const 16) (i32.const 8)))
            (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (i32.const 1))))
          (func (export "random") (result i64) (i64.load (i32.const 16)))
          (func (export "at") (param i32) (result i32) (i32.load8_u (local.get 0))))"#,
        "x".repeat(2 << 20)
    )
}

#[test]
fn a_large_reactor_that_draws_randomness_is_mapped_and_initialised_in_each_run() {
    let sandbox = Sandbox::new();
    sandbox.file("large.wat", large_and_random());
    let at = |address: &str| sandbox.report(&["--invoke", "at", "large.wat", address]);
    for (mapped, address, byte) in [
        (false, "8", "6\n"),
        (true, "8", "6\n"),
        (true, "65536", "120\n"),
        (true, "2162687", "120\n"),
    ] {
        let run = at(address);
        run.succeeded(byte).took_snapshot(false, &["random"]);
        assert_eq!(run.report["instance"]["outcome"], "instantiated", "{run:?}");
        assert_eq!(run.report["phases"].get("restore").is_some(), mapped, "{run:?}");
    }
    let random = || sandbox.run(&["run", "--invoke", "random", "large.wat"]).stdout;
    assert_ne!(random(), random());
    // Another initialisation begins from the same state.
    let again = ["run", "--init", "_initialize", "--invoke", "at", "large.wat", "8"];
    sandbox.run(&again).succeeded("7\n");
    // What cannot be used is done without.
    for snapshot in sandbox.stored("snapshots", "snap") {
        std::fs::write(snapshot, "damaged").unwrap();
    }
    at("8").succeeded("6\n");
    let never = ["run", "--snapshot", "never", "--invoke", "at", "large.wat", "8"];
    sandbox.run(&never).succeeded("6\n");
}
