//! Modules as they are handed in, and as they are once their hash is known.
//!
//! Invariant: the hash of a [`WasmModule`] is that of the binary module that its source held when it was
//! looked at; bytes that do not have that hash are never handed out.

use super::Shared;
use crate::Error;
use executor_model::{Module, ModuleHash};
use executor_snapshot::{catalogue::ModuleFile, format::MAGIC as SNAPSHOT_MAGIC};
use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What every binary module begins with.
pub(crate) const MODULE_MAGIC: &[u8; 4] = b"\0asm";

/// Where a module comes from: bytes or a file.
///
/// Made `From` bytes (`&[u8]`, `Vec<u8>`), text (`&str`, `String`) and paths (`&Path`, `PathBuf`). Whether
/// it is in the binary format or in the text format is told from how it begins, whatever a file is called.
/// Text needs the feature `compiler`.
#[derive(Debug, Clone)]
pub struct Source(Kind);

#[derive(Debug, Clone)]
enum Kind {
    File(PathBuf),
    Bytes { name: Arc<str>, bytes: Arc<[u8]> },
}

/// What bytes without a name are called.
const UNNAMED: &str = "module";

impl Source {
    /// A module in a file, which is read when it is needed: a pipe or a device can be used once only.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    /// A module that is read to the end now. `name` is what it is called, and what its guest finds as
    /// argument 0 where it is given none.
    ///
    /// # Errors
    /// When reading fails, or there is more than a module may have.
    pub fn read(name: impl AsRef<str>, from: impl Read) -> io::Result<Self> {
        let bytes = read_at_most(from, Module::MAX_BYTES)?;
        Ok(Self(Kind::Bytes { name: name.as_ref().into(), bytes: bytes.into() }))
    }

    /// Whether it was read and begins with these bytes.
    pub(crate) fn begins_with(&self, magic: &[u8]) -> bool {
        matches!(&self.0, Kind::Bytes { bytes, .. } if bytes.starts_with(magic))
    }

    fn unnamed(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(Kind::Bytes { name: UNNAMED.into(), bytes: bytes.into() })
    }

    /// What a guest finds as its argument 0 where it is given none.
    pub(crate) fn file_name(&self) -> String {
        match &self.0 {
            Kind::File(path) => file_name(path),
            Kind::Bytes { name, .. } => name.as_ref().to_owned(),
        }
    }
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

macro_rules! from {
    ($($ty:ty => |$value:ident| $source:expr;)*) => {$(
        impl From<$ty> for Source {
            fn from($value: $ty) -> Self {
                $source
            }
        }
    )*};
}

from! {
    &Path => |path| Self::file(path);
    PathBuf => |path| Self::file(path);
    &[u8] => |bytes| Self::unnamed(bytes);
    Vec<u8> => |bytes| Self::unnamed(bytes);
    &str => |text| Self::unnamed(text.as_bytes());
    String => |text| Self::unnamed(text.into_bytes());
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
            Kind::File(path) => path,
            Kind::Bytes { name, bytes } => {
                let name = match name.as_ref() {
                    UNNAMED => "the module".to_owned(),
                    name => name.to_owned(),
                };
                let bytes = binary(&name, Arc::clone(bytes))?.bytes;
                return Ok(Self::new(name, None, bytes));
            }
        };
        let name = path.display().to_string();
        let (file, stamp) = match shared.catalogue() {
            None => (File::open(path).map_err(failed(path))?, None),
            Some(catalogue) => {
                let ignored = |error| shared.listener.warn(error);
                let opened = catalogue.module_hash_of(path, ignored).map_err(failed(path))?;
                let ModuleFile { file, stamp, hash } = opened;
                if let Some(hash) = hash {
                    return Ok(Self { name, hash, path: Some(path.clone()), bytes: None });
                }
                (file, Some((catalogue, stamp)))
            }
        };
        let bytes = read_file(&file).map_err(failed(path))?;
        let Binary { bytes, parsed } = binary(&name, bytes.into())?;
        if parsed {
            // The hash is not the file's, so the index has no place for it.
            return Ok(Self::new(name, None, bytes));
        }
        let module = Self::new(name, Some(path), bytes);
        // A pipe holds something else the next time.
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if let Some((catalogue, stamp)) = stamp.filter(|_| regular) {
            // The index only saves time: where it cannot be written, the file is read again. What else
            // is written to the store says why it fails.
            let _ = catalogue.add().and_then(|adding| adding.record_module(&stamp, module.hash));
        }
        Ok(module)
    }

    fn new(name: String, path: Option<&PathBuf>, bytes: Arc<[u8]>) -> Self {
        let hash = ModuleHash::of(&bytes);
        Self { name, hash, path: path.cloned(), bytes: Some(bytes) }
    }

    /// A module that the store has, of this hash.
    pub(crate) fn stored(shared: &Shared, hash: ModuleHash) -> Result<Self, Error> {
        let bytes = Some(shared.module_bytes(hash)?.into());
        Ok(Self { name: format!("module {hash}"), hash, path: None, bytes })
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
        let bytes = File::open(path).and_then(|file| read_file(&file)).map_err(failed(path))?;
        match ModuleHash::of(&bytes) == self.hash {
            true => Ok(Cow::Owned(bytes)),
            false => Err(Error::Changed { path: path.clone() }),
        }
    }
}

/// What is in a file, unless that is more than a module may have: a regular file is not read to find out.
fn read_file(file: &File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    match metadata.is_file() && metadata.len() > Module::MAX_BYTES {
        true => Err(too_long(Module::MAX_BYTES)),
        false => read_at_most(file, Module::MAX_BYTES),
    }
}

/// Reads to the end, unless that is farther than so many bytes.
fn read_at_most(from: impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than may be, to tell the end from the limit.
    from.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(too_long(max)) } else { Ok(bytes) }
}

fn too_long(max: u64) -> io::Error {
    let message = format!("the module has more than {max} bytes, which is the limit");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// A binary module.
struct Binary {
    bytes: Arc<[u8]>,
    /// Whether it was text.
    parsed: bool,
}

/// The binary module that bytes hold, in whichever format.
fn binary(name: &str, bytes: Arc<[u8]>) -> Result<Binary, Error> {
    if bytes.starts_with(MODULE_MAGIC) {
        return Ok(Binary { bytes, parsed: false });
    }
    let refuse = |what| Err(Error::NotAModule { name: name.to_owned(), what });
    if bytes.starts_with(&SNAPSHOT_MAGIC) {
        return refuse("it is a snapshot");
    }
    match str::from_utf8(&bytes) {
        Ok(text) if is_text(text) => Ok(Binary { bytes: parse(name, text)?, parsed: true }),
        _ => refuse("it begins as neither binary nor text of one does"),
    }
}

/// Whether text begins as a module does: with a parenthesis or a comment. A file of spaces is an empty
/// module.
fn is_text(text: &str) -> bool {
    let text = text.trim_ascii_start();
    text.starts_with('(') || text.starts_with(";;")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_of_what_does_not_end_than_shows_that_it_is_too_long() {
        let mut endless = io::repeat(7);
        let error = read_at_most(&mut endless, 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_at_most(&[7; 10][..], 10).unwrap(), [7; 10]);
        assert!(read_at_most(&[7; 11][..], 10).is_err());
    }
}
