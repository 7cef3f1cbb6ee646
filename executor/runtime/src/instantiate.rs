//! Instantiation: resolving imports, initialising (see `segments`), running the start function.
//!
//! Invariant: an import is linked only to something of a matching type, so compiled code never
//! checks it again.

use crate::{
    builtins::Raise,
    exception::TagIdentity,
    host::HostFunc,
    image::RestoreError,
    shared::SharedMemory,
    store::{Instance, Store, StoreInner},
    types::Scoped,
    vm::{CompiledModule, Region},
};
use executor_code::abi::{CallTarget, ImportSlot};
use executor_model::{
    CallError, EngineError, Escaped, ExternKind, FuncRef, Import, ImportKind, InstanceId,
    LinkError, MemoryType, ModuleInfo, TableType, Trap, ValType, WasmBacktrace,
};
use std::{io, sync::Arc};

/// Why a module could not be instantiated.
#[derive(Debug, thiserror::Error)]
pub enum InstantiateError {
    /// An import could not be resolved.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The engine or the system refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A segment did not fit, or the start function did not return.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<RestoreError> for InstantiateError {
    /// Why a store of a module's image cannot be made.
    fn from(error: RestoreError) -> Self {
        let refused = |source| EngineError::Resource { what: "map the image of a module", source };
        match error {
            RestoreError::Start(error) => Self::Call(error),
            RestoreError::Engine(error) => Self::Engine(error),
            RestoreError::Io(error) | RestoreError::Untrusted(error) => {
                Self::Engine(refused(error))
            }
            RestoreError::Mismatch(what) => Self::Engine(refused(io::Error::other(what))),
        }
    }
}

fn index_error(what: &str, index: u32, id: InstanceId) -> LinkError {
    LinkError::Index(format!("instance {id} has no {what} {index}"))
}

fn limits(min: u64, max: Option<u64>) -> String {
    match max {
        Some(max) => format!("{min}..{max}"),
        None => format!("{min}.."),
    }
}

/// Whether what exists (its current size and declared maximum) is as an import asks.
fn limits_match(size: u64, max: Option<u64>, asked: (u64, Option<u64>)) -> bool {
    size >= asked.0 && asked.1.is_none_or(|asked| max.is_some_and(|max| max <= asked))
}

/// The import declaration of an item, for error messages.
fn declaration(info: &ModuleInfo, kind: ExternKind, index: u32) -> Option<&Import> {
    let same = |import: &&Import| {
        matches!(
            (import.kind, kind),
            (ImportKind::Func(_), ExternKind::Func)
                | (ImportKind::Table(_), ExternKind::Table)
                | (ImportKind::Memory(_), ExternKind::Memory)
                | (ImportKind::Global(_), ExternKind::Global)
                | (ImportKind::Tag(_), ExternKind::Tag)
        )
    };
    info.imports.iter().filter(same).nth(index as usize)
}

/// What must be the same in an imported memory.
fn kind(ty: &MemoryType) -> String {
    let shared = if ty.shared { "shared " } else { "" };
    let bits = if ty.memory64 { 64 } else { 32 };
    format!("a {shared}{bits}-bit memory with pages of {} bytes", ty.page_size())
}

fn incompatible(import: &Import, reason: String) -> LinkError {
    LinkError::Incompatible { module: import.module.clone(), name: import.name.clone(), reason }
}

impl StoreInner {
    fn declared(
        &self,
        id: InstanceId,
        kind: ExternKind,
        what: &str,
        index: u32,
    ) -> Result<Import, LinkError> {
        let module = self.instances[id.position()].vm.module();
        let info = module.info().map_err(|e| LinkError::Index(e.to_string()))?;
        declaration(info, kind, index)
            .cloned()
            .ok_or_else(|| LinkError::Index(format!("the module does not import {what} {index}")))
    }

    /// Resolves an imported function to another instance's.
    pub(crate) fn link_func(
        &mut self,
        id: InstanceId,
        index: u32,
        to: FuncRef,
    ) -> Result<(), LinkError> {
        let import = self.declared(id, ExternKind::Func, "function", index)?;
        let missing = || index_error("function", to.func(), to.instance());
        let CallTarget { code, vmctx } = self.target(to).ok_or_else(missing)?;
        let wanted = self.instances[id.position()].func_type(index);
        let found = self.instances[to.instance().position()].func_type(to.func());
        let (Some(wanted), Some(found)) = (wanted, found) else { return Err(missing()) };
        let ImportKind::Func(ty) = import.kind else { return Ok(()) };
        if !self.has_type(to, id, ty) {
            return Err(incompatible(&import, format!("expected {wanted}, found {found}")));
        }
        let vm = &mut self.instances[id.position()].vm;
        vm.set_word(vm.counts().binding(index), to.to_bits());
        vm.bind(index, ImportSlot { code, ctx: vmctx });
        Ok(())
    }

    /// Binds an imported function to the host function of its name.
    pub(crate) fn bind_host(
        &mut self,
        id: InstanceId,
        index: u32,
    ) -> Result<Arc<HostFunc>, LinkError> {
        let instance = &mut self.instances[id.position()];
        let code = instance.vm.module().code();
        let names = code.import(index);
        let (module, name) = names.ok_or_else(|| index_error("function import", index, id))?;
        let unknown = || LinkError::Unknown(vec![(module.to_owned(), name.to_owned())]);
        let func = Arc::clone(self.linker.find_func(module, name).ok_or_else(unknown)?);
        let wanted = instance.func_type(index);
        if wanted.as_ref() != Some(&func.ty) {
            return Err(LinkError::Incompatible {
                module: module.to_owned(),
                name: name.to_owned(),
                reason: match wanted {
                    Some(wanted) => format!("expected {wanted}, found {}", func.ty),
                    None => "its type is missing from the code file".to_owned(),
                },
            });
        }
        if instance.host.len() <= index as usize {
            instance.host.resize(instance.vm.counts().imported_functions as usize, None);
        }
        instance.host[index as usize] = Some(Arc::clone(&func));
        Ok(func)
    }

    /// Resolves an imported table to one of another instance.
    pub(crate) fn link_table(
        &mut self,
        id: InstanceId,
        index: u32,
        to: (InstanceId, u32),
    ) -> Result<(), LinkError> {
        let import = self.declared(id, ExternKind::Table, "table", index)?;
        let ImportKind::Table(wanted) = import.kind else { return Ok(()) };
        let missing = || index_error("table", to.1, to.0);
        let region =
            self.instance(to.0).and_then(|i| i.vm.table_region(to.1)).ok_or_else(missing)?;
        let (owner, found) = self.table_type(region).ok_or_else(missing)?;
        let size = region.len() as u64;
        let element = Scoped::new(owner.vm.module().code(), found.element);
        let importer = self.instances[id.position()].vm.module();
        if !element.equals(&Scoped::new(importer.code(), wanted.element))
            || found.table64 != wanted.table64
            || !limits_match(size, found.max, (wanted.min, wanted.max))
        {
            let reason = format!(
                "expected {} {}, found {} {}",
                wanted.element,
                limits(wanted.min, wanted.max),
                found.element,
                limits(size, found.max)
            );
            return Err(incompatible(&import, reason));
        }
        self.instances[id.position()].vm.link_table(index, region);
        Ok(())
    }

    /// Resolves an imported memory to one of another instance.
    pub(crate) fn link_memory(
        &mut self,
        id: InstanceId,
        index: u32,
        to: (InstanceId, u32),
    ) -> Result<(), LinkError> {
        let import = self.declared(id, ExternKind::Memory, "memory", index)?;
        let ImportKind::Memory(wanted) = import.kind else { return Ok(()) };
        let missing = || index_error("memory", to.1, to.0);
        let region =
            self.instance(to.0).and_then(|i| i.vm.memory_region(to.1)).ok_or_else(missing)?;
        let found = self.memory_type(region).ok_or_else(missing)?;
        self.link_region(id, index, &import, (&wanted, &found), region)
    }

    /// Resolves an imported memory to one that stores share.
    fn link_shared(
        &mut self,
        id: InstanceId,
        index: u32,
        import: &Import,
        memory: &SharedMemory,
    ) -> Result<(), LinkError> {
        let ImportKind::Memory(wanted) = import.kind else { return Ok(()) };
        self.link_region(id, index, import, (&wanted, &memory.ty()), memory.region())?;
        self.shared_memories.add(memory);
        Ok(())
    }

    fn link_region(
        &mut self,
        id: InstanceId,
        index: u32,
        import: &Import,
        (wanted, found): (&MemoryType, &MemoryType),
        region: Region,
    ) -> Result<(), LinkError> {
        let size = region.len() as u64 / found.page_size();
        if found.memory64 != wanted.memory64
            || found.page_size_log2 != wanted.page_size_log2
            || found.shared != wanted.shared
        {
            let reason = format!("expected {}, found {}", kind(wanted), kind(found));
            return Err(incompatible(import, reason));
        }
        if !limits_match(size, found.max, (wanted.min, wanted.max)) {
            let reason = format!(
                "expected {} pages, found {}",
                limits(wanted.min, wanted.max),
                limits(size, found.max)
            );
            return Err(incompatible(import, reason));
        }
        self.instances[id.position()].vm.link_memory(index, region);
        Ok(())
    }

    /// Resolves an imported global to one of another instance.
    pub(crate) fn link_global(
        &mut self,
        id: InstanceId,
        index: u32,
        to: (InstanceId, u32),
    ) -> Result<(), LinkError> {
        let import = self.declared(id, ExternKind::Global, "global", index)?;
        let ImportKind::Global(wanted) = import.kind else { return Ok(()) };
        let missing = || index_error("global", to.1, to.0);
        let owner = self.instance(to.0).ok_or_else(missing)?;
        let address = owner.vm.global_address(to.1).ok_or_else(missing)?;
        let info = owner.vm.module().info().map_err(|e| LinkError::Index(e.to_string()))?;
        let found = info.globals.get(to.1 as usize).ok_or_else(missing)?.ty;
        let code = self.instances[id.position()].vm.module().code();
        let wanted_value = Scoped::new(code, wanted.value);
        let found_value = Scoped::new(owner.vm.module().code(), found.value);
        if found.mutable != wanted.mutable || !found_value.fits(&wanted_value, wanted.mutable) {
            let describe = |ty: executor_model::GlobalType| {
                format!("{}{}", if ty.mutable { "mut " } else { "" }, ty.value)
            };
            let reason = format!("expected {}, found {}", describe(wanted), describe(found));
            return Err(incompatible(&import, reason));
        }
        self.instances[id.position()].vm.link_global(index, address);
        Ok(())
    }

    /// Resolves an imported tag to one of another instance.
    pub(crate) fn link_tag(
        &mut self,
        id: InstanceId,
        index: u32,
        to: (InstanceId, u32),
    ) -> Result<(), LinkError> {
        let import = self.declared(id, ExternKind::Tag, "tag", index)?;
        let ImportKind::Tag(wanted) = import.kind else { return Ok(()) };
        let identity = self.tag(to.0, to.1).ok_or_else(|| index_error("tag", to.1, to.0))?;
        if !self.tag_has_type(identity, id, wanted) {
            let wanted = self.instances[id.position()].vm.module().code().func_type(wanted);
            let params = |params: &[ValType]| {
                let params: Vec<String> = params.iter().map(ValType::to_string).collect();
                format!("a tag of ({})", params.join(", "))
            };
            let wanted = wanted.map_or_else(String::new, |ty| params(&ty.params));
            let found = self.payload_types(identity).map_or_else(String::new, |ty| params(&ty));
            return Err(incompatible(&import, format!("expected {wanted}, found {found}")));
        }
        let vm = &mut self.instances[id.position()].vm;
        vm.set_word(vm.counts().tag_identity(index), identity.to_bits());
        Ok(())
    }

    /// The identity of a tag of an instance; `None` when it has no such tag or it is not resolved.
    pub(crate) fn tag(&self, id: InstanceId, index: u32) -> Option<TagIdentity> {
        let vm = &self.instance(id)?.vm;
        if index < vm.counts().imported_tags {
            return TagIdentity::from_bits(vm.word(vm.counts().tag_identity(index)));
        }
        vm.module().code().tag_type(index)?;
        Some(TagIdentity { owner: id, index })
    }

    /// Whether a tag exists and is of type `ty` of the module of `instance`.
    pub(crate) fn tag_has_type(&self, tag: TagIdentity, instance: InstanceId, ty: u32) -> bool {
        let digest = || {
            let owner = &self.instance(tag.owner)?.vm;
            let code = owner.module().code();
            let own = tag.index >= owner.counts().imported_tags;
            code.type_digest(code.tag_type(tag.index).filter(|_| own)?)
        };
        let wanted = || self.instance(instance)?.vm.module().code().type_digest(ty);
        digest().is_some_and(|digest| Some(digest) == wanted())
    }

    /// The declared type of the table at a region, with its owner.
    fn table_type(&self, region: Region) -> Option<(&Instance, TableType)> {
        let (_, owner) = self.owner_of(region.size)?;
        let imported = owner.vm.counts().imported_tables;
        let index = (imported..imported + owner.vm.counts().owned_tables)
            .find(|i| owner.vm.table_region(*i) == Some(region))?;
        Some((owner, owner.vm.module().info().ok()?.tables.get(index as usize)?.ty))
    }

    /// The declared type of the memory at a region, by its owner.
    pub(crate) fn memory_type(&self, region: Region) -> Option<MemoryType> {
        if let Some(memory) = self.shared_memories.find(region) {
            return Some(memory.ty());
        }
        let (_, owner) = self.owner_of(region.size)?;
        let imported = owner.vm.counts().imported_memories;
        let index = (imported..owner.vm.counts().memories())
            .find(|i| owner.vm.memory_region(*i) == Some(region))?;
        owner.vm.module().info().ok()?.memories.get(index as usize).copied()
    }

    /// Resolves every import of an instance by the linker's names.
    fn link_by_name(&mut self, id: InstanceId, info: &ModuleInfo) -> Result<(), LinkError> {
        let exported = |store: &Self, import: &Import| {
            let instance = store.linker.find_instance(&import.module)?;
            let found = store.instance(instance)?.vm.module().code().export(&import.name)?;
            Some((instance, found))
        };
        self.linker.check(info, |import| exported(self, import).is_some())?;
        let (mut funcs, mut tables, mut memories, mut globals, mut tags) = (0, 0, 0, 0, 0);
        for import in &info.imports {
            let (kind, counter) = match import.kind {
                ImportKind::Func(_) => (ExternKind::Func, &mut funcs),
                ImportKind::Table(_) => (ExternKind::Table, &mut tables),
                ImportKind::Memory(_) => (ExternKind::Memory, &mut memories),
                ImportKind::Global(_) => (ExternKind::Global, &mut globals),
                ImportKind::Tag(_) => (ExternKind::Tag, &mut tags),
            };
            let index = *counter;
            *counter += 1;
            match (exported(self, import), kind) {
                (Some((instance, (found, at))), _) if found == kind => match kind {
                    ExternKind::Func => {
                        let to = self.func(instance, at);
                        let to = to.ok_or_else(|| index_error("function", at, instance))?;
                        self.link_func(id, index, to)?;
                    }
                    ExternKind::Table => self.link_table(id, index, (instance, at))?,
                    ExternKind::Memory => self.link_memory(id, index, (instance, at))?,
                    ExternKind::Global => self.link_global(id, index, (instance, at))?,
                    ExternKind::Tag => self.link_tag(id, index, (instance, at))?,
                },
                (Some((_, (found, _))), _) => {
                    let reason = format!("expected a {kind:?}, found a {found:?}").to_lowercase();
                    return Err(incompatible(import, reason));
                }
                (None, ExternKind::Func) => {
                    self.bind_host(id, index)?;
                }
                // What is no function is a memory: all else was refused before.
                (None, _) => {
                    let memory = self.linker.find_memory(&import.module, &import.name).cloned();
                    if let Some(memory) = memory {
                        self.link_shared(id, index, import, &memory)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The first import that is not resolved.
    fn unresolved(&self, id: InstanceId, info: &ModuleInfo) -> Option<String> {
        let instance = &self.instances[id.position()];
        let vm = &instance.vm;
        let counts = vm.counts();
        let name = |kind, i| {
            let import = declaration(info, kind, i)?;
            Some(format!("`{}` `{}`", Escaped(&import.module), Escaped(&import.name)))
        };
        let func = (0..counts.imported_functions).find(|i| {
            vm.word(counts.binding(*i)) == 0
                && instance.host.get(*i as usize).is_none_or(Option::is_none)
        });
        let table = (0..counts.imported_tables).find(|i| vm.table_region(*i).is_none());
        let memory = (0..counts.imported_memories).find(|i| vm.memory_region(*i).is_none());
        let global = (0..counts.imported_globals).find(|i| vm.global_address(*i).is_none());
        let tag = (0..counts.imported_tags).find(|i| self.tag(id, *i).is_none());
        func.and_then(|i| name(ExternKind::Func, i))
            .or_else(|| name(ExternKind::Table, table?))
            .or_else(|| name(ExternKind::Memory, memory?))
            .or_else(|| name(ExternKind::Global, global?))
            .or_else(|| name(ExternKind::Tag, tag?))
    }

    /// Fills an instance whose imports are resolved from its module.
    fn fill(&mut self, id: InstanceId, info: &ModuleInfo) -> Result<(), CallError> {
        let usage = |message: String| CallError::Usage(message);
        self.instances[id.position()].linked = true;
        self.initialise(id, info).map_err(|raise| match raise {
            Raise::Trap(code) => Trap { code, backtrace: WasmBacktrace::default() }.into(),
            Raise::Host(error) => usage(error.to_string()),
            Raise::Exit(_)
            | Raise::Exception(_)
            | Raise::Limit(_)
            | Raise::Suspended
            | Raise::Panic(_) => usage("cannot happen in segments".to_owned()),
        })
    }

    /// Fills an instance whose imports are resolved from its module, runs the start function and
    /// marks it instantiated.
    pub(crate) fn done_instantiation(&mut self, id: InstanceId) -> Result<(), CallError> {
        let usage = |message: String| CallError::Usage(message);
        if self.instances[id.position()].instantiated {
            return Err(usage(format!("instance {id} is instantiated already")));
        }
        let module = Arc::clone(self.instances[id.position()].vm.module());
        let info = module.info().map_err(|e| usage(e.to_string()))?;
        if let Some(import) = self.unresolved(id, info) {
            return Err(usage(format!("import {import} is not resolved")));
        }
        self.fill(id, info)?;
        if let Some(start) = info.start {
            let func = self.func(id, start).ok_or_else(|| usage("no start function".to_owned()))?;
            self.call_raw(func, &mut [])?;
        }
        self.instances[id.position()].instantiated = true;
        Ok(())
    }
}

impl Store {
    /// Makes an instance of a module: links its imports by the linker's names, initialises it and
    /// runs its start function (DoneInstantiation).
    ///
    /// # Errors
    /// When an import cannot be resolved (nothing is left behind then), a segment does not fit or
    /// the start function does not return (what they did to shared items stays, as the
    /// specification has it), or the system refuses memory.
    pub fn instantiate(
        &mut self,
        module: &Arc<CompiledModule>,
    ) -> Result<InstanceId, InstantiateError> {
        let id = self.link(module)?;
        self.inner.done_instantiation(id)?;
        Ok(id.of(self.inner.id))
    }

    /// As [`Self::instantiate`], without the start function.
    pub(crate) fn prepare(
        &mut self,
        module: &Arc<CompiledModule>,
    ) -> Result<InstanceId, InstantiateError> {
        let id = self.link(module)?;
        self.inner.fill(id, module.info()?)?;
        Ok(id)
    }

    fn link(&mut self, module: &Arc<CompiledModule>) -> Result<InstanceId, InstantiateError> {
        let info = module.info()?;
        self.inner.attempt(|store| {
            let id = store.allocate(module)?;
            store.link_by_name(id, info)?;
            Ok::<_, InstantiateError>(id)
        })
    }
}
