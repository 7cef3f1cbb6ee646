#![forbid(unsafe_code)]
#![doc = include_str!("lib.md")]
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

#[cfg(feature = "archive")]
pub mod archive;
mod contents;
pub mod difference;
mod error;
mod event;
pub mod explanation;
mod flatten;
mod function;
mod given;
mod imports;
pub mod inspection;
mod instance;
mod launch;
mod limits;
mod report;
mod runtime;
pub mod settings;
mod snapshot;
mod stop;
mod store_care;
mod types;
pub mod units;
mod versions;
mod watchdog;

pub use difference::Difference;
pub use error::Error;
pub use event::{Event, Work};
pub use explanation::Explanation;
pub use function::{Base, Created, Creation, Function};
pub use given::{DirAccess, Stdin, Stdout};
pub use inspection::{Detail, Inspection};
pub use instance::{Instance, InstanceBuilder, Outcome, TypedFunc};
pub use launch::{Launch, SnapshotPolicy};
pub use limits::Limits;
pub use report::{Capture, ModuleCode, Phases, Report, Start};
pub use runtime::{Listed, Runtime, RuntimeBuilder, Source, default_store};
pub use snapshot::Snapshot;
pub use stop::Cancellation;
pub use store_care::StoreCare;
pub use types::ExternType;
pub use versions::Deployed;

pub use executor_code::{CompileError, OptLevel};
pub use executor_files::FileError;
pub use executor_model::{
    AnyRef, CallError, CompositeType, EngineError, Escaped, ExternRef, Features, FieldType,
    FuncType, GlobalType, LimitError, MemoryType, ModuleHash, ObjectRef, StorageType, TableType,
    Thrown, Trap, TrapCode, Val, ValType, WasmBacktrace,
};
pub use executor_runtime::{
    Caller, CaptureError, CodeOrigin, Collections, HostError, HostValue, HostValues, Idle,
    InstantiateError, IntoHostFunc, KeptObject, MemoryMut, ObjectType, OutOfBounds, PoolConfig,
    PoolStats, Released, SlotReset, SuspendError, WrittenPages, ignore_ending_signals,
    ignore_file_size_signal, keep_descriptors_from_children,
};
pub use executor_snapshot::{
    CatalogueError, EntryKind, FormatError, HookError, SnapshotError, SnapshotId,
    catalogue::{
        AutoKey, AutoListed, Checked, Collect, Collected, Conditions, Count, Fault, FunctionInfo,
        FunctionUsage, Swept, Usage, Version,
    },
};
pub use executor_wasi::{
    Entropy, Environment, Errno, InvalidWasiState, NotAPoint, OutputStream, Point, WasiError,
    WasiStateError,
};

// Threads share functions; instances move between them.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<Runtime>();
    shared::<Function>();
    shared::<Cancellation>();
    moved::<Instance>();
    moved::<Error>();
};
