//! The interface an engine implements: wazero's `Engine` and `ModuleEngine`, in Rust.
//!
//! Source: `internal/wasm/engine.go` of github.com/tetratelabs/wazero, whose words the method
//! names keep. What changed, and why: the store is a value that the caller owns and lends, so a
//! [`ModuleEngine`] is a view of one instance in it; other instances are named by [`InstanceId`]
//! instead of by downcast; failures are results.

use crate::{
    CallError, Escaped, FuncIndex, FuncType, GlobalIndex, InstanceId, Listeners, MemoryIndex,
    Module, TableIndex, TagIndex, Trap, TypeIndex, Val,
};

/// A failure of an engine as a whole.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
    /// The module is valid but asks for more than the engine allows, or for a feature it lacks.
    #[error("{0}")]
    Unsupported(String),
    /// The module was not compiled by this engine, or its code was deleted.
    #[error("module {0} is not compiled; compile it first")]
    NotCompiled(crate::ModuleHash),
    /// The compiler failed.
    #[error("cannot compile: {0}")]
    Compile(String),
    /// The code cache failed.
    #[error("code cache: {0}")]
    Cache(String),
    /// A code file is damaged: it has been changed or cut since it was written.
    #[error("the code of module {module} is damaged: {reason}")]
    DamagedCode {
        /// The module that it is of.
        module: crate::ModuleHash,
        /// What is wrong with it.
        reason: String,
    },
    /// A store would take more memory than it may.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The operating system refused memory or another resource.
    #[error("{what}: {source}")]
    Resource {
        /// What was asked for.
        what: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

/// More memory than a store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitError {
    /// A memory is larger than all of the store may be.
    Memory {
        /// Its place among those that its instance owns.
        index: u32,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A table has more elements than a table may have.
    Table {
        /// Its place among those that its instance owns.
        index: u32,
        /// Its size in elements.
        elements: u64,
        /// The limit in elements.
        limit: u64,
    },
    /// Memories and tables are larger together than all of the store may be.
    Store {
        /// Their size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There is no room for one more exception.
    Exceptions {
        /// The limit in bytes, on all of the store.
        limit: u64,
    },
}

impl LimitError {
    /// The message, to one who calls the limit on a store's memory `name`.
    #[must_use]
    pub fn message(&self, name: &str) -> String {
        match self {
            Self::Memory { index, bytes, limit } => {
                format!("memory {index} has {bytes} bytes, more than {name} allows ({limit})")
            }
            Self::Table { index, elements, limit } => {
                format!("table {index} has {elements} elements, more than the limit of {limit}")
            }
            Self::Store { bytes, limit } => format!(
                "memories and tables have {bytes} bytes together, more than {name} allows ({limit})"
            ),
            Self::Exceptions { limit } => {
                format!(
                    "the exceptions that are referred to need more than {name} allows ({limit})"
                )
            }
        }
    }
}

impl std::fmt::Display for LimitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message("the limit"))
    }
}

impl std::error::Error for LimitError {}

/// An import that cannot be satisfied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing is defined under names: all of them, by module name and item name, as they come.
    #[error("{}", unknown(.0))]
    Unknown(Vec<(String, String)>),
    /// Something else is defined under the name.
    #[error("incompatible import type: `{}` `{}`: {reason}", Escaped(.module), Escaped(.name))]
    Incompatible {
        /// The module name asked for.
        module: String,
        /// The item name asked for.
        name: String,
        /// Both types, or both kinds.
        reason: String,
    },
    /// An index is out of range.
    #[error("{0}")]
    Index(String),
}

/// How many unknown imports are named.
const NAMED: usize = 64;

/// All imports that nothing is defined for, by module.
fn unknown(imports: &[(String, String)]) -> String {
    if let [(module, name)] = imports {
        return format!("unknown import: `{}` `{}` is not defined", Escaped(module), Escaped(name));
    }
    let mut modules: Vec<(&str, Vec<String>)> = Vec::new();
    for (module, name) in imports.iter().take(NAMED) {
        let name = format!("`{}`", Escaped(name));
        match modules.iter_mut().find(|(known, _)| known == module) {
            Some((_, names)) => names.push(name),
            None => modules.push((module, vec![name])),
        }
    }
    let groups = modules.iter();
    let groups: Vec<String> = groups
        .map(|(module, names)| format!("`{}` {}", Escaped(module), names.join(", ")))
        .collect();
    let more = match imports.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("unknown imports: {}{more} are not defined", groups.join("; "))
}

/// Compiles modules and makes instances of them.
pub trait Engine {
    /// Where this engine's instances live (the specification's store).
    type Store;
    /// The view of one instance.
    type ModuleEngine<'s>: ModuleEngine
    where
        Self: 's;

    /// A new, empty store.
    ///
    /// # Errors
    /// When the engine is closed, or the operating system refuses memory.
    fn new_store(&self) -> Result<Self::Store, EngineError>;

    /// Closes the engine and releases compiled code. Instances that exist keep working; calls in
    /// progress finish. Closing twice is allowed.
    ///
    /// # Errors
    /// When compiled code could not be released.
    fn close(&self) -> Result<(), EngineError>;

    /// Compiles a module, or finds its code in the cache. With `ensure_termination`, running calls
    /// can be stopped by a deadline and by closing the module. Compiling twice is allowed: the
    /// later call's listeners replace the earlier's.
    ///
    /// # Errors
    /// When the engine is closed, or the module cannot be compiled.
    fn compile_module(
        &self,
        module: &Module,
        listeners: &Listeners,
        ensure_termination: bool,
    ) -> Result<(), EngineError>;

    /// How many modules are compiled and not deleted.
    fn compiled_module_count(&self) -> u32;

    /// Releases the compiled code of a module. Safe while instances of it have calls outstanding:
    /// they keep the code alive. Deleting what is not there does nothing.
    fn delete_compiled_module(&self, module: &Module);

    /// Makes a new instance of a compiled module in `store`, with its memories, tables and globals
    /// allocated, imports unresolved, and nothing run; returns its view.
    ///
    /// # Errors
    /// When the module is not compiled, or the operating system refuses memory.
    fn new_module_engine<'s>(
        &self,
        module: &Module,
        store: &'s mut Self::Store,
    ) -> Result<Self::ModuleEngine<'s>, EngineError>;

    /// The view of an instance that exists; `None` when `store` has no such instance.
    fn module_engine<'s>(
        &self,
        store: &'s mut Self::Store,
        instance: InstanceId,
    ) -> Option<Self::ModuleEngine<'s>>;
}

/// A function that can be called, borrowed from its instance.
pub trait Function {
    /// Its type.
    fn ty(&self) -> FuncType;
    /// Calls it.
    ///
    /// # Errors
    /// When the arguments do not fit, or the call ends other than by returning.
    fn call(&mut self, params: &[Val]) -> Result<Vec<Val>, CallError>;
}

/// One instance, seen by the engine that runs it.
pub trait ModuleEngine {
    /// The instance this is a view of.
    fn instance(&self) -> InstanceId;

    /// Called once, when every import is resolved, to end the instantiation of the module: fills
    /// globals, tables and memories from the module, runs the start function, and marks the
    /// instance as instantiated. Only then can its exports be called and its state be captured.
    ///
    /// # Errors
    /// When an import is unresolved, a segment does not fit, or the start function traps.
    fn done_instantiation(&mut self) -> Result<(), CallError>;

    /// The function of an index, imported ones included; `None` when out of range.
    fn new_function(&mut self, index: FuncIndex) -> Option<Box<dyn Function + '_>>;

    /// Resolves the imported function `index`, declared with type `desc_func`, to function
    /// `index_in_imported_module` of `imported`.
    ///
    /// # Errors
    /// When an index is out of range, the types differ, this instance is instantiated already, or
    /// `imported` has an unresolved import itself.
    fn resolve_imported_function(
        &mut self,
        index: FuncIndex,
        desc_func: TypeIndex,
        index_in_imported_module: FuncIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError>;

    /// Resolves the imported memory `index` to memory `index_in_imported_module` of `imported`.
    ///
    /// # Errors
    /// When an index is out of range, the types do not match, or this instance is instantiated
    /// already.
    fn resolve_imported_memory(
        &mut self,
        index: MemoryIndex,
        index_in_imported_module: MemoryIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError>;

    /// Resolves the imported table `index` to table `index_in_imported_module` of `imported`.
    ///
    /// # Errors
    /// When an index is out of range, the types do not match, or this instance is instantiated
    /// already.
    fn resolve_imported_table(
        &mut self,
        index: TableIndex,
        index_in_imported_module: TableIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError>;

    /// Resolves the imported global `index` to global `index_in_imported_module` of `imported`.
    ///
    /// # Errors
    /// When an index is out of range, the types do not match, or this instance is instantiated
    /// already.
    fn resolve_imported_global(
        &mut self,
        index: GlobalIndex,
        index_in_imported_module: GlobalIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError>;

    /// Resolves the imported tag `index` to tag `index_in_imported_module` of `imported`.
    ///
    /// # Errors
    /// When an index is out of range, the types differ, or this instance is instantiated already.
    fn resolve_imported_tag(
        &mut self,
        index: TagIndex,
        index_in_imported_module: TagIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError>;

    /// The instance and function that element `offset` of a table refers to, checked to be of the
    /// type `ty` of this instance's module.
    ///
    /// # Errors
    /// The trap that `call_indirect` would raise.
    fn lookup_function(
        &self,
        table: TableIndex,
        ty: TypeIndex,
        offset: u32,
    ) -> Result<(InstanceId, FuncIndex), Trap>;

    /// The value of a global as (low, high) 64-bit halves; `None` when out of range.
    fn get_global_value(&self, index: GlobalIndex) -> Option<(u64, u64)>;

    /// Assigns a global. Returns whether the index is in range and the global mutable and not of
    /// a reference type (whose bits a caller cannot make).
    fn set_global_value(&mut self, index: GlobalIndex, lo: u64, hi: u64) -> bool;

    /// Whether the engine, and not the caller, holds the values of globals.
    fn owns_globals(&self) -> bool;

    /// The reference to a function, as tables hold it; `None` when out of range, or while an
    /// import of the instance is unresolved.
    fn function_instance_reference(&self, index: FuncIndex) -> Option<Val>;

    /// Tells the engine that a host grew memory `index` to `pages`; the engine makes the new pages
    /// accessible and returns the size before, or `None` when the memory cannot have that size.
    fn memory_grown(&mut self, index: MemoryIndex, pages: u64) -> Option<u64>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_imports_are_listed_by_module() {
        let error = |imports: &[(&str, &str)]| {
            let own = |(module, name): &(&str, &str)| (module.to_string(), name.to_string());
            LinkError::Unknown(imports.iter().map(own).collect()).to_string()
        };
        assert_eq!(error(&[("a", "f")]), "unknown import: `a` `f` is not defined");
        assert_eq!(
            error(&[("a", "f"), ("b", "g"), ("a", "h\n")]),
            "unknown imports: `a` `f`, `h\\n`; `b` `g` are not defined"
        );
        assert!(error(&[("a", "f"); 70]).ends_with("`f` and 6 more are not defined"));
    }
}
