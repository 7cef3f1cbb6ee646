//! Restores a snapshot a number of times, in a process of its own (`system_calls.rs` counts what
//! that takes).
//!
//! `restorer CODE_CACHE SNAPSHOT TIMES`: like any process that restores, it has no compiler. Each
//! time it opens the file, restores the store, calls `get` of the last instance, and drops all.
#![forbid(unsafe_code)]

use executor_code::CodeCache;
use executor_model::{EngineError, Features, InstanceId};
use executor_runtime::{EngineConfig, Linker, NativeEngine, StoreConfig};
use executor_snapshot::{SnapshotFile, restore};
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().ok_or("restorer CODE_CACHE SNAPSHOT TIMES");
    let cache = Some(CodeCache::new(next()?.into()));
    let (snapshot, times) = (next()?, next()?.parse()?);
    let features = Features::ALL;
    let engine = NativeEngine::new(EngineConfig { cache, features, ..EngineConfig::default() })?;
    let mut last = Vec::new();
    for _ in 0..times {
        let file = SnapshotFile::open(&snapshot)?;
        let code = |hash| -> Result<_, Box<dyn Error>> {
            let (code, _) = engine.load(&hash)?.ok_or(EngineError::NotCompiled(hash))?;
            Ok(code)
        };
        let mut store = restore(&engine, Linker::new(), StoreConfig::default(), &file, code)?;
        let main = InstanceId::from_position(store.instance_count() - 1);
        let get = store.exported_func(main, "get").ok_or("there is no `get`")?;
        last = store.call(get, &[])?;
    }
    println!("{last:?}");
    Ok(())
}
