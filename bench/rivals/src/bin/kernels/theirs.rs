//! Wasmtime's side.

use crate::{Guest, Result};
use std::fmt::Display;
use wasmtime::{Config, Engine, Instance, Linker, Module, Store, Val};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, p1, p1::WasiP1Ctx};

/// How many ticks of the epoch a call may take; nobody ticks.
const EPOCHS: u64 = 1 << 40;

/// An instance with WASI, and with `/dev` as a directory of the guest.
pub struct Theirs {
    store: Store<WasiP1Ctx>,
    instance: Instance,
}

fn text(error: impl Display) -> String {
    format!("Wasmtime: {error}")
}

impl Theirs {
    /// A fresh instance of a reactor, which can be interrupted, by epochs, or not.
    pub fn new(wasm: &[u8], interruption: bool) -> Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(interruption);
        let engine = Engine::new(&config).map_err(text)?;
        let module = Module::new(&engine, wasm).map_err(text)?;
        let mut linker = Linker::new(&engine);
        p1::add_to_linker_sync(&mut linker, |ctx: &mut WasiP1Ctx| ctx).map_err(text)?;
        let mut wasi = WasiCtxBuilder::new();
        // As its command does: without it, each write to a file would be one of another thread.
        wasi.inherit_stdout().allow_blocking_current_thread(true);
        wasi.preopened_dir("/dev", "/dev", FsPerms::ReadWrite).map_err(text)?;
        let mut store = Store::new(&engine, wasi.build_p1());
        if interruption {
            store.set_epoch_deadline(EPOCHS);
        }
        let instance = linker.instantiate(&mut store, &module).map_err(text)?;
        let mut this = Self { store, instance };
        this.call("_initialize", &[])?;
        Ok(this)
    }
}

impl Guest for Theirs {
    fn call(&mut self, export: &str, params: &[i32]) -> Result<i64> {
        let func = self.instance.get_func(&mut self.store, export).ok_or("no such export")?;
        let params: Vec<Val> = params.iter().map(|n| Val::I32(*n)).collect();
        let mut results = [Val::I64(0)];
        let count = func.ty(&self.store).results().len();
        func.call(&mut self.store, &params, &mut results[..count]).map_err(text)?;
        match results {
            [Val::I32(n)] => Ok(n.into()),
            [Val::I64(n)] => Ok(n),
            [other] => Err(text(format!("{export} returned {other:?}"))),
        }
    }
}
