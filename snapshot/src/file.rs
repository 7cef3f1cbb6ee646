//! An open snapshot file, and the files that it has pages of.
//!
//! Invariant: header and metadata of a [`SnapshotFile`] are checked, and every base that it has was found to have
//! the data that the metadata names, by the hash in its header. Only [`SnapshotFile::verify`] reads
//! data.
//!
//! What it takes to open one is proportional to the number of instances, extents and bases, never to the
//! state: of the file itself header and metadata are read, by one `pread` when they are short, and of each base the
//! header.

use crate::{
    FormatError, Manifest, SnapshotError, SnapshotId,
    format::{Area, Base, CHUNK, Head, Instance, MAX_HEAD, Metadata, Section},
};
use executor_files::Trust;
use executor_model::{Escaped, ModuleHash};
use executor_runtime::CallState;
use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the first read asks for: enough for the metadata of most snapshots.
const FIRST_READ: usize = 8 << 10;
/// Copied at once.
const COPY: usize = 1 << 20;

/// An open snapshot whose header and metadata are checked.
#[derive(Debug)]
pub struct SnapshotFile {
    data: DataFile,
    metadata: Metadata,
    id: SnapshotId,
    /// The file of each base, where it was found.
    bases: Vec<Option<DataFile>>,
    /// Whether the user vouches for the files.
    trust: Trust,
}

/// A snapshot file of which only the header is read: where data lies, and which data it is. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    path: PathBuf,
    file: Arc<File>,
    head: Head,
}

impl SnapshotFile {
    /// Opens a snapshot and checks everything but its data. Its bases are looked for beside it: by their
    /// identity (`ID.snap`), then by the names that their files had.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a snapshot that this release reads.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SnapshotError> {
        let path = path.into();
        let file = File::open(&path).map_err(SnapshotError::io(&path))?;
        let mut opened = Self::of(file, path)?;
        opened.find_bases_beside()?;
        Ok(opened)
    }

    /// Opens a snapshot in a file that is open already, without its bases.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(file: File, path: PathBuf) -> Result<Self, SnapshotError> {
        match read_metadata(&file) {
            Ok((head, metadata, id)) => {
                let bases = metadata.bases.iter().map(|_| None).collect();
                let data = DataFile { path, file: Arc::new(file), head };
                Ok(Self { data, metadata, id, bases, trust: Trust::Own })
            }
            Err(ReadError::Io(source)) => Err(SnapshotError::Io { path, source }),
            Err(ReadError::Format(source)) => Err(SnapshotError::Format { path, source }),
        }
    }

    /// The same snapshot, whose files are restored as `trust` says.
    #[must_use]
    pub fn with_trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Whose files are restored.
    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    /// Looks for the bases that it still lacks. `find` opens the file that may be a base; it is another where its
    /// data is not what was there when this snapshot was made.
    ///
    /// # Errors
    /// Those of `find`, and when what it opens cannot be read or is not a snapshot.
    pub fn find_bases<E: From<SnapshotError>>(
        &mut self,
        mut find: impl FnMut(&Base) -> Result<Option<(File, PathBuf)>, E>,
    ) -> Result<(), E> {
        for (base, found) in self.metadata.bases.iter().zip(&mut self.bases) {
            if found.is_some() {
                continue;
            }
            if let Some((file, path)) = find(base)? {
                *found = Some(DataFile::of(file, path)?).filter(|file| file.is(base));
            }
        }
        Ok(())
    }

    /// Looks for the bases that it still lacks in its own directory.
    ///
    /// # Errors
    /// When a file that has the identity of a base as its name cannot be read, or is not a snapshot.
    pub fn find_bases_beside(&mut self) -> Result<(), SnapshotError> {
        let dir = self.data.path.parent().map(Path::to_owned).unwrap_or_default();
        self.find_bases(|base| {
            let path = dir.join(format!("{}.snap", base.id));
            match File::open(&path) {
                Ok(file) => Ok(Some((file, path))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(SnapshotError::Io { path, source }),
            }
        })?;
        for (base, found) in self.metadata.bases.iter().zip(&mut self.bases) {
            // The name can be anybody's by now, so what has it is no error.
            let name = base.file_name.as_ref().filter(|name| is_file_name(name));
            if let (None, Some(name)) = (&found, name) {
                let path = dir.join(name);
                let file = File::open(&path).ok().and_then(|file| DataFile::of(file, path).ok());
                *found = file.filter(|file| file.is(base));
            }
        }
        Ok(())
    }

    /// Takes bases out of these files, which are at `path`, whatever their names; those that are none of them stay.
    ///
    /// # Errors
    /// When one cannot be read, or is not a snapshot.
    pub fn find_bases_among(
        &mut self,
        files: &mut Vec<File>,
        path: &Path,
    ) -> Result<(), SnapshotError> {
        for file in std::mem::take(files) {
            let data =
                DataFile::of(file.try_clone().map_err(SnapshotError::io(path))?, path.into())?;
            let bases = self.metadata.bases.iter().zip(&mut self.bases);
            match { bases }.find(|(base, found)| found.is_none() && data.is(base)) {
                Some((_, found)) => *found = Some(data),
                None => files.push(file),
            }
        }
        Ok(())
    }

    /// Takes these for its bases, each where it is one.
    pub(crate) fn adopt<'a>(&mut self, files: impl Iterator<Item = &'a DataFile> + Clone) {
        for (base, found) in self.metadata.bases.iter().zip(&mut self.bases) {
            *found = found.take().or_else(|| files.clone().find(|file| file.is(base)).cloned());
        }
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.data.path
    }

    /// The length of the file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.data.head.header().file_len.get()
    }

    /// What the snapshot says about itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.metadata.manifest
    }

    /// The instances, in order of their ids.
    #[must_use]
    pub fn instances(&self) -> &[Instance] {
        &self.metadata.instances
    }

    /// The snapshots of whose data it has pages.
    #[must_use]
    pub fn bases(&self) -> &[Base] {
        &self.metadata.bases
    }

    /// Reads all of the file, as it is; of a base where `base` is its position.
    ///
    /// # Errors
    /// When the base is missing.
    ///
    /// # Panics
    /// When the snapshot has fewer bases.
    pub fn bytes(&self, base: Option<usize>) -> Result<impl io::Read + use<>, SnapshotError> {
        let data = self.source(base.map_or(0, |position| position as u32 + 1))?;
        Ok(Bytes { file: Arc::clone(&data.file), rest: 0..data.head.header().file_len.get() })
    }

    /// Whether every base was found.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.bases.iter().all(Option::is_some)
    }

    /// The header and the section table of the file.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.data.head
    }

    /// The call that is suspended, if the snapshot was taken inside one.
    #[must_use]
    pub fn call(&self) -> Option<&CallState> {
        self.metadata.call.as_deref()
    }

    /// How many bytes of the file that call takes.
    #[must_use]
    pub fn call_len(&self) -> u64 {
        let len = |section| {
            let range = self.data.head.section(section);
            range.end - range.start
        };
        len(Section::Frames) + len(Section::Values)
    }

    /// The module of every instance, in order of their ids; a module can occur more than once.
    pub fn modules(&self) -> impl Iterator<Item = ModuleHash> {
        self.metadata.instances.iter().map(|i| i.module)
    }

    /// The snapshot's identity.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// Reads all of the data, of the bases too, and checks it against its hashes.
    ///
    /// # Errors
    /// When it cannot be read, a base is missing, or something is damaged: the error names the first chunk that
    /// is, and what part of the state it holds.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        for (source, file) in self.files()?.into_iter().enumerate() {
            file.verify(|chunk| self.describe(source as u32, chunk))?;
        }
        Ok(())
    }

    /// Whether it is this base.
    pub(crate) fn is(&self, base: &Base) -> bool {
        self.data.is(base)
    }

    /// As [`Self::verify`], without the bases.
    pub(crate) fn verify_alone(&self) -> Result<(), SnapshotError> {
        self.data.verify(|chunk| self.describe(0, chunk))
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The file itself, and then its bases.
    pub(crate) fn files(&self) -> Result<Vec<&DataFile>, SnapshotError> {
        (0..=self.bases.len()).map(|source| self.source(source as u32)).collect()
    }

    /// The file that extents of a source are in.
    ///
    /// # Panics
    /// When the snapshot has fewer bases.
    pub(crate) fn source(&self, source: u32) -> Result<&DataFile, SnapshotError> {
        let Some(base) = (source as usize).checked_sub(1) else { return Ok(&self.data) };
        self.bases[base].as_ref().ok_or_else(|| {
            let base = &self.metadata.bases[base];
            SnapshotError::MissingBase {
                path: self.data.path.clone(),
                id: base.id,
                file_name: base.file_name.as_ref().map(|name| Escaped(name).to_string()),
            }
        })
    }

    /// What a range of the data of a source holds of the state.
    fn describe(&self, source: u32, range: std::ops::Range<u64>) -> String {
        let mut parts = Vec::new();
        for (i, instance) in self.metadata.instances.iter().enumerate() {
            let id = i + 1;
            let block = instance.block.offset..instance.block.offset + instance.block.len;
            if source == 0 && block.start < range.end && range.start < block.end {
                parts.push(format!("the state block of instance {id}"));
            }
            let mut areas = |what: &str, areas: &[Area]| {
                for (index, area) in areas.iter().enumerate() {
                    for extent in area.extents.iter().filter(|extent| extent.source == source) {
                        let start = range.start.max(extent.offset);
                        let end = range.end.min(extent.offset + extent.len);
                        if start < end {
                            let at = extent.at + (start - extent.offset);
                            let to = at + (end - start);
                            parts.push(format!(
                                "bytes {at:#x} to {to:#x} of {what} {index} of instance {id}"
                            ));
                        }
                    }
                }
            };
            areas("table", &instance.tables);
            areas("memory", &instance.memories);
        }
        match parts.is_empty() {
            true => "nothing that this snapshot uses".to_owned(),
            false => parts.join(", "),
        }
    }
}

impl DataFile {
    pub(crate) fn of(file: File, path: PathBuf) -> Result<Self, SnapshotError> {
        match read_head(&file) {
            Ok((head, _, _)) => Ok(Self { path, file: Arc::new(file), head }),
            Err(ReadError::Io(source)) => Err(SnapshotError::Io { path, source }),
            Err(ReadError::Format(source)) => Err(SnapshotError::Format { path, source }),
        }
    }

    /// Whether its data is that of a base.
    pub(crate) fn is(&self, base: &Base) -> bool {
        let header = self.head.header();
        header.data_hash == base.data_hash && self.head.data_len() == base.data_len
    }

    /// Whether the two are one file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        identity(&self.file).is_some_and(|ours| identity(&other.file) == Some(ours))
    }

    /// Writes a range of the file to another.
    pub(crate) fn copy(&self, range: std::ops::Range<u64>, out: &mut impl Write) -> io::Result<()> {
        let mut buffer = vec![0; COPY];
        let mut offset = range.start;
        while offset < range.end {
            let want = buffer.len().min((range.end - offset) as usize);
            let len = fill(&self.file, &mut buffer[..want], offset)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&buffer[..len])?;
            offset += len as u64;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Reads from the data, at an offset in it.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), SnapshotError> {
        let at = self.head.data_start() + offset;
        self.file.read_exact_at(buffer, at).map_err(SnapshotError::io(&self.path))
    }

    /// Reads all of the data and checks it.
    pub(crate) fn verify_alone(&self) -> Result<(), SnapshotError> {
        self.verify(|_| "the data of a base".to_owned())
    }

    /// Reads all of the data and checks it; `holds` says what is in a range of it.
    fn verify(&self, holds: impl Fn(std::ops::Range<u64>) -> String) -> Result<(), SnapshotError> {
        let damaged = |what| SnapshotError::format(&self.path)(FormatError::Damaged(what));
        let section = self.head.section(Section::ChunkHashes);
        let mut hashes = vec![0; (section.end - section.start) as usize];
        let read = fill(&self.file, &mut hashes, section.start);
        let read = read.map_err(SnapshotError::io(&self.path))?;
        if read != hashes.len() || *blake3::hash(&hashes).as_bytes() != self.head.header().data_hash
        {
            return Err(damaged("the checksums of its data do not match their own"));
        }
        let mut buffer = vec![0; CHUNK];
        let data_len = self.head.data_len();
        for (i, hash) in hashes.chunks(blake3::OUT_LEN).enumerate() {
            let start = i as u64 * CHUNK as u64;
            let len = (data_len - start).min(CHUNK as u64);
            let chunk = &mut buffer[..len as usize];
            let offset = self.head.data_start() + start;
            let read = fill(&self.file, chunk, offset).map_err(SnapshotError::io(&self.path))?;
            if read != chunk.len() || blake3::hash(chunk).as_bytes() != hash {
                let holds = holds(start..start + len);
                let damaged = FormatError::Chunk { offset, len, holds };
                return Err(SnapshotError::format(&self.path)(damaged));
            }
        }
        Ok(())
    }
}

/// What is left to read of a file that others may be reading too.
struct Bytes {
    file: Arc<File>,
    rest: std::ops::Range<u64>,
}

impl io::Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = (self.rest.end - self.rest.start).min(buffer.len() as u64) as usize;
        let len = self.file.read_at(&mut buffer[..want], self.rest.start)?;
        self.rest.start += len as u64;
        match len {
            // It was as long when it was opened.
            0 if want > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => Ok(len),
        }
    }
}

/// Whether a name that a file suggests is that of a file in a directory, and leads nowhere else.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

enum ReadError {
    Io(io::Error),
    Format(FormatError),
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<FormatError> for ReadError {
    fn from(e: FormatError) -> Self {
        Self::Format(e)
    }
}

/// Reads the head; also returns what was read of the file, and how much that was.
fn read_head(file: &File) -> Result<(Head, Vec<u8>, usize), ReadError> {
    const { assert!(MAX_HEAD <= FIRST_READ) };
    let file_len = file.metadata()?.len();
    let mut bytes = vec![0; FIRST_READ];
    let filled = fill(file, &mut bytes, 0)?;
    let head = Head::read(&bytes[..filled], file_len)?;
    Ok((head, bytes, filled))
}

fn read_metadata(file: &File) -> Result<(Head, Metadata, SnapshotId), ReadError> {
    let (head, mut bytes, mut filled) = read_head(file)?;
    // Bounded by `MAX_METADATA` and by the file's length, which `read` checked.
    let (start, end) = (head.metadata_start() as usize, head.data_start() as usize);
    bytes.resize(end, 0);
    if filled < end {
        filled += fill(file, &mut bytes[filled..], filled as u64)?;
    }
    let (metadata, id) = Metadata::decode(&head, &bytes[start.min(filled)..filled.min(end)])?;
    Ok((head, metadata, id))
}

/// Reads until the buffer is full or the file ends; returns how much was read.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
