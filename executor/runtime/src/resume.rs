//! Resuming a suspended call: its frames are made again, by continuations.
//!
//! Invariant: a frame goes on only where its values are what its continuation takes and the frame
//! after it returns what it waits for; every reference is checked, whoever wrote the state. So a
//! forged state is a typed error or a strange state of its own guest.
//!
//! The continuations call each other as the functions did, outermost first, until the innermost calls
//! the import that was about to be called. So the stack is as it was: backtraces, exceptions,
//! interrupts and another suspension meet nothing unusual.

use crate::{
    host::Caller,
    state::{CallState, FrameState, StateValue},
    store::{Store, StoreInner},
    suspend::{HostCall, Reached, SuspendError},
    types::Scoped,
    vm::{CompiledModule, EntryPoint},
};
use executor_code::{
    abi::ResumedFrame,
    file::{CallSite, FrameValue, Place, Resumption},
};
use executor_model::{
    CallError, FuncType, InstanceId, ModuleHash, RawValue, TypeIndex, Val, ValType,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A frame with its continuation.
struct Continued<'a> {
    state: &'a FrameState,
    code: &'a Arc<CompiledModule>,
    site: Resumption,
    /// The type of its function.
    ty: TypeIndex,
}

/// A suspended call, checked and ready to go on. Machine code reads the frames and what they point to.
struct MadeFrames {
    /// Where the outermost continuation is entered, and in which instance.
    entry: EntryPoint,
    instance: InstanceId,
    /// The type of the outermost function.
    ty: FuncType,
    /// Outermost first; each points to its values in `arrays`.
    frames: Vec<ResumedFrame>,
    arrays: Vec<Vec<RawValue>>,
}

fn mismatch<T>(
    at: usize,
    frame: &FrameState,
    what: impl std::fmt::Display,
) -> Result<T, CallError> {
    let FrameState { instance, site, .. } = frame;
    Err(CallError::Usage(format!(
        "frame {at} of the suspended call (function {} of instance {instance}, offset {:#x}) {what}",
        site.func, site.offset
    )))
}

impl Store {
    /// The calls that a suspended call goes on from, by module; ascending, each once. None without a
    /// suspended call.
    #[must_use]
    pub fn suspended_sites(&self) -> BTreeMap<ModuleHash, Vec<CallSite>> {
        let mut sites: BTreeMap<ModuleHash, BTreeSet<CallSite>> = BTreeMap::new();
        for frame in self.suspended().iter().flat_map(|call| &call.frames) {
            if let Some(module) = self.module(frame.instance) {
                sites.entry(module.hash()).or_default().insert(frame.site);
            }
        }
        sites.into_iter().map(|(hash, sites)| (hash, sites.into_iter().collect())).collect()
    }

    /// Goes on with the suspended call, by the code of its continuations; returns its results.
    ///
    /// # Errors
    /// [`CallError::Usage`] when there is no suspended call, or its frames do not fit their code;
    /// otherwise as [`Store::call`].
    pub fn resume(
        &mut self,
        continuations: Vec<Arc<CompiledModule>>,
    ) -> Result<Vec<Val>, CallError> {
        self.inner.resume(continuations)
    }

    /// As [`Store::resume`], until a point (see [`Store::call_until`]). The continuations, like
    /// all code, must have frame maps.
    ///
    /// # Errors
    /// As [`Store::resume`] and [`Store::call_until`].
    pub fn resume_until(
        &mut self,
        continuations: Vec<Arc<CompiledModule>>,
        mut point: impl FnMut(&mut Caller<'_>, &HostCall<'_>) -> bool + Send + 'static,
    ) -> Result<Reached, SuspendError> {
        // The call that it was suspended before is not a point again.
        let mut first = true;
        let point = move |caller: &mut Caller<'_>, call: &HostCall<'_>| {
            !std::mem::take(&mut first) && point(caller, call)
        };
        self.inner.until(Box::new(point), |inner| inner.resume(continuations))
    }
}

impl StoreInner {
    fn resume(&mut self, continuations: Vec<Arc<CompiledModule>>) -> Result<Vec<Val>, CallError> {
        let result = self.check_and_resume(continuations);
        self.unless_lost(result)
    }

    fn check_and_resume(
        &mut self,
        continuations: Vec<Arc<CompiledModule>>,
    ) -> Result<Vec<Val>, CallError> {
        if self.header.running() {
            return Err(CallError::Usage("a call is in progress".to_owned()));
        }
        let Some(call) = &self.suspension.call else {
            return Err(CallError::Usage("no call is suspended in the store".to_owned()));
        };
        // From here on they are the store's, which is void once they lose a page.
        self.continuations = continuations;
        let MadeFrames { entry, instance, ty, frames, arrays } =
            self.make_frames(call, &self.continuations)?;
        self.suspension.call = None;
        self.index_code();
        let mut values = vec![RawValue::default(); ty.results.len().max(1)];
        // The trampoline hands the address of the outermost frame on.
        values[0] = RawValue(frames.as_ptr() as u128);
        let ended = self.enter(entry, instance, &mut values);
        // Until here machine code may read them.
        drop((frames, arrays));
        ended?;
        Ok(self.results(&values, &ty))
    }

    /// Checks the frames of a call and makes what machine code reads of them.
    fn make_frames(
        &self,
        call: &CallState,
        continuations: &[Arc<CompiledModule>],
    ) -> Result<MadeFrames, CallError> {
        let mut continued: Vec<Continued<'_>> = Vec::with_capacity(call.frames.len());
        for (at, state) in call.frames.iter().enumerate() {
            let next = self.continued(at, state, continuations)?;
            let is_import = state.site.offset == CallSite::IMPORT;
            if is_import != (at + 1 == call.frames.len()) {
                return mismatch(at, state, "is of a host function, or the last and of none");
            }
            if let Some(outer) = continued.last() {
                self.check_results(at, outer, &next)?;
            }
            continued.push(next);
        }
        let Some(outermost) = continued.first() else {
            return Err(CallError::Usage("the suspended call has no frames".to_owned()));
        };
        let arrays = continued
            .iter()
            .enumerate()
            .map(|(at, frame)| self.array(at, frame))
            .collect::<Result<Vec<_>, _>>()?;
        let frames = continued.iter().zip(&arrays).map(|(frame, array)| ResumedFrame {
            code: frame.code.address(frame.site.code),
            vmctx: self.instances[frame.state.instance.position()].vm.vmctx() as usize,
            values: array.as_ptr(),
        });
        let frames: Vec<ResumedFrame> = frames.collect();
        let instance = outermost.state.instance;
        let vm = &self.instances[instance.position()].vm;
        let entry = EntryPoint::of_continuation(vm, outermost.code, outermost.site.at);
        let ty = self.instances[instance.position()].func_type(outermost.state.site.func);
        let (Some(entry), Some(ty)) = (entry, ty) else {
            return mismatch(0, outermost.state, "cannot be entered");
        };
        Ok(MadeFrames { entry, instance, ty, frames, arrays })
    }

    /// Finds the continuation of a frame.
    fn continued<'a>(
        &self,
        at: usize,
        state: &'a FrameState,
        continuations: &'a [Arc<CompiledModule>],
    ) -> Result<Continued<'a>, CallError> {
        let Some(instance) = self.instance(state.instance).filter(|instance| instance.linked)
        else {
            return mismatch(at, state, "is of an instance that is not there");
        };
        let module = instance.vm.module();
        let found = continuations.iter().filter(|code| code.hash() == module.hash());
        let found = found.filter_map(|code| Some((code, code.code().continuation(state.site)?)));
        match (found.into_iter().next(), module.code().function_type(state.site.func)) {
            (Some((code, site)), Some(ty)) => Ok(Continued { state, code, site, ty }),
            _ => mismatch(at, state, "has no code to go on with"),
        }
    }

    /// Checks that a frame returns what the frame around it waits for.
    fn check_results(
        &self,
        at: usize,
        outer: &Continued<'_>,
        inner: &Continued<'_>,
    ) -> Result<(), CallError> {
        let code = |frame: &Continued<'_>| {
            self.instances[frame.state.instance.position()].vm.module().code()
        };
        let (outer_code, inner_code) = (code(outer), code(inner));
        let wanted = outer_code.func_type(outer.site.callee);
        let given = inner_code.func_type(inner.ty);
        let (Some(wanted), Some(given)) = (wanted, given) else {
            return mismatch(at, inner.state, "is of no type");
        };
        let fits = |(given, wanted): (&ValType, &ValType)| {
            Scoped::new(inner_code, *given).fits(&Scoped::new(outer_code, *wanted), false)
        };
        let same = given.results.len() == wanted.results.len();
        match same && given.results.iter().zip(&wanted.results).all(fits) {
            true => Ok(()),
            false => {
                mismatch(at, inner.state, "does not return what the frame around it waits for")
            }
        }
    }

    /// The values of a frame as its continuation takes them.
    fn array(&self, at: usize, frame: &Continued<'_>) -> Result<Vec<RawValue>, CallError> {
        let state = frame.state;
        let mut values: BTreeMap<Place, &StateValue> = BTreeMap::new();
        for value in &state.values {
            if values.insert(value.place, value).is_some() {
                return mismatch(at, state, format_args!("has {:?} twice", value.place));
            }
        }
        let mut array = vec![RawValue::default(); frame.site.values.len()];
        for (slot, FrameValue { place, ty, .. }) in array.iter_mut().zip(&frame.site.values) {
            match (values.remove(place), place) {
                (Some(value), _) => *slot = self.checked(at, state, value, *ty)?,
                // To the release that took the snapshot it was dead.
                (None, Place::Local(_)) => {}
                (None, _) => return mismatch(at, state, format_args!("lacks {place:?}")),
            }
        }
        // A local that is dead to this release is of no use to it; anything else has a meaning.
        match values.keys().find(|place| !matches!(place, Place::Local(_))) {
            Some(place) => {
                mismatch(at, state, format_args!("has {place:?}, which is not used there"))
            }
            None => Ok(array),
        }
    }

    /// A value of a frame, checked to be one that machine code may see where it expects `ty`.
    fn checked(
        &self,
        at: usize,
        frame: &FrameState,
        value: &StateValue,
        ty: ValType,
    ) -> Result<RawValue, CallError> {
        let class = |ty| Val::default_of(ty).ty();
        let raw = value.value.truncated(ty);
        let place = value.place;
        if class(value.ty) != class(ty) {
            let given = value.ty;
            return mismatch(at, frame, format_args!("has {place:?} of type {given}, not {ty}"));
        }
        let ValType::Ref(reference) = ty else { return Ok(raw) };
        // Machine code checks for null wherever it matters.
        if raw.0 == 0 {
            return Ok(raw);
        }
        match self.reference_is(raw.0 as u64, reference, frame.instance) {
            false => mismatch(at, frame, format_args!("has an invalid reference in {place:?}")),
            true => Ok(raw),
        }
    }
}
