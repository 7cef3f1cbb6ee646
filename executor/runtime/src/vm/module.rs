//! A compiled module: its code file, mapped and ready to run.

use super::code::CodeEntry;
use crate::sys::Mapping;
use executor_code::file::{CodeFile, CodeFileError};
use executor_model::{EngineError, FunctionListener, Listeners, ModuleHash, ModuleInfo, TrapCode};
use std::{
    io,
    sync::{Arc, OnceLock},
};

/// A code file in use. It stays mapped as long as an instance, or anyone else, holds this.
#[derive(Debug)]
pub struct CompiledModule {
    entry: Arc<CodeEntry>,
    listeners: Listeners,
    ensure_termination: bool,
    copied: bool,
    not_kept: Option<String>,
    info: OnceLock<ModuleInfo>,
}

/// A code file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// It could not be mapped.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is malformed, or made by or for another machine or version.
    #[error(transparent)]
    File(#[from] CodeFileError),
}

impl CompiledModule {
    /// Takes code into use that is what was compiled, whoever says so.
    pub(crate) fn new(
        mut file: CodeFile<Mapping>,
        listeners: Listeners,
        ensure_termination: bool,
    ) -> Result<Self, LoadError> {
        let mut copied = false;
        match Mapping::make_executable(&file) {
            // What lies on a file system that is mounted `noexec` may be read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                file = CodeFile::new(Mapping::anonymous(file.bytes().as_ref())?)?;
                Mapping::make_executable(&file)?;
                copied = true;
            }
            made => made?,
        }
        // It may have been cut while it was checked.
        if file.bytes().lost() {
            return Err(io::Error::other(TrapCode::PageLost.message()).into());
        }
        let entry = Arc::new(CodeEntry::new(file));
        Ok(Self {
            entry,
            listeners,
            ensure_termination,
            copied,
            not_kept: None,
            info: OnceLock::new(),
        })
    }

    /// Whether the code was copied out of its file, because nothing may be executed where that lies.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.copied
    }

    /// The same code, which the cache could not take.
    pub(crate) fn not_kept_because(self, why: Option<String>) -> Self {
        Self { not_kept: why, ..self }
    }

    /// Why the cache could not take the code when it was compiled, if it could not: it is in memory alone.
    #[must_use]
    pub fn not_kept(&self) -> Option<&str> {
        self.not_kept.as_deref()
    }

    pub(crate) fn entry(&self) -> &Arc<CodeEntry> {
        &self.entry
    }

    /// The hash of the module's bytes.
    #[must_use]
    pub fn hash(&self) -> ModuleHash {
        self.code().module()
    }

    /// The code file, to be read in place.
    #[must_use]
    pub fn code(&self) -> &CodeFile<Mapping> {
        &self.entry().file
    }

    /// All that the module declares, decoded on first use. Restoring does not need it.
    ///
    /// # Errors
    /// When the code file is damaged.
    pub fn info(&self) -> Result<&ModuleInfo, EngineError> {
        if let Some(info) = self.info.get() {
            return Ok(info);
        }
        let damaged = |error: CodeFileError| EngineError::DamagedCode {
            module: self.hash(),
            reason: error.to_string(),
        };
        let info = self.code().info().map_err(damaged)?;
        Ok(self.info.get_or_init(|| info))
    }

    /// The address of an offset of the text.
    pub(crate) fn address(&self, offset: u32) -> usize {
        self.entry().text.start + offset as usize
    }

    /// Whether calls can be interrupted.
    pub(crate) fn ensure_termination(&self) -> bool {
        self.ensure_termination
    }

    /// The listener of its functions, if one is compiled in.
    pub(crate) fn listener(&self) -> Option<&Arc<dyn FunctionListener>> {
        self.listeners.get()
    }
}
