//! Whole processes: the `executor` binary with the guests in a store of its own.
//!
//! Invariant: a function is offered for measurement only after one run of it, in a process of its
//! own, gave the right answer.

use crate::{Answer, Guest};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// The `executor` binary, and a store with every guest as a function.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
    dir: TempDir,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Whether its exit code was 0.
    pub success: bool,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn finish(command: &mut Command) -> Finished {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let Output { status, stdout, .. } = output;
    Finished { success: status.success(), stdout }
}

impl Executable {
    /// Stores the guests with the binary that `EXECUTOR` names, or with the one that
    /// `cargo build --release` made.
    ///
    /// # Errors
    /// Why there is nothing to measure: no binary was found.
    ///
    /// # Panics
    /// When a guest cannot be stored, or answers wrongly.
    pub fn with(guests: &[Guest]) -> Result<Self, String> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/executor");
        let path = env::var_os("EXECUTOR").map_or(built, PathBuf::from);
        let path = path.canonicalize().map_err(|e| {
            format!(
                "{}: {e}; build it with `cargo build --release -p executor-cli`, or name another \
                 in EXECUTOR",
                path.display()
            )
        })?;
        let executable = Self { path, dir: tempfile::tempdir().expect("a temporary directory") };
        for guest in guests {
            executable.store(guest);
        }
        Ok(executable)
    }

    fn store(&self, guest: &Guest) {
        let file = self.dir.path().join(guest.name).with_extension("wasm");
        fs::write(&file, &guest.wasm).expect("a module in a temporary directory");
        let mut create = self.command(&["snapshot", "create", "--name", guest.name]);
        // A reactor's `_initialize` is called without being asked for.
        for init in guest.inits.iter().filter(|name| **name != "_initialize") {
            create.args(["--init", *init]);
        }
        let created = create.arg(&file).output().expect("the executor");
        let message = String::from_utf8_lossy(&created.stderr);
        assert!(created.status.success(), "{}: {message}", guest.name);
        let finished = finish(&mut self.run(guest));
        assert!(answers(guest, &finished), "{}: {finished:?}", guest.name);
    }

    /// The command that runs a stored guest and makes its call.
    #[must_use]
    pub fn run(&self, guest: &Guest) -> Command {
        let call = &guest.call;
        let mut command = self.command(&["run"]);
        if call.export != "_start" {
            command.args(["--invoke", call.export]);
        }
        command.arg(guest.name).args(call.params.iter().map(i32::to_string));
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(args).env("EXECUTOR_STORE", self.dir.path().join("store"));
        command
    }
}

/// Whether a process that made a guest's call printed the right answer.
#[must_use]
pub fn answers(guest: &Guest, finished: &Finished) -> bool {
    let text = String::from_utf8_lossy(&finished.stdout);
    let right = match guest.call.answer {
        Answer::Output(_) => guest.call.answer.accepts(None, &finished.stdout),
        answer => text.trim_end().parse().is_ok_and(|n| answer.accepts(Some(n), &[])),
    };
    finished.success && right
}
