//! The state that the guest has with WASI, as plain data.
//!
//! Invariant: every kind of state has its place: standard streams and preopened directories (with
//! the numbers they have now) and clocks are captured; open files and open directories that are
//! not preopened refuse the capture by name; arguments, environment and where streams and
//! directories lead are the restoring run's.

use crate::clock::Clocks;
use crate::descriptor::{Descriptor, Descriptors, StdStream, Stream, flags};
use crate::{GuestPath, WasiCtx, WasiCtxBuilder, WasiError};
use serde::{Deserialize, Serialize};

/// The WASI state of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasiState {
    /// What each descriptor number stands for, in order of the numbers.
    pub descriptors: Vec<(u32, DescriptorState)>,
    /// The guest's paths of the preopened directories that the guest closed.
    pub closed_preopens: Vec<String>,
    /// What the guest last saw of the monotonic, process-time and thread-time clocks, in
    /// nanoseconds; 0 if it never looked.
    pub clocks: [u64; 3],
}

/// What a descriptor stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DescriptorState {
    /// A standard stream.
    Stream {
        /// Which.
        stream: StdStream,
        /// WASI's descriptor flags.
        flags: u16,
    },
    /// A preopened directory.
    Preopen {
        /// The guest's path.
        guest: String,
    },
}

/// State that cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum WasiStateError {
    /// A file is open.
    #[error("file `{path}` is still open as descriptor {fd}; close it before the snapshot")]
    OpenFile {
        /// Which.
        path: GuestPath,
        /// Its number.
        fd: u32,
    },
    /// A directory that is not preopened is open.
    #[error("directory `{path}` is still open as descriptor {fd}; close it before the snapshot")]
    OpenDirectory {
        /// Which.
        path: GuestPath,
        /// Its number.
        fd: u32,
    },
}

impl WasiCtx {
    /// The state as it is now.
    ///
    /// # Errors
    /// When something is open that cannot be captured; the error names it.
    pub fn state(&self) -> Result<WasiState, WasiStateError> {
        let capture = |(fd, descriptor): (u32, &Descriptor)| match descriptor {
            Descriptor::Stream(Stream { stream, flags }) => {
                Ok((fd, DescriptorState::Stream { stream: *stream, flags: *flags }))
            }
            Descriptor::Directory(directory) if directory.preopen => {
                Ok((fd, DescriptorState::Preopen { guest: directory.path.preopen.clone() }))
            }
            Descriptor::Directory(directory) => {
                Err(WasiStateError::OpenDirectory { path: directory.path.clone(), fd })
            }
            Descriptor::File(file) => Err(WasiStateError::OpenFile { path: file.path.clone(), fd }),
        };
        Ok(WasiState {
            descriptors: self.descriptors.iter().map(capture).collect::<Result<_, _>>()?,
            closed_preopens: self.closed_preopens.clone(),
            clocks: self.clocks.last(),
        })
    }
}

impl WasiCtxBuilder {
    /// The context of a guest that goes on from `state`. Directories are bound by guest path to
    /// the numbers they had. Those that the guest closed stay closed, also when given again. Those
    /// given for the first time get the lowest free numbers from 3 on: a guest that looks for
    /// preopened directories only now finds them, one that has looked before does not.
    ///
    /// # Errors
    /// When a directory of the state is not given, the state contradicts itself, or the arguments
    /// or the environment cannot be told to a guest.
    pub fn restore(mut self, state: &WasiState) -> Result<WasiCtx, WasiError> {
        let mut descriptors = Descriptors::default();
        for (fd, descriptor) in &state.descriptors {
            let descriptor = match descriptor {
                DescriptorState::Stream { stream, flags } if flags & !flags::ALL == 0 => {
                    Descriptor::Stream(Stream { stream: *stream, flags: *flags })
                }
                DescriptorState::Stream { flags, .. } => {
                    let reason = format!("descriptor {fd} has unknown flags {flags:#x}");
                    return Err(WasiError::InvalidState(reason));
                }
                DescriptorState::Preopen { guest } => self
                    .take_preopen(guest)
                    .ok_or_else(|| WasiError::MissingPreopen(guest.clone()))?,
            };
            if descriptors.set(*fd, descriptor).is_some() {
                let reason = format!("descriptor {fd} stands for two things");
                return Err(WasiError::InvalidState(reason));
            }
        }
        for guest in &state.closed_preopens {
            drop(self.take_preopen(guest));
        }
        let clocks = Clocks::continuing(state.clocks);
        self.finish(descriptors, state.closed_preopens.clone(), clocks)
    }
}
