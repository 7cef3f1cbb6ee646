//! What an engine compiles, keeps and hands out.

use crate::*;
use executor_model::{Engine, EngineError, Features, FunctionListener, Module};
use executor_runtime::CodeOrigin;

fn decode(engine: &NativeEngine, wat: &str) -> Module {
    let wasm = wat::parse_str(wat).unwrap();
    engine.decode(&wasm, ModuleHash::of(&wasm)).unwrap()
}

#[test]
fn code_is_loaded_only_if_it_tells_no_listener_and_can_be_interrupted() {
    let engine = engine();
    let module = decode(&engine, r#"(module (func (export "f")))"#);
    let listener: Arc<dyn FunctionListener> = Arc::new(listeners::Log::default());
    for (listeners, ensure_termination, loads) in [
        (Listeners::all(Arc::clone(&listener)), true, false),
        (Listeners::none(), false, false),
        (Listeners::none(), true, true),
    ] {
        engine.compile(&module, &listeners, ensure_termination, QUIET).unwrap();
        let loaded = engine.load(&module.hash).unwrap();
        assert_eq!(loaded.map(|(_, origin)| origin), loads.then_some(CodeOrigin::Memory));
    }
}

#[test]
fn a_module_that_another_engine_allowed_more_is_checked_again() {
    let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().unwrap());
    let with = |features| {
        let compiler = Some(Arc::clone(&compiler));
        NativeEngine::new(EngineConfig { compiler, features, ..EngineConfig::default() }).unwrap()
    };
    let (more, fewer) = (with(Features::ALL), with(Features::ALL.without(Features::SIMD)));
    let vectors = decode(&more, "(module (func (result v128) v128.const i64x2 0 0))");
    assert!(fewer.compile(&vectors, &Listeners::none(), true, QUIET).is_err());
    let mut store = fewer.new_store().unwrap();
    let refused = fewer.new_module_engine(&vectors, &mut store);
    assert!(matches!(refused, Err(EngineError::NotCompiled(_))));
    // What needs no more than it may is compiled, whatever it was decoded with.
    let plain = decode(&more, "(module (func))");
    fewer.compile(&plain, &Listeners::none(), true, QUIET).unwrap();
}
