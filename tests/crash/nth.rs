//! For every N: the Nth call of a command that concerns a file fails, or is the last one.
//!
//! Then the store is opened again: each file is wholly old or wholly new, the functions run, `snapshot verify` is
//! content, the command succeeds when it is given again, and nothing is left over after a sweep.

use crate::{
    fixture::{self, Contents, contents, copy, filled, guests, is_temporary, module},
    sandbox::Sandbox,
    trace::{Call, Fault, Kind, Trace, gone, trace},
};
use executor_snapshot::{Catalogue, SnapshotFile};
use nix::{errno::Errno, sys::signal::Signal};
use std::{
    collections::HashSet,
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
};

/// A command that works on a store.
struct Scenario {
    /// What it works on.
    before: Sandbox,
    args: Vec<String>,
    /// What the function `old` may answer afterwards.
    answers: &'static [&'static str],
    /// The exit code of the same command given again, when the first one did all or nothing of its work.
    again: &'static [i32],
    /// A file beside the store that it reads or writes.
    beside: Option<&'static str>,
}

impl Scenario {
    fn new(before: Sandbox, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { before, args, answers: &["7\n"], again: &[0], beside: None }
    }

    fn args(&self) -> Vec<&str> {
        self.args.iter().map(String::as_str).collect()
    }

    fn trace(&self, sandbox: &Sandbox, fault: Option<(usize, Fault)>) -> Trace {
        let roots = [&sandbox.store(), sandbox.path(), guests()];
        trace(&sandbox.command(&self.args()), &roots, fault)
    }

    /// Every call, with every fault.
    #[track_caller]
    fn check(&self) {
        let old = contents(&self.before);
        let clean = copy(&self.before);
        let expected = self.trace(&clean, None);
        assert_eq!((expected.status.code(), &*expected.stderr), (Some(0), ""));
        let new = contents(&clean);
        Catalogue::open(clean.store()).unwrap().sweep().unwrap();
        let swept = names(&clean);
        let beside = self.beside.map(|name| fs::read(clean.path().join(name)).unwrap());
        let mut known = Known { old, new, swept, beside, checked: HashSet::new() };
        let (mut faults, mut wrong) = (0, Vec::new());
        for (number, call) in expected.calls.iter().enumerate() {
            let made = |call: &Call| call.name == "mkdir" && call.path == clean.store();
            let exists = self.before.store().exists() || expected.calls[..number].iter().any(made);
            for fault in faults_of(number, call, exists) {
                faults += 1;
                let sandbox = copy(&self.before);
                let trace = self.trace(&sandbox, Some((number, fault)));
                // Whether a marker is made depends on the time: there can be fewer calls.
                let Some(met) = trace.calls.get(number..).filter(|met| !met.is_empty()) else {
                    continue;
                };
                let named = |call: &Call, said: &str| self.is_named(&sandbox, call, said);
                let ended = end(fault, &trace, met, &expected.stdout, named);
                if fault == Fault::Vanish {
                    // What was made in its place is as good as any store.
                    let _ = fs::remove_dir_all(sandbox.store());
                    fs::rename(gone(&sandbox.store()), sandbox.store()).unwrap();
                }
                if let Err(what) = ended.and_then(|()| self.check_store(&sandbox, &mut known)) {
                    wrong.push(format!(
                        "{fault:?} at {number}, {} {}: {what} (it ended with {}: {})",
                        call.name,
                        call.path.display(),
                        trace.status,
                        trace.stderr
                    ));
                }
            }
        }
        println!("{:?}: {} calls, {faults} faults", self.args, expected.calls.len());
        assert!(wrong.is_empty(), "{:?}: {}\n{}", self.args, wrong.len(), wrong.join("\n"));
    }

    /// Whether the file that a call concerns is named in what a command says.
    fn is_named(&self, sandbox: &Sandbox, call: &Call, said: &str) -> bool {
        let known = |path: &Path| path.starts_with(sandbox.store()) || path.starts_with(guests());
        // Nobody knows a temporary file by its name.
        let path = match is_temporary(&call.path) {
            true => call.path.parent().unwrap(),
            false => &call.path,
        };
        said.contains(path.to_str().unwrap())
            || !known(path) && self.beside.is_some_and(|name| said.contains(name))
    }

    /// Whether what the command left is whole, works, and can be swept.
    fn check_store(&self, sandbox: &Sandbox, known: &mut Known) -> Result<(), String> {
        if let Some(name) = self.beside
            && let Ok(written) = fs::read(sandbox.path().join(name))
        {
            ensure(Some(written) == known.beside, || format!("{name} is not whole"))?;
        }
        let mut found = contents(sandbox);
        found.retain(|path, _| !is_temporary(path));
        for (path, held) in &mut found {
            let versions = [known.old.get(path), known.new.get(path)];
            if is_of_the_moment(path) {
                held.clear();
                continue;
            }
            let whole = match path.starts_with("snapshots") {
                // When it was made is in it.
                true => {
                    held.clear();
                    let file = SnapshotFile::open(sandbox.store().join(path));
                    file.and_then(|file| file.verify()).map_err(|error| error.to_string())?;
                    versions.iter().any(Option::is_some)
                }
                // A MAC under the store's key is in it, which is random.
                false if path.extension().is_some_and(|end| end == "elf") => {
                    let len = held.len();
                    held.clear();
                    versions.iter().flatten().any(|version| version.len() == len)
                }
                false => versions.contains(&Some(held)),
            };
            ensure(whole, || format!("{} is neither old nor new", path.display()))?;
        }
        if !known.checked.insert(found) {
            return Ok(());
        }
        let catalogue = Catalogue::open(sandbox.store()).map_err(|error| error.to_string())?;
        for (name, info) in catalogue.list().map_err(|error| error.to_string())? {
            let checked = info.and_then(|_| catalogue.verify_function(&name));
            checked.map_err(|error| format!("`{name}`: {error}"))?;
        }
        for entry in catalogue.list_auto().map_err(|error| error.to_string())? {
            entry.info.map_err(|error| format!("automatic: {error}"))?;
        }
        if known.old.contains_key(Path::new("functions/old")) {
            let run = sandbox.run(&["run", "--invoke", "get", "old"]);
            let answers = run.code == 0 && self.answers.contains(&&*run.stdout);
            ensure(answers, || format!("`old`: {run:?}"))?;
        }
        let again = sandbox.run(&self.args());
        ensure(self.again.contains(&again.code), || format!("then again: {again:?}"))?;
        catalogue.sweep().map_err(|error| error.to_string())?;
        let left = names(sandbox);
        ensure(left == known.swept, || format!("left: {left:?}"))
    }
}

/// Whether a command ended as it may after a fault at the first of `calls`: as if there had been none, or with one
/// error that names the file and the cause.
fn end(
    fault: Fault,
    trace: &Trace,
    calls: &[Call],
    stdout: &str,
    is_named: impl Fn(&Call, &str) -> bool,
) -> Result<(), String> {
    let errno = match fault {
        Fault::Fail(errno) | Fault::FailOn(errno) => errno,
        Fault::Vanish => Errno::ENOENT,
        Fault::Kill => {
            let killed = trace.status.signal() == Some(Signal::SIGKILL as i32);
            return ensure(killed, || "it was not killed".to_owned());
        }
    };
    let of = |kind: &str| trace.stderr.lines().filter(|line| line.starts_with(kind)).count();
    let (errors, warnings) = (of("executor: error: "), of("executor: warning: "));
    ensure(errors + warnings == trace.stderr.lines().count(), || "more is said".to_owned())?;
    match trace.status.code() {
        Some(0) => {
            // How much a removal took with it depends on what could be read.
            let first = |text: &str| text.split(' ').next().map(str::to_owned);
            let says = first(&trace.stdout) == first(stdout);
            // A store that has vanished has nothing, and what is deployed to it is a first version.
            let begun = |text: &str| text.is_empty() || text.starts_with("nothing");
            let nothing = fault == Fault::Vanish
                && (begun(&trace.stdout) || trace.stdout.starts_with("old@1 "));
            ensure(errors == 0 && (says || nothing), || format!("it says {}", trace.stdout))
        }
        Some(1) => {
            // What is wrong with one function of several is said in its line of the output.
            let listed = errors == 0 && !trace.stdout.is_empty();
            ensure(errors == 1 || listed, || format!("{errors} errors"))?;
            // What has vanished is not there, and need not be said to have been.
            if fault == Fault::Vanish {
                return Ok(());
            }
            let said = format!("{}{}", trace.stdout, trace.stderr);
            let cause = io::Error::from(errno).to_string();
            ensure(said.contains(&cause), || "the cause is missing".to_owned())?;
            let later = if let Fault::Fail(_) = fault { 1 } else { calls.len() };
            let mut failed = calls[..later].iter().filter(|call| !call.succeeded);
            let named = failed.any(|call| is_named(call, &said));
            ensure(named, || "the file is missing".to_owned())
        }
        _ => Err("it is neither a success nor an error".to_owned()),
    }
}

fn ensure(is: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if is { Ok(()) } else { Err(otherwise()) }
}

/// What a store had before a command and has after it, and the names of what is left after a sweep.
struct Known {
    old: Contents,
    new: Contents,
    swept: Vec<PathBuf>,
    /// The file beside it.
    beside: Option<Vec<u8>>,
    /// What was found to be as it should: many faults leave the same.
    checked: HashSet<Contents>,
}

/// Whether a file is the store's key, which is random, or a marker, which depends on the time.
fn is_of_the_moment(path: &Path) -> bool {
    path.ends_with("key") || path.extension().is_some_and(|end| end == "checked")
}

/// The names of what is in a store, but for files that are there to be locked.
fn names(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut contents = contents(sandbox);
    contents.retain(|path, _| {
        !is_of_the_moment(path) && !path.ends_with("lock") && !path.ends_with("compiling")
    });
    contents.into_keys().collect()
}

/// What is tried at a call; `exists` says whether there is a store by then.
fn faults_of(number: usize, call: &Call, exists: bool) -> Vec<Fault> {
    use Errno::{EIO, EMFILE, ENFILE, ENOLCK, ENOSPC, EROFS};
    let mut faults = match call.kind {
        Kind::Open => vec![],
        Kind::Change => {
            vec![Fault::Fail(ENOSPC), Fault::Fail(EIO), Fault::FailOn(EROFS), Fault::Kill]
        }
        Kind::Lock => vec![Fault::Fail(ENOLCK), Fault::Kill],
    };
    if call.name.starts_with("open") {
        // One limit is the process's, the other the system's: who meets them does the same.
        faults.push(Fault::Fail([EMFILE, ENFILE][number % 2]));
    }
    if exists {
        faults.push(Fault::Vanish);
    }
    faults
}

#[test]
fn a_new_function_is_made_or_not() {
    let module = module("b.wasm");
    let args = ["snapshot", "create", "--name", "new", "--init", "init", &module];
    Scenario::new(filled(), &args).check();
}

#[test]
fn the_first_function_of_a_store_is_made_or_not() {
    let module = module("b.wasm");
    let args = ["snapshot", "create", "--name", "new", "--init", "init", &module];
    Scenario::new(Sandbox::new(), &args).check();
}

#[test]
fn a_function_is_replaced_or_not() {
    let module = module("b.wasm");
    let args = ["snapshot", "create", "--name", "old", "--init", "init", &module];
    let scenario = Scenario::new(filled(), &args);
    Scenario { answers: &["7\n", "9\n"], ..scenario }.check();
}

#[test]
fn a_function_is_deployed_or_not() {
    let module = module("b.wasm");
    let args = ["deploy", "--name", "old", "--init", "init", "--route", "/old", &module];
    let scenario = Scenario::new(filled(), &args);
    Scenario { answers: &["7\n", "9\n"], ..scenario }.check();
}

#[test]
fn a_function_goes_back_or_not() {
    let sandbox = filled();
    assert_eq!(
        sandbox.run(&["deploy", "--name", "old", "--init", "init", &module("b.wasm")]).code,
        0
    );
    let scenario = Scenario::new(sandbox, &["rollback", "--to", "1", "old"]);
    Scenario { answers: &["7\n", "9\n"], ..scenario }.check();
}

#[test]
fn a_module_is_compiled_or_not() {
    Scenario::new(filled(), &["compile", &module("b.wasm")]).check();
}

#[test]
fn a_run_keeps_an_automatic_snapshot_or_not() {
    let args = ["run", "--init", "init", "--invoke", "get", &module("b.wasm")];
    Scenario::new(filled(), &args).check();
}

#[test]
fn a_run_finds_what_is_kept() {
    Scenario::new(filled(), &["run", "--invoke", "get", "old"]).check();
    Scenario::new(filled(), &["run", "--invoke", "get", &module("a.wasm")]).check();
}

#[test]
fn a_function_is_removed_or_not() {
    let scenario = Scenario::new(filled(), &["snapshot", "rm", "scratch"]);
    Scenario { again: &[0, 1], ..scenario }.check();
}

#[test]
fn automatic_snapshots_are_removed_or_not() {
    Scenario::new(filled(), &["snapshot", "rm", "--auto"]).check();
}

/// Makes a function that shares all pages with `old`, but is made by other calls.
fn over_old<'a>(name: &'a str, module: &'a str) -> Vec<&'a str> {
    let create = ["snapshot", "create", "--base", "old", "--init", "init", "--init", "init"];
    [&create[..], &["--name", name, module]].concat()
}

/// The store of [`filled`], and the function `over`, which shares pages with `old`.
fn layered() -> Sandbox {
    let sandbox = filled();
    assert_eq!(sandbox.run(&over_old("over", &module("a.wasm"))).code, 0);
    sandbox
}

#[test]
fn a_function_over_another_is_made_or_not() {
    Scenario::new(filled(), &over_old("new", &module("a.wasm"))).check();
}

#[test]
fn a_function_is_made_flat_or_not() {
    Scenario::new(layered(), &["snapshot", "flatten", "over"]).check();
}

#[test]
fn an_archive_is_written_or_not() {
    let scenario = Scenario::new(layered(), &["snapshot", "export", "over", "-o", "over.tar.zst"]);
    Scenario { beside: Some("over.tar.zst"), ..scenario }.check();
}

#[test]
fn an_archive_is_taken_in_or_not() {
    let from = layered();
    assert_eq!(from.run(&["snapshot", "export", "over", "-o", "over.tar.zst"]).code, 0);
    for before in [Sandbox::new(), filled()] {
        let archive = fs::read(from.path().join("over.tar.zst")).unwrap();
        before.file("over.tar.zst", archive);
        let args = ["snapshot", "import", "--name", "new", "over.tar.zst"];
        Scenario { beside: Some("over.tar.zst"), ..Scenario::new(before, &args) }.check();
    }
}

#[test]
fn what_nothing_uses_is_removed_or_not() {
    let before = filled();
    fs::remove_file(before.store().join("functions/scratch")).unwrap();
    fs::write(before.store().join("snapshots/.0123456789abcdef.tmp"), "half").unwrap();
    Scenario::new(before, &["store", "gc"]).check();
}

#[test]
fn what_only_reads_changes_nothing() {
    for args in
        [&["snapshot", "verify"][..], &["snapshot", "list"], &["snapshot", "list", "--auto"]]
    {
        Scenario::new(filled(), args).check();
    }
    let before = fixture::filled();
    Scenario::new(before, &["snapshot", "inspect", "old"]).check();
}
