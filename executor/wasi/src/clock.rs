//! Clocks.
//!
//! Invariant: for the guest, the monotonic clock and the processor-time clocks never go back, not
//! even across a restore on another machine: each continues from the last value the guest saw.

use crate::{Errno, Memory, WasiCtx};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// WASI's number of the wall clock.
pub(crate) const REALTIME: u32 = 0;
/// WASI's number of the monotonic clock.
pub(crate) const MONOTONIC: u32 = 1;
/// The clocks that are kept from going back, by WASI's number less one.
const STEADY: [ClockId; 3] = [ClockId::Monotonic, ClockId::ProcessCPUTime, ClockId::ThreadCPUTime];

/// The guest's clocks.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// What the guest last saw.
    last: [u64; 3],
    /// What is added to the host's reading.
    offset: [u64; 3],
}

impl Clocks {
    /// Clocks that continue from what the guest saw last.
    pub(crate) fn continuing(last: [u64; 3]) -> Self {
        let mut clocks = Self { last, offset: [0; 3] };
        for (i, id) in STEADY.into_iter().enumerate() {
            // Clocks the guest never read need no system call.
            if last[i] != 0 {
                clocks.offset[i] = last[i].saturating_sub(nanoseconds(clock_gettime(id)));
            }
        }
        clocks
    }

    /// What the guest saw last.
    pub(crate) fn last(&self) -> [u64; 3] {
        self.last
    }

    /// The time now, in nanoseconds.
    pub(crate) fn now(&mut self, id: u32) -> Result<u64, Errno> {
        if id == REALTIME {
            return Ok(nanoseconds(clock_gettime(ClockId::Realtime)));
        }
        let i = id as usize - 1;
        let host = *STEADY.get(i).ok_or(Errno::INVAL)?;
        let now = nanoseconds(clock_gettime(host)).saturating_add(self.offset[i]);
        // Another thread may run the guest now, whose processor time is less.
        self.last[i] = self.last[i].max(now);
        Ok(self.last[i])
    }
}

/// A time before the clock's beginning is the beginning.
fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// `clock_res_get`: one nanosecond, as on every Linux that has high-resolution timers; so the
/// answer tells nothing about the host.
pub(crate) fn clock_res_get(
    _: &mut WasiCtx,
    memory: &mut Memory<'_>,
    id: u32,
    resolution: u32,
) -> Result<(), Errno> {
    if id as usize > STEADY.len() {
        return Err(Errno::INVAL);
    }
    memory.write_u64(resolution, 1)
}

/// `clock_time_get`. The precision is a hint; the best is given.
pub(crate) fn clock_time_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    id: u32,
    _precision: u64,
    time: u32,
) -> Result<(), Errno> {
    ctx.observed.clock = true;
    let now = ctx.clocks.now(id)?;
    memory.write_u64(time, now)
}
