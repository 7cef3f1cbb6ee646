//! The state that the guest has with WASI, as plain data.
//!
//! Invariant: every kind of state has its place: descriptors with their numbers, rights and flags are
//! captured, files and directories so that they can be opened again; clocks and the entropy ledger
//! are captured; connections, and what cannot be opened again, refuse the capture with an error that names them; arguments,
//! environment and where streams, directories and sockets lead are the restoring run's.

use crate::abi::fdflags;
use crate::ctx::{Begun, Preopen};
use crate::descriptor::{Descriptor, Descriptors, Entry, Kind, Slot, StdStream};
use crate::dormant::{
    DirectoryState, Dormant, FileState, Opened, Uncapturable, capture_directory, capture_file,
};
use crate::entropy::{self, Draw, Entropy, Ledger, MemoryRange};
use crate::{Errno, GuestPath, Rights, WasiCtx, WasiCtxBuilder, WasiError};
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use executor_model::InstanceId;
use executor_runtime::Store;
use serde::{Deserialize, Serialize};
use std::io;

/// Changes when the encoding of a state does.
const VERSION: u8 = 2;
/// The most that decoding a state or a ledger allocates at once, in bytes; more than a snapshot's metadata may be.
const MAX_DECODED: usize = 256 << 20;
/// How a state is encoded after its version, and a ledger.
pub(crate) type Encoding = Configuration<LittleEndian, Varint, Limit<MAX_DECODED>>;
pub(crate) const ENCODING: Encoding = bincode::config::standard().with_limit();

/// The WASI state of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasiState {
    /// What each descriptor number stands for, in order of the numbers.
    pub descriptors: Vec<(u32, DescriptorState)>,
    /// The guest's paths of the preopened directories that the guest closed.
    pub closed_preopens: Vec<String>,
    /// How many listening sockets the guest was given, closed ones among them.
    pub listeners: u32,
    /// The arguments, if the guest looked at them.
    pub args: Option<Vec<String>>,
    /// The environment as `NAME=value`, if the guest looked at it.
    pub env: Option<Vec<String>>,
    /// What the guest last saw of the monotonic, process-time and thread-time clocks, in
    /// nanoseconds; 0 if it never looked.
    pub clocks: [u64; 3],
    /// How much it drew of the fixed sequence of random bytes.
    pub drawn: u64,
    /// The ranges that are filled with fresh random bytes at a restore.
    pub refill: Vec<MemoryRange>,
    /// The entropy ledger, encoded: a restore does not read it. [`Self::entropy`] does.
    pub ledger: Vec<u8>,
}

/// A descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorState {
    /// What it stands for.
    pub target: Target,
    /// Its rights.
    pub rights: Rights,
    /// WASI's descriptor flags.
    pub flags: u16,
}

/// What a descriptor stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A standard stream.
    Stream(StdStream),
    /// A preopened directory.
    Preopen {
        /// The guest's path.
        guest: String,
        /// The rest of the list that the guest was reading, if it was.
        listing: Option<Vec<Entry>>,
    },
    /// A regular file below a preopened directory.
    File(FileState),
    /// A directory below a preopened directory.
    Directory(DirectoryState),
    /// A listening socket, by its place among those that the host gave.
    Listener(u32),
}

/// How a state is captured.
#[derive(Debug, Clone, Default)]
pub struct CaptureOptions {
    /// Whether open files and directories that are not preopened are refused.
    pub strict: bool,
    /// What becomes of randomness that was drawn.
    pub entropy: Entropy,
}

/// State that cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum WasiStateError {
    /// A file is open, and that was to be refused.
    #[error("file `{path}` is still open as descriptor {fd}; close it before the snapshot")]
    OpenFile {
        /// Which.
        path: GuestPath,
        /// Its number.
        fd: u32,
    },
    /// A directory that is not preopened is open, and that was to be refused.
    #[error("directory `{path}` is still open as descriptor {fd}; close it before the snapshot")]
    OpenDirectory {
        /// Which.
        path: GuestPath,
        /// Its number.
        fd: u32,
    },
    /// Something is open that its path no longer leads to.
    #[error(
        "`{path}` is open as descriptor {fd}, but was renamed, replaced or removed since; close it \
         before the snapshot"
    )]
    Lost {
        /// Where it was.
        path: GuestPath,
        /// Its number.
        fd: u32,
    },
    /// A pipe, device or socket below a directory is open.
    #[error(
        "`{path}`, open as descriptor {fd}, is neither a file nor a directory; close it before the \
         snapshot"
    )]
    Special {
        /// Which.
        path: GuestPath,
        /// Its number.
        fd: u32,
    },
    /// An open file cannot be read.
    #[error("cannot read `{path}`, open as descriptor {fd}: {source}")]
    Unreadable {
        /// Which.
        path: GuestPath,
        /// Its number.
        fd: u32,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A connection is open.
    #[error("a connection{} is still open as descriptor {fd}; close it before the snapshot",
        .peer.as_ref().map(|peer| format!(" with {peer}")).unwrap_or_default())]
    Connection {
        /// The other end, if it is still known.
        peer: Option<std::net::SocketAddr>,
        /// Its number.
        fd: u32,
    },
    /// Random bytes were drawn, and that was to be refused.
    #[error(
        "{} random bytes were drawn, which every restore would share; they were drawn at\n{}",
        .0.range.len, .0.backtrace
    )]
    Entropy(Box<Draw>),
    /// Random bytes to be filled anew are not there.
    #[error("no random bytes that are still there were drawn to address {0:#x}")]
    NoDraw(u32),
    /// More random bytes were drawn than the ledger has room for.
    #[error(
        "random bytes were drawn {0} times more than the ledger has room for, so not all can be filled anew"
    )]
    TooManyDraws(u64),
    /// The state that the guest was restored from contradicts itself.
    #[error("invalid WASI state: the entropy ledger is damaged")]
    DamagedLedger,
}

/// Bytes that are not a state of this version.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot's WASI state is damaged, or of another release; create it again")]
pub struct InvalidWasiState;

impl WasiCtx {
    /// The state as it is now. `memory` tells the bytes of a memory of an instance, to see
    /// which random bytes are still there.
    ///
    /// # Errors
    /// When something is open that cannot be captured, or something was drawn or opened that
    /// `options` refuses; the error names it.
    pub fn state<'m>(
        &self,
        memory: impl Fn(InstanceId, u32) -> Option<&'m [u8]>,
        options: &CaptureOptions,
    ) -> Result<WasiState, WasiStateError> {
        let capture = |(fd, slot): (u32, &Slot)| {
            let target = self.capture(fd, slot, options.strict)?;
            let (rights, flags) = match slot {
                Slot::Open(descriptor) => (descriptor.rights, descriptor.flags),
                Slot::Dormant(dormant) => (dormant.rights, dormant.flags),
            };
            Ok((fd, DescriptorState { target, rights, flags }))
        };
        let ledger = self.ledger.close(memory).ok_or(WasiStateError::DamagedLedger)?;
        let refill = match &options.entropy {
            Entropy::Keep => Vec::new(),
            Entropy::Deny => match ledger.draws.first() {
                Some(draw) => return Err(WasiStateError::Entropy(Box::new(draw.clone()))),
                None => Vec::new(),
            },
            Entropy::Refill(None) if ledger.more > 0 => {
                return Err(WasiStateError::TooManyDraws(ledger.more));
            }
            Entropy::Refill(addresses) => {
                ledger.to_refill(addresses.as_deref()).map_err(WasiStateError::NoDraw)?
            }
        };
        Ok(WasiState {
            descriptors: self.descriptors.iter().map(capture).collect::<Result<_, _>>()?,
            closed_preopens: self.closed_preopens.clone(),
            listeners: self.listeners,
            args: self.args.seen(),
            env: self.env.seen(),
            clocks: self.clocks.last(),
            drawn: self.random.drawn(),
            refill,
            ledger: ledger.encode(),
        })
    }

    fn capture(&self, fd: u32, slot: &Slot, strict: bool) -> Result<Target, WasiStateError> {
        let (opened, path) = match slot {
            Slot::Dormant(dormant) => (Ok(dormant.opened.clone()), dormant.opened.path()),
            Slot::Open(Descriptor { kind, .. }) => match kind {
                Kind::Stream(stream) => return Ok(Target::Stream(*stream)),
                Kind::Listener(_, place) => return Ok(Target::Listener(*place)),
                Kind::Connection(connection) => {
                    let peer = connection.peer_addr().ok();
                    return Err(WasiStateError::Connection { peer, fd });
                }
                Kind::Directory(directory) if directory.preopen => {
                    let guest = directory.path.preopen.clone();
                    return Ok(Target::Preopen { guest, listing: directory.listing.clone() });
                }
                Kind::Directory(open) => {
                    let capture = |root: &Preopen| capture_directory(&root.dir, open);
                    let root = self.root(&open.path).ok_or(Uncapturable::Lost);
                    (root.and_then(capture).map(Opened::Directory), &open.path)
                }
                Kind::File(open) => {
                    let capture = |root: &Preopen| capture_file(&root.dir, open);
                    let root = self.root(&open.path).ok_or(Uncapturable::Lost);
                    (root.and_then(capture).map(Opened::File), &open.path)
                }
            },
        };
        let path = path.clone();
        match opened {
            Ok(Opened::File(_)) if strict => Err(WasiStateError::OpenFile { path, fd }),
            Ok(Opened::Directory(_)) if strict => Err(WasiStateError::OpenDirectory { path, fd }),
            Ok(Opened::File(file)) => Ok(Target::File(file)),
            Ok(Opened::Directory(directory)) => Ok(Target::Directory(directory)),
            Err(Uncapturable::Lost) => Err(WasiStateError::Lost { path, fd }),
            Err(Uncapturable::Special) => Err(WasiStateError::Special { path, fd }),
            Err(Uncapturable::Host(source)) => Err(WasiStateError::Unreadable { path, fd, source }),
        }
    }
}

impl WasiState {
    /// The bytes that [`Self::decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bincode::serde::encode_into_std_write(self, &mut bytes, ENCODING)
            .expect("plain data can be encoded to memory");
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidWasiState> {
        let Some((&VERSION, rest)) = bytes.split_first() else { return Err(InvalidWasiState) };
        match bincode::serde::decode_from_slice(rest, ENCODING) {
            Ok((state, len)) if len == rest.len() => Ok(state),
            _ => Err(InvalidWasiState),
        }
    }

    /// The entropy ledger.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn entropy(&self) -> Result<Ledger, InvalidWasiState> {
        Ledger::decode(&self.ledger).ok_or(InvalidWasiState)
    }

    /// Writes fresh random bytes where the state says so, in a store that was restored together
    /// with it and has its [`WasiCtx`] as data.
    ///
    /// # Errors
    /// When the host has no randomness.
    pub fn refill(&self, store: &mut Store) -> Result<(), Errno> {
        entropy::refill(&self.refill, store)
    }
}

impl WasiCtxBuilder {
    /// The context of a guest that goes on from `state`. Directories are bound by guest path and
    /// listening sockets by place, to the numbers they had; files are opened when the guest uses
    /// them. Directories that the guest closed stay closed, also when given again. Those given for
    /// the first time get the lowest free numbers from 3 on: a guest that looks for preopened
    /// directories only now finds them, one that has looked before does not.
    ///
    /// # Errors
    /// When a directory or socket of the state is not given, the state contradicts itself, or the
    /// arguments or the environment cannot be told to a guest.
    pub fn restore(self, state: &WasiState) -> Result<WasiCtx, WasiError> {
        let invalid = |fd: &u32, what: String| {
            Err(WasiError::InvalidState(format!("descriptor {fd} {what}")))
        };
        let mut descriptors = Descriptors::default();
        for (fd, descriptor) in &state.descriptors {
            if descriptor.flags & !fdflags::ALL != 0 {
                return invalid(fd, format!("has unknown flags {:#x}", descriptor.flags));
            }
            if descriptors.set(*fd, self.slot(descriptor)?).is_some() {
                return invalid(fd, "stands for two things".to_owned());
            }
        }
        self.finish(Begun {
            descriptors,
            closed_preopens: state.closed_preopens.clone(),
            state: WasiState {
                listeners: state.listeners,
                args: state.args.clone(),
                env: state.env.clone(),
                clocks: state.clocks,
                drawn: state.drawn,
                ledger: state.ledger.clone(),
                ..WasiState::default()
            },
        })
    }

    fn slot(&self, state: &DescriptorState) -> Result<Slot, WasiError> {
        let root = |guest: &str| {
            self.root(guest).ok_or_else(|| WasiError::MissingPreopen(guest.to_owned()))
        };
        let DescriptorState { target, rights, flags } = state;
        let open = |descriptor: Descriptor| {
            let rights = rights.within(descriptor.rights);
            Ok(Slot::Open(Descriptor { rights, flags: *flags, ..descriptor }))
        };
        let opened = match target {
            Target::Stream(stream) => return open(Descriptor::stream(*stream)),
            Target::Listener(place) => return open(self.listener_at(*place)?),
            Target::Preopen { guest, listing } => {
                return open(root(guest)?.descriptor(listing.clone()));
            }
            Target::File(file) => Opened::File(file.clone()),
            Target::Directory(directory) => Opened::Directory(directory.clone()),
        };
        let Preopen { dir: root, read_only, .. } = root(&opened.path().preopen)?.clone();
        let (rights, flags) = (rights.within(opened.most_rights()), *flags);
        Ok(Slot::Dormant(Box::new(Dormant { root, read_only, opened, rights, flags })))
    }
}
