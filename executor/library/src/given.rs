//! What an instance is given: arguments, environment, directories, sockets, streams, limits and time.
//!
//! Invariant: everything that was asked for is there before the guest is; what cannot be had is an error
//! that names it. Of the embedder's own world a guest has nothing that was not given.

use crate::{Cancellation, Error, Limits, runtime::failed};
use executor_snapshot::GivenDirectory;
use executor_wasi::{Input, Output, WasiCtxBuilder, WasiState};
use std::{
    fs::File,
    net::TcpListener,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a guest may do with a directory that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirAccess {
    /// Whatever the embedder's process may.
    ReadWrite,
    /// Nothing that changes it, or anything below it.
    ReadOnly,
}

/// Where a guest's standard input comes from.
#[derive(Debug, Default)]
pub enum Stdin {
    /// Nowhere: it is at its end.
    #[default]
    Empty,
    /// The process's standard input.
    Inherit,
    /// These bytes, and then the end.
    Bytes(Vec<u8>),
    /// A file, pipe or socket.
    File(File),
}

/// Where a guest's standard output or standard error goes.
#[derive(Debug, Default)]
pub enum Stdout {
    /// Nowhere: it is thrown away.
    #[default]
    Discard,
    /// The process's own stream.
    Inherit,
    /// Into memory: see [`Instance::take_stdout`](crate::Instance::take_stdout).
    Capture,
    /// A file, pipe or socket.
    File(File),
}

impl Stdin {
    fn input(&self) -> Result<Input, Error> {
        Ok(match self {
            Self::Empty => Input::Bytes(Default::default()),
            Self::Inherit => Input::Inherit,
            Self::Bytes(bytes) => Input::Bytes(bytes.clone().into()),
            Self::File(file) => Input::Fd(another(file)?),
        })
    }
}

/// What a guest has written.
pub(crate) type Captured = Arc<Mutex<Vec<u8>>>;

impl Stdout {
    fn output(&self, captured: &Captured) -> Result<Output, Error> {
        Ok(match self {
            Self::Discard => Output::Discard,
            Self::Inherit => Output::Inherit,
            Self::Capture => Output::Capture(Arc::clone(captured)),
            Self::File(file) => Output::Fd(Arc::new(another(file)?)),
        })
    }
}

fn another(file: &File) -> Result<OwnedFd, Error> {
    let file = file.try_clone();
    file.map(OwnedFd::from).map_err(|source| Error::System { what: "share a descriptor", source })
}

/// A directory that a guest is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dir {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) access: DirAccess,
}

/// What an instance is given.
#[derive(Debug)]
pub(crate) struct Given {
    /// The arguments, argument 0 first.
    pub(crate) args: Vec<String>,
    /// Whether they were said, and not only argument 0 made up.
    pub(crate) args_given: bool,
    /// The environment, each name once.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) env_given: bool,
    pub(crate) dirs: Vec<Dir>,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) deterministic: bool,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Stdout,
    pub(crate) stderr: Stdout,
    pub(crate) limits: Limits,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancellation: Option<Cancellation>,
}

/// What a guest has written to its two streams, where that is captured.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
}

impl Given {
    /// Nothing, to a guest of this name.
    pub(crate) fn new(name: impl Into<String>, limits: Limits) -> Self {
        Self {
            args: vec![name.into()],
            args_given: false,
            env: Vec::new(),
            env_given: false,
            dirs: Vec::new(),
            listeners: Vec::new(),
            deterministic: false,
            stdin: Stdin::default(),
            stdout: Stdout::default(),
            stderr: Stdout::default(),
            limits,
            timeout: None,
            cancellation: None,
        }
    }

    /// The same to another guest, which reads `stdin` and whose output is thrown away.
    pub(crate) fn copy(&self, stdin: Stdin) -> Result<Self, Error> {
        let share = |source| Error::System { what: "share a socket", source };
        let listeners = self.listeners.iter().map(|listener| listener.try_clone().map_err(share));
        Ok(Self {
            args: self.args.clone(),
            env: self.env.clone(),
            dirs: self.dirs.clone(),
            listeners: listeners.collect::<Result<_, _>>()?,
            stdin,
            stdout: Stdout::Discard,
            stderr: Stdout::Discard,
            cancellation: self.cancellation.clone(),
            ..*self
        })
    }

    pub(crate) fn set_env(&mut self, name: String, value: String) {
        self.env_given = true;
        self.env.retain(|(earlier, _)| *earlier != name);
        self.env.push((name, value));
    }

    /// What a guest that has read its arguments and environment goes on with, where nothing is said of
    /// them: what it has read.
    pub(crate) fn adopt(&self, state: &WasiState, builder: &mut WasiCtxBuilder) {
        if let (false, Some(args)) = (self.args_given, &state.args) {
            builder.args(args.clone());
        }
        if let (false, Some(env)) = (self.env_given, &state.env) {
            let variable = |text: &String| {
                text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
            };
            builder.env(env.iter().filter_map(variable).collect());
        }
    }

    /// The guest's view of it. `kept` are directories that it is given as well, where none of that name
    /// is given.
    pub(crate) fn wasi(
        &self,
        kept: &[GivenDirectory],
        written: &Written,
    ) -> Result<WasiCtxBuilder, Error> {
        let mut builder = WasiCtxBuilder::new();
        builder.args(self.args.clone()).env(self.env.clone());
        builder.stdin(self.stdin.input()?);
        builder.stdout(self.stdout.output(&written.stdout)?);
        builder.stderr(self.stderr.output(&written.stderr)?);
        for Dir { host, guest, access } in &self.dirs {
            open(&mut builder, host, guest, *access == DirAccess::ReadOnly)?;
        }
        for GivenDirectory { host, guest, read_only } in kept {
            if self.dirs.iter().all(|dir| dir.guest != *guest) {
                open(&mut builder, host, guest, *read_only)?;
            }
        }
        for listener in &self.listeners {
            let listener = listener.try_clone();
            builder.listener(
                listener.map_err(|source| Error::System { what: "share a socket", source })?,
            );
        }
        if self.deterministic {
            builder.deterministic();
        }
        Ok(builder)
    }

    /// The directories, as a snapshot keeps them for later runs.
    pub(crate) fn given_directories(&self) -> Result<Vec<GivenDirectory>, Error> {
        let given = |Dir { host, guest, access }: &Dir| {
            let path = host.canonicalize().map_err(failed(host))?;
            let name = path.to_str().map(str::to_owned);
            Ok(GivenDirectory {
                host: name.ok_or(Error::DirectoryName { path })?,
                guest: guest.clone(),
                read_only: *access == DirAccess::ReadOnly,
            })
        };
        self.dirs.iter().map(given).collect()
    }
}

fn open(
    builder: &mut WasiCtxBuilder,
    host: impl AsRef<std::path::Path>,
    guest: &str,
    read_only: bool,
) -> Result<(), Error> {
    match read_only {
        true => builder.preopen_read_only(host, guest)?,
        false => builder.preopen(host, guest)?,
    };
    Ok(())
}

/// The methods by which a builder with a field `given` is told what an instance is given.
macro_rules! given_methods {
    () => {
        /// Adds an argument; argument 0, the name of the program, is there already.
        pub fn arg(mut self, arg: impl Into<String>) -> Self {
            self.given.args_given = true;
            self.given.args.push(arg.into());
            self
        }

        /// Adds arguments.
        pub fn args(self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
            args.into_iter().fold(self, Self::arg)
        }

        /// Sets argument 0, the name of the program.
        pub fn arg0(mut self, name: impl Into<String>) -> Self {
            self.given.args_given = true;
            self.given.args[0] = name.into();
            self
        }

        /// Sets a variable of the environment; an earlier one of that name is replaced.
        pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.given.set_env(name.into(), value.into());
            self
        }

        /// Sets variables of the environment. A guest that has read its environment before its snapshot
        /// goes on with what it has read, unless variables are given, be they none.
        pub fn envs(
            mut self,
            variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
        ) -> Self {
            self.given.env_given = true;
            variables.into_iter().fold(self, |builder, (name, value)| builder.env(name, value))
        }

        /// Gives a directory of the host, which the guest finds at `guest`.
        pub fn dir(
            mut self,
            host: impl Into<std::path::PathBuf>,
            guest: impl Into<String>,
            access: $crate::DirAccess,
        ) -> Self {
            let (host, guest) = (host.into(), guest.into());
            self.given.dirs.push($crate::given::Dir { host, guest, access });
            self
        }

        /// Gives a socket that listens, to accept connections from.
        pub fn listener(mut self, listener: std::net::TcpListener) -> Self {
            self.given.listeners.push(listener);
            self
        }

        /// Gives clocks and randomness that are the same each time, for tests.
        pub fn deterministic(mut self) -> Self {
            self.given.deterministic = true;
            self
        }

        /// Sets where standard input comes from.
        pub fn stdin(mut self, stdin: $crate::Stdin) -> Self {
            self.given.stdin = stdin;
            self
        }

        /// Sets where standard output goes.
        pub fn stdout(mut self, stdout: $crate::Stdout) -> Self {
            self.given.stdout = stdout;
            self
        }

        /// Sets where standard error goes.
        pub fn stderr(mut self, stderr: $crate::Stdout) -> Self {
            self.given.stderr = stderr;
            self
        }

        /// Gives the process's own three streams.
        pub fn inherit_stdio(mut self) -> Self {
            self.given.stdin = $crate::Stdin::Inherit;
            self.given.stdout = $crate::Stdout::Inherit;
            self.given.stderr = $crate::Stdout::Inherit;
            self
        }

        /// Sets the limits.
        pub fn limits(mut self, limits: $crate::Limits) -> Self {
            self.given.limits = limits;
            self
        }

        /// Sets how much time the guest has: its own, all calls and its initialisation together. When
        /// it is up, the call ends with [`Error::TimedOut`](crate::Error::TimedOut) and so does
        /// every later one.
        pub fn timeout(mut self, limit: std::time::Duration) -> Self {
            self.given.timeout = Some(limit);
            self
        }

        /// Sets with what its calls are cancelled.
        pub fn cancellation(mut self, cancellation: &$crate::Cancellation) -> Self {
            self.given.cancellation = Some(cancellation.clone());
            self
        }
    };
}

pub(crate) use given_methods;
