//! What differs between two snapshots.
//!
//! Invariant: whatever is part of the state of either is compared, or said not to be comparable. Not
//! compared is what is no state: when and by which release a snapshot was made, how its file is laid
//! out, and which pages its first call writes to.

mod facts;
mod instances;
mod stack;

pub use facts::FactDifference;
pub use instances::{
    ElementDifference, GlobalDifference, InstanceDifference, MemoryDifference, RunDifference,
    TableDifference,
};
pub use stack::{FrameDifference, StackDifference, ValueDifference};

use crate::{Error, Inspection, Runtime, Snapshot, contents::Contents};
use serde::Serialize;

/// A fact that the two tell differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// As the first has it.
    pub a: T,
    /// As the second has it.
    pub b: T,
}

impl<T: PartialEq> Change<T> {
    fn between(a: T, b: T) -> Option<Self> {
        (a != b).then_some(Self { a, b })
    }
}

/// What differs between two snapshots, also as JSON.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// Whether nothing does.
    pub same: bool,
    /// The identity of the first.
    pub a: String,
    /// The identity of the second.
    pub b: String,
    /// What they say about themselves, and the host's side of WASI.
    pub facts: Vec<FactDifference>,
    /// The frames of the calls that they are inside of.
    pub stack: Option<StackDifference>,
    /// The instances that differ, in order of their numbers.
    pub instances: Vec<InstanceDifference>,
}

impl Difference {
    /// Compares two snapshots. Modules, or their code, are looked for in the runtime's store.
    ///
    /// # Errors
    /// When either cannot be read, or does not fit its modules.
    pub fn between(runtime: &Runtime, a: &Snapshot, b: &Snapshot) -> Result<Self, Error> {
        let facts = facts::compare(
            &Inspection::facts(a)?,
            &Inspection::facts(b)?,
            (a.file().manifest(), b.file().manifest()),
        )?;
        let both = (Contents::of(runtime, a)?, Contents::of(runtime, b)?);
        let stack = stack::compare(&both.0, &both.1);
        let drawn = (drawn(a)?, drawn(b)?);
        let instances = instances::compare((&both.0, &both.1), (&drawn.0, &drawn.1))?;
        Ok(Self {
            same: facts.is_empty() && stack.is_none() && instances.is_empty(),
            a: a.id().to_string(),
            b: b.id().to_string(),
            facts,
            stack,
            instances,
        })
    }
}

/// Where random bytes were drawn to before a snapshot was taken.
fn drawn(snapshot: &Snapshot) -> Result<Vec<executor_wasi::MemoryRange>, Error> {
    let Some(state) = &snapshot.file().manifest().wasi else { return Ok(Vec::new()) };
    let ledger = executor_wasi::WasiState::decode(state)?.entropy()?;
    Ok(ledger.draws.into_iter().map(|draw| draw.range).collect())
}
