//! Files and directories that were open when the state was captured, until the guest uses them.
//!
//! Invariant: what is opened again is what was open: the very same file, unchanged, by its stamp; or
//! else a file that still has, from its beginning, the bytes that it had. Anything else is `STALE` at
//! each use, and the guest's other descriptors are none the worse for it.

use crate::abi::{fdflags, filetype, filetype_of, rights};
use crate::descriptor::{Descriptor, Directory, Entry, Kind, OpenFile};
use crate::observe::{Stamp, is_missing};
use crate::{Errno, GuestPath, Rights};
use cap_std::fs::{Dir, File, FileExt, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;

/// How much is hashed at a time.
const CHUNK: u64 = 1 << 16;

/// An open file, as state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Where it is.
    pub path: GuestPath,
    /// Where the next read or write is.
    pub offset: u64,
    /// Whether it is open for reading.
    pub readable: bool,
    /// Whether it is open for writing.
    pub writable: bool,
    /// Which file it was, and which version of it.
    pub stamp: Stamp,
    /// The blake3 hash of what it held; `None` when it could not be read.
    pub digest: Option<[u8; 32]>,
}

/// An open directory that is not preopened, as state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryState {
    /// Where it is.
    pub path: GuestPath,
    /// The rest of the list that the guest was reading, if it was.
    pub listing: Option<Vec<Entry>>,
}

/// What was open.
#[derive(Debug, Clone)]
pub(crate) enum Opened {
    File(FileState),
    Directory(DirectoryState),
}

impl Opened {
    pub(crate) fn path(&self) -> &GuestPath {
        match self {
            Self::File(file) => &file.path,
            Self::Directory(directory) => &directory.path,
        }
    }

    /// The most rights that a descriptor of it can have.
    pub(crate) fn most_rights(&self) -> Rights {
        match self {
            Self::File(_) => Rights::of(rights::FILE),
            Self::Directory(_) => Rights::PREOPEN,
        }
    }
}

/// Something to be opened again when the guest uses it.
#[derive(Debug)]
pub(crate) struct Dormant {
    /// The preopened directory that it lies below.
    pub(crate) root: Arc<Dir>,
    pub(crate) read_only: bool,
    pub(crate) opened: Opened,
    pub(crate) rights: Rights,
    /// WASI's flags.
    pub(crate) flags: u16,
}

impl Dormant {
    /// Opens it.
    ///
    /// # Errors
    /// `STALE` when it is gone, or not what it was; what the host says otherwise.
    pub(crate) fn wake(&self) -> Result<Descriptor, Errno> {
        let kind = match &self.opened {
            Opened::File(state) => Kind::File(self.open_file(state)?),
            Opened::Directory(state) => Kind::Directory(self.open_directory(state)?),
        };
        Ok(Descriptor { kind, rights: self.rights, flags: self.flags })
    }

    fn open_file(&self, state: &FileState) -> Result<OpenFile, Errno> {
        if state.writable && self.read_only {
            return Err(Errno::PERM);
        }
        let mut options = OpenOptions::new();
        options
            .read(state.readable)
            .write(state.writable)
            // Never wait for the other end of a pipe that has taken the file's place.
            .custom_flags((host_flags(self.flags) | OFlags::NONBLOCK).bits().cast_signed());
        let mut file = self.root.open_with(&state.path.path, &options).map_err(stale)?;
        let metadata = file.metadata()?;
        let now = Stamp::from(&metadata);
        if !metadata.is_file() || now.size < state.stamp.size {
            return Err(Errno::STALE);
        }
        if now != state.stamp && digest(&self.root, &file, state)? != state.digest {
            return Err(Errno::STALE);
        }
        file.seek(SeekFrom::Start(state.offset))?;
        Ok(OpenFile {
            file,
            path: state.path.clone(),
            readable: state.readable,
            writable: state.writable,
            read_only: self.read_only,
            filetype: filetype_of(metadata.file_type()),
        })
    }

    fn open_directory(&self, state: &DirectoryState) -> Result<Directory, Errno> {
        let dir = self.root.open_dir(path_in_root(&state.path)).map_err(stale)?;
        Ok(Directory {
            dir: Arc::new(dir),
            path: state.path.clone(),
            preopen: false,
            read_only: self.read_only,
            listing: state.listing.clone(),
        })
    }
}

/// WASI's flags as those of the host's `open`.
pub(crate) fn host_flags(flags: u16) -> OFlags {
    let mut host = OFlags::empty();
    host.set(OFlags::APPEND, flags & fdflags::APPEND != 0);
    host.set(OFlags::NONBLOCK, flags & fdflags::NONBLOCK != 0);
    host.set(OFlags::DSYNC, flags & fdflags::DSYNC != 0);
    host.set(OFlags::SYNC, flags & (fdflags::SYNC | fdflags::RSYNC) != 0);
    host
}

fn stale(error: io::Error) -> Errno {
    if is_missing(&error) { Errno::STALE } else { error.into() }
}

/// The path as the directory that is preopened takes it.
fn path_in_root(path: &GuestPath) -> &str {
    if path.path.is_empty() { "." } else { &path.path }
}

/// Why something that is open cannot be captured.
pub(crate) enum Uncapturable {
    /// Its path leads to nothing, or to something else.
    Lost,
    /// It is neither a regular file nor a directory.
    Special,
    /// The host refuses.
    Host(io::Error),
}

impl From<io::Error> for Uncapturable {
    fn from(error: io::Error) -> Self {
        if is_missing(&error) { Self::Lost } else { Self::Host(error) }
    }
}

/// Captures an open file that lies below `root`.
pub(crate) fn capture_file(root: &Dir, open: &OpenFile) -> Result<FileState, Uncapturable> {
    if open.filetype != filetype::REGULAR_FILE {
        return Err(Uncapturable::Special);
    }
    let stamp = Stamp::from(&open.file.metadata()?);
    if !Stamp::from(&root.metadata(&open.path.path)?).is_same_file(&stamp) {
        return Err(Uncapturable::Lost);
    }
    let mut state = FileState {
        path: open.path.clone(),
        offset: (&open.file).stream_position()?,
        readable: open.readable,
        writable: open.writable,
        stamp,
        digest: None,
    };
    state.digest = digest(root, &open.file, &state)?;
    Ok(state)
}

/// Captures an open directory that lies below `root`.
pub(crate) fn capture_directory(
    root: &Dir,
    open: &Directory,
) -> Result<DirectoryState, Uncapturable> {
    let stamp = Stamp::from(&open.dir.dir_metadata()?);
    if !Stamp::from(&root.metadata(path_in_root(&open.path))?).is_same_file(&stamp) {
        return Err(Uncapturable::Lost);
    }
    Ok(DirectoryState { path: open.path.clone(), listing: open.listing.clone() })
}

/// The hash of as many bytes of a file as the state says it had; `None` when they may not be read.
fn digest(root: &Dir, file: &File, state: &FileState) -> io::Result<Option<[u8; 32]>> {
    let other;
    let file = if state.readable {
        file
    } else {
        match root.open(&state.path.path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            opened => other = opened?,
        }
        &other
    };
    let (mut hasher, mut at) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; CHUNK as usize];
    while at < state.stamp.size {
        let want = (state.stamp.size - at).min(CHUNK) as usize;
        let n = file.read_at(&mut buffer[..want], at)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}
