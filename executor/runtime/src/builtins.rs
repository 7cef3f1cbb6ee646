//! What machine code asks the host to do, in safe Rust: one function per [`Builtin`].

use crate::{
    exception::{Exception, InFlight},
    host::{Caller, HostError},
    interrupt::Shared,
    park::{self, Waited},
    store::{Instance, StoreInner},
    vm::{Header, Host, Next, Region, Values},
};
use executor_code::abi::{Builtin, CALL_IMPORT_BOUND, CallTarget, ImportSlot};
use executor_model::{
    FuncRef, FunctionListener, InstanceId, LimitError, ListenerContext, TrapCode, Val, ValType,
};
use std::{
    any::Any,
    error::Error,
    num::NonZeroU64,
    ops::Range,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

/// Why a builtin ends the activation instead of returning.
pub(crate) enum Raise {
    /// A trap.
    Trap(TrapCode),
    /// The guest exits.
    Exit(i32),
    /// A host function failed.
    Host(Box<dyn Error + Send + Sync>),
    /// An exception is thrown.
    Exception(InFlight),
    /// The guest needs more memory than it may have.
    Limit(LimitError),
    /// The call is suspended, or cannot be; the store knows which.
    Suspended,
    /// Host code panicked; the panic goes on once machine code's frames are gone.
    Panic(Box<dyn Any + Send>),
}

impl From<TrapCode> for Raise {
    fn from(code: TrapCode) -> Self {
        Self::Trap(code)
    }
}

impl From<LimitError> for Raise {
    fn from(error: LimitError) -> Self {
        Self::Limit(error)
    }
}

type Result<T> = std::result::Result<T, Raise>;

impl Host for StoreInner {
    fn header(&mut self) -> &mut Header {
        &mut self.header
    }

    #[inline]
    fn builtin(
        &mut self,
        instance: InstanceId,
        builtin: Builtin,
        args: [u64; 5],
        values: Values,
        fp: usize,
    ) -> Next {
        let raise = match run(self, instance, builtin, args, values) {
            Ok(value) => return Next::Return(value),
            Err(Raise::Exception(exception)) => match self.unwind(exception, fp, instance) {
                Ok(resume) => return Next::Handler(resume),
                Err(raise) => raise,
            },
            Err(raise) => raise,
        };
        self.calls.raised = Some(raise);
        Next::End
    }

    fn panicked(&mut self, panic: Box<dyn Any + Send>) {
        self.calls.raised = Some(Raise::Panic(panic));
    }
}

/// "Could not grow", as `memory.grow` and `table.grow` answer it.
const REFUSED: u64 = u64::MAX;

/// Runs a builtin for an instance. Indices come from compiled code and are in range.
#[inline]
fn run(
    store: &mut StoreInner,
    id: InstanceId,
    builtin: Builtin,
    [a, b, c, d, e]: [u64; 5],
    mut values: Values,
) -> Result<u64> {
    let shares = !store.shared_memories.is_empty();
    let instance = &mut store.instances[id.position()];
    match builtin {
        Builtin::MemoryGrow => {
            return Ok(store.grow_memory(id, a as u32, b).unwrap_or(REFUSED));
        }
        Builtin::TableGrow => {
            return Ok(store.grow_table(id, a as u32, b, c).unwrap_or(REFUSED));
        }
        Builtin::MemoryCopy => {
            let (to, from) = (a as u32, b as u32);
            let outside = TrapCode::MemoryOutOfBounds;
            let inside = |memory, at| instance.vm.memory_region(memory)?.address(at, e);
            if e > PART {
                inside(to, c).and(inside(from, d)).ok_or(outside)?;
            }
            // Of two ranges that overlap the end of the source is copied first where it would be
            // overwritten.
            in_parts(&store.shared, e, d < c, |at, len| {
                Ok(instance.vm.copy_memory((to, from), (c + at, d + at, len), shares)?)
            })?;
        }
        Builtin::MemoryFill => {
            let outside = TrapCode::MemoryOutOfBounds;
            let region = instance.vm.memory_region(a as u32).ok_or(outside)?;
            if d > PART {
                region.address(b, d).ok_or(outside)?;
            }
            in_parts(&store.shared, d, false, |at, len| match shares {
                true => {
                    instance.vm.open_in(Some(region), 1, (b + at, len));
                    Ok(region.fill(b + at, c as u8, len).ok_or(outside)?)
                }
                false => {
                    let mut memory = instance.vm.memory_mut(a as u32).unwrap_or_default();
                    let bytes = part(b + at, len).and_then(|part| memory.get_mut(part));
                    bytes.ok_or(outside)?.fill(c as u8);
                    Ok(())
                }
            })?;
        }
        Builtin::MemoryInit => instance.init_memory(a as u32, b as u32, (c, d, e))?,
        Builtin::DataDrop => instance.drop_data(a as u32),
        Builtin::TableCopy => instance.vm.copy_table((a as u32, b as u32), (c, d, e))?,
        Builtin::TableFill => {
            let outside = TrapCode::TableOutOfBounds;
            let part = part(b, d).ok_or(outside)?;
            let table = instance.vm.table_mut(a as u32, part.clone()).unwrap_or_default();
            table.get_mut(part).ok_or(outside)?.fill(c);
        }
        Builtin::TableInit => store.init_table(id, a as u32, b as u32, (c, d, e))?,
        Builtin::ElemDrop => instance.drop_element(a as u32),
        Builtin::ResolveFuncRef => {
            let funcref = FuncRef::from_bits(a).ok_or(TrapCode::IndirectCallToNull)?;
            if !store.has_type(funcref, id, b as u32) {
                return Err(TrapCode::IndirectCallTypeMismatch.into());
            }
            let target = store.target(funcref).ok_or(TrapCode::NullReference)?;
            return Ok(store.header.answer(target));
        }
        Builtin::CallImport => return call_import(store, id, a as u32, &mut values),
        Builtin::Throw => return Err(throw(store, id, a as u32, &mut values)),
        Builtin::ThrowRef => {
            let handle = NonZeroU64::new(a).ok_or(TrapCode::NullExceptionReference)?;
            return Err(Raise::Exception(InFlight::Kept(handle)));
        }
        Builtin::ListenerBefore => {
            let types = |i: &Instance, func| Some(i.func_type(func)?.params);
            listen(store, id, a as u32, &mut values, types, |l, c, v| l.before(c, v));
        }
        Builtin::ListenerAfter => {
            let types = |i: &Instance, func| Some(i.func_type(func)?.results);
            listen(store, id, a as u32, &mut values, types, |l, c, v| l.after(c, v));
        }
        Builtin::MemoryAtomicWait32 => {
            return wait(&store.shared, instance, a as u32, (b, c, 4), (d, e.cast_signed()));
        }
        Builtin::MemoryAtomicWait64 => {
            return wait(&store.shared, instance, a as u32, (b, c, 8), (d, e.cast_signed()));
        }
        Builtin::MemoryAtomicNotify => {
            let (region, at, _) = atomic(instance, a as u32, (b, c, 4))?;
            return Ok(park::notify(region.base + at as usize, d as u32).into());
        }
        Builtin::ObjectAllocate => return Ok(store.allocate_object(a, &mut [])?.into()),
        Builtin::ObjectIs => return Ok(store.is_of_type(a, id, b as u32).into()),
        Builtin::ArrayCopy => store.copy_array((a as u32, b), (c as u32, d), e)?,
        Builtin::ArrayNewData => {
            return Ok(store.new_array_of_data(id, a as u32, b as u32, (c, d))?.into());
        }
        Builtin::ArrayNewElem => {
            store.check_items(id, b as u32, c, d)?;
            let array = store.new_array(id, a as u32, d as u32, &mut [])?;
            let items = store.segment_items(id, b as u32, c, d)?;
            store.set_elements(array, 0, &items)?;
            return Ok(array.into());
        }
        Builtin::ArrayInitData => store.init_array_of_data(id, a as u32, b as u32, (c, d, e))?,
        Builtin::ArrayInitElem => {
            store.elements(a as u32, c, e)?;
            let items = store.segment_items(id, b as u32, d, e)?;
            store.set_elements(a as u32, c, &items)?;
        }
    }
    Ok(0)
}

/// How many bytes are copied or filled between two looks at the interrupt flag: some milliseconds' work.
const PART: u64 = 16 << 20;

/// Does work on `len` bytes in parts, from the end backwards if need be, until the call is interrupted.
/// Nothing may be done unless all can be; where there is more than one part the caller has checked it.
fn in_parts(
    store: &Shared,
    len: u64,
    backwards: bool,
    mut work: impl FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    loop {
        let part = PART.min(len - done);
        work(if backwards { len - done - part } else { done }, part)?;
        done += part;
        if done == len {
            return Ok(());
        }
        if store.flag.load(SeqCst) {
            return Err(TrapCode::Interrupted.into());
        }
    }
}

/// The memory, the address in it and the value there of an atomic access of `width` bytes at
/// `index + offset`.
fn atomic(
    instance: &Instance,
    memory: u32,
    (index, offset, width): (u64, u64, u64),
) -> Result<(Region, u64, u64)> {
    let outside = TrapCode::MemoryOutOfBounds;
    let region = instance.vm.memory_region(memory).ok_or(outside)?;
    let at = index.checked_add(offset).ok_or(outside)?;
    Ok((region, at, region.load(at, width)?))
}

/// `memory.atomic.wait`; a timeout below zero is none. Answers as the operator does: 0 for
/// notified, 1 for another value, 2 for timed out.
fn wait(
    store: &Arc<Shared>,
    instance: &Instance,
    memory: u32,
    place: (u64, u64, u64),
    (expected, timeout): (u64, i64),
) -> Result<u64> {
    let (region, at, _) = atomic(instance, memory, place)?;
    let equal = || region.load(at, place.2) == Ok(expected);
    let timeout = u64::try_from(timeout).ok().map(Duration::from_nanos);
    match park::wait(region.base + at as usize, equal, timeout, store) {
        Waited::Notified => Ok(0),
        Waited::NotEqual => Ok(1),
        Waited::TimedOut => Ok(2),
        Waited::Interrupted => Err(TrapCode::Interrupted.into()),
    }
}

/// The part of a memory or table that an operator names.
pub(crate) fn part(start: u64, len: u64) -> Option<Range<usize>> {
    let start = usize::try_from(start).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// A new exception of a tag of an instance, with a payload from machine code.
fn throw(store: &StoreInner, id: InstanceId, index: u32, values: &mut Values) -> Raise {
    let code = store.instances[id.position()].vm.module().code();
    let params = || Some(code.type_words(code.tag_type(index)?)?.0.len());
    let payload = params().and_then(|params| values.first(params));
    match (store.tag(id, index), payload) {
        (Some(tag), Some(payload)) => {
            let payload = payload.to_vec();
            Raise::Exception(InFlight::New(Exception { tag, payload }))
        }
        _ => Raise::Host(format!("instance {id} has no tag {index}").into()),
    }
}

/// The slow path of an import's thunk: binds the import if need be, and calls a host function.
fn call_import(
    store: &mut StoreInner,
    id: InstanceId,
    import: u32,
    values: &mut Values,
) -> Result<u64> {
    let instance = &store.instances[id.position()];
    let bound = instance.host.get(import as usize).cloned().flatten();
    let func = match bound {
        Some(func) => func,
        None => {
            let binding = instance.vm.word(instance.vm.counts().binding(import));
            if let Some(funcref) = FuncRef::from_bits(binding) {
                let CallTarget { code, vmctx } =
                    store.target(funcref).ok_or(TrapCode::NullReference)?;
                let slot = ImportSlot { code, ctx: vmctx };
                store.instances[id.position()].vm.bind(import, slot);
                return Ok(CALL_IMPORT_BOUND);
            }
            store.bind_host(id, import).map_err(|e| Raise::Host(e.into()))?
        }
    };
    let array = values.first(func.slots());
    let array = array.ok_or_else(|| Raise::Host("the code file is damaged".into()))?;
    if store.suspension.point.is_some() {
        store.pass_point(id, import, array)?;
    }
    let scope = (store.exceptions.scope(), store.objects.scope());
    let result = (func.call)(&mut Caller::new(store, id), array);
    store.exceptions.end_scope(scope.0);
    store.objects.end_scope(scope.1);
    match result {
        Err(HostError::Exception(handle)) if store.exceptions.get(handle).is_none() => {
            let message = format!("{handle} is not the handle of an exception");
            return Err(Raise::Host(message.into()));
        }
        result => result?,
    }
    if func.returns_references {
        for (value, ty) in array.iter().zip(&func.ty.results) {
            let ValType::Ref(ty) = ty else { continue };
            if !store.reference_is(value.0 as u64, *ty, id) {
                let message = format!("a host function returned what is not of type {ty}");
                return Err(Raise::Host(message.into()));
            }
        }
    }
    Ok(0)
}

/// Tells the module's listener about a call.
fn listen(
    store: &StoreInner,
    id: InstanceId,
    func: u32,
    values: &mut Values,
    types: impl Fn(&Instance, u32) -> Option<Vec<ValType>>,
    tell: impl Fn(&Arc<dyn FunctionListener>, &ListenerContext<'_>, &[Val]),
) {
    let instance = &store.instances[id.position()];
    let (Some(listener), Some(types)) = (instance.listener(), types(instance, func)) else {
        return;
    };
    let Some(raw) = values.first(types.len()) else { return };
    let scope = store.objects.scope();
    let values: Vec<Val> = raw.iter().zip(&types).map(|(raw, ty)| store.val(*raw, *ty)).collect();
    let context = ListenerContext { func, name: instance.vm.module().code().function_name(func) };
    tell(listener, &context, &values);
    store.objects.end_scope(scope);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::Interrupter;
    use executor_model::StoreId;

    #[test]
    fn long_work_is_done_in_parts_that_an_interrupt_ends() {
        let shared = Arc::new(Shared::new(StoreId::unique()));
        for backwards in [false, true] {
            let mut parts = Vec::new();
            let whole = in_parts(&shared, 2 * PART + 5, backwards, |at, len| {
                parts.push((at, len));
                Ok(())
            });
            assert!(whole.is_ok());
            assert_eq!(
                parts,
                match backwards {
                    false => [(0, PART), (PART, PART), (2 * PART, 5)],
                    true => [(PART + 5, PART), (5, PART), (0, 5)],
                }
            );
        }
        let mut parts = 0;
        let ended = in_parts(&shared, 2 * PART, false, |_, _| {
            parts += 1;
            Interrupter::new(&shared).interrupt();
            Ok(())
        });
        assert!(matches!(ended, Err(Raise::Trap(TrapCode::Interrupted))));
        assert_eq!(parts, 1);
    }
}
