//! The compiler: WebAssembly to a native code file.
//!
//! ```text
//! wasm bytes -> decode (sections, validation) -> translate and thunk (Cranelift IR)
//!            -> compile (machine code, in parallel) -> link (one text) -> code file
//! ```
//!
//! What is compiled is WebAssembly 3.0 without garbage collection, and a few proposals beyond; the
//! features are in `features`, and each group of operators has a file in `translate`.
//!
//! Invariants: only validated modules are compiled; the machine code holds no address and needs no
//! relocation once linked; the same module, options and processor give the same bytes.
//!
//! What code and host agree on is defined in `executor_code`; nothing here repeats a number of it.
#![forbid(unsafe_code)]

mod bounds;
mod compile;
mod decode;
mod emit;
mod features;
mod isa;
mod link;
mod short;
mod signature;
mod thunk;
mod translate;

use executor_code::{
    CodeKey, CompileError, CompileOptions, Compiler, CpuFeatures, OptLevel, Progress,
    file::{self, CodeParts},
    layout::InstanceLayout,
};
use executor_model::{Features, Module, ModuleHash};
use isa::Target;
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// Compiles modules for the machine it runs on.
pub struct NativeCompiler {
    features: CpuFeatures,
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

    fn with_features(features: CpuFeatures) -> Result<Self, CompileError> {
        isa::check(features)?;
        Ok(Self { features, targets: Default::default() })
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
        let (info, bodies) = decode::decode(wasm, features)?;
        Ok(Module { hash, bytes: wasm.into(), info: Arc::new(info), bodies: bodies.into() })
    }

    fn compile(
        &self,
        module: &Module,
        options: CompileOptions,
        progress: Progress<'_>,
    ) -> Result<Vec<u8>, CompileError> {
        let layout = InstanceLayout::of(&module.info)
            .map_err(|error| CompileError::Unsupported(error.to_string()))?;
        let target = self.target(options.opt_level)?;
        let context = compile::ModuleContext { module, layout: &layout, target };
        let (units, codes) = compile::compile(&context, options, progress)?;
        let linked = link::link(&module.info, &units, codes)?;
        Ok(file::write(&CodeParts {
            module,
            layout: &layout,
            key: CodeKey::new(&module.hash, options.listeners, self.features),
            features: self.features,
            options,
            text: linked.text,
            functions: linked.functions,
            enter: linked.enter,
            traps: linked.traps,
            map_records: linked.map_records,
            map: linked.map,
            try_calls: linked.try_calls,
        }))
    }
}

/// What wasmparser says about bytes that are not a valid module.
fn invalid(error: &wasmparser::Error) -> CompileError {
    CompileError::Invalid { message: error.message().to_owned(), offset: error.offset() as usize }
}
