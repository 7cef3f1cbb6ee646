//! The native engine on small modules: calls, traps, host functions, linking, interruption, state.

mod arrays;
mod branches;
mod budget;
mod calls;
mod compiling;
mod damage;
mod exceptions;
mod found_objects;
mod interruption;
mod kept;
mod large_objects;
mod listeners;
mod lost;
mod lost_block;
mod lost_code;
mod memory;
mod objects;
mod references;
mod released;
mod shared;
mod state;
mod suspend;
mod trusted;

use executor_code::{Compiler, Progress};
use executor_compiler::NativeCompiler;
use executor_model::{InstanceId, Listeners, ModuleHash, Val};
use executor_runtime::{CompiledModule, EngineConfig, Linker, NativeEngine, Store, StoreConfig};
use std::sync::Arc;

const QUIET: Progress<'static> = &|_| {};

fn engine() -> NativeEngine {
    let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
    NativeEngine::new(EngineConfig { compiler: Some(compiler), ..EngineConfig::default() }).unwrap()
}

fn compile(engine: &NativeEngine, wat: &str) -> Arc<CompiledModule> {
    let wasm = wat::parse_str(wat).unwrap();
    let module = engine.decode(&wasm, ModuleHash::of(&wasm)).unwrap();
    engine.compile(&module, &Listeners::none(), true, QUIET).unwrap().0
}

fn instantiate(wat: &str) -> (Store, InstanceId) {
    instantiate_with(wat, Linker::new())
}

fn instantiate_with(wat: &str, linker: Linker) -> (Store, InstanceId) {
    let engine = engine();
    let module = compile(&engine, wat);
    let mut store = Store::new(&engine, linker, StoreConfig::default()).unwrap();
    let id = store.instantiate(&module).unwrap();
    (store, id)
}

fn call(
    store: &mut Store,
    id: InstanceId,
    name: &str,
    params: &[Val],
) -> Result<Vec<Val>, executor_model::CallError> {
    let func = store.exported_func(id, name).unwrap();
    store.call(func, params)
}
