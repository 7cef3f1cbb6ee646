//! Sockets: connections that arrive at sockets which the host gave.
//!
//! Invariant: a guest can make no socket and connect to nothing; it has the connections that it
//! accepts.

use crate::abi::{fdflags, rights};
use crate::descriptor::{Descriptor, Kind};
use crate::io::{CONNECTION, retry};
use crate::stream::{Canceller, wait};
use crate::{Errno, Iovecs, Memory, Rights, WasiCtx};
use rustix::event::PollFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg,
};
use std::io::IoSlice;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

/// `sock_accept`. The one flag is that the connection does not wait.
pub(crate) fn sock_accept(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    flags: u32,
) -> Result<u32, Errno> {
    let flags = u16::try_from(flags).map_err(|_| Errno::INVAL)?;
    if flags & !fdflags::NONBLOCK != 0 {
        return Err(Errno::INVAL);
    }
    let descriptor = ctx.descriptors.get(fd)?;
    let Kind::Listener(listener, _) = &descriptor.kind else {
        return Err(not_a(&descriptor.kind));
    };
    descriptor.rights.require(rights::SOCK_ACCEPT)?;
    ctx.observed.other("a connection was waited for");
    let nonblock = descriptor.flags & fdflags::NONBLOCK != 0;
    let canceller = ctx.canceller.as_ref();
    wait(listener.as_fd(), PollFlags::IN, nonblock, canceller)?;
    let connection = retry(canceller, || rustix::net::accept(listener))?;
    let kind = Kind::Connection(TcpStream::from(connection));
    let accepted = Descriptor { kind, rights: Rights::of(rights::CONNECTION), flags };
    Ok(ctx.descriptors.push(0, accepted))
}

/// `sock_recv`. The flag of what was received is that the rest of a message was lost.
pub(crate) fn sock_recv(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovecs: Iovecs,
    flags: u32,
    received: u32,
    received_flags: u32,
) -> Result<(), Errno> {
    const PEEK: u32 = 1;
    const WAITALL: u32 = 2;
    memory.check::<u32>(received)?;
    memory.check::<u16>(received_flags)?;
    if flags & !(PEEK | WAITALL) != 0 {
        return Err(Errno::INVAL);
    }
    let descriptor = ctx.descriptors.get(fd)?;
    let connection = connection(descriptor)?;
    descriptor.rights.require(rights::FD_READ)?;
    ctx.observed.other(CONNECTION);
    let nonblock = descriptor.flags & fdflags::NONBLOCK != 0;
    let canceller = ctx.canceller.as_ref();
    let mut host = RecvFlags::empty();
    host.set(RecvFlags::PEEK, flags & PEEK != 0);
    host.set(RecvFlags::WAITALL, flags & WAITALL != 0);
    host.set(RecvFlags::DONTWAIT, nonblock);
    let mut truncated = false;
    let n = memory.scatter(iovecs, false, |buffers, _| {
        wait(connection.as_fd(), PollFlags::IN, nonblock, canceller)?;
        let mut ancillary = RecvAncillaryBuffer::default();
        let message = retry(canceller, || recvmsg(connection, buffers, &mut ancillary, host))?;
        truncated = message.flags.contains(ReturnFlags::TRUNC);
        Ok(message.bytes)
    })?;
    memory.write(received, &n)?;
    memory.write(received_flags, &u16::from(truncated))
}

/// `sock_send`. There are no flags.
pub(crate) fn sock_send(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    iovecs: Iovecs,
    flags: u32,
) -> Result<u32, Errno> {
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    let descriptor = ctx.descriptors.get(fd)?;
    let connection = connection(descriptor)?;
    descriptor.rights.require(rights::FD_WRITE)?;
    ctx.observed.other(CONNECTION);
    let nonblock = descriptor.flags & fdflags::NONBLOCK != 0;
    let canceller = ctx.canceller.as_ref();
    let host = if nonblock { SendFlags::DONTWAIT } else { SendFlags::empty() };
    memory.gather(iovecs, |buffers, _| {
        wait(connection.as_fd(), PollFlags::OUT, nonblock, canceller)?;
        send(connection, buffers, host, canceller)
    })
}

/// Sends on a connection. That the other end is gone must be an error number and no signal.
pub(crate) fn send(
    connection: &TcpStream,
    buffers: &[IoSlice<'_>],
    flags: SendFlags,
    canceller: Option<&Canceller>,
) -> Result<usize, Errno> {
    let flags = flags | SendFlags::NOSIGNAL;
    retry(canceller, || sendmsg(connection, buffers, &mut SendAncillaryBuffer::default(), flags))
}

/// `sock_shutdown`.
pub(crate) fn sock_shutdown(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    fd: u32,
    how: u32,
) -> Result<(), Errno> {
    let descriptor = ctx.descriptors.get(fd)?;
    let connection = connection(descriptor)?;
    let how = match how {
        1 => Shutdown::Read,
        2 => Shutdown::Write,
        3 => Shutdown::Both,
        _ => return Err(Errno::INVAL),
    };
    descriptor.rights.require(rights::SOCK_SHUTDOWN)?;
    ctx.observed.other(CONNECTION);
    Ok(connection.shutdown(how)?)
}

/// The connection of a descriptor.
fn connection(descriptor: &Descriptor) -> Result<&TcpStream, Errno> {
    match &descriptor.kind {
        Kind::Connection(connection) => Ok(connection),
        Kind::Listener(..) => Err(Errno::NOTCONN),
        kind => Err(not_a(kind)),
    }
}

/// Why something else does not do for a socket.
fn not_a(kind: &Kind) -> Errno {
    match kind {
        Kind::Connection(_) => Errno::INVAL,
        _ => Errno::NOTSOCK,
    }
}
