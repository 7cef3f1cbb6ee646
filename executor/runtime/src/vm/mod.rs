//! Entering and leaving machine code, fenced.
//!
//! Invariant: machine code runs only below an [`activation::Frame`] on the current thread, on a
//! stack of its own, against code files that its store's [`code::CodeMap`] keeps mapped; it leaves by returning or
//! by jumping to the landing pad of its activation, and no Rust frame is ever jumped over: host
//! functions run on the host's stack and return to the stub that called them, which jumps (to the
//! landing pad, or to a handler of an exception in the same activation).
//! `unsafe` is allowed here and in [`crate::sys`] only.
#![allow(unsafe_code)]

mod activation;
mod builtins;
mod code;
mod entry;
mod instance;
mod region;
mod slot;
mod stable;

pub(crate) use activation::{
    Call, EntryPoint, Fault, Header, Met, Outcome, Resume, enter, interrupted_at, live_words,
    open_faulted, outer_stub_frames, record_fault, stack_word, trap_at, walk_frames,
};
pub(crate) use builtins::{Values, builtin_table};
pub(crate) use code::{CodeEntry, CodeMap};
pub use instance::MemoryMut;
pub(crate) use instance::VmInstance;
pub(crate) use region::Region;
pub(crate) use slot::{OpenPages, Reset, Slot};
pub(crate) use stable::Stable;
