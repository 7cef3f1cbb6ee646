//! Runs code files: instances and their memory, the linker, the native engine, and the state of a
//! store as plain data.
//!
//! Invariant: nothing here knows the compiler (it is a trait object given to the engine) or the
//! snapshot's file format. `unsafe` lives in two fenced modules: `sys` (the operating system) and
//! `vm` (machine code and what it touches).
//!
//! This is an internal of the crate `executor`, which is what programs embed.
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod attribution;
mod backtrace;
mod budget;
mod builtins;
mod calls;
mod capture;
mod const_expr;
mod data;
mod engine;
mod exception;
mod grow;
mod heap;
mod host;
mod image;
mod instantiate;
mod interrupt;
mod linker;
mod module_engine;
mod park;
mod placement;
mod pool;
mod released;
mod reset;
mod resume;
mod segments;
mod shared;
mod state;
mod store;
mod suspend;
mod sys;
mod typed;
mod types;
mod unwind;
mod validate;
mod vm;
mod working_set;

pub use attribution::{FirstWrite, FirstWrites};
pub use capture::CaptureError;
pub use engine::{CodeOrigin, EngineConfig, NativeEngine};
pub use exception::TagIdentity;
pub use heap::{Collections, KeptObject, ObjectType};
pub use host::{Caller, HostError, HostValue, HostValues, IntoHostFunc};
pub use image::{Image, RestoreError};
pub use instantiate::InstantiateError;
pub use interrupt::{Interrupter, Interrupts, Wake};
pub use linker::Linker;
pub use module_engine::{NativeFunction, NativeModuleEngine};
pub use pool::{Idle, PoolConfig, PoolStats};
pub use released::{Released, SlotReset, WrittenPages};
pub use shared::{OutOfBounds, SharedMemory};
pub use state::{
    CallState, Extent, FrameState, InstancePlan, InstanceState, RestorePlan, StateValue,
    StoreState, is_zero, joined, nonzero, runs_unlike,
};
pub use store::{Store, StoreConfig};
pub use suspend::{HostCall, Reached, SuspendError};
pub use sys::{
    Mapping, ignore_ending_signals, ignore_file_size_signal, keep_descriptors_from_children,
};
pub use vm::{CompiledModule, MemoryMut};
