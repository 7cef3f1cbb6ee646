//! From a snapshot in the store to an archive.
//!
//! Invariant: nothing is written that was not checked, and no time, user or machine is in it.

use super::{
    code,
    layout::{
        self, BASE, CODE, CODE_KEY, Descriptor, Digest, EMPTY, EMPTY_BYTES, FUNCTION, INDEX,
        INDEX_FILE, Index, LAYOUT_FILE, LAYOUT_VERSION, Layout, MANIFEST, MODULE, Manifest, NAME,
        SNAPSHOT, SNAPSHOT_ID, TITLE,
    },
};
use crate::{Error, Runtime, Snapshot, event::Work};
use executor_files::publish;
use executor_model::ModuleHash;
use executor_snapshot::SnapshotId;
use ruzstd::encoding::{CompressionLevel, FrameCompressor};
use sha2::{Digest as _, Sha256};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

/// What a tar file consists of.
const TAR_BLOCK: u64 = 512;

/// What an archive holds beside the snapshot.
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// What the function is called in it.
    pub name: Option<String>,
    /// Whether the machine code that its runs use on this machine is in it too. What is not there yet is compiled.
    pub code: bool,
}

/// An archive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The identity of the snapshot in it.
    pub id: SnapshotId,
    /// The length of its file in bytes.
    pub len: u64,
}

/// What a blob is made of.
enum Content<'a> {
    Bytes(Vec<u8>),
    /// The file of a snapshot, or of the base at a position.
    Snapshot(&'a Snapshot, Option<usize>),
}

impl Runtime {
    /// Writes a snapshot with all that running it needs, its modules and the snapshots that it has pages of, to an
    /// archive: a new file, or in place of a regular file.
    ///
    /// # Errors
    /// When something of the snapshot is damaged or missing, the file cannot be written, or code that is to be in it
    /// cannot be made.
    pub fn export(
        &self,
        snapshot: &Snapshot,
        path: &Path,
        options: &Export,
    ) -> Result<Exported, Error> {
        let output = |source| Error::Output { path: path.to_owned(), source };
        executor_files::check_output(path).map_err(output)?;
        snapshot.verify()?;
        let id = snapshot.id();
        let snap = |id: SnapshotId| format!("{id}.snap");
        let mut parts = vec![(SNAPSHOT, snap(id), Content::Snapshot(snapshot, None))];
        for (position, base) in snapshot.file().bases().iter().enumerate() {
            parts.push((BASE, snap(base.id), Content::Snapshot(snapshot, Some(position))));
        }
        let mut modules: Vec<ModuleHash> = snapshot.file().modules().collect();
        modules.sort_unstable_by_key(|hash| hash.0);
        modules.dedup();
        for hash in modules {
            let bytes = self.shared.module_bytes(hash)?;
            parts.push((MODULE, format!("{hash}.wasm"), Content::Bytes(bytes)));
        }
        let (mut layers, mut blobs) = (Vec::new(), Vec::new());
        for (media_type, title, content) in parts {
            let read = |source| Error::System { what: "read what is to be exported", source };
            let (digest, size) = content.digest().map_err(read)?;
            layers.push(Descriptor::new(media_type, digest.clone(), size).annotated(TITLE, title));
            blobs.push((digest.path(), size, content));
        }
        let code = if options.code { code::of_snapshot(self, snapshot)? } else { BTreeMap::new() };
        for (key, bytes) in code {
            let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
            let layer = Descriptor::new(CODE, digest.clone(), size);
            layers.push(layer.annotated(TITLE, format!("{key}.elf")).annotated(CODE_KEY, key));
            blobs.push((digest.path(), size, Content::Bytes(bytes)));
        }

        let manifest = layout::write(&Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            artifact_type: Some(FUNCTION.to_owned()),
            config: Descriptor::new(EMPTY, Digest::of(EMPTY_BYTES), EMPTY_BYTES.len() as u64),
            layers,
            annotations: BTreeMap::from([(SNAPSHOT_ID.to_owned(), id.to_string())]),
        });
        let mut descriptor =
            Descriptor::new(MANIFEST, Digest::of(&manifest), manifest.len() as u64);
        descriptor.artifact_type = Some(FUNCTION.to_owned());
        if let Some(name) = &options.name {
            descriptor = descriptor.annotated(NAME, name);
        }
        let index = layout::write(&Index {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            manifests: vec![descriptor],
        });
        let version = Layout { image_layout_version: LAYOUT_VERSION.to_owned() };
        let small =
            |path: String, bytes: Vec<u8>| (path, bytes.len() as u64, Content::Bytes(bytes));
        let mut entries = vec![
            small(LAYOUT_FILE.to_owned(), layout::write(&version)),
            small(INDEX_FILE.to_owned(), index),
            small(Digest::of(&manifest).path(), manifest),
            small(Digest::of(EMPTY_BYTES).path(), EMPTY_BYTES.to_vec()),
        ];
        entries.extend(blobs);
        // What is the same is there once.
        let mut seen = BTreeSet::new();
        entries.retain(|(path, ..)| seen.insert(path.clone()));

        let listener = &self.shared.listener;
        listener.work(Work::Snapshot, || {
            publish(path, |file| compress(tar(&entries)?, file)).map_err(output)
        })?;
        let len = std::fs::metadata(path).map_err(output)?.len();
        Ok(Exported { id, len })
    }
}

/// The bytes of a tar file with these entries: their paths, lengths and contents.
fn tar<'a>(entries: &'a [(String, u64, Content<'_>)]) -> io::Result<impl Read + 'a> {
    let mut parts: Vec<Box<dyn Read + 'a>> = Vec::new();
    for (path, len, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_path(path)?;
        header.set_size(*len);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        parts.push(Box::new(io::Cursor::new(*header.as_bytes())));
        parts.push(content.read()?);
        parts.push(Box::new(io::repeat(0).take(len.next_multiple_of(TAR_BLOCK) - len)));
    }
    parts.push(Box::new(io::repeat(0).take(2 * TAR_BLOCK)));
    let nothing: Box<dyn Read + 'a> = Box::new(io::empty());
    Ok(parts.into_iter().rfold(nothing, |rest, part| Box::new(part.chain(rest))))
}

/// Compresses all that is read.
fn compress(source: impl Read, drain: &mut File) -> io::Result<()> {
    // The compressor takes an error for one that cannot happen.
    let failed = Cell::new(None);
    let mut compressor = FrameCompressor::new(CompressionLevel::Fastest);
    compressor.set_source(Until { inner: source, failed: &failed });
    compressor.set_drain(Until { inner: drain, failed: &failed });
    compressor.compress();
    drop(compressor);
    failed.into_inner().map_or(Ok(()), Err)
}

/// Reads or writes until something fails, and then pretends that it is done.
struct Until<'a, T> {
    inner: T,
    failed: &'a Cell<Option<io::Error>>,
}

impl<T> Until<'_, T> {
    fn attempt(
        &mut self,
        otherwise: usize,
        mut f: impl FnMut(&mut T) -> io::Result<usize>,
    ) -> usize {
        match self.failed.take() {
            None => loop {
                match f(&mut self.inner) {
                    Ok(len) => return len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.failed.set(Some(error));
                        return otherwise;
                    }
                }
            },
            failed => {
                self.failed.set(failed);
                otherwise
            }
        }
    }
}

impl<T: Read> Read for Until<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.attempt(0, |source| source.read(buffer)))
    }
}

impl<T: Write> Write for Until<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.attempt(bytes.len(), |drain| match drain.write(bytes)? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            len => Ok(len),
        }))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Content<'_> {
    fn read(&self) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Self::Bytes(bytes) => Ok(Box::new(&bytes[..])),
            Self::Snapshot(snapshot, base) => {
                let bytes = snapshot.file().bytes(*base).map_err(io::Error::other)?;
                Ok(Box::new(bytes))
            }
        }
    }

    /// Its digest, and its length.
    fn digest(&self) -> io::Result<(Digest, u64)> {
        let mut hasher = Sha256::new();
        let len = io::copy(&mut self.read()?, &mut hasher)?;
        Ok((Digest::end(hasher), len))
    }
}
