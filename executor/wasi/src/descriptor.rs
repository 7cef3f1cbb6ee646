//! The guest's descriptors: what each number stands for.
//!
//! Invariant: a number stands for at most one descriptor, a new descriptor gets the lowest free
//! number, and a directory or file is reachable only through the capability it was opened from, for
//! what its rights say. A look that tells the guest whether a directory is preopened is remembered.
//! Whatever a function is given here is awake: what a restore left to be opened again is open.

use crate::abi::{filetype, rights};
use crate::dormant::Dormant;
use crate::{Errno, GuestPath, Rights};
use cap_std::fs::{Dir, File};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StdStream {
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) dir: Arc<Dir>,
    pub(crate) path: GuestPath,
    pub(crate) preopen: bool,
    /// Whether the host gave it, or the directory that it lies below, to be read only.
    pub(crate) read_only: bool,
    /// What `fd_readdir` gives out, as it was when the guest began to list.
    pub(crate) listing: Option<Vec<Entry>>,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its inode number.
    pub inode: u64,
    /// Its type, in WASI's numbers.
    pub filetype: u8,
}

impl Entry {
    /// How many bytes it takes in a list.
    pub(crate) fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.name.len()) as u64
    }
}

/// An open file: regular, or whatever else lies below a preopened directory.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: File,
    pub(crate) path: GuestPath,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_only: bool,
    pub(crate) filetype: u8,
}

impl OpenFile {
    /// Whether reading and writing return at once.
    pub(crate) fn is_regular(&self) -> bool {
        self.filetype == filetype::REGULAR_FILE
    }
}

/// What a descriptor is.
#[derive(Debug)]
pub(crate) enum Kind {
    Stream(StdStream),
    Directory(Directory),
    File(OpenFile),
    /// A socket that was listening before the guest began, with its place among those.
    Listener(TcpListener, u32),
    Connection(TcpStream),
}

/// A descriptor that can be used.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) kind: Kind,
    pub(crate) rights: Rights,
    /// WASI's flags.
    pub(crate) flags: u16,
}

impl Descriptor {
    pub(crate) fn new(kind: Kind, rights: Rights) -> Self {
        Self { kind, rights, flags: 0 }
    }

    pub(crate) fn stream(stream: StdStream) -> Self {
        let direction = match stream {
            StdStream::Stdin => rights::FD_READ,
            StdStream::Stdout | StdStream::Stderr => rights::FD_WRITE,
        };
        Self::new(Kind::Stream(stream), Rights::of(rights::STREAM | direction))
    }

    /// The directory, if its rights allow what is `needed`.
    fn directory(&self, needed: u64) -> Result<&Directory, Errno> {
        let Kind::Directory(directory) = &self.kind else { return Err(Errno::NOTDIR) };
        self.rights.require(needed)?;
        if directory.read_only && needed & rights::CHANGING != 0 {
            return Err(Errno::PERM);
        }
        Ok(directory)
    }

    /// The file, if its rights allow what is `needed`.
    fn file(&self, needed: u64) -> Result<&OpenFile, Errno> {
        let file = match &self.kind {
            Kind::File(file) => file,
            Kind::Directory(_) => return Err(Errno::BADF),
            _ => return Err(Errno::SPIPE),
        };
        let opened = |right, open| needed & right == 0 || open;
        if !opened(rights::FD_READ, file.readable) || !opened(rights::FD_WRITE, file.writable) {
            return Err(Errno::BADF);
        }
        self.rights.require(needed)?;
        if file.read_only && needed & rights::CHANGING != 0 {
            return Err(Errno::PERM);
        }
        Ok(file)
    }
}

/// What a number stands for.
#[derive(Debug)]
pub(crate) enum Slot {
    Open(Descriptor),
    /// A file or directory that was open when the state was captured, and not used since.
    Dormant(Box<Dormant>),
}

impl Slot {
    /// The descriptor, unless it is still to be opened.
    pub(crate) fn open(&self) -> Option<&Descriptor> {
        match self {
            Self::Open(descriptor) => Some(descriptor),
            Self::Dormant(_) => None,
        }
    }

    /// The guest's path of the preopened directory that it is, if it is one.
    pub(crate) fn preopen(&self) -> Option<&str> {
        match &self.open()?.kind {
            Kind::Directory(directory) if directory.preopen => Some(&directory.path.preopen),
            _ => None,
        }
    }
}

/// All descriptors.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    map: BTreeMap<u32, Slot>,
    /// Whether the guest has seen which directories are preopened: it has used one, or a number
    /// at which there is none.
    preopens_seen: Cell<bool>,
}

impl Descriptors {
    /// The descriptor of a number, to be used.
    ///
    /// # Errors
    /// `BADF` when the number stands for nothing; why what it stands for cannot be opened again.
    pub(crate) fn get(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.note_look(fd);
        let slot = self.map.get_mut(&fd).ok_or(Errno::BADF)?;
        if let Slot::Dormant(dormant) = slot {
            *slot = Slot::Open(dormant.wake()?);
        }
        match slot {
            Slot::Open(descriptor) => Ok(descriptor),
            Slot::Dormant(_) => Err(Errno::BADF),
        }
    }

    /// The descriptor of a number if it can be used without being opened first.
    pub(crate) fn look(&self, fd: u32) -> Option<&Descriptor> {
        self.map.get(&fd)?.open()
    }

    /// The guest's path of a preopened directory, if the number stands for one.
    pub(crate) fn preopen(&self, fd: u32) -> Option<&str> {
        self.note_look(fd);
        self.map.get(&fd)?.preopen()
    }

    /// The directory of a number, for a function that needs the rights `needed`.
    ///
    /// # Errors
    /// As [`Self::get`]; `NOTDIR` when it is no directory; `NOTCAPABLE` when a right is missing;
    /// `PERM` when it would be changed and may only be read.
    pub(crate) fn directory(&mut self, fd: u32, needed: u64) -> Result<&Directory, Errno> {
        self.get(fd)?.directory(needed)
    }

    /// Two directories, each with the rights that are needed of it.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub(crate) fn directories(
        &mut self,
        (fd, needed): (u32, u64),
        (other, other_needed): (u32, u64),
    ) -> Result<(&Directory, &Directory), Errno> {
        self.get(fd)?;
        self.get(other)?;
        let directory = |fd, needed| self.look(fd).ok_or(Errno::BADF)?.directory(needed);
        Ok((directory(fd, needed)?, directory(other, other_needed)?))
    }

    /// The file of a number, for functions that only files have and that need the rights `needed`.
    ///
    /// # Errors
    /// As [`Self::get`]; `BADF` for a directory and for a file not opened for it, `SPIPE` for
    /// streams and sockets, `NOTCAPABLE` when a right is missing, `PERM` when the file would be
    /// changed and may only be read.
    pub(crate) fn file(&mut self, fd: u32, needed: u64) -> Result<&OpenFile, Errno> {
        self.get(fd)?.file(needed)
    }

    fn note_look(&self, fd: u32) {
        if self.map.get(&fd).is_none_or(|slot| slot.preopen().is_some()) {
            self.preopens_seen.set(true);
        }
    }

    /// Whether the guest has seen which directories are preopened, since this was last asked.
    pub(crate) fn take_preopens_seen(&mut self) -> bool {
        self.preopens_seen.take()
    }

    /// Gives a descriptor the lowest free number from `first` on.
    pub(crate) fn push(&mut self, first: u32, descriptor: Descriptor) -> u32 {
        let taken = (first..).zip(self.map.range(first..)).take_while(|(n, (fd, _))| n == *fd);
        // There are more numbers than descriptors: the host runs out of its own long before.
        let fd = first + taken.count() as u32;
        self.map.insert(fd, Slot::Open(descriptor));
        fd
    }

    /// Puts something at a number; returns what was there.
    pub(crate) fn set(&mut self, fd: u32, slot: Slot) -> Option<Slot> {
        self.map.insert(fd, slot)
    }

    /// Whether a number stands for something.
    pub(crate) fn contains(&self, fd: u32) -> bool {
        self.note_look(fd);
        self.map.contains_key(&fd)
    }

    /// Takes out what a number stands for, as it is.
    ///
    /// # Errors
    /// `BADF` when the number stands for nothing.
    pub(crate) fn remove(&mut self, fd: u32) -> Result<Slot, Errno> {
        self.note_look(fd);
        self.map.remove(&fd).ok_or(Errno::BADF)
    }

    /// How many bytes the lists take that guests read of directories.
    pub(crate) fn listed(&self) -> u64 {
        let lists = self.map.values().filter_map(|slot| match &slot.open()?.kind {
            Kind::Directory(directory) => directory.listing.as_ref(),
            _ => None,
        });
        lists.flatten().map(Entry::bytes).sum()
    }

    /// In order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.map.iter().map(|(fd, slot)| (*fd, slot))
    }
}
