//! From a snapshot file back to a store.
//!
//! Invariant: what a restore does is proportional to the number of instances and extents, never to
//! the state: it opens the file, reads the header and the metadata (one `pread` when they are short),
//! checks both against their hashes, and hands the runtime a plan of what to map. Only
//! [`SnapshotFile::verify`] reads the data.

use crate::{
    FormatError, Manifest, SnapshotError, SnapshotId,
    call::{FrameRecord, ValueRecord},
    format::{Area, HEADER_LEN, Header, Instance, Metadata},
};
use executor_model::ModuleHash;
use executor_runtime::{
    CallState, CompiledModule, Extent, Image, InstancePlan, Linker, NativeEngine, RestorePlan,
    Store, StoreConfig,
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the first read asks for: enough for the metadata of most snapshots.
const FIRST_READ: usize = 8 << 10;
/// What [`SnapshotFile::verify`] reads at once.
const VERIFY_READ: usize = 1 << 20;

/// An open snapshot whose header and metadata are checked.
#[derive(Debug)]
pub struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    pub(crate) header: Header,
    metadata: Metadata,
}

impl SnapshotFile {
    /// Opens a snapshot and checks everything but its data.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a snapshot that this release reads.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SnapshotError> {
        let path = path.into();
        let file = File::open(&path).map_err(SnapshotError::io(&path))?;
        Self::of(file, path)
    }

    /// As [`Self::open`], of a file that is open already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(file: File, path: PathBuf) -> Result<Self, SnapshotError> {
        match read_metadata(&file) {
            Ok((header, metadata)) => Ok(Self { path, file: Arc::new(file), header, metadata }),
            Err(ReadError::Io(source)) => Err(SnapshotError::Io { path, source }),
            Err(ReadError::Format(source)) => Err(SnapshotError::Format { path, source }),
        }
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.header.file_len.get()
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

    /// The call that is suspended, if the snapshot was taken inside one.
    #[must_use]
    pub fn call(&self) -> Option<&CallState> {
        self.metadata.call.as_deref()
    }

    /// How many bytes of the file that call takes.
    #[must_use]
    pub fn call_len(&self) -> u64 {
        let of = |count: u32, size: usize| u64::from(count) * size as u64;
        of(self.header.frames.get(), size_of::<FrameRecord>())
            + of(self.header.values.get(), size_of::<ValueRecord>())
    }

    /// The module of every instance, in order of their ids; a module can occur more than once.
    pub fn modules(&self) -> impl Iterator<Item = ModuleHash> {
        self.metadata.instances.iter().map(|i| i.module)
    }

    /// The snapshot's identity.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.metadata.id(self.header.data_hash)
    }

    /// Reads all of the data and checks it against its hash.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; VERIFY_READ];
        let mut offset = self.header.data_start();
        loop {
            let n = fill(&self.file, &mut buffer, offset).map_err(SnapshotError::io(&self.path))?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            offset += n as u64;
        }
        if *hasher.finalize().as_bytes() != self.header.data_hash {
            let damaged = FormatError::Damaged("its data does not match its checksum");
            return Err(SnapshotError::format(&self.path)(damaged));
        }
        Ok(())
    }

    /// What the runtime needs to restore the store; `module` finds the code of each module.
    ///
    /// # Errors
    /// That of `module`, and [`SnapshotError::Misfit`].
    pub fn plan<E: From<SnapshotError>>(
        &self,
        mut module: impl FnMut(ModuleHash) -> Result<Arc<CompiledModule>, E>,
    ) -> Result<RestorePlan, E> {
        let start = self.header.data_start();
        let place = |areas: &[Area]| -> Vec<Vec<Extent>> {
            let at = |e: &Extent| Extent { at: e.at, offset: start + e.offset, len: e.len };
            areas.iter().map(|a| a.extents.iter().map(at).collect()).collect()
        };
        let mut instances = Vec::with_capacity(self.metadata.instances.len());
        for (i, instance) in self.metadata.instances.iter().enumerate() {
            let module = module(instance.module)?;
            // The runtime checks the rest; the block's length is known only here.
            if instance.module != module.hash()
                || instance.block.len != module.code().counts().state_len()
            {
                let (path, module) = (self.path.clone(), instance.module);
                return Err(SnapshotError::Misfit { path, instance: i + 1, module }.into());
            }
            instances.push(InstancePlan {
                module,
                instantiated: instance.instantiated,
                block: start + instance.block.offset,
                tables: place(&instance.tables),
                memories: place(&instance.memories),
                working_set: instance.memories.iter().map(|a| a.working_set.clone()).collect(),
            });
        }
        let (file, call) = (Arc::clone(&self.file), self.metadata.call.clone());
        Ok(RestorePlan { file, instances, call })
    }
}

/// The image of a snapshot that this user made and kept private: checked once, for any number of stores.
///
/// # Errors
/// That of `module`; when the state does not fit; and those of the runtime, which refuses a file
/// that others could write to.
pub fn image<E: From<SnapshotError>>(
    engine: &NativeEngine,
    linker: Linker,
    config: StoreConfig,
    file: &SnapshotFile,
    module: impl FnMut(ModuleHash) -> Result<Arc<CompiledModule>, E>,
) -> Result<Image, E> {
    let plan = file.plan(module)?;
    Ok(Image::new(engine, linker, config, plan).map_err(SnapshotError::restore(&file.path))?)
}

/// Restores the store of a snapshot that this user made and kept private.
///
/// # Errors
/// As [`image`].
pub fn restore<E: From<SnapshotError>>(
    engine: &NativeEngine,
    linker: Linker,
    config: StoreConfig,
    file: &SnapshotFile,
    module: impl FnMut(ModuleHash) -> Result<Arc<CompiledModule>, E>,
) -> Result<Store, E> {
    let image = image(engine, linker, config, file, module)?;
    Ok(image.restore().map_err(SnapshotError::restore(&file.path))?)
}

/// The image of a snapshot from elsewhere: as [`image`], and checks the data against its
/// hash, and every reference, link and size. The work is proportional to the state.
///
/// # Errors
/// As [`image`], and when anything in the state is not as a capture could have written it.
pub fn image_untrusted<E: From<SnapshotError>>(
    engine: &NativeEngine,
    linker: Linker,
    config: StoreConfig,
    file: &SnapshotFile,
    module: impl FnMut(ModuleHash) -> Result<Arc<CompiledModule>, E>,
) -> Result<Image, E> {
    file.verify()?;
    let image = image(engine, linker, config, file, module)?;
    let validated = image.restore().and_then(|store| store.validate());
    validated.map_err(SnapshotError::restore(&file.path))?;
    Ok(image)
}

/// Restores the store of a snapshot from elsewhere.
///
/// # Errors
/// As [`image_untrusted`].
pub fn restore_untrusted<E: From<SnapshotError>>(
    engine: &NativeEngine,
    linker: Linker,
    config: StoreConfig,
    file: &SnapshotFile,
    module: impl FnMut(ModuleHash) -> Result<Arc<CompiledModule>, E>,
) -> Result<Store, E> {
    let image = image_untrusted(engine, linker, config, file, module)?;
    Ok(image.restore().map_err(SnapshotError::restore(&file.path))?)
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

fn read_metadata(file: &File) -> Result<(Header, Metadata), ReadError> {
    let file_len = file.metadata()?.len();
    let mut head = vec![0; FIRST_READ];
    let mut filled = fill(file, &mut head, 0)?;
    let header = Header::read(&head[..filled], file_len)?;
    // Bounded by `MAX_METADATA` and by the file's length, which `read` checked.
    let data_start = header.data_start() as usize;
    head.resize(data_start, 0);
    if filled < data_start {
        filled += fill(file, &mut head[filled..], filled as u64)?;
    }
    let metadata = &head[HEADER_LEN.min(filled)..filled.min(data_start)];
    Ok((header, Metadata::decode(&header, metadata)?))
}

/// Reads until the buffer is full or the file ends; returns how much was read.
pub(crate) fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
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
