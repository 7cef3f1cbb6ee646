//! Finding the machine code of modules: in the engine, in the store's cache, by compiling.
//!
//! Invariant: the compiler is not started, and no module is read, before the cache has been asked. A
//! store that cannot be written is no reason not to run: the runtime goes on without it.

use super::{Shared, source::WasmModule};
use crate::{Error, Event, Report, event::Work, report::ModuleCode};
use executor_code::{Check, CompileEvent, file::CallSite};
use executor_model::{EngineError, Import, Listeners, ModuleHash};
use executor_runtime::{CodeOrigin, CompiledModule, EngineConfig, Linker, NativeEngine};
use executor_snapshot::Catalogue;
use std::{
    borrow::Cow,
    collections::{BTreeMap, hash_map::Entry},
    fmt::Display,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

/// Which code of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The code that runs have.
    Plain,
    /// Code whose calls can be suspended.
    WithFrameMaps,
}

/// What a module is to be linked to.
#[derive(Clone, Copy)]
pub(crate) struct Links<'a> {
    /// What is there already.
    pub(crate) linker: &'a Linker,
    /// The module names of instances that will be there.
    pub(crate) names: &'a [String],
}

impl Shared {
    /// The store, where there is one: what it has stays there to be read, also where it cannot be written.
    pub(crate) fn directory(&self) -> Option<&Catalogue> {
        self.catalogue.as_ref()
    }

    /// The store, where there is one in which something can be kept.
    pub(crate) fn catalogue(&self) -> Option<&Catalogue> {
        self.catalogue.as_ref().filter(|_| !self.given_up.load(Relaxed))
    }

    /// The engine of a kind of code.
    pub(crate) fn engine(&self, code: Code) -> Result<&NativeEngine, Error> {
        let kept = self.catalogue().is_some();
        let engine = &self.engines[usize::from(kept) * 2 + code as usize];
        if let Some(engine) = engine.get() {
            return Ok(engine);
        }
        let made = NativeEngine::new(EngineConfig {
            cache: match self.directory() {
                Some(store) if store.is_read_only() => Some(store.code()),
                _ => self.catalogue().map(Catalogue::code),
            },
            frame_maps: code == Code::WithFrameMaps,
            ..self.config.clone()
        })?;
        Ok(engine.get_or_init(|| made))
    }

    fn give_up_store(&self, error: &dyn Display) {
        self.listener.warn(format_args!("{error}; nothing is kept"));
        self.given_up.store(true, Relaxed);
    }

    /// Says why code that the store may have cannot be used.
    fn tell_not_found(&self, error: &EngineError) {
        match error {
            EngineError::Cache(message) if self.catalogue().is_some() => {
                self.give_up_store(message);
            }
            error => self.listener.warn(format_args!("{error}; compiling again")),
        }
    }

    /// Says once that the store is where nothing may be executed.
    fn tell_of_copy(&self, module: &CompiledModule) {
        if let Some(catalogue) = self.directory()
            && module.is_copied()
            && !self.told_of_copies.swap(true, Relaxed)
        {
            self.listener.warn(format_args!(
                "{}: nothing may be executed there (is it mounted noexec?): code is copied to memory, and \
                 not shared between processes",
                catalogue.code().dir().display()
            ));
        }
    }

    /// The code of a module whose file is at hand.
    pub(crate) fn code_of(
        &self,
        code: Code,
        module: &WasmModule,
        check: Check,
        report: &mut Report,
    ) -> Result<Arc<CompiledModule>, Error> {
        let at_hand = std::slice::from_ref(module);
        self.find(code, module.hash, at_hand, None, check, report)
    }

    /// As [`Self::code_of`], of a module that is to be linked: what cannot be is not compiled.
    pub(crate) fn code_to_link(
        &self,
        code: Code,
        module: &WasmModule,
        links: Links<'_>,
        report: &mut Report,
    ) -> Result<Arc<CompiledModule>, Error> {
        let at_hand = std::slice::from_ref(module);
        self.find(code, module.hash, at_hand, Some(links), Check::Once, report)
    }

    /// The code of a module that a snapshot names: its bytes may be at hand, or in the store.
    pub(crate) fn code_of_hash(
        &self,
        code: Code,
        hash: ModuleHash,
        at_hand: &[WasmModule],
        report: &mut Report,
    ) -> Result<Arc<CompiledModule>, Error> {
        self.find(code, hash, at_hand, None, Check::Once, report)
    }

    fn find(
        &self,
        code: Code,
        hash: ModuleHash,
        at_hand: &[WasmModule],
        links: Option<Links<'_>>,
        check: Check,
        report: &mut Report,
    ) -> Result<Arc<CompiledModule>, Error> {
        let engine = self.engine(code)?;
        let found = engine.load_checked(&hash, check);
        report.phases.end("load");
        match found {
            Ok(Some((module, origin))) => {
                self.tell_of_copy(&module);
                report.code.push(ModuleCode { module: hash, origin });
                return Ok(module);
            }
            Ok(None) => {}
            Err(EngineError::DamagedCode { reason, .. }) if self.config.compiler.is_none() => {
                let path = engine.code_path(&hash, None).unwrap_or_default();
                return Err(Error::DamagedCode { path, reason });
            }
            Err(error) => self.tell_not_found(&error),
        }
        match at_hand.iter().find(|module| module.hash == hash) {
            Some(module) => self.compile(code, hash, &module.bytes()?, &module.name, links, report),
            None => {
                let bytes = self.module_bytes(hash)?;
                self.compile(code, hash, &bytes, &format!("module {hash}"), links, report)
            }
        }
    }

    /// Reads the code that is at hand of modules, and of continuations, and checks it. What is not there, or not to be
    /// used, is made when it is needed.
    pub(crate) fn verify_code(
        &self,
        modules: impl Iterator<Item = ModuleHash>,
        continuations: &BTreeMap<ModuleHash, Vec<CallSite>>,
    ) -> Result<(), Error> {
        let (engine, none) = (self.engine(Code::Plain)?, Listeners::none());
        let told = |found: Option<EngineError>, hash, sites| match found {
            Some(EngineError::DamagedCode { reason, .. }) => {
                let path = engine.code_path(&hash, sites).unwrap_or_default();
                Err(Error::DamagedCode { path, reason })
            }
            _ => Ok(()),
        };
        for hash in modules {
            told(engine.load_checked(&hash, Check::Whole).err(), hash, None)?;
        }
        for (hash, sites) in continuations {
            let found = engine.load_continuations(hash, sites, &none, Check::Whole);
            told(found.err(), *hash, Some(sites))?;
        }
        Ok(())
    }

    /// The code that goes on from calls of functions, in the order of the modules.
    pub(crate) fn continuations(
        &self,
        code: Code,
        sites: BTreeMap<ModuleHash, Vec<CallSite>>,
        at_hand: &[WasmModule],
        report: &mut Report,
    ) -> Result<Vec<Arc<CompiledModule>>, Error> {
        let none = Listeners::none();
        let mut continuations = Vec::with_capacity(sites.len());
        for (hash, sites) in sites {
            match self.engine(code)?.load_continuations(&hash, &sites, &none, Check::Once) {
                Ok(Some(found)) => {
                    self.tell_of_copy(&found);
                    continuations.push(found);
                    continue;
                }
                Ok(None) => {}
                Err(error) => self.tell_not_found(&error),
            }
            let stored;
            let bytes = match at_hand.iter().find(|module| module.hash == hash) {
                Some(module) => &*module.bytes()?,
                None => {
                    stored = self.module_bytes(hash)?;
                    &stored
                }
            };
            let make = || {
                let engine = self.engine(code)?;
                Ok::<_, Error>(engine.compile_continuations(bytes, hash, &sites, &none))
            };
            let made = match make()? {
                Err(EngineError::Cache(message)) if self.catalogue().is_some() => {
                    self.give_up_store(&message);
                    make()?
                }
                made => made,
            };
            let failed = |source| Error::Compile { module: format!("module {hash}"), source };
            let made = made.map_err(failed)?;
            self.tell_of_copy(&made);
            if let Some(why) = made.not_kept()
                && self.catalogue().is_some()
            {
                self.give_up_store(&why);
            }
            continuations.push(made);
        }
        report.phases.end("continuations");
        Ok(continuations)
    }

    /// The bytes of a module that the store has.
    pub(crate) fn module_bytes(&self, hash: ModuleHash) -> Result<Vec<u8>, Error> {
        let bytes = match self.directory() {
            Some(catalogue) => catalogue.module(hash)?,
            None => {
                let modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
                modules.get(&hash).map(|module| module.bytes().map(Cow::into_owned)).transpose()?
            }
        };
        bytes.ok_or(Error::UnknownModule(hash))
    }

    /// Keeps modules in memory, so that a snapshot of them can be restored with other code.
    pub(crate) fn remember(&self, modules: &[WasmModule]) -> Result<(), Error> {
        let mut known = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        for module in modules {
            if let Entry::Vacant(entry) = known.entry(module.hash) {
                entry.insert(module.read_whole()?);
            }
        }
        Ok(())
    }

    fn compile(
        &self,
        code: Code,
        hash: ModuleHash,
        bytes: &[u8],
        name: &str,
        links: Option<Links<'_>>,
        report: &mut Report,
    ) -> Result<Arc<CompiledModule>, Error> {
        if self.config.compiler.is_none() {
            return Err(Error::NotCompiled { module: name.to_owned() });
        }
        let module = self
            .engine(code)?
            .decode(bytes, hash)
            .map_err(|source| Error::Invalid { module: name.to_owned(), source })?;
        report.phases.end("decode");
        if let Some(Links { linker, names }) = links {
            let instances = |import: &Import| names.contains(&import.module);
            linker.check(&module.info, instances).map_err(Error::Link)?;
        }
        // Known before the work: a long compilation is not to be done twice.
        if let Some(Err(error)) = self.catalogue().map(|catalogue| catalogue.add().map(drop)) {
            self.give_up_store(&error);
        }
        let simplified = Mutex::new(Vec::new());
        let progress = |event: CompileEvent| match event {
            CompileEvent::Progress { done, total } => {
                self.listener.tell(Event::Progress { done: done as u64, total: total as u64 });
            }
            CompileEvent::Simplified { func, len } => {
                simplified.lock().unwrap_or_else(PoisonError::into_inner).push((func, len));
            }
            _ => {}
        };
        let work = Work::Compile { frame_maps: code == Code::WithFrameMaps };
        let compiled = self.listener.work(work, || {
            let none = Listeners::none();
            match self.engine(code)?.compile(&module, &none, true, &progress) {
                Err(EngineError::Cache(message)) if self.catalogue().is_some() => {
                    self.give_up_store(&message);
                    Ok(self.engine(code)?.compile(&module, &none, true, &progress))
                }
                compiled => Ok::<_, Error>(compiled),
            }
        });
        let (compiled, origin) =
            compiled?.map_err(|source| Error::Compile { module: name.to_owned(), source })?;
        self.tell_of_copy(&compiled);
        if let Some(why) = compiled.not_kept()
            && self.catalogue().is_some()
        {
            self.give_up_store(&why);
            self.engine(code)?.adopt(&compiled)?;
        }
        let mut simplified = simplified.into_inner().unwrap_or_else(PoisonError::into_inner);
        simplified.sort_unstable();
        if let Some((function, len)) = simplified.first() {
            self.listener.tell(Event::Simplified {
                module: name,
                function: *function,
                name: compiled.code().function_name(*function),
                len: *len as u64,
                more: simplified.len() - 1,
            });
        }
        report.phases.end("compile");
        report.code.push(ModuleCode { module: hash, origin });
        if origin == CodeOrigin::Compiled {
            let functions = compiled.code().function_count();
            self.listener.tell(Event::Compiled { module: name, functions });
        }
        Ok(compiled)
    }
}
