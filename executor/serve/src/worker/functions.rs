//! The functions that a worker has open.
//!
//! Invariant: at most so many are kept; the one that was used longest ago goes first. Calls of one that went keep it
//! as long as they run.

use crate::wire::{self, Callee};
use executor::{Error, Function, Idle, Runtime, SnapshotId};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug)]
pub(super) struct Functions {
    runtime: Runtime,
    max: usize,
    open: Mutex<Open>,
    /// What was last read of how functions are called, by its encoding.
    callees: Mutex<HashMap<Box<[u8]>, Arc<Callee>>>,
}

#[derive(Debug, Default)]
struct Open {
    functions: HashMap<[u8; 32], Kept>,
    /// How often a function was asked for: the clock of their use.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    function: Function,
    used: u64,
}

impl Functions {
    pub(super) fn new(runtime: Runtime, max: usize) -> Self {
        Self { runtime, max: max.max(1), open: Mutex::default(), callees: Mutex::default() }
    }

    /// Reads how a function is called.
    ///
    /// # Errors
    /// When the bytes say nothing of that.
    pub(super) fn callee(&self, encoded: &[u8]) -> io::Result<Arc<Callee>> {
        let mut callees = self.callees.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(callee) = callees.get(encoded) {
            return Ok(Arc::clone(callee));
        }
        let callee: Arc<Callee> = Arc::new(wire::decode(encoded)?);
        if callees.len() >= self.max {
            callees.clear();
        }
        callees.insert(encoded.into(), Arc::clone(&callee));
        Ok(callee)
    }

    /// The function of a snapshot of the store.
    pub(super) fn get(&self, snapshot: [u8; 32]) -> Result<Function, Error> {
        if let Some(function) = self.open().get(snapshot) {
            return Ok(function);
        }
        // Outside the lock: it reads files. Two threads may open the same one, and one of them is kept.
        let function = self.runtime.function_of(SnapshotId(snapshot))?;
        let evicted = self.open().keep(snapshot, function.clone(), self.max);
        if let Some(evicted) = evicted {
            evicted.function.forget_code();
        }
        Ok(function)
    }

    /// The stores that wait between calls, by snapshot.
    pub(super) fn kept(&self) -> impl Iterator<Item = ([u8; 32], Idle)> {
        let open = self.open();
        let functions = open.functions.iter().map(|(id, kept)| (*id, kept.function.clone()));
        let functions: Vec<_> = functions.collect();
        drop(open);
        let kept = functions.into_iter().map(|(id, function)| (id, function.idle()));
        kept.filter(|(_, idle)| idle.stores > 0)
    }

    /// The bytes that they take.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.runtime.pool_stats().idle_bytes
    }

    /// Gives up stores that wait, until so many bytes are free.
    pub(super) fn give_up(&self, bytes: u64) {
        self.runtime.give_up_idle(bytes);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn get(&mut self, snapshot: [u8; 32]) -> Option<Function> {
        self.uses += 1;
        let kept = self.functions.get_mut(&snapshot)?;
        kept.used = self.uses;
        Some(kept.function.clone())
    }

    /// Keeps a function; returns the one that goes for it.
    fn keep(&mut self, snapshot: [u8; 32], function: Function, max: usize) -> Option<Kept> {
        let full = self.functions.len() >= max && !self.functions.contains_key(&snapshot);
        let oldest = || self.functions.iter().min_by_key(|(_, kept)| kept.used).map(|(id, _)| *id);
        let evicted = full.then(oldest).flatten().and_then(|id| self.functions.remove(&id));
        self.functions.insert(snapshot, Kept { function, used: self.uses });
        evicted
    }
}
