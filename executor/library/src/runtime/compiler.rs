//! The compiler, which starts when it is first used.
//!
//! Invariant: a run whose code is cached starts no compiler and no threads.

use executor_code::{CompileError, CompileOptions, Compiler, Progress, file::CallSite};
use executor_compiler::NativeCompiler;
use executor_model::{Features, Module, ModuleHash};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::{sync::OnceLock, time::Duration};

/// Cranelift looks at the processor and builds its tables when it starts; what needs no compiling does
/// not wait for that.
#[derive(Debug, Default)]
pub(crate) struct LazyCompiler {
    /// How many threads compile; all processors where nothing is said.
    threads: Option<usize>,
    /// The limit on memory; the compiler's own where nothing is said.
    max_memory: Option<u64>,
    /// The limit on time; the compiler's own where nothing is said.
    max_time: Option<Duration>,
    started: OnceLock<Started>,
}

#[derive(Debug)]
struct Started {
    compiler: NativeCompiler,
    pool: Option<ThreadPool>,
}

impl LazyCompiler {
    pub(crate) fn new(
        threads: Option<usize>,
        max_memory: Option<u64>,
        max_time: Option<Duration>,
    ) -> Self {
        Self { threads, max_memory, max_time, started: OnceLock::new() }
    }

    fn start(&self) -> Result<&Started, CompileError> {
        if let Some(started) = self.started.get() {
            return Ok(started);
        }
        // Where there can't be so many, the compiler takes what it can get, which may be the caller's alone.
        let pool = |n| ThreadPoolBuilder::new().num_threads(n).build().ok();
        let pool = self.threads.and_then(pool);
        let max_memory = self.max_memory.unwrap_or(NativeCompiler::MAX_MEMORY);
        let max_time = self.max_time.unwrap_or(NativeCompiler::MAX_TIME);
        let compiler = NativeCompiler::new()?.with_max_memory(max_memory).with_max_time(max_time);
        let started = Started { compiler, pool };
        Ok(self.started.get_or_init(|| started))
    }

    /// Compiles on the threads that are meant for it.
    fn run<T: Send>(
        &self,
        work: impl FnOnce(&NativeCompiler) -> Result<T, CompileError> + Send,
    ) -> Result<T, CompileError> {
        let Started { compiler, pool } = self.start()?;
        match pool {
            Some(pool) => pool.install(|| work(compiler)),
            None => work(compiler),
        }
    }
}

impl Compiler for LazyCompiler {
    fn decode(
        &self,
        wasm: &[u8],
        hash: ModuleHash,
        features: Features,
    ) -> Result<Module, CompileError> {
        self.run(|compiler| compiler.decode(wasm, hash, features))
    }

    fn compile(
        &self,
        module: &Module,
        options: CompileOptions,
        progress: Progress<'_>,
    ) -> Result<Vec<u8>, CompileError> {
        self.run(|compiler| compiler.compile(module, options, progress))
    }

    fn compile_continuations(
        &self,
        wasm: &[u8],
        hash: ModuleHash,
        sites: &[CallSite],
        options: CompileOptions,
    ) -> Result<Vec<u8>, CompileError> {
        self.run(|compiler| compiler.compile_continuations(wasm, hash, sites, options))
    }
}
