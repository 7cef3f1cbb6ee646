//! The compiler as the runtime knows it: something that turns a module into a code file.

use crate::file::CallSite;
use executor_model::{Features, FuncIndex, Module, ModuleHash};
use std::time::Duration;

/// What is told while a module is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompileEvent {
    /// Functions are done.
    Progress {
        /// How many.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// A function is too large for the level that was asked for, and is compiled with
    /// [`OptLevel::None`], so that time and memory stay in proportion to its size.
    Simplified {
        /// The function.
        func: FuncIndex,
        /// The length of its body in bytes.
        len: usize,
    },
}

/// Called while a module is compiled; from any thread.
pub type Progress<'a> = &'a (dyn Fn(CompileEvent) + Sync);

/// What changes the machine code of a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CompileOptions {
    /// Call the listener builtins at entry to and return from every defined function.
    pub listeners: bool,
    /// Store, before each call that can reach the host, what the frame goes on with (see
    /// [`crate::file::frames`]).
    pub frame_maps: bool,
    /// How much work goes into the machine code.
    pub opt_level: OptLevel,
    /// What the module was allowed to use when it was validated. Written into the code file.
    pub features: Features,
}

/// How much work goes into the machine code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum OptLevel {
    /// The quickest compilation.
    None,
    /// No optimisation, but good use of registers.
    Less,
    /// The quickest code.
    #[default]
    Speed,
    /// Quick code, and little of it.
    Size,
}

impl OptLevel {
    /// All levels, in order of their numbers.
    pub const ALL: [Self; 4] = [Self::None, Self::Less, Self::Speed, Self::Size];
}

/// A module that could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The bytes are not a valid module.
    #[error("{message} (at offset {offset:#x})")]
    Invalid {
        /// What is wrong.
        message: String,
        /// Where in the module's bytes.
        offset: usize,
    },
    /// The bytes are a component.
    #[error(
        "this is a component, and only core modules run here: build it for WASI preview 1 \
         (wasm32-wasip1), or take the core module out of it"
    )]
    Component,
    /// The module is valid but beyond what is supported.
    #[error("{0}")]
    Unsupported(String),
    /// A function needs more memory to be compiled than that may take.
    #[error(
        "function {func}{} needs more memory to be compiled than the limit of {limit} bytes \
         (--max-compile-memory)",
        name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
    )]
    TooLarge {
        /// The function's index.
        func: FuncIndex,
        /// Its name, if it has one.
        name: Option<String>,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The module takes longer to be compiled than that may take.
    #[error("compiling the module takes longer than the limit of {limit:?} (--max-compile-time)")]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// The module is valid with features that are switched off.
    #[error(
        "the module needs {features}, which {} off; switch {} on with {}",
        if features.count() == 1 { "is" } else { "are" },
        if features.count() == 1 { "it" } else { "them" },
        features.switches()
    )]
    FeatureOff {
        /// Which.
        features: Features,
    },
    /// The module would be valid with features that are not supported.
    #[error("the module needs {0}, which is not supported")]
    Unknown(String),
    /// The code generator failed; a defect of ours.
    #[error("internal error in the compiler: function {func}: {message}")]
    Codegen {
        /// The function's index.
        func: u32,
        /// What Cranelift said.
        message: String,
    },
    /// A call to go on from is not there.
    #[error("function {} has no call at offset {:#x} to go on from", .0.func, .0.offset)]
    NoSuchCall(CallSite),
    /// This machine lacks something that compiled code needs.
    #[error("{0}")]
    Host(String),
}

/// Turns modules into code files.
pub trait Compiler: Send + Sync {
    /// Decodes and validates a module, which may use `features` and no others.
    ///
    /// # Errors
    /// When the bytes are invalid or the module is unsupported; [`CompileError::FeatureOff`] when
    /// it would be valid with more features.
    fn decode(
        &self,
        wasm: &[u8],
        hash: ModuleHash,
        features: Features,
    ) -> Result<Module, CompileError>;

    /// Compiles a module to the bytes of a code file (see [`crate::file`]).
    ///
    /// # Errors
    /// When the module cannot be compiled.
    fn compile(
        &self,
        module: &Module,
        options: CompileOptions,
        progress: Progress<'_>,
    ) -> Result<Vec<u8>, CompileError>;

    /// Compiles the continuations of calls of a module's functions to the bytes of a code file.
    /// `sites` are ascending, each once. Of the bodies only those that matter are validated, so
    /// the module is to be one that has been compiled before.
    ///
    /// # Errors
    /// When the module is invalid or cannot be compiled; [`CompileError::NoSuchCall`] when a function
    /// has no such call, or none that can be reached.
    fn compile_continuations(
        &self,
        wasm: &[u8],
        hash: ModuleHash,
        sites: &[CallSite],
        options: CompileOptions,
    ) -> Result<Vec<u8>, CompileError>;
}
