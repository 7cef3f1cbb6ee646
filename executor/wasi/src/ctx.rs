//! What a guest is given of the world: arguments, environment, streams, directories and clocks.
//!
//! Invariant: a guest reaches nothing that the builder was not told of. Directories are opened
//! while building, so a directory that can't be had is known before the guest runs.

use crate::args_environ::Strings;
use crate::clock::Clocks;
use crate::descriptor::{Descriptor, Descriptors, Directory, StdStream, Stream};
use crate::observe::{self, DigestError, FileDigest, GuestPath, Observations};
use crate::stream::{Canceller, Input, Output, Stdio};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::io;
use std::path::{Path, PathBuf};

/// Where guests begin to look for preopened directories.
const FIRST_PREOPEN: u32 = 3;

/// Why a context cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WasiError {
    /// A directory can't be opened.
    #[error("cannot open directory `{}` for the guest's `{guest}`: {source}", .host.display())]
    Preopen {
        /// The host's path.
        host: PathBuf,
        /// The guest's path.
        guest: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Two directories were given for one guest path.
    #[error("two directories are given for the guest's `{0}`")]
    DuplicatePreopen(String),
    /// Arguments or environment that cannot be told to a guest.
    #[error("{0} with a zero byte, or longer than a guest's memory")]
    Strings(&'static str),
    /// A variable's name that cannot be told to a guest.
    #[error("`{0}` cannot be the name of an environment variable")]
    VariableName(String),
    /// The state needs a directory that was not given.
    #[error("the snapshot was taken with a directory at `{0}`, which is not given now")]
    MissingPreopen(String),
    /// The state contradicts itself.
    #[error("invalid WASI state: {0}")]
    InvalidState(String),
}

/// The guest's view of the world; the store's data.
#[derive(Debug)]
pub struct WasiCtx {
    pub(crate) args: Strings,
    pub(crate) env: Strings,
    pub(crate) stdio: Stdio,
    pub(crate) descriptors: Descriptors,
    /// The guest's paths of the preopened directories it has closed.
    pub(crate) closed_preopens: Vec<String>,
    pub(crate) clocks: Clocks,
    pub(crate) observed: Observations,
    pub(crate) canceller: Option<Canceller>,
}

impl WasiCtx {
    /// What the guest observed or changed since the last call of this.
    pub fn take_observations(&mut self) -> Observations {
        let preopens = self.descriptors.take_preopens_seen();
        Observations { preopens, ..std::mem::take(&mut self.observed) }
    }

    /// The digests of the files in `observations`, as they are now, in the same order.
    ///
    /// # Errors
    /// When a file is not as the guest found it, or cannot be read.
    pub fn file_digests(
        &self,
        observations: &Observations,
    ) -> Result<Vec<(GuestPath, FileDigest)>, DigestError> {
        let digest = |file: &observe::FileRead| {
            let digest = observe::digest(self.preopen(&file.path), &file.path, Some(file))?;
            Ok((file.path.clone(), digest))
        };
        observations.files_read.iter().map(digest).collect()
    }

    fn preopen(&self, path: &GuestPath) -> Option<&Dir> {
        self.descriptors.iter().find_map(|(_, descriptor)| match descriptor {
            Descriptor::Directory(d) if d.preopen && d.path.preopen == path.preopen => Some(&d.dir),
            _ => None,
        })
    }
}

/// Makes a [`WasiCtx`]. Without more, a guest has no arguments, an empty environment, the
/// process's standard streams and no directories.
#[derive(Debug, Default)]
pub struct WasiCtxBuilder {
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdio: Stdio,
    preopens: Vec<(String, Dir)>,
    canceller: Option<Canceller>,
}

impl WasiCtxBuilder {
    /// A new builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the arguments, the program's name first.
    pub fn args(&mut self, args: Vec<String>) -> &mut Self {
        self.args = args;
        self
    }

    /// Sets the environment.
    pub fn env(&mut self, env: Vec<(String, String)>) -> &mut Self {
        self.env = env;
        self
    }

    /// Sets standard input.
    pub fn stdin(&mut self, stdin: Input) -> &mut Self {
        self.stdio.stdin = stdin;
        self
    }

    /// Sets standard output.
    pub fn stdout(&mut self, stdout: Output) -> &mut Self {
        self.stdio.stdout = stdout;
        self
    }

    /// Sets standard error.
    pub fn stderr(&mut self, stderr: Output) -> &mut Self {
        self.stdio.stderr = stderr;
        self
    }

    /// Sets what ends the guest's waits.
    pub fn canceller(&mut self, canceller: Canceller) -> &mut Self {
        self.canceller = Some(canceller);
        self
    }

    /// Opens a directory of the host, which the guest finds at `guest`. The first gets descriptor
    /// 3, the next 4, and so on.
    ///
    /// # Errors
    /// When the directory can't be opened, or the guest's path was given before.
    pub fn preopen(
        &mut self,
        host: impl AsRef<Path>,
        guest: impl Into<String>,
    ) -> Result<&mut Self, WasiError> {
        let (host, guest) = (host.as_ref(), guest.into());
        if self.preopens.iter().any(|(name, _)| *name == guest) {
            return Err(WasiError::DuplicatePreopen(guest));
        }
        match Dir::open_ambient_dir(host, ambient_authority()) {
            Ok(dir) => self.preopens.push((guest, dir)),
            Err(source) => {
                return Err(WasiError::Preopen { host: host.to_owned(), guest, source });
            }
        }
        Ok(self)
    }

    /// The guest's paths of the directories given so far, in order.
    pub fn preopens(&self) -> impl Iterator<Item = &str> {
        self.preopens.iter().map(|(guest, _)| guest.as_str())
    }

    /// The digest that a file below the directories given so far has now: to compare with one
    /// that [`WasiCtx::file_digests`] told in an earlier run.
    ///
    /// # Errors
    /// When no such directory is given, or the file cannot be read.
    pub fn digest(&self, path: &GuestPath) -> Result<FileDigest, DigestError> {
        let dir = self.preopens.iter().find(|(guest, _)| *guest == path.preopen);
        observe::digest(dir.map(|(_, dir)| dir), path, None)
    }

    /// The context of a guest that begins.
    ///
    /// # Errors
    /// When the arguments or the environment cannot be told to a guest.
    pub fn build(self) -> Result<WasiCtx, WasiError> {
        let mut descriptors = Descriptors::default();
        for stream in [StdStream::Stdin, StdStream::Stdout, StdStream::Stderr] {
            descriptors.push(0, Descriptor::Stream(Stream { stream, flags: 0 }));
        }
        self.finish(descriptors, Vec::new(), Clocks::default())
    }

    /// Takes out the directory of a guest path.
    pub(crate) fn take_preopen(&mut self, guest: &str) -> Option<Descriptor> {
        let at = self.preopens.iter().position(|(name, _)| name == guest)?;
        let (guest, dir) = self.preopens.remove(at);
        Some(preopened(guest, dir))
    }

    /// The context of a guest that has `descriptors` and the directories not taken out: each of
    /// these gets the lowest number above the standard streams that is free.
    pub(crate) fn finish(
        self,
        mut descriptors: Descriptors,
        closed_preopens: Vec<String>,
        clocks: Clocks,
    ) -> Result<WasiCtx, WasiError> {
        for (guest, dir) in self.preopens {
            descriptors.push(FIRST_PREOPEN, preopened(guest, dir));
        }
        if let Some((name, _)) =
            self.env.iter().find(|(name, _)| name.is_empty() || name.contains('='))
        {
            return Err(WasiError::VariableName(name.clone()));
        }
        let env = self.env.into_iter().map(|(name, value)| format!("{name}={value}"));
        Ok(WasiCtx {
            args: Strings::new(self.args.into_iter()).ok_or(WasiError::Strings("an argument"))?,
            env: Strings::new(env).ok_or(WasiError::Strings("an environment variable"))?,
            stdio: self.stdio,
            descriptors,
            closed_preopens,
            clocks,
            observed: Observations::default(),
            canceller: self.canceller,
        })
    }
}

fn preopened(guest: String, dir: Dir) -> Descriptor {
    let path = GuestPath { preopen: guest, path: String::new() };
    Descriptor::Directory(Directory { dir, path, preopen: true, listing: None })
}
