//! WASI preview 0, `wasi_unstable`: what of it differs from preview 1.
//!
//! Invariant: a function here changes layouts and numbers and leaves the rest to that of preview 1.
//! All other functions of preview 0 are those of preview 1.

use crate::abi::Subscription;
use crate::abi::{Filestat, structures};
use crate::{Errno, Memory, Span, WasiCtx, fd, io, path, poll};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The name under which guests import WASI preview 0.
pub(crate) const MODULE: &str = "wasi_unstable";

structures! {
    /// What a file is: the number of links has 32 bits.
    struct Filestat0 {
        dev: U64,
        ino: U64,
        filetype: u8,
        padding: [u8; 3],
        nlink: U32,
        size: U64,
        atim: U64,
        mtim: U64,
        ctim: U64,
    }
    /// What is waited for: a clock's has a second number of the guest's before its fields, which
    /// nothing reads, and a descriptor stands in that one's place.
    struct Subscription0 {
        userdata: U64,
        tag: u8,
        padding: [u8; 7],
        fd: U32,
        identifier_high: U32,
        id: U32,
        padding_2: [u8; 4],
        timeout: U64,
        precision: U64,
        flags: U16,
        padding_3: [u8; 6],
    }
}

impl From<Filestat> for Filestat0 {
    fn from(stat: Filestat) -> Self {
        let Filestat { dev, ino, filetype, nlink, size, atim, mtim, ctim, .. } = stat;
        let nlink = u32::try_from(nlink.get()).unwrap_or(u32::MAX).into();
        Self { dev, ino, filetype, nlink, size, atim, mtim, ctim, ..Self::default() }
    }
}

impl From<Subscription0> for Subscription {
    fn from(subscription: Subscription0) -> Self {
        let Subscription0 { userdata, tag, fd, id, timeout, precision, flags, .. } = subscription;
        let id = if tag == poll::tag::CLOCK { id } else { fd };
        Self { userdata, tag, id, timeout, precision, flags, ..Self::default() }
    }
}

/// `fd_filestat_get`.
pub(crate) fn fd_filestat_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
) -> Result<Filestat0, Errno> {
    fd::fd_filestat_get(ctx, memory, fd).map(Into::into)
}

/// `path_filestat_get`.
pub(crate) fn path_filestat_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    lookup: u32,
    path: Span,
) -> Result<Filestat0, Errno> {
    path::path_filestat_get(ctx, memory, fd, lookup, path).map(Into::into)
}

/// `fd_seek`: from the current position, the end, the beginning.
pub(crate) fn fd_seek(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
) -> Result<u64, Errno> {
    let whence = match whence {
        0 => io::whence::CUR,
        1 => io::whence::END,
        2 => io::whence::SET,
        _ => return Err(Errno::INVAL),
    };
    io::fd_seek(ctx, memory, fd, offset, whence)
}

/// `poll_oneoff`.
pub(crate) fn poll_oneoff(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
) -> Result<u32, Errno> {
    poll::poll::<Subscription0>(ctx, memory, subscriptions, events, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_witx() {
        assert_eq!([size_of::<Filestat0>(), size_of::<Subscription0>()], [56, 56]);
    }
}
