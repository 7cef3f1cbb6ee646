//! Damaged code files: none is used, whatever byte of it is wrong; and what machine code leads to is checked all
//! the same.

use crate::*;
use executor_code::{
    CodeCache, CompileError, CompileOptions,
    file::{CallSite, CodeFile, HandlerRecord, Section, TryCallRecord},
};
use executor_model::{CallError, EngineError, Features, Module};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

const WAT: &str = r#"(module
  (import "host" "log" (func $log (param i32)))
  (memory (export "memory") 1 4)
  (table $t (export "table") 4 funcref)
  (tag $tag (export "tag") (param i32))
  (global $g (export "global") (mut i32) (i32.const 7))
  (elem (table $t) (i32.const 0) func $caught)
  (data (i32.const 8) "hello")
  (func $throw (param i32) (throw $tag (local.get 0)))
  (func $caught (export "caught") (param i32) (result i32)
    (block $handler (result i32)
      (try_table (catch $tag $handler) (call $throw (local.get 0)))
      (i32.const 0))))"#;

/// A store with the code of one module, and that module.
pub(super) struct Cached {
    pub(super) dir: TempDir,
    wasm: Vec<u8>,
    pub(super) path: PathBuf,
    pub(super) whole: Vec<u8>,
}

impl Cached {
    pub(super) fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap(), WAT)
    }

    /// Adds the code of a module to a store.
    pub(super) fn of(dir: TempDir, wat: &str) -> Self {
        let wasm = wat::parse_str(wat).unwrap();
        let mut cached = Self { dir, wasm, path: PathBuf::new(), whole: Vec::new() };
        let engine = cached.engine();
        cached.compile(&engine).unwrap();
        cached.path = engine.code_path(&ModuleHash::of(&cached.wasm), None).unwrap();
        cached.whole = fs::read(&cached.path).unwrap();
        cached
    }

    pub(super) fn engine(&self) -> NativeEngine {
        let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
        let cache = Some(CodeCache::new(self.dir.path().to_owned()));
        NativeEngine::new(EngineConfig {
            compiler: Some(compiler),
            cache,
            ..EngineConfig::default()
        })
        .unwrap()
    }

    pub(super) fn compile(
        &self,
        engine: &NativeEngine,
    ) -> Result<Arc<CompiledModule>, EngineError> {
        let module = engine.decode(&self.wasm, ModuleHash::of(&self.wasm)).unwrap();
        Ok(engine.compile(&module, &Listeners::none(), true, QUIET)?.0)
    }

    pub(super) fn load(
        &self,
        engine: &NativeEngine,
    ) -> Result<Option<Arc<CompiledModule>>, EngineError> {
        let found = engine.load(&ModuleHash::of(&self.wasm))?;
        Ok(found.map(|(module, _)| module))
    }

    /// The file is not used as it is.
    pub(super) fn assert_damaged(&self, what: &str) {
        match self.load(&self.engine()) {
            Err(EngineError::DamagedCode { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }

    /// The module is compiled again, and its code is found then and right.
    pub(super) fn assert_healed(&self) {
        self.compile(&self.engine()).unwrap();
        assert!(fs::read(&self.path).unwrap() == self.whole, "it was not written again");
        let engine = self.engine();
        let module = self.load(&engine).unwrap().unwrap();
        let mut store = Store::new(&engine, linker(), StoreConfig::default()).unwrap();
        let id = store.instantiate(&module).unwrap();
        assert_eq!(super::call(&mut store, id, "caught", &[Val::I32(5)]).unwrap(), [Val::I32(5)]);
    }
}

fn linker() -> Linker {
    let mut linker = Linker::new();
    linker.func("host", "log", |_: &mut executor_runtime::Caller<'_>, _: i32| Ok(()));
    linker
}

#[test]
fn a_file_with_any_byte_changed_is_not_used() {
    let cached = Cached::new();
    let engine = cached.engine();
    let mut bytes = cached.whole.clone();
    let mut others = 0;
    for at in 0..bytes.len() {
        bytes[at] ^= 1 << (at % 8);
        fs::write(&cached.path, &bytes).unwrap();
        match cached.load(&engine) {
            Err(EngineError::DamagedCode { .. }) => {}
            // The number of another version.
            Ok(None) => others += 1,
            other => panic!("at {at}: {other:?}"),
        }
        bytes[at] = cached.whole[at];
    }
    assert!(others <= 16, "{others} bytes make it a file of something else");
    cached.assert_healed();
}

#[test]
fn a_file_that_was_cut_is_not_used() {
    let cached = Cached::new();
    for len in (0..cached.whole.len()).step_by(61) {
        fs::write(&cached.path, &cached.whole[..len]).unwrap();
        cached.assert_damaged("cut");
    }
    cached.assert_healed();
}

#[test]
fn the_code_of_another_module_is_not_used_under_this_ones_name() {
    let cached = Cached::new();
    let other = Cached::of(tempfile::tempdir_in(cached.dir.path()).unwrap(), "(module)");
    fs::copy(&other.path, &cached.path).unwrap();
    cached.assert_damaged("of another store");
    cached.assert_healed();
    let Cached { dir, path, .. } = cached;
    let cached = Cached::of(
        dir,
        "(module (func (export \"caught\") (param i32) (result i32) (i32.const 7)))",
    );
    fs::copy(&path, &cached.path).unwrap();
    cached.assert_damaged("of another module");
}

/// Compiles, and damages what it made.
struct Damaging {
    compiler: NativeCompiler,
    section: Section,
    at: usize,
    word: u32,
}

impl Compiler for Damaging {
    fn decode(
        &self,
        wasm: &[u8],
        hash: ModuleHash,
        features: Features,
    ) -> Result<Module, CompileError> {
        self.compiler.decode(wasm, hash, features)
    }

    fn compile(
        &self,
        module: &Module,
        options: CompileOptions,
        progress: Progress<'_>,
    ) -> Result<Vec<u8>, CompileError> {
        let mut bytes = self.compiler.compile(module, options, progress)?;
        let section = CodeFile::new(&bytes[..]).unwrap().range(self.section);
        bytes[section][self.at..self.at + 4].copy_from_slice(&self.word.to_le_bytes());
        Ok(bytes)
    }

    fn compile_continuations(
        &self,
        _: &[u8],
        _: ModuleHash,
        _: &[CallSite],
        _: CompileOptions,
    ) -> Result<Vec<u8>, CompileError> {
        unreachable!("nothing is suspended")
    }
}

#[test]
fn a_handler_that_cannot_be_is_none() {
    let frame = std::mem::offset_of!(TryCallRecord, frame);
    let landing = std::mem::offset_of!(HandlerRecord, landing);
    for (section, at, word) in [
        // Far below the stack, below the frame, and between words.
        (Section::TryCalls, frame, u32::MAX),
        (Section::TryCalls, frame, 1 << 16),
        (Section::TryCalls, frame, 7),
        (Section::Handlers, landing, u32::MAX),
        (Section::Handlers, landing, 1 << 24),
    ] {
        let compiler = Damaging { compiler: NativeCompiler::new().unwrap(), section, at, word };
        let compiler = Some(Arc::new(compiler) as Arc<dyn Compiler>);
        let config = EngineConfig { compiler, ..EngineConfig::default() };
        let engine = NativeEngine::new(config).unwrap();
        let module = super::compile(&engine, WAT);
        let mut store = Store::new(&engine, linker(), StoreConfig::default()).unwrap();
        let id = store.instantiate(&module).unwrap();
        let error = super::call(&mut store, id, "caught", &[Val::I32(5)]).expect_err("not caught");
        assert!(matches!(error, CallError::Exception(_)), "{error:?}");
    }
}
