//! Loading functions: at the beginning, and when the store or the configuration changes.
//!
//! Invariant: a function is served only once a worker could run it: its code is compiled, in a process of its own,
//! before requests see it. A change that fails leaves what was served before.

use crate::{
    admission::All,
    config::Config,
    functions::{NotServed, Served, Table},
    wire::Directory,
};
use executor::{Error, Runtime};
use std::{
    collections::BTreeSet,
    env, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

/// What functions are loaded with.
#[derive(Debug)]
pub(crate) struct Loader {
    pub(crate) runtime: Runtime,
    pub(crate) store: PathBuf,
    /// The functions to serve; all if none is named.
    pub(crate) names: Vec<String>,
    pub(crate) all: Arc<All>,
}

/// Why a command of another process did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("cannot run {}: {source}", command.display())]
    Start { command: PathBuf, source: io::Error },
    #[error("{0}")]
    Failed(String),
}

/// Why a function is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    NotServed(#[from] NotServed),
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Loader {
    /// Deploys what the configuration names files for.
    ///
    /// # Errors
    /// When one cannot be deployed; the error names it.
    pub(crate) fn deploy(&self, config: &Config) -> Result<(), String> {
        for (name, settings) in &config.functions {
            let Some(module) = &settings.module else { continue };
            let words = ["deploy".as_ref(), "--name".as_ref(), name.as_ref(), module.as_os_str()];
            self.command(words).map_err(|error| format!("`{name}`: {error}"))?;
        }
        Ok(())
    }

    /// The names of the functions that are to be served: where none is named, all, and their aliases.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        if !self.names.is_empty() {
            return Ok(self.names.clone());
        }
        let mut names = Vec::new();
        for (name, _) in self.runtime.functions()? {
            // One that was not deployed has no versions, and so no aliases.
            for version in self.runtime.versions(&name).into_iter().flatten() {
                names.extend(version.aliases.iter().map(|alias| format!("{name}@{alias}")));
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Loads a function.
    pub(crate) fn load(
        &self,
        name: &str,
        config: &Config,
        before: Option<&Served>,
    ) -> Result<Served, LoadError> {
        let load = || Served::load(&self.runtime, name, config, &self.all, before);
        match load() {
            // Of another build or processor, or it was collected.
            Err(NotServed::Open(Error::NotCompiled { .. } | Error::UnknownModule(_))) => {
                self.command(["compile".as_ref(), name.as_ref()])?;
                Ok(load()?)
            }
            loaded => Ok(loaded?),
        }
    }

    /// Loads all functions anew, or those that are named, into a table that takes the place of another. Returns what is
    /// to be said of those that are not served.
    pub(crate) fn table(
        &self,
        config: &Config,
        before: &Table,
        changed: Option<&BTreeSet<String>>,
    ) -> Result<(Table, Vec<String>), Error> {
        let mut said = Vec::new();
        let mut served = Vec::new();
        for name in self.names()? {
            let old = before.get(&name);
            if let (Some(old), Some(changed)) = (old, changed)
                && !changed.contains(name.split('@').next().unwrap_or(&name))
            {
                served.push(Arc::clone(old));
                continue;
            }
            match self.load(&name, config, old.map(|old| &**old)) {
                Ok(loaded) => served.push(Arc::new(loaded)),
                Err(error) => {
                    said.push(format!("`{name}`: {error}"));
                    let gone = !self.runtime.has_function(&name);
                    served.extend(old.filter(|_| !gone).cloned());
                }
            }
        }
        let (table, conflicts) = Table::new(served);
        said.extend(conflicts);
        Ok((table, said))
    }

    /// Runs a command of the executor on the store; returns what it printed.
    ///
    /// # Errors
    /// When it cannot be run, or fails.
    fn command<'a>(
        &self,
        words: impl IntoIterator<Item = &'a std::ffi::OsStr>,
    ) -> Result<String, CommandError> {
        let mut command = self.executor();
        let output = command.args(words).output().map_err(|source| CommandError::Start {
            command: command.get_program().into(),
            source,
        })?;
        said(&output).map_err(CommandError::Failed)
    }

    /// The executor, for a command on the store.
    pub(crate) fn executor(&self) -> Command {
        let mut command = Command::new(executor_path());
        // As variables: what stands behind a module's file is its guest's.
        command.env("EXECUTOR_STORE", &self.store).stdin(Stdio::null());
        command
    }
}

/// What a command has printed.
///
/// # Errors
/// When it has failed, with its error.
pub(crate) fn said(output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let line = error.lines().find_map(|line| line.strip_prefix("executor: error: "));
    Err(line.unwrap_or("it failed and did not say why").to_owned())
}

/// The `executor` beside this program.
fn executor_path() -> PathBuf {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("executor")));
    beside.filter(|path| path.exists()).unwrap_or_else(|| Path::new("executor").to_owned())
}

/// All directories that functions are given.
pub(crate) fn directories(table: &Table) -> Vec<Directory> {
    let all = table.iter().flat_map(|served| served.all_directories.iter().cloned());
    all.collect::<BTreeSet<_>>().into_iter().collect()
}
