//! Signals that are not ours go to the handler that a host installed before the engine. A test
//! binary of its own, since handlers belong to the process.
#![allow(unsafe_code, reason = "installing a handler is unsafe")]

use executor_code::{CodeCache, Compiler};
use executor_compiler::NativeCompiler;
use executor_model::{Listeners, ModuleHash};
use executor_runtime::{Caller, EngineConfig, HostError, Linker, NativeEngine, Store, StoreConfig};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use std::sync::{
    Arc, Once,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

static WITH_INFO: AtomicU32 = AtomicU32::new(0);
static PLAIN: AtomicU32 = AtomicU32::new(0);

static SENT: AtomicU32 = AtomicU32::new(0);

extern "C" fn sent(_: i32) {
    SENT.fetch_add(1, SeqCst);
}

extern "C" fn with_info(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    WITH_INFO.fetch_add(u32::from(!info.is_null()), SeqCst);
}

extern "C" fn plain(signal: i32) {
    PLAIN.fetch_add(u32::from(signal == libc::SIGFPE), SeqCst);
}

/// Installs the host's handlers, and then, once they are there, the engine's.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let install = |signal, handler, flags| {
            let action = SigAction::new(handler, flags, SigSet::empty());
            // SAFETY: the handlers only add to an atomic.
            unsafe { sigaction(signal, &action) }.unwrap();
        };
        install(Signal::SIGURG, SigHandler::SigAction(with_info), SaFlags::SA_SIGINFO);
        install(Signal::SIGFPE, SigHandler::Handler(plain), SaFlags::empty());
        install(Signal::SIGILL, SigHandler::Handler(sent), SaFlags::empty());
        NativeEngine::new(EngineConfig::default()).unwrap();
    });
}

#[test]
fn handlers_installed_before_the_engine_still_see_their_signals() {
    install();
    let _engine = NativeEngine::new(EngineConfig::default()).unwrap();
    let _second = NativeEngine::new(EngineConfig::default()).unwrap();
    for _ in 0..3 {
        raise(Signal::SIGURG).unwrap();
        raise(Signal::SIGFPE).unwrap();
    }
    assert_eq!(WITH_INFO.load(SeqCst), 3);
    assert_eq!(PLAIN.load(SeqCst), 3);
}

/// Signals that come while a host function takes code into use and drops it, and that belong to the
/// host: one of another thread's sending is like a fault at any instruction of the host function.
#[test]
fn a_signal_in_a_host_function_that_loads_code_is_the_hosts() {
    install();
    let dir = tempfile::tempdir().unwrap();
    let cache = CodeCache::new(dir.path().to_owned());
    let engine = move |compiler: Option<Arc<dyn Compiler>>| {
        let config =
            EngineConfig { compiler, cache: Some(cache.clone()), ..EngineConfig::default() };
        NativeEngine::new(config).unwrap()
    };
    let compiling = engine(Some(Arc::new(NativeCompiler::new().unwrap())));
    let wasm = wat::parse_str(
        r#"(module (import "env" "load" (func $load)) (func (export "f") (call $load)))"#,
    )
    .unwrap();
    let module = compiling.decode(&wasm, ModuleHash::of(&wasm)).unwrap();
    let (compiled, _) = compiling.compile(&module, &Listeners::none(), true, &|_| {}).unwrap();

    // Many are in use, so that whatever is kept of them takes time to change.
    let hash = module.hash;
    let load = move || engine(None).load(&hash).unwrap().unwrap().0;
    let in_use: Vec<_> = std::iter::repeat_with(&load).take(4000).collect();
    let mut linker = Linker::new();
    linker.func("env", "load", move |_: &mut Caller<'_>| -> Result<(), HostError> {
        for _ in 0..2000 {
            load();
        }
        Ok(())
    });
    let mut store = Store::new(&compiling, linker, StoreConfig::default()).unwrap();
    let id = store.instantiate(&compiled).unwrap();

    // SAFETY: it has no preconditions.
    let (thread, ended) = (unsafe { libc::pthread_self() }, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !ended.load(SeqCst) {
                // SAFETY: the thread waits for this one before it ends.
                assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGILL) }, 0);
            }
        });
        let func = store.exported_func(id, "f").unwrap();
        let result = store.call(func, &[]);
        ended.store(true, SeqCst);
        sender.join().unwrap();
        assert!(result.unwrap().is_empty());
    });
    assert!(SENT.load(SeqCst) > 0);
    drop(in_use);
}
