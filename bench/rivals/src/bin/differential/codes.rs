//! Our code of the modules of one test: with and without frame maps, and of continuations.
//!
//! Invariant: what is compiled twice in one way is the same code, unless new code is asked for.

use executor_code::{Compiler, OptLevel};
use executor_model::{Features, Listeners, Module, ModuleHash};
use executor_runtime::{CompiledModule, EngineConfig, NativeEngine, PoolConfig, Store};
use std::{collections::HashMap, fmt::Display, sync::Arc};

/// How code is compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Kind {
    pub frame_maps: bool,
    pub level: Option<OptLevel>,
    pub ensure_termination: bool,
}

/// Code of all modules, and the engine that made it.
pub type Code = (NativeEngine, Vec<Arc<CompiledModule>>);

/// The modules, and their code as far as it has been asked for.
pub struct Codes {
    compiler: Arc<dyn Compiler>,
    /// In the order of the instances; the last is the module under test.
    pub modules: Vec<Module>,
    known: HashMap<Kind, Code>,
}

pub fn text(error: impl Display) -> String {
    format!("ours: {error}")
}

impl Codes {
    /// Decodes the modules.
    pub fn new(compiler: &Arc<dyn Compiler>, wasms: &[&[u8]]) -> Result<Self, String> {
        let decode = |wasm: &&[u8]| compiler.decode(wasm, ModuleHash::of(wasm), Features::ALL);
        let modules = wasms.iter().map(decode).collect::<Result<_, _>>().map_err(text)?;
        Ok(Self { compiler: Arc::clone(compiler), modules, known: HashMap::new() })
    }

    fn engine(&self, kind: Kind) -> Result<NativeEngine, String> {
        let config = EngineConfig {
            compiler: Some(Arc::clone(&self.compiler)),
            features: Features::ALL,
            opt_level: kind.level,
            frame_maps: kind.frame_maps,
            // Slots are compared with their image after each reset.
            pool: PoolConfig { verify: true, ..PoolConfig::default() },
            ..EngineConfig::default()
        };
        NativeEngine::new(config).map_err(text)
    }

    /// The code of one kind.
    pub fn code(&mut self, kind: Kind) -> Result<Code, String> {
        if !self.known.contains_key(&kind) {
            let code = self.new_code(kind)?;
            self.known.insert(kind, code);
        }
        Ok(self.known[&kind].clone())
    }

    /// Code that is made now, in an engine of its own.
    pub fn new_code(&self, kind: Kind) -> Result<Code, String> {
        let engine = self.engine(kind)?;
        let none = Listeners::none();
        let compile = |m| Ok(engine.compile(m, &none, kind.ensure_termination, &|_| {})?.0);
        let made: Result<_, executor_model::EngineError> =
            self.modules.iter().map(compile).collect();
        Ok((engine.clone(), made.map_err(text)?))
    }

    /// The code that the suspended call of a store goes on with.
    pub fn continuations(
        &self,
        kind: Kind,
        store: &Store,
    ) -> Result<Vec<Arc<CompiledModule>>, String> {
        let engine = self.engine(kind)?;
        let sites = store.suspended_sites();
        let compile = |module: &Module| {
            let sites = sites.get(&module.hash)?;
            let (bytes, hash) = (&module.bytes, module.hash);
            Some(engine.compile_continuations(bytes, hash, sites, &Listeners::none()))
        };
        self.modules.iter().filter_map(compile).collect::<Result<_, _>>().map_err(text)
    }
}
