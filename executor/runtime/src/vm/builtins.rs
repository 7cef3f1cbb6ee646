//! Builtins: from machine code, through a stub, to safe host code.
//!
//! Invariant: no panic crosses into machine code, and whatever ends the activation is left with
//! the store before the stub is told so. The handlers of an activation are those for the type of its
//! store.

use super::{
    activation::{Header, Resume, current_store, resume_at, stack_top, stub_frame},
    entry,
};
use executor_code::abi::{Builtin, VmHeader};
use executor_model::{InstanceId, RawValue};
use std::{
    any::Any,
    marker::PhantomData,
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

/// How machine code goes on after a builtin.
pub(crate) enum Next {
    /// With a value.
    Return(u64),
    /// At the handler of an exception, of a frame that waits for the builtin.
    Handler(Resume),
    /// Not at all: the activation ends, for the reason that was left with the store.
    End,
}

/// A store, as far as machine code needs one.
pub(crate) trait Host {
    /// What the store has for machine code, in the store.
    fn header(&mut self) -> &mut Header;

    /// Does what machine code of an instance asks for. Arguments beyond the builtin's own mean
    /// nothing. `fp` is the frame pointer of the stub that waits.
    fn builtin(
        &mut self,
        instance: InstanceId,
        builtin: Builtin,
        args: [u64; 5],
        values: Values,
        fp: usize,
    ) -> Next;

    /// Keeps a panic of [`Self::builtin`], to go on once the activation has ended.
    fn panicked(&mut self, panic: Box<dyn Any + Send>);
}

pub(super) type Handler = unsafe extern "C" fn(*mut VmHeader, u64, u64, u64, u64, u64) -> Answer;

macro_rules! handlers {
    ($($n:literal)*) => {
        /// The handlers for a type of store.
        struct Handlers<S>(PhantomData<S>);

        impl<S: Host> Handlers<S> {
            const ALL: &[Handler; Builtin::ALL.len()] = &[$(handler::<S, $n>),*];
        }
    };
}

handlers!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25);

/// The handlers that the stubs call for a type of store, by builtin.
pub(super) fn handlers<S: Host>() -> *const Handler {
    Handlers::<S>::ALL.as_ptr()
}

/// The addresses that machine code calls, by builtin.
pub(crate) fn builtin_table() -> &'static [usize] {
    static TABLE: OnceLock<[usize; Builtin::ALL.len()]> = OnceLock::new();
    TABLE.get_or_init(|| std::array::from_fn(|i| entry::builtin_stub(Builtin::ALL[i])))
}

/// The array of arguments and results that machine code lent to the host.
pub(crate) struct Values {
    first: *mut RawValue,
    /// The address just above the stack that it lies on.
    top: usize,
}

impl Values {
    /// The first `len` values; `None` when so many do not lie on the stack, which the tables of a
    /// damaged code file may say.
    pub(crate) fn first(&mut self, len: usize) -> Option<&mut [RawValue]> {
        if len > self.top.saturating_sub(self.first as usize) / size_of::<RawValue>() {
            return None;
        }
        // SAFETY: the compiler makes the array as long as the longer of the function's parameters
        // and results, and callers ask for no more than those. It lies on the wasm stack (checked), which
        // nobody else reaches until the builtin returns.
        Some(unsafe { std::slice::from_raw_parts_mut(self.first, len) })
    }
}

/// Handles builtin number `N`. Arguments beyond the builtin's own are whatever the registers held.
///
/// # Safety
/// Called only by a stub, from machine code of the instance that `vmctx` belongs to, in an activation
/// of a store of type `S`.
unsafe extern "C" fn handler<S: Host, const N: usize>(
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
            // SAFETY: this is a builtin, and machine code waits.
            Values { first: b as *mut RawValue, top: unsafe { stack_top() } }
        }
        _ => Values { first: std::ptr::null_mut(), top: 0 },
    };
    // SAFETY: `vmctx` is a live instance's; this is a builtin, and machine code waits.
    let (store, key, fp) = unsafe { (current_store::<S>(), (*vmctx).instance_key, stub_frame()) };
    let Some(instance) = InstanceId::new((key >> 40) as u32) else { std::process::abort() };
    let run = || store.builtin(instance, builtin, [a, b, c, d, e], values, fp);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Next::Return(value)) => return Answer { value, then: entry::RETURNED },
        Ok(Next::Handler(resume)) => {
            // SAFETY: the search found a handler of a frame that waits for this builtin.
            unsafe { resume_at(resume) };
            return Answer { value: 0, then: entry::RESUMED };
        }
        Ok(Next::End) => {}
        // SAFETY: as above; the closure's borrow has ended.
        Err(panic) => unsafe { current_store::<S>() }.panicked(panic),
    }
    Answer { value: 0, then: entry::LANDED }
}
