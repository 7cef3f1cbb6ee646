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

/// How much later it is at each reading of clocks that do not follow the host's.
const STEP: u64 = 1_000_000;
/// When they begin: 2000-01-01, in nanoseconds since 1970.
const BEGINNING: u64 = 946_684_800_000_000_000;

/// The guest's clocks.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// What the guest last saw.
    last: [u64; 3],
    /// What is added to the host's reading.
    offset: [u64; 3],
    /// Whether time passes by being looked at, and not as the host's does.
    fixed: bool,
}

impl Clocks {
    /// Clocks that continue from what the guest saw last.
    pub(crate) fn continuing(last: [u64; 3], fixed: bool) -> Self {
        let mut clocks = Self { last, offset: [0; 3], fixed };
        for (i, id) in STEADY.into_iter().enumerate() {
            // Clocks the guest never read need no system call.
            if last[i] != 0 && !fixed {
                clocks.offset[i] = last[i].saturating_sub(nanoseconds(clock_gettime(id)));
            }
        }
        clocks
    }

    /// What the guest saw last.
    pub(crate) fn last(&self) -> [u64; 3] {
        self.last
    }

    /// Whether the host's time is not the guest's.
    pub(crate) fn fixed(&self) -> bool {
        self.fixed
    }

    /// The time now, in nanoseconds.
    ///
    /// # Errors
    /// `INVAL` when there is no such clock.
    pub(crate) fn now(&mut self, id: u32) -> Result<u64, Errno> {
        if id as usize > STEADY.len() {
            return Err(Errno::INVAL);
        }
        if self.fixed {
            self.pass(STEP);
            return Ok(self.last[0] + if id == REALTIME { BEGINNING } else { 0 });
        }
        if id == REALTIME {
            return Ok(nanoseconds(clock_gettime(ClockId::Realtime)));
        }
        let i = id as usize - 1;
        let now = nanoseconds(clock_gettime(STEADY[i])).saturating_add(self.offset[i]);
        // Another thread may run the guest now, whose processor time is less.
        self.last[i] = self.last[i].max(now);
        Ok(self.last[i])
    }

    /// Lets time pass on clocks that do not follow the host's.
    pub(crate) fn pass(&mut self, nanoseconds: u64) {
        // One time for all: as far as any clock has got. Half of what there is leaves room for the
        // beginning to be added.
        let latest = self.last.into_iter().max().unwrap_or(0);
        self.last = [latest.saturating_add(nanoseconds).min(u64::MAX / 2); 3];
    }
}

/// A time before the clock's beginning is the beginning.
fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.cast_unsigned())
}

/// `clock_res_get`: one nanosecond, as on every Linux that has high-resolution timers; so the
/// answer tells nothing about the host.
pub(crate) fn clock_res_get(_: &mut WasiCtx, _: &mut Memory<'_>, id: u32) -> Result<u64, Errno> {
    if id as usize > STEADY.len() {
        return Err(Errno::INVAL);
    }
    Ok(1)
}

/// `clock_time_get`. The precision is a hint; the best is given.
pub(crate) fn clock_time_get(
    ctx: &mut WasiCtx,
    _: &mut Memory<'_>,
    id: u32,
    _precision: u64,
) -> Result<u64, Errno> {
    ctx.observed.clock = true;
    ctx.clocks.now(id)
}
