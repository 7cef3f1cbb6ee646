//! A small engine to hold the contract against: an interpreter of straight-line functions.
//!
//! Invariant: it knows nothing of the checks. It runs any module whose functions use only the
//! operators of [`code::Op`], and refuses every other when compiling.

mod code;
mod interpreter;
mod store;
mod view;

use code::Code;
use executor_model::{Engine, EngineError, InstanceId, Listeners, Module, ModuleHash};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};
use store::MockStore;
use view::MockView;

type Modules = HashMap<ModuleHash, Arc<Code>>;

/// The engine.
pub struct MockEngine {
    /// `None` once closed.
    modules: Mutex<Option<Modules>>,
}

impl Default for MockEngine {
    fn default() -> Self {
        Self { modules: Mutex::new(Some(Modules::new())) }
    }
}

impl MockEngine {
    fn modules(&self) -> MutexGuard<'_, Option<Modules>> {
        self.modules.lock().unwrap()
    }
}

impl Engine for MockEngine {
    type Store = MockStore;
    type ModuleEngine<'s> = MockView<'s>;

    fn new_store(&self) -> Result<MockStore, EngineError> {
        self.modules().as_ref().map(|_| MockStore::default()).ok_or(EngineError::Closed)
    }

    fn close(&self) -> Result<(), EngineError> {
        *self.modules() = None;
        Ok(())
    }

    /// Straight-line code always ends, so `ensure_termination` asks for nothing more.
    fn compile_module(
        &self,
        module: &Module,
        listeners: &Listeners,
        _ensure_termination: bool,
    ) -> Result<(), EngineError> {
        let mut modules = self.modules();
        let modules = modules.as_mut().ok_or(EngineError::Closed)?;
        let code = Code::new(module, listeners).map_err(EngineError::Unsupported)?;
        modules.insert(module.hash, Arc::new(code));
        Ok(())
    }

    fn compiled_module_count(&self) -> u32 {
        self.modules().as_ref().map_or(0, |modules| modules.len() as u32)
    }

    fn delete_compiled_module(&self, module: &Module) {
        if let Some(modules) = self.modules().as_mut() {
            modules.remove(&module.hash);
        }
    }

    fn new_module_engine<'s>(
        &self,
        module: &Module,
        store: &'s mut MockStore,
    ) -> Result<MockView<'s>, EngineError> {
        let modules = self.modules();
        let code = modules.as_ref().ok_or(EngineError::Closed)?.get(&module.hash);
        let id = store.allocate(code.ok_or(EngineError::NotCompiled(module.hash))?);
        Ok(MockView { store, id })
    }

    fn module_engine<'s>(
        &self,
        store: &'s mut MockStore,
        instance: InstanceId,
    ) -> Option<MockView<'s>> {
        store.instances.get(instance.position())?;
        Some(MockView { store, id: instance })
    }
}
