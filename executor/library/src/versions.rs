//! Versions of functions that are deployed: making them, going back, and naming them.
//!
//! Invariant: a function leads to one version at any time, the old one or the new one, whatever is interrupted.

use crate::{Created, Creation, Error, Function, Report, Runtime, Snapshot, settings::Settings};
use executor_snapshot::{
    Catalogue, SnapshotId,
    catalogue::{Adding, Switched, Version},
};

/// How a creation is deployed.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// How many versions are kept that nothing leads to, counted from the latest on with those that something
    /// leads to.
    pub(crate) keep: u32,
    pub(crate) settings: Option<Settings>,
}

impl Default for Deployment {
    fn default() -> Self {
        Self { keep: 10, settings: None }
    }
}

/// A deployed function.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Deployed {
    /// The version that is current now.
    pub version: u32,
    /// Whether another one was current before: if not, that has the same snapshot.
    pub is_new: bool,
    /// Its snapshot.
    pub created: Created,
}

impl Creation {
    /// Sets how many of the latest versions are kept; older ones that nothing leads to are removed. 10 where nothing
    /// is said.
    pub fn keep(mut self, versions: u32) -> Self {
        self.deployment.keep = versions;
        self
    }

    /// Sets the settings of the function, which it has from when it is switched to the new version on. Where nothing
    /// is said it keeps those that it has.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.deployment.settings = Some(settings);
        self
    }

    /// Makes a new version of the function, and then switches the function to it. Where the version that is current
    /// has the same snapshot, none is made. A function that was made without versions becomes the version before.
    ///
    /// # Errors
    /// [`Error::NoName`] where the function has no name, [`Error::NoVersions`] where the runtime has no store;
    /// otherwise as [`Self::save`].
    pub fn deploy(mut self) -> Result<Deployed, Error> {
        let (runtime, name) = (self.runtime.clone(), self.name.clone());
        let name = name.ok_or(Error::NoName)?;
        let keep = self.deployment.keep;
        self.deploys = true;
        let catalogue = runtime.versioned()?;
        let (created, switched) = self.save_or_deploy()?;
        let Switched { version, is_new } = switched.ok_or(Error::NoVersions)?;
        catalogue.prune(&name, keep)?;
        Ok(Deployed { version, is_new, created })
    }
}

impl Deployment {
    /// Makes a version, and switches the function to it.
    pub(crate) fn switch(
        &self,
        adding: &Adding<'_>,
        name: &str,
        id: SnapshotId,
    ) -> Result<Switched, Error> {
        let settings = self.settings.as_ref().map(to_json);
        Ok(adding.deploy(name, id, || match &settings {
            Some(settings) => adding.put_settings(name, settings),
            None => Ok(()),
        })?)
    }
}

impl Runtime {
    /// The versions of a function, by number; none where it was never deployed.
    ///
    /// # Errors
    /// When there is no such function, the runtime has no store, or a version does not lead to a snapshot.
    pub fn versions(&self, name: &str) -> Result<Vec<Version>, Error> {
        Ok(self.versioned()?.versions(name)?)
    }

    /// Switches a function to another of its versions, and returns which: the highest below the current one where
    /// none is named.
    ///
    /// # Errors
    /// When there is no such function or version, or the store cannot be written.
    pub fn rollback(&self, name: &str, to: Option<u32>) -> Result<u32, Error> {
        Ok(self.versioned()?.add()?.rollback(name, to)?)
    }

    /// Makes an alias `NAME@ALIAS` of a version, or has it lead to another.
    ///
    /// # Errors
    /// When there is no such function or version, `alias` cannot be one, or the store cannot be written.
    pub fn set_alias(&self, name: &str, alias: &str, version: u32) -> Result<(), Error> {
        Ok(self.versioned()?.add()?.set_alias(name, alias, version)?)
    }

    /// Removes an alias. The version stays.
    ///
    /// # Errors
    /// When there is none of that name, or the store cannot be written.
    pub fn remove_alias(&self, name: &str, alias: &str) -> Result<(), Error> {
        Ok(self.versioned()?.add()?.remove_alias(name, alias)?)
    }

    /// The snapshot of a function, or of a version or an alias of one (`NAME@TAG`). Only links are read.
    ///
    /// # Errors
    /// When there is nothing of that name.
    pub fn current(&self, name: &str) -> Result<SnapshotId, Error> {
        match self.shared.directory() {
            Some(catalogue) => Ok(catalogue.current(name)?),
            None => Ok(self.snapshot_of(name)?.id()),
        }
    }

    /// The function of exactly this snapshot of the store, as [`Self::function`] opens it. Its instances' argument 0
    /// is the identity where they are given none.
    ///
    /// # Errors
    /// [`Error::UnknownSnapshot`] when it is not there, any more perhaps; or it or its code cannot be had.
    pub fn function_of(&self, id: SnapshotId) -> Result<Function, Error> {
        let file = self.versioned()?.snapshot(id)?.ok_or(Error::UnknownSnapshot(id))?;
        let report = &mut Report::default();
        Function::of_store(self, &id.to_string(), Snapshot::new(file), &[], report)
    }

    /// How a function is to be served; nothing is said where nothing was set.
    ///
    /// # Errors
    /// When they cannot be read, or are damaged.
    pub fn settings(&self, name: &str) -> Result<Settings, Error> {
        let catalogue = self.versioned()?;
        let Some(bytes) = catalogue.settings(name)? else { return Ok(Settings::default()) };
        serde_json::from_slice(&bytes)
            .map_err(|source| Error::Settings { path: catalogue.settings_path(name), source })
    }

    /// Sets how a function is to be served, in place of what was set before. It stays with the name, whatever version
    /// is current, until the function is removed.
    ///
    /// # Errors
    /// When there is no such function, or the store cannot be written.
    pub fn set_settings(&self, name: &str, settings: &Settings) -> Result<(), Error> {
        let catalogue = self.versioned()?;
        Catalogue::check_name(name)?;
        let adding = catalogue.add()?;
        catalogue.current(name)?;
        Ok(adding.put_settings(name, &to_json(settings))?)
    }

    /// The store, in which alone functions have versions.
    fn versioned(&self) -> Result<&Catalogue, Error> {
        self.shared.directory().ok_or(Error::NoVersions)
    }
}

fn to_json(settings: &Settings) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(settings)
        .expect("text, numbers and maps by text can always be written");
    json.push(b'\n');
    json
}
