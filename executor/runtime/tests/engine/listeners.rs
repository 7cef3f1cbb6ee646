//! Listeners: told of every call when compiled in.

use crate::*;
use executor_model::{CallError, FunctionListener, ListenerContext};
use std::sync::Mutex;

#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl FunctionListener for Log {
    fn before(&self, context: &ListenerContext<'_>, params: &[Val]) {
        let line = format!("> {} {params:?}", context.name.unwrap_or("?"));
        self.0.lock().unwrap().push(line);
    }
    fn after(&self, context: &ListenerContext<'_>, results: &[Val]) {
        let line = format!("< {} {results:?}", context.name.unwrap_or("?"));
        self.0.lock().unwrap().push(line);
    }
    fn abort(&self, context: &ListenerContext<'_>, error: &CallError) {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(format!("! {} {first}", context.name.unwrap_or("?")));
    }
}

#[test]
fn a_listener_sees_arguments_results_and_aborts() {
    let engine = engine();
    let wasm = wat::parse_str(
        r#"(module
             (func $inner (param i32) (result i32 i64)
               (if (i32.eqz (local.get 0)) (then unreachable)) (local.get 0) (i64.const 2))
             (func $outer (export "f") (param i32) (result i32)
               (call $inner (local.get 0)) drop))"#,
    )
    .unwrap();
    let module = engine.decode(&wasm, ModuleHash::of(&wasm)).unwrap();
    let log = Arc::new(Log::default());
    let listeners = Listeners::all(Arc::clone(&log) as Arc<dyn FunctionListener>);
    let (module, _) = engine.compile(&module, &listeners, true, QUIET).unwrap();
    let mut store = Store::new(&engine, Linker::new(), StoreConfig::default()).unwrap();
    let id = store.instantiate(&module).unwrap();
    assert_eq!(call(&mut store, id, "f", &[Val::I32(4)]).unwrap(), [Val::I32(4)]);
    let taken = log.take();
    let expected =
        ["> outer [I32(4)]", "> inner [I32(4)]", "< inner [I32(4), I64(2)]", "< outer [I32(4)]"];
    assert_eq!(taken, expected);
    let error = call(&mut store, id, "f", &[Val::I32(0)]).unwrap_err();
    let CallError::Trap(trap) = error else { panic!("{error}") };
    assert_eq!(trap.backtrace.frames.len(), 2, "each function once");
    let expected = [
        "> outer [I32(0)]",
        "> inner [I32(0)]",
        "! inner wasm trap: unreachable",
        "! outer wasm trap: unreachable",
    ];
    assert_eq!(log.take(), expected);
}
