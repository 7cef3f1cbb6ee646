//! The driver: every function and trampoline of a module to machine code, in parallel.
//!
//! Invariant: the result depends on the module and the options only, not on the order of the
//! work. Of each function only its bytes and tables are kept; its IR is gone when it is done.

use crate::{
    context::ModuleContext,
    emit::Symbol,
    isa::Extent,
    place::{self, Loop},
    ranges::RangeFunction,
    thunk,
    translate::{self, FrameMap, Resumed, Translated},
    weight,
};
use cranelift_codegen::{
    CodegenError, Context, ExceptionContextLoc, FinalizedMachExceptionHandler,
    FinalizedRelocTarget,
    binemit::Reloc,
    control::ControlPlane,
    ir::{self, SourceLoc},
    isa::TargetIsa,
};
use cranelift_frontend::FunctionBuilderContext;
use executor_code::{
    CompileError, CompileEvent, CompileOptions, OptLevel, Progress,
    file::{CallSite, FrameUnit, HandlerRecord, StackMap, TryCall, map::MapEncoder},
};
use executor_model::{FuncIndex, Module, ModuleInfo, TrapCode, TypeIndex};
use rayon::prelude::*;
use std::{
    cmp::Reverse,
    sync::atomic::{AtomicUsize, Ordering},
};

/// After how many functions progress is told.
const PROGRESS_STEP: usize = 64;

/// The most IR (values and places in lists of them) that a thread keeps room for from function to function.
const KEPT: u64 = 1 << 18;

/// A piece of machine code with one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// What stands at the index of an imported function.
    Import(FuncIndex),
    /// What stands behind it while it is not bound.
    UnboundImport(FuncIndex),
    /// What stands at the index of a function with a listener; it calls the body.
    Listener(FuncIndex),
    /// A defined function.
    Body(FuncIndex),
    /// The enter trampoline of a type.
    Enter(TypeIndex),
    /// What comes behind a call, by its place among those asked for.
    Continuation(u32, CallSite),
    /// What stands before that, where there are listeners: it tells of the function's return.
    ResumeListener(u32, FuncIndex),
    /// The call of an imported function that was about to be made.
    ResumeImport(FuncIndex),
    /// The enter trampoline of continuations of functions of a type.
    EnterContinuation(TypeIndex),
    /// What copies or fills a range.
    Range(RangeFunction),
}

/// The machine code of a [`Unit`]; offsets are within it.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) bytes: Vec<u8>,
    pub(crate) relocations: Vec<Relocation>,
    /// What decides where it is placed.
    pub(crate) loops: Vec<Loop>,
    pub(crate) traps: Vec<(u32, TrapCode)>,
    /// Its run of the address map.
    pub(crate) map: Vec<u8>,
    /// Calls with handlers, ascending.
    pub(crate) try_calls: Vec<TryCall>,
    /// Calls during which its frame holds references to objects, ascending.
    pub(crate) stack_maps: Vec<StackMap>,
    /// Its frame map.
    pub(crate) frames: Option<FrameUnit>,
    /// Of a continuation.
    pub(crate) resumed: Option<Resumed>,
}

/// Four bytes that hold the distance to a symbol.
#[derive(Debug)]
pub(crate) struct Relocation {
    pub(crate) offset: u32,
    pub(crate) symbol: Symbol,
    pub(crate) addend: i64,
}

/// The units of a module in the order of the text, and the code of each.
pub(crate) fn compile(
    context: &ModuleContext<'_>,
    options: CompileOptions,
    progress: Progress<'_>,
) -> Result<(Vec<Unit>, Vec<Code>), CompileError> {
    compile_units(context, units(context.info(), options), options, progress)
}

/// The code of each unit, and of what else they turn out to need.
pub(crate) fn compile_units(
    context: &ModuleContext<'_>,
    mut units: Vec<Unit>,
    options: CompileOptions,
    progress: Progress<'_>,
) -> Result<(Vec<Unit>, Vec<Code>), CompileError> {
    // Large functions first, so that none is left for one thread at the end; each thread takes the
    // next when it is done with one.
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|i| Reverse(size(context.module, units[*i])));
    let done = AtomicUsize::new(0);
    // So many at a time need no more than all may together.
    let share = context.allowance / rayon::current_num_threads().max(1) as u64;
    let shared = ModuleContext { allowance: share, ..*context };
    let results: Vec<(usize, Result<Code, CompileError>)> = order
        .into_iter()
        .par_bridge()
        .map_init(Worker::new, |worker, i| {
            let result = worker.compile(&shared, units[i], options.opt_level, progress);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(PROGRESS_STEP) || done == units.len() {
                progress(CompileEvent::Progress { done, total: units.len() });
            }
            (i, result)
        })
        .collect();
    let mut codes: Vec<Result<Code, CompileError>> = Vec::new();
    codes.resize_with(units.len(), || Ok(Code::default()));
    for (i, result) in results {
        codes[i] = match result {
            // Alone it may take all.
            Err(CompileError::TooLarge { .. }) => {
                Worker::new().compile(context, units[i], options.opt_level, progress)
            }
            result => result,
        };
    }
    let mut codes = codes.into_iter().collect::<Result<Vec<_>, _>>()?;
    for function in RangeFunction::ALL {
        let (symbol, unit) = (Symbol::Range(function), Unit::Range(function));
        let mut relocations = codes.iter().flat_map(|code| &code.relocations);
        if relocations.any(|relocation| relocation.symbol == symbol) {
            codes.push(Worker::new().compile(context, unit, options.opt_level, progress)?);
            units.push(unit);
        }
    }
    Ok((units, codes))
}

/// Functions in the order of their indices, then an enter trampoline for each type in use. What
/// only some modules need follows when it is known to be needed.
fn units(info: &ModuleInfo, options: CompileOptions) -> Vec<Unit> {
    let mut units = Vec::with_capacity(info.functions.len());
    for func in 0..info.functions.len() as FuncIndex {
        if func < info.imported_functions {
            units.extend([Unit::Import(func), Unit::UnboundImport(func)]);
            continue;
        }
        if options.listeners {
            units.push(Unit::Listener(func));
        }
        units.push(Unit::Body(func));
    }
    let mut used = vec![false; info.types.len()];
    info.functions.iter().for_each(|ty| used[*ty as usize] = true);
    let types = used.iter().enumerate().filter(|(_, used)| **used);
    units.extend(types.map(|(ty, _)| Unit::Enter(ty as TypeIndex)));
    units
}

/// How much work a unit is: the bytes of its body.
fn size(module: &Module, unit: Unit) -> usize {
    match unit {
        Unit::Body(func) | Unit::Continuation(_, CallSite { func, .. }) => {
            module.bodies[(func - module.info.imported_functions) as usize].len()
        }
        _ => 0,
    }
}

/// What a thread reuses from function to function.
struct Worker {
    context: Context,
    builder: FunctionBuilderContext,
}

impl Worker {
    fn new() -> Self {
        Self { context: Context::new(), builder: FunctionBuilderContext::new() }
    }

    fn compile(
        &mut self,
        context: &ModuleContext<'_>,
        unit: Unit,
        level: OptLevel,
        progress: Progress<'_>,
    ) -> Result<Code, CompileError> {
        context.deadline.check()?;
        let result = self.build(context, unit).and_then(|translated| {
            context.deadline.check()?;
            let Translated { extent, frames, resumed } = translated;
            if let (Unit::Body(func), true) = (unit, extent.is_large() && level != OptLevel::None) {
                progress(CompileEvent::Simplified { func, len: extent.body });
            }
            let isa = context.target.for_function(extent);
            let code = self.emit(isa, unit, frames)?;
            Ok(Code { resumed, ..code })
        });
        let large = weight::so_far(&self.context.func.dfg) > KEPT;
        match result {
            Ok(_) if !large => self.context.clear(),
            // What was left half done is of no use to the next function, nor is that much room.
            _ => *self = Self::new(),
        }
        result
    }

    /// The IR of a unit, in `self.context`.
    fn build(
        &mut self,
        context: &ModuleContext<'_>,
        unit: Unit,
    ) -> Result<Translated, CompileError> {
        let (function, builder) = (&mut self.context.func, &mut self.builder);
        match unit {
            Unit::Import(func) => thunk::import(context, func, function, builder),
            Unit::UnboundImport(func) => thunk::unbound_import(context, func, function, builder),
            Unit::Listener(func) => thunk::listener(context, func, function, builder),
            Unit::Enter(ty) => thunk::enter(context, ty, function, builder),
            Unit::Range(range) => range.build(context, function, builder),
            Unit::ResumeListener(at, func) => {
                thunk::resume_listener(context, at, func, function, builder);
            }
            Unit::EnterContinuation(ty) => {
                thunk::enter_continuation(context, ty, function, builder);
            }
            Unit::ResumeImport(func) => {
                let resumed = Some(thunk::resume_import(context, func, function, builder));
                return Ok(Translated { extent: Extent::default(), frames: None, resumed });
            }
            Unit::Body(func) => return translate::function(context, func, None, function, builder),
            Unit::Continuation(_, site) => {
                let CallSite { func, offset } = site;
                let made = translate::function(context, func, Some(offset), function, builder)?;
                return match made.resumed {
                    Some(_) => Ok(made),
                    None => Err(CompileError::NoSuchCall(site)),
                };
            }
        }
        Ok(Translated { extent: Extent::default(), frames: None, resumed: None })
    }

    /// The IR in `self.context` to machine code.
    fn emit(
        &mut self,
        isa: &dyn TargetIsa,
        unit: Unit,
        frames: Option<FrameMap>,
    ) -> Result<Code, CompileError> {
        let fail = |message| codegen_error(unit, message);
        if let Err(error) = self.context.compile(isa, &mut ControlPlane::default()) {
            return Err(match error.inner {
                CodegenError::CodeTooLarge | CodegenError::ImplLimitExceeded => {
                    CompileError::Unsupported(format!("{unit:?} is too large to compile"))
                }
                error => fail(format!("{error:?}")),
            });
        }
        let compiled = self.context.compiled_code().expect("just compiled");
        let buffer = &compiled.buffer;
        let bytes = buffer.data().to_vec();
        let returns: Vec<u32> = buffer.call_sites().map(|site| site.ret_addr).collect();
        let (starts, edges) = (&compiled.bb_starts, &compiled.bb_edges);
        let loops = place::loops(starts, edges, &returns, bytes.len() as u32);
        let mut code = Code { bytes, loops, ..Code::default() };
        for trap in buffer.traps() {
            let trap_code = trap_code(trap.code)
                .ok_or_else(|| fail(format!("trap {} has no meaning here", trap.code)))?;
            code.traps.push((trap.offset, trap_code));
        }
        let mut map = MapEncoder::default();
        for range in buffer.get_srclocs_sorted().iter().filter(|l| l.loc != SourceLoc::default()) {
            map.set(range.start, Some(range.loc.bits()));
            map.set(range.end, None);
        }
        code.map = map.finish();
        for site in buffer.call_sites().filter(|site| !site.exception_handlers.is_empty()) {
            let frame =
                site.frame_offset.ok_or_else(|| fail("a call without a frame".to_owned()))?;
            let mut call =
                TryCall { returns: site.ret_addr, frame, context: None, handlers: Vec::new() };
            for handler in site.exception_handlers {
                match handler {
                    FinalizedMachExceptionHandler::Context(ExceptionContextLoc::SPOffset(at)) => {
                        call.context = Some(*at);
                    }
                    FinalizedMachExceptionHandler::Tag(clause, landing) => {
                        let clause = clause.as_u32();
                        call.handlers.push(HandlerRecord { clause, landing: *landing });
                    }
                    // We never say what has no tag, and no register is left to a callee that throws.
                    other => return Err(fail(format!("unexpected handler {other:?}"))),
                }
            }
            code.try_calls.push(call);
        }
        for (returns, span, map) in buffer.user_stack_maps() {
            // The frame pointer is so far above the stack pointer, which the map counts from.
            let slots = map.entries().map(|(_, at)| span - at).collect();
            code.stack_maps.push(StackMap { returns: *returns, slots });
        }
        if let Some(FrameMap { slot, calls }) = frames {
            let layout = buffer.frame_layout();
            let layout = layout.ok_or_else(|| fail("a frame without a layout".to_owned()))?;
            let slot = layout.frame_to_fp_offset - layout.stackslots[slot].offset;
            code.frames = Some(FrameUnit { code: 0, slot, calls });
        }
        let names = self.context.func.params.user_named_funcs();
        for reloc in buffer.relocs() {
            let symbol = match &reloc.target {
                FinalizedRelocTarget::ExternalName(ir::ExternalName::User(name)) => {
                    Symbol::from_name(&names[*name])
                }
                _ => None,
            };
            // Anything else would be an absolute address or a call of a library.
            let relative = matches!(reloc.kind, Reloc::X86CallPCRel4 | Reloc::X86PCRel4);
            let Some(symbol) = symbol.filter(|_| relative) else {
                return Err(fail(format!("unexpected relocation {reloc:?}")));
            };
            code.relocations.push(Relocation {
                offset: reloc.offset,
                symbol,
                addend: reloc.addend,
            });
        }
        Ok(code)
    }
}

/// A defect of the compiler, met in `unit`.
fn codegen_error(unit: Unit, message: String) -> CompileError {
    let index = match unit {
        Unit::Import(index)
        | Unit::UnboundImport(index)
        | Unit::Listener(index)
        | Unit::Body(index)
        | Unit::ResumeListener(_, index)
        | Unit::ResumeImport(index)
        | Unit::Continuation(_, CallSite { func: index, .. })
        | Unit::Enter(index)
        | Unit::EnterContinuation(index) => index,
        Unit::Range(_) => 0,
    };
    CompileError::Codegen { func: index, message: format!("{unit:?}: {message}") }
}

/// Our number for Cranelift's trap code.
fn trap_code(code: ir::TrapCode) -> Option<TrapCode> {
    Some(match code {
        ir::TrapCode::STACK_OVERFLOW => TrapCode::StackOverflow,
        ir::TrapCode::INTEGER_OVERFLOW => TrapCode::IntegerOverflow,
        ir::TrapCode::HEAP_OUT_OF_BOUNDS => TrapCode::MemoryOutOfBounds,
        ir::TrapCode::INTEGER_DIVISION_BY_ZERO => TrapCode::IntegerDivideByZero,
        ir::TrapCode::BAD_CONVERSION_TO_INTEGER => TrapCode::InvalidConversionToInteger,
        code => TrapCode::from_u8(code.as_raw().get())?,
    })
}
