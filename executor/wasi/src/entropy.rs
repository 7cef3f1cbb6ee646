//! The entropy ledger: which random bytes a guest drew before its state was captured.
//!
//! Invariant: every draw is entered, or counted when the ledger is full, so what a snapshot's restores
//! share is known. Only hashes of the bytes are kept. A restore reads nothing of it but the ranges that
//! are to be filled anew.

use crate::{Errno, WasiCtx, state::ENCODING};
use executor_model::InstanceId;
use executor_runtime::{Caller, Store};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How many draws are entered: a guest cannot make the ledger grow without end.
const MAX_DRAWS: usize = 256;
/// How much of a backtrace is kept: nor can names of functions make it grow.
const MAX_BACKTRACE: usize = 2048;

/// What becomes of randomness that the initialisation drew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Entropy {
    /// It is part of the state: every restore has the same.
    #[default]
    Keep,
    /// A state with any is refused.
    Deny,
    /// At each restore fresh bytes are written over the drawn ones, where they still are; of these
    /// draws only if addresses are given.
    Refill(Option<Vec<u32>>),
}

/// Bytes in a memory of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRange {
    /// The instance's number.
    pub instance: u32,
    /// The memory's index in the instance.
    pub memory: u32,
    /// Where they begin.
    pub address: u32,
    /// How many there are.
    pub len: u32,
}

impl MemoryRange {
    /// The bytes, if the memory has them.
    fn of<'m>(&self, memory: impl Fn(InstanceId, u32) -> Option<&'m [u8]>) -> Option<&'m [u8]> {
        let memory = memory(InstanceId::new(self.instance)?, self.memory)?;
        memory.get(self.address as usize..)?.get(..self.len as usize)
    }
}

/// A draw of random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// Where they were written.
    pub range: MemoryRange,
    /// The blake3 hash of them.
    pub hash: [u8; 32],
    /// The guest's functions at the draw, innermost first, one a line.
    pub backtrace: String,
    /// Whether they were still there when the state was captured.
    pub intact: bool,
}

impl fmt::Display for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryRange { address, len, .. } = self.range;
        let fate = if self.intact { "still there" } else { "no longer there" };
        write!(f, "{len} random bytes at {address:#x}, {fate}, drawn at\n{}", self.backtrace)
    }
}

/// The draws before the state was captured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The first ones.
    pub draws: Vec<Draw>,
    /// How many there were after those.
    pub more: u64,
}

/// Where a draw comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    instance: u32,
    memory: u32,
    /// Left out where the ledger has no room for it.
    backtrace: Option<String>,
}

/// The ledger of a guest that runs.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// That of the state it goes on from, as it was encoded there.
    earlier: Vec<u8>,
    ledger: Ledger,
}

impl Recorder {
    pub(crate) fn continuing(earlier: Vec<u8>) -> Self {
        Self { earlier, ledger: Ledger::default() }
    }

    /// Whether draws are still entered.
    pub(crate) fn has_room(&self) -> bool {
        self.ledger.draws.len() < MAX_DRAWS
    }

    pub(crate) fn enter(&mut self, origin: Origin, address: u32, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let Some(backtrace) = origin.backtrace else {
            self.ledger.more += 1;
            return;
        };
        let Origin { instance, memory, .. } = origin;
        let len = bytes.len() as u32;
        self.ledger.draws.push(Draw {
            range: MemoryRange { instance, memory, address, len },
            hash: *blake3::hash(bytes).as_bytes(),
            backtrace,
            intact: true,
        });
    }

    /// The whole ledger, with what is still there in the memories as they are now. `None` when the
    /// earlier one cannot be read.
    pub(crate) fn close<'m>(
        &self,
        memory: impl Fn(InstanceId, u32) -> Option<&'m [u8]>,
    ) -> Option<Ledger> {
        let mut all = Ledger::decode(&self.earlier)?;
        let room = MAX_DRAWS.saturating_sub(all.draws.len());
        all.draws.extend(self.ledger.draws.iter().take(room).cloned());
        all.more += self.ledger.more + self.ledger.draws.len().saturating_sub(room) as u64;
        for draw in &mut all.draws {
            let bytes = draw.range.of(&memory);
            draw.intact = bytes.is_some_and(|bytes| *blake3::hash(bytes).as_bytes() == draw.hash);
        }
        Some(all)
    }
}

impl Origin {
    /// Where the call in progress comes from.
    pub(crate) fn of(caller: &mut Caller<'_>) -> Self {
        let has_room = caller.data::<WasiCtx>().is_some_and(|ctx| ctx.ledger.has_room());
        let backtrace = has_room.then(|| {
            let mut text = caller.backtrace().to_string();
            text.truncate(text.floor_char_boundary(MAX_BACKTRACE));
            text
        });
        Self { instance: caller.instance().get(), memory: caller.memory_index(), backtrace }
    }
}

impl Ledger {
    /// Whether nothing was drawn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.draws.is_empty() && self.more == 0
    }

    /// As it is kept in a state: nothing at all when nothing was drawn.
    pub(crate) fn encode(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        bincode::serde::encode_to_vec(self, ENCODING).expect("plain data can be encoded")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (ledger, len) = bincode::serde::decode_from_slice(bytes, ENCODING).ok()?;
        (len == bytes.len()).then_some(ledger)
    }

    /// The ranges to be filled anew at a restore: where draws are still there, and of these only
    /// those at `addresses` if any are given. An address with no such draw is the error.
    pub(crate) fn to_refill(&self, addresses: Option<&[u32]>) -> Result<Vec<MemoryRange>, u32> {
        let intact = || self.draws.iter().filter(|draw| draw.intact).map(|draw| draw.range);
        let Some(addresses) = addresses else { return Ok(intact().collect()) };
        if let Some(none) = addresses.iter().find(|at| !intact().any(|r| r.address == **at)) {
            return Err(*none);
        }
        Ok(intact().filter(|range| addresses.contains(&range.address)).collect())
    }
}

/// Writes fresh random bytes over ranges of a store's memories. A range that is not in memory is
/// left out.
pub(crate) fn refill(ranges: &[MemoryRange], store: &mut Store) -> Result<(), Errno> {
    for range in ranges {
        let memory = |instance, memory| store.memory(instance, memory);
        let Some(mut fresh) = range.of(memory).map(<[u8]>::to_vec) else { continue };
        let Some(ctx) = store.data_mut::<WasiCtx>() else { return Ok(()) };
        ctx.random.fill(&mut fresh, || true)?;
        let instance = InstanceId::new(range.instance);
        let mut memory =
            instance.and_then(|id| store.memory_mut(id, range.memory)).unwrap_or_default();
        let start = range.address as usize;
        if let Some(bytes) = memory.get_mut(start..start + fresh.len()) {
            bytes.copy_from_slice(&fresh);
        }
    }
    Ok(())
}
