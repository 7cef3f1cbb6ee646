//! Randomness, from the host's kernel.
//!
//! Invariant: no generator state is kept here, so two restores of one snapshot draw different bytes;
//! unless the run asked for the same bytes every time, and then how many were drawn is state. What
//! is drawn is entered in the ledger.

use crate::entropy::Origin;
use crate::memory::notice_loss;
use crate::{Errno, Memory, Span, WasiCtx};
use rustix::rand::{GetRandomFlags, getrandom};

/// What the bytes of a run that wants the same ones every time are made from.
const SEED: &str = "executor 2026 the same random bytes in every run";

/// Where random bytes come from.
#[derive(Debug, Default)]
pub(crate) enum Source {
    /// The host's kernel.
    #[default]
    Host,
    /// A fixed sequence, at this place.
    Fixed(u64),
}

impl Source {
    /// How much of a fixed sequence was drawn.
    pub(crate) fn drawn(&self) -> u64 {
        match self {
            Self::Host => 0,
            Self::Fixed(drawn) => *drawn,
        }
    }

    /// Fills a buffer. A call that was interrupted goes on as long as `goes_on` says so.
    ///
    /// # Errors
    /// What the host says.
    pub(crate) fn fill(
        &mut self,
        bytes: &mut [u8],
        goes_on: impl Fn() -> bool,
    ) -> Result<(), Errno> {
        match self {
            Self::Fixed(drawn) => {
                let mut sequence = blake3::Hasher::new_derive_key(SEED).finalize_xof();
                sequence.set_position(*drawn);
                sequence.fill(bytes);
                *drawn += bytes.len() as u64;
                Ok(())
            }
            Self::Host => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    match getrandom(&mut *rest, GetRandomFlags::empty()) {
                        Ok(n) => rest = &mut rest[n..],
                        Err(rustix::io::Errno::INTR) if goes_on() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(())
            }
        }
    }
}

/// `random_get`, from the place in the guest that `origin` says.
pub(crate) fn random_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    buffer: Span,
    origin: Origin,
) -> Result<(), Errno> {
    ctx.observed.random = true;
    let bytes = memory.bytes_mut(buffer)?;
    let canceller = ctx.canceller.as_ref();
    let filled =
        ctx.random.fill(bytes, || canceller.is_none_or(|canceller| !canceller.is_cancelled()));
    notice_loss(&filled, bytes);
    filled?;
    ctx.ledger.enter(origin, buffer.at, bytes);
    Ok(())
}
