//! The linker: names under which a store's imports are found.

use crate::{
    host::{Caller, HostError, HostFunc, IntoHostFunc},
    shared::SharedMemory,
};
use executor_model::{
    CompositeType, FuncType, Import, ImportKind, InstanceId, LinkError, ModuleInfo, RawValue,
};
use std::{collections::HashMap, sync::Arc};

/// Names for host functions, for the exports of instances and for memories that stores share.
/// Cloning shares the functions and memories.
#[derive(Debug, Clone, Default)]
pub struct Linker {
    /// By module name, then by item name; shared until one of the sharers defines more, so that
    /// giving each store a linker costs nothing.
    functions: Arc<HashMap<String, HashMap<String, Arc<HostFunc>>>>,
    /// Where else host functions of a module name are looked for.
    aliases: Arc<HashMap<String, String>>,
    instances: HashMap<String, InstanceId>,
    /// By module name, then by item name.
    memories: HashMap<String, HashMap<String, SharedMemory>>,
}

impl Linker {
    /// A linker that defines nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Defines a host function by a typed closure, `|caller: &mut Caller<'_>, a: i32, ..| ->
    /// Result<.., HostError>`. A later definition of a name replaces an earlier.
    pub fn func<P, R>(
        &mut self,
        module: &str,
        name: &str,
        f: impl IntoHostFunc<P, R>,
    ) -> &mut Self {
        fn ty<P, R, F: IntoHostFunc<P, R>>(_: &F) -> FuncType {
            F::ty()
        }
        let ty = ty(&f);
        self.func_raw(module, name, ty, move |caller, values| f.call(caller, values))
    }

    /// Defines a host function by its type and a closure over the array of arguments, which also
    /// takes the results. References among the results are checked before the guest sees them.
    pub fn func_raw(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        f: impl Fn(&mut Caller<'_>, &mut [RawValue]) -> Result<(), HostError> + Send + Sync + 'static,
    ) -> &mut Self {
        let functions = Arc::make_mut(&mut self.functions);
        let items = match functions.get_mut(module) {
            Some(items) => items,
            None => functions.entry(module.to_owned()).or_default(),
        };
        items.insert(name.to_owned(), Arc::new(HostFunc::new(ty, f)));
        self
    }

    /// Has host functions that are not defined under a module name looked up under another.
    pub fn alias(&mut self, name: &str, module: &str) -> &mut Self {
        Arc::make_mut(&mut self.aliases).insert(name.to_owned(), module.to_owned());
        self
    }

    /// Defines the exports of an instance of the linker's store under a module name. They are
    /// looked up before host functions of that module name.
    pub fn instance(&mut self, module: &str, instance: InstanceId) -> &mut Self {
        self.instances.insert(module.to_owned(), instance);
        self
    }

    /// Defines a memory that stores share. It is looked up after the exports of an instance of that
    /// module name.
    pub fn memory(&mut self, module: &str, name: &str, memory: SharedMemory) -> &mut Self {
        self.memories.entry(module.to_owned()).or_default().insert(name.to_owned(), memory);
        self
    }

    /// The names of instances.
    pub fn instance_names(&self) -> impl Iterator<Item = (&str, InstanceId)> {
        self.instances.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// Checks the imports of a module before there is an instance of it, or code. Those of which
    /// `elsewhere` is true, which instances export, are not looked at.
    ///
    /// # Errors
    /// With all that is not defined; else at the first function of another type, or item of
    /// another kind.
    pub fn check(
        &self,
        info: &ModuleInfo,
        elsewhere: impl Fn(&Import) -> bool,
    ) -> Result<(), LinkError> {
        let (mut unknown, mut incompatible) = (Vec::new(), None);
        for import in info.imports.iter().filter(|import| !elsewhere(import)) {
            let Import { module, name, kind } = import;
            let func = self.find_func(module, name);
            let memory = self.find_memory(module, name);
            let reason = match (kind, func, memory) {
                (_, None, None) => {
                    unknown.push((module.clone(), name.clone()));
                    continue;
                }
                (ImportKind::Func(ty), Some(func), _) => {
                    match info.types.get(*ty as usize).and_then(CompositeType::as_func) {
                        Some(wanted) if *wanted != func.ty => {
                            format!("expected {wanted}, found {}", func.ty)
                        }
                        _ => continue,
                    }
                }
                // Its limits are checked when it is linked.
                (ImportKind::Memory(_), _, Some(_)) => continue,
                (kind, Some(_), _) => format!("expected a {}, found a func", kind_name(*kind)),
                (kind, None, Some(_)) => format!("expected a {}, found a memory", kind_name(*kind)),
            };
            incompatible.get_or_insert_with(|| LinkError::Incompatible {
                module: module.clone(),
                name: name.clone(),
                reason,
            });
        }
        match (unknown.is_empty(), incompatible) {
            (false, _) => Err(LinkError::Unknown(unknown)),
            (true, Some(error)) => Err(error),
            (true, None) => Ok(()),
        }
    }

    pub(crate) fn find_instance(&self, module: &str) -> Option<InstanceId> {
        self.instances.get(module).copied()
    }

    pub(crate) fn find_memory(&self, module: &str, name: &str) -> Option<&SharedMemory> {
        self.memories.get(module)?.get(name)
    }

    pub(crate) fn find_func(&self, module: &str, name: &str) -> Option<&Arc<HostFunc>> {
        let under = |module: &str| self.functions.get(module)?.get(name);
        under(module).or_else(|| under(self.aliases.get(module)?))
    }
}

/// What is imported, in the specification's word.
fn kind_name(kind: ImportKind) -> &'static str {
    match kind {
        ImportKind::Func(_) => "func",
        ImportKind::Table(_) => "table",
        ImportKind::Memory(_) => "memory",
        ImportKind::Global(_) => "global",
        ImportKind::Tag(_) => "tag",
    }
}
