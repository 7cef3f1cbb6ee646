//! A directory with a store of its own, in which the binary runs.

use crate::process::Finish;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// The binary that Cargo built for these tests.
pub const EXECUTOR: &str = env!("CARGO_BIN_EXE_executor");

/// A fresh directory and a fresh store within it.
pub struct Sandbox {
    dir: TempDir,
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The report, where one was asked for.
    pub report: Value,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// Writes a file and returns its name.
    pub fn file<'n>(&self, name: &'n str, contents: impl AsRef<[u8]>) -> &'n str {
        fs::write(self.path().join(name), contents).unwrap();
        name
    }

    /// The binary, to be run in the directory with the store.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(EXECUTOR);
        command
            .args(args)
            .current_dir(self.path())
            .env("EXECUTOR_STORE", self.store())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        Run::from(self.command(args).finish())
    }

    /// As [`Self::run`], which succeeds.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Run {
        let run = self.run(args);
        assert_eq!(run.code, 0, "{args:?}: {run:?}");
        run
    }

    /// `executor run` with a report.
    pub fn report(&self, args: &[&str]) -> Run {
        let file = self.path().join("report.json");
        let _ = fs::remove_file(&file);
        let mut line = vec!["run", "--report", "report.json"];
        line.extend(args);
        let mut run = self.run(&line);
        let json = fs::read(&file).unwrap_or_else(|e| panic!("{line:?}: {e}: {run:?}"));
        run.report = serde_json::from_slice(&json).unwrap();
        run
    }

    /// The files below a directory of the store, by extension.
    pub fn stored(&self, folder: &str, extension: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.store().join(folder)) else { return Vec::new() };
        let paths = entries.map(|e| e.unwrap().path());
        paths.filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            // A signal has no code; no test expects one.
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            report: Value::Null,
        }
    }
}

impl Run {
    /// The run succeeded with this output.
    #[track_caller]
    pub fn succeeded(&self, stdout: &str) -> &Self {
        assert_eq!((self.code, self.stdout.as_str()), (0, stdout), "{self:?}");
        self
    }

    /// The run failed with one line on standard error, under which a backtrace may follow, that
    /// contains each of `words`.
    #[track_caller]
    pub fn failed(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let mut below = self.stderr.lines().skip(1);
        assert!(below.all(|line| line.starts_with("   ")), "{self:?}");
        assert!(self.stderr.starts_with("executor: error: "), "{self:?}");
        self.says(words)
    }

    /// Standard error contains each of `words`.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing: {self:?}");
        }
        self
    }

    /// The report's outcomes of the code and of the instance.
    #[track_caller]
    pub fn did(&self, code: &str, instance: &str) -> &Self {
        let outcome = |what: &str| self.report[what]["outcome"].as_str().unwrap_or("none");
        assert_eq!((outcome("code"), outcome("instance")), (code, instance), "{self:?}");
        self
    }

    /// Whether the run took a snapshot, as reported, and the reasons.
    #[track_caller]
    pub fn took_snapshot(&self, taken: bool, words: &[&str]) -> &Self {
        assert_eq!(self.report["snapshot"]["taken"], taken, "{self:?}");
        let reasons = self.report["snapshot"]["reasons"].to_string();
        for word in words {
            assert!(reasons.contains(word), "`{word}` is missing: {self:?}");
        }
        self
    }
}
