//! Where a guest's three standard streams lead.

use crate::Error;
use executor_wasi::{Input, Output, OutputStream};
use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

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
    /// To the embedder, write by write.
    Stream(Arc<dyn OutputStream>),
}

impl Stdin {
    pub(super) fn input(&self) -> Result<Input, Error> {
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
    pub(super) fn output(&self, captured: &Captured) -> Result<Output, Error> {
        Ok(match self {
            Self::Discard => Output::Discard,
            Self::Inherit => Output::Inherit,
            Self::Capture => Output::Capture(Arc::clone(captured)),
            Self::File(file) => Output::Fd(Arc::new(another(file)?)),
            Self::Stream(stream) => Output::Stream(Arc::clone(stream)),
        })
    }
}

fn another(file: &File) -> Result<OwnedFd, Error> {
    let file = file.try_clone();
    file.map(OwnedFd::from).map_err(|source| Error::System { what: "share a descriptor", source })
}

/// What a guest has written to its two streams, where that is captured.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
}
