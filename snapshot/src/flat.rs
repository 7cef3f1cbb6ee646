//! The state of a snapshot, read into memory: what makes one file of a snapshot that has pages of others.
//!
//! Invariant: the state is what a restore would map, so that capturing it gives the snapshot that would have been
//! made without a base: the same bytes, under the same identity.

use crate::{
    Manifest, SnapshotError, SnapshotFile,
    file::DataFile,
    format::{Area, Stretch},
};
use executor_model::ModuleHash;
use executor_runtime::{CallState, InstanceState, StoreState};
use std::{io, ops::Range, sync::Arc};

/// The state of a snapshot.
#[derive(Debug)]
pub struct Flat {
    instances: Vec<FlatInstance>,
    call: Option<Arc<CallState>>,
    manifest: Manifest,
    working_set: Vec<Vec<Vec<Range<u64>>>>,
}

#[derive(Debug)]
struct FlatInstance {
    module: ModuleHash,
    instantiated: bool,
    block: Vec<u8>,
    tables: Vec<Vec<u8>>,
    memories: Vec<Vec<u8>>,
}

impl Flat {
    /// Checks all of a snapshot and of its bases, and reads its state.
    ///
    /// # Errors
    /// When a base is missing, something is damaged or cannot be read, or there is too little memory.
    pub fn read(file: &SnapshotFile) -> Result<Self, SnapshotError> {
        file.verify()?;
        let files = file.files()?;
        let mut instances = Vec::with_capacity(file.instances().len());
        for instance in file.instances() {
            let Stretch { offset, len } = instance.block;
            let mut block = zeroes(len, files[0])?;
            files[0].read(&mut block, offset)?;
            let read = |areas: &[Area]| -> Result<Vec<_>, SnapshotError> {
                areas.iter().map(|area| read(area, &files)).collect()
            };
            instances.push(FlatInstance {
                module: instance.module,
                instantiated: instance.instantiated,
                block,
                tables: read(&instance.tables)?,
                memories: read(&instance.memories)?,
            });
        }
        let runs = |areas: &[Area]| areas.iter().map(|area| area.working_set.clone()).collect();
        Ok(Self {
            instances,
            call: file.metadata().call.clone(),
            manifest: file.manifest().clone(),
            working_set: file.instances().iter().map(|i| runs(&i.memories)).collect(),
        })
    }

    /// What is captured.
    #[must_use]
    pub fn state(&self) -> StoreState<'_> {
        let instances = self.instances.iter().map(|instance| InstanceState {
            module: instance.module,
            instantiated: instance.instantiated,
            block: instance.block.clone(),
            tables: instance.tables.iter().map(Vec::as_slice).collect(),
            memories: instance.memories.iter().map(Vec::as_slice).collect(),
        });
        StoreState { instances: instances.collect(), call: self.call.as_deref() }
    }

    /// What the snapshot says about itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its working set, as a capture takes it.
    #[must_use]
    pub fn working_set(&self) -> &[Vec<Vec<Range<u64>>>] {
        &self.working_set
    }
}

/// The bytes of a table or memory.
fn read(area: &Area, files: &[&DataFile]) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = zeroes(area.len, files[0])?;
    for extent in &area.extents {
        // Behind the live bytes the last page is zero.
        let end = area.len.min(extent.at + extent.len);
        if let Some(into) = bytes.get_mut(extent.at as usize..end as usize) {
            files[extent.source as usize].read(into, extent.offset)?;
        }
    }
    Ok(bytes)
}

/// So many zeroes, of which the system has none in memory until they are written to.
fn zeroes(len: u64, file: &DataFile) -> Result<Vec<u8>, SnapshotError> {
    let none = || SnapshotError::io(file.path())(io::ErrorKind::OutOfMemory.into());
    let len = usize::try_from(len).map_err(|_| none())?;
    // Whoever wrote the file says how much; the allocation below would end the process.
    Vec::<u8>::new().try_reserve_exact(len).map_err(|_| none())?;
    Ok(vec![0; len])
}
