//! The executor's side.

use crate::{Guest, Result};
use executor_code::Compiler;
use executor_compiler::NativeCompiler;
use executor_model::{InstanceId, Listeners, ModuleHash, Val};
use executor_runtime::{EngineConfig, Linker, NativeEngine, Store, StoreConfig};
use executor_wasi::WasiCtxBuilder;
use std::{fmt::Display, sync::Arc};

/// An instance with WASI, and with `/dev` as a directory of the guest.
#[derive(Debug)]
pub struct Ours(Store);

fn text(error: impl Display) -> String {
    format!("the executor: {error}")
}

fn instance() -> InstanceId {
    InstanceId::from_position(0)
}

impl Ours {
    /// A fresh instance of a reactor, which can be interrupted or not.
    pub fn new(wasm: &[u8], interruption: bool) -> Result<Self> {
        let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().map_err(text)?);
        let config = EngineConfig { compiler: Some(compiler), ..EngineConfig::default() };
        let engine = NativeEngine::new(config).map_err(text)?;
        let module = engine.decode(wasm, ModuleHash::of(wasm)).map_err(text)?;
        let compiled = engine.compile(&module, &Listeners::none(), interruption, &|_| {});
        let mut linker = Linker::new();
        executor_wasi::add_to_linker(&mut linker);
        let mut store = Store::new(&engine, linker, StoreConfig::default()).map_err(text)?;
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopen("/dev", "/dev").map_err(text)?;
        store.set_data(wasi.build().map_err(text)?);
        store.instantiate(&compiled.map_err(text)?.0).map_err(text)?;
        let mut this = Self(store);
        this.call("_initialize", &[])?;
        Ok(this)
    }
}

impl Guest for Ours {
    fn call(&mut self, export: &str, params: &[i32]) -> Result<i64> {
        let func = self.0.exported_func(instance(), export).ok_or("no such export")?;
        let params: Vec<Val> = params.iter().map(|n| Val::I32(*n)).collect();
        match *self.0.call(func, &params).map_err(text)? {
            [Val::I64(n)] => Ok(n),
            [Val::I32(n)] => Ok(n.into()),
            _ => Ok(0),
        }
    }
}
