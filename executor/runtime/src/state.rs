//! The state of a store as plain data: what a snapshot writes and what a restore needs.
//!
//! Invariant: nothing here is an address or machine code; links are distances in the *dense
//! placement*, where the slots of the instances follow each other in the order of their ids, which
//! is how a restore lays them out.

use crate::module::CompiledModule;
use executor_model::ModuleHash;
use std::{fs::File, sync::Arc};

/// The state of a store, borrowed from it.
#[derive(Debug)]
pub struct StoreState<'a> {
    /// Its instances, in the order of their ids.
    pub instances: Vec<InstanceState<'a>>,
}

/// The state of an instance.
#[derive(Debug)]
pub struct InstanceState<'a> {
    /// The hash of its module's bytes.
    pub module: ModuleHash,
    /// False when its instantiation failed; others may still refer to its functions.
    pub instantiated: bool,
    /// Its state block, a multiple of 4096 bytes, links as in the dense placement.
    pub block: Vec<u8>,
    /// The elements of each owned table, 8 bytes each.
    pub tables: Vec<&'a [u8]>,
    /// The bytes of each owned memory, a multiple of its page size.
    pub memories: Vec<&'a [u8]>,
}

/// A store to be restored from a file.
#[derive(Debug)]
pub struct RestorePlan<'a> {
    /// The file; it must be private to this user.
    pub file: &'a File,
    /// The instances, in the order of their ids.
    pub instances: Vec<InstancePlan>,
}

/// An instance to be restored.
#[derive(Debug)]
pub struct InstancePlan {
    /// Its module.
    pub module: Arc<CompiledModule>,
    /// As in [`InstanceState`].
    pub instantiated: bool,
    /// Where its state block lies in the file, a multiple of 4096.
    pub block: u64,
    /// The parts of each owned table that are not null.
    pub tables: Vec<Vec<Extent>>,
    /// The parts of each owned memory that are not zero.
    pub memories: Vec<Vec<Extent>>,
}

/// A part of a table or memory that is mapped from the file. Every field is a multiple of 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it lies in the table or memory, in bytes.
    pub at: u64,
    /// Where it lies in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// Where the `vmctx` of each instance lies in the dense placement, and the length of it all.
pub(crate) fn dense_placement<'m>(
    modules: impl Iterator<Item = &'m Arc<CompiledModule>>,
) -> (Vec<u64>, u64) {
    let mut end = 0;
    let origins = modules.map(|module| {
        let header = module.code().header();
        let origin = end + header.before;
        end = origin + header.after;
        origin
    });
    (origins.collect(), end)
}
