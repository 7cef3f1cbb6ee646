//! Signals that are not ours go to the handler that a host installed before the engine. A test
//! binary of its own, since handlers belong to the process.
#![allow(unsafe_code, reason = "installing a handler is unsafe")]

use executor_runtime::{EngineConfig, NativeEngine};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

static WITH_INFO: AtomicU32 = AtomicU32::new(0);
static PLAIN: AtomicU32 = AtomicU32::new(0);

extern "C" fn with_info(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    WITH_INFO.fetch_add(u32::from(!info.is_null()), SeqCst);
}

extern "C" fn plain(signal: i32) {
    PLAIN.fetch_add(u32::from(signal == libc::SIGFPE), SeqCst);
}

#[test]
fn handlers_installed_before_the_engine_still_see_their_signals() {
    let install = |signal, handler, flags| {
        let action = SigAction::new(handler, flags, SigSet::empty());
        // SAFETY: the handlers only add to an atomic.
        unsafe { sigaction(signal, &action) }.unwrap();
    };
    install(Signal::SIGURG, SigHandler::SigAction(with_info), SaFlags::SA_SIGINFO);
    install(Signal::SIGFPE, SigHandler::Handler(plain), SaFlags::empty());
    let _engine = NativeEngine::new(EngineConfig::default()).unwrap();
    let _second = NativeEngine::new(EngineConfig::default()).unwrap();
    for _ in 0..3 {
        raise(Signal::SIGURG).unwrap();
        raise(Signal::SIGFPE).unwrap();
    }
    assert_eq!(WITH_INFO.load(SeqCst), 3);
    assert_eq!(PLAIN.load(SeqCst), 3);
}
