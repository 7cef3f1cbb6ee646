//! Functions of paths.
//!
//! Invariant: a path is resolved by cap-std, from the directory the guest names, and never leads out
//! of it: not by `..`, not by being absolute, and not through a symbolic link.

use crate::descriptor::{Descriptor, Directory, OpenFile, filestat, flags, rights, wasi_filetype};
use crate::fd::{STATUS, TIMES, set_times};
use crate::observe::{GuestPath, Stamp, is_missing};
use crate::{Errno, Memory, WasiCtx};
use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// WASI's lookup flag: a symbolic link at the end of a path is followed.
const SYMLINK_FOLLOW: u32 = 1;

/// WASI's flags of `path_open`.
mod oflags {
    pub(super) const CREAT: u32 = 1;
    pub(super) const DIRECTORY: u32 = 2;
    pub(super) const EXCL: u32 = 4;
    pub(super) const TRUNC: u32 = 8;
}

/// How a file is to be opened, in the guest's numbers.
#[derive(Debug, Clone, Copy)]
struct Opening {
    lookup: u32,
    oflags: u32,
    flags: u16,
    readable: bool,
    writable: bool,
}

impl Opening {
    fn new(lookup: u32, oflags: u32, rights: u64, fdflags: u32) -> Result<Self, Errno> {
        let flags = u16::try_from(fdflags).map_err(|_| Errno::INVAL)?;
        let directory = oflags & oflags::DIRECTORY != 0;
        let makes = oflags & (oflags::CREAT | oflags::EXCL | oflags::TRUNC) != 0;
        if flags & !flags::ALL != 0 || oflags >> 4 != 0 || (directory && makes) {
            return Err(Errno::INVAL);
        }
        // Guests ask for all rights a directory can pass on; a directory itself is only read.
        let writable = rights & rights::FD_WRITE != 0 && !directory;
        // Without either, reading is the least that can be opened.
        let readable = rights & rights::FD_READ != 0 || !writable;
        Ok(Self { lookup, oflags, flags, readable, writable })
    }

    fn has(self, oflag: u32) -> bool {
        self.oflags & oflag != 0
    }

    fn changes_files(self) -> bool {
        self.writable || self.has(oflags::CREAT) || self.has(oflags::TRUNC)
    }

    fn options(self) -> OpenOptions {
        let mut custom = OFlags::empty();
        custom.set(OFlags::DIRECTORY, self.has(oflags::DIRECTORY));
        custom.set(OFlags::APPEND, self.flags & flags::APPEND != 0);
        custom.set(OFlags::NONBLOCK, self.flags & flags::NONBLOCK != 0);
        custom.set(OFlags::DSYNC, self.flags & flags::DSYNC != 0);
        custom.set(OFlags::SYNC, self.flags & (flags::SYNC | flags::RSYNC) != 0);
        let mut options = OpenOptions::new();
        options
            .read(self.readable)
            // The host creates and truncates only what it opens for writing.
            .write(self.changes_files())
            .create(self.has(oflags::CREAT))
            .create_new(self.has(oflags::CREAT) && self.has(oflags::EXCL))
            .truncate(self.has(oflags::TRUNC))
            .follow(follow(self.lookup))
            .custom_flags(custom.bits().cast_signed());
        options
    }
}

fn follow(lookup: u32) -> FollowSymlinks {
    if lookup & SYMLINK_FOLLOW != 0 { FollowSymlinks::Yes } else { FollowSymlinks::No }
}

/// `path_open`.
#[expect(clippy::too_many_arguments, reason = "as many as WASI gives it")]
pub(crate) fn path_open(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    oflags: u32,
    rights: u64,
    _rights_inheriting: u64,
    fdflags: u32,
    opened: u32,
) -> Result<(), Errno> {
    let opening = Opening::new(lookup, oflags, rights, fdflags)?;
    // Nothing may be opened that the guest cannot be told of.
    memory.bytes(opened, 4)?;
    let path = memory.str(path, path_len)?;
    let parent = ctx.descriptors.directory(fd)?;
    if lookup & SYMLINK_FOLLOW == 0 {
        ctx.observed.other("a path was opened without following links");
    }
    if opening.changes_files() {
        ctx.observed.other("a file was opened for writing");
    }
    let (descriptor, seen) = match open(parent, path, opening) {
        Ok(open) => open,
        Err(error) => {
            match is_missing(&error) {
                true => ctx.observed.file(parent.path.join(path), None),
                false => ctx.observed.other("a path could not be opened"),
            }
            return Err(error.into());
        }
    };
    match &descriptor {
        Descriptor::File(file) if file.is_regular() => {
            ctx.observed.file(file.path.clone(), Some(seen));
        }
        Descriptor::Directory(_) => ctx.observed.other("a directory was opened"),
        _ => ctx.observed.other("something other than a file or directory was opened"),
    }
    let number = ctx.descriptors.push(0, descriptor);
    memory.write_u32(opened, number)
}

fn open(parent: &Directory, path: &str, opening: Opening) -> io::Result<(Descriptor, Stamp)> {
    let file = parent.dir.open_with(path, &opening.options())?;
    let metadata = file.metadata()?;
    let seen = Stamp::from(&metadata);
    let path: GuestPath = parent.path.join(path);
    let descriptor = if metadata.is_dir() {
        let dir = cap_std::fs::Dir::from_std_file(file.into_std());
        Descriptor::Directory(Directory { dir, path, preopen: false, listing: None })
    } else {
        Descriptor::File(OpenFile {
            file,
            path,
            readable: opening.readable,
            writable: opening.writable,
            flags: opening.flags,
            filetype: wasi_filetype(metadata.file_type()),
        })
    };
    Ok((descriptor, seen))
}

/// `path_create_directory`.
pub(crate) fn path_create_directory(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<(), Errno> {
    ctx.observed.other("a directory was created");
    let path = memory.str(path, path_len)?;
    Ok(ctx.descriptors.directory(fd)?.dir.create_dir(path)?)
}

/// `path_remove_directory`.
pub(crate) fn path_remove_directory(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<(), Errno> {
    ctx.observed.other("a directory was removed");
    let path = memory.str(path, path_len)?;
    Ok(ctx.descriptors.directory(fd)?.dir.remove_dir(path)?)
}

/// `path_unlink_file`.
pub(crate) fn path_unlink_file(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<(), Errno> {
    ctx.observed.other("a file was removed");
    let path = memory.str(path, path_len)?;
    Ok(ctx.descriptors.directory(fd)?.dir.remove_file(path)?)
}

/// `path_rename`.
#[expect(clippy::too_many_arguments, reason = "as many as WASI gives it")]
pub(crate) fn path_rename(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    old: u32,
    old_len: u32,
    new_fd: u32,
    new: u32,
    new_len: u32,
) -> Result<(), Errno> {
    ctx.observed.other("a file was renamed");
    let (old, new) = (memory.str(old, old_len)?, memory.str(new, new_len)?);
    let to = &ctx.descriptors.directory(new_fd)?.dir;
    Ok(ctx.descriptors.directory(fd)?.dir.rename(old, to, new)?)
}

/// `path_link`. Links to what a symbolic link leads to are not supported, as on Linux's `link`.
#[expect(clippy::too_many_arguments, reason = "as many as WASI gives it")]
pub(crate) fn path_link(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    old: u32,
    old_len: u32,
    new_fd: u32,
    new: u32,
    new_len: u32,
) -> Result<(), Errno> {
    ctx.observed.other("a link was created");
    if lookup & SYMLINK_FOLLOW != 0 {
        return Err(Errno::INVAL);
    }
    let (old, new) = (memory.str(old, old_len)?, memory.str(new, new_len)?);
    let to = &ctx.descriptors.directory(new_fd)?.dir;
    Ok(ctx.descriptors.directory(fd)?.dir.hard_link(old, to, new)?)
}

/// `path_symlink`. A link's text must be relative.
pub(crate) fn path_symlink(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    text: u32,
    text_len: u32,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<(), Errno> {
    ctx.observed.other("a link was created");
    let (text, path) = (memory.str(text, text_len)?, memory.str(path, path_len)?);
    Ok(ctx.descriptors.directory(fd)?.dir.symlink(text, path)?)
}

/// `path_readlink`. A text longer than the buffer is cut short.
#[expect(clippy::too_many_arguments, reason = "as many as WASI gives it")]
pub(crate) fn path_readlink(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
    buffer: u32,
    len: u32,
    used: u32,
) -> Result<(), Errno> {
    ctx.observed.other("a link was read");
    let text = {
        let path = memory.str(path, path_len)?;
        ctx.descriptors.directory(fd)?.dir.read_link(path)?
    };
    let text = text.as_os_str().as_bytes();
    let text = &text[..text.len().min(len as usize)];
    memory.write(buffer, text)?;
    memory.write_u32(used, text.len() as u32)
}

/// `path_filestat_get`.
pub(crate) fn path_filestat_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    stat: u32,
) -> Result<(), Errno> {
    let path = memory.str(path, path_len)?;
    let directory = ctx.descriptors.directory(fd)?;
    let metadata = match follow(lookup) {
        FollowSymlinks::Yes => directory.dir.metadata(path),
        FollowSymlinks::No => directory.dir.symlink_metadata(path),
    };
    match &metadata {
        // That nothing is there can be keyed on; a link to nothing is something if not followed.
        Err(error) if is_missing(error) && lookup & SYMLINK_FOLLOW != 0 => {
            ctx.observed.file(directory.path.join(path), None);
        }
        _ => ctx.observed.other(STATUS),
    }
    let bytes = filestat(&metadata?);
    memory.write(stat, &bytes)
}

/// `path_filestat_set_times`.
#[expect(clippy::too_many_arguments, reason = "as many as WASI gives it")]
pub(crate) fn path_filestat_set_times(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    accessed: u64,
    modified: u64,
    which: u32,
) -> Result<(), Errno> {
    ctx.observed.other(TIMES);
    let (accessed, modified) = set_times(accessed, modified, which)?;
    let path = memory.str(path, path_len)?;
    let dir = &ctx.descriptors.directory(fd)?.dir;
    let (accessed, modified) = (accessed.spec(), modified.spec());
    match follow(lookup) {
        FollowSymlinks::Yes => dir.set_times(path, accessed, modified)?,
        FollowSymlinks::No => dir.set_symlink_times(path, accessed, modified)?,
    }
    Ok(())
}
