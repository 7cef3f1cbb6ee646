//! Damaged code files: whatever is wrong in the tables beside the machine code, instantiating, linking
//! and unwinding are an error or an answer.

use crate::*;
use executor_code::{
    CodeCache,
    file::{CodeFile, HandlerRecord, Section, TryCallRecord},
};
use executor_model::{CallError, EngineError};
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
struct Cached {
    dir: TempDir,
    wasm: Vec<u8>,
    path: PathBuf,
    whole: Vec<u8>,
}

impl Cached {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wasm = wat::parse_str(WAT).unwrap();
        let mut cached = Self { dir, wasm, path: PathBuf::new(), whole: Vec::new() };
        cached.compile(&cached.engine()).unwrap();
        let code = fs::read_dir(cached.dir.path().join("code")).unwrap();
        let mut code = code.map(|entry| entry.unwrap().path());
        cached.path = code.find(|path| path.extension().is_some()).unwrap();
        cached.whole = fs::read(&cached.path).unwrap();
        cached
    }

    fn engine(&self) -> NativeEngine {
        let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
        let cache = Some(CodeCache::new(self.dir.path().to_owned()));
        NativeEngine::new(EngineConfig {
            compiler: Some(compiler),
            cache,
            ..EngineConfig::default()
        })
        .unwrap()
    }

    fn compile(&self, engine: &NativeEngine) -> Result<Arc<CompiledModule>, EngineError> {
        let module = engine.decode(&self.wasm, ModuleHash::of(&self.wasm)).unwrap();
        Ok(engine.compile(&module, &Listeners::none(), true, QUIET)?.0)
    }

    fn load(&self, engine: &NativeEngine) -> Result<Option<Arc<CompiledModule>>, EngineError> {
        let found = engine.load(&ModuleHash::of(&self.wasm))?;
        Ok(found.map(|(module, _)| module))
    }

    fn range(&self, section: Section) -> std::ops::Range<usize> {
        CodeFile::new(&self.whole[..]).unwrap().range(section)
    }

    /// Writes the file with bytes of a section changed.
    fn damage(&self, section: Section, change: impl FnOnce(&mut [u8])) {
        let mut bytes = self.whole.clone();
        change(&mut bytes[self.range(section)]);
        fs::write(&self.path, bytes).unwrap();
    }
}

fn linker() -> Linker {
    let mut linker = Linker::new();
    linker.func("host", "log", |_: &mut executor_runtime::Caller<'_>, _: i32| Ok(()));
    linker
}

/// Instantiates what can be, and asks for what the instance has, without running any machine code.
fn look_around(engine: &NativeEngine, module: &Arc<CompiledModule>) {
    let mut store = Store::new(engine, linker(), StoreConfig::default()).unwrap();
    let Ok(first) = store.instantiate(module) else { return };
    for name in ["caught", "memory", "table", "global", "tag"] {
        let _ = (store.exported_func(first, name), store.exported_tag(first, name));
    }
    if let Some(tag) = store.exported_tag(first, "tag") {
        let _ = store.new_exception(tag, &[Val::I32(1)]);
    }
    let _ = (store.capture().map(drop), store.validate());
}

#[test]
fn no_damage_beside_the_machine_code_is_more_than_an_error() {
    let cached = Cached::new();
    let engine = cached.engine();
    let text = cached.range(Section::Text);
    let tables = text.end..cached.range(Section::FrameUnits).end;
    let mut refused = 0;
    for at in (64..1024).chain(tables).step_by(3) {
        let mut bytes = cached.whole.clone();
        bytes[at] ^= 0xff;
        fs::write(&cached.path, bytes).unwrap();
        match cached.load(&engine) {
            Ok(Some(module)) => {
                look_around(&engine, &module);
                engine.discard(&module).unwrap();
            }
            Ok(None) => {}
            Err(EngineError::DamagedCode { .. }) => refused += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn damaged_code_is_an_error_to_load_and_compiled_again() {
    let cached = Cached::new();
    for section in [Section::Tables, Section::Memories] {
        cached.damage(section, |bytes| bytes[0] ^= 1);
        let engine = cached.engine();
        assert!(matches!(cached.load(&engine), Err(EngineError::DamagedCode { .. })));
        cached.compile(&engine).unwrap();
        assert!(fs::read(&cached.path).unwrap() == cached.whole, "it was not written again");
    }
    // What is not looked at to restore, and is found by whoever needs it.
    cached.damage(Section::Info, |bytes| bytes.fill(0xff));
    let engine = cached.engine();
    let module = cached.load(&engine).unwrap().unwrap();
    assert!(matches!(module.info(), Err(EngineError::DamagedCode { .. })));
    assert!(matches!(module.verify(), Err(EngineError::DamagedCode { .. })));
    let mut store = Store::new(&engine, linker(), StoreConfig::default()).unwrap();
    assert!(store.instantiate(&module).is_err());
    engine.discard(&module).unwrap();
    assert!(cached.compile(&engine).unwrap().verify().is_ok());
}

#[test]
fn a_handler_that_cannot_be_is_none() {
    let cached = Cached::new();
    let call = |damaged: bool| {
        let engine = cached.engine();
        let module = cached.load(&engine).unwrap().unwrap();
        assert_eq!(module.verify().is_err(), damaged);
        let mut store = Store::new(&engine, linker(), StoreConfig::default()).unwrap();
        let id = store.instantiate(&module).unwrap();
        super::call(&mut store, id, "caught", &[Val::I32(5)])
    };
    assert_eq!(call(false).unwrap(), [Val::I32(5)]);
    let frame = std::mem::offset_of!(TryCallRecord, frame);
    let landing = std::mem::offset_of!(HandlerRecord, landing);
    for (section, at, wrong) in [
        // Far below the stack, below the frame, and between words.
        (Section::TryCalls, frame, u32::MAX),
        (Section::TryCalls, frame, 1 << 16),
        (Section::TryCalls, frame, 7),
        (Section::Handlers, landing, u32::MAX),
        (Section::Handlers, landing, cached.range(Section::Text).len() as u32),
    ] {
        cached.damage(section, |bytes| bytes[at..at + 4].copy_from_slice(&wrong.to_le_bytes()));
        let error = call(true).expect_err("the exception is not caught");
        assert!(matches!(error, CallError::Exception(_)), "{error:?}");
    }
}
