//! Modules as they are handed in, and as they are once their hash is known.
//!
//! Invariant: the hash of a [`WasmModule`] is that of the binary module that its source held when it was
//! looked at; bytes that do not have that hash are never handed out.

use super::Shared;
use crate::Error;
use executor_model::ModuleHash;
use executor_snapshot::catalogue::ModuleFile;
use std::{
    borrow::Cow,
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What every binary module begins with.
pub(crate) const MODULE_MAGIC: &[u8; 4] = b"\0asm";

/// Where a module comes from: bytes in the binary format, text in the text format, or a file.
///
/// Made `From` bytes (`&[u8]`, `Vec<u8>`), text (`&str`, `String`) and paths (`&Path`, `PathBuf`). A file
/// whose name ends in `.wat` holds text, any other holds bytes. Text needs the feature `compiler`.
#[derive(Debug, Clone)]
pub struct Source(Kind);

#[derive(Debug, Clone)]
enum Kind {
    File(PathBuf),
    Bytes(Arc<[u8]>),
    Text(Arc<str>),
}

impl Source {
    /// A module in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    /// What a guest finds as its argument 0 where it is given none.
    pub(crate) fn file_name(&self) -> String {
        match &self.0 {
            Kind::File(path) => {
                path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
            }
            Kind::Bytes(_) | Kind::Text(_) => "module".to_owned(),
        }
    }
}

macro_rules! from {
    ($($ty:ty => |$value:ident| $kind:expr;)*) => {$(
        impl From<$ty> for Source {
            fn from($value: $ty) -> Self {
                Self($kind)
            }
        }
    )*};
}

from! {
    &Path => |path| Kind::File(path.to_owned());
    PathBuf => |path| Kind::File(path);
    &[u8] => |bytes| Kind::Bytes(bytes.into());
    Vec<u8> => |bytes| Kind::Bytes(bytes.into());
    &str => |text| Kind::Text(text.into());
    String => |text| Kind::Text(text.into());
}

/// A module whose hash is known.
#[derive(Debug, Clone)]
pub(crate) struct WasmModule {
    /// What it is called in messages.
    pub(crate) name: String,
    pub(crate) hash: ModuleHash,
    path: Option<PathBuf>,
    /// The binary module, where it had to be read or parsed to know the hash.
    bytes: Option<Arc<[u8]>>,
}

impl WasmModule {
    /// Finds the module's hash: of a file from the store's index where that knows it, else by reading.
    pub(crate) fn open(source: &Source, shared: &Shared) -> Result<Self, Error> {
        let path = match &source.0 {
            Kind::Bytes(bytes) => return Ok(Self::read("the module", None, Arc::clone(bytes))),
            Kind::Text(text) => {
                return Ok(Self::read("the module", None, parse("the module", text)?));
            }
            Kind::File(path) => path,
        };
        let name = path.display().to_string();
        if path.extension() == Some(OsStr::new("wat")) {
            let text = std::fs::read_to_string(path).map_err(failed(path))?;
            let bytes = parse(&name, &text)?;
            return Ok(Self::read(name, Some(path), bytes));
        }
        let Some(catalogue) = shared.catalogue() else {
            let file = File::open(path).map_err(failed(path))?;
            return Ok(Self::read(name, Some(path), binary(path, file)?));
        };
        let ignored = |error| shared.listener.warn(error);
        let opened = catalogue.module_hash_of(path, ignored).map_err(failed(path))?;
        let ModuleFile { file, stamp, hash } = opened;
        if let Some(hash) = hash {
            return Ok(Self { name, hash, path: Some(path.clone()), bytes: None });
        }
        let module = Self::read(name, Some(path), binary(path, file)?);
        // The index only saves time: where it cannot be written, the file is read again. What else
        // is written to the store says why it fails.
        let _ = catalogue.add().and_then(|adding| adding.record_module(&stamp, module.hash));
        Ok(module)
    }

    fn read(name: impl Into<String>, path: Option<&PathBuf>, bytes: Arc<[u8]>) -> Self {
        let hash = ModuleHash::of(&bytes);
        Self { name: name.into(), hash, path: path.cloned(), bytes: Some(bytes) }
    }

    /// The same with its bytes, whatever becomes of the file.
    pub(crate) fn read_whole(&self) -> Result<Self, Error> {
        Ok(Self { bytes: Some(self.bytes()?.into()), ..self.clone() })
    }

    /// The binary module.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        let path = match (&self.bytes, &self.path) {
            (Some(bytes), _) => return Ok(Cow::Borrowed(bytes)),
            (None, Some(path)) => path,
            (None, None) => return Err(Error::UnknownModule(self.hash)),
        };
        let bytes = std::fs::read(path).map_err(failed(path))?;
        match ModuleHash::of(&bytes) == self.hash {
            true => Ok(Cow::Owned(bytes)),
            false => Err(Error::Changed { path: path.clone() }),
        }
    }
}

pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// Reads a binary module; anything else is refused at its first bytes.
fn binary(path: &Path, mut file: File) -> Result<Arc<[u8]>, Error> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed(path))?;
    match bytes.starts_with(MODULE_MAGIC) {
        true => Ok(bytes.into()),
        false => Err(Error::NotAModule { path: path.to_owned() }),
    }
}

#[cfg(feature = "compiler")]
fn parse(name: &str, text: &str) -> Result<Arc<[u8]>, Error> {
    wat::parse_str(text).map(Into::into).map_err(|error| {
        // The parser's message is followed by the place and a drawing of it.
        let error = error.to_string();
        let place = error.lines().find_map(|l| l.trim().strip_prefix("--> <anon>"));
        let message = error.lines().next().unwrap_or_default().to_owned();
        let place = place.unwrap_or_default().to_owned();
        Error::Text { module: name.to_owned(), place, message }
    })
}

#[cfg(not(feature = "compiler"))]
fn parse(name: &str, _: &str) -> Result<Arc<[u8]>, Error> {
    Err(Error::NoParser { module: name.to_owned() })
}
