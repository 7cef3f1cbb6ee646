//! Suspending a call: at a point the frames of machine code become typed values.
//!
//! Invariant: what is suspended is a whole call or an error that names what cannot be; a host
//! function that the point stands before has done nothing yet. The frames of the activation are
//! walked while it still stands, and it ends only then.

use crate::{
    backtrace,
    builtins::Raise,
    host::Caller,
    state::{CallState, FrameState, StateValue},
    store::{Store, StoreInner},
    vm,
};
use executor_code::file::CallSite;
use executor_model::{
    CallError, Escaped, FuncIndex, FuncRef, InstanceId, RawValue, TrapCode, Val, ValType,
    WasmBacktrace,
};
use std::{fmt, ops::ControlFlow, sync::Arc};

/// A call of a host function that is about to be made.
#[derive(Debug)]
pub struct HostCall<'a> {
    /// The module name of the import.
    pub module: &'a str,
    /// Its name there.
    pub name: &'a str,
    /// The arguments.
    pub args: &'a [RawValue],
}

/// Says whether a call is to be suspended before a call of the host.
pub(crate) type Point = dyn FnMut(&mut Caller<'_>, &HostCall<'_>) -> bool + Send;

/// How a call that may be suspended ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Reached {
    /// It returned: the point was not reached.
    End(Vec<Val>),
    /// It is suspended; the store holds it.
    Point,
}

/// Why a call did not get to its point, nor to its end.
#[derive(Debug, thiserror::Error)]
pub enum SuspendError {
    /// It ended otherwise.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A host function that called back into the guest has not returned.
    #[error(
        "the point is inside a call that the host function `{}.{}` made; a function of the host cannot \
         be suspended",
        Escaped(.module), Escaped(.name)
    )]
    HostFrame {
        /// The module name of the import.
        module: String,
        /// Its name there.
        name: String,
    },
    /// Code without frame maps is on the stack.
    #[error("function {func} of instance {instance} was compiled without frame maps")]
    NoFrameMap {
        /// The instance.
        instance: InstanceId,
        /// The function.
        func: FuncIndex,
    },
    /// A frame is not where its code says.
    #[error("the frame of function {func} cannot be read")]
    Frame {
        /// The function.
        func: FuncIndex,
    },
}

/// What has become of the call that a store suspends.
#[derive(Default)]
pub(crate) struct Suspension {
    /// Where calls are suspended.
    pub(crate) point: Option<Box<Point>>,
    /// The suspended call.
    pub(crate) call: Option<Arc<CallState>>,
    /// Why there is none, although the point was reached.
    error: Option<SuspendError>,
}

impl Suspension {
    /// Makes it what it is in a new store of an image.
    pub(crate) fn reset(&mut self, call: Option<&Arc<CallState>>) {
        *self = Self { call: call.cloned(), ..Self::default() };
    }
}

impl fmt::Debug for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspension").field("call", &self.call).finish_non_exhaustive()
    }
}

impl Store {
    /// Calls a function until it returns, or until `point` says of a call of the host that it is
    /// the one to stop before. The guest's code must have frame maps.
    ///
    /// # Errors
    /// As [`Store::call`], and when the call cannot be suspended where the point is.
    pub fn call_until(
        &mut self,
        func: FuncRef,
        params: &[Val],
        point: impl FnMut(&mut Caller<'_>, &HostCall<'_>) -> bool + Send + 'static,
    ) -> Result<Reached, SuspendError> {
        self.inner.until(Box::new(point), |inner| inner.call(func, params))
    }

    /// The call that is suspended, or that was when the store was captured.
    #[must_use]
    pub fn suspended(&self) -> Option<&CallState> {
        self.inner.suspension.call.as_deref()
    }

    /// Where it is; empty without one.
    #[must_use]
    pub fn suspended_backtrace(&self) -> WasmBacktrace {
        let call = self.suspended();
        call.map_or_else(WasmBacktrace::default, |call| backtrace::suspended(&self.inner, call))
    }
}

impl StoreInner {
    /// Makes a call that is suspended at a point.
    pub(crate) fn until(
        &mut self,
        point: Box<Point>,
        call: impl FnOnce(&mut Self) -> Result<Vec<Val>, CallError>,
    ) -> Result<Reached, SuspendError> {
        self.suspension.point = Some(point);
        let result = call(self);
        self.suspension.point = None;
        match (self.suspension.error.take(), result) {
            // A frame map that is lost is the cause, not what became of it.
            (_, Err(CallError::Trap(trap))) if trap.code == TrapCode::PageLost => {
                Err(CallError::Trap(trap).into())
            }
            (Some(error), _) => Err(error),
            (None, Ok(results)) => Ok(Reached::End(results)),
            (None, Err(CallError::Suspended)) => Ok(Reached::Point),
            (None, Err(error)) => Err(error.into()),
        }
    }

    /// Before the call of a host function: ends the activation if that is the point.
    pub(crate) fn pass_point(
        &mut self,
        id: InstanceId,
        import: FuncIndex,
        args: &[RawValue],
    ) -> Result<(), Raise> {
        let Some(mut point) = self.suspension.point.take() else { return Ok(()) };
        let module = self.instances[id.position()].vm.module().clone();
        let (name, item) = module.code().import(import).unwrap_or_default();
        let call = HostCall { module: name, name: item, args };
        let reached = point(&mut Caller::new(self, id), &call);
        self.suspension.point = Some(point);
        if !reached {
            return Ok(());
        }
        match self.suspend(id, import, args) {
            Ok(call) => self.suspension.call = Some(Arc::new(call)),
            Err(error) => self.suspension.error = Some(error),
        }
        // What runs on is ended by it; it reaches no other point.
        self.suspension.point = None;
        Err(Raise::Suspended)
    }

    /// The call that is in progress, about to call an import of an instance.
    fn suspend(
        &self,
        id: InstanceId,
        import: FuncIndex,
        args: &[RawValue],
    ) -> Result<CallState, SuspendError> {
        let stubs = self.header.outer_stub_frames();
        let (Some(stack), [fp, outer @ ..]) = (self.calls.stack.clone(), &stubs[..]) else {
            return Err(SuspendError::Frame { func: import });
        };
        if let Some(outer) = outer.first() {
            let (module, name) = self.import_of(&stack, *outer).unwrap_or_default();
            return Err(SuspendError::HostFrame { module, name });
        }
        let mut frames = Vec::new();
        let mut failed = None;
        vm::walk_frames(&self.header.code, &stack, *fp, |call| match self.frame(&stack, &call) {
            // What belongs to no operator is made anew: thunks, trampolines and listeners' wrappers.
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(frame)) => {
                frames.push(frame);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        frames.reverse();
        let types = self.instances[id.position()].func_type(import).unwrap_or_default();
        let place = |i| executor_code::file::Place::Operand(i as u32);
        let arg = |(i, (ty, value)): (usize, (&ValType, &RawValue))| StateValue {
            place: place(i),
            ty: *ty,
            value: value.truncated(*ty),
        };
        let values = types.params.iter().zip(args).enumerate().map(arg).collect();
        let site = CallSite { func: import, offset: CallSite::IMPORT };
        frames.push(FrameState { instance: id, site, values });
        Ok(CallState { frames })
    }

    /// The frame of a call; `None` for code that no operator stands for.
    fn frame(
        &self,
        stack: &crate::sys::WasmStack,
        call: &vm::Call<'_>,
    ) -> Result<Option<FrameState>, SuspendError> {
        let file = &call.entry.file;
        let at = call.returns - 1;
        let (Some(func), Some(offset)) = (file.function_at(at), file.wasm_offset_at(at)) else {
            return Ok(None);
        };
        let broken = || SuspendError::Frame { func };
        let Some((slot, values)) = file.frame_at(call.returns, offset) else {
            let instance = self.instances.iter().find(|i| i.vm.module().hash() == file.module());
            let instance = instance.map(|i| i.vm.id()).ok_or_else(broken)?;
            return Err(SuspendError::NoFrameMap { instance, func });
        };
        let slot = call.fp.checked_sub(slot as usize).ok_or_else(broken)?;
        let word = |at: usize| vm::stack_word(stack, slot.checked_add(at)?).map(|word| word as u64);
        let vmctx = word(0).ok_or_else(broken)? as usize;
        let (instance, _) = self.owner_of(vmctx).ok_or_else(broken)?;
        let values = values.into_iter().map(|value| {
            let low = word(value.at as usize)?;
            let high = match value.ty {
                ValType::V128 => word((value.at as usize).checked_add(8)?)?,
                _ => 0,
            };
            let raw = RawValue(u128::from(high) << 64 | u128::from(low)).truncated(value.ty);
            Some(StateValue { place: value.place, ty: value.ty, value: raw })
        });
        let values = values.collect::<Option<_>>().ok_or_else(broken)?;
        Ok(Some(FrameState { instance, site: CallSite { func, offset }, values }))
    }

    /// The import whose call an outer activation waits for.
    fn import_of(&self, stack: &crate::sys::WasmStack, fp: usize) -> Option<(String, String)> {
        let mut found = None;
        vm::walk_frames(&self.header.code, stack, fp, |call| {
            let file = &call.entry.file;
            let import = file.function_at(call.returns - 1).and_then(|func| file.import(func));
            found = import.map(|(module, name)| (module.to_owned(), name.to_owned()));
            ControlFlow::Break(())
        });
        found
    }
}
