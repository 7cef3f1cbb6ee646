//! The process: leaving it and giving way.
//!
//! Invariant: the guest ends only its own run; it can send no signal and end no process.

use executor_runtime::HostError;

/// `proc_exit`.
///
/// # Errors
/// Always: that is how a host function ends the guest's call.
pub(crate) fn proc_exit(code: u32) -> Result<(), HostError> {
    Err(HostError::Exit(code.cast_signed()))
}

/// `sched_yield`.
pub(crate) fn sched_yield() {
    std::thread::yield_now();
}
