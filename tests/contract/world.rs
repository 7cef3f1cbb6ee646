//! What the checks stand on: an engine, a store, and modules in the text format.

use executor_code::Compiler;
use executor_compiler::NativeCompiler;
use executor_model::{
    CallError, Engine, Features, InstanceId, Module, ModuleEngine, ModuleHash, Val,
};
use executor_model::{Listeners, TrapCode};
use std::sync::{Arc, LazyLock};

/// An engine that the contract can be checked of: its calls may run on any thread.
pub trait Subject: Engine<Store: Send> + Send + Sync + 'static {}

impl<E: Engine<Store: Send> + Send + Sync + 'static> Subject for E {}

/// Decodes a module in the text format.
pub fn module(text: &str) -> Module {
    static DECODER: LazyLock<NativeCompiler> = LazyLock::new(|| NativeCompiler::new().unwrap());
    let wasm = wat::parse_str(text).unwrap();
    DECODER.decode(&wasm, ModuleHash::of(&wasm), Features::default()).unwrap()
}

/// The index of an export.
pub fn index(module: &Module, name: &str) -> u32 {
    module.info.export(name).unwrap().index
}

/// The code of the trap that a call ended with.
pub fn trap_of<T: std::fmt::Debug>(result: Result<T, CallError>) -> TrapCode {
    match result {
        Err(CallError::Trap(trap)) => trap.code,
        other => panic!("expected a trap, found {other:?}"),
    }
}

/// A store of an engine, and the module of each of its instances.
pub struct World<E: Subject> {
    pub engine: Arc<E>,
    pub store: E::Store,
    modules: Vec<Module>,
}

impl<E: Subject> World<E> {
    pub fn new(engine: &Arc<E>) -> Self {
        let store = engine.new_store().unwrap();
        Self { engine: Arc::clone(engine), store, modules: Vec::new() }
    }

    /// Makes an instance of a compiled module, with nothing resolved or run.
    pub fn allocate(&mut self, module: &Module) -> InstanceId {
        let id = self.engine.new_module_engine(module, &mut self.store).unwrap().instance();
        self.modules.push(module.clone());
        id
    }

    /// Compiles a module and makes an instance of it, with nothing resolved or run.
    pub fn begin(&mut self, text: &str) -> InstanceId {
        let module = module(text);
        self.engine.compile_module(&module, &Listeners::none(), true).unwrap();
        self.allocate(&module)
    }

    /// Compiles and instantiates a module without imports.
    pub fn add(&mut self, text: &str) -> InstanceId {
        let id = self.begin(text);
        self.view(id).done_instantiation().unwrap();
        id
    }

    pub fn view(&mut self, id: InstanceId) -> E::ModuleEngine<'_> {
        self.engine.module_engine(&mut self.store, id).unwrap()
    }

    pub fn module(&self, id: InstanceId) -> &Module {
        &self.modules[id.position()]
    }

    /// The index of an instance's export.
    pub fn index(&self, id: InstanceId, name: &str) -> u32 {
        index(self.module(id), name)
    }

    pub fn call(
        &mut self,
        id: InstanceId,
        name: &str,
        params: &[Val],
    ) -> Result<Vec<Val>, CallError> {
        let index = self.index(id, name);
        self.view(id).new_function(index).unwrap().call(params)
    }

    /// Calls a function of one `i32` result.
    pub fn number(&mut self, id: InstanceId, name: &str, params: &[i32]) -> i32 {
        let params: Vec<Val> = params.iter().map(|n| Val::I32(*n)).collect();
        match *self.call(id, name, &params).unwrap() {
            [Val::I32(n)] => n,
            ref other => panic!("{name} gives {other:?}"),
        }
    }
}
