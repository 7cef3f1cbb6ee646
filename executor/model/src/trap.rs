//! Traps, the WebAssembly backtrace, and how a call can end other than by returning.

use crate::{Escaped, demangle::demangle};
use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU64};

/// Why execution trapped. The numbers are written into code files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named by its message")]
pub enum TrapCode {
    Unreachable = 1,
    MemoryOutOfBounds = 2,
    TableOutOfBounds = 3,
    IndirectCallToNull = 4,
    IndirectCallTypeMismatch = 5,
    IntegerOverflow = 6,
    IntegerDivideByZero = 7,
    InvalidConversionToInteger = 8,
    StackOverflow = 9,
    UndefinedElement = 10,
    NullReference = 11,
    /// The deadline passed or the module was closed while it ran.
    Interrupted = 12,
    /// A page of a mapped file could not be read (the file was cut short, or the disk failed).
    PageLost = 13,
    /// An atomic access to an address that is not a multiple of its width.
    UnalignedAtomic = 14,
    /// `memory.atomic.wait` on a memory that is not shared.
    ExpectedSharedMemory = 15,
    NullFunctionReference = 16,
    NullExceptionReference = 17,
    NullStructReference = 18,
    NullArrayReference = 19,
    NullI31Reference = 20,
    ArrayOutOfBounds = 21,
    CastFailure = 22,
    /// The heap of objects is full, and a collection found too little.
    HeapExhausted = 23,
}

impl TrapCode {
    /// All codes, in order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::Unreachable,
        Self::MemoryOutOfBounds,
        Self::TableOutOfBounds,
        Self::IndirectCallToNull,
        Self::IndirectCallTypeMismatch,
        Self::IntegerOverflow,
        Self::IntegerDivideByZero,
        Self::InvalidConversionToInteger,
        Self::StackOverflow,
        Self::UndefinedElement,
        Self::NullReference,
        Self::Interrupted,
        Self::PageLost,
        Self::UnalignedAtomic,
        Self::ExpectedSharedMemory,
        Self::NullFunctionReference,
        Self::NullExceptionReference,
        Self::NullStructReference,
        Self::NullArrayReference,
        Self::NullI31Reference,
        Self::ArrayOutOfBounds,
        Self::CastFailure,
        Self::HeapExhausted,
    ];

    /// The code of a number.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n).checked_sub(1)?).copied()
    }

    /// The message that users see; where the specification's tests name one, that one.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::MemoryOutOfBounds => "out of bounds memory access",
            Self::TableOutOfBounds => "out of bounds table access",
            Self::IndirectCallToNull => "uninitialized element",
            Self::IndirectCallTypeMismatch => "indirect call type mismatch",
            Self::IntegerOverflow => "integer overflow",
            Self::IntegerDivideByZero => "integer divide by zero",
            Self::InvalidConversionToInteger => "invalid conversion to integer",
            Self::StackOverflow => "call stack exhausted",
            Self::UndefinedElement => "undefined element",
            Self::NullReference => "null reference",
            Self::NullFunctionReference => "null function reference",
            Self::Interrupted => "interrupted",
            Self::UnalignedAtomic => "unaligned atomic",
            Self::ExpectedSharedMemory => "expected shared memory",
            Self::NullExceptionReference => "null exception reference",
            Self::NullStructReference => "null structure reference",
            Self::NullArrayReference => "null array reference",
            Self::NullI31Reference => "null i31 reference",
            Self::ArrayOutOfBounds => "out of bounds array access",
            Self::CastFailure => "cast failure",
            Self::HeapExhausted => "GC heap out of memory",
            Self::PageLost => {
                "a page of the snapshot or the code could not be read: the file is cut short or the disk failed"
            }
        }
    }
}

/// One WebAssembly frame of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The module's name, from its name section, if any.
    pub module: Option<String>,
    /// The function's index.
    pub func: u32,
    /// The function's name, from the name section or its export.
    pub name: Option<String>,
    /// The offset of the operator in the module's bytes, where known.
    pub offset: Option<u32>,
}

/// The WebAssembly frames at a trap, innermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WasmBacktrace {
    /// The frames; at most a few dozen are kept.
    pub frames: Vec<Frame>,
    /// How many further frames there were.
    pub omitted: usize,
}

impl fmt::Display for WasmBacktrace {
    /// A line for each frame; functions of Rust and C++ are named as in their source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, frame) in self.frames.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "  {i:>3}: ")?;
            match frame.offset {
                Some(offset) => write!(f, "{offset:#8x} - ")?,
                None => write!(f, "{:>8} - ", "?")?,
            }
            write!(f, "{}!", Escaped(frame.module.as_deref().unwrap_or("<module>")))?;
            match &frame.name {
                Some(name) if !name.is_empty() => {
                    let source = demangle(name);
                    write!(f, "{}", Escaped(source.as_deref().unwrap_or(name)))?;
                }
                _ => write!(f, "<function {}>", frame.func)?,
            }
        }
        if self.omitted > 0 {
            write!(f, "\n       ... {} more frames", self.omitted)?;
        }
        Ok(())
    }
}

/// A trap: its code and where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// Why.
    pub code: TrapCode,
    /// Where.
    pub backtrace: WasmBacktrace,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wasm trap: {}", self.code.message())?;
        if !self.backtrace.frames.is_empty() {
            write!(f, "\n{}", self.backtrace)?;
        }
        Ok(())
    }
}

impl std::error::Error for Trap {}

/// An exception that left a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thrown {
    /// Its handle in its store.
    pub exception: NonZeroU64,
    /// Its tag's name and its payload as text: `oops(1, 3)`.
    pub description: String,
    /// Where it was thrown.
    pub backtrace: WasmBacktrace,
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uncaught exception {}", self.description)?;
        if !self.backtrace.frames.is_empty() {
            write!(f, "\n{}", self.backtrace)?;
        }
        Ok(())
    }
}

impl std::error::Error for Thrown {}

/// How a call ends other than by returning.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The guest trapped.
    #[error(transparent)]
    Trap(#[from] Trap),
    /// The guest threw an exception that nothing caught.
    #[error(transparent)]
    Exception(#[from] Thrown),
    /// The guest asked to exit (`proc_exit`) with this code.
    #[error("exit with code {0}")]
    Exit(i32),
    /// The instance is closed.
    #[error("the module was closed (exit code {0})")]
    Closed(u32),
    /// A host function failed.
    #[error("{source}")]
    Host {
        /// The host function's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Where the guest called it.
        backtrace: WasmBacktrace,
    },
    /// The call reached the point where it is to be suspended; the store holds it.
    #[error("the call is suspended")]
    Suspended,
    /// The operating system refused what the call needs.
    #[error("cannot {what}: {source}")]
    Resource {
        /// What could not be done.
        what: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The guest needs more memory than its store may take.
    #[error(transparent)]
    Limit(#[from] crate::LimitError),
    /// The arguments do not fit the function's type, or no such function.
    #[error("{0}")]
    Usage(String),
}
