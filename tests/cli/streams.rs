//! Standard input, output and error: from where they come, in what order, and what becomes of a
//! reader that has gone.

use crate::process::{self, Finish};
use crate::{
    guests,
    sandbox::{Run, Sandbox},
};
use std::{fs::File, io::Write, process::Stdio};

#[test]
fn standard_input_comes_from_a_file_a_pipe_or_nowhere() {
    let sandbox = Sandbox::new();
    sandbox.file("cat.wat", guests::CAT);
    sandbox.file("input", "from a file");
    let with = |stdin: Stdio| Run::from(sandbox.command(&["run", "cat.wat"]).stdin(stdin).finish());
    with(File::open(sandbox.path().join("input")).unwrap().into()).succeeded("from a file");
    with(Stdio::null()).succeeded("");

    let mut command = sandbox.command(&["run", "cat.wat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for piece in ["from ", "a ", "pipe"] {
        stdin.write_all(piece.as_bytes()).unwrap();
    }
    drop(stdin);
    Run::from(child.finish()).succeeded("from a pipe");
}

#[test]
fn standard_input_comes_from_a_terminal() {
    let sandbox = Sandbox::new();
    sandbox.file("cat.wat", guests::CAT);
    // A terminal of its own, which `script` feeds from its standard input.
    let line = format!("{} run cat.wat", crate::sandbox::EXECUTOR);
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(sandbox.path());
    command.env("EXECUTOR_STORE", sandbox.store()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return println!("skipped: script cannot be run: {error}"),
    };
    // A line, and the end of the input, as they are typed.
    child.stdin.take().unwrap().write_all(b"typed\n\x04").unwrap();
    let output = child.finish();
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    // What is typed is echoed by the terminal.
    assert!(output.status.success() && said.ends_with("typed\n"), "{said}");
    assert_eq!(said.matches("typed\n").count(), 2, "{said}");
}

#[test]
fn output_and_errors_keep_their_order() {
    let sandbox = Sandbox::new();
    sandbox.file("both.wat", guests::WRITES_BOTH);
    let log = sandbox.path().join("log");
    let file = File::create(&log).unwrap();
    let mut command = sandbox.command(&["run", "--invoke", "both", "both.wat"]);
    command.stdout(file.try_clone().unwrap()).stderr(file);
    assert!(process::wait(&mut command.spawn().unwrap()).success());
    // The result of the call comes last.
    assert_eq!(std::fs::read_to_string(log).unwrap(), "out\nerr\nout\nerr\n0\n");
}

#[test]
fn a_reader_that_has_gone_is_an_error_number_for_the_guest() {
    let sandbox = Sandbox::new();
    sandbox.file("yes.wat", guests::WRITES_UNTIL_IT_CANNOT);
    let mut command = sandbox.command(&["run", "yes.wat"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let run = Run::from(child.finish());
    // 64 is WASI's EPIPE.
    assert_eq!((run.code, &*run.stderr), (64, ""), "{run:?}");
}

#[test]
fn a_reader_that_has_gone_is_no_failure_of_ours() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.file("library.wat", guests::LIBRARY);
    for line in [&["run", "hello.wat"][..], &["run", "--invoke", "counter", "library.wat"]] {
        let mut child =
            sandbox.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let run = Run::from(child.finish());
        assert_eq!((run.code, &*run.stderr), (0, ""), "{line:?}: {run:?}");
    }
}
