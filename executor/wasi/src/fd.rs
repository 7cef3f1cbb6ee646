//! Functions of a descriptor as such: what it is, its flags, size and times, closing it.
//!
//! Invariant: a function that a kind of descriptor does not have is an error number, decided before
//! the host is asked.

use crate::descriptor::{
    Descriptor, StdStream, Stream, filestat, filestat_bytes, filetype, flags, rights,
};
use crate::{Errno, Memory, WasiCtx};
use cap_fs_ext::{DirExt, SystemTimeSpec};
use cap_std::time::{Duration, SystemClock};
use rustix::fs::{Advice, FallocateFlags, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::num::NonZeroU64;

/// What is noted when a status is looked at.
pub(crate) const STATUS: &str = "the status of a file was looked at";
/// What is noted when times are set.
pub(crate) const TIMES: &str = "the times of a file were set";

/// `fd_close`.
pub(crate) fn fd_close(ctx: &mut WasiCtx, _: &mut Memory<'_>, fd: u32) -> Result<(), Errno> {
    let closed = ctx.descriptors.remove(fd)?;
    note_closed(ctx, closed);
    Ok(())
}

/// `fd_renumber`: both must be open; `to` is closed first.
pub(crate) fn fd_renumber(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    from: u32,
    to: u32,
) -> Result<(), Errno> {
    ctx.descriptors.get(to)?;
    let moved = ctx.descriptors.remove(from)?;
    // Nothing is there any more if they are one and the same.
    if let Some(closed) = ctx.descriptors.set(to, moved) {
        note_closed(ctx, closed);
    }
    Ok(())
}

/// A preopened directory stays closed after a restore, so its closing is state.
fn note_closed(ctx: &mut WasiCtx, closed: Descriptor) {
    if let Descriptor::Directory(directory) = closed
        && directory.preopen
    {
        ctx.closed_preopens.push(directory.path.preopen);
    }
}

/// `fd_prestat_get`.
pub(crate) fn fd_prestat_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    prestat: u32,
) -> Result<(), Errno> {
    let name = preopen_name(ctx, fd)?;
    let mut bytes = [0; 8];
    bytes[4..].copy_from_slice(&(name.len() as u32).to_le_bytes());
    memory.write(prestat, &bytes)
}

/// `fd_prestat_dir_name`.
pub(crate) fn fd_prestat_dir_name(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Errno> {
    let name = preopen_name(ctx, fd)?;
    if name.len() > len as usize {
        return Err(Errno::NAMETOOLONG);
    }
    memory.write(path, name.as_bytes())
}

fn preopen_name(ctx: &WasiCtx, fd: u32) -> Result<&str, Errno> {
    match ctx.descriptors.get(fd)? {
        Descriptor::Directory(directory) if directory.preopen => Ok(&directory.path.preopen),
        _ => Err(Errno::BADF),
    }
}

/// `fd_fdstat_get`.
pub(crate) fn fd_fdstat_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    fdstat: u32,
) -> Result<(), Errno> {
    let (filetype, flags, base, inheriting) = match ctx.descriptors.get(fd)? {
        Descriptor::Stream(Stream { stream, flags }) => {
            ctx.observed.other("what a standard stream is was looked at");
            let direction = match stream {
                StdStream::Stdin => rights::FD_READ,
                StdStream::Stdout | StdStream::Stderr => rights::FD_WRITE,
            };
            // Guests take a stream that can seek for anything but a terminal.
            let base = direction | rights::POLL_FD_READWRITE;
            (ctx.stdio.filetype(*stream), *flags, base, 0)
        }
        Descriptor::Directory(_) => (filetype::DIRECTORY, 0, rights::DIRECTORY, rights::INHERITING),
        Descriptor::File(file) => {
            let base = rights::of_file(file.readable, file.writable);
            (file.filetype, file.flags, base, 0)
        }
    };
    let mut bytes = [0; 24];
    bytes[0] = filetype;
    bytes[2..4].copy_from_slice(&flags.to_le_bytes());
    bytes[8..16].copy_from_slice(&base.to_le_bytes());
    bytes[16..].copy_from_slice(&inheriting.to_le_bytes());
    memory.write(fdstat, &bytes)
}

/// `fd_fdstat_set_flags`.
pub(crate) fn fd_fdstat_set_flags(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    new: u32,
) -> Result<(), Errno> {
    const SETTABLE: u16 = flags::APPEND | flags::NONBLOCK;
    let new = u16::try_from(new).ok().filter(|new| new & !flags::ALL == 0).ok_or(Errno::INVAL)?;
    match ctx.descriptors.get_mut(fd)? {
        // Kept on this side: the host's stream is shared with other processes.
        Descriptor::Stream(stream) if new & !SETTABLE == 0 => stream.flags = new,
        Descriptor::File(file) if new & !SETTABLE == file.flags & !SETTABLE => {
            let mut host = rustix::fs::fcntl_getfl(&file.file)?;
            host.set(OFlags::APPEND, new & flags::APPEND != 0);
            host.set(OFlags::NONBLOCK, new & flags::NONBLOCK != 0);
            rustix::fs::fcntl_setfl(&file.file, host)?;
            file.flags = new;
        }
        Descriptor::Stream(_) | Descriptor::File(_) => return Err(Errno::NOTSUP),
        Descriptor::Directory(_) => return Err(Errno::BADF),
    }
    Ok(())
}

/// `fd_filestat_get`.
pub(crate) fn fd_filestat_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    stat: u32,
) -> Result<(), Errno> {
    ctx.observed.other(STATUS);
    let bytes = match ctx.descriptors.get(fd)? {
        Descriptor::Stream(Stream { stream, .. }) => {
            filestat_bytes([0, 0, ctx.stdio.filetype(*stream).into(), 0, 0, 0, 0, 0])
        }
        Descriptor::Directory(directory) => filestat(&directory.dir.dir_metadata()?),
        Descriptor::File(file) => filestat(&file.file.metadata()?),
    };
    memory.write(stat, &bytes)
}

/// `fd_filestat_set_size`.
pub(crate) fn fd_filestat_set_size(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    size: u64,
) -> Result<(), Errno> {
    ctx.observed.other("the size of a file was set");
    Ok(rustix::fs::ftruncate(&ctx.descriptors.file(fd)?.file, size)?)
}

/// `fd_allocate`.
pub(crate) fn fd_allocate(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    offset: u64,
    len: u64,
) -> Result<(), Errno> {
    ctx.observed.other("the size of a file was set");
    let file = &ctx.descriptors.file(fd)?.file;
    Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), offset, len)?)
}

/// `fd_advise`.
pub(crate) fn fd_advise(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    offset: u64,
    len: u64,
    advice: u32,
) -> Result<(), Errno> {
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::INVAL),
    };
    let file = &ctx.descriptors.file(fd)?.file;
    Ok(rustix::fs::fadvise(file, offset, NonZeroU64::new(len), advice)?)
}

/// `fd_sync`.
pub(crate) fn fd_sync(ctx: &mut WasiCtx, _: &mut Memory<'_>, fd: u32) -> Result<(), Errno> {
    match ctx.descriptors.get(fd)? {
        Descriptor::Stream(_) => Err(Errno::INVAL),
        Descriptor::Directory(directory) => Ok(directory.dir.open(".")?.sync_all()?),
        Descriptor::File(file) => Ok(file.file.sync_all()?),
    }
}

/// `fd_datasync`.
pub(crate) fn fd_datasync(ctx: &mut WasiCtx, _: &mut Memory<'_>, fd: u32) -> Result<(), Errno> {
    match ctx.descriptors.get(fd)? {
        Descriptor::Stream(_) => Err(Errno::INVAL),
        Descriptor::Directory(directory) => Ok(directory.dir.open(".")?.sync_data()?),
        Descriptor::File(file) => Ok(file.file.sync_data()?),
    }
}

/// A time to set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SetTime {
    Omit,
    Now,
    At(u64),
}

/// Reads WASI's `fstflags` with the two times that belong to it.
pub(crate) fn set_times(
    accessed: u64,
    modified: u64,
    which: u32,
) -> Result<(SetTime, SetTime), Errno> {
    let one = |bits: u32, time| match bits & 3 {
        0 => Ok(SetTime::Omit),
        1 => Ok(SetTime::At(time)),
        2 => Ok(SetTime::Now),
        _ => Err(Errno::INVAL),
    };
    if which >> 4 != 0 {
        return Err(Errno::INVAL);
    }
    Ok((one(which, accessed)?, one(which >> 2, modified)?))
}

impl SetTime {
    /// As cap-std takes it.
    pub(crate) fn spec(self) -> Option<SystemTimeSpec> {
        match self {
            Self::Omit => None,
            Self::Now => Some(SystemTimeSpec::SymbolicNow),
            Self::At(time) => {
                let since = Duration::from_nanos(time);
                Some(SystemTimeSpec::Absolute(SystemClock::UNIX_EPOCH + since))
            }
        }
    }

    /// As `futimens` takes it.
    fn timespec(self) -> Timespec {
        let (tv_sec, tv_nsec) = match self {
            Self::Omit => (0, UTIME_OMIT),
            Self::Now => (0, UTIME_NOW),
            Self::At(time) => {
                ((time / 1_000_000_000).cast_signed(), (time % 1_000_000_000).cast_signed())
            }
        };
        Timespec { tv_sec, tv_nsec }
    }
}

/// `fd_filestat_set_times`.
pub(crate) fn fd_filestat_set_times(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    accessed: u64,
    modified: u64,
    which: u32,
) -> Result<(), Errno> {
    ctx.observed.other(TIMES);
    let (accessed, modified) = set_times(accessed, modified, which)?;
    match ctx.descriptors.get(fd)? {
        Descriptor::Stream(_) => Err(Errno::BADF),
        // Its host descriptor may be for looking up paths only.
        Descriptor::Directory(directory) => {
            Ok(directory.dir.set_times(".", accessed.spec(), modified.spec())?)
        }
        Descriptor::File(file) => {
            let times = Timestamps {
                last_access: accessed.timespec(),
                last_modification: modified.timespec(),
            };
            Ok(rustix::fs::futimens(&file.file, &times)?)
        }
    }
}
