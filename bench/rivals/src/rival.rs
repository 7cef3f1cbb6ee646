//! Wasmtime, embedded, with a guest.
//!
//! Invariant: what can be done once for all instances is done once, as a careful embedder would:
//! the module is compiled, its imports are resolved, and its memory image is made.

use crate::host::{self, Host};
use executor_bench::{Answer, Call, Guest};
use wasmtime::{
    Config, Enabled, Engine, Instance, InstanceAllocationStrategy, InstancePre, Linker, Module,
    PoolingAllocationConfig, Result, Store, Val, bail, ensure, error::Context,
};

/// Where instances come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// The system, each time.
    OnDemand,
    /// Slots that are kept, with memory images mapped copy-on-write.
    Pooling,
}

/// A guest in Wasmtime.
pub struct Rival {
    call: Call,
    also: Vec<Call>,
    engine: Engine,
    pre: InstancePre<Host>,
}

fn engine(allocation: Allocation) -> Result<Engine> {
    let mut config = Config::new();
    if allocation == Allocation::Pooling {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(4).total_memories(4).total_tables(4);
        // The large guest has 50,000 table elements, and as many functions that can be referred to.
        pool.table_elements(1 << 16).max_core_instance_size(16 << 20);
        // What makes a used slot cheapest to reset.
        pool.linear_memory_keep_resident(4 << 20).table_keep_resident(1 << 20);
        pool.pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    Engine::new(&config)
}

impl Rival {
    /// Compiles a module of a guest, and resolves its imports.
    pub fn new(guest: &Guest, wasm: &[u8], allocation: Allocation) -> Result<Self> {
        let engine = engine(allocation)?;
        let module = Module::new(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        host::add_to_linker(&mut linker, &module)?;
        let pre = linker.instantiate_pre(&module)?;
        Ok(Self { call: guest.call.clone(), also: guest.also.clone(), engine, pre })
    }

    /// Compiles a module on all cores.
    pub fn compile(&self, wasm: &[u8]) -> Result<Module> {
        Module::new(&self.engine, wasm)
    }

    /// A fresh instance in a store of its own.
    pub fn instantiate(&self) -> Result<(Store<Host>, Instance)> {
        let mut store = Store::new(&self.engine, Host::default());
        let instance = self.pre.instantiate(&mut store)?;
        Ok((store, instance))
    }

    /// An instance whose initialisation has run.
    pub fn ready(&self, inits: &[&str]) -> Result<(Store<Host>, Instance)> {
        let (mut store, instance) = self.instantiate()?;
        for name in inits {
            let func = instance.get_func(&mut store, name).context("no such export")?;
            let mut results = [const { Val::I32(0) }; 1];
            let count = func.ty(&store).results().len();
            func.call(&mut store, &[], &mut results[..count])?;
            // QuickJS says so when it has failed.
            ensure!(results[0].unwrap_i32() == 0, "{name} failed");
        }
        Ok((store, instance))
    }

    /// An instance that was made ready and called.
    pub fn served(&self, inits: &[&str]) -> Result<Store<Host>> {
        let (mut store, instance) = self.ready(inits)?;
        ask(&mut store, instance, &self.call)?;
        Ok(store)
    }

    /// As [`Self::served`], with types that the host's compiler knows.
    pub fn served_typed(&self, inits: &[&str]) -> Result<Store<Host>> {
        let (mut store, instance) = self.ready(inits)?;
        let Call { export, params, .. } = &self.call;
        match params[..] {
            [] => instance.get_typed_func::<(), ()>(&mut store, export)?.call(&mut store, ())?,
            [a] => {
                instance.get_typed_func::<i32, i32>(&mut store, export)?.call(&mut store, a)?;
            }
            [a, b] => {
                let func = instance.get_typed_func::<(i32, i32), i32>(&mut store, export)?;
                func.call(&mut store, (a, b))?;
            }
            _ => bail!("a call of {} arguments", params.len()),
        }
        Ok(store)
    }

    /// Makes every call of the guest once, and refuses wrong answers.
    pub fn check(&self, inits: &[&str]) -> Result<()> {
        let (mut store, instance) = self.ready(inits)?;
        for call in self.also.iter().chain([&self.call]) {
            let result = ask(&mut store, instance, call)?;
            let output = std::mem::take(&mut store.data_mut().stdout);
            ensure!(call.answer.accepts(result, &output), "{call:?} answered {result:?}");
        }
        Ok(())
    }
}

fn ask(store: &mut Store<Host>, instance: Instance, call: &Call) -> Result<Option<i32>> {
    let func = instance.get_func(&mut *store, call.export).context("no such export")?;
    let mut params = [const { Val::I32(0) }; 4];
    for (to, n) in params.iter_mut().zip(&call.params) {
        *to = Val::I32(*n);
    }
    let mut results = [const { Val::I32(0) }; 1];
    let count = usize::from(!matches!(call.answer, Answer::Output(_)));
    func.call(&mut *store, &params[..call.params.len()], &mut results[..count])?;
    Ok(results[..count].first().map(Val::unwrap_i32))
}
