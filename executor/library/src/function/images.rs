//! The image of a function's state: made by its first instance, shared by the rest.
//!
//! Invariant: the first instance costs what it would without an image, so a process that makes one
//! pays for nothing else. From the second on, instances with the limits of the first are given
//! stores that are kept.

use crate::{Error, Limits};
use executor_runtime::{Image, RestoreError, Store};
use std::sync::OnceLock;

/// The image, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Images(OnceLock<(Limits, Image)>);

impl Images {
    /// The image, if there is one.
    pub(crate) fn get(&self) -> Option<&Image> {
        self.0.get().map(|(_, image)| image)
    }

    /// A store for an instance with some limits. `make` makes an image, and `prepare` is called before anything of the
    /// guest runs.
    pub(crate) fn store(
        &self,
        limits: Limits,
        make: impl FnOnce() -> Result<Image, Error>,
        fail: impl FnOnce(RestoreError) -> Error,
        prepare: impl FnOnce(&mut Store),
    ) -> Result<Store, Error> {
        match self.0.get() {
            Some((of, image)) if *of == limits => image.acquire_with(prepare),
            _ => {
                let image = make()?;
                let store = image.restore_with(prepare);
                // Another thread may have been first.
                let _ = self.0.set((limits, image));
                store
            }
        }
        .map_err(fail)
    }
}
