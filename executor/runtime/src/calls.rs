//! Calls of functions: into machine code, out of it again, and how they end.
//!
//! Invariant: the calls of a store that are in progress are nested in each other, on one thread and one
//! stack. Whatever ends a call, the store is afterwards as it was before, but for what the guest did.

use crate::{
    backtrace,
    builtins::Raise,
    store::{Store, StoreInner},
    sys::{self, WasmStack},
    vm::{self, EntryPoint, Outcome},
};
use executor_model::{
    CallError, FuncRef, FuncType, InstanceId, RawValue, Trap, TrapCode, Val, ValType, WasmBacktrace,
};
use std::sync::Arc;

/// How deeply calls from wasm to host to wasm may nest before they count as stack exhaustion: each
/// level also uses the thread's own stack, which has no guard of ours.
const MAX_NESTING: u32 = 100;

/// The calls of a store that are in progress.
#[derive(Default)]
pub(crate) struct Calls {
    /// How many there are.
    nesting: u32,
    /// The stack that all are on, if there are any.
    pub(crate) stack: Option<Arc<WasmStack>>,
    /// Why the builtin that did not return did not.
    pub(crate) raised: Option<Raise>,
}

impl Store {
    /// Calls a function.
    ///
    /// # Errors
    /// When the arguments do not fit, the instance is closed, or the call ends other than by
    /// returning.
    ///
    /// # Panics
    /// With the panic of a host function that panics.
    pub fn call(&mut self, func: FuncRef, params: &[Val]) -> Result<Vec<Val>, CallError> {
        self.inner.call(func, params)
    }
}

impl StoreInner {
    pub(crate) fn call(&mut self, func: FuncRef, params: &[Val]) -> Result<Vec<Val>, CallError> {
        let result = self.check_and_call(func, params);
        self.unless_lost(result)
    }

    fn check_and_call(&mut self, func: FuncRef, params: &[Val]) -> Result<Vec<Val>, CallError> {
        let usage = |message: String| Err(CallError::Usage(message));
        let known = self.func(func.instance(), func.func()) == Some(func);
        let ty = known
            .then(|| self.instances[func.instance().position()].func_type(func.func()))
            .flatten();
        let Some(ty) = ty else { return usage(format!("{func} is not a function of this store")) };
        let given: Vec<ValType> = params.iter().map(Val::ty).collect();
        let alike = |given: &ValType, wanted: &ValType| *given == Val::default_of(*wanted).ty();
        if given.len() != ty.params.len()
            || given.iter().zip(&ty.params).any(|(given, wanted)| !alike(given, wanted))
        {
            let given = FuncType { params: given, results: Vec::new() };
            return usage(format!("a function of type {ty} cannot be called with {given}"));
        }
        for (value, ty) in params.iter().zip(&ty.params) {
            self.check_value(value, *ty, func.instance()).map_err(CallError::Usage)?;
        }
        let mut values = vec![RawValue::default(); params.len().max(ty.results.len())];
        for (raw, value) in values.iter_mut().zip(params) {
            let found = self.raw(value);
            *raw = found.ok_or_else(|| CallError::Usage("no value of this store".to_owned()))?;
        }
        self.call_raw(func, &mut values)?;
        Ok(self.results(&values, &ty))
    }

    /// The results of a call that returned, as the host is given them.
    pub(crate) fn results(&mut self, values: &[RawValue], ty: &FuncType) -> Vec<Val> {
        let results = values.iter().zip(&ty.results);
        let results: Vec<Val> = results.map(|(raw, ty)| self.val(*raw, *ty)).collect();
        for result in &results {
            if let Val::ExnRef(Some(handle)) = result {
                self.exceptions.give(*handle);
            }
        }
        results
    }

    /// Calls a function with checked arguments; results replace them.
    pub(crate) fn call_raw(
        &mut self,
        func: FuncRef,
        values: &mut [RawValue],
    ) -> Result<(), CallError> {
        let vm = self.instance(func.instance()).map(|instance| &instance.vm);
        let result = match vm.and_then(|vm| EntryPoint::of_function(vm, func, values.len())) {
            Some(entry) => self.enter(entry, func.instance(), values),
            None => Err(CallError::Usage(format!("{func} cannot be called"))),
        };
        self.unless_lost(result)
    }

    /// Enters machine code of an instance; results replace the values.
    pub(crate) fn enter(
        &mut self,
        entry: EntryPoint,
        instance: InstanceId,
        values: &mut [RawValue],
    ) -> Result<(), CallError> {
        if self.calls.nesting >= MAX_NESTING {
            let trap = Trap { code: TrapCode::StackOverflow, backtrace: WasmBacktrace::default() };
            return Err(CallError::Trap(trap));
        }
        let failed = |source| CallError::Resource { what: "make a stack", source };
        sys::prepare_thread().map_err(failed)?;
        self.ensure_intact().map_err(CallError::Trap)?;
        // A nested call goes on on the stack of the outermost one.
        let stack = match &self.calls.stack {
            Some(stack) => Arc::clone(stack),
            None => WasmStack::take(self.config.max_stack).map_err(failed)?,
        };
        let outer = self.calls.stack.replace(Arc::clone(&stack));
        let outermost = outer.is_none();
        if outermost {
            self.exceptions.end_scope(0);
            self.warm();
        }
        let shared = Arc::clone(&self.shared);
        let outcome = shared.enter(instance).map(|entered| {
            self.calls.nesting += 1;
            let outcome = vm::enter(self, entry, &stack, &shared.flag, values);
            self.calls.nesting -= 1;
            shared.leave(entered);
            outcome
        });
        self.calls.stack = outer;
        let result = match outcome {
            Ok(Outcome::Returned) => Ok(()),
            Ok(outcome) => Err(self.ended(outcome, instance, &stack)),
            Err(code) => Err(CallError::Closed(code)),
        };
        if outermost {
            stack.give_back();
        }
        result
    }

    /// What an activation that did not return means to the caller. Listeners are told.
    fn ended(&mut self, outcome: Outcome, entered: InstanceId, stack: &WasmStack) -> CallError {
        let raised = self.calls.raised.take();
        let frames = backtrace::collect(self, outcome, stack);
        // Going through the address maps takes time, and programs end by exiting.
        let backtrace = || frames.backtrace(&self.header.code);
        let trap = |code| CallError::Trap(Trap { code, backtrace: backtrace() });
        let interrupted = || match self.shared.closed(entered) {
            Some(code) => CallError::Closed(code),
            None => trap(TrapCode::Interrupted),
        };
        let error = match (outcome, raised) {
            // Whatever host code made of zeroes that it found in their place, a panic too.
            (Outcome::Lost { .. }, _) => trap(TrapCode::PageLost),
            (Outcome::Faulted(fault), _) if fault.code == TrapCode::Interrupted => interrupted(),
            (Outcome::Faulted(fault), _) => trap(fault.code),
            (_, Some(Raise::Panic(panic))) => std::panic::resume_unwind(panic),
            (_, Some(Raise::Trap(TrapCode::Interrupted))) => interrupted(),
            (_, Some(Raise::Trap(code))) => trap(code),
            (_, Some(Raise::Exit(code))) => CallError::Exit(code),
            // The functions have not ended, so listeners are not told.
            (_, Some(Raise::Suspended)) => return CallError::Suspended,
            (_, Some(Raise::Exception(exception))) => {
                let backtrace = backtrace();
                self.thrown(exception, backtrace).map_or_else(CallError::from, CallError::from)
            }
            (_, Some(Raise::Limit(error))) => error.into(),
            (_, Some(Raise::Host(source))) => CallError::Host { source, backtrace: backtrace() },
            (_, None) => interrupted(),
        };
        frames.tell_listeners(self, &error);
        error
    }
}
