//! Host functions: what they are given, how typed closures become them, and how they fail.

use crate::{
    backtrace, builtins::Raise, exception::InFlight, interrupt::Interrupts, store::StoreInner,
    vm::MemoryMut,
};
use executor_model::{
    CallError, ExternKind, FuncRef, FuncType, InstanceId, RawValue, TrapCode, Val, ValType,
    WasmBacktrace,
};
use std::{any::Any, error::Error, num::NonZeroU64, sync::Arc};

/// Why a host function does not return.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The guest traps.
    #[error("{}", .0.message())]
    Trap(TrapCode),
    /// The guest exits with this code.
    #[error("exit with code {0}")]
    Exit(i32),
    /// An exception is thrown, by its handle (see [`Caller::throw`]); the guest may catch it.
    #[error("wasm exception")]
    Exception(NonZeroU64),
    /// The host failed. The call of the guest gives this error back, as the source of
    /// [`CallError::Host`].
    #[error("{0}")]
    Error(#[source] Box<dyn Error + Send + Sync>),
}

impl HostError {
    /// The host failed, with an error or a message of its own.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Error(error.into())
    }
}

impl From<HostError> for Raise {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Trap(code) => Self::Trap(code),
            HostError::Exit(code) => Self::Exit(code),
            HostError::Exception(handle) => Self::Exception(InFlight::Kept(handle)),
            HostError::Error(error) => Self::Host(error),
        }
    }
}

impl From<CallError> for HostError {
    /// Passes a nested call's end on to the outer guest.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Trap(trap) => Self::Trap(trap.code),
            CallError::Exit(code) => Self::Exit(code),
            CallError::Exception(thrown) => Self::Exception(thrown.exception),
            CallError::Host { source, .. } => Self::Error(source),
            other => Self::new(other),
        }
    }
}

type HostCall = dyn Fn(&mut Caller<'_>, &mut [RawValue]) -> Result<(), HostError> + Send + Sync;

/// A host function.
pub(crate) struct HostFunc {
    pub(crate) ty: FuncType,
    pub(crate) call: Box<HostCall>,
    /// Whether results must be checked before the guest sees them.
    pub(crate) returns_references: bool,
}

impl HostFunc {
    pub(crate) fn new(
        ty: FuncType,
        call: impl Fn(&mut Caller<'_>, &mut [RawValue]) -> Result<(), HostError> + Send + Sync + 'static,
    ) -> Self {
        let returns_references = ty.results.iter().any(|ty| matches!(ty, ValType::Ref(_)));
        Self { ty, call: Box::new(call), returns_references }
    }

    /// The length of its array of arguments and results.
    pub(crate) fn slots(&self) -> usize {
        self.ty.params.len().max(self.ty.results.len())
    }
}

impl std::fmt::Debug for HostFunc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostFunc").field("ty", &self.ty).finish_non_exhaustive()
    }
}

/// What a host function knows of its call.
#[derive(Debug)]
pub struct Caller<'a> {
    store: &'a mut StoreInner,
    instance: InstanceId,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(store: &'a mut StoreInner, instance: InstanceId) -> Self {
        Self { store, instance }
    }

    pub(crate) fn store(&self) -> &StoreInner {
        self.store
    }

    pub(crate) fn store_mut(&mut self) -> &mut StoreInner {
        self.store
    }

    /// The instance that calls.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance.of(self.store.id)
    }

    /// What a host function that waits asks, so that the call can be stopped meanwhile.
    #[must_use]
    pub fn interrupts(&self) -> Interrupts {
        Interrupts(Arc::clone(&self.store.shared))
    }

    /// Whether the store was made from a captured state.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.store.restored
    }

    /// The guest's functions that the call comes from, innermost first.
    #[must_use]
    pub fn backtrace(&self) -> WasmBacktrace {
        backtrace::current(self.store)
    }

    /// The bytes of the memory that the calling instance exports as `memory`, or of its only
    /// memory; `None` when it has none, or while others hold it
    /// ([`crate::Store::shared_memory`]).
    pub fn memory(&mut self) -> Option<MemoryMut<'_>> {
        self.store.memory_mut(self.instance, self.memory_index())
    }

    /// The index of that memory.
    #[must_use]
    pub fn memory_index(&self) -> u32 {
        let vm = &self.store.instances[self.instance.position()].vm;
        let counts = vm.counts();
        match counts.memories() {
            0 | 1 => 0,
            _ => match vm.module().code().export("memory") {
                Some((ExternKind::Memory, index)) => index,
                _ => 0,
            },
        }
    }

    /// The store's data, if it is a `T`.
    pub fn data<T: Any>(&mut self) -> Option<&mut T> {
        self.store.data.as_mut()?.get_mut()
    }

    /// How many bytes more the store's data may hold for the guest, as things stand: what memories, tables and
    /// exceptions leave of [`StoreConfig::max_memory`](crate::StoreConfig::max_memory).
    #[must_use]
    pub fn room(&self) -> u64 {
        self.store.room()
    }

    /// [`Self::memory`] and the store's data together.
    pub fn memory_and_data<T: Any>(&mut self) -> Option<(MemoryMut<'_>, &mut T)> {
        let index = self.memory_index();
        // Only where nobody else can reach it.
        let counts = self.store.instances[self.instance.position()].vm.counts();
        if index >= counts.memories() || self.store.is_lent(self.instance, index) {
            return None;
        }
        let memory = self.store.instances[self.instance.position()].vm.memory_mut(index)?;
        Some((memory, self.store.data.as_mut()?.get_mut()?))
    }

    /// Calls a function of the store.
    ///
    /// # Errors
    /// As `Store::call`.
    pub fn call(&mut self, func: FuncRef, params: &[Val]) -> Result<Vec<Val>, CallError> {
        self.store.call(func, params)
    }

    /// A function that the calling instance exports.
    #[must_use]
    pub fn exported_func(&self, name: &str) -> Option<FuncRef> {
        self.store.exported_func(self.instance, name).map(|func| func.of(self.store.id))
    }
}

/// A type that typed host functions take and return.
pub trait HostValue: Copy + 'static {
    /// The WebAssembly type.
    const TYPE: ValType;
    /// Reads it from an argument.
    fn from_raw(raw: RawValue) -> Self;
    /// Writes it as a result.
    fn to_raw(self) -> RawValue;
}

macro_rules! host_value {
    ($($ty:ty => $variant:ident, |$raw:ident| $from:expr, |$value:ident| $to:expr;)*) => {$(
        impl HostValue for $ty {
            const TYPE: ValType = ValType::$variant;
            fn from_raw($raw: RawValue) -> Self { $from }
            fn to_raw(self) -> RawValue { let $value = self; RawValue($to) }
        }
    )*};
}

host_value! {
    i32 => I32, |raw| raw.0 as i32, |v| u128::from(v as u32);
    u32 => I32, |raw| raw.0 as u32, |v| u128::from(v);
    i64 => I64, |raw| raw.0 as i64, |v| u128::from(v as u64);
    u64 => I64, |raw| raw.0 as u64, |v| u128::from(v);
    f32 => F32, |raw| f32::from_bits(raw.0 as u32), |v| u128::from(v.to_bits());
    f64 => F64, |raw| f64::from_bits(raw.0 as u64), |v| u128::from(v.to_bits());
    u128 => V128, |raw| raw.0, |v| v;
}

/// What typed calls take and return: nothing, a value, or a tuple of values.
pub trait HostValues: Copy + 'static {
    /// The WebAssembly types.
    const TYPES: &'static [ValType];
    /// Writes the values from index 0 on.
    fn write(self, values: &mut [RawValue]);
    /// Reads what [`Self::write`] writes.
    fn read(values: &[RawValue]) -> Self;
}

impl<T: HostValue> HostValues for T {
    const TYPES: &'static [ValType] = &[T::TYPE];
    fn write(self, values: &mut [RawValue]) {
        values[0] = self.to_raw();
    }
    fn read(values: &[RawValue]) -> Self {
        Self::from_raw(values[0])
    }
}

/// Closures that can be host functions; `P` and `R` are found by the compiler.
pub trait IntoHostFunc<P, R>: Send + Sync + 'static {
    /// Its WebAssembly type.
    fn ty() -> FuncType;
    /// Calls it with arguments and room for results.
    ///
    /// # Errors
    /// Those of the closure.
    fn call(&self, caller: &mut Caller<'_>, values: &mut [RawValue]) -> Result<(), HostError>;
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        // `()` is one of them.
        #[allow(clippy::unused_unit)]
        impl<$($name: HostValue),*> HostValues for ($($name,)*) {
            const TYPES: &'static [ValType] = &[$($name::TYPE),*];
            fn write(self, _values: &mut [RawValue]) {
                $(_values[$index] = self.$index.to_raw();)*
            }
            fn read(_values: &[RawValue]) -> Self {
                ($($name::from_raw(_values[$index]),)*)
            }
        }

        impl<Func, Res, $($name: HostValue),*> IntoHostFunc<($($name,)*), Res> for Func
        where
            Func: Fn(&mut Caller<'_>, $($name),*) -> Result<Res, HostError> + Send + Sync + 'static,
            Res: HostValues,
        {
            fn ty() -> FuncType {
                FuncType { params: vec![$($name::TYPE),*], results: Res::TYPES.to_vec() }
            }
            fn call(&self, caller: &mut Caller<'_>, values: &mut [RawValue]) -> Result<(), HostError> {
                self(caller $(, $name::from_raw(values[$index]))*)?.write(values);
                Ok(())
            }
        }
    };
}

tuples!();
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
