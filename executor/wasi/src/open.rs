//! `path_open`.
//!
//! Invariant: what is opened has no right that the directory does not pass on, and the host opens it
//! for no more than that.

use crate::abi::{SYMLINK_FOLLOW, fdflags, filetype_of, oflags, rights};
use crate::descriptor::{Descriptor, Directory, Kind, OpenFile};
use crate::dormant::host_flags;
use crate::observe::{Stamp, is_missing};
use crate::path::follow;
use crate::{Errno, GuestPath, Memory, Rights, Span, WasiCtx};
use cap_fs_ext::OpenOptionsFollowExt;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use std::io;
use std::sync::Arc;

/// How a path is to be opened, in the guest's numbers.
#[derive(Debug, Clone, Copy)]
struct Opening {
    lookup: u32,
    oflags: u32,
    flags: u16,
    readable: bool,
    writable: bool,
}

impl Opening {
    /// # Errors
    /// `INVAL` for unknown flags and those that contradict each other, `ISDIR` for a directory to
    /// be written.
    fn new(lookup: u32, oflags: u32, base: u64, fdflags: u32) -> Result<Self, Errno> {
        let flags = u16::try_from(fdflags).map_err(|_| Errno::INVAL)?;
        let unknown = flags & !fdflags::ALL != 0
            || oflags & !oflags::ALL != 0
            || lookup & !SYMLINK_FOLLOW != 0;
        let directory = oflags & oflags::DIRECTORY != 0;
        if unknown || (directory && oflags & (oflags::CREAT | oflags::TRUNC) != 0) {
            return Err(Errno::INVAL);
        }
        let writable = base & rights::FD_WRITE != 0;
        if directory && writable {
            return Err(Errno::ISDIR);
        }
        // Without either, reading is the least that can be opened.
        let readable = base & rights::FD_READ != 0 || !writable;
        Ok(Self { lookup, oflags, flags, readable, writable })
    }

    fn has(self, oflag: u32) -> bool {
        self.oflags & oflag != 0
    }

    /// The rights to the directory that it takes.
    fn needed(self) -> u64 {
        let mut needed = rights::PATH_OPEN;
        if self.has(oflags::CREAT) {
            needed |= rights::PATH_CREATE_FILE;
        }
        if self.has(oflags::TRUNC) {
            needed |= rights::PATH_FILESTAT_SET_SIZE;
        }
        needed
    }

    fn changes_files(self) -> bool {
        self.writable || self.has(oflags::CREAT) || self.has(oflags::TRUNC)
    }

    fn options(self) -> OpenOptions {
        let mut custom = host_flags(self.flags);
        custom.set(OFlags::DIRECTORY, self.has(oflags::DIRECTORY));
        let mut options = OpenOptions::new();
        options
            .read(self.readable)
            // The host truncates only what it opens for writing.
            .write(self.writable || self.has(oflags::TRUNC))
            .truncate(self.has(oflags::TRUNC))
            .follow(follow(self.lookup))
            .custom_flags(custom.bits().cast_signed());
        options
    }

    fn open(self, dir: &Dir, path: &str) -> io::Result<File> {
        let mut options = self.options();
        if !self.has(oflags::CREAT) {
            return dir.open_with(path, &options);
        }
        // The host creates only what it opens for writing; what is there already may be opened by
        // one who cannot write it.
        let creates = self.has(oflags::EXCL) || self.writable || self.has(oflags::TRUNC);
        // With a slash at its end a path is refused, whatever is there.
        if !creates && !path.ends_with('/') {
            match dir.open_with(path, &options) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Nobody can create a directory so, and the host says it of one that is there.
                Ok(file) if file.metadata()?.is_dir() => {
                    return Err(rustix::io::Errno::ISDIR.into());
                }
                opened => return opened,
            }
        }
        options.write(true).create(true).create_new(self.has(oflags::EXCL));
        dir.open_with(path, &options)
    }
}

/// `path_open`.
#[expect(clippy::too_many_arguments, reason = "as many as WASI gives it")]
pub(crate) fn path_open(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    path: Span,
    oflags: u32,
    base: u64,
    inheriting: u64,
    fdflags: u32,
) -> Result<u32, Errno> {
    let path = memory.path(path)?;
    let passed_on = {
        let descriptor = ctx.descriptors.get(fd)?;
        match descriptor.kind {
            Kind::Directory(_) => descriptor.rights.pass_on(base, inheriting),
            _ => return Err(Errno::NOTDIR),
        }
    };
    let opening = Opening::new(lookup, oflags, base, fdflags)?;
    let parent = ctx.descriptors.directory(fd, opening.needed())?;
    if parent.read_only && opening.writable {
        return Err(Errno::PERM);
    }
    let passed_on = passed_on?;
    if lookup & SYMLINK_FOLLOW == 0 {
        ctx.observed.other("a path was opened without following links");
    }
    if opening.changes_files() {
        ctx.observed.other("a file was opened for writing");
    }
    let (kind, seen) = match open(parent, path, opening) {
        Ok(open) => open,
        Err(error) => {
            match is_missing(&error) {
                true => ctx.observed.file(parent.path.join(path), None),
                false => ctx.observed.other("a path could not be opened"),
            }
            return Err(error.into());
        }
    };
    let most = match &kind {
        Kind::File(file) => {
            match file.is_regular() {
                true => ctx.observed.file(file.path.clone(), Some(seen)),
                false => {
                    ctx.observed.other("something other than a file or directory was opened");
                }
            }
            Rights::of(rights::FILE)
        }
        _ => {
            ctx.observed.other("a directory was opened");
            Rights::PREOPEN
        }
    };
    let flags = if let Kind::File(_) = kind { opening.flags } else { 0 };
    let descriptor = Descriptor { kind, rights: passed_on.within(most), flags };
    Ok(ctx.descriptors.push(0, descriptor))
}

fn open(parent: &Directory, path: &str, opening: Opening) -> io::Result<(Kind, Stamp)> {
    let file = opening.open(&parent.dir, path)?;
    let metadata = file.metadata()?;
    let seen = Stamp::from(&metadata);
    let path: GuestPath = parent.path.join(path);
    let kind = if metadata.is_dir() {
        let dir = Arc::new(Dir::from_std_file(file.into_std()));
        let read_only = parent.read_only;
        Kind::Directory(Directory { dir, path, preopen: false, read_only, listing: None })
    } else {
        Kind::File(OpenFile {
            file,
            path,
            readable: opening.readable,
            writable: opening.writable,
            read_only: parent.read_only,
            filetype: filetype_of(metadata.file_type()),
        })
    };
    Ok((kind, seen))
}
