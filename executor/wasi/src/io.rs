//! Reading, writing and seeking.
//!
//! Invariant: data goes straight between guest memory and the host, without a copy of ours; what
//! was transferred before an error is reported, and the error at the next call.

use crate::descriptor::{Descriptor, OpenFile, StdStream};
use crate::stream::wait;
use crate::{Errno, Memory, WasiCtx, descriptor::flags};
use rustix::event::PollFlags;
use std::io::SeekFrom;
use std::os::fd::AsFd;

/// What is noted when a file changes.
const WRITTEN: &str = "a file was written";

/// `fd_read`.
pub(crate) fn fd_read(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovs: u32,
    count: u32,
    read: u32,
) -> Result<(), Errno> {
    let canceller = ctx.canceller.as_ref();
    let n = match ctx.descriptors.get_mut(fd)? {
        Descriptor::Stream(stream) if stream.stream == StdStream::Stdin => {
            ctx.observed.stdin = true;
            let nonblock = stream.flags & flags::NONBLOCK != 0;
            let stdio = &mut ctx.stdio;
            memory.scatter(iovs, count, false, |buffer, _| {
                if let Some(host) = stdio.host(StdStream::Stdin) {
                    wait(host, PollFlags::IN, nonblock, canceller)?;
                }
                stdio.read(buffer)
            })?
        }
        Descriptor::Stream(_) => return Err(Errno::BADF),
        Descriptor::Directory(_) => return Err(Errno::ISDIR),
        Descriptor::File(file) => {
            check(file.readable)?;
            let regular = file.is_regular();
            memory.scatter(iovs, count, regular, |buffer, _| {
                if !regular {
                    wait(file.file.as_fd(), PollFlags::IN, false, canceller)?;
                }
                Ok(rustix::io::read(&file.file, buffer)?)
            })?
        }
    };
    memory.write_u32(read, n)
}

/// `fd_write`.
pub(crate) fn fd_write(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovs: u32,
    count: u32,
    written: u32,
) -> Result<(), Errno> {
    let canceller = ctx.canceller.as_ref();
    let n = match ctx.descriptors.get_mut(fd)? {
        Descriptor::Stream(stream) if stream.stream != StdStream::Stdin => {
            ctx.observed.output = true;
            let (stream, nonblock) = (stream.stream, stream.flags & flags::NONBLOCK != 0);
            let stdio = &mut ctx.stdio;
            memory.gather(iovs, count, |buffers, _| {
                if let Some(host) = stdio.host(stream) {
                    wait(host, PollFlags::OUT, nonblock, canceller)?;
                }
                stdio.write(stream, buffers)
            })?
        }
        Descriptor::Stream(_) | Descriptor::Directory(_) => return Err(Errno::BADF),
        Descriptor::File(file) => {
            check(file.writable)?;
            ctx.observed.other(WRITTEN);
            let regular = file.is_regular();
            memory.gather(iovs, count, |buffers, _| {
                if !regular {
                    wait(file.file.as_fd(), PollFlags::OUT, false, canceller)?;
                }
                Ok(rustix::io::writev(&file.file, buffers)?)
            })?
        }
    };
    memory.write_u32(written, n)
}

/// `fd_pread`.
pub(crate) fn fd_pread(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovs: u32,
    count: u32,
    offset: u64,
    read: u32,
) -> Result<(), Errno> {
    let file = positioned(ctx, fd)?;
    check(file.readable)?;
    let n = memory.scatter(iovs, count, true, |buffer, done| {
        let at = offset.checked_add(done.into()).ok_or(Errno::OVERFLOW)?;
        Ok(rustix::io::pread(&file.file, buffer, at)?)
    })?;
    memory.write_u32(read, n)
}

/// `fd_pwrite`.
pub(crate) fn fd_pwrite(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovs: u32,
    count: u32,
    offset: u64,
    written: u32,
) -> Result<(), Errno> {
    ctx.observed.other(WRITTEN);
    let file = positioned(ctx, fd)?;
    check(file.writable)?;
    let n = memory.gather(iovs, count, |buffers, done| {
        let at = offset.checked_add(done.into()).ok_or(Errno::OVERFLOW)?;
        Ok(rustix::io::pwritev(&file.file, buffers, at)?)
    })?;
    memory.write_u32(written, n)
}

/// `fd_seek`.
pub(crate) fn fd_seek(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    new: u32,
) -> Result<(), Errno> {
    let position = match whence {
        0 => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::INVAL)?),
        1 => SeekFrom::Current(offset),
        2 => SeekFrom::End(offset),
        _ => return Err(Errno::INVAL),
    };
    seek(ctx, memory, fd, position, new)
}

/// `fd_tell`.
pub(crate) fn fd_tell(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    offset: u32,
) -> Result<(), Errno> {
    seek(ctx, memory, fd, SeekFrom::Current(0), offset)
}

fn seek(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    to: SeekFrom,
    position: u32,
) -> Result<(), Errno> {
    use std::io::Seek;
    let n = (&ctx.descriptors.file(fd)?.file).seek(to)?;
    memory.write_u64(position, n)
}

/// The file of a number, for reading and writing at a position.
fn positioned(ctx: &mut WasiCtx, fd: u32) -> Result<&mut OpenFile, Errno> {
    match ctx.descriptors.get(fd)? {
        Descriptor::Directory(_) => Err(Errno::ISDIR),
        Descriptor::Stream(_) | Descriptor::File(_) => ctx.descriptors.file(fd),
    }
}

/// A descriptor not opened for an operation does not have it.
fn check(allowed: bool) -> Result<(), Errno> {
    if allowed { Ok(()) } else { Err(Errno::BADF) }
}
