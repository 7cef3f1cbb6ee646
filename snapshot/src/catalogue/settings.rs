//! Settings of functions: how each is served, as text that the catalogue does not read.
//!
//! Invariant: they belong to the name of a function and not to a version, and go with it.

use super::{Adding, Catalogue, CatalogueError};
use std::{ffi::OsStr, io::Write, path::PathBuf};

/// The directory of the settings.
pub(super) const SETTINGS: &str = "settings";

pub(super) fn file_name(function: &str) -> String {
    format!("{function}.json")
}

/// The function whose settings a file has.
pub(super) fn function_of_name(name: &OsStr) -> Option<&str> {
    name.to_str()?.strip_suffix(".json").filter(|name| Catalogue::check_name(name).is_ok())
}

impl Catalogue {
    /// Where the settings of a function are, if it has any.
    #[must_use]
    pub fn settings_path(&self, function: &str) -> PathBuf {
        self.dir.join(SETTINGS).join(file_name(function))
    }

    /// The settings of a function, if it has any.
    ///
    /// # Errors
    /// When `function` cannot be the name of one, or they cannot be read.
    pub fn settings(&self, function: &str) -> Result<Option<Vec<u8>>, CatalogueError> {
        Self::check_name(function)?;
        match self.sub(SETTINGS)? {
            Some(dir) => Ok(dir.read(file_name(function))?),
            None => Ok(None),
        }
    }
}

impl Adding<'_> {
    /// Gives a function settings in place of those that it has.
    ///
    /// # Errors
    /// When `function` cannot be the name of one, or they cannot be written.
    pub fn put_settings(&self, function: &str, settings: &[u8]) -> Result<(), CatalogueError> {
        Catalogue::check_name(function)?;
        let dir = self.store.make_sub(SETTINGS)?;
        dir.publish(file_name(function), |file| file.write_all(settings))?;
        Ok(())
    }
}
