//! Damaged code files: found out where they are read, compiled again, and never the end of the process.

use crate::{guests, sandbox::Sandbox};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

/// A sandbox with the function `f`, the file of its code, and what is in that.
fn with_code() -> (Sandbox, PathBuf, Vec<u8>) {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let create = ["snapshot", "create", "--name", "f", "--init", "bump", "library.wat"];
    assert_eq!(sandbox.run(&create).code, 0);
    let code = sandbox.stored("code", "elf").pop().unwrap();
    let whole = fs::read(&code).unwrap();
    (sandbox, code, whole)
}

#[test]
fn whatever_byte_of_the_code_is_damaged_the_answer_is_right() {
    let (sandbox, code, whole) = with_code();
    let mut bytes = whole.clone();
    // The header, its MAC, the machine code, the tables and their hashes.
    let some = (64..1024).step_by(97).chain([4064, 4095, 4096, 4097]);
    let rest = (4100..whole.len()).step_by(whole.len() / 40).chain([whole.len() - 1]);
    for at in some.chain(rest) {
        bytes[at] ^= 0xff;
        fs::write(&code, &bytes).unwrap();
        bytes[at] = whole[at];
        let (first, again): (&[&str], &[&str]) = match at % 2 {
            0 => (&["run", "--invoke", "counter", "f"], &["snapshot", "verify", "f"]),
            _ => (
                &["run", "--snapshot", "never", "--invoke", "counter", "library.wat"],
                &["run", "f"],
            ),
        };
        let run = sandbox.run(first);
        run.succeeded(if at % 2 == 0 { "101\n" } else { "100\n" });
        // Where it names another version, it is of no interest.
        if !(72..80).contains(&at) {
            run.says(&["warning", "is damaged", "compiling again"]);
            assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        }
        assert!(fs::read(&code).unwrap() == whole, "the code file was not written again");
        assert_eq!(sandbox.run(again).stderr.matches("damaged").count(), 0, "at {at}");
    }
}

#[test]
fn what_is_damaged_is_said_by_verify_and_compiled_again_with_one_warning() {
    let (sandbox, code, whole) = with_code();
    for range in [64..72, 4096..4097, whole.len() / 2..whole.len()] {
        let damage = || {
            let mut bytes = whole.clone();
            bytes[range.clone()].iter_mut().for_each(|byte| *byte ^= 0xff);
            fs::write(&code, bytes).unwrap();
        };
        damage();
        let verified = sandbox.run(&["snapshot", "verify", "f"]);
        verified.failed(1, &[code.to_str().unwrap(), "damaged", "remove it"]);
        let all = sandbox.run(&["snapshot", "verify"]);
        assert!(all.code == 1 && all.stdout.contains("damaged"), "{all:?}");
        let compile = || sandbox.run(&["compile", "library.wat"]);
        let compiled = compile();
        assert!(compiled.stdout.contains(": compiled,"), "{compiled:?}");
        assert_eq!(compiled.stderr.matches("compiling again").count(), 1, "{compiled:?}");
        assert!(fs::read(&code).unwrap() == whole, "the code file was not written again");
        assert!(compile().stdout.contains("already compiled"));
        sandbox.run(&["snapshot", "verify", "f"]).succeeded("f: ok\n");
    }
}

#[test]
fn verify_reads_the_code_that_goes_on_with_a_suspended_call() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "c.wat",
        r#"(module (import "executor" "checkpoint" (func $checkpoint (result i32)))
          (memory (export "memory") 1)
          (func (export "_start") (drop (call $checkpoint))))"#,
    );
    sandbox.ok(&["snapshot", "create", "--name", "f", "--at", "checkpoint", "c.wat"]);
    sandbox.ok(&["run", "f"]);
    sandbox.run(&["snapshot", "verify", "f"]).succeeded("f: ok\n");
    // The module's, those that the point was looked for with, and the continuations.
    let files = sandbox.stored("code", "elf");
    let mut read = 0;
    for code in &files {
        let whole = fs::read(code).unwrap();
        let mut bytes = whole.clone();
        bytes[4096] ^= 1;
        fs::write(code, bytes).unwrap();
        let verified = sandbox.run(&["snapshot", "verify", "f"]);
        if verified.code != 0 {
            verified.failed(1, &[code.to_str().unwrap(), "damaged", "remove it"]);
            read += 1;
        }
        fs::write(code, whole).unwrap();
    }
    // But for the code with frame maps no run uses any other.
    assert_eq!((read, files.len()), (2, 3));
}

#[test]
fn code_of_another_store_is_not_run_and_a_lost_key_costs_a_compilation() {
    let (sandbox, code, whole) = with_code();
    let (_other, same, theirs) = with_code();
    assert_eq!(code.file_name(), same.file_name());
    assert!(whole != theirs, "two stores have one key");
    let run = || sandbox.run(&["run", "--invoke", "counter", "f"]);
    let again = || {
        run().succeeded("101\n").says(&["warning", "compiling again"]);
        assert_eq!(run().succeeded("101\n").stderr, "");
    };
    fs::write(&code, theirs).unwrap();
    again();
    assert!(fs::read(&code).unwrap() == whole, "the code file was not written again");
    let key = sandbox.store().join("key");
    for short in [false, true] {
        match short {
            true => fs::write(&key, "short").unwrap(),
            false => fs::remove_file(&key).unwrap(),
        }
        again();
        assert_eq!(fs::read(&key).unwrap().len(), 32);
    }
}

#[test]
fn a_key_that_others_may_write_to_is_refused_by_name() {
    let (sandbox, ..) = with_code();
    let key = sandbox.store().join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).unwrap();
    let run = sandbox.run(&["run", "--invoke", "counter", "f"]);
    run.succeeded("101\n").says(&[key.to_str().unwrap(), "chmod go-w", "nothing is kept"]);
}
