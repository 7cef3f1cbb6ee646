//! `--verify`: a stored snapshot is read whole before it is used.

use crate::{guests, sandbox::Sandbox};
use std::{fs, path::Path};

/// The hash of the only chunk is the last of a small file; before it is the end of the last page, which nothing reads.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 33;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_page_is_found_by_a_run_that_verifies_and_named() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let create = ["snapshot", "create", "--name", "f", "--init", "bump", "library.wat"];
    assert_eq!(sandbox.run(&create).code, 0);
    let verified = ["run", "--verify", "--invoke", "counter", "f"];
    sandbox.run(&verified).succeeded("101\n");

    let path = sandbox.stored("snapshots", "snap").pop().unwrap();
    damage(&path);

    sandbox.run(&["run", "--invoke", "counter", "f"]).succeeded("101\n");
    let words = ["functions/f", "damaged", "the state block of instance 1", "create it"];
    sandbox.run(&verified).failed(1, &words);
    sandbox.run(&["snapshot", "verify", "f"]).failed(1, &words);
}

#[test]
fn a_damaged_automatic_snapshot_is_replaced_by_a_run_that_verifies() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = ["run", "--verify", "--init", "bump", "--invoke", "counter", "library.wat"];
    sandbox.run(&run).succeeded("101\n");
    let path = sandbox.stored("snapshots", "snap").pop().unwrap();
    let whole = fs::read(&path).unwrap();
    damage(&path);
    sandbox.run(&run).succeeded("101\n").says(&["warning", "damaged", "initialising again"]);
    assert!(fs::read(&path).unwrap() == whole);
    sandbox.run(&run).succeeded("101\n").says(&[]);
}
