//! The guest's descriptors: what each number stands for.
//!
//! Invariant: a number stands for at most one descriptor, a new descriptor gets the lowest free
//! number, and a directory or file is reachable only through the capability it was opened from. A
//! look that tells the guest whether a directory is preopened is remembered.

use crate::{Errno, GuestPath};
use cap_std::fs::{Dir, File, FileType, FileTypeExt, Metadata};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;

/// WASI's descriptor flags.
pub(crate) mod flags {
    pub(crate) const APPEND: u16 = 1;
    pub(crate) const DSYNC: u16 = 2;
    pub(crate) const NONBLOCK: u16 = 4;
    pub(crate) const RSYNC: u16 = 8;
    pub(crate) const SYNC: u16 = 16;
    pub(crate) const ALL: u16 = APPEND | DSYNC | NONBLOCK | RSYNC | SYNC;
}

/// WASI's rights. They describe descriptors; what the guest may do is decided by the host's.
pub(crate) mod rights {
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    pub(crate) const POLL_FD_READWRITE: u64 = 1 << 27;
    /// Synchronising, flags, status and polling, which every descriptor has.
    const ANY: u64 = 1 | 1 << 3 | 1 << 4 | 1 << 21 | 1 << 23 | POLL_FD_READWRITE;
    /// What a file opened for reading has more: reading, seeking, telling, advising.
    const READ_FILE: u64 = FD_READ | 1 << 2 | 1 << 5 | 1 << 7;
    /// What a file opened for writing has more: writing, seeking, telling, advising, allocating, its size.
    const WRITE_FILE: u64 = FD_WRITE | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 22;
    /// What a directory has: the `path_*` functions and listing, beside the common ones.
    pub(crate) const DIRECTORY: u64 = ANY | 0x3f << 9 | 0x3f << 15 | 1 << 24 | 1 << 25 | 1 << 26;
    /// What descriptors opened below a directory can have.
    pub(crate) const INHERITING: u64 = DIRECTORY | READ_FILE | WRITE_FILE;

    pub(crate) fn of_file(readable: bool, writable: bool) -> u64 {
        ANY | if readable { READ_FILE } else { 0 } | if writable { WRITE_FILE } else { 0 }
    }
}

/// WASI's file types.
pub(crate) mod filetype {
    pub(crate) const UNKNOWN: u8 = 0;
    pub(crate) const BLOCK_DEVICE: u8 = 1;
    pub(crate) const CHARACTER_DEVICE: u8 = 2;
    pub(crate) const DIRECTORY: u8 = 3;
    pub(crate) const REGULAR_FILE: u8 = 4;
    pub(crate) const SOCKET_STREAM: u8 = 6;
    pub(crate) const SYMBOLIC_LINK: u8 = 7;
}

/// WASI's number of a file type.
pub(crate) fn wasi_filetype(ty: FileType) -> u8 {
    if ty.is_file() {
        filetype::REGULAR_FILE
    } else if ty.is_dir() {
        filetype::DIRECTORY
    } else if ty.is_symlink() {
        filetype::SYMBOLIC_LINK
    } else if ty.is_char_device() {
        filetype::CHARACTER_DEVICE
    } else if ty.is_block_device() {
        filetype::BLOCK_DEVICE
    } else if ty.is_socket() {
        filetype::SOCKET_STREAM
    } else {
        filetype::UNKNOWN
    }
}

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

/// A standard stream, wherever the guest has put it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) stream: StdStream,
    pub(crate) flags: u16,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) dir: Dir,
    pub(crate) path: GuestPath,
    pub(crate) preopen: bool,
    /// What `fd_readdir` gives out, as it was when the guest began to list.
    pub(crate) listing: Option<Vec<Entry>>,
}

/// An entry of a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) inode: u64,
    pub(crate) filetype: u8,
}

/// An open file: regular, or whatever else lies below a preopened directory.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: File,
    pub(crate) path: GuestPath,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) flags: u16,
    pub(crate) filetype: u8,
}

impl OpenFile {
    /// Whether reading and writing return at once.
    pub(crate) fn is_regular(&self) -> bool {
        self.filetype == filetype::REGULAR_FILE
    }
}

/// What a descriptor number stands for.
#[derive(Debug)]
pub(crate) enum Descriptor {
    Stream(Stream),
    Directory(Directory),
    File(OpenFile),
}

/// All descriptors.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    map: BTreeMap<u32, Descriptor>,
    /// Whether the guest has seen which directories are preopened: it has used one, or a number
    /// at which there is none.
    preopens_seen: Cell<bool>,
}

impl Descriptors {
    /// # Errors
    /// `BADF` when the number stands for nothing.
    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        let found = self.map.get(&fd);
        self.note_look(found);
        found.ok_or(Errno::BADF)
    }

    /// # Errors
    /// `BADF` when the number stands for nothing.
    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.note_look(self.map.get(&fd));
        self.map.get_mut(&fd).ok_or(Errno::BADF)
    }

    fn note_look(&self, found: Option<&Descriptor>) {
        if matches!(found, None | Some(Descriptor::Directory(Directory { preopen: true, .. }))) {
            self.preopens_seen.set(true);
        }
    }

    /// Whether the guest has seen which directories are preopened, since this was last asked.
    pub(crate) fn take_preopens_seen(&mut self) -> bool {
        self.preopens_seen.take()
    }

    /// # Errors
    /// `BADF` when the number stands for nothing, `NOTDIR` when it is not a directory.
    pub(crate) fn directory(&self, fd: u32) -> Result<&Directory, Errno> {
        match self.get(fd)? {
            Descriptor::Directory(directory) => Ok(directory),
            Descriptor::Stream(_) | Descriptor::File(_) => Err(Errno::NOTDIR),
        }
    }

    /// The file of a number, for functions that only files have.
    ///
    /// # Errors
    /// `BADF` when the number stands for nothing or a directory, `SPIPE` when for a stream.
    pub(crate) fn file(&mut self, fd: u32) -> Result<&mut OpenFile, Errno> {
        match self.get_mut(fd)? {
            Descriptor::File(file) => Ok(file),
            Descriptor::Stream(_) => Err(Errno::SPIPE),
            Descriptor::Directory(_) => Err(Errno::BADF),
        }
    }

    /// Gives a descriptor the lowest free number from `first` on.
    pub(crate) fn push(&mut self, first: u32, descriptor: Descriptor) -> u32 {
        let taken = (first..).zip(self.map.range(first..)).take_while(|(n, (fd, _))| n == *fd);
        // There are more numbers than descriptors: the host runs out of its own long before.
        let fd = first + taken.count() as u32;
        self.map.insert(fd, descriptor);
        fd
    }

    /// Puts a descriptor at a number; returns what was there.
    pub(crate) fn set(&mut self, fd: u32, descriptor: Descriptor) -> Option<Descriptor> {
        self.map.insert(fd, descriptor)
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// `BADF` when the number stands for nothing.
    pub(crate) fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        self.note_look(self.map.get(&fd));
        self.map.remove(&fd).ok_or(Errno::BADF)
    }

    /// In order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Descriptor)> {
        self.map.iter().map(|(fd, descriptor)| (*fd, descriptor))
    }
}

/// WASI's `filestat` of a file.
pub(crate) fn filestat(metadata: &Metadata) -> [u8; 64] {
    use cap_std::fs::MetadataExt;
    let time = |seconds: i64, nanoseconds: i64| {
        // A time before 1970 cannot be said.
        let seconds = u64::try_from(seconds).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds as u64)
    };
    filestat_bytes([
        metadata.dev(),
        metadata.ino(),
        u64::from(wasi_filetype(metadata.file_type())),
        metadata.nlink(),
        metadata.size(),
        time(metadata.atime(), metadata.atime_nsec()),
        time(metadata.mtime(), metadata.mtime_nsec()),
        time(metadata.ctime(), metadata.ctime_nsec()),
    ])
}

/// The bytes of a `filestat`: device, inode, type, links, size and three times, eight bytes each
/// (the type is one byte and seven of padding).
pub(crate) fn filestat_bytes(fields: [u64; 8]) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (to, field) in bytes.chunks_exact_mut(8).zip(fields) {
        to.copy_from_slice(&field.to_le_bytes());
    }
    bytes
}
