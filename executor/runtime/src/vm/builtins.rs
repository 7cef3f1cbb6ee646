//! Builtins: from machine code, through a stub, to safe host code.
//!
//! Invariant: no panic crosses into machine code, and whatever ends the activation is left with
//! the store before the stub is told so.

use super::{
    activation::{Resume, current_store, resume_at, stub_frame},
    entry,
};
use crate::builtins::{self, Raise};
use executor_code::abi::{Builtin, VmHeader};
use executor_model::{InstanceId, RawValue};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

/// What a handler answers to its stub, in rax and rdx.
#[repr(C)]
pub(super) struct Answer {
    value: u64,
    /// How to go on: [`entry::RETURNED`], [`entry::LANDED`] or [`entry::RESUMED`].
    then: u64,
}

/// How a builtin that does not end the activation ends.
enum Next {
    /// It returns a value.
    Return(u64),
    /// It threw an exception that is caught.
    Handler(Resume),
}

type Handler = unsafe extern "C" fn(*mut VmHeader, u64, u64, u64, u64, u64) -> Answer;

macro_rules! handlers {
    ($($n:literal)*) => {
        /// The handlers that the stubs call, by builtin.
        pub(super) static BUILTINS: [Handler; Builtin::ALL.len()] = [$(handler::<$n>),*];
    };
}

handlers!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);

/// The addresses that machine code calls, by builtin.
pub(crate) fn builtin_table() -> &'static [usize] {
    static TABLE: OnceLock<[usize; Builtin::ALL.len()]> = OnceLock::new();
    TABLE.get_or_init(|| std::array::from_fn(|i| entry::builtin_stub(Builtin::ALL[i])))
}

/// The array of arguments and results that machine code lent to the host.
pub(crate) struct Values(*mut RawValue);

impl Values {
    /// The first `len` values.
    pub(crate) fn first(&mut self, len: usize) -> &mut [RawValue] {
        // SAFETY: the compiler makes the array as long as the longer of the function's parameters
        // and results, and callers ask for no more than those. It lies on the wasm stack, which
        // nobody else reaches until the builtin returns.
        unsafe { std::slice::from_raw_parts_mut(self.0, len) }
    }
}

/// Handles builtin number `N`. Arguments beyond the builtin's own are whatever the registers held.
///
/// # Safety
/// Called only by a stub, from machine code of the instance that `vmctx` belongs to.
unsafe extern "C" fn handler<const N: usize>(
    vmctx: *mut VmHeader,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
) -> Answer {
    let builtin = Builtin::ALL[N];
    let values = match builtin {
        Builtin::CallImport | Builtin::Throw | Builtin::ListenerBefore | Builtin::ListenerAfter => {
            Values(b as *mut RawValue)
        }
        _ => Values(std::ptr::null_mut()),
    };
    // SAFETY: `vmctx` is a live instance's; this is a builtin, and machine code waits.
    let (store, key, fp) = unsafe { (current_store(), (*vmctx).instance_key, stub_frame()) };
    let Some(instance) = InstanceId::new((key >> 40) as u32) else { std::process::abort() };
    let run = || match builtins::run(store, instance, builtin, [a, b, c, d, e], values) {
        Err(Raise::Exception(exception)) => {
            store.unwind(exception, fp, instance).map(Next::Handler).map_err(Raise::Exception)
        }
        result => result.map(Next::Return),
    };
    let raise = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(Next::Return(value))) => return Answer { value, then: entry::RETURNED },
        Ok(Ok(Next::Handler(resume))) => {
            // SAFETY: the search found a handler of a frame that waits for this builtin.
            unsafe { resume_at(resume) };
            return Answer { value: 0, then: entry::RESUMED };
        }
        Ok(Err(raise)) => raise,
        Err(panic) => Raise::Panic(panic),
    };
    // SAFETY: as above; the closure's borrow has ended.
    unsafe { current_store() }.raised = Some(raise);
    Answer { value: 0, then: entry::LANDED }
}
