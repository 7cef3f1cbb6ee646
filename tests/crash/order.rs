//! What is made lasts: the order in which commands change files and make the changes last.
//!
//! A process that is killed loses nothing that it wrote, so this is what a loss of power would tell apart, as far
//! as system calls show it.

use crate::{
    fixture::{filled, guests, is_temporary, module},
    sandbox::Sandbox,
    trace::{Call, Kind, trace},
};
use std::path::Path;

/// The changes that a command makes of a store.
fn changes(sandbox: &Sandbox, args: &[&str]) -> Vec<Call> {
    let trace = trace(&sandbox.command(args), &[sandbox.path(), guests()], None);
    assert_eq!(trace.status.code(), Some(0), "{args:?}: {trace:?}");
    let mut calls = trace.calls;
    calls.retain(|call| call.kind == Kind::Change && call.succeeded);
    calls
}

/// Where each call of this name is.
fn find<'a>(calls: &'a [Call], name: &str) -> impl Iterator<Item = (usize, &'a Call)> {
    let name = name.to_owned();
    calls.iter().enumerate().filter(move |(_, call)| call.name == name)
}

/// The next change after the one at this place makes the directory last.
#[track_caller]
fn is_made_to_last(calls: &[Call], at: usize, directory: &Path) {
    let next = calls.get(at + 1).map(|call| (call.name, call.path.as_path()));
    assert_eq!(next, Some(("fsync", directory)), "after {:?}", calls[at]);
}

/// Checks the changes of a command, and returns how many files and links got their names.
#[track_caller]
fn check(calls: &[Call]) -> usize {
    let mut named = 0;
    for (at, call) in find(calls, "renameat") {
        let to = call.to.as_ref().unwrap();
        assert!(is_temporary(&call.path), "{call:?}");
        // A marker that is lost is made again.
        if to.extension().is_some_and(|end| end == "checked") {
            continue;
        }
        named += 1;
        let before = || calls[..at].iter().filter(|earlier| earlier.path == call.path);
        // A link is made whole.
        if before().next().unwrap().name != "symlinkat" {
            assert_eq!(before().next_back().unwrap().name, "fsync", "before {call:?}");
        }
        is_made_to_last(calls, at, to.parent().unwrap());
    }
    for name in ["mkdir", "mkdirat"] {
        for (at, call) in find(calls, name) {
            is_made_to_last(calls, at, call.path.parent().unwrap());
        }
    }
    // Nothing gets its name in another way.
    for call in calls.iter().filter(|call| call.name == "openat" && !is_temporary(&call.path)) {
        assert!(
            call.path.ends_with("lock")
                || call.path.ends_with("compiling")
                || call.path.ends_with("deploying"),
            "{call:?}"
        );
    }
    named
}

#[test]
fn what_gets_its_name_is_whole_and_stays() {
    let sandbox = Sandbox::new();
    let b = module("b.wasm");
    let create = ["snapshot", "create", "--name", "f", "--init", "init", &b];
    // Index, code, snapshot, module, link.
    assert_eq!(check(&changes(&sandbox, &create)), 5);
    // Code, index; snapshot, module, entry.
    let run = ["run", "--init", "init", "--invoke", "get", &module("a.wasm")];
    assert_eq!(check(&changes(&sandbox, &run)), 5);
    assert_eq!(check(&changes(&sandbox, &["compile", &module("c.wasm")])), 2);
    // What is there is not written again.
    assert_eq!(check(&changes(&sandbox, &create)), 1);
    assert_eq!(check(&changes(&sandbox, &run)), 0);
}

#[test]
fn a_store_that_lies_deep_stays_with_the_directories_above() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["compile", &module("b.wasm")]);
    command.env("EXECUTOR_STORE", sandbox.path().join("one/two/three"));
    let trace = trace(&command, &[sandbox.path()], None);
    assert_eq!(trace.status.code(), Some(0), "{trace:?}");
    let mut calls = trace.calls;
    calls.retain(|call| call.kind == Kind::Change && call.succeeded);
    assert_eq!(find(&calls, "mkdir").count(), 3);
    check(&calls);
}

#[test]
fn what_leads_to_a_file_goes_for_good_before_the_file() {
    for (args, folder) in [
        (&["snapshot", "rm", "scratch"][..], "store/functions"),
        (&["snapshot", "rm", "--auto"], "store/auto"),
    ] {
        let sandbox = filled();
        let run = ["run", "--init", "init", "--invoke", "get", &module("b.wasm")];
        assert_eq!(sandbox.run(&run).code, 0);
        let calls = changes(&sandbox, args);
        let folder = sandbox.path().join(folder);
        let leads = |call: &Call| call.path.parent() == Some(&folder);
        let last = calls.iter().rposition(leads).unwrap();
        is_made_to_last(&calls, last, &folder);
        let others = find(&calls, "unlinkat").filter(|(_, call)| !leads(call));
        let others: Vec<usize> = others.map(|(at, _)| at).collect();
        assert!(!others.is_empty() && others.iter().all(|at| *at > last), "{calls:?}");
    }
}
