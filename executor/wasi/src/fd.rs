//! Functions of a descriptor as such: what it is, its rights, flags, size and times, closing it.
//!
//! Invariant: a function that a kind of descriptor does not have is an error number, decided before
//! the host is asked.

use crate::abi::{Fdstat, Filestat, Prestat, fdflags, filetype, rights};
use crate::descriptor::{Descriptor, Kind, Slot};
use crate::observe::STREAM;
use crate::stream::Stdio;
use crate::{Errno, Memory, Span, StdStream, WasiCtx};
use cap_fs_ext::{DirExt, SystemTimeSpec};
use cap_std::time::{Duration, SystemClock};
use rustix::fs::{Advice, FallocateFlags, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;

/// What is noted when a status is looked at.
pub(crate) const STATUS: &str = "the status of a file was looked at";
/// What is noted when times are set.
pub(crate) const TIMES: &str = "the times of a file were set";
/// What is noted when a size is set.
const SIZE: &str = "the size of a file was set";

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
    if !ctx.descriptors.contains(to) {
        return Err(Errno::BADF);
    }
    let moved = ctx.descriptors.remove(from)?;
    // Nothing is there any more if they are one and the same.
    if let Some(closed) = ctx.descriptors.set(to, moved) {
        note_closed(ctx, closed);
    }
    Ok(())
}

/// A preopened directory stays closed after a restore, so its closing is state.
fn note_closed(ctx: &mut WasiCtx, closed: Slot) {
    ctx.closed_preopens.extend(closed.preopen().map(str::to_owned));
}

/// `fd_prestat_get`.
pub(crate) fn fd_prestat_get(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
) -> Result<Prestat, Errno> {
    let name = ctx.descriptors.preopen(fd).ok_or(Errno::BADF)?;
    Ok(Prestat { name_len: (name.len() as u32).into(), ..Prestat::default() })
}

/// `fd_prestat_dir_name`.
pub(crate) fn fd_prestat_dir_name(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    name: Span,
) -> Result<(), Errno> {
    let preopen = ctx.descriptors.preopen(fd).ok_or(Errno::BADF)?;
    if preopen.len() > name.len as usize {
        return Err(Errno::NAMETOOLONG);
    }
    memory.write(name.at, preopen)
}

/// `fd_fdstat_get`.
pub(crate) fn fd_fdstat_get(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
) -> Result<Fdstat, Errno> {
    let Descriptor { kind, rights, flags } = ctx.descriptors.get(fd)?;
    let filetype = match kind {
        Kind::Stream(stream) => {
            ctx.observed.other(STREAM);
            ctx.stdio.filetype(*stream)
        }
        Kind::Directory(_) => filetype::DIRECTORY,
        Kind::File(file) => file.filetype,
        Kind::Listener(..) | Kind::Connection(_) => filetype::SOCKET_STREAM,
    };
    Ok(Fdstat {
        filetype,
        flags: (*flags).into(),
        rights_base: rights.base.into(),
        rights_inheriting: rights.inheriting.into(),
        ..Fdstat::default()
    })
}

/// `fd_fdstat_set_rights`.
pub(crate) fn fd_fdstat_set_rights(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    base: u64,
    inheriting: u64,
) -> Result<(), Errno> {
    ctx.descriptors.get(fd)?.rights.shrink(base, inheriting)
}

/// `fd_fdstat_set_flags`. As on Linux, how writes are synchronised is settled when a file is opened.
pub(crate) fn fd_fdstat_set_flags(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    new: u32,
) -> Result<(), Errno> {
    const SETTABLE: u16 = fdflags::APPEND | fdflags::NONBLOCK;
    let new = u16::try_from(new).ok().filter(|new| new & !fdflags::ALL == 0).ok_or(Errno::INVAL)?;
    let Descriptor { kind, rights, flags } = ctx.descriptors.get(fd)?;
    if let Kind::Directory(_) = kind {
        return Err(Errno::BADF);
    }
    rights.require(rights::FD_FDSTAT_SET_FLAGS)?;
    if new & !SETTABLE != *flags & !SETTABLE {
        return Err(Errno::NOTSUP);
    }
    // Those of streams and sockets are kept on this side: other processes share them.
    if let Kind::File(file) = kind {
        let mut host = rustix::fs::fcntl_getfl(&file.file)?;
        host.set(OFlags::APPEND, new & fdflags::APPEND != 0);
        host.set(OFlags::NONBLOCK, new & fdflags::NONBLOCK != 0);
        rustix::fs::fcntl_setfl(&file.file, host)?;
    }
    *flags = new;
    Ok(())
}

/// `fd_filestat_get`.
pub(crate) fn fd_filestat_get(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
) -> Result<Filestat, Errno> {
    ctx.observed.other(STATUS);
    let descriptor = ctx.descriptors.get(fd)?;
    descriptor.rights.require(rights::FD_FILESTAT_GET)?;
    let filetype = match &descriptor.kind {
        Kind::Directory(directory) => return Ok(Filestat::from(&directory.dir.dir_metadata()?)),
        Kind::File(file) => return Ok(Filestat::from(&file.file.metadata()?)),
        Kind::Stream(stream) => ctx.stdio.filetype(*stream),
        Kind::Listener(..) | Kind::Connection(_) => filetype::SOCKET_STREAM,
    };
    Ok(Filestat { filetype, ..Filestat::default() })
}

/// `fd_filestat_set_size`.
pub(crate) fn fd_filestat_set_size(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    size: u64,
) -> Result<(), Errno> {
    ctx.observed.other(SIZE);
    let file = ctx.descriptors.file(fd, rights::FD_FILESTAT_SET_SIZE)?;
    Ok(rustix::fs::ftruncate(&file.file, size)?)
}

/// `fd_allocate`.
pub(crate) fn fd_allocate(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    offset: u64,
    len: u64,
) -> Result<(), Errno> {
    ctx.observed.other(SIZE);
    let file = ctx.descriptors.file(fd, rights::FD_ALLOCATE)?;
    Ok(rustix::fs::fallocate(&file.file, FallocateFlags::empty(), offset, len)?)
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
    let file = ctx.descriptors.file(fd, rights::FD_ADVISE)?;
    Ok(rustix::fs::fadvise(&file.file, offset, NonZeroU64::new(len), advice)?)
}

/// `fd_sync`.
pub(crate) fn fd_sync(ctx: &mut WasiCtx, _: &mut Memory<'_>, fd: u32) -> Result<(), Errno> {
    let descriptor = ctx.descriptors.get(fd)?;
    descriptor.rights.require(rights::FD_SYNC)?;
    match &descriptor.kind {
        Kind::Directory(directory) => Ok(directory.dir.open(".")?.sync_all()?),
        Kind::File(file) => Ok(file.file.sync_all()?),
        Kind::Stream(stream) => Ok(rustix::fs::fsync(host_stream(&ctx.stdio, *stream)?)?),
        Kind::Listener(..) | Kind::Connection(_) => Err(Errno::INVAL),
    }
}

/// `fd_datasync`.
pub(crate) fn fd_datasync(ctx: &mut WasiCtx, _: &mut Memory<'_>, fd: u32) -> Result<(), Errno> {
    let descriptor = ctx.descriptors.get(fd)?;
    descriptor.rights.require(rights::FD_DATASYNC)?;
    match &descriptor.kind {
        Kind::Directory(directory) => Ok(directory.dir.open(".")?.sync_data()?),
        Kind::File(file) => Ok(file.file.sync_data()?),
        Kind::Stream(stream) => Ok(rustix::fs::fdatasync(host_stream(&ctx.stdio, *stream)?)?),
        Kind::Listener(..) | Kind::Connection(_) => Err(Errno::INVAL),
    }
}

/// The host's stream, which may well be a file. Others are like pipes, which cannot be synchronised.
fn host_stream(stdio: &Stdio, stream: StdStream) -> Result<BorrowedFd<'_>, Errno> {
    stdio.host(stream).ok_or(Errno::INVAL)
}

/// A time to set.
#[derive(Debug, Clone, Copy)]
enum SetTime {
    Omit,
    Now,
    At(u64),
}

/// The times to set to a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SetTimes {
    accessed: SetTime,
    modified: SetTime,
}

impl SetTimes {
    /// Reads WASI's `fstflags` with the two times that belong to it.
    ///
    /// # Errors
    /// `INVAL` when a time is to be given and now at once, or a flag is unknown.
    pub(crate) fn new(accessed: u64, modified: u64, which: u32) -> Result<Self, Errno> {
        let one = |bits: u32, time| match bits & 3 {
            0 => Ok(SetTime::Omit),
            1 => Ok(SetTime::At(time)),
            2 => Ok(SetTime::Now),
            _ => Err(Errno::INVAL),
        };
        if which >> 4 != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self { accessed: one(which, accessed)?, modified: one(which >> 2, modified)? })
    }

    /// As cap-std takes them.
    pub(crate) fn specs(self) -> (Option<SystemTimeSpec>, Option<SystemTimeSpec>) {
        let spec = |time| match time {
            SetTime::Omit => None,
            SetTime::Now => Some(SystemTimeSpec::SymbolicNow),
            SetTime::At(time) => {
                let since = Duration::from_nanos(time);
                Some(SystemTimeSpec::Absolute(SystemClock::UNIX_EPOCH + since))
            }
        };
        (spec(self.accessed), spec(self.modified))
    }

    /// As `futimens` takes them.
    fn timestamps(self) -> Timestamps {
        let timespec = |time| {
            let (tv_sec, tv_nsec) = match time {
                SetTime::Omit => (0, UTIME_OMIT),
                SetTime::Now => (0, UTIME_NOW),
                SetTime::At(time) => {
                    ((time / 1_000_000_000).cast_signed(), (time % 1_000_000_000).cast_signed())
                }
            };
            Timespec { tv_sec, tv_nsec }
        };
        Timestamps {
            last_access: timespec(self.accessed),
            last_modification: timespec(self.modified),
        }
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
    let times = SetTimes::new(accessed, modified, which)?;
    if let Kind::Directory(_) = ctx.descriptors.get(fd)?.kind {
        // Its host descriptor may be for looking up paths only.
        let directory = ctx.descriptors.directory(fd, rights::FD_FILESTAT_SET_TIMES)?;
        let (accessed, modified) = times.specs();
        return Ok(directory.dir.set_times(".", accessed, modified)?);
    }
    let file = ctx.descriptors.file(fd, rights::FD_FILESTAT_SET_TIMES)?;
    Ok(rustix::fs::futimens(&file.file, &times.timestamps())?)
}
