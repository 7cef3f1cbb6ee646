//! The compiler: WebAssembly to a native code file.
//!
//! ```text
//! wasm bytes -> decode (sections, validation) -> translate and thunk (Cranelift IR)
//!            -> compile (machine code, in parallel) -> link (one text) -> code file
//! ```
//!
//! What is compiled is WebAssembly 2.0 and some of what came after it; the features are in `decode`,
//! and each group of operators has a file in `translate`.
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
mod isa;
mod link;
mod short;
mod signature;
mod thunk;
mod translate;

use executor_code::{
    CodeKey, CompileError, CompileOptions, Compiler, CpuFeatures, Progress,
    file::{self, CodeParts},
    layout::InstanceLayout,
};
use executor_model::{Module, ModuleHash};
use isa::Target;
use std::{fmt, sync::Arc};

/// Compiles modules for the machine it runs on.
pub struct NativeCompiler {
    target: Target,
    features: CpuFeatures,
}

impl NativeCompiler {
    /// A compiler for this machine.
    ///
    /// # Errors
    /// [`CompileError::Host`] when the processor lacks an instruction that compiled code needs.
    pub fn new() -> Result<Self, CompileError> {
        let features = CpuFeatures::host();
        Ok(Self { target: Target::new(features)?, features })
    }
}

impl fmt::Debug for NativeCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeCompiler").field("features", &self.features).finish_non_exhaustive()
    }
}

impl Compiler for NativeCompiler {
    fn decode(&self, wasm: &[u8], hash: ModuleHash) -> Result<Module, CompileError> {
        let (info, bodies) = decode::decode(wasm)?;
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
        let context = compile::ModuleContext { module, layout: &layout, target: &self.target };
        let (units, codes) = compile::compile(&context, options, progress)?;
        let linked = link::link(&module.info, &units, codes)?;
        Ok(file::write(&CodeParts {
            module,
            layout: &layout,
            key: CodeKey::new(&module.hash, options, self.features),
            features: self.features,
            listeners: options.listeners,
            text: linked.text,
            functions: linked.functions,
            enter: linked.enter,
            traps: linked.traps,
            address_map: linked.address_map,
        }))
    }
}

/// What wasmparser says about bytes that are not a valid module.
fn invalid(error: &wasmparser::Error) -> CompileError {
    CompileError::Invalid { message: error.message().to_owned(), offset: error.offset() as usize }
}
