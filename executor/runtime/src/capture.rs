//! Capturing the state of a store.
//!
//! Invariant: a capture is complete, or refused with an error that names what cannot be captured; it changes nothing.

use crate::{
    state::{CallState, InstanceState, StateValue, StoreState, dense_placement},
    store::{Instance, Store, StoreInner},
};
use executor_code::file::Place;
use executor_model::{Escaped, ExternKind, Hierarchy, InstanceId, ModuleInfo, ObjectBits, ValType};

/// Why a store cannot be captured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// A call is in progress.
    #[error("a call is in progress; capture between calls")]
    Running,
    /// An instance was closed.
    #[error("instance {instance} was closed")]
    Closed {
        /// The instance.
        instance: InstanceId,
    },
    /// A value that lives in the host, and means nothing to another process.
    #[error(
        "{item} of instance {instance} holds {}, which cannot be kept; \
         set it to null before the snapshot",
        match .hierarchy {
            Hierarchy::Exn => "an exception (exnref)",
            Hierarchy::Extern | Hierarchy::Any | Hierarchy::Func => "a host reference (externref)",
        }
    )]
    HostReference {
        /// The instance.
        instance: InstanceId,
        /// The global, or the table and element.
        item: String,
        /// What kind of reference it is.
        hierarchy: Hierarchy,
    },
    /// A memory that is in use by others, which would not be captured with it.
    #[error(
        "{item} of instance {instance} is shared with another store or held by the host; \
         end its threads and drop what holds it before the snapshot"
    )]
    SharedMemory {
        /// The instance.
        instance: InstanceId,
        /// The memory.
        item: String,
    },
    /// The instance was never completed or its code file is damaged.
    #[error("instance {instance}: {reason}")]
    Instance {
        /// The instance.
        instance: InstanceId,
        /// What is wrong.
        reason: String,
    },
}

impl Store {
    /// The state of every instance.
    ///
    /// Objects that nothing refers to are part of it, unless it was prepared ([`Self::prepare_capture`]).
    ///
    /// # Errors
    /// When a call is in progress, or something cannot be captured, which is named.
    pub fn capture(&self) -> Result<StoreState<'_>, CaptureError> {
        self.inner.capture()
    }
}

impl StoreInner {
    fn capture(&self) -> Result<StoreState<'_>, CaptureError> {
        if self.header.running() {
            return Err(CaptureError::Running);
        }
        let modules = self.instances.iter().map(|i| i.vm.module());
        let (origins, _) = dense_placement(modules);
        let instances = self.instances.iter().enumerate().map(|(at, instance)| {
            let id = InstanceId::from_position(at);
            if self.shared.closed(id).is_some() {
                return Err(CaptureError::Closed { instance: id });
            }
            self.capture_instance(id, instance, &origins)
        });
        let instances = instances.collect::<Result<_, _>>()?;
        self.refuse_in_objects()?;
        let call = self.suspension.call.as_deref();
        call.map_or(Ok(()), |call| self.refuse_in_frames(call))?;
        Ok(StoreState { instances, call })
    }

    fn capture_instance<'a>(
        &'a self,
        id: InstanceId,
        instance: &'a Instance,
        origins: &[u64],
    ) -> Result<InstanceState<'a>, CaptureError> {
        let module = instance.vm.module();
        let broken = |reason: String| CaptureError::Instance { instance: id, reason };
        let info = module.info().map_err(|e| broken(e.to_string()))?;
        if !instance.linked {
            return Err(broken("not every import is resolved".to_owned()));
        }
        refuse_host_references(id, instance, info)?;
        self.refuse_shared_memories(id, instance, info)?;
        let counts = instance.vm.counts();
        let block = self
            .dense_block(id, instance, origins)
            .ok_or_else(|| broken("an import leads outside the store".to_owned()))?;
        let tables = (0..counts.owned_tables)
            .map(|i| instance.vm.table_bytes(counts.imported_tables + i).unwrap_or_default());
        let memories = (0..counts.owned_memories)
            .map(|i| instance.vm.memory(counts.imported_memories + i).unwrap_or_default());
        Ok(InstanceState {
            module: module.hash(),
            instantiated: instance.instantiated,
            block,
            tables: tables.collect(),
            memories: memories.collect(),
        })
    }

    /// Handles in the frames of a suspended call mean nothing in another process.
    fn refuse_in_frames(&self, call: &CallState) -> Result<(), CaptureError> {
        for frame in &call.frames {
            for StateValue { place, ty, value } in &frame.values {
                let ValType::Ref(ty) = ty else { continue };
                let hierarchy = ty.heap.hierarchy();
                if can_be_kept(value.0 as u64, hierarchy) {
                    continue;
                }
                let (instance, func) = (frame.instance, frame.site.func);
                let code = self.instance(instance).map(|i| i.vm.module().code());
                let name = code.and_then(|code| code.function_name(func));
                let name =
                    name.map_or_else(String::new, |name| format!(" (\"{}\")", Escaped(name)));
                let what = match place {
                    Place::Local(index) => format!("local {index}"),
                    Place::Operand(height) => format!("operand {height}"),
                    Place::Caught(_) => "a caught exception".to_owned(),
                };
                let item = format!("{what} of function {func}{name}, which is being called,");
                return Err(CaptureError::HostReference { instance, item, hierarchy });
            }
        }
        Ok(())
    }

    /// Other threads may change a memory that others hold, and one of another store is not here.
    fn refuse_shared_memories(
        &self,
        instance_id: InstanceId,
        instance: &Instance,
        info: &ModuleInfo,
    ) -> Result<(), CaptureError> {
        for index in (0..info.memories.len()).filter(|i| info.memories[*i].shared) {
            let Some(region) = instance.vm.memory_region(index as u32) else { continue };
            if self.is_shared(region) || self.owner_of(region.size).is_none() {
                let item = named(info, ExternKind::Memory, "memory", index);
                return Err(CaptureError::SharedMemory { instance: instance_id, item });
            }
        }
        Ok(())
    }

    /// The state block with its links as in the dense placement.
    pub(crate) fn dense_block(
        &self,
        id: InstanceId,
        instance: &Instance,
        origins: &[u64],
    ) -> Option<Vec<u8>> {
        let counts = instance.vm.counts();
        let mut block = instance.vm.block().to_vec();
        let mut relink = |offset: u64| {
            let link = instance.vm.word(offset) as i64;
            let address = (instance.vm.vmctx() as i64).wrapping_add(link) as usize;
            let (owner_id, owner) = self.owner_of(address)?;
            let in_owner = owner.vm.distance_to(address);
            let from = origins[id.position()] as i64;
            let to = origins[owner_id.position()] as i64 + in_owner;
            let at = offset as usize;
            block[at..at + 8].copy_from_slice(&(to - from).to_le_bytes());
            Some(())
        };
        for i in 0..counts.imported_globals {
            relink(counts.global_link(i))?;
        }
        for i in 0..counts.imported_tables {
            relink(counts.table_link(i))?;
            relink(counts.table_link(i) + 8)?;
        }
        for i in 0..counts.imported_memories {
            relink(counts.memory_link(i))?;
            relink(counts.memory_link(i) + 8)?;
        }
        Some(block)
    }
}

/// What an item is called in an error: its kind and index, and its name if it is exported.
fn named(info: &ModuleInfo, kind: ExternKind, what: &str, index: usize) -> String {
    let export = info.exports.iter().find(|e| e.kind == kind && e.index as usize == index);
    match export {
        Some(export) => format!("{what} {index} (\"{}\")", export.name),
        None => format!("{what} {index}"),
    }
}

/// Whether a reference means the same in another process: one to a function, an object or a small integer, or null.
pub(crate) fn can_be_kept(bits: u64, hierarchy: Hierarchy) -> bool {
    match hierarchy {
        Hierarchy::Func => true,
        Hierarchy::Exn => bits == 0,
        Hierarchy::Any | Hierarchy::Extern => {
            !matches!(ObjectBits::from_bits(bits), Some(ObjectBits::Host(_)))
        }
    }
}

/// Host values mean nothing in another process.
fn refuse_host_references(
    id: InstanceId,
    instance: &Instance,
    info: &ModuleInfo,
) -> Result<(), CaptureError> {
    for (i, global) in info.globals.iter().enumerate().skip(info.imported_globals as usize) {
        let ValType::Ref(ty) = global.ty.value else { continue };
        let hierarchy = ty.heap.hierarchy();
        let bits = instance.vm.global(i as u32).map_or(0, |value| value.0 as u64);
        if !can_be_kept(bits, hierarchy) {
            let item = named(info, ExternKind::Global, "global", i);
            return Err(CaptureError::HostReference { instance: id, item, hierarchy });
        }
    }
    for (i, table) in info.tables.iter().enumerate().skip(info.imported_tables as usize) {
        let hierarchy = table.ty.element.heap.hierarchy();
        if hierarchy == Hierarchy::Func {
            continue;
        }
        let elements = instance.vm.table(i as u32).unwrap_or_default();
        let refused = elements.iter().position(|bits| !can_be_kept(*bits, hierarchy));
        if let Some(element) = refused {
            let table = named(info, ExternKind::Table, "table", i);
            let item = format!("element {element} of {table}");
            return Err(CaptureError::HostReference { instance: id, item, hierarchy });
        }
    }
    Ok(())
}
