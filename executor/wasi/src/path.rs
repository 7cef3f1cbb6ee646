//! Functions of paths.
//!
//! Invariant: a path is resolved by cap-std, from the directory the guest names, and never leads out
//! of it: not by `..`, not by being absolute, and not through a symbolic link.

use crate::abi::{Filestat, SYMLINK_FOLLOW, rights};
use crate::fd::{STATUS, SetTimes, TIMES};
use crate::observe::is_missing;
use crate::{Errno, Memory, Span, WasiCtx};
use cap_fs_ext::{DirExt, FollowSymlinks};
use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;

/// Whether a symbolic link at the end of a path is followed.
pub(crate) fn follow(lookup: u32) -> FollowSymlinks {
    if lookup & SYMLINK_FOLLOW != 0 { FollowSymlinks::Yes } else { FollowSymlinks::No }
}

/// # Errors
/// `INVAL` for unknown flags of a look-up.
fn check_lookup(lookup: u32) -> Result<(), Errno> {
    if lookup & !SYMLINK_FOLLOW == 0 { Ok(()) } else { Err(Errno::INVAL) }
}

/// `path_create_directory`.
pub(crate) fn path_create_directory(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: Span,
) -> Result<(), Errno> {
    ctx.observed.other("a directory was created");
    let path = memory.path(path)?;
    Ok(ctx.descriptors.directory(fd, rights::PATH_CREATE_DIRECTORY)?.dir.create_dir(path)?)
}

/// `path_remove_directory`.
pub(crate) fn path_remove_directory(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: Span,
) -> Result<(), Errno> {
    ctx.observed.other("a directory was removed");
    let path = memory.path(path)?;
    // With a slash at its end cap-std would remove `.` in it, which no host does.
    let path = match path.trim_end_matches('/') {
        "" => path,
        trimmed => trimmed,
    };
    Ok(ctx.descriptors.directory(fd, rights::PATH_REMOVE_DIRECTORY)?.dir.remove_dir(path)?)
}

/// `path_unlink_file`.
pub(crate) fn path_unlink_file(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: Span,
) -> Result<(), Errno> {
    ctx.observed.other("a file was removed");
    let path = memory.path(path)?;
    Ok(ctx.descriptors.directory(fd, rights::PATH_UNLINK_FILE)?.dir.remove_file(path)?)
}

/// `path_rename`.
pub(crate) fn path_rename(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    old: Span,
    new_fd: u32,
    new: Span,
) -> Result<(), Errno> {
    ctx.observed.other("a file was renamed");
    let (old, new) = (memory.path(old)?, memory.path(new)?);
    let (from, to) = ctx
        .descriptors
        .directories((fd, rights::PATH_RENAME_SOURCE), (new_fd, rights::PATH_RENAME_TARGET))?;
    // A slash at either end says that it is a directory which is renamed; cap-std looks at the old
    // path only.
    let old = match new.ends_with('/') && !old.is_empty() {
        true => Cow::Owned(format!("{old}/")),
        false => Cow::Borrowed(old),
    };
    Ok(from.dir.rename(&*old, &to.dir, new)?)
}

/// `path_link`. Links to what a symbolic link leads to are not supported, as with Linux's `link`.
pub(crate) fn path_link(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    old: Span,
    new_fd: u32,
    new: Span,
) -> Result<(), Errno> {
    ctx.observed.other("a link was created");
    if lookup != 0 {
        return Err(Errno::INVAL);
    }
    let (old, new) = (memory.path(old)?, memory.path(new)?);
    let (from, to) = ctx
        .descriptors
        .directories((fd, rights::PATH_LINK_SOURCE), (new_fd, rights::PATH_LINK_TARGET))?;
    Ok(from.dir.hard_link(old, &to.dir, new)?)
}

/// `path_symlink`. A link's text must be relative.
pub(crate) fn path_symlink(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    text: Span,
    fd: u32,
    path: Span,
) -> Result<(), Errno> {
    ctx.observed.other("a link was created");
    let (text, path) = (memory.path(text)?, memory.path(path)?);
    Ok(ctx.descriptors.directory(fd, rights::PATH_SYMLINK)?.dir.symlink(text, path)?)
}

/// `path_readlink`. A text longer than the buffer is cut short.
pub(crate) fn path_readlink(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: Span,
    buffer: Span,
) -> Result<u32, Errno> {
    ctx.observed.other("a link was read");
    let path = memory.path(path)?;
    let text = ctx.descriptors.directory(fd, rights::PATH_READLINK)?.dir.read_link(path)?;
    let text = text.as_os_str().as_bytes();
    let text = &text[..text.len().min(buffer.len as usize)];
    memory.write(buffer.at, text)?;
    Ok(text.len() as u32)
}

/// `path_filestat_get`.
pub(crate) fn path_filestat_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    path: Span,
) -> Result<Filestat, Errno> {
    check_lookup(lookup)?;
    let path = memory.path(path)?;
    let directory = ctx.descriptors.directory(fd, rights::PATH_FILESTAT_GET)?;
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
    Ok(Filestat::from(&metadata?))
}

/// `path_filestat_set_times`.
#[expect(clippy::too_many_arguments, reason = "as many as WASI gives it")]
pub(crate) fn path_filestat_set_times(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    path: Span,
    accessed: u64,
    modified: u64,
    which: u32,
) -> Result<(), Errno> {
    ctx.observed.other(TIMES);
    check_lookup(lookup)?;
    let (accessed, modified) = SetTimes::new(accessed, modified, which)?.specs();
    let path = memory.path(path)?;
    let dir = &ctx.descriptors.directory(fd, rights::PATH_FILESTAT_SET_TIMES)?.dir;
    match follow(lookup) {
        FollowSymlinks::Yes => dir.set_times(path, accessed, modified)?,
        FollowSymlinks::No => dir.set_symlink_times(path, accessed, modified)?,
    }
    Ok(())
}
