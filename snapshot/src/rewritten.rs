//! A snapshot that says something else about itself: the same state under another manifest.
//!
//! Invariant: the state is neither captured again nor read: the data and its hashes are copied as they are.

use crate::{
    Manifest, SnapshotError, SnapshotFile, SnapshotId,
    file::DataFile,
    format::{Base, Metadata, Section},
};
use std::io::{self, Write};

/// A snapshot with another manifest, ready to be written. Sections that this release does not know are left out.
#[derive(Debug)]
pub struct Rewritten<'a> {
    file: &'a SnapshotFile,
    id: SnapshotId,
    head: Vec<u8>,
}

impl SnapshotFile {
    /// The same state under another manifest.
    ///
    /// # Errors
    /// When the manifest does not fit the state, or the file cannot be read.
    pub fn with_manifest(&self, manifest: Manifest) -> Result<Rewritten<'_>, SnapshotError> {
        let failed = |source| SnapshotError::format(self.path())(source);
        let encoded = Metadata { manifest, ..self.metadata().clone() }.encode().map_err(failed)?;
        let mut hashes = Vec::new();
        let data = self.source(0)?;
        let section = data.head().section(Section::ChunkHashes);
        data.copy(section, &mut hashes).map_err(SnapshotError::io(self.path()))?;
        let id = encoded.id(&data.head().header().data_hash);
        let head = encoded.head(data.head().data_len(), &hashes);
        Ok(Rewritten { file: self, id, head: head.map_err(failed)? })
    }
}

impl Rewritten<'_> {
    /// Its identity; that of the original where the manifest is the same.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// The snapshots that it has pages of.
    pub(crate) fn bases(&self) -> Result<Vec<(&Base, &DataFile)>, SnapshotError> {
        let files = self.file.files()?;
        Ok(self.file.bases().iter().zip(files.into_iter().skip(1)).collect())
    }

    /// Writes the bytes of the file.
    ///
    /// # Errors
    /// Those of `out`, and when the original cannot be read.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let data = self.file.source(0).map_err(io::Error::other)?;
        let (start, end) =
            (data.head().data_start(), data.head().section(Section::ChunkHashes).end);
        out.write_all(&self.head)?;
        data.copy(start..end, out)
    }
}
