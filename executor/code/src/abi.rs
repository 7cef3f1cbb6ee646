//! The binary interface between machine code and host.
//!
//! Invariant: these structures are `repr(C)`, and the compiler takes every offset from
//! `offset_of!`; [`VERSION`] changes whenever anything here or in [`crate::layout`] does.
//!
//! - A WebAssembly function is called with Cranelift's `Tail` convention as
//!   `(vmctx: i64, parameters...) -> results`. References are `i64` (0 is null).
//! - `vmctx` is the address of a [`VmHeader`]; everything an instance owns lies at fixed distances
//!   from it (see [`crate::layout`]).
//! - The host enters through the *enter trampoline* of the function's type, System V convention:
//!   `(code, vmctx, values: *mut RawValue)`. It reads the parameters from `values`, calls `code`
//!   and writes the results back to `values` from index 0.
//! - Machine code calls the host through [`Builtin`]s, System V convention:
//!   `(vmctx, arguments: i64...) -> i64`, at most five arguments, from the array that
//!   [`VmHeader::builtins`] points to. A builtin that traps does not return.
//! - An imported function `i` has a thunk in the code file at its own function index. The thunk
//!   looks at [`ImportSlot`] `i`: a non-null `code` is tail-called with `ctx` as its `vmctx`;
//!   otherwise the arguments are spilled to an array of `RawValue`s and [`Builtin::CallImport`] is
//!   called: if that returns [`CALL_IMPORT_BOUND`], the slot has just been filled in and the thunk
//!   starts over; otherwise the results are in the array.
//! - A call in the body of a `try_table` has [`crate::file::HandlerRecord`]s. To catch an exception is
//!   to go on at the handler's code with the frame's stack and frame pointers, the exception's handle
//!   in `rax` (if the handler asks for it) and the address of its payload, an array of `RawValue`s
//!   that is good until the next builtin is called, in `rdx`. Callee-saved registers matter only to
//!   handlers of a builtin's own call: those hold what they held there.
//! - A continuation is called with the `Tail` convention as `(vmctx: i64, frame: *const ResumedFrame)
//!   -> results`, where the results are those of its function. It calls the next frame in place of
//!   the call that it goes on from. The enter trampolines of a file of continuations, by the type
//!   of the function, take the address of the frame from `values[0]`.

use executor_model::RawValue;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of this interface and of everything else that code is compiled for: code files of
/// another are compiled again. A change of [`crate::layout::STATE_VERSION`] changes it too.
pub const VERSION: u32 = 4;

/// What lies at `vmctx`. Only the runtime writes it; it is never captured.
#[repr(C)]
#[derive(Debug)]
pub struct VmHeader {
    /// The store.
    pub store: *mut StoreHeader,
    /// The builtins, an array of code addresses indexed by [`Builtin`].
    pub builtins: *const usize,
    /// The instance's id as references hold it (`InstanceId::key`).
    pub instance_key: u64,
    /// The first byte of owned memory 0, or null when there is none: a base of its own for what
    /// most accesses of a function go to.
    pub memory: *mut u8,
    /// The function table of the module's code file ([`crate::file::Section::Functions`]), for
    /// continuations, which lie in a file of their own.
    pub functions: *const i32,
    /// The [`HeapHeader`] of the store's heap of objects, which references are offsets from; null while no
    /// instance of the store has types of objects.
    pub heap: *mut u8,
}

/// What a heap of objects begins with. All numbers are offsets in the heap, so it is captured and restored with it.
/// Objects lie between [`Self::FIRST`] and `next`, one behind another; everything from `next` on is zero, but for
/// what lies between `end` and `dirty`.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HeapHeader {
    /// Null leads here.
    pub null: u64,
    /// Where the next object goes.
    pub next: u64,
    /// How far machine code may go on by itself.
    pub end: u64,
    /// Everything from here on is zero.
    pub dirty: u64,
    /// A collection is due before `next` exceeds this.
    pub due: u64,
    /// 0.
    pub reserved: [u64; 3],
}

impl HeapHeader {
    /// Where the first object lies.
    pub const FIRST: u64 = size_of::<Self>() as u64;
}

/// A frame that is made again. The host makes an array of them, outermost first; each continuation
/// is given the address of its own and calls the one after it.
#[repr(C)]
#[derive(Debug)]
pub struct ResumedFrame {
    /// The address of the continuation's code.
    pub code: usize,
    /// The `vmctx` to call it with.
    pub vmctx: usize,
    /// The values that it takes.
    pub values: *const RawValue,
}

/// What machine code and builtins know of the store.
#[repr(C)]
#[derive(Debug)]
pub struct StoreHeader {
    /// The innermost activation: where builtins find the host's stack.
    pub activation: *mut Activation,
    /// Where [`Builtin::ResolveFuncRef`] puts its answer.
    pub target: CallTarget,
}

/// A function of any instance: its machine code and the `vmctx` to call it with.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CallTarget {
    /// The address of the code.
    pub code: usize,
    /// The address of the callee's [`VmHeader`].
    pub vmctx: usize,
}

/// One stay of a thread in machine code, from entry to return. It lies on the host's stack.
#[repr(C)]
#[derive(Debug)]
pub struct Activation {
    /// The host's stack pointer at entry; builtins run below it.
    pub host_sp: usize,
    /// The stack pointer of the WebAssembly stack: at entry where to begin, and while a builtin
    /// runs, where machine code left off (there lies the saved frame pointer).
    pub wasm_sp: usize,
    /// The activation that this one is nested in, or null.
    pub previous: *mut Activation,
}

/// How an imported function is bound. Zero until its first call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ImportSlot {
    /// The code to call, or null for the slow path.
    pub code: usize,
    /// The `vmctx` to call it with.
    pub ctx: usize,
}

/// The answer of [`Builtin::CallImport`]: the import is another instance's function and its slot
/// is filled in now.
pub const CALL_IMPORT_BOUND: u64 = 1;

macro_rules! builtins {
    ($($(#[$doc:meta])* $name:ident ($($arg:ident),*);)*) => {
        /// A function of the host that machine code calls. Each takes `vmctx` and the named
        /// 64-bit arguments; 32-bit values are zero-extended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Builtin { $($(#[$doc])* $name),* }

        impl Builtin {
            /// All builtins, in order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// How many arguments it takes after `vmctx`.
            #[must_use]
            pub const fn arity(self) -> usize {
                match self { $(Self::$name => [$(stringify!($arg)),*].len()),* }
            }
        }
    };
}

builtins! {
    /// Grows a memory by `delta` pages; returns the size before in pages, or all ones.
    MemoryGrow(memory, delta);
    /// `memory.copy`.
    MemoryCopy(dst_memory, src_memory, dst, src, len);
    /// `memory.fill`.
    MemoryFill(memory, dst, value, len);
    /// `memory.init`.
    MemoryInit(memory, segment, dst, src, len);
    /// `data.drop`.
    DataDrop(segment);
    /// Grows a table by `delta` elements set to `init`; returns the size before, or all ones.
    TableGrow(table, delta, init);
    /// `table.copy`.
    TableCopy(dst_table, src_table, dst, src, len);
    /// `table.fill`.
    TableFill(table, dst, value, len);
    /// `table.init`.
    TableInit(table, segment, dst, src, len);
    /// `elem.drop`.
    ElemDrop(segment);
    /// The slow path of `call_indirect`: checks that `funcref` is not null and its type equals
    /// type `ty` of this module, and returns the address of a [`CallTarget`]; traps otherwise.
    ResolveFuncRef(funcref, ty);
    /// The slow path of an import thunk; `values` is the address of the argument array.
    CallImport(import, values);
    /// `throw`; `values` is the address of the tag's parameters. Does not return, but may go on at a
    /// handler (see [`crate::file::HandlerRecord`]) of a call that is in progress.
    Throw(tag, values);
    /// `throw_ref`, likewise; traps when `exception` is null.
    ThrowRef(exception);
    /// Tells the listener that a function begins; `values` is the address of its arguments.
    ListenerBefore(func, values);
    /// Tells the listener that a function returned; `values` is the address of its results.
    ListenerAfter(func, values);
    /// `memory.atomic.wait32` at `index + offset` of a shared memory.
    MemoryAtomicWait32(memory, index, offset, expected, timeout);
    /// `memory.atomic.wait64`, likewise.
    MemoryAtomicWait64(memory, index, offset, expected, timeout);
    /// `memory.atomic.notify`.
    MemoryAtomicNotify(memory, index, offset, count);
    /// Makes room for an object of `size` bytes, a multiple of 8, which are zero; returns where it lies in the heap.
    /// It may collect. Traps when there is no room.
    ObjectAllocate(size);
    /// Whether an object is of type `ty` of this module: 1 or 0. Asked for objects of other instances.
    ObjectIs(object, ty);
    /// `array.copy`; neither is null.
    ArrayCopy(dst_array, dst, src_array, src, len);
    /// `array.new_data` of type `ty`; returns where the array lies.
    ArrayNewData(ty, segment, src, len);
    /// `array.new_elem`, likewise.
    ArrayNewElem(ty, segment, src, len);
    /// `array.init_data`; `array` is not null.
    ArrayInitData(array, segment, dst, src, len);
    /// `array.init_elem`, likewise.
    ArrayInitElem(array, segment, dst, src, len);
}

impl Builtin {
    /// The byte offset of its address in the array at [`VmHeader::builtins`].
    #[must_use]
    pub const fn offset(self) -> i32 {
        (self as i32) * 8
    }
}
