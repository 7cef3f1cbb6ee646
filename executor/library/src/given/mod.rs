//! What an instance is given: arguments, environment, directories, sockets, streams, limits and time.
//!
//! Invariant: everything that was asked for is there before the guest is; what cannot be had is an error
//! that names it. Of the embedder's own world a guest has nothing that was not given.

mod options;
mod streams;

pub(crate) use options::{GivenOptions, environment, given_methods};
pub(crate) use streams::{Captured, Written};
pub use streams::{Stdin, Stdout};

pub(crate) use crate::settings::Directory as Dir;

use crate::{Cancellation, Error, Limits};
use executor_wasi::{Environment, WasiCtxBuilder, WasiError, WasiState};
use std::{net::TcpListener, sync::Arc, time::Duration};

/// What a guest may do with a directory that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirAccess {
    /// Whatever the embedder's process may.
    ReadWrite,
    /// Nothing that changes it, or anything below it.
    ReadOnly,
}

/// What an instance is given, once it is all known: see [`GivenOptions`].
#[derive(Debug)]
pub(crate) struct Given {
    /// The arguments, argument 0 first.
    pub(crate) args: Arc<[String]>,
    /// Whether whoever makes the instance said anything of them.
    pub(crate) args_given: bool,
    pub(crate) env: Environment,
    /// Whether any of it was said now, or is this process's own.
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
    /// Whether it is to be noted which code writes to a page first.
    pub(crate) attribute: bool,
}

impl Given {
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

    /// What a guest that has read its arguments and environment goes on with, where nothing is said of
    /// them: what it has read.
    ///
    /// # Errors
    /// When it is no environment.
    pub(crate) fn adopt(
        &self,
        state: &WasiState,
        builder: &mut WasiCtxBuilder,
    ) -> Result<(), WasiError> {
        if let (false, Some(args)) = (self.args_given, &state.args) {
            builder.args(args.clone());
        }
        if let (false, Some(env)) = (self.env_given, &state.env) {
            let variables = env.iter().filter_map(|text| text.split_once('='));
            builder.env(Environment::of(variables)?);
        }
        Ok(())
    }

    /// The guest's view of it.
    pub(crate) fn wasi(&self, written: &Written) -> Result<WasiCtxBuilder, Error> {
        let mut builder = WasiCtxBuilder::new();
        builder.args(self.args.clone()).env(self.env.clone());
        builder.stdin(self.stdin.input()?);
        builder.stdout(self.stdout.output(&written.stdout)?);
        builder.stderr(self.stderr.output(&written.stderr)?);
        for Dir { host, guest, access } in &self.dirs {
            match access {
                DirAccess::ReadOnly => builder.preopen_read_only(host, guest)?,
                DirAccess::ReadWrite => builder.preopen(host, guest)?,
            };
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
}
