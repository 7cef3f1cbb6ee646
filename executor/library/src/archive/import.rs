//! From an archive to the store.
//!
//! Invariant: an archive is anybody's. Blobs are written to files without names, as long as the manifest may say
//! and no longer; what is kept has matched its digest, its hashes and its modules' code, as a snapshot file from
//! elsewhere has when it is run. The function gets its name last.

use super::{
    ArchiveError, MAX_LEN,
    code::TakenIn,
    layout::{
        self, BASE, BLOBS, CODE, CODE_KEY, Descriptor, Digest, EMPTY, FUNCTION, INDEX_FILE, Index,
        LAYOUT_FILE, LAYOUT_VERSION, Layout, MANIFEST, MAX_DOCUMENT, MODULE, Manifest, NAME,
        SNAPSHOT,
    },
};
use crate::{
    Error, Report, Runtime, Snapshot, Source,
    event::Work,
    function::{Kept, Trust},
    runtime::{Code, WasmModule},
};
use executor_model::ModuleHash;
use executor_snapshot::{
    Catalogue, CatalogueError, Defaults, SnapshotFile, SnapshotId, catalogue::Adding,
    format::MAX_BASES,
};
use ruzstd::decoding::StreamingDecoder;
use sha2::{Digest as _, Sha256};
use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    path::Path,
};

/// What a window of the compression may take of memory.
const MAX_WINDOW: u64 = 128 << 20;
/// The most entries: two documents, the manifest, an empty configuration, snapshots, modules and directories.
const MAX_ENTRIES: usize = 4096;
/// The most zeroes behind the last entry.
const MAX_PADDING: u64 = 1 << 20;
/// Copied at once.
const COPY: usize = 64 << 10;

/// How an archive is taken in.
#[derive(Debug, Clone)]
pub struct Import {
    /// What the function is to be called; where nothing is said, as in the archive.
    pub name: Option<String>,
    /// The most bytes that the archive may hold once it is not compressed any more.
    pub max_len: u64,
    /// Whether machine code in it is taken in, instead of compiling the modules here. **It runs as this user, and can
    /// do all that this user can**: what is checked of it is that it is whole and for this build and processor, not what
    /// it does.
    pub trust_code: bool,
}

impl Default for Import {
    fn default() -> Self {
        Self { name: None, max_len: MAX_LEN, trust_code: false }
    }
}

/// A function that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What it is called.
    pub name: String,
    /// The identity of its snapshot.
    pub id: SnapshotId,
    /// What was left out of what the archive says.
    pub warnings: Vec<String>,
}

/// A blob in a file without a name.
pub(super) struct Blob {
    pub(super) file: File,
    pub(super) len: u64,
}

impl Blob {
    /// All of it.
    pub(super) fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len as usize);
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// What an archive holds.
struct Contents {
    name: Option<String>,
    snapshot: Blob,
    bases: Vec<Blob>,
    modules: Vec<Blob>,
    /// By their keys.
    code: BTreeMap<String, Blob>,
}

impl Runtime {
    /// Takes a function in from an archive that anybody may have made, and checks all of it before anything is kept. Its
    /// modules are compiled, or their code is taken in too where that is trusted ([`Import::trust_code`]). What it says of the host (directories, environment, limits) is left out, and told.
    ///
    /// # Errors
    /// [`Error::Archive`] when it is no archive of a function, damaged or too large; as for
    /// [`Self::open_snapshot`] when its snapshot does not fit its modules; and those of the store.
    pub fn import(&self, path: &Path, options: &Import) -> Result<Imported, Error> {
        let failed = |source| Error::Archive { path: path.to_owned(), source };
        let catalogue = self.shared.directory().ok_or_else(|| failed(ArchiveError::NoStore))?;
        if let Some(name) = &options.name {
            Catalogue::check_name(name)?;
        }
        let file = File::open(path).map_err(|error| failed(error.into()))?;
        let contents = {
            let adding = catalogue.add()?;
            let read = || read(file, &adding, options.max_len);
            self.shared.listener.work(Work::Snapshot, read).map_err(|error| match error {
                ReadError::Archive(source) => failed(source),
                ReadError::Store(error) => error,
            })?
        };
        let name = options.name.clone().or_else(|| contents.name.clone());
        let name = name.ok_or_else(|| failed(ArchiveError::NoName))?;
        Catalogue::check_name(&name)?;

        let layout = |what: String| failed(ArchiveError::Layout(what));
        let io = |error: io::Error| failed(error.into());
        let mut modules = Vec::with_capacity(contents.modules.len());
        for mut blob in contents.modules {
            let bytes = blob.bytes().map_err(io)?;
            let hash = ModuleHash::of(&bytes);
            let source = Source::read("a module of the archive", &*bytes).map_err(io)?;
            let module = WasmModule::open(&source, &self.shared)?;
            if module.hash != hash {
                return Err(layout(format!("module {hash} is not in the binary format")));
            }
            modules.push(module);
        }
        let mut opened = SnapshotFile::of(contents.snapshot.file, path.to_owned())?;
        let mut bases = contents.bases.into_iter().map(|blob| blob.file).collect::<Vec<_>>();
        opened.find_bases_among(&mut bases, path)?;
        if !bases.is_empty() {
            return Err(layout("it has a snapshot that nothing needs".to_owned()));
        }
        let needed: Vec<ModuleHash> = opened.modules().collect();
        if let Some(extra) = modules.iter().find(|module| !needed.contains(&module.hash)) {
            return Err(layout(format!("it has module {}, which nothing needs", extra.hash)));
        }
        let missing = needed.iter().find(|hash| modules.iter().all(|m| m.hash != **hash));
        if let Some(missing) = missing {
            return Err(layout(format!("it has not module {missing}, which its snapshot needs")));
        }

        let mut warnings = Vec::new();
        let mut code = contents.code;
        if !code.is_empty() && !options.trust_code {
            code.clear();
            warnings.push(
                "the machine code in it is left out, and its modules are compiled here: to take it in, say that you \
                 trust who made it (--trust-code)"
                    .to_owned(),
            );
        }
        let count = code.len();
        let cache = catalogue.code();
        let (code, left_out) = TakenIn::of(code, &opened, &self.shared, cache, &failed)?;
        if left_out > 0 {
            warnings.push(format!(
                "{left_out} of the {count} code files in it are left out, because they are not of this build for this \
                 processor: what they are of is compiled here"
            ));
        }

        let snapshot = Snapshot::new(opened);
        let report = &mut Report::default();
        let kept =
            Kept::open(self, Code::Plain, snapshot.clone(), Trust::Nobody, &modules, report)?;
        // Checks every hash, reference and link, as the first restore of such a file does.
        kept.image(self, self.shared.limits)?;

        let mut manifest = snapshot.file().manifest().clone();
        let trusted = Trust::Nobody.defaults(&manifest);
        let Defaults { deterministic, .. } = manifest.defaults;
        let trusted = Defaults { deterministic, ..trusted };
        if manifest.defaults != trusted {
            manifest.defaults = trusted;
            warnings.push(
                "the directories, the environment and the limits that it was made with are left out: give \
                 them to its runs"
                    .to_owned(),
            );
        }
        let rewritten = snapshot.file().with_manifest(manifest)?;
        let adding = catalogue.add()?;
        let id = adding.put_rewritten(&rewritten)?;
        for module in &modules {
            adding.put_module(module.hash, &module.bytes()?)?;
        }
        adding.set_function(&name, id)?;
        code.keep();
        Ok(Imported { name, id, warnings })
    }
}

enum ReadError {
    Archive(ArchiveError),
    Store(Error),
}

impl<E: Into<ArchiveError>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Archive(error.into())
    }
}

/// Reads an archive to its end.
fn read(file: File, adding: &Adding<'_>, max_len: u64) -> Result<Contents, ReadError> {
    let (blobs, documents) = unpack(file, adding, max_len)?;
    let mut blobs = Blobs(blobs);
    let document = |name: &str| {
        let missing = || ArchiveError::Layout(format!("it has no {name}"));
        documents.get(name).ok_or_else(missing)
    };
    let version: Layout = layout::read(LAYOUT_FILE, document(LAYOUT_FILE)?)?;
    if version.image_layout_version != LAYOUT_VERSION {
        let version = version.image_layout_version;
        return Err(ArchiveError::Layout(format!("image layout {version:?}")).into());
    }
    let index: Index = layout::read(INDEX_FILE, document(INDEX_FILE)?)?;
    let [descriptor] = &index.manifests[..] else {
        return Err(ArchiveError::Layout("it has not just one manifest".to_owned()).into());
    };
    expect("the manifest", &descriptor.media_type, MANIFEST)?;
    let manifest: Manifest = layout::read("its manifest", &blobs.small(descriptor)?)?;
    expect("the artifact", manifest.artifact_type.as_deref().unwrap_or_default(), FUNCTION)?;
    expect("the configuration", &manifest.config.media_type, EMPTY)?;
    blobs.small(&manifest.config)?;

    let mut contents = [const { Vec::new() }; 3];
    let mut code = BTreeMap::new();
    for layer in &manifest.layers {
        let kinds = [SNAPSHOT, BASE, MODULE];
        if layer.media_type == CODE {
            let key = layer.annotations.get(CODE_KEY);
            let nameless = || ArchiveError::Layout("machine code in it has no key".to_owned());
            let key = key.ok_or_else(nameless)?.clone();
            if code.contains_key(&key) {
                return Err(ArchiveError::Layout(format!("it has the code {key:?} twice")).into());
            }
            code.insert(key, blobs.take(layer)?);
            continue;
        }
        let Some(kind) = kinds.iter().position(|kind| layer.media_type == *kind) else {
            let kind = &layer.media_type;
            return Err(ArchiveError::Layout(format!("a layer is of the type {kind:?}")).into());
        };
        contents[kind].push(blobs.take(layer)?);
    }
    let [snapshots, bases, modules] = contents;
    let snapshot = match <[Blob; 1]>::try_from(snapshots) {
        Ok([snapshot]) if bases.len() <= MAX_BASES => snapshot,
        _ => return Err(ArchiveError::Layout("it has not just one snapshot".to_owned()).into()),
    };
    if let Some(digest) = blobs.0.keys().next() {
        return Err(
            ArchiveError::Layout(format!("it has a blob that nothing names: {digest}")).into()
        );
    }
    let name = descriptor.annotations.get(NAME).cloned();
    Ok(Contents { name, snapshot, bases, modules, code })
}

fn expect(what: &str, found: &str, expected: &str) -> Result<(), ArchiveError> {
    match found == expected {
        true => Ok(()),
        false => Err(ArchiveError::Layout(format!("{what} is of the type {found:?}"))),
    }
}

/// The blobs that no descriptor has been found for yet, by their digests, which they have been checked against.
struct Blobs(BTreeMap<Digest, Blob>);

impl Blobs {
    fn take(&mut self, descriptor: &Descriptor) -> Result<Blob, ArchiveError> {
        let Descriptor { digest, size, .. } = descriptor;
        match self.0.remove(digest) {
            Some(blob) if blob.len == *size => Ok(blob),
            Some(_) => Err(ArchiveError::Layout(format!("{digest} is not as long as it says"))),
            None => Err(ArchiveError::Layout(format!("it has no blob {digest}"))),
        }
    }

    /// The bytes of a document.
    fn small(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ArchiveError> {
        let mut blob = self.take(descriptor)?;
        if blob.len > MAX_DOCUMENT {
            return Err(ArchiveError::Layout(format!("{} is too long", descriptor.digest)));
        }
        Ok(blob.bytes()?)
    }
}

type Unpacked = (BTreeMap<Digest, Blob>, BTreeMap<&'static str, Vec<u8>>);

/// Reads so many bytes at most; the next is an error, and noted.
struct Limited<'a, R> {
    inner: R,
    left: u64,
    exceeded: &'a Cell<bool>,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more than may be, to tell the end from the limit.
        let want = buffer.len().min(self.left.saturating_add(1) as usize);
        let read = self.inner.read(&mut buffer[..want])?;
        match self.left.checked_sub(read as u64) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => {
                self.exceeded.set(true);
                Err(io::Error::other("it is too large"))
            }
        }
    }
}

/// Takes all entries out of an archive: blobs to files of the store without names, documents to memory.
fn unpack(file: File, adding: &Adding<'_>, max_len: u64) -> Result<Unpacked, ReadError> {
    let exceeded = Cell::new(false);
    let unpacked = unpack_within(file, adding, max_len, &exceeded);
    // Wherever it was noticed.
    unpacked.map_err(|error| match exceeded.get() {
        true => ArchiveError::TooLarge(max_len).into(),
        false => error,
    })
}

fn unpack_within(
    file: File,
    adding: &Adding<'_>,
    max_len: u64,
    exceeded: &Cell<bool>,
) -> Result<Unpacked, ReadError> {
    let whole = |error: String| ArchiveError::NotWhole(error);
    let mut source = BufReader::new(file);
    let decoder = StreamingDecoder::new_with_max_window_size(&mut source, MAX_WINDOW);
    let decoder = decoder.map_err(|error| whole(error.to_string()))?;
    let mut archive = tar::Archive::new(Limited { inner: decoder, left: max_len, exceeded });
    let mut left = max_len;
    let (mut blobs, mut documents) = (BTreeMap::new(), BTreeMap::new());
    let entries = archive.entries().map_err(|error| whole(error.to_string()))?;
    // Raw: no entry speaks of another, or is longer than it says.
    for (count, entry) in entries.raw(true).enumerate() {
        let mut entry = entry.map_err(|error| whole(error.to_string()))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refuse = |why: &str| ArchiveError::Layout(format!("{path:?} {why}"));
        if count >= MAX_ENTRIES {
            return Err(ArchiveError::Layout("it has too many entries".to_owned()).into());
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() && matches!(path.trim_end_matches('/'), "blobs" | "blobs/sha256") {
            continue;
        }
        if !kind.is_file() {
            return Err(refuse("is neither a file nor a directory of the layout").into());
        }
        let len = entry.size();
        left = left.checked_sub(len).ok_or(ArchiveError::TooLarge(max_len))?;
        let known = [LAYOUT_FILE, INDEX_FILE].into_iter().find(|known| *known == path);
        match (known, Digest::of_path(&path)) {
            (Some(known), _) => {
                if len > MAX_DOCUMENT {
                    return Err(refuse("is too long").into());
                }
                let mut bytes = Vec::with_capacity(len as usize);
                entry.read_to_end(&mut bytes).map_err(|error| whole(error.to_string()))?;
                if bytes.len() as u64 != len {
                    return Err(whole(format!("{known} ends early")).into());
                }
                if documents.insert(known, bytes).is_some() {
                    return Err(refuse("is there twice").into());
                }
            }
            (None, Some(digest)) => {
                let blob = unpack_blob(&mut entry, adding, len, &digest)?;
                if blobs.insert(digest, blob).is_some() {
                    return Err(refuse("is there twice").into());
                }
            }
            (None, None) => {
                return Err(refuse(&format!("does not belong there (blobs are in {BLOBS})")).into());
            }
        }
    }
    let mut rest = archive.into_inner();
    end(&mut rest)?;
    let decoder = rest.inner.into_frame_decoder();
    let sum = decoder.get_checksum_from_data();
    if sum.is_some() && sum != decoder.get_calculated_checksum() {
        return Err(whole("it does not match its check sum".to_owned()).into());
    }
    match source.read(&mut [0]) {
        Ok(0) => Ok((blobs, documents)),
        Ok(_) => Err(whole("something was added to it".to_owned()).into()),
        Err(error) => Err(error.into()),
    }
}

/// Copies a blob to a file, and checks it.
fn unpack_blob(
    entry: &mut impl Read,
    adding: &Adding<'_>,
    len: u64,
    digest: &Digest,
) -> Result<Blob, ReadError> {
    let store = |error: CatalogueError| ReadError::Store(error.into());
    let mut file = adding.unnamed_file().map_err(store)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; COPY];
    let mut copied = 0;
    loop {
        let read = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::NotWhole(error.to_string()).into()),
        };
        hasher.update(&buffer[..read]);
        let written = file.write_all(&buffer[..read]);
        written.map_err(|error| store(adding.unnamed_file_error(error)))?;
        copied += read as u64;
    }
    if copied != len {
        return Err(ArchiveError::NotWhole(format!("{digest} ends early")).into());
    }
    match Digest::end(hasher) == *digest {
        true => Ok(Blob { file, len }),
        false => Err(ArchiveError::Digest(digest.to_string()).into()),
    }
}

/// Reads what is behind the last entry, which are zeroes.
fn end(mut rest: impl Read) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; COPY];
    let mut padding = 0;
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                padding += read as u64;
                if padding > MAX_PADDING || buffer[..read].iter().any(|byte| *byte != 0) {
                    let added = "something was added to it".to_owned();
                    return Err(ArchiveError::NotWhole(added));
                }
            }
            Err(error) => return Err(ArchiveError::NotWhole(error.to_string())),
        }
    }
}
