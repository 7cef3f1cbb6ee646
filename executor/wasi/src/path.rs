//! Functions of paths.
//!
//! Invariant: a path is resolved by cap-std, from the directory the guest names, and never leads out
//! of it: not by `..`, not by being absolute, and not through a symbolic link. A slash or a dot at its end
//! means what it means to the host: what stands before it is a directory, or a link to one.

use crate::abi::{Filestat, SYMLINK_FOLLOW, rights};
use crate::fd::{STATUS, SetTimes, TIMES};
use crate::observe::is_missing;
use crate::{Errno, Memory, Span, WasiCtx};
use cap_fs_ext::{DirExt, FollowSymlinks};
use cap_std::fs::Dir;
use std::borrow::Cow;
use std::io;
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

/// Whether the end of a path says that it names a directory: a link there is followed.
fn names_directory(path: &str) -> bool {
    path.ends_with('/') || matches!(path.rsplit('/').next(), Some("." | ".."))
}

/// A path without slashes at its end, and whether there were any. That of the root stays.
fn trimmed(path: &str) -> (&str, bool) {
    match path.trim_end_matches('/') {
        "" => (path, false),
        trimmed => (trimmed, trimmed.len() < path.len()),
    }
}

/// Why something cannot be made at a path: where a slash follows what is there already, cap-std says that
/// this is no directory.
fn not_made(dir: &Dir, path: &str, error: io::Error) -> Errno {
    match trimmed(path) {
        (name, true) if dir.symlink_metadata(name).is_ok() => Errno::EXIST,
        _ => error.into(),
    }
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
    let (path, _) = trimmed(path);
    let dir = &ctx.descriptors.directory(fd, rights::PATH_REMOVE_DIRECTORY)?.dir;
    match dir.remove_dir(path).map_err(Errno::from) {
        // What `..` names holds at least what it is the parent of.
        Err(Errno::INVAL) if path.ends_with("/..") => Err(Errno::NOTEMPTY),
        removed => removed,
    }
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
    let dir = &ctx.descriptors.directory(fd, rights::PATH_UNLINK_FILE)?.dir;
    // Nothing that a slash follows can be removed so, and the host does not follow a link to say why.
    if let (name, true) = trimmed(path) {
        let is_dir = dir.symlink_metadata(name)?.is_dir();
        return Err(if is_dir { Errno::ISDIR } else { Errno::NOTDIR });
    }
    Ok(dir.remove_file(path)?)
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
    from.dir.hard_link(old, &to.dir, new).map_err(|error| match from.dir.symlink_metadata(old) {
        Ok(_) => not_made(&to.dir, new, error),
        Err(_) => error.into(),
    })
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
    let dir = &ctx.descriptors.directory(fd, rights::PATH_SYMLINK)?.dir;
    dir.symlink(text, path).map_err(|error| not_made(dir, path, error))
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
    // cap-std does not look at how a path ends that it is not to follow.
    let metadata = match follow(lookup) {
        FollowSymlinks::No if names_directory(path) => {
            directory.dir.metadata(path).and_then(|found| match found.is_dir() {
                true => Ok(found),
                false => Err(rustix::io::Errno::NOTDIR.into()),
            })
        }
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
