//! What a snapshot shares with the one that it is laid over: pages that are the same bytes in the same place.
//!
//! Invariant: pages are found by content, so a layered snapshot is the state that was captured whatever its base
//! is; and the files that it has pages of are named by itself, so that a restore opens each once and follows no
//! chain. Of a table or memory at most [`MAX_LAYERED_EXTENTS`] pieces are mapped.

use crate::{
    SnapshotError, SnapshotFile,
    file::DataFile,
    format::{Area, Base, MAX_BASES, MAX_EXTENTS, MAX_LAYERED_EXTENTS},
};
use executor_code::layout::{PAGE, align_up};
use executor_files::ensure_private;
use executor_runtime::{Extent, StoreState, is_zero, joined, nonzero, runs_unlike};
use std::{ffi::OsStr, ops::Range};

const PAGE_BYTES: usize = PAGE as usize;
/// Read of a base at once.
const READ: usize = 1 << 20;

/// What of a state is in other snapshots already.
#[derive(Debug, Default)]
pub struct Layers {
    /// Of each instance its tables, then its memories.
    instances: Vec<Vec<Parts>>,
    bases: Vec<Base>,
    files: Vec<DataFile>,
}

/// How a table or memory is put together.
#[derive(Debug, Default, Clone)]
pub(crate) struct Parts {
    /// What is stored of it, in bytes.
    pub(crate) own: Vec<Range<usize>>,
    /// What is mapped from bases.
    pub(crate) shared: Vec<Extent>,
}

impl Layers {
    /// Looks for the pages of a state in the same instances, tables and memories of `base`. An instance of another
    /// module than the base's in its place shares nothing.
    ///
    /// # Errors
    /// When the base or a base of it cannot be read, or others could write to it; and when the snapshot would
    /// have pages of more files than a restore opens.
    pub fn find(state: &StoreState<'_>, base: &SnapshotFile) -> Result<Self, SnapshotError> {
        let files = base.files()?;
        for file in &files {
            ensure_private(file.file()).map_err(SnapshotError::io(file.path()))?;
        }
        let mut instances = Vec::with_capacity(state.instances.len());
        for (i, instance) in state.instances.iter().enumerate() {
            let old = base.instances().get(i).filter(|old| old.module == instance.module);
            let mut parts = Vec::new();
            for (items, areas, most) in [
                (&instance.tables, old.map(|old| &old.tables), 1),
                (&instance.memories, old.map(|old| &old.memories), MAX_EXTENTS),
            ] {
                for (at, bytes) in items.iter().enumerate() {
                    let area = areas.and_then(|areas| areas.get(at));
                    parts.push(match area {
                        Some(area) => share(bytes, area, &files, most)?,
                        None => Parts::alone(bytes, most),
                    });
                }
            }
            instances.push(parts);
        }

        // Only what is used is named; in the order of the base's own list.
        let all = || instances.iter().flatten().flat_map(|parts: &Parts| &parts.shared);
        let mut used: Vec<u32> = all().map(|extent| extent.source).collect();
        used.sort_unstable();
        used.dedup();
        if used.len() > MAX_BASES {
            return Err(SnapshotError::Chain { path: base.path().to_owned() });
        }
        for extent in instances.iter_mut().flatten().flat_map(|parts| &mut parts.shared) {
            let position = used.iter().position(|source| *source == extent.source);
            extent.source = position.map_or(0, |position| position as u32 + 1);
        }
        let named = |source: &u32| match source.checked_sub(1) {
            Some(at) => base.bases()[at as usize].clone(),
            None => itself(base),
        };
        let bases = used.iter().map(named).collect();
        let files = used.iter().map(|source| files[*source as usize].clone()).collect();
        Ok(Self { instances, bases, files })
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty()
    }

    pub(crate) fn parts(&self, instance: usize, area: usize) -> Option<&Parts> {
        self.instances.get(instance)?.get(area)
    }

    pub(crate) fn bases(&self) -> &[Base] {
        &self.bases
    }

    pub(crate) fn files(&self) -> &[DataFile] {
        &self.files
    }
}

impl Parts {
    /// A table or memory of which nothing is in a base, in at most so many pieces.
    pub(crate) fn alone(bytes: &[u8], most: usize) -> Self {
        Self { own: nonzero(bytes, most), shared: Vec::new() }
    }

    fn count(&self) -> usize {
        self.own.len() + self.shared.len()
    }
}

/// A snapshot as the base of another.
fn itself(file: &SnapshotFile) -> Base {
    let header = file.head().header();
    let id = file.id();
    let name = file.path().file_name().and_then(OsStr::to_str);
    // By its identity it is looked for in any case, and a stored function has no file of its own.
    let name = name.filter(|name| name.ends_with(".snap") && *name != format!("{id}.snap"));
    Base {
        id,
        data_hash: header.data_hash,
        data_len: file.head().data_len(),
        file_name: name.map(str::to_owned),
    }
}

/// What of some bytes is in an area of a base, whose extents are in these files. Where that is nothing, the bytes
/// are stored in at most `most` pieces.
fn share(
    bytes: &[u8],
    area: &Area,
    files: &[&DataFile],
    most: usize,
) -> Result<Parts, SnapshotError> {
    let mut view = View { extents: &area.extents, files, buffer: Vec::new(), held: 0..0 };
    let runs = runs_unlike(bytes.len(), |page| view.is(&bytes[page.clone()], page.start as u64))?;
    let end = align_up(bytes.len() as u64, PAGE);
    // Fewer and longer pieces of its own, until few enough are mapped.
    for pieces in [16, 8, 4, 2, 1] {
        let runs = joined(runs.clone(), pieces);
        let own = runs.iter().flat_map(|run| {
            let inside = nonzero(&bytes[run.clone()], MAX_EXTENTS);
            inside.into_iter().map(|part| run.start + part.start..run.start + part.end)
        });
        let parts = Parts { own: own.collect(), shared: outside(&area.extents, &runs, end) };
        if parts.shared.is_empty() {
            break;
        }
        if parts.count() <= MAX_LAYERED_EXTENTS {
            return Ok(parts);
        }
    }
    Ok(Parts::alone(bytes, most))
}

/// The parts of extents that lie below `end` and outside of ascending runs, up to whole pages.
fn outside(extents: &[Extent], runs: &[Range<usize>], end: u64) -> Vec<Extent> {
    let mut parts = Vec::new();
    let mut push = |extent: &Extent, from: u64, to: u64| {
        if from < to {
            let offset = extent.offset + (from - extent.at);
            parts.push(Extent { at: from, offset, len: to - from, ..*extent });
        }
    };
    for extent in extents {
        let (mut from, limit) = (extent.at, end.min(extent.at + extent.len));
        for run in runs {
            let (start, stop) = (run.start as u64, align_up(run.end as u64, PAGE));
            if stop <= from || start >= limit {
                continue;
            }
            push(extent, from, start);
            from = stop;
        }
        push(extent, from, limit);
    }
    parts
}

/// An area of a base, read in order.
struct View<'a> {
    /// What is left of its extents.
    extents: &'a [Extent],
    files: &'a [&'a DataFile],
    buffer: Vec<u8>,
    /// Where in the area the buffer is.
    held: Range<u64>,
}

impl View<'_> {
    /// Whether the page at `at` holds these bytes and then zeroes.
    fn is(&mut self, bytes: &[u8], at: u64) -> Result<bool, SnapshotError> {
        while self.extents.first().is_some_and(|extent| extent.at + extent.len <= at) {
            self.extents = &self.extents[1..];
        }
        let Some(extent) = self.extents.first().filter(|extent| extent.at <= at) else {
            return Ok(is_zero(bytes));
        };
        if !self.held.contains(&at) {
            let len = (extent.at + extent.len - at).min(READ as u64);
            self.buffer.resize(len as usize, 0);
            let offset = extent.offset + (at - extent.at);
            self.files[extent.source as usize].read(&mut self.buffer, offset)?;
            self.held = at..at + len;
        }
        let page = &self.buffer[(at - self.held.start) as usize..][..PAGE_BYTES];
        let (held, rest) = page.split_at(bytes.len());
        Ok(held == bytes && is_zero(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_cut_where_runs_are() {
        let page = PAGE_BYTES;
        let extent = |at: usize, pages: usize, source| Extent {
            source,
            at: (at * page) as u64,
            offset: ((at + 100) * page) as u64,
            len: (pages * page) as u64,
        };
        let extents = [extent(0, 4, 0), extent(6, 4, 2)];
        let cut = |runs: &[(usize, usize)], end: usize| {
            let runs: Vec<_> = runs.iter().map(|(a, b)| a * page..b * page - 5).collect();
            outside(&extents, &runs, (end * page) as u64)
        };
        assert_eq!(cut(&[], 100), extents);
        assert_eq!(cut(&[], 7), [extent(0, 4, 0), extent(6, 1, 2)]);
        assert_eq!(cut(&[(0, 100)], 100), []);
        assert_eq!(cut(&[(1, 2)], 100), [extent(0, 1, 0), extent(2, 2, 0), extent(6, 4, 2)]);
        assert_eq!(cut(&[(3, 7), (9, 12)], 100), [extent(0, 3, 0), extent(7, 2, 2)]);
    }
}
