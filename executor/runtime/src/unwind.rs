//! Finding who catches an exception: from the frame that throws outwards, by frame pointers and the
//! tables of code files, read where they lie.
//!
//! Invariant: only frames of the activation that throws are searched. What leaves it is an error of
//! the host's call, which a host function may pass on to the activation that called it.

use crate::{
    backtrace::Frames,
    builtins::Raise,
    exception::InFlight,
    store::StoreInner,
    vm::{self, Resume},
};
use executor_code::file::NO_CONTEXT;
use executor_model::{CallError, InstanceId};
use std::ops::ControlFlow;

impl StoreInner {
    /// Where the exception that a builtin throws is caught, if it is. `fp` is the frame pointer of
    /// the builtin's stub, and `instance` called it. Listeners of the frames that it leaves are told.
    pub(crate) fn unwind(
        &mut self,
        exception: InFlight,
        fp: usize,
        instance: InstanceId,
    ) -> Result<Resume, Raise> {
        let (Some(tag), Some(stack)) = (self.exceptions.tag(&exception), self.calls.stack.clone())
        else {
            return Err(Raise::Exception(exception));
        };
        let listening = self.instances.iter().any(|instance| instance.listener().is_some());
        let mut left = Vec::new();
        let mut builtin = Some(instance);
        let mut found = None;
        vm::walk_frames(&self.header.code, &stack, fp, |call| {
            let told = builtin.take();
            let handlers = call.entry.file.handlers_at(call.returns);
            let handlers = handlers.and_then(|(site, handlers)| {
                Some((site, handlers, call.stack_pointer(site.frame)?))
            });
            if let Some((site, handlers, sp)) = handlers {
                let of_frame = || {
                    let at = Some(site.context).filter(|context| *context != NO_CONTEXT)?;
                    let vmctx = vm::stack_word(&stack, sp + at as usize)?;
                    self.owner_of(vmctx).map(|(id, _)| id)
                };
                // All handlers of a frame are of one instance.
                let instance = told.or_else(of_frame);
                let catches = |clause: Option<u32>| match clause {
                    None => true,
                    Some(index) => instance.and_then(|id| self.tag(id, index)) == Some(tag),
                };
                if let Some(handler) = handlers.iter().find(|handler| catches(handler.tag())) {
                    let pc = call.entry.text.start + handler.landing as usize;
                    found = Some((pc, sp, call.fp, handler.wants_reference()));
                    return ControlFlow::Break(());
                }
            }
            if listening {
                left.push(call.address());
            }
            ControlFlow::Continue(())
        });
        let Some((pc, sp, fp, wants_reference)) = found else {
            return Err(Raise::Exception(exception));
        };
        let exception = match wants_reference || listening {
            true => InFlight::Kept(self.keep(exception)?),
            false => exception,
        };
        if listening {
            self.tell_left(left, &exception);
        }
        let handle = match &exception {
            InFlight::Kept(handle) => handle.get(),
            InFlight::New(_) => 0,
        };
        let payload = self.exceptions.pass(exception);
        Ok(Resume { pc, sp, fp, exception: handle, payload })
    }

    /// Tells the listeners of frames that an exception leaves.
    fn tell_left(&mut self, left: Vec<usize>, exception: &InFlight) {
        let frames = Frames::left(left);
        if let InFlight::Kept(handle) = exception {
            let scope = self.exceptions.scope();
            let backtrace = frames.backtrace(&self.header.code);
            let thrown = self.thrown(InFlight::Kept(*handle), backtrace);
            self.exceptions.end_scope(scope);
            frames.tell_listeners(self, &thrown.map_or_else(CallError::from, CallError::from));
        }
    }
}
