//! The compiled modules of an instance that is to be made, and what modules export.

use crate::{
    Error, ExternType, Report,
    runtime::{Code, Links, Runtime, WasmModule},
};
use executor_model::{CallError, EngineError, ExternKind, FuncType, ModuleInfo};
use executor_runtime::{CompiledModule, Image};
use executor_snapshot::{EntryKind, Hook, InstanceNames, check_after_restore};
use std::sync::{Arc, OnceLock, atomic::AtomicBool};

/// Modules whose hashes are known, to be instantiated in one store.
#[derive(Debug)]
pub(crate) struct WasmModules {
    /// The names that the exports of all but the last are imported under.
    pub(crate) names: Vec<String>,
    /// The modules, the one that is called last.
    pub(crate) modules: Vec<WasmModule>,
}

/// Compiled modules to be instantiated in one store.
#[derive(Debug)]
pub(crate) struct Modules {
    /// Those to instantiate first, with the names their exports are imported under.
    pub(crate) preload: Vec<(String, Arc<CompiledModule>)>,
    /// The one that is called.
    pub(crate) main: Arc<CompiledModule>,
    /// An instance was made.
    pub(crate) used: AtomicBool,
    /// What further instances are made of.
    pub(crate) image: OnceLock<Image>,
}

impl WasmModules {
    /// The one that is called.
    pub(crate) fn main(&self) -> &WasmModule {
        &self.modules[self.modules.len() - 1]
    }

    /// Finds or makes the code of the one that is called.
    pub(crate) fn compile_main(
        &self,
        runtime: &Runtime,
        code: Code,
        report: &mut Report,
    ) -> Result<Arc<CompiledModule>, Error> {
        let links = Links { linker: &runtime.linker, names: &self.names };
        runtime.shared.code_to_link(code, self.main(), links, report)
    }

    /// Finds or makes the code of each.
    pub(crate) fn compile(
        &self,
        runtime: &Runtime,
        code: Code,
        report: &mut Report,
    ) -> Result<Modules, Error> {
        let mut preload = Vec::with_capacity(self.names.len());
        let linker = &runtime.linker;
        for (i, (name, module)) in self.names.iter().zip(&self.modules).enumerate() {
            let links = Links { linker, names: &self.names[..i] };
            preload.push((name.clone(), runtime.shared.code_to_link(code, module, links, report)?));
        }
        let main = self.compile_main(runtime, code, report)?;
        Ok(Modules::new(preload, main))
    }
}

impl Modules {
    pub(crate) fn new(
        preload: Vec<(String, Arc<CompiledModule>)>,
        main: Arc<CompiledModule>,
    ) -> Self {
        Self { preload, main, used: AtomicBool::new(false), image: OnceLock::new() }
    }

    /// Checks that what is to be run before a snapshot and after a restore can be, before any
    /// initialisation is run for a snapshot that cannot be used.
    pub(crate) fn check_hooks(&self, after_restore: &[String]) -> Result<(), Error> {
        check_after_restore(&self.main, after_restore)?;
        for module in self.preload.iter().map(|(_, module)| module).chain([&self.main]) {
            for hook in [Hook::BeforeSnapshot, Hook::AfterRestore] {
                hook.is_in(module)?;
            }
        }
        Ok(())
    }

    /// The names of their instances, in order of their ids.
    pub(crate) fn names(&self) -> Vec<InstanceNames> {
        let module = |m: &CompiledModule| m.info().ok().and_then(|info| info.names.module.clone());
        let preload = self
            .preload
            .iter()
            .map(|(name, m)| InstanceNames { registered: Some(name.clone()), module: module(m) });
        let main = InstanceNames { registered: None, module: module(&self.main) };
        preload.chain([main]).collect()
    }
}

/// Whether a module is a command or a reactor.
pub(crate) fn kind(module: &CompiledModule) -> EntryKind {
    match program(module) {
        Some(_) => EntryKind::Command,
        None => EntryKind::Reactor,
    }
}

/// The export that is the program of a command: `_start`, or where there is none the function whose
/// name is empty.
pub(crate) fn program(module: &CompiledModule) -> Option<&'static str> {
    let is_func = |name: &&str| matches!(module.code().export(name), Some((ExternKind::Func, _)));
    ["_start", ""].into_iter().find(is_func)
}

/// The functions that a module exports.
pub(crate) fn exported_functions(module: &CompiledModule) -> Vec<String> {
    let functions = module.code().exports().filter(|(_, kind, _)| *kind == ExternKind::Func);
    functions.map(|(name, ..)| name.to_owned()).collect()
}

/// The type of the function that a module exports under a name.
pub(crate) fn exported_type(module: &CompiledModule, name: &str) -> Result<FuncType, Error> {
    let code = module.code();
    match code.export(name) {
        Some((ExternKind::Func, index)) => {
            let ty = code.function_type(index).and_then(|ty| code.func_type(ty));
            ty.ok_or_else(damaged)
        }
        Some((kind, _)) => {
            let kind = format!("{kind:?}").to_lowercase();
            Err(Error::NotAFunction { name: name.to_owned(), kind })
        }
        None => {
            let functions = exported_functions(module);
            Err(Error::NoExport { name: name.to_owned(), functions })
        }
    }
}

fn damaged() -> Error {
    CallError::Usage("the code file is damaged".to_owned()).into()
}

/// Checks that a module exports a function that takes no arguments.
pub(crate) fn check_niladic(module: &CompiledModule, name: &str) -> Result<(), Error> {
    let ty = exported_type(module, name)?;
    match ty.params.is_empty() {
        true => Ok(()),
        false => Err(Error::TakesArguments { name: name.to_owned(), ty }),
    }
}

/// Checks that a module can be initialised by a call of an export.
pub(crate) fn check_init(module: &CompiledModule, name: &str) -> Result<(), Error> {
    if program(module) == Some(name) {
        return Err(Error::InitIsProgram { name: name.to_owned() });
    }
    check_niladic(module, name)
}

/// What a module exports.
pub(crate) fn exports(module: &CompiledModule) -> Result<Vec<(String, ExternType)>, Error> {
    let info = module.info()?;
    let exports = module.code().exports();
    exports
        .map(|(name, kind, index)| {
            let ty = extern_type(info, kind, index as usize).ok_or_else(|| {
                let reason = format!("it exports {name:?}, which is not there");
                EngineError::DamagedCode { module: module.hash(), reason }
            })?;
            Ok((name.to_owned(), ty))
        })
        .collect()
}

fn extern_type(info: &ModuleInfo, kind: ExternKind, index: usize) -> Option<ExternType> {
    let func_type = |ty: u32| info.types.get(ty as usize)?.as_func().cloned();
    Some(match kind {
        ExternKind::Func => ExternType::Func(func_type(*info.functions.get(index)?)?),
        ExternKind::Table => ExternType::Table(info.tables.get(index)?.ty),
        ExternKind::Memory => ExternType::Memory(*info.memories.get(index)?),
        ExternKind::Global => ExternType::Global(info.globals.get(index)?.ty),
        ExternKind::Tag => ExternType::Tag(func_type(*info.tags.get(index)?)?),
    })
}
