//! The specification's words, as plain data: types, values, modules, traps, listeners, and the
//! [`Engine`] and [`ModuleEngine`] traits that an engine implements.
//!
//! Invariant: this crate is pure. It does no input or output, holds no machine address, and knows
//! neither the compiler nor the runtime.
//!
//! This is an internal of the crate `executor`, which is what programs embed.
#![forbid(unsafe_code)]
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod demangle;
mod engine;
mod escaped;
mod features;
mod listener;
mod module;
mod names;
mod object;
mod reference;
mod trap;
mod types;
mod value;

pub use demangle::demangle;
pub use engine::{Engine, EngineError, Function, LimitError, LinkError, ModuleEngine};
pub use escaped::Escaped;
pub use features::Features;
pub use listener::{FunctionListener, ListenerContext, Listeners};
pub use module::{
    ConstExpr, ConstOp, DataMode, DataSegment, ElementItems, ElementMode, ElementSegment, Export,
    ExternKind, Global, Import, ImportKind, Module, ModuleHash, ModuleInfo, ModuleNames, Table,
    TypeDeclaration, makes_objects,
};
pub use names::ItemNames;
pub use object::{ObjectBits, ObjectRef};
pub use reference::{FuncRef, InstanceId, StoreId};
pub use trap::{CallError, Frame, Thrown, Trap, TrapCode, WasmBacktrace};
pub use types::{
    CompositeType, FieldType, FuncIndex, FuncType, GlobalIndex, GlobalType, HeapType, Hierarchy,
    MemoryIndex, MemoryType, RefType, StorageType, TableIndex, TableType, TagIndex, TypeIndex,
    ValType,
};
pub use value::{AnyRef, ExternRef, RawValue, Val};

/// The size of a WebAssembly page in bytes, where a memory does not declare its own.
pub const WASM_PAGE_SIZE: u64 = 65536;
