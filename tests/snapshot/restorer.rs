//! Restores a snapshot a number of times, in a process of its own: `system_calls.rs` and `kept.rs`
//! count what that takes.
//!
//! `restorer CODE_CACHE SNAPSHOT TIMES [kept|idle|crowd]`: like any process that restores, it has no compiler. Each
//! time it opens the file, restores the store, calls `get` of the last instance, and drops all. With
//! `kept` the file is opened once, and the stores are kept ones. With `idle` nothing is called or dropped until
//! the process has said how many bytes and mappings it has for each store; with `crowd` nothing is dropped until as many have
//! been called as were asked for or the system maps.
#![forbid(unsafe_code)]

use executor_code::CodeCache;
use executor_model::{EngineError, Features, InstanceId, ModuleHash, Val};
use executor_runtime::{CompiledModule, EngineConfig, Linker, NativeEngine, Store, StoreConfig};
use executor_snapshot::{SnapshotFile, image, restore};
use std::{env, error::Error, fs, sync::Arc};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next =
        || arguments.next().ok_or("restorer CODE_CACHE SNAPSHOT TIMES [kept|idle|crowd]");
    let cache = Some(CodeCache::new(next()?.into()));
    let (snapshot, times): (_, u64) = (next()?, next()?.parse()?);
    let how = next().ok();
    let features = Features::ALL;
    let config = EngineConfig { cache, features, ..EngineConfig::default() };
    let engine = NativeEngine::new(config)?;
    let code = |hash: ModuleHash| -> Result<Arc<CompiledModule>> {
        let (code, _) = engine.load(&hash)?.ok_or(EngineError::NotCompiled(hash))?;
        Ok(code)
    };
    let kept = || {
        let file = SnapshotFile::open(&snapshot)?;
        image(&engine, Linker::new(), StoreConfig::default(), &file, code)
    };
    let mut last = Vec::new();
    match how.as_deref() {
        Some("kept") => {
            let image = kept()?;
            for _ in 0..times {
                last = get(&mut image.acquire()?)?;
            }
        }
        Some("idle") => {
            let image = kept()?;
            // What all stores share is there before the first is counted.
            let first = image.acquire()?;
            let before = (private_bytes()?, mappings()?);
            let mut stores = Vec::new();
            for _ in 0..times {
                stores.push(image.acquire()?);
            }
            let after = (private_bytes()?, mappings()?);
            println!("{} {}", (after.0 - before.0) / times, (after.1 - before.1).div_ceil(times));
            drop((first, stores));
            return Ok(());
        }
        Some("crowd") => {
            let image = kept()?;
            let mut waits = image.acquire()?;
            let mut stores = Vec::new();
            for _ in 0..times {
                // There is an end to what the system maps.
                let Ok(mut store) = image.acquire() else { break };
                get(&mut store)?;
                stores.push(store);
            }
            println!("{} {} {:?}", stores.len(), mappings()?, get(&mut waits)?);
            drop((waits, stores));
            last = get(&mut image.acquire()?)?;
        }
        _ => {
            for _ in 0..times {
                let file = SnapshotFile::open(&snapshot)?;
                let (linker, config) = (Linker::new(), StoreConfig::default());
                last = get(&mut restore(&engine, linker, config, &file, code)?)?;
            }
        }
    }
    println!("{last:?}");
    Ok(())
}

fn get(store: &mut Store) -> Result<Vec<Val>> {
    let main = InstanceId::from_position(store.instance_count() - 1);
    let get = store.exported_func(main, "get").ok_or("there is no `get`")?;
    Ok(store.call(get, &[])?)
}

/// The bytes in memory that are this process's alone.
fn private_bytes() -> Result<u64> {
    let mut sum = 0;
    for line in fs::read_to_string("/proc/self/smaps_rollup")?.lines() {
        if let Some(rest) =
            line.strip_prefix("Private_Clean:").or(line.strip_prefix("Private_Dirty:"))
        {
            sum += rest.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
        }
    }
    Ok(sum)
}

fn mappings() -> Result<u64> {
    Ok(fs::read_to_string("/proc/self/maps")?.lines().count() as u64)
}
