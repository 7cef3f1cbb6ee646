//! Damaged code files: found out where they are read, compiled again, and never the end of the process.

use crate::{guests, sandbox::Sandbox};
use std::{fs, path::PathBuf};

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

/// Where the machine code ends in a code file: its first program header says.
fn text_end(code: &[u8]) -> usize {
    let word = |at: usize| u64::from_le_bytes(code[at..at + 8].try_into().unwrap()) as usize;
    let header = word(32);
    word(header + 8) + word(header + 32)
}

#[test]
fn a_damaged_byte_beside_the_machine_code_never_ends_the_process() {
    let (sandbox, code, whole) = with_code();
    for at in (text_end(&whole)..whole.len()).step_by(whole.len() / 24) {
        let mut bytes = whole.clone();
        let end = (at + 64).min(bytes.len());
        bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0xff);
        fs::write(&code, bytes).unwrap();
        for run in [
            &["run", "--invoke", "counter", "f"][..],
            &["run", "--snapshot", "never", "--invoke", "counter", "library.wat"],
        ] {
            let run = sandbox.run(run);
            assert!([0, 1].contains(&run.code), "at {at}: {run:?}");
        }
    }
}

#[test]
fn what_is_damaged_is_compiled_again_with_one_warning() {
    let (sandbox, code, whole) = with_code();
    let end = text_end(&whole);
    // All of the tables, which an instance is made of, and the first byte of the machine code.
    for range in [end..whole.len(), 4096..4097] {
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
        if range.start == end {
            damage();
            let run = sandbox.run(&["run", "--invoke", "counter", "f"]);
            run.succeeded("101\n").says(&["warning", "is damaged", "compiling again"]);
            assert!(fs::read(&code).unwrap() == whole, "the code file was not written again");
        }
    }
}
