//! Entering and leaving machine code, fenced.
//!
//! Invariant: machine code runs only below an [`activation::Frame`] on the current thread, on a
//! stack of its own, against code files that its store's [`code::CodeMap`] keeps mapped; it leaves by returning or
//! by jumping to the landing pad of its activation, and no Rust frame is ever jumped over: host
//! functions run on the host's stack and return to the stub that called them, which jumps (to the
//! landing pad, or to a handler of an exception in the same activation).
//!
//! What a store is, is not known here: it is a [`builtins::Host`], which answers machine code.
//! `unsafe` is allowed here and in [`crate::sys`] only.
#![allow(unsafe_code)]

mod activation;
mod builtins;
mod code;
mod entry;
mod instance;
mod module;
mod part;
mod region;
mod slot;
mod stable;
mod writers;

pub(crate) use activation::{
    Call, EntryPoint, Fault, Header, Met, Outcome, Resume, enter, interrupted_at, lost_in_host,
    open_faulted, record_fault, stack_word, trap_at, walk_frames,
};
pub(crate) use builtins::{Host, Next, Values, builtin_table};
pub(crate) use code::CodeMap;
pub use instance::MemoryMut;
pub(crate) use instance::VmInstance;
pub use module::CompiledModule;
pub(crate) use module::LoadError;
pub(crate) use part::PartKind;
pub(crate) use region::Region;
pub(crate) use slot::{OpenPages, Reset, Slot};
pub(crate) use stable::Stable;
