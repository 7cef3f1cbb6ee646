//! The state of a store as plain data: what a snapshot writes and what a restore needs.
//!
//! Invariant: nothing here is an address or machine code; links are distances in the *dense
//! placement*, where the slots of the instances follow each other in the order of their ids, which
//! is how a restore lays them out.

use crate::vm::CompiledModule;
use executor_code::{
    file::{CallSite, Place},
    layout::PAGE,
};
use executor_files::Trust;
use executor_model::{InstanceId, ModuleHash, RawValue, ValType};
use std::{cmp::Reverse, convert::Infallible, fs::File, ops::Range, sync::Arc};

/// Runs of zeroes that are shorter are kept: a mapping of their own costs more than they do.
const MIN_GAP: usize = 16 * PAGE as usize;

/// The state of a store, borrowed from it.
#[derive(Debug)]
pub struct StoreState<'a> {
    /// Its instances, in the order of their ids.
    pub instances: Vec<InstanceState<'a>>,
    /// The call that is suspended in it.
    pub call: Option<&'a CallState>,
}

/// A suspended call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallState {
    /// Its frames, outermost first. The last is of the imported function that is about to be called.
    pub frames: Vec<FrameState>,
}

/// A frame of a suspended call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameState {
    /// Whose function it is of.
    pub instance: InstanceId,
    /// The function, and the call that it waits for.
    pub site: CallSite,
    /// The locals that live on, the operands below the arguments of the call, and the exceptions that
    /// may be thrown again; of an imported function, the arguments.
    pub values: Vec<StateValue>,
}

/// A value of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateValue {
    /// What it is.
    pub place: Place,
    /// Its type, as the module of the function has it.
    pub ty: ValType,
    /// Its bits; those beyond its type's are 0.
    pub value: RawValue,
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

/// Where a captured store lies in files.
#[derive(Debug)]
pub struct RestorePlan {
    /// Whose files are restored.
    pub trust: Trust,
    /// The files; they must be private to this user, unless the user vouches for them. The state blocks are in the first, and each is mapped
    /// from by the extents that name it.
    pub files: Vec<Arc<File>>,
    /// The instances, in the order of their ids.
    pub instances: Vec<InstancePlan>,
    /// The call that is suspended in it.
    pub call: Option<Arc<CallState>>,
}

/// An instance to be restored.
#[derive(Debug)]
pub struct InstancePlan {
    /// Its module.
    pub module: Arc<CompiledModule>,
    /// As in [`InstanceState`].
    pub instantiated: bool,
    /// Where its state block lies in the first file, a multiple of 4096.
    pub block: u64,
    /// The parts of each owned table that are not null.
    pub tables: Vec<Vec<Extent>>,
    /// The parts of each owned memory that are not zero.
    pub memories: Vec<Vec<Extent>>,
    /// The parts of each owned memory that the first call is known to write to, in bytes; whole pages
    /// of the host. They are brought in at once.
    pub working_set: Vec<Vec<Range<u64>>>,
}

/// A part of a table or memory that is mapped from a file. Places and lengths are multiples of 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The position of the file in [`RestorePlan::files`].
    pub source: u32,
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

/// At most `most` ranges, each beginning at a page, outside which `bytes` are zero. Of the runs of
/// zeroes between them the longest are left out, and none shorter than 64 KiB.
#[must_use]
pub fn nonzero(bytes: &[u8], most: usize) -> Vec<Range<usize>> {
    let Ok(runs) = runs_unlike(bytes.len(), |page| Ok::<_, Infallible>(is_zero(&bytes[page])));
    joined(runs, most)
}

/// The ranges of `len` bytes, each beginning at a page, outside which every page is as it is expected: `alike`
/// says of each page in order whether it is. Runs of fewer than 16 pages between two ranges belong to them.
///
/// # Errors
/// Those of `alike`.
pub fn runs_unlike<E>(
    len: usize,
    mut alike: impl FnMut(Range<usize>) -> Result<bool, E>,
) -> Result<Vec<Range<usize>>, E> {
    let mut runs = Vec::<Range<usize>>::new();
    for start in (0..len).step_by(PAGE as usize) {
        let end = len.min(start + PAGE as usize);
        if alike(start..end)? {
            continue;
        }
        match runs.last_mut() {
            Some(last) if start - last.end < MIN_GAP => last.end = end,
            _ => runs.push(start..end),
        }
    }
    Ok(runs)
}

/// Ascending ranges as at most `most` (one at least), joined where the shortest gaps are.
#[must_use]
pub fn joined(mut runs: Vec<Range<usize>>, most: usize) -> Vec<Range<usize>> {
    if runs.len() > most {
        // Gap i lies between runs i and i + 1. The first of equal gaps wins, so that equal states
        // become equal files.
        let mut gaps: Vec<usize> = (0..runs.len() - 1).collect();
        gaps.sort_by_key(|&i| Reverse(runs[i + 1].start - runs[i].end));
        gaps.truncate(most.saturating_sub(1));
        gaps.sort_unstable();
        let starts = std::iter::once(0).chain(gaps.iter().map(|i| i + 1));
        let ends = gaps.iter().copied().chain([runs.len() - 1]);
        runs = starts.zip(ends).map(|(a, b)| runs[a].start..runs[b].end).collect();
    }
    runs
}

/// Whether all bytes are zero. Looks at 256 at a time: enough to be done with vectors, and quick to give up.
#[must_use]
pub fn is_zero(page: &[u8]) -> bool {
    let (blocks, rest) = page.as_chunks::<256>();
    blocks.iter().all(|block| {
        let (words, _) = block.as_chunks::<16>();
        words.iter().fold(0, |all, word| all | u128::from_ne_bytes(*word)) == 0
    }) && rest.iter().all(|&b| b == 0)
}
