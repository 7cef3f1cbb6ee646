//! What a guest is given of the world: arguments, environment, streams, directories, sockets, clocks
//! and randomness.
//!
//! Invariant: a guest reaches nothing that the builder was not told of. Directories are opened
//! while building, so a directory that can't be had is known before the guest runs.

use crate::args_environ::Strings;
use crate::clock::Clocks;
use crate::descriptor::{Descriptor, Descriptors, Directory, Entry, Kind, StdStream};
use crate::entropy::Recorder;
use crate::observe::{self, DigestError, FileDigest, GuestPath, Observations};
use crate::random::Source;
use crate::stream::{Canceller, Input, Output, Stdio};
use crate::{Environment, Rights, WasiState, abi::rights};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use executor_model::Escaped;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where guests begin to look for preopened directories.
const FIRST_PREOPEN: u32 = 3;

/// Why a context cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WasiError {
    /// A directory can't be opened.
    #[error("cannot open directory `{}` for the guest's `{}`: {source}", .host.display(), Escaped(.guest))]
    Preopen {
        /// The host's path.
        host: PathBuf,
        /// The guest's path.
        guest: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Two directories were given for one guest path.
    #[error("two directories are given for the guest's `{}`", Escaped(.0))]
    DuplicatePreopen(String),
    /// Arguments or environment that cannot be told to a guest.
    #[error("{0} with a zero byte, or longer than a guest's memory")]
    Strings(&'static str),
    /// A variable's name that cannot be told to a guest.
    #[error("`{}` cannot be the name of an environment variable", Escaped(.0))]
    VariableName(String),
    /// The state needs a directory that was not given.
    #[error("the snapshot was taken with a directory at `{}`, which is not given now", Escaped(.0))]
    MissingPreopen(String),
    /// The state needs a listening socket that was not given.
    #[error("the snapshot was taken with {0} or more listening sockets, which are not given now")]
    MissingListener(u32),
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
    /// The directories that the host gave, whatever the guest did with its descriptors of them.
    pub(crate) roots: Vec<Preopen>,
    /// How many listening sockets the guest has been given.
    pub(crate) listeners: u32,
    pub(crate) clocks: Clocks,
    pub(crate) random: Source,
    pub(crate) ledger: Recorder,
    pub(crate) observed: Observations,
    /// Of the store that it is the data of, once it has made a call.
    pub(crate) canceller: Option<Canceller>,
    /// How many bytes more may be held for the guest, at the call that is being served.
    pub(crate) room: u64,
}

impl WasiCtx {
    /// How many bytes are held for the guest: output that is captured and not yet taken, and lists of
    /// directories.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.stdio.captured() + self.descriptors.listed()
    }

    /// Whether a call may make more be held.
    pub(crate) fn holds(&self) -> bool {
        self.stdio.captures() || !self.roots.is_empty()
    }

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
            let root = self.root(&file.path).map(|root| &*root.dir);
            let digest = observe::digest(root, &file.path, Some(file))?;
            Ok((file.path.clone(), digest))
        };
        observations.files_read.iter().map(digest).collect()
    }

    /// The directory that the host gave and a path lies below.
    pub(crate) fn root(&self, path: &GuestPath) -> Option<&Preopen> {
        self.roots.iter().find(|root| root.guest == path.preopen)
    }
}

/// A directory that the host gives.
#[derive(Debug, Clone)]
pub(crate) struct Preopen {
    pub(crate) guest: String,
    pub(crate) dir: Arc<Dir>,
    pub(crate) read_only: bool,
}

impl Preopen {
    pub(crate) fn descriptor(&self, listing: Option<Vec<Entry>>) -> Descriptor {
        let directory = Directory {
            dir: Arc::clone(&self.dir),
            path: GuestPath { preopen: self.guest.clone(), path: String::new() },
            preopen: true,
            read_only: self.read_only,
            listing,
        };
        Descriptor::new(Kind::Directory(directory), Rights::PREOPEN)
    }
}

/// Makes a [`WasiCtx`]. Without more, a guest has no arguments, an empty environment, the
/// process's standard streams and no directories.
#[derive(Debug, Default)]
pub struct WasiCtxBuilder {
    args: Arc<[String]>,
    env: Environment,
    stdio: Stdio,
    preopens: Vec<Preopen>,
    listeners: Vec<TcpListener>,
    deterministic: bool,
}

impl WasiCtxBuilder {
    /// A new builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the arguments, the program's name first.
    pub fn args(&mut self, args: impl Into<Arc<[String]>>) -> &mut Self {
        self.args = args.into();
        self
    }

    /// Sets the environment.
    pub fn env(&mut self, env: Environment) -> &mut Self {
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

    /// Makes clocks and randomness the same in every run, for tests: the clocks begin at 2000-01-01
    /// and advance by a millisecond each time they are read, and by as long as the guest waits,
    /// which it then does not; random bytes are a fixed sequence. Never use it where randomness
    /// protects something.
    pub fn deterministic(&mut self) -> &mut Self {
        self.deterministic = true;
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
        self.open(host.as_ref(), guest.into(), false)
    }

    /// As [`Self::preopen`], to be read only: whatever would change something in it or below is
    /// `PERM` for the guest.
    ///
    /// # Errors
    /// As for [`Self::preopen`].
    pub fn preopen_read_only(
        &mut self,
        host: impl AsRef<Path>,
        guest: impl Into<String>,
    ) -> Result<&mut Self, WasiError> {
        self.open(host.as_ref(), guest.into(), true)
    }

    fn open(
        &mut self,
        host: &Path,
        guest: String,
        read_only: bool,
    ) -> Result<&mut Self, WasiError> {
        if self.preopens.iter().any(|preopen| preopen.guest == guest) {
            return Err(WasiError::DuplicatePreopen(guest));
        }
        match Dir::open_ambient_dir(host, ambient_authority()) {
            Ok(dir) => self.preopens.push(Preopen { guest, dir: Arc::new(dir), read_only }),
            Err(source) => {
                return Err(WasiError::Preopen { host: host.to_owned(), guest, source });
            }
        }
        Ok(self)
    }

    /// Gives the guest a socket that listens, to accept connections from. It gets the next number
    /// after the directories: 3 if there are none.
    pub fn listener(&mut self, listener: TcpListener) -> &mut Self {
        self.listeners.push(listener);
        self
    }

    /// The guest's paths of the directories given so far, in order.
    pub fn preopens(&self) -> impl Iterator<Item = &str> {
        self.preopens.iter().map(|preopen| preopen.guest.as_str())
    }

    /// The digest that a file below the directories given so far has now: to compare with one
    /// that [`WasiCtx::file_digests`] told in an earlier run.
    ///
    /// # Errors
    /// When no such directory is given, or the file cannot be read.
    pub fn digest(&self, path: &GuestPath) -> Result<FileDigest, DigestError> {
        let root = self.preopens.iter().find(|preopen| preopen.guest == path.preopen);
        observe::digest(root.map(|root| &*root.dir), path, None)
    }

    /// How the arguments and the environment differ from those that the guest of a state has looked
    /// at already, in words: what it kept of them stays as it was.
    #[must_use]
    pub fn differences(&self, state: &WasiState) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(seen) = state.args.as_ref().filter(|seen| ***seen != *self.args) {
            words.push(format!(
                "the snapshot's initialisation read the arguments {seen:?}; they are {:?} now",
                self.args
            ));
        }
        if let Some(seen) = &state.env {
            let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
            let now: Vec<&str> = self.env.variables().collect();
            let old = seen.iter().filter(|string| !now.contains(string));
            let old: Vec<&str> = old.map(|string| name_of(string)).collect();
            let added = now.iter().filter(|string| !seen.contains(string));
            let added = added.map(|string| name_of(string));
            let added = added.filter(|name| !old.contains(name));
            let mut names: Vec<&str> = old.iter().copied().chain(added).collect();
            names.dedup();
            if !names.is_empty() {
                words.push(format!(
                    "the snapshot's initialisation read the environment, of which {} differs now",
                    names.join(", ")
                ));
            }
        }
        words
    }

    /// The context of a guest that begins.
    ///
    /// # Errors
    /// When the arguments or the environment cannot be told to a guest.
    pub fn build(self) -> Result<WasiCtx, WasiError> {
        let mut descriptors = Descriptors::default();
        for stream in [StdStream::Stdin, StdStream::Stdout, StdStream::Stderr] {
            descriptors.push(0, Descriptor::stream(stream));
        }
        self.finish(Begun { descriptors, ..Begun::default() })
    }

    /// The directory of a guest path.
    pub(crate) fn root(&self, guest: &str) -> Option<&Preopen> {
        self.preopens.iter().find(|preopen| preopen.guest == guest)
    }

    /// Another owner of the listening socket at a place among those given.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn listener_at(&self, place: u32) -> Result<Descriptor, WasiError> {
        let listener = self.listeners.get(place as usize).and_then(|l| l.try_clone().ok());
        let listener = listener.ok_or(WasiError::MissingListener(place.saturating_add(1)))?;
        Ok(Descriptor::new(Kind::Listener(listener, place), Rights::of(rights::LISTENER)))
    }

    /// The context of a guest that has got as far as `begun`. The directories and sockets given
    /// that it does not know yet get the lowest numbers above the standard streams that are free.
    pub(crate) fn finish(self, begun: Begun) -> Result<WasiCtx, WasiError> {
        let Begun { mut descriptors, closed_preopens, state } = begun;
        let listeners = state.listeners;
        let known = |guest: &str, descriptors: &Descriptors| {
            closed_preopens.iter().any(|closed| closed == guest)
                || descriptors.iter().any(|(_, slot)| slot.preopen() == Some(guest))
        };
        for preopen in &self.preopens {
            if !known(&preopen.guest, &descriptors) {
                descriptors.push(FIRST_PREOPEN, preopen.descriptor(None));
            }
        }
        for place in listeners..self.listeners.len() as u32 {
            let listener = self.listener_at(place)?;
            descriptors.push(FIRST_PREOPEN, listener);
        }
        let args = self.args.iter().map(String::as_str);
        let WasiState { args: seen_args, env: seen_env, clocks, drawn, ledger, .. } = state;
        Ok(WasiCtx {
            args: Strings::new(args, seen_args).ok_or(WasiError::Strings("an argument"))?,
            env: Strings::of(self.env, seen_env),
            stdio: self.stdio,
            descriptors,
            closed_preopens,
            roots: self.preopens,
            listeners: listeners.max(self.listeners.len() as u32),
            clocks: Clocks::continuing(clocks, self.deterministic),
            random: if self.deterministic { Source::Fixed(drawn) } else { Source::Host },
            ledger: Recorder::continuing(ledger),
            observed: Observations::default(),
            canceller: None,
            room: u64::MAX,
        })
    }
}

/// The name of a variable.
fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or("", |(name, _)| name)
}

/// How far a guest has got: nothing, or what a state says.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    pub(crate) descriptors: Descriptors,
    pub(crate) closed_preopens: Vec<String>,
    pub(crate) state: WasiState,
}
