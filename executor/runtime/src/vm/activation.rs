//! Activations: one stay of a thread in machine code, and how it ends.

use super::{
    builtins::{Handler, Host, handlers},
    code::{CodeEntry, CodeMap},
    entry,
    instance::VmInstance,
    module::CompiledModule,
    slot::Slot,
};
use crate::sys::WasmStack;
use executor_code::abi::{Activation, CallTarget, StoreHeader, VmHeader};
use executor_model::{FuncRef, RawValue, TrapCode};
use std::{
    cell::Cell,
    ops::{ControlFlow, Range},
    ptr::{null, null_mut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What a store has for machine code, as part of a store that moves between threads.
#[repr(C)]
pub(crate) struct Header {
    /// What machine code knows of it; first, so that both addresses are one.
    abi: StoreHeader,
    /// The code that calls of the store can be in.
    pub(crate) code: CodeMap,
    /// The slot of the store, if it is watched.
    pub(crate) slot: Option<Arc<Slot>>,
    /// The slots whose memories are attributed, if those of the store are to be.
    pub(crate) attributed: Option<Vec<Arc<Slot>>>,
}

// SAFETY: its pointers are null between calls, and a store is moved only between calls; whoever
// sees them during a call is on the call's thread.
unsafe impl Send for Header {}

impl Header {
    /// The header of a store that nothing runs in.
    pub(crate) fn new() -> Self {
        let target = CallTarget { code: 0, vmctx: 0 };
        let abi = StoreHeader { activation: null_mut(), target };
        Self { abi, code: CodeMap::default(), slot: None, attributed: None }
    }

    /// Its address, as instances' headers hold it.
    pub(crate) fn address(&mut self) -> *mut StoreHeader {
        &raw mut self.abi
    }

    /// Whether a call is in progress.
    pub(crate) fn running(&self) -> bool {
        !self.abi.activation.is_null()
    }

    /// Leaves an answer for [`executor_code::abi::Builtin::ResolveFuncRef`]; returns its address.
    pub(crate) fn answer(&mut self, target: CallTarget) -> u64 {
        self.abi.target = target;
        &raw const self.abi.target as u64
    }

    /// The frame pointers of the stubs through which the activations that are still going on left
    /// machine code, innermost first.
    pub(crate) fn outer_stub_frames(&self) -> Vec<usize> {
        let mut frames = Vec::new();
        let mut activation = self.abi.activation;
        // SAFETY: the activations of a store are alive on this thread's host stack, each further up
        // than the one before.
        while let Some(outer) = unsafe { activation.as_ref() } {
            frames.push(outer.wasm_sp + entry::STUB_FRAME);
            activation = outer.previous;
        }
        frames
    }

    /// Changes a word of a frame that waits for a builtin: a reference to an object that has moved.
    pub(crate) fn set_stack_word(&mut self, stack: &WasmStack, at: usize, word: u64) {
        let inside = (stack.bottom()..stack.top()).contains(&at) && at.is_multiple_of(8);
        if inside && self.running() {
            // SAFETY: the word lies within the wasm stack, which is writable as long as it exists; machine code
            // of the store, which the stack is of, does not run meanwhile, and host code holds no reference to it.
            unsafe { *(at as *mut u64) = word };
        }
    }

    /// All that the activations of a store have on the wasm stack, registers that they hold across
    /// calls included.
    pub(crate) fn live_words<'a>(&self, stack: &'a WasmStack) -> &'a [u64] {
        // SAFETY: a non-null activation of the store is alive further up this thread's stack. From
        // where the innermost left machine code to the top the stack is readable, and machine code
        // does not run meanwhile.
        unsafe {
            let Some(activation) = self.abi.activation.as_ref() else { return &[] };
            let start = activation.wasm_sp;
            std::slice::from_raw_parts(start as *const u64, (stack.top() - start) / 8)
        }
    }
}

/// An activation with what the stubs and the signal handler need.
#[repr(C)]
pub(super) struct Frame {
    /// What machine code and builtins know of it; first, so that both addresses are one.
    pub(super) abi: Activation,
    /// The store's interrupt flag; one that is always set once a page was lost.
    pub(super) interrupt: *const AtomicBool,
    /// What the stubs call, by builtin; made for the type of the store.
    pub(super) handlers: *const Handler,
    /// The store, as the call that is in progress borrows it: builtins reach it through this
    /// pointer, which the optimiser sees escape, and never through an older one.
    store: *mut (),
    /// Its header.
    header: *const Header,
    /// The guard of the wasm stack.
    guard: Range<usize>,
    /// The address just above the wasm stack.
    top: usize,
    /// The fault that ended it, if one did.
    fault: Cell<Option<Fault>>,
    /// Host code met a lost page: machine code does not go on.
    lost: Cell<bool>,
    /// Where it goes on, when a builtin has thrown an exception that is caught.
    pub(super) resume: Resume,
}

/// Where machine code goes on after an exception, and with what.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Resume {
    /// The address of the handler.
    pub(crate) pc: usize,
    /// Its stack pointer.
    pub(crate) sp: usize,
    /// Its frame pointer.
    pub(crate) fp: usize,
    /// The handle of the exception, if the handler asked for it.
    pub(crate) exception: u64,
    /// The payload.
    pub(crate) payload: *const RawValue,
}

thread_local! {
    /// The innermost activation of this thread. Constant initialisation and no destructor: the
    /// signal handler reads it.
    static CURRENT: Cell<*mut Frame> = const { Cell::new(null_mut()) };
}

/// A fault of machine code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// What it means.
    pub(crate) code: TrapCode,
    /// The address of the instruction.
    pub(crate) pc: usize,
    /// The frame pointer there.
    pub(crate) fp: usize,
}

/// Where a signal handler continues.
pub(crate) struct Landing {
    pub(crate) pad: usize,
    pub(crate) activation: usize,
}

/// How an activation ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// The function returned; its results are in the values.
    Returned,
    /// Machine code faulted.
    Faulted(Fault),
    /// A builtin refused to return, for the reason it left with the store. The frame pointer is
    /// that of the stub's frame, whose caller is machine code.
    Raised {
        /// The stub's frame pointer.
        fp: usize,
    },
    /// The interrupt flag was set before machine code was entered, or on return to it.
    Interrupted {
        /// The stub's frame pointer; `None` when nothing had run.
        fp: Option<usize>,
    },
    /// Host code met a page that was lost. What it made of it is void.
    Lost {
        /// The stub's frame pointer; `None` when nothing had run.
        fp: Option<usize>,
    },
}

/// The store of the innermost activation of this thread.
///
/// # Safety
/// Called by a builtin of the handlers for `S` only, while its stub waits; the reference ends before
/// the builtin does, and there is no other meanwhile.
pub(super) unsafe fn current_store<'a, S: Host>() -> &'a mut S {
    // SAFETY: a builtin runs below an activation, whose call lends its store to it, and whose
    // handlers are those for its type.
    unsafe { &mut *(*CURRENT.get()).store.cast::<S>() }
}

/// The address just above the stack of the machine code that called a builtin.
///
/// # Safety
/// As [`stub_frame`].
pub(super) unsafe fn stack_top() -> usize {
    // SAFETY: as in `stub_frame`.
    unsafe { (*CURRENT.get()).top }
}

/// The frame pointer of the stub that called a builtin.
///
/// # Safety
/// Called by a builtin only, while its stub waits.
pub(super) unsafe fn stub_frame() -> usize {
    // SAFETY: a builtin runs below an activation, which is alive on this thread's host stack.
    unsafe { (*CURRENT.get()).abi.wasm_sp + entry::STUB_FRAME }
}

/// Says where the stub that called a builtin goes on.
///
/// # Safety
/// Called by a builtin only, while its stub waits, with the handler of a frame further up the stack.
pub(super) unsafe fn resume_at(resume: Resume) {
    // SAFETY: as in `stub_frame`.
    unsafe { (*CURRENT.get()).resume = resume };
}

/// Where a signal met a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Met {
    /// The program counter.
    pub(crate) pc: usize,
    /// The stack pointer.
    pub(crate) sp: usize,
}

/// The current activation, if its machine code or a stub on its stack was met by a signal. Host code
/// never runs on that stack, so whatever belongs to the store is at rest then.
fn met(at: Met) -> Option<&'static Frame> {
    // SAFETY: a non-null current frame is alive on this thread's host stack, for longer than the
    // signal handler runs.
    let frame = unsafe { CURRENT.get().as_ref() }?;
    // Where the stack is exhausted the pointer is in the guard.
    (frame.guard.start..=frame.top).contains(&at.sp).then_some(frame)
}

impl Frame {
    /// The code file that an address lies in.
    ///
    /// # Safety
    /// Called by the signal handler only, of a frame that [`met`] returned.
    unsafe fn code_at(&self, pc: usize) -> Option<&CodeEntry> {
        // SAFETY: the store outlives its activation, and nobody changes it while machine code runs.
        unsafe { &(*self.header).code }.find(pc)
    }
}

/// Why an instruction that was met faulted, if it is ours: a fault in the guard of the stack is
/// exhaustion, one that is known to be of a lost page is that, and another is what the code file says.
pub(crate) fn trap_at(at: Met, address: usize, lost: bool) -> Option<TrapCode> {
    let frame = met(at)?;
    // SAFETY: the signal handler asks, and the frame was met.
    let code = unsafe { frame.code_at(at.pc) };
    if frame.guard.contains(&address) && (code.is_some() || entry::in_stub(at.pc)) {
        return Some(TrapCode::StackOverflow);
    }
    let code = code?;
    if lost {
        return Some(TrapCode::PageLost);
    }
    // The table may be on a page that is lost: then the answer means nothing.
    let trap = code.trap_at(at.pc);
    if code.lost() { Some(TrapCode::PageLost) } else { trap }
}

/// Ends the activations of this thread's store as soon as host code returns to them: it met a page that is
/// lost. Async-signal-safe.
pub(crate) fn lost_in_host() {
    static STOP: AtomicBool = AtomicBool::new(true);
    let mut frame = CURRENT.get();
    while !frame.is_null() {
        // SAFETY: the activations of a store are alive on this thread's host stack, each further up than
        // the one before, and are the first parts of their frames. Host code runs, so no stub reads the
        // pointer now.
        unsafe {
            (*frame).lost.set(true);
            (*frame).interrupt = &raw const STOP;
            frame = (*frame).abi.previous.cast();
        }
    }
}

/// Whether an interrupting signal ends the activation then and there.
pub(crate) fn interrupted_at(at: Met) -> bool {
    let Some(frame) = met(at) else { return false };
    // SAFETY: the flag outlives the frame; the signal handler asks, and the frame was met.
    unsafe {
        (*frame.interrupt).load(Ordering::SeqCst)
            && (frame.code_at(at.pc).is_some() || entry::in_window(at.pc))
    }
}

/// Makes the page of a write that faulted writable, if a slot of this thread's store waits for that.
/// `fp` is the frame pointer where the signal met the thread.
pub(crate) fn open_faulted(address: usize, at: Met, fp: usize) -> bool {
    // SAFETY: a non-null current frame is alive on this thread's host stack, its store's header longer,
    // and the slots in it are not changed by what writes to a guest's memory.
    let (frame, header) = unsafe {
        let Some(frame) = CURRENT.get().as_ref() else { return false };
        (frame, &*frame.header)
    };
    if header.slot.as_ref().is_some_and(|slot| slot.open_faulted(address)) {
        return true;
    }
    let calls = || match met(at) {
        Some(frame) => Calls { pc: Some(at.pc), fp, frame: Some(frame) },
        None => Calls::below(frame),
    };
    header.attributed.iter().flatten().any(|slot| slot.attribute(address, calls()))
}

/// The addresses in machine code that what runs now comes from, innermost first: where it is, if it is
/// machine code, and the last bytes of calls. Async-signal-safe.
pub(super) struct Calls<'a> {
    pc: Option<usize>,
    fp: usize,
    frame: Option<&'a Frame>,
}

impl<'a> Calls<'a> {
    /// Those of the host code of this thread; none where no guest called it.
    pub(super) fn of_host() -> Self {
        // SAFETY: a non-null current frame is alive on this thread's host stack, for longer than the
        // host code that asks.
        match unsafe { CURRENT.get().as_ref() } {
            Some(frame) => Self::below(frame),
            None => Self { pc: None, fp: 0, frame: None },
        }
    }

    /// Those of host code that an activation has called.
    fn below(frame: &'a Frame) -> Self {
        Self { pc: None, fp: frame.abi.wasm_sp + entry::STUB_FRAME, frame: Some(frame) }
    }
}

impl Iterator for Calls<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if let Some(pc) = self.pc.take() {
            return Some(pc);
        }
        let frame = self.frame?;
        let readable = frame.guard.end..frame.top.saturating_sub(8);
        if !readable.contains(&self.fp) || !self.fp.is_multiple_of(8) {
            return None;
        }
        // SAFETY: both words lie on the wasm stack, above its guard and below its top.
        let [next, returns] = unsafe { *(self.fp as *const [usize; 2]) };
        if next <= self.fp {
            self.frame = None;
        }
        self.fp = next;
        Some(returns.wrapping_sub(1))
    }
}

/// Records why the current activation ends and says where to continue.
pub(crate) fn record_fault(fault: Fault) -> Option<Landing> {
    let frame = CURRENT.get();
    if frame.is_null() {
        return None;
    }
    // SAFETY: a non-null current frame is alive on this thread's host stack.
    unsafe { (*frame).fault.set(Some(fault)) };
    Some(Landing { pad: entry::landing_pad(), activation: frame as usize })
}

/// Where machine code can be entered: an enter trampoline, and code and `vmctx` that go with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryPoint {
    trampoline: usize,
    target: CallTarget,
    /// How many values the trampoline may read and write.
    values: usize,
}

impl EntryPoint {
    /// The entry of a function of an instance, with `values` for its parameters (references among
    /// them checked by the caller) and results. `None` when the instance has no such function, or
    /// there are too few for its type.
    pub(crate) fn of_function(vm: &VmInstance, func: FuncRef, values: usize) -> Option<Self> {
        let module = vm.module();
        let ty = module.code().function_type(func.func())?;
        let (params, results) = module.code().type_words(ty)?;
        if func.instance() != vm.id() || ty != func.ty() || values < params.len().max(results.len())
        {
            return None;
        }
        let trampoline = module.address(module.code().enter_offset(ty)?);
        let code = module.address(module.code().function_offset(func.func())?);
        let target = CallTarget { code, vmctx: vm.vmctx() as usize };
        Some(Self { trampoline, target, values })
    }

    /// The entry of the continuation at a place among those of a code file, for an instance of its
    /// module. The first value is the address of its [`executor_code::abi::ResumedFrame`].
    pub(crate) fn of_continuation(vm: &VmInstance, code: &CompiledModule, at: u32) -> Option<Self> {
        let file = code.code();
        if file.module() != vm.module().hash() || file.continuations().is_empty() {
            return None;
        }
        let ty = file.function_type(at)?;
        let (_, results) = file.type_words(ty)?;
        let trampoline = code.address(file.enter_offset(ty)?);
        let code = code.address(file.function_offset(at)?);
        let target = CallTarget { code, vmctx: vm.vmctx() as usize };
        Some(Self { trampoline, target, values: results.len().max(1) })
    }
}

/// Runs machine code of a store until it returns or ends otherwise. `values` holds what the entry
/// point takes and receives the results.
///
/// The thread must be prepared (`sys::prepare_thread`).
///
/// # Panics
/// When there are fewer values than the entry point may use.
pub(crate) fn enter<S: Host>(
    store: &mut S,
    entry: EntryPoint,
    stack: &WasmStack,
    interrupt: &AtomicBool,
    values: &mut [RawValue],
) -> Outcome {
    let EntryPoint { trampoline, target: CallTarget { code, vmctx }, .. } = entry;
    assert!(values.len() >= entry.values, "values for all parameters and results");

    // From here to the end of the call the store is reached through this pointer only.
    let store: *mut S = store;
    // SAFETY: the pointer was a reference just now.
    let known: *mut Header = unsafe { (*store).header() };
    // SAFETY: a store's header lies in the store.
    let (header, previous) = unsafe { ((*known).address(), (*known).abi.activation) };
    let wasm_sp = match previous.is_null() {
        true => stack.top(),
        // A nested call continues below the frames of the one it is nested in.
        // SAFETY: a non-null activation of the store is alive further up this thread's stack: a
        // store is used by one thread at a time.
        false => unsafe { ((*previous).wasm_sp - 128) & !15 },
    };
    let mut frame = Frame {
        abi: Activation { host_sp: 0, wasm_sp, previous },
        interrupt,
        handlers: handlers::<S>(),
        store: store.cast(),
        header: known,
        guard: stack.guard(),
        top: stack.top(),
        fault: Cell::new(None),
        lost: Cell::new(false),
        resume: Resume { pc: 0, sp: 0, fp: 0, exception: 0, payload: null() },
    };
    let frame = &raw mut frame;
    let outer = CURRENT.replace(frame);
    // SAFETY: `code` is a function or continuation of the instance at `vmctx` and `trampoline` is of
    // its type (both come from one code file of the instance's module, which the store keeps mapped
    // and registered); `values` is long enough (checked). What the frames of continuations hold is
    // checked by who made them, and outlives the call. The frame outlives the call, and machine code, builtins and the
    // signal handler reach it only until `CURRENT` is set back.
    let (status, fault, lost, at) = unsafe {
        (*header).activation = frame.cast();
        let values = values.as_mut_ptr();
        let status =
            entry::executor_enter(frame.cast(), trampoline, code, vmctx as *mut VmHeader, values);
        (*header).activation = previous;
        (status, (*frame).fault.get(), (*frame).lost.get(), (*frame).abi.wasm_sp)
    };
    CURRENT.set(outer);
    let stub_frame = (at != wasm_sp).then_some(at + entry::STUB_FRAME);
    match (status, fault, stub_frame) {
        (_, None, fp) if lost => Outcome::Lost { fp },
        (entry::RETURNED, ..) => Outcome::Returned,
        (_, Some(fault), _) => Outcome::Faulted(fault),
        (entry::LANDED, None, Some(fp)) => Outcome::Raised { fp },
        (_, None, fp) => Outcome::Interrupted { fp },
    }
}

/// A call that has not returned.
pub(crate) struct Call<'a> {
    /// The code file of the caller.
    pub(crate) entry: &'a CodeEntry,
    /// The offset in its text that the call returns to.
    pub(crate) returns: u32,
    /// The caller's frame pointer.
    pub(crate) fp: usize,
    /// Where the frame that it called ends: the caller's begins there or above.
    pub(crate) below: usize,
}

impl Call<'_> {
    /// The address of the call's last byte: an address that belongs to its operator.
    pub(crate) fn address(&self) -> usize {
        self.entry.text.start + self.returns as usize - 1
    }

    /// The address that lies so far below the frame pointer, if it can be the caller's stack pointer.
    pub(crate) fn stack_pointer(&self, distance: u32) -> Option<usize> {
        let sp = self.fp.checked_sub(distance as usize)?;
        (sp >= self.below && sp.is_multiple_of(16)).then_some(sp)
    }
}

/// Calls `visit` with the calls that lead to a frame of machine code or to a stub called by it, from
/// `fp` outwards, as long as they are in machine code and it wants to go on.
pub(crate) fn walk_frames(
    code: &CodeMap,
    stack: &WasmStack,
    mut fp: usize,
    mut visit: impl FnMut(Call<'_>) -> ControlFlow<()>,
) {
    let mut last: Option<&CodeEntry> = None;
    while let (Some(next), Some(return_address)) =
        (stack_word(stack, fp), stack_word(stack, fp + 8))
    {
        let address = return_address.wrapping_sub(1);
        let entry = match last.take() {
            Some(entry) if entry.text.contains(&address) => entry,
            _ => match code.find(address) {
                Some(entry) => entry,
                None => return,
            },
        };
        let returns = (return_address - entry.text.start) as u32;
        if next <= fp || visit(Call { entry, returns, fp: next, below: fp + 16 }).is_break() {
            return;
        }
        (fp, last) = (next, Some(entry));
    }
}

/// The word at an address of the wasm stack.
pub(crate) fn stack_word(stack: &WasmStack, at: usize) -> Option<usize> {
    let inside = (stack.bottom()..stack.top()).contains(&at) && at.is_multiple_of(8);
    // SAFETY: the word lies within the wasm stack, which is readable as long as it exists.
    inside.then(|| unsafe { *(at as *const usize) })
}
