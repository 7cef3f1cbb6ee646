//! Randomness, from the host's kernel.
//!
//! Invariant: no generator state is kept here, so two restores of one snapshot draw different bytes.

use crate::{Errno, Memory, WasiCtx};
use rustix::rand::{GetRandomFlags, getrandom};

/// `random_get`.
pub(crate) fn random_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    at: u32,
    len: u32,
) -> Result<(), Errno> {
    ctx.observed.random = true;
    let mut rest = memory.bytes_mut(at, len)?;
    while !rest.is_empty() {
        match getrandom(&mut *rest, GetRandomFlags::empty()) {
            Ok(n) => rest = &mut rest[n..],
            Err(rustix::io::Errno::INTR) if !ctx.cancelled() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
