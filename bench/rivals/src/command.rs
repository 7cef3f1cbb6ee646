//! The `wasmtime` command, where `bench/fetch` fetched it: Wizer, and whole processes.
//!
//! Invariant: a command is handed out only after one run of it gave the right answer.

use executor_bench::{Guest, answers, finish, input};
use std::{fs, path::PathBuf, process::Command};
use tempfile::TempDir;

/// The command, and a directory for what it makes.
#[derive(Debug)]
pub struct WasmtimeCommand {
    path: PathBuf,
    dir: TempDir,
}

impl WasmtimeCommand {
    /// The command, or why it is not used.
    pub fn find() -> Result<Self, String> {
        let path = input("wasmtime").ok_or("bench/fetch did not fetch the wasmtime command")?;
        let this = Self { path, dir: tempfile::tempdir().map_err(|e| e.to_string())? };
        let version = this.output(this.command().arg("--version"))?;
        println!("The command: {}", version.trim());
        Ok(this)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("RUST_BACKTRACE", "0");
        command
    }

    /// The file of a guest's module.
    fn module(&self, guest: &Guest) -> Result<PathBuf, String> {
        let path = self.dir.path().join(guest.name).with_extension("wasm");
        fs::write(&path, &guest.wasm).map_err(|e| e.to_string())?;
        Ok(path)
    }

    /// The module with its initialised state inside.
    pub fn wizer(&self, guest: &Guest) -> Result<Vec<u8>, String> {
        // Wizer calls a reactor's `_initialize` by itself.
        let Some(init) = guest.inits.last() else {
            return Err("there is nothing to initialise".to_owned());
        };
        let to = self.dir.path().join(guest.name).with_extension("wizer.wasm");
        let mut wizer = self.command();
        wizer.args(["wizer", "-S", "cli", "--init-func", init]);
        self.output(wizer.arg(self.module(guest)?).arg("-o").arg(&to))
            .map_err(|reason| format!("Wizer: {reason}"))?;
        fs::read(to).map_err(|e| e.to_string())
    }

    /// The command that makes a guest's call in a process of its own, from a precompiled file, and
    /// what that is.
    pub fn prepare(&self, guest: &Guest) -> Result<(Command, &'static str), String> {
        let module = self.module(guest)?;
        let (module, how) = match self.wizer(guest) {
            Ok(_) => (
                module.with_extension("wizer.wasm"),
                "Wizer before; `wasmtime run` of a precompiled file",
            ),
            Err(_) => (module, "`wasmtime run` of a precompiled file"),
        };
        let compiled = module.with_extension("cwasm");
        self.output(self.command().arg("compile").arg(&module).arg("-o").arg(&compiled))?;
        let mut run = self.command();
        run.args(["run", "--allow-precompiled"]);
        if guest.call.export != "_start" {
            run.args(["--invoke", guest.call.export]);
        }
        run.arg(compiled).args(guest.call.params.iter().map(i32::to_string));
        let finished = finish(&mut run);
        match answers(guest, &finished) {
            true => Ok((run, how)),
            false => Err(format!("it answers {:?}", String::from_utf8_lossy(&finished.stdout))),
        }
    }

    /// Standard output of a command that must succeed.
    fn output(&self, command: &mut Command) -> Result<String, String> {
        let output = command.output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        // The last line is the cause of the causes.
        let cause = message.trim().lines().next_back().unwrap_or("no reason").trim();
        Err(cause.trim_start_matches("Error: ").to_owned())
    }
}
