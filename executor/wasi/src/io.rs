//! Reading, writing and seeking.
//!
//! Invariant: data goes straight between guest memory and the host, without a copy of ours; what
//! was transferred before an error is reported, and the error at the next call.

use crate::abi::{fdflags, rights};
use crate::descriptor::{Descriptor, Kind};
use crate::sock::send;
use crate::stream::{Canceller, wait};
use crate::{Errno, Iovecs, Memory, StdStream, WasiCtx};
use rustix::event::PollFlags;
use rustix::net::SendFlags;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;

/// What is noted when a file changes.
const WRITTEN: &str = "a file was written";
/// What is noted when a connection is used.
pub(crate) const CONNECTION: &str = "a connection was used";

/// Makes a host call again that a signal interrupted, unless the guest is to stop.
pub(crate) fn retry<T>(
    canceller: Option<&Canceller>,
    mut call: impl FnMut() -> rustix::io::Result<T>,
) -> Result<T, Errno> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) if !canceller.is_some_and(Canceller::is_cancelled) => {}
            result => return Ok(result?),
        }
    }
}

/// `fd_read`.
pub(crate) fn fd_read(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovecs: Iovecs,
) -> Result<u32, Errno> {
    let canceller = ctx.canceller.as_ref();
    let descriptor = ctx.descriptors.get(fd)?;
    let nonblock = descriptor.flags & fdflags::NONBLOCK != 0;
    match &descriptor.kind {
        Kind::Stream(StdStream::Stdin) => {
            descriptor.rights.require(rights::FD_READ)?;
            ctx.observed.stdin = true;
            memory.scatter(iovecs, false, |buffers, _| {
                if let Some(host) = ctx.stdio.host(StdStream::Stdin) {
                    ctx.stdio.flush();
                    wait(host, PollFlags::IN, nonblock, canceller)?;
                }
                ctx.stdio.read(buffers, canceller)
            })
        }
        Kind::Connection(connection) => {
            descriptor.rights.require(rights::FD_READ)?;
            ctx.observed.other(CONNECTION);
            memory.scatter(iovecs, false, |buffers, _| {
                wait(connection.as_fd(), PollFlags::IN, nonblock, canceller)?;
                retry(canceller, || rustix::io::readv(connection, buffers))
            })
        }
        Kind::Stream(_) | Kind::Directory(_) | Kind::Listener(..) => Err(Errno::BADF),
        Kind::File(_) => {
            let file = ctx.descriptors.file(fd, rights::FD_READ)?;
            let regular = file.is_regular();
            memory.scatter(iovecs, regular, |buffers, _| {
                if !regular {
                    wait(file.file.as_fd(), PollFlags::IN, nonblock, canceller)?;
                }
                retry(canceller, || rustix::io::readv(&file.file, buffers))
            })
        }
    }
}

/// `fd_write`.
pub(crate) fn fd_write(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovecs: Iovecs,
) -> Result<u32, Errno> {
    let canceller = ctx.canceller.as_ref();
    let Descriptor { kind, rights, flags } = ctx.descriptors.get(fd)?;
    let nonblock = *flags & fdflags::NONBLOCK != 0;
    match kind {
        Kind::Stream(stream) if *stream != StdStream::Stdin => {
            rights.require(rights::FD_WRITE)?;
            ctx.observed.output = true;
            memory.gather(iovecs, |buffers, done| {
                if let Some(host) = ctx.stdio.host(*stream) {
                    wait(host, PollFlags::OUT, nonblock, canceller)?;
                }
                let room = ctx.room.saturating_sub(done.into());
                ctx.stdio.write(*stream, buffers, room, canceller)
            })
        }
        Kind::Connection(connection) => {
            rights.require(rights::FD_WRITE)?;
            ctx.observed.other(CONNECTION);
            memory.gather(iovecs, |buffers, _| {
                wait(connection.as_fd(), PollFlags::OUT, nonblock, canceller)?;
                send(connection, buffers, SendFlags::empty(), canceller)
            })
        }
        Kind::Stream(_) | Kind::Directory(_) | Kind::Listener(..) => Err(Errno::BADF),
        Kind::File(_) => {
            let file = ctx.descriptors.file(fd, rights::FD_WRITE)?;
            ctx.observed.other(WRITTEN);
            let regular = file.is_regular();
            memory.gather(iovecs, |buffers, _| {
                if !regular {
                    wait(file.file.as_fd(), PollFlags::OUT, nonblock, canceller)?;
                }
                retry(canceller, || rustix::io::writev(&file.file, buffers))
            })
        }
    }
}

/// `fd_pread`.
pub(crate) fn fd_pread(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovecs: Iovecs,
    offset: u64,
) -> Result<u32, Errno> {
    let canceller = ctx.canceller.as_ref();
    let file = ctx.descriptors.file(fd, rights::FD_READ | rights::FD_SEEK)?;
    memory.scatter(iovecs, true, |buffers, done| {
        let at = offset.checked_add(done.into()).ok_or(Errno::INVAL)?;
        retry(canceller, || rustix::io::preadv(&file.file, buffers, at))
    })
}

/// `fd_pwrite`.
pub(crate) fn fd_pwrite(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovecs: Iovecs,
    offset: u64,
) -> Result<u32, Errno> {
    ctx.observed.other(WRITTEN);
    let canceller = ctx.canceller.as_ref();
    let file = ctx.descriptors.file(fd, rights::FD_WRITE | rights::FD_SEEK)?;
    memory.gather(iovecs, |buffers, done| {
        let at = offset.checked_add(done.into()).ok_or(Errno::INVAL)?;
        retry(canceller, || rustix::io::pwritev(&file.file, buffers, at))
    })
}

/// From where a position is counted (`whence`).
pub(crate) mod whence {
    pub(crate) const SET: u32 = 0;
    pub(crate) const CUR: u32 = 1;
    pub(crate) const END: u32 = 2;
}

/// `fd_seek`. Asking only where one is needs no more than the right to tell.
pub(crate) fn fd_seek(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
) -> Result<u64, Errno> {
    let to = match whence {
        whence::SET => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::INVAL)?),
        whence::CUR if offset == 0 => return fd_tell(ctx, memory, fd),
        whence::CUR => SeekFrom::Current(offset),
        whence::END => SeekFrom::End(offset),
        _ => return Err(Errno::INVAL),
    };
    Ok((&ctx.descriptors.file(fd, rights::FD_SEEK)?.file).seek(to)?)
}

/// `fd_tell`. The right to seek is enough.
pub(crate) fn fd_tell(ctx: &mut WasiCtx, _: &mut Memory<'_>, fd: u32) -> Result<u64, Errno> {
    let seeks = ctx.descriptors.get(fd)?.rights.require(rights::FD_SEEK).is_ok();
    let needed = if seeks { rights::FD_SEEK } else { rights::FD_TELL };
    Ok((&ctx.descriptors.file(fd, needed)?.file).stream_position()?)
}
