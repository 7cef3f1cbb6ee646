//! One running script: its store, its names, and what each directive does.
//!
//! Invariant: `current` is the instance of the last module directive, and none when that module
//! could not be instantiated, so that later directives never speak to an earlier instance.

use crate::{Miss, Options, Snapshot, lex, snapshots, values};
use executor_code::{CompileError, Compiler};
use executor_model::{
    CallError, EngineError, ExternKind, Features, InstanceId, LinkError, Listeners, MemoryType,
    ModuleHash, Val, WASM_PAGE_SIZE,
};
use executor_runtime::{
    CompiledModule, EngineConfig, InstantiateError, Linker, NativeEngine, SharedMemory, Store,
};
use std::{collections::HashMap, fmt::Display, sync::Arc};
use wast::{
    QuoteWat, QuoteWatTest, WastDirective, WastExecute, WastInvoke, WastRet, Wat, parser, token::Id,
};

/// Restrictions of earlier versions in the words of their scripts, and what lifted them.
const LIFTED: &[(&str, Features)] = &[
    ("multiple memories", Features::MULTI_MEMORY),
    ("multiple tables", Features::REFERENCE_TYPES),
    ("zero byte expected", Features::MULTI_MEMORY),
    ("zero byte expected", Features::REFERENCE_TYPES),
];

pub(crate) struct Script {
    options: Options,
    engine: NativeEngine,
    store: Store,
    current: Option<InstanceId>,
    instances: HashMap<String, InstanceId>,
    definition: Option<Arc<CompiledModule>>,
    definitions: HashMap<String, Arc<CompiledModule>>,
    /// Why there is no instance, definition or registered module of a name (the empty one is the
    /// current): what speaks to it is skipped as well.
    skipped: HashMap<String, String>,
    /// The exported memories of instances of the script that this one is a thread of.
    lent: HashMap<String, Vec<(String, SharedMemory)>>,
}

/// Why there is no compiled module.
enum Refusal {
    /// The module is malformed or invalid.
    Invalid(String),
    /// It is invalid without features that the engine lacks.
    Unknown(String),
    /// It is valid, but beyond what the engine supports.
    Unsupported(String),
    /// A defect.
    Other(String),
}

impl From<Refusal> for Miss {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(message) | Refusal::Other(message) => Self::Failed(message),
            Refusal::Unknown(message) | Refusal::Unsupported(message) => Self::Skipped(message),
        }
    }
}

impl From<wast::Error> for Refusal {
    fn from(error: wast::Error) -> Self {
        Self::Invalid(error.message())
    }
}

/// The text of the module that scripts import.
fn spectest(features: Features) -> String {
    let text = include_str!("spectest.wat").trim_end();
    let body = text.strip_suffix(')').unwrap_or(text);
    match features.contains(Features::MEMORY64) {
        true => format!("{body} (table (export \"table64\") i64 10 20 funcref))"),
        false => text.to_owned(),
    }
}

impl Script {
    /// A script whose store holds `spectest` and nothing else.
    pub(crate) fn new(compiler: Arc<dyn Compiler>, options: Options) -> Result<Self, String> {
        let features = options.features;
        let config = EngineConfig { compiler: Some(compiler), features, ..EngineConfig::default() };
        let engine = NativeEngine::new(config).map_err(text)?;
        let store = Store::new(&engine, Linker::new(), options.store()).map_err(text)?;
        let mut script = Self {
            options,
            engine,
            store,
            current: None,
            instances: HashMap::new(),
            definition: None,
            definitions: HashMap::new(),
            skipped: HashMap::new(),
            lent: HashMap::new(),
        };
        let spectest = encode_text(&spectest(options.features)).map_err(Refusal::from);
        let spectest = spectest.and_then(|wasm| script.compile(&wasm));
        let spectest = spectest.map_err(|refusal| match refusal {
            Refusal::Invalid(message)
            | Refusal::Unknown(message)
            | Refusal::Unsupported(message)
            | Refusal::Other(message) => message,
        })?;
        let spectest = script.store.instantiate(&spectest).map_err(text)?.of_any();
        script.store.linker_mut().instance("spectest", spectest);
        if options.features.contains(Features::THREADS) {
            let page_size_log2 = WASM_PAGE_SIZE.trailing_zeros();
            let max = Some(2);
            let ty = MemoryType { min: 1, max, memory64: false, shared: true, page_size_log2 };
            let memory = SharedMemory::new(ty).map_err(text)?;
            script.store.linker_mut().memory("spectest", "shared_memory", memory);
        }
        Ok(script)
    }

    /// Carries out one directive.
    pub(crate) fn run(&mut self, directive: WastDirective<'_>) -> Result<Snapshot, Miss> {
        match directive {
            WastDirective::Module(mut module) => {
                self.current = None;
                let name = module.name();
                let compiled = self.define(&mut module)?;
                return self.instantiate(name, &compiled);
            }
            WastDirective::ModuleDefinition(mut module) => {
                self.define(&mut module)?;
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                self.current = None;
                let definition = match module {
                    None => self.definition.as_ref(),
                    Some(id) => self.definitions.get(id.name()),
                };
                let definition = definition.cloned();
                let definition =
                    definition.ok_or_else(|| self.missing("module definition", module))?;
                return self.instantiate(instance, &definition);
            }
            WastDirective::Register { name, module: Some(id), .. }
                if self.lent.contains_key(id.name()) =>
            {
                for (item, memory) in &self.lent[id.name()] {
                    self.store.linker_mut().memory(name, item, memory.clone());
                }
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instance(module).inspect_err(|miss| {
                    if let Miss::Skipped(reason) = miss {
                        self.skipped.insert(name.to_owned(), reason.clone());
                    }
                })?;
                self.store.linker_mut().instance(name, instance);
            }
            WastDirective::Invoke(invoke) => {
                self.invoke(&invoke)?.map_err(text)?;
                return self.snapshot();
            }
            WastDirective::AssertReturn { exec, results, .. } => {
                self.assert_return(exec, &results)?
            }
            WastDirective::AssertTrap { exec, message, .. } => self.assert_trap(exec, message)?,
            WastDirective::AssertExhaustion { call, message, .. } => {
                expect_trap(self.invoke(&call)?, message)?;
            }
            WastDirective::AssertUnlinkable { module, message, .. } => {
                self.assert_unlinkable(module, message)?;
            }
            WastDirective::AssertInvalid { mut module, message, .. }
            | WastDirective::AssertMalformed { mut module, message, .. } => {
                self.assert_refused(&mut module, message)?;
            }
            WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. } => {
                return Err(Miss::skipped("the contents of custom sections are not validated"));
            }
            WastDirective::AssertException { exec, .. } => match self.execute(exec)? {
                Err(CallError::Exception(_)) => {}
                Err(other) => {
                    return Err(Miss::Failed(format!("expected an exception, got `{other}`")));
                }
                Ok(values) => {
                    return Err(Miss::Failed(format!("expected an exception, got {values:?}")));
                }
            },
            WastDirective::AssertSuspension { .. } => {
                return Err(Miss::skipped("stack switching is not supported"));
            }
            WastDirective::Thread(_) | WastDirective::Wait { .. } => {
                unreachable!("threads are begun and ended by `threads`");
            }
        }
        Ok(Snapshot::NotTaken)
    }

    /// The shared memories that an instance exports, to be lent to a thread.
    pub(crate) fn shared_memories(
        &mut self,
        id: Id<'_>,
    ) -> Result<Vec<(String, SharedMemory)>, Miss> {
        let instance = self.instance(Some(id))?;
        let module =
            self.store.module(instance).cloned().ok_or_else(|| unknown("instance", Some(id)))?;
        let exports = module.info().map_err(text)?.exports.iter();
        let memories = exports.filter(|export| export.kind == ExternKind::Memory);
        let shared = memories.filter_map(|export| {
            let memory = self.store.shared_memory(instance, export.index)?;
            Some((export.name.clone(), memory))
        });
        Ok(shared.collect())
    }

    /// Takes over the memories of an instance of the outer script, to be registered.
    pub(crate) fn lend(&mut self, id: &str, memories: Vec<(String, SharedMemory)>) {
        self.lent.insert(id.to_owned(), memories);
    }

    fn assert_return(
        &mut self,
        exec: WastExecute<'_>,
        expected: &[WastRet<'_>],
    ) -> Result<(), Miss> {
        let results = match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke)?.map_err(text)?,
            WastExecute::Get { module, global, .. } => vec![self.global(module, global)?],
            WastExecute::Wat(module) => {
                let compiled = self.compile_wat(&mut QuoteWat::Wat(module))?;
                self.store.instantiate(&compiled).map_err(text)?;
                Vec::new()
            }
        };
        Ok(values::check(&self.store, &results, expected)?)
    }

    fn assert_trap(&mut self, exec: WastExecute<'_>, expected: &str) -> Result<(), Miss> {
        expect_trap(self.execute(exec)?, expected)
    }

    /// Carries out what an assertion is about. The outer error is of the script.
    fn execute(&mut self, exec: WastExecute<'_>) -> Result<Result<Vec<Val>, CallError>, Miss> {
        Ok(match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke)?,
            WastExecute::Get { module, global, .. } => Ok(vec![self.global(module, global)?]),
            WastExecute::Wat(module) => {
                let compiled = self.compile_wat(&mut QuoteWat::Wat(module))?;
                match self.store.instantiate(&compiled) {
                    Ok(_) => Ok(Vec::new()),
                    Err(InstantiateError::Call(error)) => Err(error),
                    Err(other) => return Err(Miss::Failed(other.to_string())),
                }
            }
        })
    }

    /// Why one of the modules that these are imported from was skipped.
    fn skip(&self, imports: &[(String, String)]) -> Option<String> {
        imports.iter().find_map(|(module, _)| self.skipped.get(module).cloned())
    }

    fn assert_unlinkable(&mut self, module: Wat<'_>, expected: &str) -> Result<(), Miss> {
        let compiled = self.compile_wat(&mut QuoteWat::Wat(module))?;
        match self.store.instantiate(&compiled) {
            Err(InstantiateError::Link(error)) if error.to_string().starts_with(expected) => Ok(()),
            Err(InstantiateError::Link(LinkError::Unknown(imports)))
                if self.skip(&imports).is_some() =>
            {
                Err(Miss::Skipped(self.skip(&imports).unwrap_or_default()))
            }
            Err(other) => Err(Miss::Failed(format!("expected `{expected}`, got `{other}`"))),
            Ok(_) => Err(Miss::Failed(format!("expected `{expected}`, but the module was linked"))),
        }
    }

    fn assert_refused(&mut self, module: &mut QuoteWat<'_>, expected: &str) -> Result<(), Miss> {
        let encoded = encode(module).map_err(Refusal::from);
        match encoded.and_then(|wasm| self.decode(&wasm).map(|_| wasm)) {
            Err(Refusal::Invalid(_) | Refusal::Unknown(_)) => Ok(()),
            Err(Refusal::Unsupported(message)) => Err(Miss::Skipped(message)),
            Err(Refusal::Other(message)) => {
                Err(Miss::Failed(format!("expected `{expected}`, got `{message}`")))
            }
            Ok(wasm) if self.needs_what_came_later(&wasm, expected) => Ok(()),
            Ok(_) => Err(Miss::Failed(format!("expected `{expected}`, but the module is valid"))),
        }
    }

    /// Whether a module that is valid is invalid, as a script of an earlier version says, without
    /// the feature that lifted the restriction it names; and for want of that feature alone.
    fn needs_what_came_later(&self, wasm: &[u8], expected: &str) -> bool {
        let Some(compiler) = self.engine.compiler() else { return false };
        let named = LIFTED.iter().filter(|(restriction, _)| expected.starts_with(restriction));
        named.map(|(_, lift)| *lift).any(|lift| {
            let features = self.options.features.without(lift);
            let decoded = compiler.decode(wasm, ModuleHash::of(wasm), features);
            matches!(decoded, Err(CompileError::FeatureOff { features }) if features == lift)
        })
    }

    /// Compiles a module and makes it the last definition.
    fn define(&mut self, module: &mut QuoteWat<'_>) -> Result<Arc<CompiledModule>, Miss> {
        let compiled = self.compile_wat(module).map_err(Miss::from);
        let name = module.name();
        self.remember_skip(name, &compiled);
        let compiled = compiled?;
        if let Some(id) = name {
            self.definitions.insert(id.name().to_owned(), compiled.clone());
        }
        self.definition = Some(compiled.clone());
        Ok(compiled)
    }

    /// Makes an instance and makes it the current one.
    fn instantiate(
        &mut self,
        name: Option<Id<'_>>,
        module: &Arc<CompiledModule>,
    ) -> Result<Snapshot, Miss> {
        let instance = self.store.instantiate(module).map_err(|error| match &error {
            // What it imports was skipped.
            InstantiateError::Link(LinkError::Unknown(imports)) => match self.skip(imports) {
                Some(reason) => Miss::Skipped(reason),
                None => Miss::Failed(text(error)),
            },
            _ => Miss::Failed(text(error)),
        });
        self.remember_skip(name, &instance);
        // It has this number in the restored copies of the store too.
        let instance = instance?.of_any();
        if let Some(id) = name {
            self.instances.insert(id.name().to_owned(), instance);
        }
        self.current = Some(instance);
        self.snapshot()
    }

    /// Goes on with a restored copy of the store, if that is asked for and possible.
    fn snapshot(&mut self) -> Result<Snapshot, Miss> {
        if !self.options.through_snapshots {
            return Ok(Snapshot::NotTaken);
        }
        Ok(snapshots::round_trip(&self.engine, &mut self.store, self.options.store())?)
    }

    /// Calls an export. The outer error is of the script, the inner of the call.
    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Result<Vec<Val>, CallError>, Miss> {
        let instance = self.instance(invoke.module)?;
        let func = self
            .store
            .exported_func(instance, invoke.name)
            .ok_or_else(|| format!("no function `{}` is exported", invoke.name))?;
        let args = invoke.args.iter().map(|arg| values::argument(&mut self.store, arg));
        let args = args.collect::<Result<Vec<_>, _>>()?;
        Ok(self.store.call(func, &args))
    }

    /// The value of an exported global.
    fn global(&self, module: Option<Id<'_>>, name: &str) -> Result<Val, Miss> {
        let instance = self.instance(module)?;
        let value = match self.store.export(instance, name) {
            Some((ExternKind::Global, index)) => self.store.global(instance, index),
            _ => None,
        };
        Ok(value.ok_or_else(|| format!("no global `{name}` is exported"))?)
    }

    /// The instance of a name, or the current one.
    fn instance(&self, name: Option<Id<'_>>) -> Result<InstanceId, Miss> {
        let instance = match name {
            None => self.current,
            Some(id) => self.instances.get(id.name()).copied(),
        };
        instance.ok_or_else(|| self.missing("instance", name))
    }

    /// Keeps the reason why a module of a name, which is the current one too, was skipped.
    fn remember_skip<T>(&mut self, name: Option<Id<'_>>, made: &Result<T, Miss>) {
        for name in [name.map_or("", |id| id.name()), ""] {
            match made {
                Err(Miss::Skipped(reason)) => {
                    self.skipped.insert(name.to_owned(), reason.clone());
                }
                _ => drop(self.skipped.remove(name)),
            }
        }
    }

    /// Why there is nothing of a name.
    fn missing(&self, what: &str, name: Option<Id<'_>>) -> Miss {
        match self.skipped.get(name.map_or("", |id| id.name())) {
            Some(reason) => Miss::Skipped(reason.clone()),
            None => unknown(what, name),
        }
    }

    fn compile_wat(&self, module: &mut QuoteWat<'_>) -> Result<Arc<CompiledModule>, Refusal> {
        self.compile(&encode(module)?)
    }

    fn compile(&self, wasm: &[u8]) -> Result<Arc<CompiledModule>, Refusal> {
        let module = self.decode(wasm)?;
        let compiled = self.engine.compile(&module, &Listeners::none(), false, &|_| ());
        compiled.map(|(module, _)| module).map_err(|error| match error {
            EngineError::Unsupported(message) => Refusal::Unsupported(message),
            other => Refusal::Other(text(other)),
        })
    }

    fn decode(&self, wasm: &[u8]) -> Result<executor_model::Module, Refusal> {
        self.engine.decode(wasm, ModuleHash::of(wasm)).map_err(|error| match error {
            CompileError::Invalid { .. } | CompileError::FeatureOff { .. } => {
                Refusal::Invalid(text(error))
            }
            CompileError::Unknown(_) => Refusal::Unknown(text(error)),
            CompileError::Unsupported(message) => Refusal::Unsupported(message),
            other => Refusal::Other(text(other)),
        })
    }
}

/// The binary of a module. One given as quoted text is read only now, so that its errors are its
/// own and not the script's.
fn encode(module: &mut QuoteWat<'_>) -> Result<Vec<u8>, wast::Error> {
    let span = module.span();
    match module.to_test()? {
        QuoteWatTest::Binary(wasm) => Ok(wasm),
        QuoteWatTest::Text(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => encode_text(text),
            Err(_) => Err(wast::Error::new(span, "malformed UTF-8 encoding".to_owned())),
        },
    }
}

fn encode_text(text: &str) -> Result<Vec<u8>, wast::Error> {
    let buffer = lex(text)?;
    parser::parse::<Wat<'_>>(&buffer)?.encode()
}

/// Checks that a call ended by the trap of a message.
fn expect_trap(ended: Result<Vec<Val>, CallError>, expected: &str) -> Result<(), Miss> {
    // The reference interpreter adds the index to some messages ("uninitialized element 2").
    let stem = expected.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end();
    match ended {
        Err(CallError::Trap(trap)) if trap.code.message().starts_with(stem) => Ok(()),
        Err(other) => Err(Miss::Failed(format!("expected the trap `{expected}`, got `{other}`"))),
        Ok(values) => Err(Miss::Failed(format!("expected the trap `{expected}`, got {values:?}"))),
    }
}

fn unknown(what: &str, name: Option<Id<'_>>) -> Miss {
    Miss::Failed(match name {
        Some(id) => format!("there is no {what} `${}`", id.name()),
        None => format!("there is no current {what}"),
    })
}

fn text(error: impl Display) -> String {
    error.to_string()
}
