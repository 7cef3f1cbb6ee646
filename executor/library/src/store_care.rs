//! Looking after a store: how much room it takes, what can go, what is wrong with it.
//!
//! Invariant: what a user has named is never removed here, and what is only asked for changes nothing.

use crate::{Error, Runtime};
use executor_snapshot::catalogue::{Catalogue, Checked, Collect, Collected, Usage};
use std::path::Path;

/// The store directory of a runtime, to be looked after.
#[derive(Debug, Clone, Copy)]
pub struct StoreCare<'a>(&'a Catalogue);

impl Runtime {
    /// The store, where there is one.
    #[must_use]
    pub fn store(&self) -> Option<StoreCare<'_>> {
        self.shared.directory().map(StoreCare)
    }
}

impl StoreCare<'_> {
    /// The directory, which may not have been made yet.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.dir()
    }

    /// How much room it takes.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn usage(&self) -> Result<Usage, Error> {
        Ok(self.0.usage()?)
    }

    /// Removes what nothing refers to, what crashes left, code that this build does not use on this machine, and the
    /// caches that are named. Functions stay.
    ///
    /// # Errors
    /// When a directory cannot be read or locked, or a file cannot be removed.
    pub fn collect(&self, what: Collect) -> Result<Collected, Error> {
        Ok(self.0.collect(what)?)
    }

    /// Reads every file and checks it.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn check(&self) -> Result<Checked, Error> {
        Ok(self.0.check()?)
    }

    /// The most bytes that its files may have together, if that is limited.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn quota(&self) -> Result<Option<u64>, Error> {
        Ok(self.0.quota()?)
    }

    /// Limits how many bytes its files may have together, or no longer. Whoever adds to it collects caches
    /// first where there is no room, and fails where that is not enough; runs go on without keeping anything then. What
    /// is there already may be more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_quota(&self, bytes: Option<u64>) -> Result<(), Error> {
        Ok(self.0.set_quota(bytes)?)
    }
}
