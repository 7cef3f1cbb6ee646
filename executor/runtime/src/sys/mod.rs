//! The operating system, fenced: address space, mapped files, stacks and signals.
//!
//! Invariant: every range handed to the kernel lies inside a reservation that this module made and
//! still owns, so no call here can change memory that Rust code elsewhere relies on. `unsafe` is
//! allowed here and in [`crate::vm`] only.
#![allow(unsafe_code)]

mod lost;
mod mapping;
mod pages;
mod signals;
mod stack;

pub(crate) use lost::any as any_lost;
pub use mapping::Mapping;
pub(crate) use mapping::{Access, Reservation, anonymous_file};
pub(crate) use pages::{readable, written};
pub(crate) use signals::{current_thread, install, interrupt_thread, prepare_thread};
pub use signals::{ignore_ending_signals, ignore_file_size_signal, keep_descriptors_from_children};
pub(crate) use stack::WasmStack;
