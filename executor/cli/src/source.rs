//! What a command line names: a stored function, a snapshot file or a module.
//!
//! Invariant: the hash of a [`Source`] is that of the binary module its file held when it was
//! looked at; bytes that do not have that hash are never handed out.

use crate::{
    args::Preload,
    error::{Context, Failure},
};
use executor_model::ModuleHash;
use executor_snapshot::{Catalogue, catalogue::ModuleFile, format::MAGIC};
use std::{
    borrow::Cow,
    ffi::OsStr,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// What every binary module begins with.
const MODULE_MAGIC: &[u8; 4] = b"\0asm";

/// What the target of a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A function in the store.
    Function(&'a str),
    /// A snapshot file.
    Snapshot(&'a Path),
    /// A module's file.
    Module(&'a Path),
}

impl<'a> Target<'a> {
    /// A target is a path when it has a slash, ends as modules and snapshots do, or names a file
    /// that is there; else it is the name of a function.
    ///
    /// # Errors
    /// When it is a path to something else, or a name that is not UTF-8.
    pub fn classify(target: &'a OsStr) -> Result<Self, Failure> {
        let path = Path::new(target);
        match path.extension().and_then(OsStr::to_str) {
            Some("wasm" | "wat") => return Ok(Self::Module(path)),
            Some("snap") => return Ok(Self::Snapshot(path)),
            _ => {}
        }
        if target.as_encoded_bytes().contains(&b'/') || path.is_file() {
            return Self::sniff(path);
        }
        match target.to_str() {
            Some(name) => Ok(Self::Function(name)),
            None => Err(Failure::new(format_args!("no function is named {}", target.display()))),
        }
    }

    /// Looks at how the file begins.
    fn sniff(path: &'a Path) -> Result<Self, Failure> {
        let mut magic = Vec::new();
        File::open(path)
            .and_then(|file| file.take(8).read_to_end(&mut magic))
            .context(path.display())?;
        match () {
            () if magic.starts_with(MODULE_MAGIC) => Ok(Self::Module(path)),
            () if magic.starts_with(&MAGIC) => Ok(Self::Snapshot(path)),
            () => Err(Failure::new(format_args!(
                "{} is neither a module nor a snapshot (text modules end in .wat)",
                path.display()
            ))),
        }
    }
}

/// A module's file.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    hash: ModuleHash,
    /// The binary module, where it had to be read or parsed to know the hash.
    bytes: Option<Vec<u8>>,
}

impl Source {
    /// Finds the module's hash: from the store's index where that knows the file, else by reading.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a module.
    pub fn open(path: &Path, catalogue: Option<&Catalogue>) -> Result<Self, Failure> {
        let source = |hash, bytes| Self { path: path.to_owned(), hash, bytes };
        let read = |bytes: Vec<u8>| source(ModuleHash::of(&bytes), Some(bytes));
        if path.extension() == Some(OsStr::new("wat")) {
            return parse_text(path).map(read);
        }
        let Some(catalogue) = catalogue else {
            return binary(path, File::open(path).context(path.display())?).map(read);
        };
        let ModuleFile { file, stamp, hash } =
            catalogue.module_hash_of(path).map_err(Failure::new)?;
        if let Some(hash) = hash {
            return Ok(source(hash, None));
        }
        let source = read(binary(path, file)?);
        // The index only saves time: where it cannot be written, the file is read again. What else
        // is written to the store says why it fails.
        let _ = catalogue.add().and_then(|adding| adding.record_module(&stamp, source.hash));
        Ok(source)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The module's identity.
    pub fn hash(&self) -> ModuleHash {
        self.hash
    }

    /// The binary module.
    ///
    /// # Errors
    /// When the file cannot be read, or changed since it was looked at.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Failure> {
        if let Some(bytes) = &self.bytes {
            return Ok(Cow::Borrowed(bytes));
        }
        let bytes = std::fs::read(&self.path).context(self.path.display())?;
        match ModuleHash::of(&bytes) == self.hash {
            true => Ok(Cow::Owned(bytes)),
            false => Err(Failure::new(format_args!(
                "{} changed while it was in use; run again",
                self.path.display()
            ))),
        }
    }
}

/// The files of a guest's modules.
#[derive(Debug)]
pub struct Sources {
    /// Those to instantiate first, with the names their exports are imported under.
    pub preload: Vec<(String, Source)>,
    /// The one that is run.
    pub main: Source,
}

impl Sources {
    /// Looks at the files.
    ///
    /// # Errors
    /// When one cannot be read, or is not a module.
    pub fn open(
        catalogue: Option<&Catalogue>,
        preloads: &[Preload],
        main: &Path,
    ) -> Result<Self, Failure> {
        let preload = |p: &Preload| Ok((p.name.clone(), Source::open(&p.file, catalogue)?));
        let preload = preloads.iter().map(preload).collect::<Result<_, Failure>>()?;
        Ok(Self { preload, main: Source::open(main, catalogue)? })
    }

    /// The names and hashes of those to instantiate first.
    pub fn preload_hashes(&self) -> Vec<(String, ModuleHash)> {
        self.preload.iter().map(|(name, source)| (name.clone(), source.hash())).collect()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Source> {
        self.preload.iter().map(|(_, source)| source).chain([&self.main])
    }
}

/// Reads a binary module; anything else is refused at its first bytes.
fn binary(path: &Path, mut file: File) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context(path.display())?;
    match bytes.starts_with(MODULE_MAGIC) {
        true => Ok(bytes),
        false => Err(Failure::new(format_args!(
            "{} is not a WebAssembly module (text modules end in .wat)",
            path.display()
        ))),
    }
}

#[cfg(feature = "compiler")]
fn parse_text(path: &Path) -> Result<Vec<u8>, Failure> {
    let text = std::fs::read_to_string(path).context(path.display())?;
    wat::parse_str(&text).map_err(|error| {
        // The parser's message is followed by the place and a drawing of it.
        let error = error.to_string();
        let place = error.lines().find_map(|l| l.trim().strip_prefix("--> <anon>"));
        let message = error.lines().next().unwrap_or_default();
        Failure::new(format_args!("{}{}: {message}", path.display(), place.unwrap_or_default()))
    })
}

#[cfg(not(feature = "compiler"))]
fn parse_text(path: &Path) -> Result<Vec<u8>, Failure> {
    Err(Failure::new(format_args!(
        "{}: this build has no compiler and cannot read text modules",
        path.display()
    )))
}
