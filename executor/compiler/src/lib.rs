//! The compiler: WebAssembly to a native code file.
//!
//! ```text
//! wasm bytes -> decode (sections, validation) -> translate and thunk (Cranelift IR)
//!            -> compile (machine code, in parallel) -> link (one text) -> code file
//! ```
//!
//! What is compiled is WebAssembly 3.0 and a few proposals beyond; the features are in `features`, and each group of operators has a file in `translate`.
//!
//! Invariants: only validated modules are compiled; the machine code holds no address and needs no
//! relocation once linked; the same module, options and processor give the same bytes.
//!
//! What code and host agree on is defined in `executor_code`; nothing here repeats a number of it.
//!
//! This is an internal of the crate `executor`, which is what programs embed.
#![forbid(unsafe_code)]
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod bounds;
mod compile;
mod context;
mod deadline;
mod decode;
mod emit;
mod features;
mod isa;
mod limits;
mod link;
mod names;
mod place;
mod ranges;
mod reach;
mod signature;
mod threads;
mod thunk;
mod translate;
mod types;
mod weight;

pub use names::item_names;

use compile::{Code, Unit};
use context::ModuleContext;
use deadline::Deadline;
use decode::Validate;
use executor_code::{
    CodeKey, CodeKind, CompileError, CompileOptions, Compiler, CpuFeatures, OptLevel, Progress,
    file::{self, CallSite, CodeParts, Continuation},
    layout::InstanceLayout,
    objects::ObjectTypes,
};
use executor_model::{Features, Module, ModuleHash, ModuleInfo};
use isa::Target;
use reach::Reach;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};
use translate::Resumed;
use types::ModuleTypes;

/// Compiles modules for the machine it runs on.
pub struct NativeCompiler {
    features: CpuFeatures,
    /// How many bytes of memory the functions that are being compiled may take.
    max_memory: u64,
    /// How long compiling a module may take.
    max_time: Duration,
    /// By [`OptLevel`]; made when first used.
    targets: [OnceLock<Target>; OptLevel::ALL.len()],
}

impl NativeCompiler {
    /// A compiler for this machine.
    ///
    /// # Errors
    /// [`CompileError::Host`] when the processor lacks an instruction that compiled code needs.
    pub fn new() -> Result<Self, CompileError> {
        Self::with_features(CpuFeatures::host())
    }

    /// A compiler whose code uses no more than these features of the processor.
    ///
    /// # Errors
    /// [`CompileError::Host`] when they lack an instruction that compiled code needs.
    pub fn with_features(features: CpuFeatures) -> Result<Self, CompileError> {
        isa::check(features)?;
        Ok(Self {
            features,
            max_memory: Self::MAX_MEMORY,
            max_time: Self::MAX_TIME,
            targets: Default::default(),
        })
    }

    /// How many bytes of memory compiling takes at most, where nothing else is said, for all functions that are
    /// being compiled at the same time.
    pub const MAX_MEMORY: u64 = 1 << 30;

    /// As `self`, with another limit on memory. A function that alone would take more is refused; the
    /// module, its code and what has become of other functions are not counted.
    #[must_use]
    pub fn with_max_memory(self, bytes: u64) -> Self {
        Self { max_memory: bytes, ..self }
    }

    /// How long compiling a module takes at most, where nothing else is said.
    pub const MAX_TIME: Duration = Duration::from_secs(600);

    /// As `self`, with another limit on time, by the clock: a module that takes longer is refused. Decoding it
    /// may take as long again. The time is looked at while functions are validated and translated, and before machine
    /// code is made of each, which is then ended however long it takes.
    #[must_use]
    pub fn with_max_time(self, time: Duration) -> Self {
        Self { max_time: time, ..self }
    }

    fn target(&self, level: OptLevel) -> Result<&Target, CompileError> {
        let slot = &self.targets[level as usize];
        if let Some(target) = slot.get() {
            return Ok(target);
        }
        let target = Target::new(self.features, level)?;
        Ok(slot.get_or_init(|| target))
    }
}

impl fmt::Debug for NativeCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeCompiler").field("features", &self.features).finish_non_exhaustive()
    }
}

impl Compiler for NativeCompiler {
    fn decode(
        &self,
        wasm: &[u8],
        hash: ModuleHash,
        features: Features,
    ) -> Result<Module, CompileError> {
        threads::prepare()?;
        let (info, bodies) =
            decode::decode(wasm, features, Validate::All, Deadline::after(self.max_time))?;
        let (info, bodies) = (Arc::new(info), bodies.into());
        Ok(Module { hash, bytes: wasm.into(), info, bodies, features })
    }

    fn compile(
        &self,
        module: &Module,
        options: CompileOptions,
        progress: Progress<'_>,
    ) -> Result<Vec<u8>, CompileError> {
        threads::prepare()?;
        self.write(module, None, options, |context| compile::compile(context, options, progress))
    }

    fn compile_continuations(
        &self,
        wasm: &[u8],
        hash: ModuleHash,
        sites: &[CallSite],
        options: CompileOptions,
    ) -> Result<Vec<u8>, CompileError> {
        threads::prepare()?;
        // What is translated with types is validated on the way.
        let deadline = Deadline::after(self.max_time);
        let (info, bodies) =
            decode::decode(wasm, options.features, Validate::Declarations, deadline)?;
        let (info, bodies) = (Arc::new(info), bodies.into());
        let features = options.features;
        let module = Module { hash, bytes: wasm.into(), info, bodies, features };
        let units = continuation_units(&module.info, sites, options.listeners)?;
        self.write(&module, Some(sites), options, |context| {
            compile::compile_units(context, units, options, &|_| {})
        })
    }
}

impl NativeCompiler {
    /// Compiles with `compile` and writes the code file: of the module, or of continuations.
    fn write(
        &self,
        module: &Module,
        sites: Option<&[CallSite]>,
        options: CompileOptions,
        compile: impl FnOnce(&ModuleContext<'_>) -> Result<(Vec<Unit>, Vec<Code>), CompileError>,
    ) -> Result<Vec<u8>, CompileError> {
        let deadline = Deadline::after(self.max_time);
        let layout = InstanceLayout::of(&module.info);
        let target = self.target(options.opt_level)?;
        let reach = options.frame_maps.then(|| Reach::of(module)).transpose()?;
        let objects = ObjectTypes::of(&module.info);
        let stack_maps = module.info.holds_objects();
        let typed = options.frame_maps || sites.is_some() || stack_maps;
        let types = typed.then(|| ModuleTypes::of(module)).transpose()?;
        let (types, reach) = (types.as_ref(), reach.as_ref());
        let allowance = self.max_memory;
        let context = ModuleContext {
            module,
            layout: &layout,
            target,
            objects: &objects,
            stack_maps,
            types,
            reach,
            allowance,
            deadline,
        };
        let (units, codes) = compile(&context)?;
        deadline.check()?;
        let linked = link::link(&module.info, &units, codes)?;
        let continuations = sites.map(|sites| {
            let made = sites.iter().zip(linked.resumed);
            made.map(|(site, Resumed { callee, values })| Continuation {
                site: *site,
                callee,
                values,
            })
            .collect()
        });
        let kind = CodeKind {
            listeners: options.listeners,
            frame_maps: options.frame_maps,
            continuations: sites,
        };
        Ok(file::write(&CodeParts {
            module,
            layout: &layout,
            key: CodeKey::new(&module.hash, kind, self.features),
            features: self.features,
            options,
            text: linked.text,
            functions: linked.functions,
            enter: linked.enter,
            traps: linked.traps,
            map_records: linked.map_records,
            map: linked.map,
            try_calls: linked.try_calls,
            stack_maps: linked.stack_maps,
            frames: linked.frames,
            continuations,
        }))
    }
}

/// The units of continuations, in the order of the text.
fn continuation_units(
    info: &ModuleInfo,
    sites: &[CallSite],
    listeners: bool,
) -> Result<Vec<Unit>, CompileError> {
    let mut units = Vec::new();
    let mut types = Vec::new();
    for (at, site) in (0..).zip(sites) {
        let func = site.func;
        let ty = info.functions.get(func as usize).ok_or(CompileError::NoSuchCall(*site))?;
        types.push(*ty);
        match (func < info.imported_functions, site.offset == CallSite::IMPORT) {
            (true, true) => units.push(Unit::ResumeImport(func)),
            (false, false) => {
                units.extend(listeners.then_some(Unit::ResumeListener(at, func)));
                units.push(Unit::Continuation(at, *site));
            }
            _ => return Err(CompileError::NoSuchCall(*site)),
        }
    }
    types.sort_unstable();
    types.dedup();
    units.extend(types.into_iter().map(Unit::EnterContinuation));
    Ok(units)
}

/// What wasmparser says about bytes that are not a valid module.
fn invalid(error: &wasmparser::Error) -> CompileError {
    CompileError::Invalid { message: error.message().to_owned(), offset: error.offset() as usize }
}
