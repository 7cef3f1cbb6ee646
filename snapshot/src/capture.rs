//! From the state of a store to the bytes of a snapshot file.
//!
//! Invariant: the state is read in place and never copied whole; what is written is a function of
//! the state and the manifest alone, so equal states become equal files.
//!
//! Capturing is three passes over the state: find what is not zero, hash it, write it. Hashing comes
//! before writing because the hash is the file's name: a state that the store already has is not
//! written at all, and the file is one forward stream.

use crate::{
    FormatError, Layers, Manifest, SnapshotError, SnapshotFile, SnapshotId,
    file::DataFile,
    format::{Area, Base, ChunkHasher, Instance, MAX_EXTENTS, Metadata, Stretch},
    layers::Parts,
};
use executor_code::layout::{PAGE, align_up};
use executor_files::publish;
use executor_runtime::{Extent, StoreState};
use std::{
    convert::Infallible,
    fs::File,
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Called as bytes are hashed, and again as they are written, with how many are done and how many
/// there are.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

const PAGE_BYTES: usize = PAGE as usize;
/// Hashed and written at once: few system calls, and small enough to stay in a cache.
const CHUNK: usize = 1 << 20;

/// A snapshot that is ready to be written.
#[derive(Debug)]
pub struct Capture<'a> {
    id: SnapshotId,
    /// What is before the data.
    head: Vec<u8>,
    /// The data, in order; each piece is followed by zeroes up to a whole page.
    pieces: Vec<&'a [u8]>,
    data_len: u64,
    chunk_hashes: Vec<u8>,
    /// The snapshots that it has pages of, and their files.
    bases: Vec<(Base, DataFile)>,
}

impl<'a> Capture<'a> {
    /// Lays out the file and hashes the state.
    ///
    /// # Errors
    /// When the manifest does not fit the state, or the format cannot hold it.
    pub fn new(
        state: &'a StoreState<'a>,
        manifest: Manifest,
        progress: Progress<'_>,
    ) -> Result<Self, FormatError> {
        Self::with_working_set(state, manifest, &[], progress)
    }

    /// As [`Self::new`], with what the first call writes to: for each instance and each of its owned
    /// memories the runs of pages, as `Store::working_set` returns them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_working_set(
        state: &'a StoreState<'a>,
        manifest: Manifest,
        working_set: &[Vec<Vec<Range<u64>>>],
        progress: Progress<'_>,
    ) -> Result<Self, FormatError> {
        Self::layered(state, manifest, working_set, &Layers::default(), progress)
    }

    /// As [`Self::with_working_set`], without the pages that are in other snapshots already.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn layered(
        state: &'a StoreState<'a>,
        manifest: Manifest,
        working_set: &[Vec<Vec<Range<u64>>>],
        layers: &Layers,
        progress: Progress<'_>,
    ) -> Result<Self, FormatError> {
        let mut layout = Layout::default();
        let mut instances = Vec::with_capacity(state.instances.len());
        for (i, instance) in state.instances.iter().enumerate() {
            let block = layout.place(&instance.block);
            if block.len != instance.block.len() as u64 || block.len == 0 {
                return Err(FormatError::Unwritable("a state block is not whole pages"));
            }
            let count = instance.tables.len();
            let parts = |area, bytes: &[u8], most| match layers.parts(i, area) {
                Some(parts) => parts.clone(),
                None => Parts::alone(bytes, most),
            };
            let tables = instance.tables.iter().enumerate();
            let tables = tables.map(|(index, table)| layout.area(table, parts(index, table, 1)));
            let tables = tables.collect();
            let runs = |memory: usize| working_set.get(i).and_then(|of| of.get(memory)).cloned();
            let memories = instance.memories.iter().enumerate().map(|(index, memory)| Area {
                working_set: runs(index).unwrap_or_default(),
                ..layout.area(memory, parts(count + index, memory, MAX_EXTENTS))
            });
            let memories = memories.collect();
            instances.push(Instance {
                module: instance.module,
                instantiated: instance.instantiated,
                block,
                tables,
                memories,
            });
        }
        let call = state.call.cloned().map(Arc::new);
        let metadata = Metadata { instances, bases: layers.bases().to_vec(), call, manifest };
        let Layout { pieces, data_len } = layout;
        let encoded = metadata.encode()?;

        let mut hasher = ChunkHasher::default();
        let Ok(()) = each_chunk(&pieces, data_len, progress, |chunk| {
            hasher.update(chunk);
            Ok::<_, Infallible>(())
        });
        let chunk_hashes = hasher.finish();
        let id = encoded.id(blake3::hash(&chunk_hashes).as_bytes());
        let head = encoded.head(data_len, &chunk_hashes)?;
        let bases = layers.bases().iter().cloned().zip(layers.files().iter().cloned()).collect();
        Ok(Self { id, head, pieces, data_len, chunk_hashes, bases })
    }

    /// The identity of the snapshot.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// The length of the file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.head.len() as u64 + self.data_len + self.chunk_hashes.len() as u64
    }

    /// The snapshots that it has pages of.
    pub(crate) fn bases(&self) -> &[(Base, DataFile)] {
        &self.bases
    }

    /// Opens what was written of it to a file.
    ///
    /// # Errors
    /// As `SnapshotFile::open`.
    pub fn opened(&self, file: File, path: PathBuf) -> Result<SnapshotFile, SnapshotError> {
        let mut opened = SnapshotFile::of(file, path)?;
        opened.adopt(self.bases.iter().map(|(_, file)| file));
        Ok(opened)
    }

    /// Writes the bytes of the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write, progress: Progress<'_>) -> io::Result<()> {
        out.write_all(&self.head)?;
        each_chunk(&self.pieces, self.data_len, progress, |chunk| out.write_all(chunk))?;
        out.write_all(&self.chunk_hashes)
    }

    /// Writes the file at `path`, whole or not at all, replacing what is there.
    ///
    /// # Errors
    /// Those of the operating system; what was at `path` is then still there.
    pub fn publish(&self, path: &Path, progress: Progress<'_>) -> Result<(), SnapshotError> {
        publish(path, |file| self.write_to(file, progress)).map_err(SnapshotError::io(path))
    }
}

/// Where everything goes in the data, as it is decided.
#[derive(Default)]
struct Layout<'a> {
    pieces: Vec<&'a [u8]>,
    data_len: u64,
}

impl<'a> Layout<'a> {
    fn place(&mut self, piece: &'a [u8]) -> Stretch {
        let stretch = Stretch { offset: self.data_len, len: align_up(piece.len() as u64, PAGE) };
        self.pieces.push(piece);
        self.data_len += stretch.len;
        stretch
    }

    fn area(&mut self, bytes: &'a [u8], parts: Parts) -> Area {
        let own = parts.own.into_iter().map(|range| {
            let at = range.start as u64;
            let Stretch { offset, len } = self.place(&bytes[range]);
            Extent { source: 0, at, offset, len }
        });
        let mut extents: Vec<Extent> = own.chain(parts.shared).collect();
        extents.sort_unstable_by_key(|extent| extent.at);
        Area { len: bytes.len() as u64, extents, working_set: Vec::new() }
    }
}

fn each_chunk<E>(
    pieces: &[&[u8]],
    total: u64,
    progress: Progress<'_>,
    mut f: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut done = 0;
    for piece in pieces {
        for chunk in piece.chunks(CHUNK) {
            f(chunk)?;
            // Only the last chunk of a table or memory can be less than whole pages.
            let padding = chunk.len().next_multiple_of(PAGE_BYTES) - chunk.len();
            f(&[0; PAGE_BYTES][..padding])?;
            done += (chunk.len() + padding) as u64;
            progress(done, total);
        }
    }
    Ok(())
}
