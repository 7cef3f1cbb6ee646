//! From a snapshot file back to a store.
//!
//! Invariant: what a restore does is proportional to the number of instances and extents, never to
//! the state: it hands the runtime a plan of what to map, from the file and from those of its bases.

use crate::{SnapshotError, SnapshotFile, format::Area};
use executor_model::ModuleHash;
use executor_runtime::{
    CompiledModule, Extent, Image, InstancePlan, Linker, NativeEngine, RestorePlan, Store,
    StoreConfig,
};
use std::sync::Arc;

impl SnapshotFile {
    /// What the runtime needs to restore the store; `module` finds the code of each module.
    ///
    /// # Errors
    /// That of `module`, [`SnapshotError::Misfit`], and [`SnapshotError::MissingBase`].
    pub fn plan<E: From<SnapshotError>>(
        &self,
        mut module: impl FnMut(ModuleHash) -> Result<Arc<CompiledModule>, E>,
    ) -> Result<RestorePlan, E> {
        let files = self.files()?;
        let start = |source: u32| files[source as usize].head().data_start();
        let place = |areas: &[Area]| -> Vec<Vec<Extent>> {
            let at = |e: &Extent| Extent { offset: start(e.source) + e.offset, ..*e };
            areas.iter().map(|a| a.extents.iter().map(at).collect()).collect()
        };
        let mut instances = Vec::with_capacity(self.instances().len());
        for (i, instance) in self.instances().iter().enumerate() {
            let module = module(instance.module)?;
            // The runtime checks the rest; the block's length is known only here.
            if instance.module != module.hash()
                || instance.block.len != module.code().counts().state_len()
            {
                let (path, module) = (self.path().to_owned(), instance.module);
                return Err(SnapshotError::Misfit { path, instance: i + 1, module }.into());
            }
            instances.push(InstancePlan {
                module,
                instantiated: instance.instantiated,
                block: start(0) + instance.block.offset,
                tables: place(&instance.tables),
                memories: place(&instance.memories),
                working_set: instance.memories.iter().map(|a| a.working_set.clone()).collect(),
            });
        }
        let files = files.into_iter().map(|file| Arc::clone(file.file())).collect();
        Ok(RestorePlan {
            trust: self.trust(),
            files,
            instances,
            call: self.metadata().call.clone(),
        })
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
    Ok(Image::new(engine, linker, config, plan).map_err(SnapshotError::restore(file.path()))?)
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
    Ok(image.restore().map_err(SnapshotError::restore(file.path()))?)
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
    validated.map_err(SnapshotError::restore(file.path()))?;
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
    Ok(image.restore().map_err(SnapshotError::restore(file.path()))?)
}
