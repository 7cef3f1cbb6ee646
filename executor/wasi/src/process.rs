//! The process: leaving it, raising signals in it and giving way.
//!
//! Invariant: the guest ends only its own run; it can send no signal to any other process and end
//! none.

use crate::{Errno, Memory, WasiCtx};
use executor_runtime::HostError;

/// `proc_exit`.
///
/// # Errors
/// Always: that is how a host function ends the guest's call.
pub(crate) fn proc_exit(code: u32) -> Result<(), HostError> {
    Err(HostError::Exit(code.cast_signed()))
}

/// `proc_raise`. No guest can handle a signal, so each does what it does by default: nothing, or end
/// the run as if by it, with 128 and Linux's number of the signal as the exit code. There is nobody
/// who could make a stopped guest go on.
///
/// # Errors
/// The exit, where the signal ends the run.
pub(crate) fn proc_raise(signal: u32) -> Result<i32, HostError> {
    const CHLD: u32 = 16;
    const CONT: u32 = 17;
    const STOP: u32 = 18;
    const TTOU: u32 = 21;
    const URG: u32 = 22;
    const WINCH: u32 = 27;
    const SYS: u32 = 30;
    match signal {
        0 | CHLD | CONT | URG | WINCH => Ok(0),
        STOP..=TTOU => Ok(i32::from(Errno::NOTSUP.raw())),
        // WASI leaves out Linux's 16.
        1..CHLD => Err(HostError::Exit(128 + signal.cast_signed())),
        CHLD..=SYS => Err(HostError::Exit(129 + signal.cast_signed())),
        _ => Ok(i32::from(Errno::INVAL.raw())),
    }
}

/// `sched_yield`.
pub(crate) fn sched_yield(_: &mut WasiCtx, _: &mut Memory<'_>) -> Result<(), Errno> {
    std::thread::yield_now();
    Ok(())
}
